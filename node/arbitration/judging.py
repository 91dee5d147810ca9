"""How one arbiter comes to its vote: it gathers what the sides show, runs the part or its test, and compares."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import structlog

from node.arbitration.gathering import Gathering
from node.arbitration.ports import Runner
from node.arbitration.room import ArbiterRoom, after
from protocol.dispute.case import Round
from protocol.dispute.evidence import (
    Evidence,
    Matter,
    is_tested,
    needed_blobs,
    vote_not_judged,
    vote_on_run,
    vote_on_test,
    vote_untested,
    vote_without_run,
)
from protocol.dispute.messages import Dossier
from protocol.dispute.objects import Vote
from protocol.errors import StoaError, TransientError
from protocol.identity import Address, ContentDigest
from protocol.task.audit import Rerun
from protocol.task.objects import Receipt
from protocol.units import UnixTime

log = structlog.stdlib.get_logger(__name__)

EVIDENCE_UNTIL: Final = 6
"""Twelfths of the round during which both sides are asked."""


async def find_vote(
    room: ArbiterRoom, matter: Matter, held: Round, fellows: Sequence[Address], shown: Mapping[Address, Dossier]
) -> Vote | None:
    """Judge a case; None if this machine can't run the part before it is too late to seal a vote.

    Args:
        room: What we work with.
        matter: What the court named when it was opened.
        held: The round.
        fellows: The other arbiters: they are served what we found, and may serve us.
        shown: What parties show unasked, by wallet; it may grow meanwhile.
    """
    until = UnixTime(held.began + held.time)
    gathering = Gathering(room.peers, room.clock, room.court.market_domain, matter, shown, fellows)
    found = await gathering.gather(
        within_s=max(0.0, after(held, EVIDENCE_UNTIL) - await room.court.now()), keep_until=until
    )
    evidence = found.evidence
    if evidence is None or evidence.receipt is None:
        return vote_without_run(matter, evidence)
    unseen = vote_untested(evidence, has_output=found.has_output) if is_tested(evidence) else None
    if unseen is not None:
        return unseen
    if not found.has_inputs:
        return vote_without_run(matter, evidence)
    award, output = evidence.terms.award, evidence.receipt.output
    readers = (*fellows, award.requester, award.provider)
    served = {blob.digest for blob in needed_blobs(evidence)}
    if is_tested(evidence):
        served.add(output)
    await _serve(room, served, readers, until)
    rerun = await _run(room, act_of(room.runner, evidence, evidence.receipt), matter, held)
    if rerun is None:
        return None
    if isinstance(rerun, str):
        log.warning("court.cannot_run", award=matter.award.hex(), reason=rerun)
        return vote_not_judged(evidence)
    await _serve(room, {rerun.output}, readers, until)
    return vote_on(evidence, rerun, has_output=found.has_output)


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


async def _serve(
    room: ArbiterRoom, digests: AbstractSet[ContentDigest], readers: Sequence[Address], until: UnixTime
) -> None:
    for digest in digests:
        for wallet in readers:
            await room.peers.grant(digest, wallet, until)


async def _run(
    room: ArbiterRoom, run: Callable[[], Awaitable[Rerun]], matter: Matter, held: Round
) -> Rerun | str | None:
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
