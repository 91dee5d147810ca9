"""What can be wrong with keys and with what is asked of them.

    ConfigError
    ├── WrongPassword       the password does not open the key file
    ├── KeyFileMissing      no such file
    ├── KeyFileExists       a key would be overwritten
    ├── KeyFileExposed      other users of the machine can read the key file
    ├── KeyFileDamaged      not a key file, or not one of this kind
    ├── KeyFileUnwritable   the folder is missing, full or forbidden
    └── InvalidPrivateKey   an imported text is no key
    ProtocolError
    └── UndeclaredSpend     a caller asked for a signature that spends more than, or other than, what it declared

No message ever contains a key or a password.
"""

from pathlib import Path

from protocol.errors import ConfigError, ProtocolError


class WrongPassword(ConfigError):
    """The password does not open the key file."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"the password does not open {path}",
            advice="check the password file or variable that the wallet section of the configuration names",
        )


class KeyFileMissing(ConfigError):
    """There is no key file at the path."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"there is no key file {path}", advice="create one with: stoa init, or stoa wallet import")


class KeyFileExists(ConfigError):
    """A key file is in the way; it is never overwritten, for it may hold the only copy of a key."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} exists and is not overwritten", advice="move it away first, or choose another path")


class KeyFileExposed(ConfigError):
    """Others than its owner can read or change the key file."""

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(f"{path} is open to others: {found}", advice=f"run: chmod 600 {path}, as the node's own user")


class KeyFileDamaged(ConfigError):
    """The file is no Keystore V3 file, or does not hold the kind of key that is wanted."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is no usable key file: {reason}", advice="restore it from your backup")


class KeyFileUnwritable(ConfigError):
    """The key file can't be written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path} can't be written: {reason}", advice="check that the folder exists, is yours and is not full"
        )


class InvalidPrivateKey(ConfigError):
    """A text that is not 64 hexadecimal digits, or a number that is no secp256k1 key."""

    def __init__(self) -> None:
        super().__init__("that is no private key", advice="give 64 hexadecimal digits, with or without 0x")


class UndeclaredSpend(ProtocolError):
    """A signature would spend, or spend otherwise than declared; nothing was signed."""
