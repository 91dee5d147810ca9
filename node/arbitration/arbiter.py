"""A node that judges: it sits in every case whose draw names it (docs/spec/law.md, section 6)."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from node.arbitration.conversation import NOTICE_MAX_BYTES
from node.arbitration.gathering import DOSSIER_MAX_BYTES
from node.arbitration.ports import Cursors, Mark, Rewound, Told
from node.arbitration.room import SEAT, ArbiterRoom, NotSeatedYet, SeatLog
from node.arbitration.sharing import PAPERS_MAX_BYTES
from node.arbitration.sitting import Sitting
from node.storage.errors import ConcurrentAppend
from node.storage.machine_log import Journal, load_machine, open_machine
from protocol.dispute import seat
from protocol.dispute.case import Appealed, CaseFact, CaseOpened
from protocol.dispute.evidence import Matter
from protocol.dispute.messages import (
    EVIDENCE_METHOD,
    OPENINGS_METHOD,
    PAPERS_METHOD,
    SEALS_METHOD,
    Dossier,
    OpeningsNotice,
    PapersNotice,
    SealsNotice,
)
from protocol.dispute.objects import Vote
from protocol.errors import ProtocolError, TransientError
from protocol.identity import Address, Digest, PeerId
from protocol.signing.eip712 import digest
from protocol.units import UnixTime
from protocol.wire.codec import decode, encode

log = structlog.stdlib.get_logger(__name__)

PREFIX: Final = "seat/"
PLACE: Final = "arbitration.place"
RETRY_S: Final = 1.0
PLACE_EVERY: Final = 64
"""Marks. What is read again after a crash is known already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SittingView:
    """A round that this node is summoned to, for people to look at.

    Attributes:
        part: What the case is about, as it was opened.
        seats: How many this node holds, as far as is known: 0 while the committee isn't.
        vote: What it found; None before.
        vote_by: Last second of a vote; None before the chain was asked.
    """

    award: Digest
    round: int
    part: int
    seats: int
    vote: Vote | None
    vote_by: UnixTime | None

    @property
    def has_vote(self) -> bool:
        """Whether it has run the part, or found that it can't."""
        return self.vote is not None


class NotIntroduced(TransientError):
    """A request of a node whose wallet is not known here yet. It introduces itself and sends it again."""


class NotAParty(ProtocolError):
    """Somebody else than the two sides of an award."""


class Arbiter:
    """Made by `open_arbiter`."""

    def __init__(
        self,
        room: ArbiterRoom,
        journal: Journal,
        open_streams: Callable[[str], Awaitable[tuple[str, ...]]],
        cursors: Cursors,
        nursery: trio.Nursery,
    ) -> None:
        self._room, self._journal, self._open_streams = room, journal, open_streams
        self._cursors, self._nursery = cursors, nursery
        self._sittings: dict[tuple[Digest, int], Sitting] = {}

    def sittings(self) -> tuple[SittingView, ...]:
        """Return the rounds that are not over."""
        return tuple(
            SittingView(
                award=award,
                round=number,
                part=one.part,
                seats=one.seats,
                vote=one.vote,
                vote_by=None if one.held is None else one.held.schedule.open_by,
            )
            for (award, number), one in self._sittings.items()
        )

    async def recall(self) -> None:
        """Take up every round that was not over when the node ended."""
        for stream in await self._open_streams(PREFIX):
            self._begin(await load_machine(self._journal, SEAT, stream))

    async def listen(self) -> None:
        """Hear of cases until cancelled."""
        facts = self._room.court.subscribe(await self._cursors.get(PLACE))
        marks = 0
        while True:
            match await facts.receive():
                case Told(fact=fact):
                    await self._insist(lambda fact=fact: self._hear(fact))
                case Mark(place=place):
                    marks += 1
                    if marks % PLACE_EVERY == 1:
                        await self._insist(lambda place=place: self._cursors.set(PLACE, place))
                case Rewound(to=to):
                    log.warning("court.rewound", to=to)

    def serve(self) -> None:
        """Answer the parties and the other arbiters."""
        peers = self._room.peers
        peers.serve(PAPERS_METHOD, self._on_papers, max_request=PAPERS_MAX_BYTES)
        peers.serve(SEALS_METHOD, self._on_seals, max_request=NOTICE_MAX_BYTES)
        peers.serve(OPENINGS_METHOD, self._on_openings, max_request=NOTICE_MAX_BYTES)
        peers.serve(EVIDENCE_METHOD, self._on_evidence, max_request=DOSSIER_MAX_BYTES)

    async def _insist(self, act: Callable[[], Awaitable[None]]) -> None:
        """Do what may not be left out, though the chain is away or the disk is full."""
        while True:
            try:
                return await act()
            except TransientError as error:
                log.warning("court.fact_waits", reason=str(error))
                await self._room.clock.sleep(RETRY_S)

    async def _hear(self, fact: CaseFact) -> None:
        match fact:
            case CaseOpened() if fact.engine == self._room.runner.engine:
                matter = Matter(award=fact.award, opener=fact.opener, part=fact.part, receipt=fact.receipt)
                await self._summon(matter, 0)
            case Appealed():
                opened = await self._room.court.opening_of(fact.award)
                if opened is not None and opened.engine == self._room.runner.engine:
                    matter = Matter(award=opened.award, opener=opened.opener, part=opened.part, receipt=opened.receipt)
                    await self._summon(matter, fact.round)
            case _:
                pass

    async def _summon(self, matter: Matter, number: int) -> None:
        secret = Digest(self._room.random.bytes(32))
        stream = f"{PREFIX}{matter.award.hex()}/{number}/{matter.receipt.hex()[:16]}"
        summons = seat.Summons(matter=matter, round=number, secret=secret)
        try:
            machine = await open_machine(self._journal, SEAT, stream, summons)
        except ConcurrentAppend:
            return  # it was heard before
        self._begin(machine)

    def _begin(self, machine: SeatLog) -> None:
        summons = machine.context
        sitting = Sitting(self._room, machine)
        self._sittings[summons.matter.award, summons.round] = sitting
        self._nursery.start_soon(self._run, sitting, machine)

    async def _run(self, sitting: Sitting, machine: SeatLog) -> None:
        await sitting.run()
        await self._insist(machine.close)
        key = (machine.context.matter.award, machine.context.round)
        if self._sittings.get(key) is sitting:
            del self._sittings[key]

    async def _on_papers(self, peer: PeerId, body: bytes) -> bytes:
        notice = decode(PapersNotice, body, max_bytes=PAPERS_MAX_BYTES)
        return encode(self._sitting(notice.award, notice.round).hear_papers(self._wallet(peer), notice))

    async def _on_seals(self, peer: PeerId, body: bytes) -> bytes:
        notice = decode(SealsNotice, body, max_bytes=NOTICE_MAX_BYTES)
        return encode(self._sitting(notice.award, notice.round).hear_seals(self._wallet(peer), notice))

    async def _on_openings(self, peer: PeerId, body: bytes) -> bytes:
        notice = decode(OpeningsNotice, body, max_bytes=NOTICE_MAX_BYTES)
        return encode(await self._sitting(notice.award, notice.round).hear_openings(self._wallet(peer), notice))

    async def _on_evidence(self, peer: PeerId, body: bytes) -> bytes:
        dossier, wallet = decode(Dossier, body, max_bytes=DOSSIER_MAX_BYTES), self._wallet(peer)
        award = digest(self._room.court.market_domain, dossier.award)
        sittings = [one for (known, _), one in self._sittings.items() if known == award]
        if wallet not in (dossier.award.requester, dossier.award.provider):
            raise NotAParty("only requester and provider of an award show something in its case")
        if not sittings:
            raise NotSeatedYet("this node judges no case about the award")
        for one in sittings:
            one.show(wallet, dossier)
        return b""

    def _sitting(self, award: Digest, number: int) -> Sitting:
        sitting = self._sittings.get((award, number))
        if sitting is None:
            raise NotSeatedYet("this node was not summoned to the round, or it is over")
        return sitting

    def _wallet(self, peer: PeerId) -> Address:
        wallet = self._room.peers.wallet_of(peer)
        if wallet is None:
            raise NotIntroduced("whose node this is isn't known here yet")
        return wallet


@asynccontextmanager
async def open_arbiter(
    room: ArbiterRoom, journal: Journal, open_streams: Callable[[str], Awaitable[tuple[str, ...]]], cursors: Cursors
) -> AsyncGenerator[Arbiter, None]:
    """Judge until the block ends; every vote is durable before anybody hears of it."""
    async with trio.open_nursery() as nursery:
        arbiter = Arbiter(room, journal, open_streams, cursors, nursery)
        await arbiter.recall()
        arbiter.serve()
        nursery.start_soon(arbiter.listen)
        yield arbiter
        nursery.cancel_scope.cancel()
