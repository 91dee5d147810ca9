"""One arbiter in one round of a case: it judges, seals, opens, and sees that the round is settled.

A round that its arbiters agree on costs one transaction: they tell each other seals, then openings, and one of them
takes the quorum to the court. Where that doesn't come about in time, each seals and opens on the chain (SPEC L7).

The round's length is cut into twelfths. The contract's own times are 4 (drawn), 8 (sealed) and 10 (opened).
"""

from collections.abc import Awaitable
from typing import Final

import structlog
import trio

from node.arbitration.conversation import Conversation
from node.arbitration.hours import hours_of
from node.arbitration.judging import find_vote
from node.arbitration.room import ArbiterRoom, NotSeatedYet, SeatLog, after
from node.arbitration.sharing import Sharing
from node.operations.clock import Clock
from protocol.dispute import seat
from protocol.dispute.case import Round, Stage
from protocol.dispute.exchange import Settlement
from protocol.dispute.messages import Dossier, OpeningsNotice, PapersNotice, SealsNotice
from protocol.dispute.objects import Finding, Vote
from protocol.errors import ChainRejected, ProtocolError, TransientError
from protocol.identity import Address, Digest
from protocol.units import UnixTime

log = structlog.stdlib.get_logger(__name__)

DRAW_AT: Final = 3
"""Twelfths of the round after which the committee is drawn on the chain, if no quorum is in sight."""
MISSING_FROM: Final = 5
"""From then on votes are opened though some seals are missing."""
SEAL_AT: Final = 7
OPEN_AT: Final = 9
"""From then on a known quorum that nobody gets through is not waited for."""
DRAW_WITHIN_BLOCKS: Final = 100
"""Many chains forget a block's number after 256."""
GRACE_BLOCKS: Final = 2
"""So long a quorum waits for seats that have sealed and not yet opened: who stands outside earns nothing."""
TURN_BLOCKS: Final = 2
"""Arbiters take a step for all of them in turns, so many blocks apart."""
LATE_BLOCKS: Final = 10
"""After so many the number of a draw is late. Who asks anew waits a part of that more, at random."""
MOST_REDRAWS: Final = 2
IDLE_LOOKS: Final = 500
"""How often, in the time of a case, who doesn't sit looks whether another committee was drawn."""
LONGEST_LOOK_S: Final = 60.0
BEHIND_MOST_S: Final = 600.0
"""For so long a round that was heard of and isn't on the chain is waited for."""


class Sitting:
    """One round of one case. `run` ends when it is over for this arbiter."""

    def __init__(self, room: ArbiterRoom, machine: SeatLog) -> None:
        self._room, self._machine = room, machine
        self._shown: dict[Address, Dossier] = {}
        self._sharing: Sharing | None = None
        self._talk: Conversation | None = None
        self._redraws, self._patience = 0, room.random.uniform()
        self.held: Round | None = None
        """The round as the chain told it last; None before."""

    @property
    def vote(self) -> Vote | None:
        """What this arbiter found; None before."""
        return self._machine.state.vote

    @property
    def part(self) -> int:
        """What the case is about, as it was opened."""
        return self._machine.context.matter.part

    @property
    def seats(self) -> int:
        """How many it holds, as far as is known."""
        return len(self._talk.seals) if self._talk is not None else 0

    @property
    def _award(self) -> Digest:
        return self._machine.context.matter.award

    def show(self, wallet: Address, dossier: Dossier) -> None:
        """Take what a party shows; the newest counts."""
        self._shown[wallet] = dossier
        if self._sharing is not None:
            self._sharing.stir()

    def hear_papers(self, sender: Address, notice: PapersNotice) -> PapersNotice:
        """See `Sharing`. Raises NotSeatedYet before we know who sits."""
        if self._sharing is None:
            raise NotSeatedYet("this arbiter does not know yet that it sits in the round")
        return self._sharing.hear(sender, notice)

    def hear_seals(self, sender: Address, notice: SealsNotice) -> SealsNotice:
        """See `Conversation`. Raises NotSeatedYet before we have a vote."""
        if self._talk is None and self._sharing is not None:
            self._sharing.note_sealed(sender)
        return self._conversation().hear_seals(sender, notice)

    async def hear_openings(self, sender: Address, notice: OpeningsNotice) -> OpeningsNotice:
        """See `Conversation`. Raises NotSeatedYet before we have a vote."""
        return await self._conversation().hear_openings(sender, notice)

    async def run(self) -> None:
        """Sit until the round is over, or it turns out that others do."""
        court, me, pause_s = self._room.court, self._room.signing.address, self._room.look_s
        behind = _Since(self._room.clock)
        while True:
            try:
                held, now = await court.round_of(self._award), await court.now()
                if self._is_behind(held):
                    if behind.seconds() > BEHIND_MOST_S:
                        return
                    log.info("court.round_not_there_yet", award=self._award.hex(), round=self._machine.context.round)
                    await self._room.clock.sleep(pause_s)
                    continue
                behind, self.held = _Since(self._room.clock), held
                if self._is_over(held, now) or (self.vote is None and now > held.schedule.seal_by):
                    return
                pause_s = max(self._room.look_s, min(LONGEST_LOOK_S, held.time / IDLE_LOOKS))
                committee = await court.committee_of(self._award)
                if committee is not None and me in committee:
                    await self._sit(held, committee)
                elif committee is not None and held.stage is not Stage.DRAWING:
                    return
                elif committee is None and self._is_redraw_due(held, now):
                    await self._send("court.draw_requested", court.draw(self._award))
            except* (TransientError, ChainRejected, ProtocolError) as group:
                log.info("court.waits", award=self._award.hex(), causes=[str(each) for each in group.exceptions])
            await self._room.clock.sleep(pause_s)

    async def _sit(self, held: Round, committee: tuple[Address, ...]) -> None:
        """Do our part in this committee; returns if it is another one, or the round is over."""
        seats = committee.count(self._room.signing.address)
        log.info("court.seated", award=self._award.hex(), round=held.number, seats=seats)
        hours = await hours_of(self._room, held)
        self._sharing = sharing = Sharing(self._room, self._machine, committee, hours)
        async with trio.open_nursery() as nursery:
            for fellow in sharing.fellows:
                nursery.start_soon(sharing.tell, fellow)
            vote = self.vote or await self._judge(held, sharing)
            if vote is not None:
                self._talk = talk = Conversation(self._room, self._machine, vote, committee)
                for fellow in sharing.fellows:
                    nursery.start_soon(talk.tell, fellow)
                await self._see_through(talk, vote)
            nursery.cancel_scope.cancel()

    async def _judge(self, held: Round, sharing: Sharing) -> Vote | None:
        vote = await find_vote(self._room, self._machine.context.matter, held, sharing, self._shown)
        if vote is not None:
            await self._machine.apply(seat.Judged(vote=vote))
            log.info("court.judged", award=self._award.hex(), finding=Finding(vote.finding).name.lower())
        return vote

    async def _see_through(self, talk: Conversation, vote: Vote) -> None:
        """Look at the round until it is over, and take each step that is due."""
        room, known_since = self._room, _Since(self._room.clock)
        while True:
            try:
                held, now = await room.court.round_of(self._award), await room.court.now()
                if self._is_over(held, now):
                    return
                if await room.court.committee_of(self._award) not in (None, talk.exchange.committee):
                    return
                missing_s = now - after(held, MISSING_FROM)
                await talk.open(may_miss=missing_s >= 0, may_lead=missing_s >= self._turn_s(talk))
                settlement = talk.exchange.settlement()
                if settlement is None:
                    await self._on_chain(held, now, talk, vote)
                elif known_since.seconds() >= self._settling_turn_s(talk, settlement) and not held.opened_seats:
                    quorum, signatures = settlement.quorum, settlement.signatures
                    sending = room.court.settle(self._award, talk.exchange.committee, quorum, signatures)
                    await self._send("court.settled", sending)
                elif now >= after(held, OPEN_AT):
                    await self._on_chain(held, now, talk, vote)
            except (TransientError, ChainRejected, ProtocolError) as error:
                log.info("court.step_waits", award=self._award.hex(), reason=str(error))
            await room.clock.sleep(room.look_s)

    async def _on_chain(self, held: Round, now: UnixTime, talk: Conversation, vote: Vote) -> None:
        """Take the steps of our own seats that are due on the chain."""
        court, schedule, committee = self._room.court, held.schedule, talk.exchange.committee
        if held.stage is Stage.DRAWING:
            block_s = self._room.block_time_s
            due = min(after(held, DRAW_AT), held.began + DRAW_WITHIN_BLOCKS * block_s) + self._turn_s(talk)
            if min(due, schedule.draw_by - TURN_BLOCKS * block_s) <= now <= schedule.draw_by:
                await self._send("court.drawn", court.draw(self._award))
            return
        everybody = (1 << held.seats) - 1
        if after(held, SEAL_AT) <= now <= schedule.seal_by and held.sealed_seats != everybody:
            for number, seal in talk.seals.items():
                if not held.sealed_seats >> number & 1:
                    await self._send("court.sealed", court.seal(self._award, committee, number, seal))
        elif now > schedule.seal_by or held.sealed_seats == everybody:
            for number in talk.seals:
                if held.sealed_seats >> number & 1 and not held.opened_seats >> number & 1:
                    secret = seat.secret_of(self._machine.context.secret, number)
                    await self._send("court.opened", court.open_vote(self._award, committee, number, vote, secret))

    async def _send(self, event: str, sending: Awaitable[int]) -> None:
        block = await sending
        log.info(event, award=self._award.hex(), round=self._machine.context.round, block=block)

    def _conversation(self) -> Conversation:
        if self._talk is None:
            raise NotSeatedYet("this arbiter has no vote in the round yet")
        return self._talk

    def _is_over(self, held: Round, now: UnixTime) -> bool:
        return held.number != self._machine.context.round or not held.is_open or now > held.schedule.open_by

    def _is_behind(self, held: Round) -> bool:
        """Tell whether the chain's node has not come to the round that it told of before: to leave costs a stake.

        Nodes behind one address differ by some blocks, and a reorganisation brings most transactions again.
        """
        return held.stage is Stage.NONE or held.number < self._machine.context.round

    def _is_redraw_due(self, held: Round, now: UnixTime) -> bool:
        """Tell whether the draw's number is so late that it must have been forgotten; not for ever."""
        blocks = LATE_BLOCKS * (1 + self._redraws + self._patience)
        is_late = held.began + blocks * self._room.block_time_s <= now <= held.schedule.draw_by
        if not is_late or self._redraws >= MOST_REDRAWS:
            return False
        self._redraws += 1
        return True

    def _turn_s(self, talk: Conversation) -> float:
        """Return how long the arbiters before us have to take a step for all."""
        arbiters = list(dict.fromkeys(talk.exchange.committee))
        return arbiters.index(self._room.signing.address) * TURN_BLOCKS * self._room.block_time_s

    def _settling_turn_s(self, talk: Conversation, settlement: Settlement) -> float:
        """The same for taking a quorum to the court: those who earn by it come first."""
        committee, seats = talk.exchange.committee, settlement.quorum.seats
        earning = [arbiter for number, arbiter in enumerate(committee) if seats >> number & 1]
        turn = list(dict.fromkeys((*earning, *committee))).index(self._room.signing.address)
        grace = 0 if settlement.is_complete else GRACE_BLOCKS
        return (grace + turn * TURN_BLOCKS) * self._room.block_time_s


class _Since:
    """How long something has been known; the first question begins it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began: float | None = None

    def seconds(self) -> float:
        if self._began is None:
            self._began = self._clock.monotonic()
        return self._clock.monotonic() - self._began
