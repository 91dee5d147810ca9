"""Seals and openings of one committee, as they come in from its other arbiters (docs/spec/law.md, section 6). Pure.

First everybody tells its seals; whoever has all of them opens its vote under them, and whoever is told an opening
under seals that hold its own opens too. Only after the time for seals may some be missing. More than half of equal
votes under the same seals are a quorum, which anybody can take to the court.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from protocol.dispute.ballot import Ballot, Quorum, find_quorum, is_majority, seal_of, seals_digest, vote_hash
from protocol.dispute.messages import OpeningsNotice, SealsNotice
from protocol.dispute.objects import Opening, Vote
from protocol.errors import ProtocolError
from protocol.identity import ZERO_DIGEST, Address, Digest
from protocol.signing.ecdsa import Signature
from protocol.signing.eip712 import Domain
from protocol.signing.signed import Signed, verify_signer

MOST_VECTORS: Final = 4
"""Vectors of seals that are kept of one arbiter: honest ones open under one."""


class WrongNotice(ProtocolError):
    """Seals or openings that aren't the sender's, or don't belong together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """A quorum with the signatures of its seats, in their order.

    Attributes:
        is_complete: Whether every seat that sealed has opened: waiting brings nobody else in.
    """

    quorum: Quorum
    signatures: tuple[Signature, ...]
    is_complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    vote: Vote
    secret: Digest
    signature: Signature


class Exchange:
    """What one arbiter has heard in one round of one committee."""

    def __init__(self, domain: Domain, award: Digest, number: int, committee: Sequence[Address]) -> None:
        self._domain, self._award, self._number = domain, award, number
        self.committee = tuple(committee)
        self._seals: dict[int, Digest] = {}
        self._opened: dict[tuple[Digest, ...], dict[int, _Opened]] = {}
        self._vectors_of: dict[Address, set[tuple[Digest, ...]]] = {}

    def seats_of(self, arbiter: Address) -> tuple[int, ...]:
        """Return where it sits; nowhere for a stranger."""
        return tuple(seat for seat, owner in enumerate(self.committee) if owner == arbiter)

    def hear_seals(self, sender: Address, notice: SealsNotice) -> None:
        """Keep the seals of the sender's seats. The first seal of a seat counts.

        Raises:
            WrongNotice: For seats that aren't the sender's.
        """
        own = self.seats_of(sender)
        if {one.seat for one in notice.seals} - set(own) or any(one.seal == ZERO_DIGEST for one in notice.seals):
            raise WrongNotice("it seals for a seat that isn't its own, or with nothing")
        for one in notice.seals:
            self._seals.setdefault(one.seat, one.seal)

    def has_seals_of(self, arbiter: Address) -> bool:
        """Tell whether all its seats have sealed."""
        return all(seat in self._seals for seat in self.seats_of(arbiter))

    def vector(self) -> tuple[Digest, ...]:
        """Return the seals of all seats as far as they came, zero for the others."""
        return tuple(self._seals.get(seat, ZERO_DIGEST) for seat in range(len(self.committee)))

    def is_full(self) -> bool:
        """Tell whether every seat has sealed."""
        return len(self._seals) == len(self.committee)

    def has_most(self) -> bool:
        """Tell whether a majority could come of the seals that are here."""
        return is_majority(len(self._seals), len(self.committee))

    def hear_openings(self, sender: Address, notice: OpeningsNotice) -> None:
        """Keep the openings of the sender's seats under the seals that it names.

        Raises:
            WrongNotice: They aren't the sender's, or don't match the seals.
            BadSignature: Not signed by the sender.
        """
        if notice.vote is None or not notice.openings:
            return
        if len(notice.seals) != len(self.committee):
            raise WrongNotice(f"it names {len(notice.seals)} seals of {len(self.committee)} seats")
        vectors = self._vectors_of.setdefault(sender, set())
        if notice.seals not in vectors and len(vectors) >= MOST_VECTORS:
            raise WrongNotice("it opens under ever new seals")
        hashed, own = vote_hash(notice.vote), self.seats_of(sender)
        opening = self.opening_of(notice.vote, notice.seals)
        for one in notice.openings:
            if one.seat not in own or notice.seals[one.seat] != seal_of(hashed, sender, one.secret):
                raise WrongNotice(f"what it opens for seat {one.seat} is not what was sealed there")
            verify_signer(self._domain, Signed(opening, one.signature), sender)
        vectors.add(notice.seals)
        heard = self._opened.setdefault(notice.seals, {})
        for one in notice.openings:
            heard[one.seat] = _Opened(vote=notice.vote, secret=one.secret, signature=one.signature)

    def has_openings_of(self, arbiter: Address, seals: Sequence[Digest]) -> bool:
        """Tell whether all its seats have opened under these seals."""
        heard = self._opened.get(tuple(seals), {})
        return all(seat in heard for seat in self.seats_of(arbiter))

    def vectors(self) -> tuple[tuple[Digest, ...], ...]:
        """Return the seals under which somebody has opened, those with the most openings first."""
        return tuple(sorted(self._opened, key=lambda seals: -len(self._opened[seals])))

    def opening_of(self, vote: Vote, seals: Sequence[Digest]) -> Opening:
        """Return what a seat signs."""
        return Opening(award=self._award, round=self._number, vote=vote_hash(vote), seals=seals_digest(seals))

    def settlement(self) -> Settlement | None:
        """Return the quorum that the openings make, if they do."""
        for seals in self.vectors():
            heard = self._opened[seals]
            told: Mapping[int, Digest] = {seat: seal for seat, seal in enumerate(seals) if seal != ZERO_DIGEST}
            ballots = {seat: Ballot(vote=one.vote, secret=one.secret) for seat, one in heard.items()}
            quorum = find_quorum(self.committee, told, ballots)
            if quorum is not None:
                seats = [seat for seat in range(len(self.committee)) if quorum.seats >> seat & 1]
                signatures = tuple(heard[seat].signature for seat in seats)
                return Settlement(quorum=quorum, signatures=signatures, is_complete=len(heard) == len(told))
        return None
