"""A verdict that was enforced on an old voucher is enforced again on what was signed since, whoever came first."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import trio

from node.app.court_chain import ContractCourt
from protocol.channel.holds import Holds
from protocol.channel.objects import ChannelKey
from protocol.dispute.case import Stage
from protocol.dispute.objects import Finding
from protocol.dispute.party import Closed
from protocol.identity import Digest
from protocol.market.objects import Award
from protocol.settlement.deadlines import deadlines_of
from protocol.signing.signed import Signed
from protocol.units import Amount, Seconds
from tests.node.arbitration.money_lab import (
    COURT_TERMS,
    FEE,
    FIRST,
    PATIENCE_S,
    SECOND,
    Demands,
    Litigant,
    court_of,
    deliver,
    judge,
    leave,
    money,
    open_court,
    open_provider,
    pass_until,
    settled,
    until_stage,
)
from tests.node.payments.payments_world import Crash, Party, World, accept, engage, pay, receipt_of

TERMS: Final = replace(COURT_TERMS, challenge=Seconds(900))
"""A challenge that no machine is too slow for; the chain's time runs ahead to its end."""
OTHER, MORE = Amount(400_000), Amount(700_000)
"""What is paid for other work in the same channel, after each of its parts."""
ENOUGH: Final = 40


async def other_work(world: World, payer: Party, provider: Litigant) -> tuple[Signed[Award], Digest]:
    """Have the first part of another task paid in the same channel, with time for the second."""
    signed, award_id, _ = await engage(
        world, payer, provider.party, MORE, start_within=Seconds(2_000), max_eta=Seconds(2_000)
    )
    await pay(payer, provider.party, signed, 0, OTHER)
    return signed, award_id


async def decided(world: World, arbiter: Party, court: ContractCourt, award: Award, award_id: Digest) -> None:
    """Let the committee find for the provider, and the requester's wallet close the case."""
    await judge(world, arbiter, award_id, Finding.UPHELD, SECOND)
    await court.close(award, await court.history_of(award_id))


async def enforced_by(court: ContractCourt, payer: Party, award: Award, award_id: Digest, holds: Holds) -> None:
    """Have the requester bring the verdict to the chain itself, on the voucher that stands there."""
    vote = (await court.history_of(award_id))[-1].vote
    assert vote is not None
    key = ChannelKey(payer=payer.address, signer=payer.address, payee=award.provider, token=award.token, counter=1)
    await court.enforce(award, vote, key, holds)


async def settled_after_crashes(world: World, demands: Demands, award_id: Digest) -> tuple[Closed, int]:
    """Run the provider, which dies after each record that it makes durable, until its case is settled."""
    for crashes in range(ENOUGH):
        try:
            async with open_provider(world, demands, crash_after=1) as provider:
                return await settled(provider, award_id), crashes
        except* Crash:
            pass
    raise AssertionError("the case is not settled")


async def until_claimed(payer: Party, channel: Digest, amount: int) -> None:
    with trio.fail_after(PATIENCE_S):
        while (await payer.gateway.channels.state_of(channel)).claimed < amount:
            await trio.sleep(0.05)


async def test_a_requester_that_enforces_early_on_an_old_voucher_pays_the_newer_one_as_well(tmp_path: Path) -> None:
    demands = Demands()
    async with open_court(tmp_path / "nodes", TERMS) as (world, payer, arbiter):
        court = court_of(world, payer)
        async with open_provider(world, demands) as provider:
            work = await deliver(world, payer, provider, demands)
            award, channel = work.award.value, work.award.value.channel
            await pass_until(world, deadlines_of(award).claim_by)
            await until_stage(court, work.award_id, Stage.DRAWING)
            other, other_id = await other_work(world, payer, provider)
            accepted = await accept(payer, other, 0, OTHER)
            await provider.party.payments.payee.settle(other, other_id, None, accepted, None)
            before = await money(world)

        await decided(world, arbiter, court, award, work.award_id)  # the provider is away
        await enforced_by(court, payer, award, work.award_id, work.paid.holds)
        state = await payer.gateway.channels.state_of(channel)
        assert (state.claimed, state.base) == (SECOND, SECOND), "the other work is not in it"

        closed, crashes = await settled_after_crashes(world, demands, work.award_id)
        assert (closed.finding, closed.taken) == (Finding.UPHELD, SECOND - FIRST + OTHER)
        assert crashes > 2
        state = await payer.gateway.channels.state_of(channel)
        assert state.claimed == SECOND + OTHER
        await pass_until(world, state.exits_at + TERMS.hold_period)  # the rest of the other hold is reserved until then
        await leave(world, payer, channel)
        after = await money(world)
        assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == {
            "payee": SECOND - FIRST + OTHER + FEE,  # what the first part was paid stood on the chain before
            "payer": before["channels"] - (SECOND - FIRST) - OTHER - FEE,
            "channels": -before["channels"],
        }


async def test_work_that_is_paid_during_the_exit_is_waited_for_also_after_a_restart(tmp_path: Path) -> None:
    demands = Demands()
    async with open_court(tmp_path / "nodes", TERMS) as (world, payer, arbiter):
        async with open_provider(world, demands) as provider:
            work = await deliver(world, payer, provider, demands)
            award, channel = work.award.value, work.award.value.channel
            await pass_until(world, deadlines_of(award).claim_by)
            await until_stage(provider.court, work.award_id, Stage.DRAWING)
            other, other_id = await other_work(world, payer, provider)
            await payer.payments.payer.close_channel(channel, force=True)  # so that nothing has to wait for the other
            await judge(world, arbiter, work.award_id, Finding.UPHELD, SECOND)
            await until_claimed(payer, channel, SECOND + OTHER)
            assert work.award_id in provider.files.open, "the other work may bring a newer voucher"

        async with open_provider(world, demands) as provider:
            payee = provider.party.payments.payee
            await payee.note_receipt(other, other_id, provider.party.sign(receipt_of(other_id, 1, MORE)))
            accepted = await pay(payer, provider.party, other, 1, MORE, last=True)
            await payee.settle(other, other_id, None, accepted, None)
            closed = await settled(provider, work.award_id)
        assert closed.taken is not None
        assert closed.taken >= SECOND - FIRST
        state = await payer.gateway.channels.state_of(channel)
        assert (state.claimed, state.base) == (SECOND + MORE, SECOND + MORE), "each is paid, and once"
        assert await payer.gateway.channels.is_enforced(channel, work.award_id)
