"""What the arbiters of one committee say to each other: first their seals, then what they sealed (SPEC L7)."""

from collections.abc import Sequence
from typing import Any, Final

import structlog
import trio

from node.arbitration.room import ArbiterRoom, SeatLog
from protocol.dispute import seat
from protocol.dispute.ballot import is_majority
from protocol.dispute.exchange import Exchange
from protocol.dispute.messages import (
    OPENINGS_METHOD,
    SEALS_METHOD,
    OpeningsNotice,
    SealsNotice,
    SeatOpening,
    SeatSeal,
)
from protocol.dispute.objects import Vote
from protocol.errors import ProtocolError, StoaError
from protocol.identity import ZERO_DIGEST, Address, Digest
from protocol.wire.codec import decode, encode

log = structlog.stdlib.get_logger(__name__)

LONGEST_PAUSE_S: Final = 30.0
CALL_S: Final = 5.0
NOTICE_MAX_BYTES: Final = 16_384


class Conversation:
    """One arbiter's part in it. It begins when this arbiter has its vote."""

    def __init__(self, room: ArbiterRoom, machine: SeatLog, vote: Vote, committee: tuple[Address, ...]) -> None:
        self._room, self._machine, self._vote = room, machine, vote
        self._lock = trio.Lock()
        self._changed = trio.Event()
        self.exchange = Exchange(room.court.domain, self._award, machine.context.round, committee)
        self.exchange.hear_seals(self._me, self._own_seals())
        opened = self._opened
        if opened is not None:
            self.exchange.hear_openings(self._me, self._own_openings(opened))

    @property
    def _me(self) -> Address:
        return self._room.signing.address

    @property
    def _award(self) -> Digest:
        return self._machine.context.matter.award

    @property
    def _opened(self) -> seat.Opened | None:
        """Under which seals of this committee our vote is open, if it is."""
        opened = self._machine.state.opened
        return opened if opened is not None and opened.committee == self.exchange.committee else None

    @property
    def seals(self) -> dict[int, Digest]:
        """Those of our seats."""
        return seat.own_seals(self._machine.context, self._vote, self._me, self.exchange.committee)

    def hear_seals(self, sender: Address, notice: SealsNotice) -> SealsNotice:
        """Take a fellow's seals and tell ours.

        Raises:
            ProtocolError: The sender holds no seat, or these aren't its own.
        """
        self._require_seat(sender)
        self.exchange.hear_seals(sender, notice)
        return self._own_seals()

    async def hear_openings(self, sender: Address, notice: OpeningsNotice) -> OpeningsNotice:
        """Take a fellow's openings and tell ours, if they are open under the same seals.

        Raises:
            ProtocolError: As for seals.
            BadSignature: Not signed by the sender.
        """
        self._require_seat(sender)
        self.exchange.hear_openings(sender, notice)
        await self.open()
        opened = self._opened
        if opened is None or opened.seals != notice.seals:
            return OpeningsNotice(award=self._award, round=notice.round, seals=(), vote=None, openings=())
        return self._own_openings(opened)

    def _require_seat(self, sender: Address) -> None:
        if not self.exchange.seats_of(sender):
            raise ProtocolError("the sender holds no seat in this round")

    def _own_seals(self) -> SealsNotice:
        return SealsNotice(
            award=self._award,
            round=self._machine.context.round,
            seals=tuple(SeatSeal(seat=number, seal=seal) for number, seal in self.seals.items()),
        )

    def _own_openings(self, opened: seat.Opened) -> OpeningsNotice:
        summons = self._machine.context
        signed = self._room.signing.sign_opening(self.exchange.opening_of(self._vote, opened.seals))
        return OpeningsNotice(
            award=self._award,
            round=summons.round,
            seals=opened.seals,
            vote=self._vote,
            openings=tuple(
                SeatOpening(seat=number, secret=seat.secret_of(summons.secret, number), signature=signed.signature)
                for number in self.exchange.seats_of(self._me)
            ),
        )

    async def open(self, *, may_miss: bool = False, may_lead: bool = False) -> None:
        """Open our vote, if there are seals under which that is safe: durably first, and only once.

        Args:
            may_miss: Whether to open under seals of others that lack some.
            may_lead: Whether to be the first to open so.
        """
        exchange = self.exchange
        async with self._lock:
            if self._opened is not None:
                return
            mine = self.seals
            candidates = list(exchange.vectors())
            if exchange.is_full() or may_lead:
                candidates.append(exchange.vector())
            for seals in candidates:
                if _may_open(exchange, seals, mine, may_miss=may_miss):
                    event = seat.Opened(committee=exchange.committee, seals=seals)
                    await self._machine.apply(event)
                    exchange.hear_openings(self._me, self._own_openings(event))
                    self._changed.set()
                    self._changed = trio.Event()
                    return

    async def tell(self, fellow: Address) -> None:
        """Tell one fellow our seals, and our openings once there are any, until it has told us its own."""
        exchange, pause_s = self.exchange, self._room.tell_s
        while True:
            changed, opened = self._changed, self._opened
            try:
                with trio.move_on_after(CALL_S):
                    if not exchange.has_seals_of(fellow):
                        answer = await self._call(SealsNotice, fellow, SEALS_METHOD, self._own_seals())
                        exchange.hear_seals(fellow, answer)
                    if opened is not None and not exchange.has_openings_of(fellow, opened.seals):
                        answered = await self._call(OpeningsNotice, fellow, OPENINGS_METHOD, self._own_openings(opened))
                        exchange.hear_openings(fellow, answered)
            except StoaError as error:
                log.debug("court.fellow_waits", award=self._award.hex(), reason=str(error))
            # A fellow that gets on tells us by itself: this asks again only for what was lost.
            pause_s = min(LONGEST_PAUSE_S, 1.5 * pause_s)
            with trio.move_on_after(pause_s):
                await changed.wait()
                pause_s = self._room.tell_s

    async def _call(self, kind: Any, fellow: Address, method: str, notice: object) -> Any:
        answer = await self._room.peers.call(fellow, method, encode(notice))
        return decode(kind, answer, max_bytes=NOTICE_MAX_BYTES)


def _may_open(exchange: Exchange, seals: Sequence[Digest], mine: dict[int, Digest], *, may_miss: bool) -> bool:
    """Tell whether opening under these seals shows our vote to nobody who could still seal another one."""
    heard = exchange.vector()
    if any(seals[number] != seal for number, seal in mine.items()):
        return False
    missing = sum(seal == ZERO_DIGEST for seal in seals)
    if missing and not (may_miss and is_majority(len(seals) - missing, len(seals))):
        return False
    pairs = zip(heard, seals, strict=True)
    return all(ours == theirs or (may_miss and ZERO_DIGEST in (ours, theirs)) for ours, theirs in pairs)
