"""Who is who: wallet addresses, host identities and the names that people see (DESIGN D2)."""

from typing import Final, NewType

from protocol.errors import ProtocolError
from protocol.signing.keccak import ZERO_DIGEST, Digest, keccak256

__all__ = [
    "ZERO_ADDRESS",
    "ZERO_DIGEST",
    "Address",
    "ContentDigest",
    "Digest",
    "InvalidAddress",
    "PeerId",
    "did",
    "format_address",
    "parse_address",
]

Address = NewType("Address", bytes)
"""20 bytes: a wallet, or a contract."""
ContentDigest = NewType("ContentDigest", bytes)
"""32 bytes of BLAKE3: the name of some bytes (DESIGN D15). No contract ever opens it."""
PeerId = NewType("PeerId", str)
"""A libp2p peer id in base58, the name of a host key."""

ADDRESS_BYTES: Final = 20
ZERO_ADDRESS: Final = Address(bytes(ADDRESS_BYTES))


class InvalidAddress(ProtocolError):
    """A text that is no address, or whose checksum shows a typing mistake."""


def format_address(address: bytes) -> str:
    """Write an address with its checksum in the case of its letters (EIP-55)."""
    digits = address.hex()
    nibbles = keccak256(digits.encode()).hex()
    return "0x" + "".join(d.upper() if int(n, 16) >= 8 else d for d, n in zip(digits, nibbles, strict=False))


def parse_address(text: str) -> Address:
    """Read `0x` and 40 hexadecimal digits.

    Raises:
        InvalidAddress: Wrong length, wrong characters, or mixed case that is not the EIP-55 checksum.
    """
    digits = text.removeprefix("0x")
    if len(digits) != 2 * ADDRESS_BYTES:
        raise InvalidAddress(f"{text!r} is not an address: expected 0x and 40 hexadecimal digits")
    try:
        address = Address(bytes.fromhex(digits))
    except ValueError as error:
        raise InvalidAddress(f"{text!r} is not an address: expected 0x and 40 hexadecimal digits") from error
    if len(address) != ADDRESS_BYTES:  # fromhex skips spaces
        raise InvalidAddress(f"{text!r} is not an address: expected 0x and 40 hexadecimal digits")
    mixed = digits not in (digits.lower(), digits.upper())
    if mixed and format_address(address) != "0x" + digits:
        raise InvalidAddress(f"{text!r} fails its checksum; look for a mistyped character")
    return address


def did(chain_id: int, address: Address) -> str:
    """Return a wallet's public name, a did:pkh over CAIP-10 (`did:pkh:eip155:137:0x…`)."""
    return f"did:pkh:eip155:{chain_id}:{format_address(address)}"
