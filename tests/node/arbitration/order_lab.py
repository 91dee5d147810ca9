"""What it takes to order a case by hand, beside a party before a court in memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import trio

from node.app.ordering import ChainLocks, TokenPurse
from node.arbitration.order_ports import LockSight
from node.arbitration.ordering import Ordering
from node.arbitration.party import Party
from node.arbitration.party_ports import Subject
from node.arbitration.party_room import PartyRoom
from node.arbitration.quoting import QuoteParts
from node.arbitration.rehearsal import Rehearsed
from protocol.dispute.evidence import Matter
from protocol.dispute.messages import Dossier
from protocol.dispute.objects import Finding
from protocol.identity import Address, Digest
from protocol.spending import Cap
from protocol.units import Amount
from tests.node.arbitration.party_lab import FakePapers, LabParty
from tests.node.payments.payments_world import Party as PaymentParty

RICH = Amount(10**12)


@dataclass(kw_only=True)
class FakeOrderPapers(FakePapers):
    """A node's awards, with what was accepted of each."""

    accepted: Amount = Amount(0)

    async def awards_of(self, digits: str) -> tuple[Digest, ...]:
        await trio.lowlevel.checkpoint()
        return tuple(award for award in self.briefs if award.hex().startswith(digits))

    async def accepted_of(self, award: Digest) -> Amount:
        await trio.lowlevel.checkpoint()
        return self.accepted


class NothingToShow(FakeOrderPapers):
    """Those of a test whose court asks nobody for a dossier."""

    async def dossier_of(self, award: Digest, subject: Subject | None = None) -> Dossier | None:
        await trio.lowlevel.checkpoint()
        return None


@dataclass(kw_only=True)
class FakeLooking:
    """Runs the part again, and finds what a test says."""

    finds: Rehearsed = field(default_factory=Rehearsed)
    matters: list[Matter] = field(default_factory=list[Matter])
    within_s: float = 0.0
    on_look: Callable[[], None] = lambda: None

    async def rehearse(self, matter: Matter, provider: Address, *, within_s: float) -> Rehearsed:
        await trio.sleep(1)
        self.on_look()
        self.matters.append(matter)
        self.within_s = within_s
        return self.finds


@dataclass(kw_only=True)
class FakeLocks:
    """What is locked."""

    sight: LockSight = field(default_factory=lambda: LockSight(amount=Amount(500_000), max_bounty=Amount(500_000)))

    async def look(self, award: Digest) -> LockSight:
        await trio.lowlevel.checkpoint()
        return self.sight


@dataclass(kw_only=True)
class FakePurse:
    """A wallet with its caps."""

    left: Amount = RICH
    tokens: Amount = RICH

    def remaining(self, *, peer: Address | None = None, task: Digest | None = None) -> Mapping[Cap, Amount]:
        assert peer is not None
        assert task is not None
        return {Cap.TASK: RICH, Cap.DAY: self.left}

    async def balance(self) -> Amount:
        await trio.lowlevel.checkpoint()
        return self.tokens


@dataclass(kw_only=True)
class Desk:
    """A user at a node."""

    ordering: Ordering
    looking: FakeLooking
    locks: FakeLocks
    purse: FakePurse


def ordering_of(room: PartyRoom, party: Party, papers: FakeOrderPapers, node: PaymentParty) -> Ordering:
    """Return a user's way to court on a real chain, with a real wallet; what a run would find is that it is wrong."""
    looking = FakeLooking(finds=Rehearsed(finding=Finding.WRONG_RESULT, reason="this node ran it itself: wrong result"))
    purse, locks = TokenPurse(node.signer, node.gateway.token), ChainLocks(node.gateway.reputation)
    return Ordering(room, party, QuoteParts(papers=papers, looking=looking, locks=locks, purse=purse))


def desk_of(party: LabParty, looking: FakeLooking | None = None) -> Desk:
    """Sit down at a node whose papers are `FakeOrderPapers`."""
    assert isinstance(party.papers, FakeOrderPapers)
    looking, locks, purse = looking or FakeLooking(), FakeLocks(), FakePurse()
    parts = QuoteParts(papers=party.papers, looking=looking, locks=locks, purse=purse)
    return Desk(ordering=Ordering(party.room, party.party, parts), looking=looking, locks=locks, purse=purse)
