"""Whether a claim on an escrow is owed: what a provider asks on chain for work that was not accepted."""

from collections.abc import Awaitable, Callable
from typing import Final

from node.market import purchase_run
from node.market.task_table import find_purchase_of_award
from node.operations.clock import Clock
from node.payments.ports import ChallengedClaim, JudgeClaim
from node.storage.machine_log import load_machine
from node.storage.storage import Storage
from protocol.task import purchase

LOOK_S: Final = 1.0


async def _no_court(_claim: ChallengedClaim) -> bool:
    """Nobody to go to, so nothing to lose by contesting."""
    return False


def make_judge(
    storage: Storage, clock: Clock, contest: Callable[[ChallengedClaim], Awaitable[bool]] = _no_court
) -> JudgeClaim:
    """Return the judge: a claim is owed up to what this node accepted, or received and was about to accept.

    A claim for work whose output never came here is contested: silence must not pay for what can't be shown. So is one
    for a receipt that an audit refuted, or that other copies contradict; while it is looked at, the judge waits for
    what is found, as long as there is time to contest.

    Before a claim is contested, `contest` takes it to court, unless it finds out that the claim is right: then it is
    owed. A task that its user cancelled stays out of court: its provider may well have done the work, and the escrow's
    split is what the terms give it.
    """

    async def judge(claim: ChallengedClaim) -> bool:
        stream = await storage.read.query(lambda connection: find_purchase_of_award(connection, claim.award_id))
        if stream is None:
            return False
        _, slot = purchase_run.parse_stream(stream)
        while True:
            machine = await load_machine(storage.journal, purchase_run.purchase_machine(slot), stream)
            state = machine.state
            in_time = clock.now() < claim.dispute_by - claim.award.pace // 4
            if not (isinstance(state, purchase.Auditing) and state.award_id == claim.award_id and in_time):
                is_owed = _is_owed(state, claim)
                if not is_owed and not isinstance(state, purchase.Cancelled):
                    return await contest(claim)
                return is_owed
            await clock.sleep(LOOK_S)

    return judge


def _is_owed(state: purchase.State, claim: ChallengedClaim) -> bool:
    if isinstance(state, purchase.Auditing):
        state = state.running
    if not isinstance(state, purchase.Running | purchase.Done) or state.award_id != claim.award_id:
        return False
    return state.latest is not None and state.latest.due >= claim.due
