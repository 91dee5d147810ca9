"""A payer that deviates at each message: the payee refuses, says why, and has lost nothing."""

from dataclasses import replace

import pytest
import trio

from node.payments.errors import BadTerms, ChannelUnknown, NotFunded, NotPaid, NotSeenYet
from protocol.channel.errors import (
    BadClose,
    ConflictingVoucher,
    CumulativeFell,
    HoldMissing,
    HoldsMismatch,
    Overdrawn,
    WorkOutstanding,
)
from protocol.channel.holds import build_voucher
from protocol.channel.messages import CLOSE_METHOD, RELEASE_METHOD, VOUCHER_METHOD, CloseProposal, ReleaseRequest
from protocol.channel.objects import Close, Hold, Voucher
from protocol.errors import ProtocolError
from protocol.identity import ZERO_ADDRESS, Digest
from protocol.market.objects import Award
from protocol.signing.ecdsa import BadSignature, Signature, address_of
from protocol.signing.eip712 import Domain
from protocol.signing.signed import Signed, sign_struct
from protocol.task.messages import VoucherNotice
from protocol.units import ONE_TOKEN, Amount, UnixTime
from protocol.wire.codec import DecodeError, encode
from tests.node.payments.payments_world import (
    CLOCK,
    PATIENCE_S,
    STAKE,
    LinkPeers,
    Party,
    World,
    accept,
    engage,
    eventually,
    key_of,
    pay,
    prepare,
)

PRICE = 400_000
SECP256K1_N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class Mallory:
    """Signs whatever it likes with the payer's key."""

    def __init__(self, world: World, signed: Signed[Award], award_id: Digest) -> None:
        self.domain = world.deployment.channel_domain
        self.channel, self.award_id = signed.value.channel, award_id
        self.key = key_of("payer")

    def hold(self, amount: int, award: Digest | None = None) -> Hold:
        return Hold(award=award or self.award_id, arbiter=ZERO_ADDRESS, amount=Amount(amount))

    def say(self, sequence: int, cumulative: int, *holds: Hold, domain: Domain | None = None) -> VoucherNotice:
        ordered = tuple(sorted(holds, key=lambda hold: hold.award))
        voucher = build_voucher(self.channel, sequence, Amount(cumulative), ordered)
        return VoucherNotice(voucher=sign_struct(self.key, domain or self.domain, voucher), holds=ordered)


def high_s(signature: Signature) -> Signature:
    s = SECP256K1_N - int.from_bytes(signature[32:64])
    return Signature(signature[:32] + s.to_bytes(32) + bytes([55 - signature[64]]))


async def refuse_payment(
    payee: Party, signed: Signed[Award], acceptance_due: int, payer: Party, notice: VoucherNotice | None
) -> ProtocolError:
    """Have the payee refuse a payment; return why. What it held before, it holds after."""
    acceptance = await accept(payer, signed, 0, acceptance_due)
    before = payee.payments.payee.channels()
    with pytest.raises(ProtocolError) as caught:
        await payee.payments.payee.receive_payment(signed, acceptance.value.award, acceptance, notice)
    after = payee.payments.payee.channels()
    assert [(view.earned, view.held) for view in before] == [(view.earned, view.held) for view in after]
    return caught.value


async def test_a_payment_that_pays_less_than_it_says_does_not_count(world: World) -> None:
    async with world.party("payer") as payer, world.party("payee") as payee:
        signed, award_id, _ = await engage(world, payer, payee, PRICE)
        mallory = Mallory(world, signed, award_id)
        rest = mallory.hold(PRICE - 100)
        foreign = Domain(chain_id=1, verifying_contract=world.deployment.payment_channel)
        escrow = world.deployment.market_domain
        good = mallory.say(2, 100, rest)
        flipped = replace(good, voucher=Signed(good.voucher.value, high_s(good.voucher.signature)))
        stranger = replace(good, voucher=sign_struct(key_of("other"), mallory.domain, good.voucher.value))
        wrong_root = replace(
            good,
            voucher=sign_struct(mallory.key, mallory.domain, replace(good.voucher.value, holds=Digest(b"\1" * 32))),
        )
        no_holds = replace(good, holds=())
        cases: list[tuple[VoucherNotice | None, type[ProtocolError]]] = [
            (None, NotPaid),
            (mallory.say(2, 100), HoldMissing),
            (mallory.say(2, 0, mallory.hold(PRICE - 100)), HoldMissing),
            (mallory.say(2, 100, mallory.hold(PRICE - 101)), HoldMissing),
            (mallory.say(1, 100, rest), ConflictingVoucher),
            (mallory.say(2, 100, rest, domain=foreign), BadSignature),
            (mallory.say(2, 100, rest, domain=escrow), BadSignature),
            (mallory.say(2, 2 * ONE_TOKEN, rest), Overdrawn),
            (flipped, BadSignature),
            (stranger, BadSignature),
            (wrong_root, HoldsMismatch),
            (no_holds, HoldsMismatch),
        ]
        for notice, kind in cases:
            assert type(await refuse_payment(payee, signed, 100, payer, notice)) is kind
        acceptance = await accept(payer, signed, 0, 100)
        too_little = mallory.say(2, 99, mallory.hold(PRICE - 99))
        with pytest.raises(NotPaid):
            await payee.payments.payee.receive_payment(signed, award_id, acceptance, too_little)
        assert payee.payments.payee.channels()[0].earned == 99  # what it did pay is ours all the same
        await payee.payments.payee.receive_payment(signed, award_id, acceptance, mallory.say(3, 100, rest))
        with pytest.raises(CumulativeFell):
            await payee.payments.payee.receive_payment(signed, award_id, acceptance, mallory.say(4, 99, rest))
        # An old voucher again is no payment for anything new, and does no harm.
        old = await accept(payer, signed, 1, 200)
        with pytest.raises(NotPaid):
            await payee.payments.payee.receive_payment(signed, award_id, old, mallory.say(3, 100, rest))
        await payee.payments.payee.drain()
        balances = await world.balances("payer", "payee")
    assert balances["payee"] == STAKE + 100
    assert balances["payer"] + balances["payee"] + balances["channels"] == 2 * STAKE


async def test_a_deposit_promised_to_two_awards_is_refused_for_the_second(world: World) -> None:
    async with world.party("payer") as payer, world.party("payee") as payee:
        signed, award_id, _ = await engage(world, payer, payee, 1_500_000)
        mallory = Mallory(world, signed, award_id)
        offer = world.offer(payer.address)
        second, second_id = world.award(offer, payee.address, signed.value.channel, 1_500_000)
        both = mallory.say(2, 0, mallory.hold(1_500_000), mallory.hold(1_500_000, second_id))
        with pytest.raises(Overdrawn):
            await payee.payments.payee.receive_funding(payer.sign(second), second_id, both)
        swapped = mallory.say(2, 0, mallory.hold(1_500_000, second_id))
        with pytest.raises(HoldMissing):
            await payee.payments.payee.receive_funding(payer.sign(second), second_id, swapped)
        with trio.move_on_after(0.5) as waiting:
            await payee.payments.payee.wait_funded(payer.sign(second), second_id)
        assert waiting.cancelled_caught
        await pay(payer, payee, signed, 0, 1_500_000)


async def test_funding_that_funds_nothing_is_refused_with_its_reason(world: World) -> None:
    async with world.party("payer") as payer, world.party("payee") as payee, world.party("other") as other:
        award, award_id = await prepare(world, payer, payee, PRICE)
        signed = payer.sign(award)
        mallory = Mallory(world, signed, award_id)
        rails = payee.payments.payee
        hold = mallory.hold(PRICE)
        with pytest.raises(NotFunded):
            await rails.receive_funding(signed, award_id, None)
        with pytest.raises(NotFunded):
            await rails.receive_funding(signed, award_id, mallory.say(1, 0))
        nowhere = replace(award, channel=Digest(b"\2" * 32))
        with pytest.raises(NotSeenYet):
            await rails.receive_funding(payer.sign(nowhere), award_id, mallory.say(2, 0, hold))
        for changes in ({"token": other.address}, {"rail": world.deployment.escrow}, {"provider": other.address}):
            with pytest.raises(BadTerms):
                await rails.receive_funding(payer.sign(replace(award, **changes)), award_id, mallory.say(2, 0, hold))
        stolen = replace(award, requester=other.address)  # another's channel with this payee
        with pytest.raises(BadTerms):
            await rails.receive_funding(other.sign(stolen), award_id, mallory.say(2, 0, hold))
        # A hold for another arbiter, or of another amount, is no hold for this award: it is never taken.
        await rails.receive_funding(signed, award_id, mallory.say(2, 0, mallory.hold(PRICE - 1)))
        with trio.move_on_after(0.5) as waiting:
            await rails.wait_funded(signed, award_id)
        assert waiting.cancelled_caught
        await rails.receive_funding(signed, award_id, mallory.say(3, 0, hold))
        with trio.fail_after(PATIENCE_S):
            await rails.wait_funded(signed, award_id)
        dropped = mallory.say(4, 0)
        with pytest.raises(HoldMissing):
            await payer_says(world, payee, VOUCHER_METHOD, encode(dropped))


async def payer_says(world: World, payee: Party, method: str, body: bytes, *, who: str = "payer") -> bytes:
    return await LinkPeers(world.link, address_of(key_of(who))).call(payee.address, method, body)


async def test_words_about_a_channel_from_the_wrong_mouth_or_in_bad_form_are_refused(world: World) -> None:
    async with world.party("payer") as payer, world.party("payee") as payee:
        signed, award_id, notice = await engage(world, payer, payee, PRICE)
        assert notice is not None
        request = encode(ReleaseRequest(channel=signed.value.channel, award=award_id))
        with pytest.raises(ChannelUnknown):
            await payer_says(world, payee, RELEASE_METHOD, request, who="other")
        for method in (VOUCHER_METHOD, RELEASE_METHOD, CLOSE_METHOD):
            for garbage in (b"", b"\xc0", b"\x91" * 900, b"\xff" * 20):
                with pytest.raises(DecodeError):
                    await payer_says(world, payee, method, garbage)
        domain = world.deployment.channel_domain
        now = CLOCK.now()
        close = Close(channel=signed.value.channel, cumulative=Amount(0), close_by=UnixTime(now + 60))
        early = encode(CloseProposal(close=sign_struct(key_of("payer"), domain, close)))
        with pytest.raises(WorkOutstanding):
            await payer_says(world, payee, CLOSE_METHOD, early)
        acceptance = await pay(payer, payee, signed, 0, 500)
        await payee.payments.payee.settle(signed, award_id, None, acceptance, None)
        for bad in (replace(close, cumulative=Amount(499)), replace(close, close_by=UnixTime(now - 1))):
            body = encode(CloseProposal(close=sign_struct(key_of("payer"), domain, bad)))
            with pytest.raises(BadClose):
                await payer_says(world, payee, CLOSE_METHOD, body)
        body = encode(CloseProposal(close=sign_struct(key_of("other"), domain, close)))
        with pytest.raises(BadSignature):
            await payer_says(world, payee, CLOSE_METHOD, body, who="other")
        unknown = Voucher(
            channel=Digest(bytes(32)), sequence=1, cumulative=Amount(1), held=Amount(0), holds=Digest(bytes(32))
        )
        lost = VoucherNotice(voucher=sign_struct(key_of("payer"), domain, unknown), holds=())
        with pytest.raises(ChannelUnknown):
            await payer_says(world, payee, VOUCHER_METHOD, encode(lost))
        assert payee.payments.payee.channels()[0].earned == 500


async def test_a_payer_that_exits_before_paying_finds_the_hold_on_chain(world: World) -> None:
    """The payee presents what it holds while the challenge runs; the payer's rest is all that comes out."""
    async with world.party("payer") as payer, world.party("payee") as payee:
        signed, award_id, _ = await engage(world, payer, payee, PRICE)
        await payer.payments.payer.close_channel(signed.value.channel, force=True)
        await eventually(lambda: payer.payments.payer.channels()[0].phase == "leaving")
        state_of = payer.gateway.channels.state_of
        with trio.fail_after(PATIENCE_S):
            while not (await state_of(signed.value.channel)).held:
                await trio.sleep(0.05)
            while (await state_of(signed.value.channel)).deposit != PRICE:
                await trio.sleep(0.1)
        balances = await world.balances("payer", "payee")
        assert balances == {"payer": STAKE - PRICE, "payee": STAKE, "channels": PRICE, "escrow": 0}
        mallory = Mallory(world, signed, award_id)
        with pytest.raises(HoldMissing):
            await payer_says(world, payee, VOUCHER_METHOD, encode(mallory.say(9, 0)))
