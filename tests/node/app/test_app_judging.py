"""Which claims on an escrow are contested, and which of them go to court."""

from dataclasses import replace
from pathlib import Path

from trio.testing import MockClock

from node.app.judging import make_judge
from node.payments.ports import ChallengedClaim
from protocol.identity import Digest
from protocol.task import purchase
from protocol.task.verification import Audit
from protocol.units import WHOLE, Amount, BasisPoints, UnixTime
from tests.node.market.mallory_lab import Stage, finish, open_stage, wait_until
from tests.node.market.market_lab import make_wish


def awards_of(stage: Stage, offer_id: Digest) -> list[purchase.WinnerChosen]:
    return [each for each in stage.hub.purchases.get(offer_id, []) if isinstance(each, purchase.WinnerChosen)]


def claim_on(chosen: purchase.WinnerChosen, due: int) -> ChallengedClaim:
    return ChallengedClaim(
        award=chosen.award.value,
        award_id=chosen.award_id,
        receipt=Digest(bytes(32)),
        part=0,
        due=Amount(due),
        dispute_by=UnixTime(2**40),
    )


async def test_a_claim_is_taken_to_court_before_it_is_contested_unless_the_user_cancelled_the_task(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(110_000,)) as stage:
        mallory = await stage.join("mallory", gfuel=100_000)
        mallory.sandbox.writes = lambda _part: b"made up"
        requester, taken = stage.honest[0], list[ChallengedClaim]()

        turns_out_right = False

        async def contest(claim: ChallengedClaim) -> bool:
            taken.append(claim)
            return turns_out_right

        judge = make_judge(requester.storage, stage.hub.clock, contest)
        wish = await make_wish(requester, parts=1, budget=130_000)
        bought = await requester.requester.submit(replace(wish, verification=Audit(rate=BasisPoints(WHOLE))))
        row = await finish(requester, bought)
        liar, standby = awards_of(stage, bought)
        assert liar.award.value.provider == mallory.wallet
        assert await judge(claim_on(standby, row.spent))
        assert not taken, "what was accepted is owed"
        assert not await judge(claim_on(liar, 1))
        assert taken == [claim_on(liar, 1)]
        turns_out_right = True
        assert await judge(claim_on(liar, 1)), "it was looked at before anything was staked on it"
        taken.pop()

        cancelled = await requester.requester.submit(await make_wish(requester, parts=3, budget=390_000))
        await wait_until(lambda: bool(awards_of(stage, cancelled)))
        requester.requester.cancel(cancelled)
        await finish(requester, cancelled)
        (given_up,) = awards_of(stage, cancelled)
        assert not await judge(claim_on(given_up, 1))
        assert len(taken) == 1
