"""A hold that a court may have to enforce: it stands on chain, harms no other work, and can be let go of."""

import pytest
import trio

from protocol.channel.errors import ClosePending, HoldMissing
from protocol.channel.holds import find_hold
from protocol.dispute.acting import HoldSight
from protocol.identity import Address, Digest
from protocol.units import Amount
from tests.node.payments.payments_world import (
    PATIENCE_S,
    Party,
    World,
    accept,
    engage,
    pay,
    prepare,
    receipt_of,
)

PRICE, FEE, PAID, DUE = Amount(400_000), Amount(50_000), Amount(100_000), Amount(250_000)
ARBITER = Address(b"\xab" * 20)


async def deliver(world: World, payer: Party, payee: Party) -> tuple[Digest, HoldSight]:
    """Have an award's first part paid and its second delivered, and let the work end there."""
    signed, award_id, _ = await engage(world, payer, payee, PRICE, arbiter=ARBITER, dispute_fee=FEE)
    accepted = await pay(payer, payee, signed, 0, PAID)
    receipt = payee.sign(receipt_of(award_id, 1, DUE))
    await payee.payments.payee.note_receipt(signed, award_id, receipt)
    await payee.payments.payee.settle(signed, award_id, None, accepted, receipt)
    return award_id, await payee.payments.payee.holds.look(signed.value, award_id)


async def test_a_hold_is_made_ready_after_the_work_in_flight_and_no_new_work_is_taken_until_it_is_let_go_of(
    world: World,
) -> None:
    async with world.party("payer") as payer, world.party("payee") as payee:
        holds, paid_by = payee.payments.payee.holds, payee.gateway.channels
        award_id, sight = await deliver(world, payer, payee)
        assert sight == HoldSight(unpaid=Amount(DUE - PAID), held=Amount(PRICE + FEE - PAID))
        other, other_id, _ = await engage(world, payer, payee, PRICE)
        channel, award = other.value.channel, other.value  # any award of the channel names it
        await holds.secure(award, award_id)
        stood = await paid_by.state_of(channel)
        assert (stood.base, (await holds.look(award, award_id)).is_secured) == (PAID, True)

        assert await holds.ready(award, award_id) is None, "the other task is at work"
        late, late_id = await prepare(world, payer, payee, PRICE)
        signed = await payer.signer.sign_award(late)
        notice = await payer.payments.payer.fund(signed, late_id)
        await payee.payments.payee.receive_funding(signed, late_id, notice)
        with trio.fail_after(PATIENCE_S), pytest.raises(ClosePending):
            await payee.payments.payee.wait_funded(signed, late_id)

        accepted = await pay(payer, payee, other, 0, PRICE, last=True)
        await payee.payments.payee.settle(other, other_id, None, accepted, None)
        ready = await holds.ready(award, award_id)
        assert ready is not None
        hold = find_hold(ready[1], award_id)
        assert hold is not None
        assert hold.amount == sight.held
        stands = await paid_by.state_of(channel)
        assert (stands.base, stands.claimed) == (PAID + PRICE, PAID + PRICE), "the newest voucher, all that it pays"
        assert stands.sequence > stood.sequence
        assert await holds.ready(award, award_id) == ready  # asked again, as after a crash

        await holds.leave(award, award_id)
        await holds.leave(award, award_id)
        assert (await holds.look(award, award_id)).unpaid == 0
        with trio.fail_after(PATIENCE_S):
            await payee.payments.payee.wait_funded(signed, late_id)


async def test_what_was_secured_is_found_again_after_a_restart_and_what_never_was_is_refused(world: World) -> None:
    async with world.party("payer") as payer:
        async with world.party("payee") as payee:
            award_id, _ = await deliver(world, payer, payee)
            channel = payee.payments.payee.channels()[0].channel
            signed, _ = await prepare(world, payer, payee, PRICE)
            assert signed.channel == channel
            await payee.payments.payee.holds.secure(signed, award_id)
            sequence = (await payee.gateway.channels.state_of(channel)).sequence
        async with world.party("payee") as payee:
            holds = payee.payments.payee.holds
            with trio.fail_after(PATIENCE_S):
                while not (await holds.look(signed, award_id)).is_secured:
                    await trio.sleep(0.05)
            await holds.secure(signed, award_id)
            assert (await payee.gateway.channels.state_of(channel)).sequence == sequence, "not presented twice"
            with pytest.raises(HoldMissing):
                await holds.secure(signed, Digest(b"\x05" * 32))
            assert await holds.look(signed, Digest(b"\x05" * 32)) == HoldSight()


async def test_a_part_that_was_never_sent_is_nothing_to_go_to_court_for(world: World) -> None:
    demanded: list[Digest] = []

    async def demand(_award: object, award_id: Digest) -> None:
        await trio.lowlevel.checkpoint()
        demanded.append(award_id)

    async with world.party("payer") as payer, world.party("payee", demand=demand) as payee:
        signed, award_id, _ = await engage(world, payer, payee, PRICE, arbiter=ARBITER, dispute_fee=FEE)
        accepted = await accept(payer, signed, 0, PAID)
        await pay(payer, payee, signed, 0, PAID)
        unsent = payee.sign(receipt_of(award_id, 1, DUE))
        await payee.payments.payee.settle(signed, award_id, None, accepted, unsent)
        assert (demanded, (await payee.payments.payee.holds.look(signed.value, award_id)).unpaid) == ([], 0)
        sent_id, _ = await deliver(world, payer, payee)
        assert demanded == [sent_id]
