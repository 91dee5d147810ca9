"""What commands need that work on the node's own files: its settings and its password."""

import getpass
import os
import sys
from pathlib import Path
from typing import Final

from node.cli.options import Options
from node.config.load import load_settings
from node.config.settings import Settings
from protocol.errors import ConfigError

MAX_PASSWORD_BYTES: Final = 4096


class NoPassword(ConfigError):
    """There is nowhere to take the password from."""

    def __init__(self, variable: str) -> None:
        super().__init__(
            "the wallet's password is needed, and there is no terminal to ask for it",
            advice=f"Name a file with --password-file (or wallet.password_file), or set {variable}.",
        )


class PasswordFileUnusable(ConfigError):
    """The password file can't be read or is empty."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"can't read a password from {path}: {reason}", advice="Its first line is the password.")


class PasswordsDiffer(ConfigError):
    """A new password was typed in two ways."""

    advice = "Try again."

    def __init__(self) -> None:
        super().__init__("the two passwords differ")


def settings_of(options: Options) -> Settings:
    """Return the settings as the node would read them.

    Raises:
        ConfigMissing, InvalidConfig: With all mistakes.
    """
    return load_settings(options.find_config(), options=options.overrides())


def read_password(settings: Settings, file: Path | None = None, *, is_new: bool = False) -> str:
    """Return the wallet's password: from `file`, the configured file, the environment, or the terminal, in that order.

    Args:
        settings: Say which file and which variable.
        file: Wins over both.
        is_new: Ask twice.

    Raises:
        NoPassword, PasswordFileUnusable, PasswordsDiffer: As they say.
    """
    try:
        return read_password_quietly(settings, file)
    except NoPassword:
        if not sys.stdin.isatty():
            raise
    return ask_password("New password for the wallet: " if is_new else "Password of the wallet: ", twice=is_new)


def read_password_quietly(settings: Settings, file: Path | None = None) -> str:
    """Return the wallet's password from `file`, the configured file or the environment, and ask nobody.

    Raises:
        NoPassword, PasswordFileUnusable: As they say.
    """
    file = file or settings.wallet.password_file
    if file is not None:
        return read_password_file(file)
    if password := os.environ.get(settings.wallet.password_env):
        return password
    raise NoPassword(settings.wallet.password_env)


def ask_password(prompt: str, *, twice: bool) -> str:
    """Ask on the terminal.

    Raises:
        PasswordsDiffer: Typed in two ways.
    """
    password = getpass.getpass(prompt)
    if twice and getpass.getpass("Once more: ") != password:
        raise PasswordsDiffer
    return password


def read_password_file(path: Path) -> str:
    """Return the first line of a file.

    Raises:
        PasswordFileUnusable: It can't be read, or the line is empty.
    """
    try:
        with path.open("rb") as file:
            line = file.readline(MAX_PASSWORD_BYTES).rstrip(b"\r\n")
        password = line.decode("utf-8")
    except OSError as error:
        raise PasswordFileUnusable(path, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise PasswordFileUnusable(path, "it is not UTF-8 text") from error
    if not password:
        raise PasswordFileUnusable(path, "its first line is empty")
    return password
