"""A payee and its towers: who is told what and when, and what a tower that is slow, forgetful or lying can do to it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest
import trio

from node.payments.watch import handover as handover_module
from node.payments.watch.handover import Handover
from node.payments.watch.settings import WatchSettings
from protocol.channel.holds import build_voucher
from protocol.channel.watch import WatchOrder
from protocol.channel.watch_messages import (
    HAND_MAX_BYTES,
    HAND_METHOD,
    NEWEST_METHOD,
    SMALL_MAX_BYTES,
    STATE_METHOD,
    HandAnswer,
    Handed,
    HandRequest,
    KeptAnswer,
    KeptRequest,
    WatchEntry,
    WatchStateAnswer,
    WatchStateRequest,
)
from protocol.identity import Address, Digest, PeerId
from protocol.signing.ecdsa import address_of, sign
from protocol.signing.eip712 import digest
from protocol.signing.signed import sign_struct
from protocol.units import Amount
from protocol.wire.codec import decode, encode
from tests.node.payments.payments_world import Party, World, engage, eventually, key_of, pay

PAYEE, TOWER = address_of(key_of("payee")), address_of(key_of("other"))
SLOW, LIAR, RECORDER = (address_of(key_of(name)) for name in ("slow", "liar", "recorder"))
PRICE = 400_000


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover_module, "LOOK_S", 0.05)
    monkeypatch.setattr(handover_module, "LONGEST_RETRY_S", 0.1)


@dataclass
class Recorder:
    """A tower of the test's own, which says of each channel that it holds what is in `holds`."""

    holds: dict[Digest, int] = field(default_factory=dict[Digest, int])
    orders: list[WatchOrder] = field(default_factory=list[WatchOrder])
    checks: int = 0
    shown: list[WatchOrder | None] = field(default_factory=list[WatchOrder | None])
    asked_for: list[Digest] = field(default_factory=list[Digest])

    def attach(self, world: World) -> None:
        for method, handler in (
            (HAND_METHOD, self._hand),
            (STATE_METHOD, self._state),
            (NEWEST_METHOD, self._newest),
        ):
            world.link.handlers[RECORDER, method] = handler

    async def _hand(self, _peer: PeerId, body: bytes) -> bytes:
        request = decode(HandRequest, body, max_bytes=HAND_MAX_BYTES)
        for order in request.orders:
            self.orders.append(order)
            self.holds[order.voucher.value.channel] = order.voucher.value.sequence
        results = (
            Handed(channel=order.voucher.value.channel, sequence=order.voucher.value.sequence, problem="")
            for order in request.orders
        )
        return encode(HandAnswer(results=tuple(results)))

    async def _state(self, _peer: PeerId, body: bytes) -> bytes:
        after = decode(WatchStateRequest, body, max_bytes=SMALL_MAX_BYTES).after
        self.checks += 1
        watches = tuple(
            WatchEntry(channel=channel, sequence=sequence)
            for channel, sequence in sorted(self.holds.items())
            if channel > after
        )
        return encode(WatchStateAnswer(least=Amount(5), watches=watches[:1]))  # a page a channel

    async def _newest(self, _peer: PeerId, body: bytes) -> bytes:
        self.asked_for.append(decode(KeptRequest, body, max_bytes=SMALL_MAX_BYTES).channel)
        return encode(KeptAnswer(order=self.shown.pop(0)))

    async def wait_checked(self, times: int = 2) -> None:
        """Wait until all that the payee knew a moment ago was compared."""
        goal = self.checks + times
        await eventually(lambda: self.checks >= goal)

    @property
    def sequences(self) -> list[int]:
        return [order.voucher.value.sequence for order in self.orders]


def handover_of(party: Party) -> Handover:
    assert party.payments.handover is not None
    return party.payments.handover


async def test_a_slow_and_a_lying_tower_keep_no_other_tower_from_being_told(world: World) -> None:
    async def hang(_peer: PeerId, _body: bytes) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async def lie(_peer: PeerId, body: bytes) -> bytes:
        request = decode(HandRequest, body, max_bytes=HAND_MAX_BYTES)
        channel = request.orders[0].voucher.value.channel
        return encode(HandAnswer(results=(Handed(channel=channel, sequence=2**64 - 1, problem=""),)))

    async def answer_nothing(_peer: PeerId, _body: bytes) -> bytes:
        return encode(WatchStateAnswer(least=Amount(0), watches=()))

    handlers: dict[tuple[Address, str], Callable[[PeerId, bytes], Awaitable[bytes]]] = {
        (SLOW, HAND_METHOD): hang,
        (SLOW, STATE_METHOD): hang,
        (LIAR, HAND_METHOD): lie,
        (LIAR, STATE_METHOD): answer_nothing,
    }
    world.link.handlers |= handlers
    absent = Address(b"\x77" * 20)
    settings = WatchSettings(towers=(SLOW, LIAR, absent, TOWER), hand_at=Amount(1))
    tower_settings = WatchSettings(clients=frozenset({PAYEE}), least=Amount(1))
    async with (
        world.party("payer") as payer,
        world.party("other", watch=tower_settings),
        world.party("payee", watch=settings) as payee,
    ):
        signed, _, _ = await engage(world, payer, payee, PRICE)
        await pay(payer, payee, signed, 0, 100)
        handover = handover_of(payee)
        await eventually(
            lambda: [dict(each.held) for each in handover.covers()] == [{SLOW: 0, LIAR: 0, absent: 0, TOWER: 2}]
        )
        (cover,) = handover.covers()
        assert (cover.at_stake, cover.covered, cover.problems) == (0, True, {})
        troubles = {view.wallet: view.trouble for view in handover.towers()}
        await eventually(lambda: all(view.trouble for view in handover.towers() if view.wallet in (LIAR, absent)))
        troubles = {view.wallet: view.trouble for view in handover.towers()}
        assert "says that it holds" in troubles[LIAR]
        assert troubles[TOWER] == ""


async def test_a_tower_is_told_the_newest_that_matters_once_and_again_when_it_has_lost_it(world: World) -> None:
    recorder = Recorder()
    recorder.attach(world)
    settings = WatchSettings(towers=(RECORDER,), hand_at=Amount(1_000))
    async with world.party("payer") as payer:
        async with world.party("payee", watch=settings) as payee:
            signed, _, _ = await engage(world, payer, payee, PRICE)  # without an arbiter: nothing to save in the hold
            channel = signed.value.channel
            await pay(payer, payee, signed, 0, 999)
            await recorder.wait_checked()
            (cover,) = handover_of(payee).covers()
            assert (recorder.orders, cover.at_stake, cover.covered) == ([], 999, True)
            await pay(payer, payee, signed, 1, 1_000)
            await eventually(lambda: recorder.sequences == [3])
            await eventually(lambda: handover_of(payee).covers()[0].at_stake == 0)
            assert handover_of(payee).towers()[0].least == 5
        async with world.party("payee", watch=settings) as payee:
            await eventually(lambda: bool(handover_of(payee).covers()))
            await recorder.wait_checked()
            assert recorder.sequences == [3]  # what it said that it holds outlived the restart
            recorder.holds.clear()
            await eventually(lambda: recorder.sequences == [3, 3])
            recorder.holds[channel] = 2
            await eventually(lambda: recorder.sequences == [3, 3, 3])
            await recorder.wait_checked()
            assert recorder.sequences == [3, 3, 3]
        # A tower that is not ours any more is forgotten: nothing of it comes back when it is ours again.
        async with world.party("payee", watch=replace(settings, towers=())) as payee:
            handover = handover_of(payee)
            assert [(dict(each.held), each.covered) for each in handover.covers()] == [({}, False)]
            handover.add(RECORDER)
            handover.add(RECORDER)
            await eventually(lambda: recorder.sequences == [3, 3, 3, 3])
            await eventually(lambda: handover.covers()[0].covered)
            await handover.remove(RECORDER)
            await handover.remove(RECORDER)
            assert (handover.towers(), handover.covers()[0].covered) == ((), False)
        async with world.party("payee", watch=settings):
            await eventually(lambda: recorder.sequences == [3, 3, 3, 3, 3])


async def test_what_the_payee_has_lost_comes_back_from_its_tower_by_its_own_signatures(world: World) -> None:
    recorder = Recorder()
    recorder.attach(world)
    settings = WatchSettings(towers=(RECORDER,), hand_at=Amount(1))
    async with world.party("payer") as payer, world.party("payee", watch=settings) as payee:
        signed, _, _ = await engage(world, payer, payee, PRICE)
        await pay(payer, payee, signed, 0, 100)
        await eventually(lambda: recorder.sequences[-1:] == [2])
        newest, channel = recorder.orders[-1], signed.value.channel
        domain = payer.chain.deployment.channel_domain
        voucher = build_voucher(channel, 9, Amount(300), ())
        later = WatchOrder(
            key=newest.key,
            voucher=sign_struct(key_of("payer"), domain, voucher),
            holds=(),
            payee_signature=sign(key_of("payee"), digest(domain, voucher)),
        )
        # Of these the last alone counts. The one before it is well signed and drops a hold that is insisted on.
        full = build_voucher(channel, 9, Amount(PRICE), ())
        recorder.shown = [
            None,
            replace(later, voucher=newest.voucher),
            replace(later, holds=newest.holds),
            later,
            replace(
                later,
                voucher=sign_struct(key_of("payer"), domain, full),
                payee_signature=sign(key_of("payee"), digest(domain, full)),
            ),
        ]
        recorder.holds[channel] = 9
        await eventually(lambda: payee.payments.payee.channels()[0].earned == PRICE)
        assert recorder.asked_for == [channel] * 5
        assert [flow.earned for flow in payee.flows if flow.earned] == [100, PRICE - 100]
