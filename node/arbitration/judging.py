"""How one arbiter comes to its vote: it gathers what the sides show, runs the part, and compares."""

from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from node.arbitration.gathering import Gathering
from node.arbitration.room import ArbiterRoom, after
from protocol.dispute.case import Round
from protocol.dispute.evidence import Evidence, Matter, vote_not_judged, vote_on_run, vote_without_run
from protocol.dispute.messages import Dossier
from protocol.dispute.objects import Vote
from protocol.errors import StoaError, TransientError
from protocol.identity import Address
from protocol.task.audit import Rerun
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
        matter: What the case is about.
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
    if evidence is None or evidence.receipt is None or not found.has_inputs:
        return vote_without_run(matter, evidence)
    manifest, award = evidence.terms.manifest, evidence.terms.award
    readers = (*fellows, award.requester, award.provider)
    for blob in {manifest.module, *manifest.inputs_of(matter.part)}:
        for wallet in readers:
            await room.peers.grant(blob.digest, wallet, until)
    rerun = await _run(room, evidence, matter, held)
    if rerun is None:
        return None
    if isinstance(rerun, str):
        log.warning("court.cannot_run", award=matter.award.hex(), reason=rerun)
        return vote_not_judged(matter, evidence)
    for wallet in readers:
        await room.peers.grant(rerun.output, wallet, until)
    return vote_on_run(evidence, rerun, has_output=found.has_output)


async def _run(room: ArbiterRoom, evidence: Evidence, matter: Matter, held: Round) -> Rerun | str | None:
    """Return what came out, why nothing ever can, or None if there is no time left to try."""
    while await room.court.now() <= held.schedule.seal_by:
        try:
            return await room.runner.run_again(evidence.terms, matter.part)
        except TransientError as error:
            log.warning("court.not_run_yet", award=matter.award.hex(), reason=str(error))
            await room.clock.sleep(room.tell_s)
        except StoaError as error:
            return str(error)
    return None
