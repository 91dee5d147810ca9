"""What a payee and its watchtower say to each other (docs/spec/watchtower.md, section 2).

Each is the body of one request of the payee's node, or the answer to it. Every one may come again.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from protocol.channel.watch import WatchOrder
from protocol.identity import Digest
from protocol.units import Amount, Uint64
from protocol.wire.codec import MaxLen

HAND_METHOD: Final = "watch/hand"
"""A `HandRequest`; the answer is a `HandAnswer`."""
STATE_METHOD: Final = "watch/state"
"""A `WatchStateRequest`; the answer is a `WatchStateAnswer`."""
NEWEST_METHOD: Final = "watch/newest"
"""A `KeptRequest`; the answer is a `KeptAnswer`."""

MAX_ORDERS: Final = 16
HAND_MAX_BYTES: Final = 128 * 1024
ORDER_MAX_BYTES: Final = 32 * 1024
"""Of one order: with 256 holds it has 19 KB, with none 320 bytes."""
SMALL_MAX_BYTES: Final = 1024
STATE_ENTRIES: Final = 256
MAX_PROBLEM_CHARS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class HandRequest:
    """Watch these channels with these orders, each instead of any older one."""

    orders: Annotated[tuple[WatchOrder, ...], MaxLen(MAX_ORDERS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """What became of one order.

    Attributes:
        channel: Its channel.
        sequence: Of the order that the tower now holds durably for it; 0 for none.
        problem: Why this one was not taken; empty if it was, or was held already.
    """

    channel: Digest
    sequence: Uint64
    problem: Annotated[str, MaxLen(MAX_PROBLEM_CHARS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class HandAnswer:
    """An entry for each order, in their order."""

    results: Annotated[tuple[Handed, ...], MaxLen(MAX_ORDERS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchStateRequest:
    """Which of my channels do you watch? `after` begins the answer behind that channel; zero for all."""

    after: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchEntry:
    """A channel that the tower watches for who asks, and the sequence of the order that it holds."""

    channel: Digest
    sequence: Uint64


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchStateAnswer:
    """What the tower does for who asks.

    Attributes:
        least: The smallest gain for which it acts, and the smallest deposit that it takes.
        watches: By channel, ascending; as many as there is room for are followed by more.
    """

    least: Amount
    watches: Annotated[tuple[WatchEntry, ...], MaxLen(STATE_ENTRIES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRequest:
    """Give me my newest order for this channel back: I have lost it."""

    channel: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """The order that the tower holds for the asking payee; None if there is none."""

    order: WatchOrder | None
