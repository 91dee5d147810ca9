"""The wallet key (secp256k1) in a standard Keystore V3 file: create, import, open, export, change password (DESIGN D2).

Deriving a key from a password takes about a second and 256 MiB: every function here works on a thread, one at a time.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import trio

from node.wallet import key_files
from node.wallet.errors import InvalidPrivateKey, KeyFileDamaged
from node.wallet.keystore_v3 import SECRET_BYTES, STANDARD, KeyFile, ScryptCost, encrypt
from node.wallet.secret import Secret
from protocol.errors import ConfigError
from protocol.identity import Address, InvalidAddress, format_address, parse_address
from protocol.signing.ecdsa import address_of

T = TypeVar("T")

_KDF_LIMITER: Final = trio.CapacityLimiter(1)


class EmptyPassword(ConfigError):
    """A key file is never written without a password."""

    def __init__(self) -> None:
        super().__init__("the password of a key file must not be empty")


@dataclass(frozen=True, slots=True)
class WalletKey:
    """An opened wallet key."""

    address: Address
    private_key: Secret


async def create_wallet(path: Path, password: str, *, cost: ScryptCost = STANDARD) -> Address:
    """Make a new key, write it to `path` and return its address.

    Raises:
        KeyFileExists: The path is taken.
        KeyFileUnwritable: The folder is missing, forbidden or full.
        EmptyPassword: As it says.
    """
    secret = Secret(os.urandom(SECRET_BYTES))
    while not _is_key(secret):  # once in 2**128
        secret = Secret(os.urandom(SECRET_BYTES))
    return await on_kdf_thread(lambda: _write(path, secret, password, cost))


async def import_private_key(path: Path, private_key: str, password: str, *, cost: ScryptCost = STANDARD) -> Address:
    """Write a key given as 64 hexadecimal digits to `path` and return its address.

    Raises:
        InvalidPrivateKey: It is none.
        KeyFileExists: The path is taken.
        KeyFileUnwritable: The folder is missing, forbidden or full.
        EmptyPassword: As it says.
    """
    try:
        secret = Secret(bytes.fromhex(private_key.strip().removeprefix("0x")))
    except ValueError:
        raise InvalidPrivateKey from None  # the cause quotes the text
    if len(secret.reveal()) != SECRET_BYTES or not _is_key(secret):
        raise InvalidPrivateKey
    return await on_kdf_thread(lambda: _write(path, secret, password, cost))


async def import_keystore(
    path: Path, source: Path, source_password: str, password: str, *, cost: ScryptCost = STANDARD
) -> Address:
    """Copy the key in the Keystore V3 file `source` (any writer's) to `path`, under `password`, and return its address.

    Raises:
        WrongPassword: `source_password` does not open `source`.
        KeyFileMissing: No `source`.
        KeyFileDamaged: `source` is no Keystore V3 file of a wallet key.
        KeyFileExists: The path is taken.
        KeyFileUnwritable: The folder is missing, forbidden or full.
        EmptyPassword: As it says.
    """

    def copy() -> Address:
        wallet = _open(source, source_password, must_be_private=False)
        return _write(path, wallet.private_key, password, cost)

    return await on_kdf_thread(copy)


async def open_wallet(path: Path, password: str) -> WalletKey:
    """Open the key file at `path`.

    Raises:
        WrongPassword: `password` does not open it.
        KeyFileMissing: It is not there.
        KeyFileExposed: Others can read it.
        KeyFileDamaged: It is no Keystore V3 file of a wallet key, or its address is not that of its key.
    """
    return await on_kdf_thread(lambda: _open(path, password, must_be_private=True))


async def change_password(path: Path, password: str, new_password: str, *, cost: ScryptCost = STANDARD) -> None:
    """Encrypt the key at `path` anew. After a crash the file opens with one of the two passwords.

    Raises:
        EmptyPassword: The new one is empty.
        KeyFileUnwritable: The folder is forbidden or full; the old file is untouched.
        Others: As `open_wallet`.
    """

    def change() -> None:
        wallet = _open(path, password, must_be_private=True)
        key_files.overwrite(path, _encrypted(wallet.private_key, new_password, cost))

    await on_kdf_thread(change)


async def export_keystore(
    path: Path, password: str, destination: Path, new_password: str, *, cost: ScryptCost = STANDARD
) -> Address:
    """Write a copy of the key to `destination`, under a password of its own, for another program or as a backup.

    Raises:
        KeyFileExists: `destination` is taken.
        KeyFileUnwritable: Its folder is missing, forbidden or full.
        EmptyPassword: The new one is empty.
        Others: As `open_wallet`.
    """

    def export() -> Address:
        wallet = _open(path, password, must_be_private=True)
        return _write(destination, wallet.private_key, new_password, cost)

    return await on_kdf_thread(export)


async def read_address(path: Path) -> Address:
    """Return the address that the key file at `path` states, without its password; only opening the file proves it.

    Raises:
        KeyFileMissing: It is not there.
        KeyFileExposed: Others can read it.
        KeyFileDamaged: It is no Keystore V3 file, or states no address.
    """

    def read() -> Address:
        stated = _stated_address(path, key_files.read(path, must_be_private=True))
        if stated is None:
            raise KeyFileDamaged(path, "it states no address")
        return stated

    return await on_kdf_thread(read)


async def on_kdf_thread(job: Callable[[], T]) -> T:
    """Run `job` on a thread, after the ones before it: each may take 256 MiB."""
    return await trio.to_thread.run_sync(job, limiter=_KDF_LIMITER)


def _open(path: Path, password: str, *, must_be_private: bool) -> WalletKey:
    file = key_files.read(path, must_be_private=must_be_private)
    if file.public_key is not None:
        raise KeyFileDamaged(path, "it holds a host key, not a wallet key")
    stated = _stated_address(path, file)
    secret = key_files.open_secret(path, file, password)
    if not _is_key(secret):
        raise KeyFileDamaged(path, "what it holds is no secp256k1 key")
    address = address_of(secret.reveal())
    if stated not in (None, address):
        raise KeyFileDamaged(path, f"it states another address than that of its key, {format_address(address)}")
    return WalletKey(address, secret)


def _stated_address(path: Path, file: KeyFile) -> Address | None:
    if file.address is None:
        return None
    try:
        return parse_address(file.address.removeprefix("0x").lower())
    except InvalidAddress as error:
        raise KeyFileDamaged(path, str(error)) from None


def _write(path: Path, secret: Secret, password: str, cost: ScryptCost) -> Address:
    key_files.write_new(path, _encrypted(secret, password, cost))
    return address_of(secret.reveal())


def _encrypted(secret: Secret, password: str, cost: ScryptCost) -> bytes:
    if not password:
        raise EmptyPassword
    return encrypt(secret.reveal(), password, cost, address=address_of(secret.reveal()).hex())


def _is_key(secret: Secret) -> bool:
    try:
        address_of(secret.reveal())
    except ValueError:  # zero, or not below the order of the curve
        return False
    return True
