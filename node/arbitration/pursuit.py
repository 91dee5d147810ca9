"""One case of this node's own, followed to its end: what `protocol.dispute.party` says is to be done, is done here."""

from typing import Final, assert_never

import structlog
import trio

from node.arbitration.case_files import CaseLog
from node.arbitration.opening import open_case
from node.arbitration.party_room import PartyRoom
from protocol.dispute.acting import (
    Abandon,
    Act,
    AppealCase,
    CloseCase,
    OpenCase,
    SecureHold,
    SettleCase,
    Sight,
    TakeHold,
    next_act,
)
from protocol.dispute.bond import bond_account
from protocol.dispute.case import Stage
from protocol.dispute.messages import EVIDENCE_METHOD
from protocol.dispute.party import Abandoned, Brief, CaseSettled, Held, is_done
from protocol.dispute.schedule import SEATS
from protocol.errors import ProtocolError, StoaError, TransientError
from protocol.identity import Address, format_address
from protocol.units import Amount
from protocol.wire.codec import encode

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

LOOKS: Final = 240
"""How often, at least, a case is looked at in the time that its award gives a court: the shortest act takes a 24th."""
SHORTEST_LOOK_S: Final = 0.5
LONGEST_LOOK_S: Final = 30.0
FIRST_RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 30.0


class Pursuit:
    """The loop over one case."""

    def __init__(self, room: PartyRoom, machine: CaseLog) -> None:
        self._room, self._machine = room, machine
        self._shown: set[Address] = set()
        self._look_s = min(max(self._brief.award.resolve_within / LOOKS, SHORTEST_LOOK_S), LONGEST_LOOK_S)
        self.sight: Sight | None = None
        """What was seen last."""
        self.problem = ""
        """Why the next act could not be done, in words for the user; empty if nothing is in the way."""

    @property
    def _brief(self) -> Brief:
        return self._machine.state.brief

    async def run(self) -> None:
        """Go on until nothing is left to do. What stops an act is told, and tried again until it is too late for it."""
        retry_s = FIRST_RETRY_S
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._show)
            while not is_done(self._machine.state):
                change = self._room.files.next_change()
                try:
                    await self._step()
                except (StoaError, trio.TooSlowError) as error:
                    self._tell(error)
                    await self._room.clock.sleep(retry_s)
                    retry_s = min(2 * retry_s, LONGEST_RETRY_S, 4 * self._look_s)
                    continue
                self.problem, retry_s = "", FIRST_RETRY_S
                await self._room.clock.sleep(SHORTEST_LOOK_S)
                with trio.move_on_after(self._look_s):
                    await change.wait()
            nursery.cancel_scope.cancel()

    async def _step(self) -> None:
        self.sight = sight = await self._look()
        act = next_act(self._machine.state, sight, self._room.attitude)
        if act is not None:
            await self._do(act)

    async def _look(self) -> Sight:
        room, brief = self._room, self._brief
        current = await room.court.round_of(brief.award_id)
        now = await room.court.now()
        is_asked = isinstance(self._machine.state.state, Held) and not brief.is_requester
        costs = await room.holds.costs() if is_asked else Amount(0)
        if brief.is_paid_from_hold:
            hold = await room.holds.look(brief.award, brief.award_id)
            return Sight(now=now, round=current, hold=hold, costs=costs)
        if brief.on_channel:
            return Sight(now=now, round=current)
        escrow = room.escrows.look(brief.award_id)
        return Sight(
            now=now,
            round=current,
            dispute_by=escrow.dispute_by,
            resolve_by=escrow.resolve_by,
            escrow_over=escrow.is_over,
            paid=escrow.paid,
            costs=costs,
        )

    async def _do(self, act: Act) -> None:
        room, brief = self._room, self._brief
        court, award, award_id = room.court, brief.award, brief.award_id
        block: int | None = None
        match act:
            case Abandon(reason=reason):
                log.warning("dispute.given_up", award=award_id.hex(), reason=reason)
                await self._let_go()
                await room.files.apply(award_id, Abandoned(reason=reason))
                return
            case SettleCase(taken=taken):
                await self._let_go()
                await room.files.apply(award_id, CaseSettled(taken=taken))
            case SecureHold():
                await room.holds.secure(award, award_id)
            case OpenCase():
                block = await open_case(room, self._machine.state)
            case AppealCase(number=number):
                block = await court.appeal(award, brief.offer, number)
            case CloseCase():
                block = await court.close(award, await court.history_of(award_id))
            case TakeHold():
                block = await self._take_hold()
                if block is None:
                    return
            case _:
                assert_never(act)
        log.info("dispute.acted", award=award_id.hex(), act=type(act).__name__, block=block)

    async def _take_hold(self) -> int | None:
        """Enforce the hold as the case decided; None if that has to wait for other work in its channel."""
        room, brief = self._room, self._brief
        ready = await room.holds.ready(brief.award, brief.award_id)
        if ready is None:
            return None
        key, holds = ready
        history = await room.court.history_of(brief.award_id)
        vote = next(each.vote for each in reversed(history) if each.vote is not None)
        return await room.court.enforce(brief.award, vote, key, holds)

    async def _let_go(self) -> None:
        """Insist on nothing any more; what went into bonds is back or lost, so the wallet need not remember it."""
        room, brief = self._room, self._brief
        if brief.is_paid_from_hold:
            await room.holds.leave(brief.award, brief.award_id)
        for number in range(len(SEATS)):
            await room.bonds.close_account(bond_account(brief.award_id, number))

    async def _show(self) -> None:
        """Show the committee what this side has, unasked, as soon as it is drawn; each arbiter once a round."""
        number = -1
        while True:
            sight = self.sight
            if sight is not None and sight.round.stage is not Stage.NONE and sight.round.is_open:
                if sight.round.number != number:
                    number = sight.round.number
                    self._shown.clear()
                try:
                    await self._show_committee()
                except StoaError as error:
                    log.info("dispute.not_shown", award=self._brief.award_id.hex(), reason=str(error))
            await self._room.clock.sleep(self._look_s)

    async def _show_committee(self) -> None:
        room, award_id = self._room, self._brief.award_id
        committee = await room.court.committee_of(award_id)
        waiting = [each for each in dict.fromkeys(committee or ()) if each not in self._shown]
        dossier = await room.dossier_of(self._machine.state) if waiting else None
        if dossier is None:
            return
        await room.keep(dossier)
        for arbiter in waiting:
            await room.grant(dossier, arbiter)
            try:
                await room.peers.call(arbiter, EVIDENCE_METHOD, encode(dossier))
            except TransientError as error:
                log.debug("dispute.arbiter_not_reached", arbiter=format_address(arbiter), reason=str(error))
                continue
            except ProtocolError as error:  # it doesn't take it unasked, and will ask
                log.info("dispute.evidence_refused", arbiter=format_address(arbiter), reason=str(error))
            self._shown.add(arbiter)

    def _tell(self, error: Exception) -> None:
        problem = str(error) or type(error).__name__
        advice = getattr(error, "advice", "")
        told = f"{problem} ({advice})" if advice else problem
        if told != self.problem:
            log.warning("dispute.not_done_yet", award=self._brief.award_id.hex(), reason=told)
            self.problem = told
            self._room.files.stir()  # a user may be waiting for this case
