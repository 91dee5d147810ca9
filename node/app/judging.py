"""Whether a claim on an escrow is owed: what a provider asks on chain for work that was not accepted."""

from node.market import purchase_run
from node.market.task_table import find_offer_of_award
from node.payments.ports import ChallengedClaim, JudgeClaim
from node.storage.machine_log import load_machine
from node.storage.storage import Storage
from protocol.task import purchase


def make_judge(storage: Storage) -> JudgeClaim:
    """Return the judge: a claim is owed up to what this node accepted, or received and was about to accept.

    A claim for work whose output never came here is contested: silence must not pay for what can't be shown.
    """

    async def judge(claim: ChallengedClaim) -> bool:
        offer = await storage.read.query(lambda connection: find_offer_of_award(connection, claim.award_id))
        if offer is None:
            return False
        machine = await load_machine(storage.journal, purchase_run.PURCHASE, purchase_run.stream_of(offer))
        state = machine.state
        if not isinstance(state, purchase.Running | purchase.Done) or state.award_id != claim.award_id:
            return False
        latest = state.latest
        return latest is not None and latest.due >= claim.due

    return judge
