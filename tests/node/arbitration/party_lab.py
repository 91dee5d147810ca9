"""A court in memory, and nodes that are parties before it: real journals and case files on a virtual clock."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import trio

from node.arbitration.case_files import CaseFiles, load_case_files
from node.arbitration.party import Party, open_party
from node.arbitration.party_ports import EscrowSight, Subject
from node.arbitration.party_room import PartyRoom
from node.arbitration.ports import CaseFacts, Delivery, Mark, PastRound, Told
from node.operations.clock import TrioClock
from node.storage.blocking import in_line
from node.storage.machine_log import OpenStreams
from node.storage.storage import Storage, open_storage
from protocol.channel.objects import ChannelKey, Hold
from protocol.dispute.acting import Attitude, HoldSight
from protocol.dispute.case import Appealed, CaseClosed, CaseFact, CaseOpened, Round, RoundDecided, Stage
from protocol.dispute.messages import Dossier
from protocol.dispute.objects import Finding, Vote
from protocol.dispute.party import Brief, Event, File
from protocol.errors import ChainRejected, ProtocolError, StoaError, TransientError
from protocol.identity import ZERO_DIGEST, Address, ContentDigest, Digest, PeerId
from protocol.market.objects import Award, Offer
from protocol.settlement.deadlines import deadlines_of
from protocol.signing.eip712 import Domain, digest
from protocol.signing.signed import Signed
from protocol.task.objects import Receipt
from protocol.task.verification import Trust, encode_verification
from protocol.units import Amount, Seconds, UnixTime
from protocol.wire.codec import encode
from tests.protocol.dispute.dispute_samples import (
    ACCEPTANCE,
    COURT,
    DOMAIN,
    ENGINE,
    MANIFEST,
    NOW,
    OFFER,
    RATES,
    RECEIPT,
)

BLOCK_S = 2.0
LATENCY_S = 0.01
ARBITERS = tuple(Address(bytes([0xA0 + seat]) * 20) for seat in range(5))
NO_ROUND = Round(
    began=UnixTime(0), time=Seconds(0), ended_after=0, draw_block=0, places=0, sealed_seats=0, opened_seats=0,
    seat_fee=Amount(0), number=0, stage=Stage.NONE, by_provider=False,
)  # fmt: skip


class Away(TransientError):
    """Nobody answers."""


def vote(finding: Finding, due: int = 0) -> Vote:
    return Vote(finding=finding, part=1, outcome=0, output=ContentDigest(bytes(32)), fuel=1, due=Amount(due))


@dataclass(kw_only=True)
class Case:
    """One case: its current round, and how the rounds went."""

    award: Award
    round: Round
    history: list[PastRound] = field(default_factory=list[PastRound])
    vote: Vote | None = None


class FakeCourt:
    """The contract with its rules of time; its blocks come with the virtual clock, each confirms the one before."""

    def __init__(self, clock: TrioClock) -> None:
        self.clock = clock
        self.cases: dict[Digest, Case] = {}
        self.facts: list[tuple[int, CaseFact]] = []
        self.acts: list[tuple[str, Address]] = []
        """What was done, by whom; a repeat that the contract refuses isn't in it."""
        self.channel: FakeHolds | None = None
        """Where holds are enforced, if a test has that."""
        self.number = 1
        self.time = clock.now()
        self.mined = trio.Event()

    async def mine(self) -> None:
        """Make blocks."""
        while True:
            await self.clock.sleep(BLOCK_S)
            self.number, self.time = self.number + 1, self.clock.now()
            self.mined.set()
            self.mined = trio.Event()

    async def confirmed(self) -> int:
        """Wait until what is done now is confirmed."""
        block = self.number
        while self.number <= block + 1:
            await self.mined.wait()
        return block

    def tell(self, fact: CaseFact) -> None:
        self.facts.append((self.number, fact))

    def open(self, award: Award, opener: Address, receipt: Digest, *, part: int = 1) -> None:
        award_id = digest(DOMAIN, award)
        if award_id in self.cases:
            raise ChainRejected("CaseExists")
        if award.channel != ZERO_DIGEST and self.clock.now() > deadlines_of(award).latest_dispute_by:
            raise ChainRejected("TooLate")
        began = replace(
            NO_ROUND,
            began=self.clock.now(),
            time=award.resolve_within,
            stage=Stage.VOTING,
            by_provider=opener == award.provider,
        )
        self.cases[award_id] = Case(award=award, round=began)
        self.acts.append(("open", opener))
        self.tell(CaseOpened(award=award_id, opener=opener, engine=ENGINE, part=part, receipt=receipt))

    def decide(self, award_id: Digest, finding: Finding, due: int = 0) -> None:
        """Let the committee of the current round find something, all seats at once."""
        case = self.cases[award_id]
        case.vote = vote(finding, due)
        ended = int(self.clock.now() - case.round.began + 1)
        case.round = replace(case.round, stage=Stage.DECIDED, ended_after=ended)
        self.tell(RoundDecided(award=award_id, round=case.round.number, seats=31, vote=case.vote))

    def appeal(self, award: Award, appellant: Address, number: int) -> None:
        award_id = digest(DOMAIN, award)
        case = self.cases[award_id]
        if case.round.number >= number:
            raise ChainRejected("RoundAsked")
        if not case.round.ended_after or self.clock.now() > case.round.appeal_by:
            raise ChainRejected("TooLate")
        case.history.append(PastRound(committee=ARBITERS, vote=case.vote))
        case.round = replace(case.round, began=self.clock.now(), ended_after=0, number=number, stage=Stage.VOTING)
        case.vote = None
        self.acts.append(("appeal", appellant))
        self.tell(Appealed(award=award_id, round=number, appellant=appellant))

    def close(self, award: Award, closer: Address, rounds: Sequence[PastRound]) -> None:
        award_id = digest(DOMAIN, award)
        case = self.cases[award_id]
        if case.round.stage is Stage.CLOSED:
            raise ChainRejected("NoOpenCase")
        if self.clock.now() <= case.round.appeal_by:
            raise ChainRejected("TooEarly")
        assert list(rounds) == self.history(award_id)
        case.round = replace(case.round, stage=Stage.CLOSED)
        self.acts.append(("close", closer))
        last = next((each.vote for each in reversed(rounds) if each.vote is not None), None)
        finding = Finding(last.finding) if last else Finding.NONE
        self.tell(CaseClosed(award=award_id, finding=finding, due=last.due if last else Amount(0)))

    def enforce(self, award: Award, vote: Vote, who: Address) -> None:
        assert self.channel is not None
        self.channel.enforce(award, vote)
        self.acts.append(("enforce", who))

    def history(self, award_id: Digest) -> list[PastRound]:
        case = self.cases[award_id]
        return [*case.history, PastRound(committee=ARBITERS, vote=case.vote)]


class CrashAt:
    """Ends a run at one of its steps, once: called at each, it cancels `scope`, which is the run's."""

    def __init__(self, step: int) -> None:
        self._step, self._count, self.scope = step, 0, trio.CancelScope()

    def __call__(self) -> None:
        if self._count == self._step:
            self.scope.cancel()
        self._count += 1


class FakeCourthouse:
    """The court for one wallet. `away`: the chain can't be reached. `refuses`: what our own wallet says to a bond."""

    def __init__(self, court: FakeCourt, wallet: Address) -> None:
        self._court, self._wallet = court, wallet
        self.away = False
        self.refuses: StoaError | None = None
        self.refusals = 0
        self.is_drawn = True
        self.after_send: Callable[[], None] = lambda: None
        """Called when the chain has a transaction, before the node knows."""

    address = COURT
    domain = Domain(chain_id=31337, verifying_contract=COURT)
    market_domain = DOMAIN

    def subscribe(self, place: bytes | None) -> CaseFacts:
        return _Facts(self, self._court, int(place) if place else 0)

    async def now(self) -> UnixTime:
        await self.reach()
        return self._court.time

    async def opening_of(self, award: Digest) -> CaseOpened | None:
        await self.reach()
        return next(
            (fact for _, fact in self._court.facts if isinstance(fact, CaseOpened) and fact.award == award), None
        )

    async def round_of(self, award: Digest) -> Round:
        await self.reach()
        case = self._court.cases.get(award)
        return case.round if case else NO_ROUND

    async def committee_of(self, award: Digest) -> tuple[Address, ...] | None:
        await self.reach()
        return ARBITERS if award in self._court.cases and self.is_drawn else None

    async def history_of(self, award: Digest) -> tuple[PastRound, ...]:
        await self.reach()
        return tuple(self._court.history(award))

    async def open_on_escrow(self, award: Award, offer: Offer) -> int:
        assert award.channel == ZERO_DIGEST
        return await self._send(lambda: self._court.open(award, self._wallet, Digest(b"\x0e" * 32)), bond=True)

    async def open_on_channel(self, award: Award, offer: Offer, receipt: Signed[Receipt]) -> int:
        assert award.channel != ZERO_DIGEST
        receipt_id = digest(DOMAIN, receipt.value)
        return await self._send(lambda: self._court.open(award, self._wallet, receipt_id), bond=True)

    async def appeal(self, award: Award, offer: Offer, number: int) -> int:
        return await self._send(lambda: self._court.appeal(award, self._wallet, number), bond=True)

    async def close(self, award: Award, rounds: Sequence[PastRound]) -> int:
        return await self._send(lambda: self._court.close(award, self._wallet, rounds))

    async def enforce(self, award: Award, vote: Vote, key: ChannelKey, holds: Sequence[Hold]) -> int:
        case = self._court.cases[digest(DOMAIN, award)]
        if case.round.stage is not Stage.CLOSED:
            raise ChainRejected("NotDecided")
        assert [hold.award for hold in holds] == [digest(DOMAIN, award)]
        return await self._send(lambda: self._court.enforce(award, vote, self._wallet))

    async def reach(self) -> None:
        await self._court.clock.sleep(LATENCY_S)
        if self.away:
            raise Away("the chain can't be reached")

    async def _send(self, act: Callable[[], None], *, bond: bool = False) -> int:
        await self.reach()
        if bond and self.refuses is not None:
            self.refusals += 1
            raise self.refuses
        act()
        self.after_send()
        return await self._court.confirmed()


class _Facts:
    def __init__(self, courthouse: FakeCourthouse, court: FakeCourt, place: int) -> None:
        self._courthouse, self._court, self._read = courthouse, court, place
        self._marked = -1

    async def receive(self) -> Delivery:
        while True:
            confirmed = self._court.number - 1
            if not self._courthouse.away:
                if self._read < len(self._court.facts) and self._court.facts[self._read][0] <= confirmed:
                    block, fact = self._court.facts[self._read]
                    self._read += 1
                    await trio.lowlevel.checkpoint()
                    return Told(fact=fact, block=block)
                if self._marked < confirmed:
                    self._marked = confirmed
                    return Mark(number=confirmed, time=self._court.time, place=b"%d" % self._read)
            await self._court.mined.wait()


class FakePeers:
    """The network of one node: what it serves, whom it granted what, and what it sent to arbiters."""

    def __init__(self) -> None:
        self.handlers: dict[str, Callable[[PeerId, bytes], Awaitable[bytes]]] = {}
        self.granted: set[tuple[ContentDigest, Address]] = set()
        self.sent: list[tuple[Address, str, bytes]] = []
        self.unreachable: set[Address] = set()

    async def call(self, wallet: Address, method: str, body: bytes) -> bytes:
        await trio.sleep(LATENCY_S)
        if wallet in self.unreachable:
            raise Away("not there")
        self.sent.append((wallet, method, body))
        return b""

    def serve(self, method: str, handler: Callable[[PeerId, bytes], Awaitable[bytes]], *, max_request: int) -> None:
        assert max_request > 0
        self.handlers[method] = handler

    def wallet_of(self, peer: PeerId) -> Address | None:
        return Address(bytes.fromhex(peer)) if peer != "stranger" else None

    async def fetch_from(
        self, wallets: Sequence[Address], digest: ContentDigest, *, max_bytes: int, keep_until: UnixTime
    ) -> None:
        raise NotImplementedError

    async def grant(self, digest: ContentDigest, wallet: Address, until: UnixTime) -> None:
        await trio.lowlevel.checkpoint()
        self.granted.add((digest, wallet))


@dataclass(kw_only=True)
class FakePapers:
    """A node's awards by id, with what it knows of each."""

    briefs: dict[Digest, Brief] = field(default_factory=dict[Digest, Brief])

    async def brief_of(self, award: Digest) -> Brief | None:
        await trio.lowlevel.checkpoint()
        return self.briefs.get(award)

    async def dossier_of(self, award: Digest, subject: Subject | None = None) -> Dossier | None:
        await trio.lowlevel.checkpoint()
        brief = self.briefs.get(award)
        if brief is None:
            return None
        return Dossier(
            award=brief.award,
            offer=brief.offer,
            manifest=encode(MANIFEST),
            rates=RATES,
            verification=encode_verification(Trust()),
            receipt=RECEIPT if subject is None or subject.receipt == digest(DOMAIN, RECEIPT.value) else None,
            before=ACCEPTANCE if subject is None or subject.part == ACCEPTANCE.value.part + 1 else None,
        )


@dataclass(kw_only=True)
class FakeEscrows:
    """What payments tell of every escrow."""

    sight: EscrowSight = field(default_factory=lambda: EscrowSight(resolve_by=None, is_over=False))

    def look(self, award: Digest) -> EscrowSight:
        return self.sight


class FakeHolds:
    """The channel of one award, at its payee. It outlives a crash, as payments and the chain do."""

    def __init__(self, unpaid: int = 0, held: int = 0) -> None:
        self.sight = HoldSight(unpaid=Amount(unpaid), held=Amount(held))
        self.is_busy = False
        self.newer = 0
        """What a newer voucher paid for other work; enforced on it, the verdict gives so much more."""
        self.acts: list[str] = []
        self.after_act: Callable[[], None] = lambda: None
        self.key = ChannelKey(payer=ARBITERS[0], signer=ARBITERS[0], payee=ARBITERS[1], token=ARBITERS[2], counter=1)

    async def look(self, award: Award, award_id: Digest) -> HoldSight:
        await trio.lowlevel.checkpoint()
        return self.sight

    async def secure(self, award: Award, award_id: Digest) -> None:
        await trio.sleep(BLOCK_S)
        self._act("secure")
        self.sight = replace(self.sight, is_secured=True)
        self.after_act()

    async def ready(self, award: Award, award_id: Digest) -> tuple[ChannelKey, Sequence[Hold]] | None:
        await trio.sleep(BLOCK_S)
        if self.is_busy:
            return None
        self._act("ready")
        self.after_act()
        return self.key, (Hold(award=award_id, arbiter=COURT, amount=self.sight.held),)

    async def leave(self, award: Award, award_id: Digest) -> None:
        await trio.lowlevel.checkpoint()
        self._act("leave")

    async def costs(self) -> Amount:
        await trio.lowlevel.checkpoint()
        return Amount(1_000)

    def enforce(self, award: Award, vote: Vote) -> None:
        """What the contract does: pay what is due beyond what was paid, once for each voucher.

        After the first time a newer voucher is there, if a test has one; how much it held in all is then the same.
        """
        before = self.sight.taken
        if before is not None and not self.sight.held:
            raise ChainRejected("HoldAlreadyEnforced")
        paid = award.price + award.dispute_fee - self.sight.held
        gives = max(0, vote.due - paid) if before is None else self.newer
        self.sight = HoldSight(
            taken=Amount((before or 0) + gives),
            held=Amount(self.sight.held if before is None and self.newer else 0),
        )

    def _act(self, name: str) -> None:
        if not self.acts or self.acts[-1] != name:
            self.acts.append(name)


@dataclass(kw_only=True)
class FakeBonds:
    """The wallet's accounts of bonds that were closed."""

    closed: list[Digest] = field(default_factory=list[Digest])

    async def close_account(self, account: Digest) -> None:
        await trio.lowlevel.checkpoint()
        self.closed.append(account)


@dataclass(kw_only=True)
class LabParty:
    """A node, as far as it is a party."""

    own: Address
    room: PartyRoom
    storage: Storage
    files: CaseFiles
    court: FakeCourthouse
    peers: FakePeers
    papers: FakePapers
    escrows: FakeEscrows
    bonds: FakeBonds
    party: Party
    steps: list[tuple[File, Event | None]]


ATTITUDE = Attitude(min_resolve_within=300, stagger=20)


@asynccontextmanager
async def open_lab_party(
    court: FakeCourt,
    folder: Path,
    own: Address,
    *,
    papers: FakePapers | None = None,
    attitude: Attitude = ATTITUDE,
    courthouse: FakeCourthouse | None = None,
    escrows: FakeEscrows | None = None,
    holds: FakeHolds | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> AsyncGenerator[LabParty, None]:
    """Run a party until the block ends; `on_step` is called after each durable step, before what follows from it."""
    steps: list[tuple[File, Event | None]] = []

    def note(file: File, event: Event | None) -> None:
        steps.append((file, event))
        on_step()

    async with open_storage(
        folder / own.hex(), clock=court.clock, projections=(OpenStreams(),), run_blocking=in_line
    ) as storage:
        files = await load_case_files(storage, note)
        bonds = FakeBonds()
        room = PartyRoom(
            court=courthouse or FakeCourthouse(court, own),
            files=files,
            papers=papers or FakePapers(),
            escrows=escrows or FakeEscrows(),
            holds=holds or FakeHolds(),
            bonds=bonds,
            peers=FakePeers(),
            blobs=storage.blobs,
            cursors=storage.cursors,
            clock=court.clock,
            own=own,
            attitude=attitude,
        )
        async with open_party(room) as party:
            assert isinstance(room.court, FakeCourthouse)
            assert isinstance(room.peers, FakePeers)
            assert isinstance(room.papers, FakePapers)
            assert isinstance(room.escrows, FakeEscrows)
            yield LabParty(
                own=own,
                room=room,
                storage=storage,
                files=files,
                court=room.court,
                peers=room.peers,
                papers=room.papers,
                escrows=room.escrows,
                bonds=bonds,
                party=party,
                steps=steps,
            )


@asynccontextmanager
async def open_court() -> AsyncGenerator[FakeCourt, None]:
    """Make blocks until the block ends."""
    async with trio.open_nursery() as nursery:
        court = FakeCourt(TrioClock.starting_at(NOW))
        nursery.start_soon(court.mine)
        yield court
        nursery.cancel_scope.cancel()


def brief_about(award: Award, own: Address, **changes: object) -> Brief:
    """Return what a party goes to court with over an award."""
    brief = Brief(award=award, award_id=digest(DOMAIN, award), offer=OFFER, own=own, receipt=RECEIPT, reason="differs")
    return replace(brief, **changes)  # pyright: ignore[reportArgumentType] - each test names fields of Brief


async def eventually(is_true: Callable[[], bool], within_s: float = 10_000.0) -> None:
    """Wait on the virtual clock."""
    with trio.fail_after(within_s):
        while not is_true():
            await trio.sleep(0.5)


def refusal(text: str) -> ProtocolError:
    """Return what a wallet says that has come to a cap."""
    return ProtocolError(text, advice="raise wallet.caps")
