"""A requester contests a claim and goes to court over it in one transaction; without a court it still contests."""

from dataclasses import replace
from pathlib import Path

import trio

from node.chain.events import AwardDisputed
from protocol.dispute.case import CaseOpened
from protocol.errors import TransientError
from protocol.identity import Digest
from protocol.market.objects import Award
from protocol.units import Amount
from tests.node.arbitration.claim_lab import (
    ATTITUDE,
    ENOUGH,
    PACE,
    Requester,
    claims,
    have_claimed,
    told,
    until_at_rest,
    until_told,
)
from tests.node.arbitration.money_lab import COURT_TERMS, FEE, PATIENCE_S, PRICE
from tests.node.payments.payments_world import NO_CAPS, Crash, open_world


async def test_a_claim_is_contested_and_its_case_opened_in_one_transaction(tmp_path: Path) -> None:
    async with open_world(tmp_path / "nodes", terms=COURT_TERMS, court=True) as world, world.party("payee") as payee:
        requester = Requester(world=world)
        async with requester.open() as payer:
            award_id = await have_claimed(requester, payer, payee)
            assert await until_told(world, CaseOpened) == await until_told(world, AwardDisputed)
            await until_at_rest(payer)
            assert requester.files is not None
            assert award_id in requester.files.open


async def test_a_crash_after_any_record_leaves_no_claim_undisputed_and_no_dispute_without_its_case(
    tmp_path: Path,
) -> None:
    async with open_world(tmp_path / "nodes", terms=COURT_TERMS, court=True) as world, world.party("payee") as payee:
        requester = Requester(world=world, looks=False)
        async with requester.open() as payer:
            await have_claimed(requester, payer, payee)
        requester.looks, crashes = True, 0
        while not await told(world, AwardDisputed):
            assert crashes < ENOUGH
            try:
                async with requester.open(crash_after=1):
                    with trio.move_on_after(PATIENCE_S):
                        while not await told(world, AwardDisputed):
                            await trio.sleep(0.05)
            except* Crash:
                crashes += 1
        assert crashes > 2
        assert await until_told(world, CaseOpened) == await until_told(world, AwardDisputed)
        async with requester.open() as payer:
            await until_at_rest(payer)
        assert len(await told(world, CaseOpened)) == 1


async def test_a_bond_that_the_wallet_refuses_leaves_the_claim_disputed_all_the_same(tmp_path: Path) -> None:
    async with open_world(tmp_path / "nodes", terms=COURT_TERMS, court=True) as world, world.party("payee") as payee:
        requester = Requester(world=world)
        async with requester.open(caps=replace(NO_CAPS, per_day=Amount(PRICE + FEE))) as payer:
            await have_claimed(requester, payer, payee)
            await until_told(world, AwardDisputed)
            assert not await told(world, CaseOpened)


async def test_who_opens_no_cases_disputes_and_no_more(tmp_path: Path) -> None:
    async with open_world(tmp_path / "nodes", terms=COURT_TERMS, court=True) as world, world.party("payee") as payee:
        requester = Requester(world=world)
        async with requester.open(attitude=replace(ATTITUDE, open=False)) as payer:
            await have_claimed(requester, payer, payee)
            await until_told(world, AwardDisputed)
            assert not await told(world, CaseOpened)


async def test_a_court_that_can_not_be_asked_in_time_leaves_time_for_the_dispute(tmp_path: Path) -> None:
    asked = 0

    async def away(_award: Award, _award_id: Digest) -> int | None:
        nonlocal asked
        await trio.lowlevel.checkpoint()
        asked += 1
        raise TransientError("the court can't be asked")

    async with open_world(tmp_path / "nodes", terms=COURT_TERMS, court=True) as world, world.party("payee") as payee:
        requester = Requester(world=world)
        async with requester.open(open_case=away) as payer:
            await have_claimed(requester, payer, payee)
            with trio.fail_after(PATIENCE_S):
                while asked < 2:
                    await trio.sleep(0.05)
            assert not await told(world, AwardDisputed)
        # The claim's time runs on while the node is away, to the last eighth.
        with trio.fail_after(PATIENCE_S):
            while not (found := await claims(world)):
                await trio.sleep(0.05)
        (claim,) = found
        await world.chain.rpc.call("evm_setNextBlockTimestamp", hex(claim - PACE // 8))
        await world.chain.rpc.call("anvil_mine", "0x1")
        async with requester.open(open_case=away):
            await until_told(world, AwardDisputed)


async def test_a_claim_that_nobody_could_judge_in_time_is_disputed_and_not_paid_by_silence(tmp_path: Path) -> None:
    async with open_world(tmp_path / "nodes", terms=COURT_TERMS, court=True) as world, world.party("payee") as payee:
        requester = Requester(world=world, looks=False)  # its judge never comes to an end
        async with requester.open() as payer:
            await have_claimed(requester, payer, payee)
            with trio.fail_after(PATIENCE_S):
                while not (last := await claims(world)):
                    await trio.sleep(0.05)
            await world.chain.rpc.call("evm_setNextBlockTimestamp", hex(last[0] - PACE // 8))
            await world.chain.rpc.call("anvil_mine", "0x1")
            await until_told(world, AwardDisputed)
            assert not await told(world, CaseOpened), "there is no conviction to go to court with"
