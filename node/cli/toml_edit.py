"""Change single settings in the user's configuration file and leave every other line as it is."""

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from node.config.lines import KeyPath, find_lines
from node.config.load import load_settings
from node.config.values import write_toml
from protocol.errors import ConfigError

_HEADER: Final = re.compile(r"^\s*\[")


class ConfigNotChanged(ConfigError):
    """The configuration can't be changed by a program."""

    def __init__(self, path: Path, reason: str, settings: str) -> None:
        super().__init__(f"{path} was not changed: {reason}", advice=f"Write into it by hand: {settings}")


def drop_settings(path: Path, names: Collection[str]) -> None:
    """Make comments of the lines that set these, so that their defaults count.

    Raises:
        ConfigNotChanged: The file can't be read or written.
    """
    if not names:
        return
    try:
        text = path.read_text(encoding="utf-8")
        lines, found = text.splitlines(), find_lines(text)
        for name in names:
            at = found[tuple(name.split("."))] - 1
            lines[at] = f"# {lines[at]}"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigNotChanged(path, str(error), f"remove {', '.join(names)}") from error


def change_settings(path: Path, values: Mapping[str, Any]) -> None:
    """Set settings by dotted name, with values as TOML has them; after a crash there is the old file or the new one.

    Raises:
        ConfigNotChanged: The file can't be read or written, or would not be a valid configuration afterwards.
    """
    wanted = "; ".join(f"{name} = {write_toml(value)}" for name, value in values.items())
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        text = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode & 0o777
        for name, value in values.items():
            text = _set(text, tuple(name.split(".")), write_toml(value))
        temporary.touch(mode=mode)
        temporary.write_text(text, encoding="utf-8")
        load_settings(temporary)
        temporary.replace(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigNotChanged(path, str(error), wanted) from error
    except ConfigError as error:
        raise ConfigNotChanged(path, f"it would have mistakes: {error}", wanted) from error
    finally:
        temporary.unlink(missing_ok=True)


def _set(text: str, key: KeyPath, value: str) -> str:
    """Replace the line that sets `key`, else the comment that shows its default, else add a line."""
    lines, found = text.splitlines(), find_lines(text)
    table, line = key[:-1], f"{key[-1]} = {value}"
    if key in found:
        at = found[key] - 1
        before = lines[at].partition("=")[0]
        lines[at] = f"{before}= {value}"
    elif table in found:
        first = found[table]
        last = next((at for at in range(first, len(lines)) if _HEADER.match(lines[at])), len(lines))
        default = re.compile(rf"^#\s*{re.escape(key[-1])}\s*=")
        at = next((at for at in range(first, last) if default.match(lines[at])), None)
        if at is None:
            lines.insert(first, line)
        else:
            lines[at] = line
    else:
        lines += ["", f"[{'.'.join(table)}]", line]
    return "\n".join(lines) + "\n"
