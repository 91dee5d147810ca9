"""Awards in escrow between two nodes on a real chain, with deadlines of real seconds."""

from dataclasses import replace

import pytest
import trio

from node.payments.errors import BadTerms, EscrowGone, InsufficientTokens, NotPaid
from node.payments.ports import ChallengedClaim
from protocol.errors import ProtocolError
from protocol.identity import ZERO_DIGEST, Digest
from protocol.market.objects import Award
from protocol.signing.ecdsa import BadSignature
from protocol.signing.eip712 import Domain, digest
from protocol.signing.signed import Signed, sign_struct
from protocol.spending import SpendingCapExceeded
from protocol.task.objects import Acceptance
from protocol.units import ONE_TOKEN, Amount
from tests.node.payments.payments_world import (
    NO_CAPS,
    PATIENCE_S,
    STAKE,
    Party,
    World,
    accept,
    acceptance_of,
    eventually,
    key_of,
    receipt_of,
    start_of,
)

PRICE = 25 * ONE_TOKEN
SHORT = {"start_within": 3, "max_eta": 1, "pace": 2, "resolve_within": 2}


def award_in_escrow(
    world: World, payer: Party, payee: Party, price: int = PRICE, **changes: object
) -> tuple[Award, Digest]:
    """Return an award that nobody has signed or funded."""
    offer = world.offer(payer.address, rail=world.deployment.escrow, **changes)
    return world.award(offer, payee.address, ZERO_DIGEST, price)


async def engage(
    world: World, payer: Party, payee: Party, price: int = PRICE, **changes: object
) -> tuple[Signed[Award], Digest]:
    """Fund an award and have the provider find it funded."""
    award, award_id = award_in_escrow(world, payer, payee, price, **changes)
    signed = await payer.signer.sign_award(award)
    with trio.fail_after(PATIENCE_S):
        assert await payer.payments.payer.fund(signed, award_id) is None
        await payee.payments.payee.receive_funding(signed, award_id, None)
        await payee.payments.payee.wait_funded(signed, award_id)
    return signed, award_id


async def over(payer: Party, payee: Party) -> None:
    """Wait until neither side has an escrow left."""
    await eventually(lambda: payer.payments.payer.escrows() == () and payee.payments.payee.escrows() == ())


async def test_a_task_in_escrow_is_paid_by_its_last_acceptance(world: World) -> None:
    async with world.party("payer") as payer, world.party("payee") as payee:
        offer = world.offer(payer.address, rail=world.deployment.escrow)
        assert await payer.payments.payer.prepare(payee.address, Amount(PRICE), offer) == ZERO_DIGEST
        signed, award_id = await engage(world, payer, payee)
        await payer.payments.payer.fund(signed, award_id)  # again: nothing is locked twice
        start = payee.sign(start_of(award_id))
        await payee.payments.payee.note_start(signed, award_id, start)
        for part, due in ((0, 10_000_001), (1, 20_000_002)):
            await payee.payments.payee.note_receipt(signed, award_id, payee.sign(receipt_of(award_id, part, due)))
            acceptance = await accept(payer, signed, part, due)
            for _ in range(2):
                assert await payer.payments.payer.pay(signed, award_id, acceptance, last=part == 1) is None
                await payee.payments.payee.receive_payment(signed, award_id, acceptance, None)
        assert (await world.balances())["escrow"] == PRICE
        await payer.payments.payer.close(signed, award_id)
        await payee.payments.payee.settle(signed, award_id, start, acceptance, None)
        await over(payer, payee)
        balances = await world.balances("payer", "payee")
    assert balances == {"payer": STAKE - 20_000_002, "payee": STAKE + 20_000_002, "channels": 0, "escrow": 0}


async def test_a_silent_requester_pays_what_the_provider_shows_evidence_for(world: World) -> None:
    asked: list[ChallengedClaim] = []

    async def judge(claim: ChallengedClaim) -> bool:
        asked.append(claim)
        return True

    async with world.party("payer", judge=judge) as payer, world.party("payee") as payee:
        signed, award_id = await engage(world, payer, payee, dispute_fee=Amount(7))
        start, receipt = payee.sign(start_of(award_id)), payee.sign(receipt_of(award_id, 0, 9_000_000))
        await payee.payments.payee.note_start(signed, award_id, start)
        await payee.payments.payee.note_receipt(signed, award_id, receipt)
        await payee.payments.payee.settle(signed, award_id, start, None, receipt)
        await over(payer, payee)
        balances = await world.balances("payer", "payee")
    assert balances == {"payer": STAKE - 9_000_000, "payee": STAKE + 9_000_000, "channels": 0, "escrow": 0}
    assert [(claim.due, claim.part, claim.award_id) for claim in asked] == [(9_000_000, 0, award_id)]


async def test_a_claim_for_what_was_never_received_is_disputed_and_split_without_arbiter(world: World) -> None:
    demanded: list[Digest] = []

    async def demand(_award: object, award_id: Digest) -> None:
        await trio.lowlevel.checkpoint()
        demanded.append(award_id)

    async with world.party("payer") as payer, world.party("payee", demand=demand) as payee:
        signed, award_id = await engage(world, payer, payee, resolve_within=2)
        start = payee.sign(start_of(award_id))
        acceptance = await accept(payer, signed, 0, 1_000_000)
        await payer.payments.payer.pay(signed, award_id, acceptance, last=False)
        await payee.payments.payee.note_start(signed, award_id, start)
        await payee.payments.payee.note_receipt(signed, award_id, payee.sign(receipt_of(award_id, 0, 1_000_000)))
        await payee.payments.payee.receive_payment(signed, award_id, acceptance, None)
        receipt = payee.sign(receipt_of(award_id, 1, 3_000_001))
        await payee.payments.payee.note_receipt(signed, award_id, receipt)
        await payee.payments.payee.settle(signed, award_id, start, acceptance, receipt)
        await over(payer, payee)
        assert demanded == [award_id], "its payee is told once that this takes a verdict"
        balances = await world.balances("payer", "payee")
    # What was accepted in full, and half of the rest of the claim, rounded down.
    assert balances["payee"] == STAKE + 1_000_000 + 1_000_000
    assert balances["payer"] + balances["payee"] == 2 * STAKE
    assert balances["escrow"] == 0


async def test_work_that_was_never_sent_is_not_claimed(world: World) -> None:
    """It died between running the part and sending it, and somebody else has done it when it comes back."""
    async with world.party("payer") as payer, world.party("payee") as payee:
        signed, award_id = await engage(world, payer, payee, **SHORT)
        start, receipt = payee.sign(start_of(award_id)), payee.sign(receipt_of(award_id, 0, 9_000_000))
        await payee.payments.payee.note_start(signed, award_id, start)
        await payer.payments.payer.close(signed, award_id)
        await payee.payments.payee.settle(signed, award_id, start, None, receipt)
        await over(payer, payee)
        balances = await world.balances("payer", "payee")
    assert balances == {"payer": STAKE, "payee": STAKE, "channels": 0, "escrow": 0}


async def test_money_that_nobody_works_for_comes_back(world: World) -> None:
    async with world.party("payer") as payer, world.party("payee") as payee:
        signed, award_id = await engage(world, payer, payee, **SHORT)
        await payer.payments.payer.close(signed, award_id)
        await eventually(lambda: [view.phase for view in payer.payments.payer.escrows()] in (["recalled"], []))
        with pytest.raises(EscrowGone):
            await payee.payments.payee.wait_funded(signed, award_id)
        await over(payer, payee)
        balances = await world.balances("payer", "payee")
    assert balances == {"payer": STAKE, "payee": STAKE, "channels": 0, "escrow": 0}


async def test_a_recall_is_answered_by_the_start_and_the_work_is_paid(world: World) -> None:
    async with world.party("payer") as payer, world.party("payee") as payee:
        signed, award_id = await engage(world, payer, payee, start_within=3)
        start = payee.sign(start_of(award_id))
        await payee.payments.payee.note_start(signed, award_id, start)
        await payer.payments.payer.close(signed, award_id)  # as if the requester had never seen the start
        await eventually(lambda: [view.phase for view in payee.payments.payee.escrows()] == ["started"])
        acceptance = await accept(payer, signed, 1, PRICE)
        await payee.payments.payee.receive_payment(signed, award_id, acceptance, None)
        await payee.payments.payee.settle(signed, award_id, start, acceptance, None)
        await over(payer, payee)
        balances = await world.balances("payer", "payee")
    assert balances == {"payer": STAKE - PRICE, "payee": STAKE + PRICE, "channels": 0, "escrow": 0}


async def test_what_was_accepted_is_paid_even_if_the_provider_never_comes_back(world: World) -> None:
    async with world.party("payer") as payer:
        async with world.party("payee") as payee:
            signed, award_id = await engage(world, payer, payee, **SHORT)
        acceptance = await accept(payer, signed, 0, 123)
        await payer.payments.payer.pay(signed, award_id, acceptance, last=False)
        await payer.payments.payer.close(signed, award_id)
        await eventually(lambda: payer.payments.payer.escrows() == ())
        balances = await world.balances("payer", "payee")
    assert balances == {"payer": STAKE - 123, "payee": STAKE + 123, "channels": 0, "escrow": 0}


async def test_terms_signatures_and_sums_that_differ_are_refused(world: World) -> None:
    async with world.party("payer") as payer, world.party("payee") as payee:
        signed, award_id = await engage(world, payer, payee)
        rails = payee.payments.payee
        dearer = replace(signed.value, price=Amount(PRICE + 1))
        for identity in (award_id, Digest(b"\4" * 32)):
            with pytest.raises(BadTerms):
                await rails.receive_funding(payer.sign(dearer), identity, None)
        for award in (replace(signed.value, rail=payee.address), replace(signed.value, token=payee.address)):
            with pytest.raises(BadTerms):
                await rails.receive_funding(payer.sign(award), award_id, None)
        with pytest.raises(BadSignature):
            await rails.receive_funding(payee.sign(dearer), digest(world.deployment.market_domain, dearer), None)
        good = acceptance_of(award_id, 0, 100)
        key = key_of("payer")
        foreign = sign_struct(key, Domain(chain_id=1, verifying_contract=world.deployment.escrow), good)
        wrong: list[tuple[Signed[Acceptance], type[ProtocolError]]] = [
            (foreign, BadSignature),
            (payee.sign(good), BadSignature),
            (payer.sign(replace(good, award=Digest(b"\3" * 32))), NotPaid),
        ]
        for acceptance, kind in wrong:
            with pytest.raises(kind):
                await rails.receive_payment(signed, award_id, acceptance, None)
        assert rails.escrows()[0].accepted == 0
        # Another award, that nobody funded, is never taken, whatever is said about it.
        unfunded, unfunded_id = award_in_escrow(world, payer, payee)
        await rails.receive_funding(payer.sign(unfunded), unfunded_id, None)
        with trio.move_on_after(0.5) as waiting:
            await rails.wait_funded(payer.sign(unfunded), unfunded_id)
        assert waiting.cancelled_caught


async def test_what_the_wallet_can_not_or_may_not_pay_is_not_begun(world: World) -> None:
    caps = replace(NO_CAPS, per_task=Amount(PRICE))
    async with world.party("payer", caps=caps) as payer, world.party("payee") as payee:
        award, award_id = award_in_escrow(world, payer, payee, STAKE + 1)
        with pytest.raises(InsufficientTokens):
            await payer.payments.payer.fund(payer.sign(award), award_id)
        award, award_id = award_in_escrow(world, payer, payee, PRICE + 1)
        with pytest.raises(SpendingCapExceeded):
            await payer.signer.sign_award(award)
        with pytest.raises(EscrowGone, match="cap"):
            await payer.payments.payer.fund(payer.sign(award), award_id)  # signed past the caps: the wallet still asks
        late, late_id = award_in_escrow(world, payer, payee)
        late = replace(late, start_by=late.start_by - 3600, deliver_by=late.deliver_by - 3600)
        with pytest.raises(EscrowGone):
            await payer.payments.payer.fund(payer.sign(late), late_id)
        balances = await world.balances("payer", "payee")
    assert balances == {"payer": STAKE, "payee": STAKE, "channels": 0, "escrow": 0}
