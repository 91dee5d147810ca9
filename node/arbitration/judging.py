"""How one arbiter comes to its vote: it gathers what the sides show, runs the part or its test, and compares."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import structlog

from node.arbitration.gathering import Gathering
from node.arbitration.hours import end_of
from node.arbitration.ports import Runner
from node.arbitration.room import ArbiterRoom
from node.arbitration.sharing import Sharing
from protocol.dispute.case import Round
from protocol.dispute.evidence import (
    Evidence,
    Matter,
    is_tested,
    vote_not_judged,
    vote_on_run,
    vote_on_test,
    vote_untested,
    vote_without_run,
)
from protocol.dispute.messages import Dossier
from protocol.dispute.objects import Finding, Vote
from protocol.errors import StoaError, TransientError
from protocol.identity import Address, ContentDigest
from protocol.task.audit import Rerun
from protocol.task.objects import Receipt

log = structlog.stdlib.get_logger(__name__)

Ran: TypeAlias = Rerun | str
"""What came out of a run, or why none ever can."""


async def find_vote(
    room: ArbiterRoom, matter: Matter, held: Round, sharing: Sharing, shown: Mapping[Address, Dossier]
) -> Vote | None:
    """Judge a case; None if this machine can't before it is too late to seal a vote.

    The part is run while the fellows are still heard. If they bring what changes the vote, it is judged again.

    Args:
        room: What we work with.
        matter: What the court named when it was opened.
        held: The round.
        sharing: What the committee knows; closed when there is a vote.
        shown: What parties show unasked, by wallet; it may grow meanwhile.
    """
    gathering = Gathering(room, matter, sharing, shown, end_of(held))
    judging = _Judging(room, matter, held, gathering, sharing)
    await gathering.ask()
    while True:
        gist, vote = sharing.gist, None
        with sharing.standing():
            vote = await judging.judge(sharing.evidence)
            await sharing.wait_settled()
        if sharing.gist == gist:
            if vote is not None:
                await sharing.close()
            return vote


class _Judging:
    """What one arbiter finds, of whatever evidence there is; a part is run once."""

    def __init__(self, room: ArbiterRoom, matter: Matter, held: Round, gathering: Gathering, sharing: Sharing) -> None:
        self._room, self._matter, self._held = room, matter, held
        self._gathering, self._sharing = gathering, sharing
        self._ran: dict[tuple[int, ContentDigest | None], Ran] = {}

    async def judge(self, evidence: Evidence | None) -> Vote | None:
        """Return the vote that follows; None if there is no time left to find it."""
        if evidence is None or evidence.receipt is None or evidence.is_contradicted:
            return self._without_run(evidence)
        found = await self._gathering.fetch(evidence, evidence.receipt)
        unseen = vote_untested(evidence, has_output=found.has_output) if is_tested(evidence) else None
        if unseen is not None:
            return None if unseen.finding == Finding.OUTPUT_MISSING and self._came_too_late else unseen
        if not found.has_inputs:
            return self._without_run(evidence)
        ran = await self._run(evidence, evidence.receipt)
        if ran is None:
            return None
        if isinstance(ran, str):
            log.warning("court.cannot_run", award=self._matter.award.hex(), reason=ran)
            return vote_not_judged(evidence)
        for wallet in (*self._sharing.fellows, evidence.terms.award.requester, evidence.terms.award.provider):
            await self._room.peers.grant(ran.output, wallet, end_of(self._held))
        return vote_on(evidence, ran, has_output=found.has_output)

    @property
    def _came_too_late(self) -> bool:
        """Whether what is missing here may only be missing because nobody could be asked for it."""
        return self._sharing.hours.is_over

    def _without_run(self, evidence: Evidence | None) -> Vote | None:
        is_known = evidence is not None and evidence.is_contradicted
        if self._came_too_late and not is_known:
            log.warning("court.came_too_late", award=self._matter.award.hex())
            return None
        return vote_without_run(self._matter, evidence)

    async def _run(self, evidence: Evidence, receipt: Receipt) -> Ran | None:
        key = (receipt.part, receipt.output if is_tested(evidence) else None)
        if key not in self._ran:
            ran = await _run(self._room, act_of(self._room.runner, evidence, receipt), self._matter, self._held)
            if ran is None:
                return None
            self._ran[key] = ran
        return self._ran[key]


def act_of(runner: Runner, evidence: Evidence, receipt: Receipt) -> Callable[[], Awaitable[Rerun]]:
    """Return what is to be run about a receipt: its part, or the test that its offer names (L2)."""
    if is_tested(evidence):
        return lambda: runner.run_test(evidence.terms, receipt.part, receipt.output)
    return lambda: runner.run_again(evidence.terms, receipt.part)


def vote_on(evidence: Evidence, found: Rerun, *, has_output: bool) -> Vote:
    """Return the vote that follows from what `act_of` found."""
    if is_tested(evidence):
        return vote_on_test(evidence, found)
    return vote_on_run(evidence, found, has_output=has_output)


async def _run(room: ArbiterRoom, run: Callable[[], Awaitable[Rerun]], matter: Matter, held: Round) -> Ran | None:
    """Return what came out, why nothing ever can, or None if there is no time left to try."""
    while await room.court.now() <= held.schedule.seal_by:
        try:
            return await run()
        except TransientError as error:
            log.warning("court.not_run_yet", award=matter.award.hex(), reason=str(error))
            await room.clock.sleep(room.tell_s)
        except StoaError as error:
            return str(error)
    return None
