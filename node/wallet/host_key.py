"""The host key (Ed25519), which names and secures this node on the network; it signs no money and no law (DESIGN D2).

It is kept as the wallet key is: encrypted, in the Keystore V3 format, which fits any 32-byte secret. `public_key`
stands where a wallet's file has its address, so neither file can be taken for the other.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.wallet import key_files
from node.wallet.errors import KeyFileDamaged
from node.wallet.keystore import EmptyPassword, on_kdf_thread
from node.wallet.keystore_v3 import SECRET_BYTES, STANDARD, ScryptCost, encrypt
from node.wallet.secret import Secret


@dataclass(frozen=True, slots=True)
class HostKey:
    """An opened host key: the 32-byte Ed25519 public key and the 32-byte seed of the private one."""

    public_key: bytes
    seed: Secret


async def create_host_key(path: Path, password: str, *, cost: ScryptCost = STANDARD) -> bytes:
    """Make a new host key, write it to `path` and return its public key.

    Raises:
        KeyFileExists: The path is taken.
        KeyFileUnwritable: The folder is missing, forbidden or full.
        EmptyPassword: As it says.
    """
    if not password:
        raise EmptyPassword
    seed = Secret(os.urandom(SECRET_BYTES))
    public_key = _public_key(seed)

    def write() -> None:
        key_files.write_new(path, encrypt(seed.reveal(), password, cost, public_key=public_key.hex()))

    await on_kdf_thread(write)
    return public_key


async def open_host_key(path: Path, password: str) -> HostKey:
    """Open the key file at `path`.

    Raises:
        WrongPassword: `password` does not open it.
        KeyFileMissing: It is not there.
        KeyFileExposed: Others can read it.
        KeyFileDamaged: It is no file of a host key, or its public key is not that of its seed.
    """

    def read() -> HostKey:
        file = key_files.read(path, must_be_private=True)
        if file.public_key is None:
            raise KeyFileDamaged(path, "it holds no host key")
        seed = key_files.open_secret(path, file, password)
        public_key = _public_key(seed)
        if file.public_key.lower() != public_key.hex():
            raise KeyFileDamaged(path, "it states another public key than that of its seed")
        return HostKey(public_key, seed)

    return await on_kdf_thread(read)


def _public_key(seed: Secret) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed.reveal()).public_key().public_bytes_raw()
