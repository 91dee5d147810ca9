"""A block's header as RLP, for a contract that reads a number out of it and checks its hash (docs/adr/1607).

The chain's node tells a header as JSON; its hash is the keccak of the RLP of its fields (Ethereum yellow paper, 4.4;
each fork appends fields). So what is built here proves itself: with another hash than the block's it is never sent.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from node.chain.rpc import Json, quantity, read_digest, unformatted
from protocol.errors import TransientError
from protocol.signing.keccak import keccak256

_FRONTIER: Final = (
    *("parentHash", "sha3Uncles", "miner", "stateRoot", "transactionsRoot", "receiptsRoot", "logsBloom"),
    *("difficulty", "number", "gasLimit", "gasUsed", "timestamp", "extraData", "mixHash", "nonce"),
)
_APPENDED: Final = (
    "baseFeePerGas",  # London, EIP-1559
    "withdrawalsRoot",  # Shanghai, EIP-4895
    "blobGasUsed",  # Cancun, EIP-4844
    "excessBlobGas",
    "parentBeaconBlockRoot",  # Cancun, EIP-4788
    "requestsHash",  # Prague, EIP-7685
)
_NUMBERS: Final = frozenset(
    (
        *("difficulty", "number", "gasLimit", "gasUsed", "timestamp"),
        *("baseFeePerGas", "blobGasUsed", "excessBlobGas"),
    )
)


class HeaderUnreadable(TransientError):
    """What the chain's node tells of a block doesn't make its hash."""

    def __init__(self, number: int) -> None:
        super().__init__(
            f"the header of block {number}, as the chain's node tells it, doesn't have the block's hash",
            advice="use another node for chain.rpc_url; if the chain has forked since this release, a newer release",
        )


def encode_header(fields: Mapping[str, Json]) -> bytes:
    """Return the RLP of a header, whose keccak is the block's hash.

    Args:
        fields: What `eth_getBlockByNumber` answers.

    Raises:
        HeaderUnreadable: It isn't: the node lies, or the header has fields of a fork that is not known here.
    """
    names = (*_FRONTIER, *(name for name in _APPENDED if fields.get(name) is not None))
    encoded = _rlp_list([_item(name, fields.get(name)) for name in names])
    if keccak256(encoded) != read_digest(fields.get("hash")):
        raise HeaderUnreadable(quantity(fields.get("number")))
    return encoded


def _item(name: str, value: Json) -> bytes:
    if name in _NUMBERS:
        number = quantity(value)
        return number.to_bytes((number.bit_length() + 7) // 8)
    return unformatted(value)


def _rlp_list(items: Sequence[bytes]) -> bytes:
    body = b"".join(_rlp_bytes(item) for item in items)
    return _rlp_prefix(len(body), 0xC0) + body


def _rlp_bytes(item: bytes) -> bytes:
    if len(item) == 1 and item[0] < 0x80:
        return item
    return _rlp_prefix(len(item), 0x80) + item


def _rlp_prefix(length: int, offset: int) -> bytes:
    if length < 56:
        return bytes([offset + length])
    size = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes([offset + 55 + len(size)]) + size
