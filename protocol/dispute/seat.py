"""An arbiter's seats in one round: what it found, and under which seals it opened that (docs/spec/law.md, section 6).

All that must survive a crash is here. An arbiter votes once; and it opens its vote under the seals of one committee
once, so that nobody who has seen it open can add a seal afterwards (L7).
"""

from dataclasses import dataclass, replace
from typing import Annotated, TypeAlias

from protocol.dispute.ballot import seal_of, vote_hash
from protocol.dispute.evidence import Matter
from protocol.dispute.messages import MOST_SEATS, Papers
from protocol.dispute.objects import Vote
from protocol.errors import ProtocolError, UnexpectedEvent
from protocol.identity import Address, Digest
from protocol.signing.keccak import keccak256
from protocol.units import Uint8
from protocol.wire.codec import MaxLen, tagged

Seals = Annotated[tuple[Digest, ...], MaxLen(MOST_SEATS)]
Committee = Annotated[tuple[Address, ...], MaxLen(MOST_SEATS)]


class OpenedAlready(ProtocolError):
    """This arbiter has opened its vote under other seals of the same committee."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summons:
    """A round of a case in which this arbiter may sit. `secret` is the root of what seals its votes."""

    matter: Matter
    round: Uint8
    secret: Digest


@tagged(1)
@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The part was run, or can't be: this is the vote of all our seats."""

    vote: Vote


@tagged(2)
@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The vote may be told to others, under these seals of this committee."""

    committee: Committee
    seals: Seals


@tagged(3)
@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """The sides are not asked any more: fellows may be told that nothing but this came of it."""

    papers: Papers | None


Event: TypeAlias = Judged | Opened | Heard


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is decided so far. `heard` is None while the sides are asked, `opened` until a vote may be told."""

    heard: Heard | None = None
    vote: Vote | None = None
    opened: Opened | None = None


def transition(state: State, event: Event) -> tuple[State, tuple[()]]:
    """Apply one event.

    Raises:
        UnexpectedEvent: A second vote, an opening before the vote, or evidence after it.
        OpenedAlready: An opening under other seals of the same committee.
    """
    match event:
        case Heard():
            if state.vote is not None:
                raise UnexpectedEvent("this arbiter has its vote")
            return (state if state.heard == event else replace(state, heard=event)), ()
        case Judged(vote=vote):
            if state.vote is not None:
                raise UnexpectedEvent("this arbiter has its vote")
            return replace(state, vote=vote), ()
        case Opened():
            if state.vote is None:
                raise UnexpectedEvent("there is no vote to open")
            before = state.opened
            if before == event:
                return state, ()
            if before is not None and before.committee == event.committee:
                raise OpenedAlready("the vote is open under other seals")
            return replace(state, opened=event), ()


def secret_of(root: Digest, seat: int) -> Digest:
    """Return what seals the vote of one seat. It doesn't depend on the committee: that may be drawn anew."""
    return keccak256(root + seat.to_bytes(32))


def own_seals(summons: Summons, vote: Vote, me: Address, committee: Committee) -> dict[int, Digest]:
    """Return the seals of this arbiter's seats, by seat."""
    hashed = vote_hash(vote)
    return {
        seat: seal_of(hashed, me, secret_of(summons.secret, seat))
        for seat, arbiter in enumerate(committee)
        if arbiter == me
    }
