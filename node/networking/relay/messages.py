"""What is said to set up a circuit: Circuit Relay v2 (https://github.com/libp2p/specs/blob/master/relay/circuit-v2.md).

    dialler ── hop: CONNECT(target) ──▶ relay ── stop: CONNECT(dialler) ──▶ target
            ◀── hop: STATUS, limit ────       ◀── stop: STATUS ────────────

A target has asked the relay for a place before (hop: RESERVE). The bytes are in `libp2p/circuit_codec.py`.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from protocol.errors import ProtocolError
from protocol.identity import PeerId

HOP: Final = "/libp2p/circuit/relay/0.2.0/hop"
STOP: Final = "/libp2p/circuit/relay/0.2.0/stop"
MAX_MESSAGE_BYTES: Final = 4096


class BadCircuitMessage(ProtocolError):
    """Bytes that are no message of a circuit, or one that makes no sense there."""


class HopKind(IntEnum):
    """What a message between a relay and one who wants something of it is."""

    RESERVE = 0
    CONNECT = 1
    STATUS = 2


class StopKind(IntEnum):
    """What a message between a relay and the target of a circuit is."""

    CONNECT = 0
    STATUS = 1


class Status(IntEnum):
    """How it went. `UNUSED` stands for no status, and for numbers that are not here."""

    UNUSED = 0
    OK = 100
    RESERVATION_REFUSED = 200
    RESOURCE_LIMIT_EXCEEDED = 201
    PERMISSION_DENIED = 202
    CONNECTION_FAILED = 203
    NO_RESERVATION = 204
    MALFORMED_MESSAGE = 400
    UNEXPECTED_MESSAGE = 401


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What a circuit may take; 0 is no limit.

    Attributes:
        duration_s: Seconds from its beginning.
        data_bytes: Bytes in each direction.
    """

    duration_s: int = 0
    data_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A place that a relay keeps.

    Attributes:
        expires: Unix seconds.
        addresses: Where the relay says that it is, as binary multiaddresses: for other implementations. We announce
            the place at which it answered us, since an address that somebody tells may be anybody's.
        voucher: The relay's signature, an envelope; empty if it gave none.
    """

    expires: int
    addresses: tuple[bytes, ...] = ()
    voucher: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class HopMessage:
    """Between a relay and its clients. Which fields count depends on `kind`."""

    kind: HopKind
    peer: PeerId | None = None
    reservation: Reservation | None = None
    limit: Limit | None = None
    status: Status = Status.UNUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class StopMessage:
    """Between a relay and the target of a circuit."""

    kind: StopKind
    peer: PeerId | None = None
    limit: Limit | None = None
    status: Status = Status.UNUSED
