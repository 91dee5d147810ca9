"""What is counted of money is what the books say, each thing once, whatever is said twice."""

from collections.abc import Iterable

import trio

from node.payments.flow import Flow, RailName
from protocol.identity import ZERO_DIGEST
from protocol.task.messages import VoucherNotice
from protocol.units import Amount
from tests.node.payments.payments_world import World, accept, engage, eventually, pay, receipt_of, start_of


def total(flows: Iterable[Flow], rail: RailName) -> dict[str, int]:
    """Add up."""
    ours = [flow for flow in flows if flow.rail == rail]
    names = ("paid", "earned", "claimed", "vouchers_signed", "vouchers_received")
    return {name: found for name in names if (found := sum(getattr(flow, name) for flow in ours))}


async def test_a_channels_vouchers_and_claims_are_counted_once(world: World) -> None:
    world.link.twice |= {"channel/voucher", "channel/release"}
    async with world.party("payer") as payer, world.party("payee") as payee:
        signed, award_id, notice = await engage(world, payer, payee, 400_000)
        assert isinstance(notice, VoucherNotice)
        await payee.payments.payee.receive_funding(signed, award_id, notice)
        await pay(payer, payee, signed, 0, 150_000)
        acceptance = await pay(payer, payee, signed, 1, 350_001, last=True)
        await payer.payments.payer.close(signed, award_id)
        await payee.payments.payee.settle(signed, award_id, None, acceptance, None)
        await eventually(lambda: payer.payments.payer.channels()[0].held == 0)
        await eventually(lambda: payer.payments.payer.channels()[0].acknowledged)
        with trio.fail_after(60):
            await payee.payments.payee.drain()
    # Hold, two payments, and the hold's release: four vouchers.
    assert total(payer.flows, "channel") == {"paid": 350_001, "vouchers_signed": 4}
    assert total(payee.flows, "channel") == {"earned": 350_001, "claimed": 350_001, "vouchers_received": 4}
    async with world.party("payer") as payer, world.party("payee") as payee:  # a replay moves nothing
        await eventually(lambda: payee.payments.feed.number > 0 and payer.payments.feed.number > 0)
        assert (payer.flows, payee.flows) == ([], [])


async def test_an_escrow_counts_what_was_accepted_and_what_a_claim_took(world: World) -> None:
    async def judge(_claim: object) -> bool:
        await trio.lowlevel.checkpoint()
        return True

    async with world.party("payer", judge=judge) as payer, world.party("payee") as payee:
        offer = world.offer(payer.address, rail=world.deployment.escrow)
        award, award_id = world.award(offer, payee.address, ZERO_DIGEST, 20_000_000)
        signed = await payer.signer.sign_award(award)
        with trio.fail_after(60):
            await payer.payments.payer.fund(signed, award_id)
            await payee.payments.payee.receive_funding(signed, award_id, None)
            await payee.payments.payee.wait_funded(signed, award_id)
        start = payee.sign(start_of(award_id))
        await payee.payments.payee.note_start(signed, award_id, start)
        await payee.payments.payee.note_receipt(signed, award_id, payee.sign(receipt_of(award_id, 0, 5_000_000)))
        acceptance = await accept(payer, signed, 0, Amount(5_000_000))
        for _ in range(2):
            await payer.payments.payer.pay(signed, award_id, acceptance, last=False)
            await payee.payments.payee.receive_payment(signed, award_id, acceptance, None)
        assert total(payer.flows, "escrow") == {"paid": 5_000_000}
        assert total(payee.flows, "escrow") == {"earned": 5_000_000}
        claimed = payee.sign(receipt_of(award_id, 1, 9_000_000))  # delivered, and the requester says no more
        await payee.payments.payee.note_receipt(signed, award_id, claimed)
        await payee.payments.payee.settle(signed, award_id, start, acceptance, claimed)
        await eventually(lambda: payer.payments.payer.escrows() == () and payee.payments.payee.escrows() == ())
    assert total(payer.flows, "escrow") == {"paid": 9_000_000}
    assert total(payee.flows, "escrow") == {"earned": 9_000_000, "claimed": 9_000_000}
