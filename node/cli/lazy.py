"""The command tree, loaded branch by branch: `stoa --help` must not wait for cryptography that it doesn't use."""

import importlib
from dataclasses import dataclass, replace
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from node.cli.failures import report, unwrap
from node.cli.options import Options

_EVERYWHERE: Final = {"--json": "json_output", "--debug": "debug"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A command or a group of commands.

    Attributes:
        module: Has the `typer.Typer` named `app`.
        help: One line.
        panel: Heading in the help.
    """

    module: str
    help: str
    panel: str


class StoaCommand(TyperCommand):
    """A command that takes `--json` and `--debug` after its name too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take out the options that every command has, then read the command's own."""
        end = args.index("--") if "--" in args else len(args)
        found = {_EVERYWHERE[arg]: True for arg in args[:end] if arg in _EVERYWHERE}
        if found and isinstance(ctx.obj, Options):
            root = ctx.find_root()
            ctx.obj = root.obj = replace(ctx.obj, **found)
        return super().parse_args(ctx, [arg for arg in args[:end] if arg not in _EVERYWHERE] + args[end:])


class StoaGroup(TyperGroup):
    """The root: its branches are imported when they are used, and errors end here."""

    branches: dict[str, Branch] = {}  # noqa: RUF012 - set once by main

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, branch in self.branches.items():
            self.commands[name] = TyperCommand(name=name, help=branch.help, rich_help_panel=branch.panel)
        self._loaded: set[str] = set()

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the branch that is called for."""
        name = args[0] if args else ""
        if name in self.branches and name not in self._loaded:
            self._loaded.add(name)
            app = importlib.import_module(self.branches[name].module).app
            command = get_command(app)
            command.name = name
            self.commands[name] = command
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; whatever it can't do is said in words, with an exit status that tells which."""
        try:
            return super().invoke(ctx)
        except BaseException as raised:
            error = unwrap(raised)
            if isinstance(error, KeyboardInterrupt | SystemExit) or not isinstance(error, Exception):
                raise error from None
            if type(error).__module__.startswith("typer."):  # usage errors, Exit and Abort: typer's own business
                raise
            options = ctx.find_root().obj if isinstance(ctx.find_root().obj, Options) else Options()
            code = report(error, json_output=options.json_output, debug=options.debug)
            raise typer.Exit(code) from error


def new_app(help_text: str) -> typer.Typer:
    """Return a group of commands; add them with `@app.command(cls=StoaCommand)`."""
    return typer.Typer(
        help=help_text,
        no_args_is_help=True,
        rich_markup_mode="rich",
        add_completion=False,
        pretty_exceptions_enable=False,
    )
