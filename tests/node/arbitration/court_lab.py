"""A court, its parties and its arbiters in one process: real services and journals on a virtual clock.

The contract has tests of its own, on a chain; here it is a small fake with state that checks what is shown to it.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import trio

from node.arbitration.arbiter import Arbiter, open_arbiter
from node.arbitration.ports import Delivery, Mark, PastRound, Told
from node.arbitration.room import ArbiterRoom
from node.operations.clock import TrioClock
from node.operations.randomness import SeededRandomSource
from node.storage.blocking import in_line
from node.storage.machine_log import OpenStreams, select_open_streams
from node.storage.storage import open_storage
from protocol.dispute.ballot import Quorum, is_majority, seal_of, seals_digest, vote_hash
from protocol.dispute.case import Appealed, CaseOpened, Round, Stage
from protocol.dispute.messages import DOSSIER_METHOD, Dossier, DossierRequest
from protocol.dispute.objects import Opening, Vote
from protocol.dispute.schedule import SEATS
from protocol.errors import ChainRejected, ProtocolError, StoaError, TransientError
from protocol.identity import Address, ContentDigest, Digest, PeerId
from protocol.signing.ecdsa import Signature
from protocol.signing.eip712 import digest
from protocol.signing.signed import Signed, verify_signer
from protocol.task.audit import Rerun
from protocol.task.receipt import Terms
from protocol.task.verification import blobs_of
from protocol.units import Amount, UnixTime
from protocol.wire.codec import decode, encode
from tests.node.arbitration.case_papers import (
    COURT,
    ENGINE,
    EPOCH,
    MARKET,
    PART,
    PROVIDER,
    REQUESTER,
    TIME,
    Papers,
    Person,
    person,
)

BLOCK_S = 1.0
LATENCY_S = 0.01


class Away(TransientError):
    """The chain, or a node, can't be reached now."""


@dataclass(kw_only=True)
class Hall:
    """The contract's state for one case, and the chain under it."""

    clock: TrioClock
    committee: tuple[Address, ...]
    round: Round
    opened: CaseOpened
    vote: Vote | None = None
    seals: dict[int, Digest] = field(default_factory=dict[int, Digest])
    votes: dict[int, Vote] = field(default_factory=dict[int, Vote])
    sent: list[str] = field(default_factory=list[str])
    away: bool = False
    behind: dict[str, Round] = field(default_factory=dict[str, Round])
    """What a lagging node of the chain tells these arbiters of the round."""

    @property
    def now(self) -> UnixTime:
        return self.clock.now()

    def check(self) -> None:
        if self.away:
            raise Away("the chain is away")

    def require_open(self) -> None:
        if not self.round.is_open:
            raise ChainRejected("the round is over")

    def end(self, stage: Stage, vote: Vote) -> None:
        self.vote = vote
        self.round = replace(self.round, stage=stage, ended_after=self.now - self.round.began + 1)


class Facts:
    """Tells that the case is open, then blocks."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._waiting: list[Delivery] = [Told(fact=hall.opened, block=1)]
        if hall.round.number:
            appealed = Appealed(award=hall.opened.award, round=hall.round.number, appellant=PROVIDER.address)
            self._waiting.append(Told(fact=appealed, block=2))

    async def receive(self) -> Delivery:
        await trio.sleep(BLOCK_S)
        if self._waiting:
            return self._waiting.pop(0)
        return Mark(number=self._hall.now - EPOCH, time=self._hall.now, place=b"place")


class FakeCourthouse:
    """The contract as one wallet sees it."""

    address = COURT.verifying_contract
    domain = COURT
    market_domain = MARKET

    def __init__(self, hall: Hall, name: str) -> None:
        self._hall, self._name = hall, name

    def subscribe(self, place: bytes | None) -> Facts:
        return Facts(self._hall)

    async def now(self) -> UnixTime:
        await trio.lowlevel.checkpoint()
        self._hall.check()
        return self._hall.now

    async def opening_of(self, award: Digest) -> CaseOpened | None:
        await trio.lowlevel.checkpoint()
        self._hall.check()
        return self._hall.opened

    async def round_of(self, award: Digest) -> Round:
        await trio.lowlevel.checkpoint()
        self._hall.check()
        return self._hall.behind.get(self._name, self._hall.round)

    async def committee_of(self, award: Digest) -> tuple[Address, ...] | None:
        await trio.lowlevel.checkpoint()
        self._hall.check()
        return self._hall.committee if self._hall.now >= self._hall.round.began + 3 else None

    async def seals_of(self, award: Digest) -> dict[int, Digest]:
        await trio.lowlevel.checkpoint()
        return self._hall.seals

    async def history_of(self, award: Digest) -> tuple[PastRound, ...]:
        await trio.lowlevel.checkpoint()
        return (PastRound(committee=self._hall.committee, vote=self._hall.vote),)

    async def draw(self, award: Digest) -> int:
        hall = await self._transaction("draw")
        if hall.round.stage is not Stage.DRAWING or hall.now > hall.round.schedule.draw_by:
            raise ChainRejected("drawn already, or too late")
        hall.round = replace(hall.round, stage=Stage.VOTING)
        return hall.now

    async def seal(self, award: Digest, committee: Sequence[Address], seat: int, seal: Digest) -> int:
        hall = await self._transaction("seal")
        if hall.round.stage is not Stage.VOTING or hall.now > hall.round.schedule.seal_by:
            raise ChainRejected("not drawn, or too late to seal")
        assert seat not in hall.seals
        hall.seals[seat] = seal
        hall.round = replace(hall.round, sealed_seats=hall.round.sealed_seats | 1 << seat)
        return hall.now

    async def open_vote(
        self, award: Digest, committee: Sequence[Address], seat: int, vote: Vote, secret: Digest
    ) -> int:
        hall = await self._transaction("open")
        if len(hall.seals) < len(hall.committee) and hall.now <= hall.round.schedule.seal_by:
            raise ChainRejected("too early to open")
        assert hall.seals[seat] == seal_of(vote_hash(vote), hall.committee[seat], secret)
        hall.votes[seat] = vote
        hall.round = replace(hall.round, opened_seats=hall.round.opened_seats | 1 << seat)
        if is_majority(sum(one == vote for one in hall.votes.values()), len(hall.committee)):
            hall.vote = vote
            hall.round = replace(hall.round, stage=Stage.DECIDED)
        if len(hall.votes) == len(hall.committee):
            hall.round = replace(hall.round, ended_after=hall.now - hall.round.began + 1)
        return hall.now

    async def settle(
        self, award: Digest, committee: Sequence[Address], quorum: Quorum, signatures: Sequence[Signature]
    ) -> int:
        hall = await self._transaction("settle")
        if hall.round.opened_seats or hall.now > hall.round.schedule.open_by:
            raise ChainRejected("votes are counted on the chain now, or it is too late")
        assert tuple(committee) == hall.committee
        secrets, others = list(quorum.secrets), list(quorum.others)
        hashed, seals, seats = vote_hash(quorum.vote), list[Digest](), list[int]()
        for seat, arbiter in enumerate(hall.committee):
            if quorum.seats >> seat & 1:
                seats.append(seat)
                seals.append(seal_of(hashed, arbiter, secrets.pop(0)))
            else:
                seals.append(others.pop(0))
        assert is_majority(len(seats), len(hall.committee))
        opening = Opening(award=award, round=hall.round.number, vote=hashed, seals=seals_digest(seals))
        for seat, signature in zip(seats, signatures, strict=True):
            verify_signer(COURT, Signed(opening, signature), hall.committee[seat])
        hall.end(Stage.AGREED, quorum.vote)
        hall.round = replace(hall.round, opened_seats=quorum.seats)
        return hall.now

    async def _transaction(self, what: str) -> Hall:
        """Wait for the next block, in which the call counts."""
        self._hall.check()
        await trio.sleep(BLOCK_S)
        self._hall.check()
        self._hall.require_open()
        self._hall.sent.append(f"{self._name} {what}")
        return self._hall


Handler = Callable[[PeerId, bytes], Awaitable[bytes]]


@dataclass(kw_only=True)
class Network:
    """Who answers, who holds which blob, and which messages are lost."""

    handlers: dict[tuple[Address, str], Handler] = field(default_factory=dict[tuple[Address, str], Handler])
    holders: dict[ContentDigest, set[Address]] = field(default_factory=dict[ContentDigest, set[Address]])
    trickles: set[ContentDigest] = field(default_factory=set[ContentDigest])
    """Blobs whose holders never come to their end."""
    grants: set[tuple[Address, ContentDigest, Address]] = field(
        default_factory=set[tuple[Address, ContentDigest, Address]]
    )
    """Who lets whom fetch what: arbiters serve nothing without."""
    withholds: Callable[[Address, Address, ContentDigest], bool] = lambda _holder, _reader, _digest: False
    is_lost: Callable[[Address, Address, str], bool] = lambda _source, _target, _method: False
    twist: Callable[[Address, Address, str, bytes], bytes] = lambda _source, _target, _method, body: body

    def show(self, papers: Papers, who: Person, dossier: Dossier) -> None:
        """Let a party answer with this dossier, and hold module and input."""

        async def answer(_peer: PeerId, body: bytes) -> bytes:
            await trio.lowlevel.checkpoint()
            request = decode(DossierRequest, body, max_bytes=1024)
            if request.award != papers.terms.award_id:
                raise ProtocolError("no such award here")
            return encode(dossier)

        self.handlers[who.address, DOSSIER_METHOD] = answer
        for blob in (papers.manifest.module, *blobs_of(papers.policy), *papers.manifest.inputs_of(PART)):
            self.holders.setdefault(blob.digest, set()).add(who.address)


class FakePeers:
    """The network as one wallet sees it."""

    def __init__(self, network: Network, wallet: Address) -> None:
        self._network, self._wallet = network, wallet

    async def call(self, wallet: Address, method: str, body: bytes) -> bytes:
        await trio.sleep(LATENCY_S)
        handler = self._network.handlers.get((wallet, method))
        if handler is None or self._network.is_lost(self._wallet, wallet, method):
            raise Away(f"{method} did not arrive")
        answer = await handler(PeerId(self._wallet.hex()), self._network.twist(self._wallet, wallet, method, body))
        await trio.sleep(LATENCY_S)
        return answer

    def serve(self, method: str, handler: Handler, *, max_request: int) -> None:
        assert max_request > 0
        self._network.handlers[self._wallet, method] = handler

    def wallet_of(self, peer: PeerId) -> Address | None:
        return Address(bytes.fromhex(str(peer)))

    async def fetch_from(
        self, wallets: Sequence[Address], digest: ContentDigest, *, max_bytes: int, keep_until: UnixTime
    ) -> None:
        await trio.sleep(LATENCY_S)
        if digest in self._network.trickles:
            await trio.sleep_forever()
        holders = self._network.holders.setdefault(digest, set())
        if self._wallet in holders:
            return
        if not any(self._serves(holder, digest) for holder in holders & set(wallets)):
            raise Away("nobody serves it")
        holders.add(self._wallet)

    def _serves(self, holder: Address, digest: ContentDigest) -> bool:
        network = self._network
        is_side = holder in (REQUESTER.address, PROVIDER.address)
        may_read = is_side or (holder, digest, self._wallet) in network.grants
        return may_read and not network.withholds(holder, self._wallet, digest)

    async def grant(self, digest: ContentDigest, wallet: Address, until: UnixTime) -> None:
        await trio.lowlevel.checkpoint()
        self._network.grants.add((self._wallet, digest, wallet))


@dataclass(kw_only=True)
class FakeRunner:
    """Takes a second; finds what it is told to find."""

    finds: Rerun
    takes_s: float = 1.0
    fails: StoaError | None = None
    runs: int = 0
    tested: ContentDigest | None = None
    part: int | None = PART
    """The only one that it expects to run; None for any."""
    engine: Digest = ENGINE

    async def run_test(self, terms: Terms, part: int, output: ContentDigest) -> Rerun:
        assert output == self.tested
        return await self.run_again(terms, part)

    async def run_again(self, terms: Terms, part: int) -> Rerun:
        assert self.part in (None, part)
        self.runs += 1
        await trio.sleep(self.takes_s)
        if self.fails is not None:
            raise self.fails
        return self.finds


@dataclass(kw_only=True)
class Lab:
    """One case with everybody in it."""

    folder: Path
    hall: Hall
    network: Network
    case: "Papers"
    runners: dict[str, FakeRunner]
    people: dict[str, Person]
    silent: set[str] = field(default_factory=set[str])

    @asynccontextmanager
    async def sitting(self, *names: str) -> AsyncGenerator[dict[str, Arbiter], None]:
        """Run these arbiters; all of them if none is named."""
        async with AsyncExitStack() as stack:
            arbiters = {
                name: await stack.enter_async_context(self._open(name))
                for name in (names or tuple(self.people))
                if name not in self.silent
            }
            yield arbiters

    async def wait_over(self, limit_s: float = 200) -> None:
        with trio.fail_after(limit_s):
            while self.hall.round.is_open:
                await trio.sleep(0.25)

    @asynccontextmanager
    async def _open(self, name: str) -> AsyncGenerator[Arbiter, None]:
        clock, one = self.hall.clock, self.people[name]
        async with open_storage(
            self.folder / name, clock=clock, projections=(OpenStreams(),), run_blocking=in_line
        ) as storage:

            async def open_streams(prefix: str) -> tuple[str, ...]:
                return await storage.read.query(lambda connection: select_open_streams(connection, prefix))

            room = ArbiterRoom(
                court=FakeCourthouse(self.hall, name),
                peers=FakePeers(self.network, one.address),
                signing=one,
                runner=self.runners[name],
                clock=clock,
                random=SeededRandomSource(name),
                block_time_s=BLOCK_S,
            )
            async with open_arbiter(room, storage.journal, open_streams, storage.cursors) as arbiter:
                yield arbiter
            for key in [key for key in self.network.handlers if key[0] == one.address]:
                del self.network.handlers[key]


def open_case(folder: Path, papers: Papers, *, arbiters: Sequence[str] = "abcde", opener: Person = REQUESTER) -> Lab:
    """A case that was opened now; its seats are held in the order of `arbiters`, where names may repeat."""
    people = {name: person(f"arbiter {name}") for name in arbiters}
    clock = TrioClock.starting_at(EPOCH)
    assert len(arbiters) in SEATS
    award_id = papers.terms.award_id
    hall = Hall(
        clock=clock,
        committee=tuple(people[name].address for name in arbiters),
        round=Round(
            began=EPOCH,
            time=TIME,
            ended_after=0,
            draw_block=2,
            places=len(arbiters),
            sealed_seats=0,
            opened_seats=0,
            seat_fee=Amount(1_000),
            number=SEATS.index(len(arbiters)),
            stage=Stage.DRAWING,
            by_provider=opener == PROVIDER,
        ),
        opened=CaseOpened(
            award=award_id,
            opener=opener.address,
            engine=ENGINE,
            part=PART,
            receipt=digest(MARKET, papers.receipt.value),
        ),
    )
    return Lab(
        folder=folder,
        hall=hall,
        network=Network(),
        case=papers,
        people=people,
        runners={name: FakeRunner(finds=papers.truth) for name in people},
    )
