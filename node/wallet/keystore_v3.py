"""The Keystore V3 format: a 32-byte secret under a password, as geth, Ape and browser wallets read and write it.

Written here because `eth_keyfile` drops leading zero bytes of the IV, so one of its files in 256 is refused by readers
that want 16 bytes, and because it runs whatever cost the file asks for. Format: https://ethereum.org/en/developers/
docs/data-structures-and-encoding/web3-secret-storage/. The tests hold it against `eth_account` in both directions.
"""

import hashlib
import hmac
import json
import secrets
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, cast

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from protocol.signing.keccak import keccak256

SECRET_BYTES: Final = 32
MAX_FILE_BYTES: Final = 16_384

# A file brings its own cost. These bounds pass what geth, Ape and MetaMask write and stop a file that would take all
# memory (scrypt uses 128 * n * r bytes) or run for hours.
MAX_SCRYPT_BYTES: Final = 512 * 2**20
MAX_SCRYPT_P: Final = 16
MAX_PBKDF2_ROUNDS: Final = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ScryptCost:
    """Cost of trying one password: 128 * n * r bytes, and time in proportion to n * r * p."""

    n: int
    r: int = 8
    p: int = 1


STANDARD: Final = ScryptCost(n=2**18)
"""geth's default: 256 MiB, about a second."""
LIGHT: Final = ScryptCost(n=2**12, p=6)
"""geth's `--lightkdf`: for keys that guard nothing of value, as on a local chain."""


class MalformedKeystore(Exception):
    """Not a Keystore V3 file that we read. Translated at the edge, which knows the path."""


class PasswordMismatch(Exception):
    """The message authentication code differs: wrong password, or changed bytes. Translated at the edge."""


Hex = Annotated[str, StringConstraints(pattern=r"^([0-9a-fA-F]{2})*$", max_length=256)]
Hex16 = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{1,32}$")]
Hex32 = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _CipherParams(_Part):
    iv: Hex16


class _ScryptParams(_Part):
    dklen: Literal[32]
    n: int
    r: int
    p: int
    salt: Hex


class _Pbkdf2Params(_Part):
    dklen: Literal[32]
    c: Annotated[int, Field(ge=1, le=MAX_PBKDF2_ROUNDS)]
    prf: Literal["hmac-sha256"]
    salt: Hex


class _Crypto(_Part):
    cipher: Literal["aes-128-ctr"]
    cipherparams: _CipherParams
    ciphertext: Hex32
    kdf: Literal["scrypt", "pbkdf2"]
    kdfparams: dict[str, Any]
    mac: Hex32


class KeyFile(_Part):
    """A parsed file. `address` is that of a wallet key; `public_key` that of a host key."""

    version: Literal[3]
    crypto: _Crypto
    address: str | None = None
    public_key: str | None = None


def parse(data: bytes) -> KeyFile:
    """Read a file.

    Raises:
        MalformedKeystore: Too long, no JSON, not version 3, or an algorithm or cost that we don't accept.
    """
    if len(data) > MAX_FILE_BYTES:
        raise MalformedKeystore(f"longer than {MAX_FILE_BYTES} bytes")
    try:
        file = KeyFile.model_validate(_lowered(json.loads(data)))
        _kdf_params(file.crypto)
    except (ValueError, RecursionError) as error:
        raise MalformedKeystore(_reason(error)) from None  # the cause quotes the file
    return file


def encrypt(secret: bytes, password: str, cost: ScryptCost, **public: str) -> bytes:
    """Return the bytes of a file that holds `secret` under `password`, and `public` fields in the open."""
    salt, iv = secrets.token_bytes(32), secrets.token_bytes(16)
    key = _scrypt(password, salt, cost)
    ciphertext = _aes_ctr(key[:16], iv, secret)
    document = {
        **public,
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": iv.hex()},
            "ciphertext": ciphertext.hex(),
            "kdf": "scrypt",
            "kdfparams": {"dklen": 32, "n": cost.n, "r": cost.r, "p": cost.p, "salt": salt.hex()},
            "mac": keccak256(key[16:] + ciphertext).hex(),
        },
        "id": str(uuid.UUID(bytes=secrets.token_bytes(16), version=4)),
        "version": 3,
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def decrypt(file: KeyFile, password: str) -> bytes:
    """Return the secret. Takes about a second and, at `STANDARD` cost, 256 MiB: call it on a thread.

    Raises:
        PasswordMismatch: Wrong password, or the file's bytes were changed.
    """
    crypto = file.crypto
    match _kdf_params(crypto):
        case _ScryptParams(n=n, r=r, p=p, salt=salt):
            key = _scrypt(password, bytes.fromhex(salt), ScryptCost(n=n, r=r, p=p))
        case _Pbkdf2Params(c=rounds, salt=salt):
            key = hashlib.pbkdf2_hmac("sha256", password.encode(), bytes.fromhex(salt), rounds, 32)
    ciphertext = bytes.fromhex(crypto.ciphertext)
    if not hmac.compare_digest(keccak256(key[16:] + ciphertext), bytes.fromhex(crypto.mac)):
        raise PasswordMismatch
    iv = bytes.fromhex(crypto.cipherparams.iv.rjust(32, "0"))  # some writers drop leading zeros
    return _aes_ctr(key[:16], iv, ciphertext)


def _kdf_params(crypto: _Crypto) -> _ScryptParams | _Pbkdf2Params:
    if crypto.kdf == "pbkdf2":
        return _Pbkdf2Params.model_validate(crypto.kdfparams)
    params = _ScryptParams.model_validate(crypto.kdfparams)
    power_of_two = params.n > 1 and params.n & (params.n - 1) == 0
    if not power_of_two or params.r < 1 or 128 * params.n * params.r > MAX_SCRYPT_BYTES:
        raise ValueError(f"scrypt n={params.n}, r={params.r} is invalid or takes over {MAX_SCRYPT_BYTES} bytes")
    if not 1 <= params.p <= MAX_SCRYPT_P:
        raise ValueError(f"scrypt p={params.p} is outside 1..{MAX_SCRYPT_P}")
    return params


def _scrypt(password: str, salt: bytes, cost: ScryptCost) -> bytes:
    # OpenSSL wants room beyond the 128 * n * r of the table.
    most = 2 * MAX_SCRYPT_BYTES
    return hashlib.scrypt(password.encode(), salt=salt, n=cost.n, r=cost.r, p=cost.p, maxmem=most, dklen=32)


def _aes_ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    encryptor = Cipher(AES(key), CTR(iv)).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def _lowered(value: Any) -> Any:
    """Lower the names of fields: some writers capitalise them (`Crypto`)."""
    if isinstance(value, dict):
        return {str(key).lower(): _lowered(item) for key, item in cast("dict[Any, Any]", value).items()}
    return value


def _reason(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where}: {first['msg']}" if where else first["msg"]
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return "no JSON"
    return str(error)
