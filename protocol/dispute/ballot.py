"""Sealed votes, and a quorum of them (docs/spec/law.md, CT5 and CT6; the contract's `Panel`)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protocol.dispute.objects import Finding, Vote
from protocol.identity import ZERO_DIGEST, Address, Digest
from protocol.signing.eip712 import encode_words
from protocol.signing.keccak import keccak256


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """What a seat hands to the others once all seals are in: its vote, and what it sealed it with."""

    vote: Vote
    secret: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Quorum:
    """The openings that settle a round in one transaction.

    Attributes:
        vote: What more than half of the seats found.
        seats: Those that open it, as bits.
        secrets: Theirs, in the order of the seats.
        others: The seals of the other seats, in order; zero for one that sent none.
    """

    vote: Vote
    seats: int
    secrets: tuple[Digest, ...]
    others: tuple[Digest, ...]


def vote_hash(vote: Vote) -> Digest:
    """Return what is sealed and counted: the keccak of the vote's words."""
    return keccak256(encode_words(vote))


def seal_of(vote: Digest, arbiter: Address, secret: Digest) -> Digest:
    """Return what hides a vote until it is opened. It names its arbiter: a copy of it opens for nobody else (CT5)."""
    return keccak256(vote + arbiter.rjust(32, b"\0") + secret)


def committee_hash(committee: Sequence[Address]) -> Digest:
    """Return what the contract keeps of a drawn committee."""
    return keccak256(b"".join(seat.rjust(32, b"\0") for seat in committee))


def agreed_hash(committee: Digest, vote: Digest) -> Digest:
    """Return what it keeps of a committee that a quorum has decided for."""
    return keccak256(committee + vote)


def seals_digest(seals: Sequence[Digest]) -> Digest:
    """Return what every opening signs: the keccak of the seals of all seats, in their order (CT6)."""
    return keccak256(b"".join(seals))


def is_majority(votes: int, seats: int) -> bool:
    """Return whether `votes` equal votes decide a round of `seats`."""
    return votes * 2 > seats


def find_quorum(
    committee: Sequence[Address], seals: Mapping[int, Digest], ballots: Mapping[int, Ballot]
) -> Quorum | None:
    """Return the quorum that these ballots make, or None.

    Args:
        committee: Who sits, seat by seat; one arbiter may hold several.
        seals: By seat; a seat that sent none is missing.
        ballots: By seat. One that its seal doesn't match is passed over: it was changed after the seals were seen.
            So is one that the contract couldn't read: without a finding that it knows.
    """
    sound = {
        seat: ballot
        for seat, ballot in ballots.items()
        if seat < len(committee)
        and Finding.NONE < ballot.vote.finding <= max(Finding)
        and seals.get(seat) == seal_of(vote_hash(ballot.vote), committee[seat], ballot.secret)
    }
    counted = Counter(ballot.vote for ballot in sound.values()).most_common(1)
    if not counted or not is_majority(counted[0][1], len(committee)):
        return None
    vote = counted[0][0]
    agreeing = [seat for seat in range(len(committee)) if seat in sound and sound[seat].vote == vote]
    return Quorum(
        vote=vote,
        seats=sum(1 << seat for seat in agreeing),
        secrets=tuple(sound[seat].secret for seat in agreeing),
        others=tuple(seals.get(seat, ZERO_DIGEST) for seat in range(len(committee)) if seat not in agreeing),
    )
