"""Anchoring one sheet, from the decision to the root on the chain. Pure: docs/spec/scores.md, SC5 to SC8.

    state      event       next       outstanding
    Intended   Anchored    Standing   -            the root is confirmed on the chain
    Intended   Overtaken   Dropped    -            the chain has another root of this epoch, or a later epoch

Whether there is anything to anchor is decided by `find_due` from what the chain says, so that a node that lost its
memory anchors nothing twice.
"""

from dataclasses import dataclass
from typing import TypeAlias

from protocol.errors import UnexpectedEvent
from protocol.identity import ZERO_DIGEST, Digest
from protocol.reputation.scores import Sheet, epoch_at
from protocol.units import Seconds, Uint64, UnixTime
from protocol.wire.codec import tagged


@dataclass(frozen=True, slots=True, kw_only=True)
class Intended:
    """Decided, and not known to be on the chain."""

    sheet: Sheet


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The root of the sheet is the one of its epoch."""

    sheet: Sheet
    block: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Another program with this key was faster; the sheet was never anchored and proves nothing."""

    sheet: Sheet


State: TypeAlias = Intended | Standing | Dropped


@tagged(1)
@dataclass(frozen=True, slots=True, kw_only=True)
class Anchored:
    """The root is confirmed; `block` is where, or a later one at which it was seen."""

    block: Uint64


@tagged(2)
@dataclass(frozen=True, slots=True, kw_only=True)
class Overtaken:
    """The chain has another root for this epoch, or is at a later epoch."""


Event: TypeAlias = Anchored | Overtaken


@dataclass(frozen=True, slots=True, kw_only=True)
class OnChain:
    """What the contract says of a publisher, confirmed: its last epoch and the root of that; zeros before the first."""

    epoch: Uint64 = 0
    root: Digest = ZERO_DIGEST


def begin(sheet: Sheet) -> State:
    """Return the state in which a sheet's stream begins."""
    return Intended(sheet=sheet)


def transition(state: State, event: Event) -> tuple[State, tuple[()]]:
    """Apply one fact.

    Raises:
        UnexpectedEvent: The sheet's fate was known.
    """
    match state, event:
        case Intended(sheet=sheet), Anchored(block=block):
            return Standing(sheet=sheet, block=block), ()
        case Intended(sheet=sheet), Overtaken():
            return Dropped(sheet=sheet), ()
        case _:
            raise UnexpectedEvent(f"{type(event).__name__} in {type(state).__name__}")


def find_due(*, now: UnixTime, every: Seconds, on_chain: OnChain) -> Uint64 | None:
    """Return the epoch that may be anchored now; None if this one, or a later one, was.

    Args:
        now: The time of the newest confirmed block, which no clock of ours can be ahead of.
        every: Length of an epoch.
        on_chain: What stands there.
    """
    epoch = epoch_at(now, every)
    return epoch if epoch > on_chain.epoch else None


def may_go(*, now: UnixTime, epoch: Uint64, patience: Seconds, is_gas_cheap: bool) -> bool:
    """Return whether a routine anchor goes out now: gas is cheap, or it has waited long enough for that."""
    return is_gas_cheap or now >= epoch + patience
