"""A money machine with its place in the chain: which facts it has seen, and at what time of the chain. Pure.

Two things must hold after any crash. A fact that says "this much more" is applied once, though the chain is read again
from an older block: so a machine remembers the place of its newest fact and refuses older ones. And a replay decides as
the first run did, though most blocks bring nothing worth keeping: so each step carries the time of the newest confirmed
block, and applying a step begins with that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from node.payments.errors import OldFact
from protocol.units import Uint32, Uint64, UnixTime

S = TypeVar("S")
E = TypeVar("E")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Generic[E]):
    """One event with its place: what a stream of this room consists of.

    Attributes:
        seen: Time of the newest confirmed block when it happened.
        block: Of a fact from the chain; 0 for anything else.
        index: Of the fact in its block.
        event: What happened.
    """

    seen: UnixTime
    block: Uint64 = 0
    index: Uint32 = 0
    event: E


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked(Generic[S]):
    """A machine's state and the place of the newest fact in it."""

    state: S
    block: Uint64 = 0
    index: Uint32 = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules(Generic[S, E]):
    """A machine, pure.

    Attributes:
        advance: Lets the time of the newest confirmed block pass.
        transition: Applies one event, or raises ProtocolError and changes nothing.
        is_over: Whether nothing can happen any more.
    """

    advance: Callable[[S, UnixTime], S]
    transition: Callable[[S, E], S]
    is_over: Callable[[S], bool]


def track(rules: Rules[S, E]) -> Callable[[Tracked[S], Step[E]], tuple[Tracked[S], tuple[()]]]:
    """Return the transition over steps. Effects are not returned: they are asked of the state, always.

    Raises (when called):
        OldFact: The fact, or a later one, was applied before.
    """

    def transition(tracked: Tracked[S], step: Step[E]) -> tuple[Tracked[S], tuple[()]]:
        place = (step.block, step.index)
        if step.block and place <= (tracked.block, tracked.index):
            raise OldFact(f"fact {place} was applied before")
        block, index = place if step.block else (tracked.block, tracked.index)
        state = rules.transition(rules.advance(tracked.state, step.seen), step.event)
        return Tracked(state=state, block=block, index=index), ()

    return transition
