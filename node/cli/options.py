"""What every command is given: output, and which node it is about."""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import typer

from protocol.errors import ConfigError

CONFIG_NAME: Final = "stoa.toml"
SOCKET_NAME: Final = "control.sock"
DEFAULT_DATA_DIR: Final = "~/.stoa"
# As `node.config` builds them; spelled out here because reading settings takes longer than most commands do.
_SOCKET_VARIABLE: Final = "STOA_API__CONTROL_SOCKET"
_FOLDER_VARIABLE: Final = "STOA_NODE__DATA_DIR"
_CONFIG_VARIABLE: Final = "STOA_CONFIG"


class ConfigUnreadable(ConfigError):
    """The configuration file can't be read."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"can't read the configuration {path}: {reason}", advice="Correct it, or name another file.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options before the command.

    Attributes:
        json_output: Print for programs.
        debug: Show tracebacks.
    """

    json_output: bool = False
    debug: bool = False
    config: Path | None = None
    data_dir: Path | None = None
    socket: Path | None = None

    @property
    def folder(self) -> Path:
        """The data folder, as far as options and environment say; the configuration may name another."""
        return self.data_dir or Path(_environment(_FOLDER_VARIABLE) or DEFAULT_DATA_DIR).expanduser()

    def find_config(self) -> Path | None:
        """Return the configuration file: the one named, else the one in the data folder, if there is one."""
        named = self.config or _environment(_CONFIG_VARIABLE)
        if named:
            return Path(named).expanduser()
        usual = self.folder / CONFIG_NAME
        return usual if usual.exists() else None

    def overrides(self) -> dict[str, Any]:
        """Return what these options change in the settings."""
        values: dict[str, Any] = {}
        if self.data_dir is not None:
            values["node.data_dir"] = str(self.data_dir)
        if self.socket is not None:
            values["api.control_socket"] = str(self.socket)
        return values

    def find_socket(self) -> Path:
        """Return the control socket, as the settings would, without the second that reading all of them takes.

        Raises:
            ConfigUnreadable: The file that may name it can't be read.
        """
        path = self.find_config()
        document = _read(path) if path is not None else {}
        named = self.socket or _environment(_SOCKET_VARIABLE) or _text(document, "api", "control_socket")
        if named:
            return Path(named).expanduser()
        folder = self.data_dir or _environment(_FOLDER_VARIABLE) or _text(document, "node", "data_dir")
        return Path(folder or DEFAULT_DATA_DIR).expanduser() / SOCKET_NAME


def options_of(context: typer.Context) -> Options:
    """Return the options that the command was started with."""
    options = context.obj
    assert isinstance(options, Options)
    return options


def _environment(name: str) -> str:
    return next((value for each, value in os.environ.items() if each.upper() == name), "")


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigUnreadable(path, error.strerror or str(error)) from error
    except ValueError as error:  # not UTF-8, or not TOML
        raise ConfigUnreadable(path, str(error)) from error


def _text(document: dict[str, Any], section: str, key: str) -> str:
    table = document.get(section)
    value = cast("dict[str, Any]", table).get(key) if isinstance(table, dict) else None
    return value if isinstance(value, str) else ""
