"""One case, one evidence: the arbiters of a committee hand on to each other what they were shown (law.md, CJ12).

A side that shows one arbiter what it hides from another would have honest arbiters vote apart. So each tells its
fellows what its papers come to, hands them on where the other's differ, and takes what proves itself.
"""

import math
from collections.abc import Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from node.arbitration.hours import SIDES_UNTIL, Hours
from node.arbitration.room import ArbiterRoom, SeatLog
from protocol.dispute import seat
from protocol.dispute.ballot import is_majority
from protocol.dispute.evidence import Evidence, Matter
from protocol.dispute.messages import PAPERS_METHOD, Dossier, Papers, PapersNotice
from protocol.dispute.papers import Shown, WrongPapers, gist_of, join, read_papers
from protocol.errors import ProtocolError, StoaError
from protocol.identity import Address, ContentDigest, Digest, format_address
from protocol.wire.codec import decode, encode

log = structlog.stdlib.get_logger(__name__)

PAPERS_MAX_BYTES: Final = 66_560
"""A dossier, a receipt more, and what is told about them."""
LONGEST_PAUSE_S: Final = 30.0
CALL_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Told:
    """What a fellow said last."""

    gist: Digest
    is_final: bool
    has_output: bool | None


class Sharing:
    """What one arbiter knows in one round of one committee, from whomever."""

    def __init__(self, room: ArbiterRoom, machine: SeatLog, committee: Sequence[Address], hours: Hours) -> None:
        """Begin with what this arbiter told its fellows before it was restarted, if it did."""
        self._room, self._machine, self._committee, self.hours = room, machine, tuple(committee), hours
        self.fellows = tuple(each for each in dict.fromkeys(committee) if each != room.signing.address)
        self.complete_at: float | None = None
        """When a receipt was here, on the monotonic clock."""
        self._shown: Shown | None = None
        self._outputs: dict[ContentDigest, bool] = {}
        self._told: dict[Address, _Told] = {}
        self._knows: dict[Address, _Told] = {}
        self._read_at: dict[Address, float] = {}
        self._sent_at: dict[Address, float] = {}
        self._liars: set[Address] = set()
        self._sealed: set[Address] = set()
        self._standing: set[trio.CancelScope] = set()
        self._is_closed = machine.state.vote is not None
        self.changed = trio.Event()
        heard = machine.state.heard
        self.is_final = heard is not None or self._is_closed
        if heard is not None and heard.papers is not None:
            self._add(read_papers(room.court.market_domain, self._matter, heard.papers))

    @property
    def _matter(self) -> Matter:
        return self._machine.context.matter

    @property
    def evidence(self) -> Evidence | None:
        """What all papers come to; None without any."""
        return self._shown.evidence if self._shown is not None else None

    @property
    def gist(self) -> Digest:
        """What of it makes a difference to a vote."""
        return gist_of(self._shown)

    @property
    def has_output(self) -> bool | None:
        """Whether the output that the receipt names came from a side; None while that is open."""
        receipt = self.evidence.receipt if self.evidence is not None else None
        return self._outputs.get(receipt.output) if receipt is not None else None

    def stir(self) -> None:
        """Let everybody look again who waits for a change."""
        changed, self.changed = self.changed, trio.Event()
        changed.set()

    def take(self, dossier: Dossier) -> Evidence:
        """Take what a side shows while it is asked, and return it checked.

        Raises:
            ProtocolError: It is not of this case, or proves nothing.
        """
        shown = read_papers(self._room.court.market_domain, self._matter, Papers(dossier=dossier))
        self._add(shown)
        self.stir()
        return shown.evidence

    async def finish(self) -> None:
        """Ask the sides no more. Durable before a fellow hears of it, so that a restart takes nothing new from them.

        Raises:
            DiskFull: Nothing was written, and nobody was told.
        """
        if not self.is_final:
            await self._write()
            self.is_final = True
            self.stir()

    async def close(self) -> None:
        """Take nothing more from anybody: this is what the vote follows from.

        Raises:
            DiskFull: Nothing was written.
        """
        self._is_closed = True
        await self._write()

    async def _write(self) -> None:
        await self._machine.apply(seat.Heard(papers=self._shown.papers if self._shown is not None else None))

    def note_output(self, output: ContentDigest, *, has_it: bool) -> None:
        """Remember whether an output came from a side, or from a fellow that has it from one."""
        self._outputs[output] = has_it
        self.stir()

    def note_sealed(self, fellow: Address) -> None:
        """Remember that a fellow has its vote."""
        self._sealed.add(fellow)
        self.stir()

    def holders(self) -> tuple[Address, ...]:
        """Return the fellows that say they hold the output."""
        return tuple(each for each in self.fellows if self._is_of_one_mind(each) and self._told[each].has_output)

    def nobody_holds(self) -> bool:
        """Tell whether all fellows said that they don't."""
        waited = [each for each in self.fellows if each not in self._liars]
        return all(self._is_of_one_mind(each) and self._told[each].has_output is False for each in waited)

    def most_have_looked(self) -> bool:
        """Tell whether fellows with more than half of the seats know whether a side served the output."""
        looked = {
            each for each in self.fellows if self._is_of_one_mind(each) and self._told[each].has_output is not None
        }
        return self._are_most(looked)

    @contextmanager
    def standing(self) -> Generator[None]:
        """Do something that is of use only as long as nothing is added to what is known; else it is cancelled."""
        with trio.CancelScope() as scope:
            self._standing.add(scope)
            try:
                yield
            finally:
                self._standing.discard(scope)

    async def wait_settled(self) -> None:
        """Wait until all fellows know the same and ask the sides no more, or nobody's papers count any more."""
        while not self._is_settled():
            changed, left_s = self.changed, self._hear_until - self._room.clock.monotonic()
            with trio.move_on_after(max(0.0, left_s)):
                await changed.wait()

    @property
    def _hear_until(self) -> float:
        return self.hours.hear_until(self.complete_at)

    def _is_settled(self) -> bool:
        if self._room.clock.monotonic() >= self._hear_until or self._most_have_sealed():
            return True
        return self.is_final and all(each in self._liars or self._agrees(each) for each in self.fellows)

    def _is_of_one_mind(self, fellow: Address) -> bool:
        return fellow in self._told and self._told[fellow].gist == self.gist

    def _agrees(self, fellow: Address) -> bool:
        return self._is_of_one_mind(fellow) and self._told[fellow].is_final

    def _most_have_sealed(self) -> bool:
        """Tell whether a majority judges from what it has: a fellow that adds something now splits the others.

        That is half of the others' seats. Who holds many itself must not stop listening because one fellow sealed.
        """
        others = [each for each in self._committee if each in self.fellows]
        sealed = sum(each in self._sealed for each in others)
        return sealed > 0 and 2 * sealed >= len(others)

    def _are_most(self, arbiters: AbstractSet[Address]) -> bool:
        return is_majority(sum(each in arbiters for each in self._committee), len(self._committee))

    def hear(self, sender: Address, notice: PapersNotice) -> PapersNotice:
        """Take what a fellow tells, and tell what is known here.

        Raises:
            ProtocolError: The sender holds no seat in this committee.
        """
        if sender not in self.fellows:
            raise ProtocolError("the sender holds no seat in this round")
        self._hear(sender, notice)
        self._knows[sender] = self._own()
        return self._notice(sender, notice.gist)

    def _own(self) -> _Told:
        return _Told(self.gist, self.is_final, self.has_output)

    def _notice(self, fellow: Address, told: Digest | None) -> PapersNotice:
        """Return what to tell a fellow that knows papers of this gist, or of whom that isn't known.

        Papers are large: whoever asks for them all the time gets them at the pace at which they are read.
        """
        own = self._own()
        papers = self._shown.papers if self._shown is not None else None
        if told is None or told == own.gist or self._is_too_soon(self._sent_at, fellow):
            papers = None
        if papers is not None:
            self._sent_at[fellow] = self._room.clock.monotonic()
        return PapersNotice(
            award=self._matter.award,
            round=self._machine.context.round,
            gist=own.gist,
            is_final=own.is_final,
            has_output=own.has_output,
            papers=papers,
        )

    def _is_too_soon(self, last_at: Mapping[Address, float], fellow: Address) -> bool:
        return self._room.clock.monotonic() - last_at.get(fellow, -math.inf) < self._room.tell_s

    def _hear(self, fellow: Address, notice: PapersNotice) -> None:
        if fellow in self._liars:
            return
        try:
            self._read_papers(fellow, notice)
        except StoaError as error:
            # An honest fellow has checked what it hands on, as we do. This one is not heard, nor waited for.
            log.warning("court.false_papers", fellow=format_address(fellow), reason=str(error))
            self._liars.add(fellow)
            self.stir()
            return
        told = _Told(notice.gist, notice.is_final, notice.has_output)
        if self._told.get(fellow) != told:
            self._told[fellow] = told
            self.stir()

    def _read_papers(self, fellow: Address, notice: PapersNotice) -> None:
        """Add what a fellow hands on. What comes too fast is passed over: who has more to say says it again."""
        papers, now = notice.papers, self._room.clock.monotonic()
        if papers is None or notice.gist == self.gist:
            return
        if self._is_closed or now >= self._hear_until or self._most_have_sealed():
            return
        if self._is_too_soon(self._read_at, fellow):
            return
        self._read_at[fellow] = now
        shown = read_papers(self._room.court.market_domain, self._matter, papers)
        if gist_of(shown) != notice.gist:
            raise WrongPapers("they do not come to what it says")
        self._add(shown)

    def _add(self, shown: Shown) -> None:
        joined = shown if self._shown is None else join([self._shown, shown])
        if gist_of(joined) == self.gist:
            return
        self._shown = joined
        if self.complete_at is None and joined.evidence.receipt is not None:
            self.complete_at = self._room.clock.monotonic()
        for scope in self._standing:
            scope.cancel()
        self.stir()

    async def tell(self, fellow: Address) -> None:
        """Tell one fellow, until each knows that the other knows the same."""
        room, pause_s = self._room, self._room.tell_s
        while True:
            changed = self.changed
            if self._is_to_be_told(fellow):
                try:
                    with trio.move_on_after(CALL_S):
                        await self._tell(fellow)
                except StoaError as error:
                    log.debug("court.fellow_waits", award=self._matter.award.hex(), reason=str(error))
            # A fellow that gets on tells us by itself: this asks again only for what was lost.
            pause_s = min(LONGEST_PAUSE_S, 1.5 * pause_s)
            begins_s = self.hours.at(SIDES_UNTIL) - room.clock.monotonic()
            with trio.move_on_after(min(pause_s, begins_s) if begins_s > 0 else pause_s):
                await changed.wait()
                pause_s = room.tell_s

    def _is_to_be_told(self, fellow: Address) -> bool:
        is_time = self.is_final or self._room.clock.monotonic() >= self.hours.at(SIDES_UNTIL)
        if not is_time or fellow in self._liars:
            return False
        knows = self._knows.get(fellow)
        if knows is None or (knows.gist, knows.is_final) != (self.gist, self.is_final):
            return True
        if self._is_closed:
            return False
        return not self._agrees(fellow) or (self.has_output is False and self._told[fellow].has_output is None)

    async def _tell(self, fellow: Address) -> None:
        known = self._told.get(fellow)
        notice, own = self._notice(fellow, known.gist if known is not None else None), self._own()
        answer = await self._room.peers.call(fellow, PAPERS_METHOD, encode(notice))
        self._knows[fellow] = own
        self._hear(fellow, decode(PapersNotice, answer, max_bytes=PAPERS_MAX_BYTES))
