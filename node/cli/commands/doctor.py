"""`stoa doctor`."""

import sys
from pathlib import Path
from typing import Annotated

import trio
import typer
from rich.console import Group
from rich.text import Text

from node.app.doctor.finding import Finding, broken, ok
from node.cli.failures import ExitCode
from node.cli.lazy import StoaCommand
from node.cli.options import Options, options_of
from node.cli.output import new_console, print_document
from node.cli.setup import NoPassword, read_password_quietly, settings_of
from node.config.load import ConfigMissing, InvalidConfig
from node.config.settings import Settings
from node.operations.logs import configure_logs
from node.operations.redaction import Redactor
from protocol.errors import ConfigError

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)

_STYLES = {"ok": "green", "warning": "yellow", "broken": "bold red"}


@app.command(cls=StoaCommand)
def doctor(
    context: typer.Context,
    *,
    password_file: Annotated[
        Path | None, typer.Option(help="File whose first line is the wallet's password; else the configured one.")
    ] = None,
) -> None:
    """Find what is wrong with this node's set-up, and say how to mend it. Changes nothing, and asks for nothing.

    Works while the node runs (then it is asked too) and while it doesn't. A line a check: ok, warning or broken.
    Exit status: 0 if nothing is broken, warnings or not; 1 if something is.

    Examples:
      stoa doctor
      stoa doctor --json | jq '.findings[] | select(.state != "ok")'
    """
    options = options_of(context)
    # Only its own findings are to be read; what the parts log on the way would stand between the lines.
    configure_logs(log_format="console", level="error", redactor=Redactor(), stream=sys.stderr)
    findings = _examine(options, password_file)
    is_sound = not any(each.state == "broken" for each in findings)
    if options.json_output:
        print_document({"sound": is_sound, "findings": [_document(each) for each in findings]})
    else:
        new_console().print(Group(*[_line(each) for each in findings]), crop=False)
    if not is_sound:
        raise typer.Exit(ExitCode.WRONG)


def _examine(options: Options, password_file: Path | None) -> list[Finding]:
    try:
        settings = settings_of(options)
    except (ConfigMissing, InvalidConfig) as error:
        return [broken("settings", str(error), error.advice)]
    where = options.find_config()
    found = [ok("settings", f"{where}, no mistake" if where else "no file; defaults, environment and options")]
    password: str | None = None
    try:
        password = _password(settings, password_file)
    except ConfigError as error:
        found.append(broken("password file", str(error), error.advice))
    from node.app.doctor.examine import examine  # noqa: PLC0415 - looks at every room: not for `--help`

    return found + trio.run(examine, settings, password)


def _password(settings: Settings, file: Path | None) -> str | None:
    try:
        return read_password_quietly(settings, file)
    except NoPassword:
        return None


def _line(finding: Finding) -> Text:
    line = Text.assemble((f"{finding.state:<8}", _STYLES[finding.state]), (finding.check, "bold"), ": ", finding.text)
    if finding.advice:
        line.append(f"\n        -> {finding.advice}")
    return line


def _document(finding: Finding) -> dict[str, str]:
    return {"check": finding.check, "state": finding.state, "text": finding.text, "advice": finding.advice}
