"""A provider that is not paid goes to a real court by itself, and every base unit is where it belongs afterwards."""

from pathlib import Path

from protocol.channel.holds import build_voucher
from protocol.channel.messages import VOUCHER_METHOD
from protocol.dispute.case import Stage
from protocol.dispute.objects import Finding
from protocol.settlement.deadlines import deadlines_of
from protocol.task.messages import VoucherNotice
from protocol.units import Amount
from protocol.wire.codec import encode
from tests.node.arbitration.money_lab import (
    COURT_TERMS,
    FEE,
    FIRST,
    PRICE,
    SECOND,
    Demands,
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
from tests.node.payments.payments_world import LinkPeers, accept


async def test_a_provider_opens_a_case_for_an_unpaid_part_and_takes_what_it_gives_and_its_bond(
    tmp_path: Path,
) -> None:
    demands = Demands()
    async with open_court(tmp_path / "nodes", COURT_TERMS) as (world, payer, arbiter):
        court = court_of(world, payer)
        async with open_provider(world, demands) as provider:
            work = await deliver(world, payer, provider, demands)
            before = await money(world)
            await pass_until(world, deadlines_of(work.award.value).claim_by)
            await until_stage(court, work.award_id, Stage.DRAWING)
        state = await payer.gateway.channels.state_of(work.award.value.channel)
        assert (state.base, state.held) == (FIRST, PRICE + FEE - FIRST), "its hold stood before the case was open"

        await judge(world, arbiter, work.award_id, Finding.UPHELD, SECOND)  # the provider is away
        async with open_provider(world, demands) as provider:
            closed = await settled(provider, work.award_id)
            assert (closed.finding, closed.taken, closed.bonds) == (Finding.UPHELD, SECOND - FIRST, FEE)
            assert await payer.gateway.channels.is_enforced(work.award.value.channel, work.award_id)
            assert {view.unpaid for view in provider.party.payments.payee.channels()} <= {0}
            await provider.party.payments.payee.drain()
        await leave(world, payer, work.award.value.channel)
        after = await money(world)
        assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == {
            "payee": SECOND,  # and its bond came home
            "payer": before["channels"] - SECOND - FEE,
            "channels": -before["channels"],
            "bench": FEE,
        }


async def test_a_requester_that_pays_once_it_is_in_court_pays_the_bond_as_well(tmp_path: Path) -> None:
    demands = Demands()
    async with (
        open_court(tmp_path / "nodes", COURT_TERMS) as (world, payer, arbiter),
        open_provider(world, demands) as provider,
    ):
        payee = provider.party
        work = await deliver(world, payer, provider, demands)
        before = await money(world)
        await pass_until(world, deadlines_of(work.award.value).claim_by)
        await until_stage(provider.court, work.award_id, Stage.DRAWING)

        accepted = await accept(payer, work.award, 1, SECOND)
        paid = await payer.payments.payer.pay(work.award, work.award_id, accepted, last=True)
        await payee.payments.payee.receive_payment(work.award, work.award_id, accepted, paid)
        assert paid is not None
        dropped = build_voucher(paid.voucher.value.channel, paid.voucher.value.sequence + 1, SECOND, ())
        signed = await payer.signer.sign_voucher(dropped, payee=payee.address, task=None, task_total=Amount(0))
        without = VoucherNotice(voucher=signed, holds=())  # and it takes the rest of the hold away, with the fee in it
        await LinkPeers(world.link, payer.address).call(payee.address, VOUCHER_METHOD, encode(without))
        (view,) = payee.payments.payee.channels()
        assert (view.earned, view.held, view.unpaid) == (SECOND, 0, 0)

        await judge(world, arbiter, work.award_id, Finding.UPHELD, SECOND)
        closed = await settled(provider, work.award_id)
        assert (closed.finding, closed.bonds) == (Finding.UPHELD, FEE)
        await leave(world, payer, work.award.value.channel)
        after = await money(world)
        assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == {
            "payee": SECOND,  # once, and its bond came home out of the hold that stood
            "payer": before["channels"] - SECOND - FEE,
            "channels": -before["channels"],
            "bench": FEE,
        }
