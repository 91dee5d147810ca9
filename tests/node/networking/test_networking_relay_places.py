# pyright: reportUnknownMemberType=false
"""Places at a relay: who gets one, how long it lasts, and what a relay says of it; on a virtual clock."""

from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.networking.errors import PeerUnreachable
from node.networking.libp2p.circuit_codec import encode_hop, frame, make_voucher
from node.networking.libp2p.secure import Identity
from node.networking.relay.client import ReservationRefused
from node.networking.relay.messages import HOP, BadCircuitMessage, HopKind, HopMessage, Reservation, Status
from node.networking.settings import RelayLimits
from tests.node.networking.relay_lab import MIB, RESERVE, hidden, hop, wait_for, way_to


async def test_a_place_must_be_renewed(lab: Any, autojump_clock: MockClock) -> None:
    limits = RelayLimits(reservation_s=100)
    async with lab.node(1, reachable="yes", relay=limits) as relay, hidden(lab, 2) as seller, hidden(lab, 3) as buyer:
        await seller.connect(relay.addresses[0])
        held = await seller.relays.reserve(relay.peer_id)
        assert held.until - trio.current_time() == pytest.approx(100, abs=1)
        await trio.sleep(101)
        with pytest.raises(PeerUnreachable, match="NO_RESERVATION"):
            await buyer.connect(way_to(seller, relay))
        await seller.relays.reserve(relay.peer_id)
        await buyer.connect(way_to(seller, relay))


async def test_a_place_ends_with_the_connection(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1, reachable="yes") as relay, hidden(lab, 2) as seller:
        await seller.connect(relay.addresses[0])
        await seller.relays.reserve(relay.peer_id)
        assert relay.relay is not None
        assert relay.relay.reserved == (seller.peer_id,)
        await seller.disconnect(relay.peer_id)
        await wait_for(lambda: relay.relay is not None and relay.relay.reserved == ())


@pytest.mark.parametrize("reachable", ["no", "auto"])
async def test_who_is_not_known_to_be_reachable_keeps_places_for_nobody(
    lab: Any, autojump_clock: MockClock, reachable: str
) -> None:
    async with lab.node(1, reachable=reachable) as relay, hidden(lab, 2) as seller:
        await seller.connect(relay.addresses[0])
        with pytest.raises(ReservationRefused, match="RESERVATION_REFUSED"):
            await seller.relays.reserve(relay.peer_id)
        assert seller.addresses == ()


async def test_a_node_that_does_not_relay_says_so_by_not_speaking_the_protocol(
    lab: Any, autojump_clock: MockClock
) -> None:
    async with lab.node(1, reachable="yes", relay=None) as relay, hidden(lab, 2) as seller:
        await seller.connect(relay.addresses[0])
        with pytest.raises(PeerUnreachable, match="speaks none"):
            await seller.relays.reserve(relay.peer_id)


async def test_places_are_shared_between_networks(lab: Any, autojump_clock: MockClock) -> None:
    limits = RelayLimits(reservations=5, reservations_per_network=3)
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(lab.node(1, host="192.0.2.1", reachable="yes", relay=limits))
        got: list[Status] = []
        for index, host in enumerate(["198.51.100.1"] * 4 + ["203.0.113.1", "203.1.113.1", "203.2.113.1"]):
            attacker = await stack.enter_async_context(hop(lab, relay, 100 + index, host=host))
            answer, _ = await attacker.ask(RESERVE)
            got.append(answer.status)
            again, _ = await attacker.ask(RESERVE)  # who has a place may have it again, and takes no second one
            assert again.status is answer.status
    full, refused = Status.OK, Status.RESERVATION_REFUSED
    assert got == [full, full, full, refused, full, full, refused]


async def test_a_reservation_comes_with_addresses_and_a_voucher(lab: Any, autojump_clock: MockClock) -> None:
    async with (
        lab.node(1, host="192.0.2.1", reachable="yes") as relay,
        hop(lab, relay, 100, host="198.51.100.1") as client,
    ):
        answer, _ = await client.ask(RESERVE)
        assert answer.reservation is not None
        assert answer.limit is not None
        assert (answer.limit.duration_s, answer.limit.data_bytes) == (3600, 256 * MIB)
        assert answer.reservation.expires == int(lab.wall() + 3600)
        peer = Identity(bytes([100]) * 32).peer
        expected = make_voucher(
            Identity(b"\x01" * 32).key_pair.private_key.sign, relay.peer_id, peer, answer.reservation.expires
        )
        assert answer.reservation.voucher == expected
        assert [len(address) for address in answer.reservation.addresses] == [5 + 3 + 3 + 38]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (HopMessage(kind=HopKind.STATUS, status=Status.OK), BadCircuitMessage),
        (HopMessage(kind=HopKind.CONNECT, status=Status.OK), BadCircuitMessage),
        (HopMessage(kind=HopKind.STATUS), BadCircuitMessage),
        (HopMessage(kind=HopKind.STATUS, status=Status.OK, reservation=Reservation(expires=5)), ReservationRefused),
        (
            HopMessage(
                kind=HopKind.STATUS, status=Status.OK, reservation=Reservation(expires=2**40, voucher=b"\x0a\x00")
            ),
            BadCircuitMessage,
        ),
    ],
)
async def test_a_relay_that_answers_nonsense_is_not_used(
    lab: Any, autojump_clock: MockClock, answer: HopMessage, error: type[Exception]
) -> None:
    async with lab.node(1, relay=None) as relay, hidden(lab, 2) as seller:

        async def serve(stream: Any) -> None:
            await stream.read()
            await stream.write(frame(encode_hop(answer)))

        relay._switch.handle(HOP, serve)
        await seller.connect(relay.addresses[0])
        with pytest.raises(error):
            await seller.relays.reserve(relay.peer_id)
        assert seller.relays.held == {}


async def test_a_relay_that_promises_for_ever_is_asked_again_within_a_day(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1, relay=None) as relay, hidden(lab, 2) as seller:

        async def serve(stream: Any) -> None:
            await stream.read()
            held = Reservation(expires=2**64 - 1)
            await stream.write(frame(encode_hop(HopMessage(kind=HopKind.STATUS, status=Status.OK, reservation=held))))

        relay._switch.handle(HOP, serve)
        await seller.connect(relay.addresses[0])
        held = await seller.relays.reserve(relay.peer_id)
        assert held.renew_at - trio.current_time() <= 24 * 3600
