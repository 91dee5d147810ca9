# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
"""Circuits: what a relay gives, to whom, how much of it, and what it refuses; on a virtual clock."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from node.networking.addresses import parse_peer_address
from node.networking.errors import PeerUnreachable
from node.networking.libp2p.circuit_codec import decode_hop, decode_stop, encode_hop, encode_stop, frame, make_voucher
from node.networking.libp2p.negotiation import NegotiationFailed, respond
from node.networking.libp2p.secure import HandshakeFailed, Identity, secure
from node.networking.libp2p.yamux import MuxedStream, StreamReset
from node.networking.network import Network
from node.networking.relay.circuit import IDLE_S, CircuitStream
from node.networking.relay.client import ReservationRefused
from node.networking.relay.messages import (
    HOP,
    STOP,
    BadCircuitMessage,
    HopKind,
    HopMessage,
    Reservation,
    Status,
    StopKind,
    StopMessage,
)
from node.networking.settings import RelayLimits
from protocol.identity import PeerId
from protocol.node_record import peer_id_of

Eventually = Callable[[Callable[[], object]], Any]
KIB = 1024
MIB = 1024 * KIB


async def echo(_peer: str, body: bytes) -> bytes:
    return body


def way_to(target: Network, relay: Network) -> str:
    return f"{relay.addresses[0]}/p2p-circuit/p2p/{target.peer_id}"


def hidden(lab: Any, number: int, **settings: Any) -> Any:
    """A node that listens nowhere."""
    return lab.node(number, listen=(), reachable="no", **settings)


@asynccontextmanager
async def hop(lab: Any, relay: Network, number: int, **options: Any) -> AsyncGenerator[Any, None]:
    """A stranger who says what it wants to `relay` and reads the answers."""
    async with lab.attacker(relay, number, **options) as attacker:

        async def ask(message: HopMessage | bytes) -> tuple[HopMessage, MuxedStream]:
            stream = await attacker.open(HOP)
            await stream.write(frame(message if isinstance(message, bytes) else encode_hop(message)))
            return decode_hop(await read_frame(stream)), stream

        attacker.ask = ask
        yield attacker


async def read_frame(stream: MuxedStream) -> bytes:
    async def exactly(size: int) -> bytes:
        data = b""
        while len(data) < size:
            chunk = await stream.read(size - len(data))
            assert chunk, "the other side finished"
            data += chunk
        return data

    length = (await exactly(1))[0]
    if length & 0x80:
        length = length & 0x7F | (await exactly(1))[0] << 7
    return await exactly(length)


RESERVE = HopMessage(kind=HopKind.RESERVE)


def connect_to(peer: PeerId) -> HopMessage:
    return HopMessage(kind=HopKind.CONNECT, peer=peer)


async def accept_circuit(attacker: Any) -> MuxedStream:
    """Take the next circuit that comes to `attacker`, as a target does."""
    while True:
        while not attacker.inbound:
            await trio.sleep(0.1)
        stream = attacker.inbound.pop(0)
        try:
            await respond(stream, [STOP])
        except (NegotiationFailed, StreamReset):
            continue  # something else that a node opens, such as gossip
        assert decode_stop(await read_frame(stream)).kind is StopKind.CONNECT
        await stream.write(frame(encode_stop(StopMessage(kind=StopKind.STATUS, status=Status.OK))))
        return stream


# What it is for


async def test_two_nodes_that_nobody_can_dial_meet_at_a_relay(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1, reachable="yes") as relay, hidden(lab, 2) as seller, hidden(lab, 3) as buyer:
        await seller.connect(relay.addresses[0])
        await seller.relays.reserve(relay.peer_id)
        assert seller.addresses == (way_to(seller, relay),)
        seller.serve("echo", echo, max_request=MIB)
        buyer.serve("echo", echo, max_request=MIB)

        assert await buyer.connect(seller.addresses[0]) == seller.peer_id
        assert await buyer.call(seller.peer_id, "echo", b"x" * 200_000) == b"x" * 200_000
        assert await seller.call(buyer.peer_id, "echo", b"back") == b"back"
        assert {info.relay for info in buyer.peers() if info.peer == seller.peer_id} == {relay.peer_id}
        assert {info.relay for info in seller.peers() if info.peer == buyer.peer_id} == {relay.peer_id}
        assert {info.peer for info in relay.peers()} == {seller.peer_id, buyer.peer_id}
        assert relay.relay is not None
        assert relay.relay.figures.circuits == 1
        assert relay.relay.figures.bytes_moved > 400_000


async def test_the_relay_can_not_stand_in_for_the_target(lab: Any, autojump_clock: MockClock) -> None:
    """It carries bytes; who is at the other end is proved by the handshake above."""
    async with lab.node(1, reachable="yes") as relay, hidden(lab, 2) as buyer, hop(lab, relay, 200) as impostor:
        await impostor.ask(RESERVE)
        # The buyer wants somebody else, and a relay that lies leads it to the impostor.
        wanted, assigned, tried = peer_id_of(b"\x55" * 32), impostor_id(), trio.Event()
        assert relay.relay is not None
        relay.relay._reserved[wanted] = relay.relay._reserved[assigned]
        original = relay._switch.open_stream
        relay._switch.open_stream = lambda _peer, protocols: original(assigned, protocols)  # type: ignore[method-assign]
        async with trio.open_nursery() as nursery:

            async def answer() -> None:
                stream = CircuitStream(cast("Any", await accept_circuit(impostor)))
                with suppress(HandshakeFailed, NegotiationFailed):
                    await secure(stream, Identity(bytes([200]) * 32), is_dialler=False, expected=None)
                tried.set()

            nursery.start_soon(answer)
            with pytest.raises(PeerUnreachable):
                await buyer.connect(f"{relay.addresses[0]}/p2p-circuit/p2p/{wanted}")
            await tried.wait()
        assert not buyer.is_connected(wanted)


def impostor_id() -> PeerId:
    return Identity(bytes([200]) * 32).peer


async def test_a_direct_way_is_preferred_to_a_relayed_one(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1, reachable="yes") as relay, lab.node(2) as seller, hidden(lab, 3) as buyer:
        await seller.connect(relay.addresses[0])
        await seller.relays.reserve(relay.peer_id)
        assert seller.addresses[-1] == way_to(seller, relay)
        places = [parse_peer_address(text) for text in reversed(seller.addresses)]
        await buyer.connect_at(places)
        assert [info.relay for info in buyer.peers() if info.peer == seller.peer_id] == [None]


async def test_who_can_not_be_dialled_dials_who_can_and_leaves_the_relay(lab: Any, autojump_clock: MockClock) -> None:
    """The relay only brings them together: then the hidden one dials the other, whose address it has learnt."""
    async with (
        lab.member(1, reachable="yes") as relay,
        lab.member(2, relay.network.addresses[0], listen=(), reachable="no") as seller,
        lab.member(3, target=0, reachable="yes") as buyer,
    ):
        await wait_for(lambda: seller.network.relays.held)
        await buyer.network.connect(seller.network.addresses[0])
        assert buyer.network.is_relayed(seller.network.peer_id)
        await wait_for(lambda: not buyer.network.is_relayed(seller.network.peer_id))
        await wait_for(lambda: [info.relay for info in seller.network.peers()].count(None) == 2)
        assert buyer.network.is_connected(seller.network.peer_id)
        buyer.network.serve("echo", echo, max_request=100)
        assert await seller.network.call(buyer.network.peer_id, "echo", b"direct") == b"direct"


async def wait_for(condition: Callable[[], object], *, at_most_s: float = 600.0) -> None:
    """Wait on the virtual clock."""
    with trio.fail_after(at_most_s):
        while not condition():
            await trio.sleep(0.25)


# Places


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


# Circuits


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (connect_to(peer_id_of(b"\x44" * 32)), Status.NO_RESERVATION),
        (HopMessage(kind=HopKind.CONNECT), Status.MALFORMED_MESSAGE),
        (HopMessage(kind=HopKind.STATUS, status=Status.OK), Status.UNEXPECTED_MESSAGE),
        (b"\xff\xff\xff", Status.MALFORMED_MESSAGE),
        (b"", Status.MALFORMED_MESSAGE),
    ],
)
async def test_each_refusal_has_its_status(
    lab: Any, autojump_clock: MockClock, message: HopMessage | bytes, status: Status
) -> None:
    async with lab.node(1, reachable="yes") as relay, hop(lab, relay, 100) as stranger:
        answer, _ = await stranger.ask(message)
        assert answer == HopMessage(kind=HopKind.STATUS, status=status)


async def test_a_connection_that_is_relayed_itself_gets_nothing_of_a_relay(lab: Any, autojump_clock: MockClock) -> None:
    async with (
        lab.node(1, reachable="yes") as relay,
        lab.node(2, reachable="yes") as second,
        hidden(lab, 3) as buyer,
    ):
        await second.connect(relay.addresses[0])
        await second.relays.reserve(relay.peer_id)
        await buyer.connect(way_to(second, relay))
        stream = await buyer._switch.open_stream(second.peer_id, [HOP])
        await stream.write(frame(encode_hop(RESERVE)))
        assert decode_hop(await read_frame(stream._stream)).status is Status.PERMISSION_DENIED


async def test_a_circuit_that_was_not_asked_for_is_refused(lab: Any, autojump_clock: MockClock) -> None:
    """A peer that merely says that it brings somebody can't make us run handshakes."""
    async with lab.node(1) as victim, lab.attacker(victim, 100) as attacker:
        stream = await attacker.open(STOP)
        await stream.write(frame(encode_stop(StopMessage(kind=StopKind.CONNECT, peer=peer_id_of(b"\x44" * 32)))))
        assert decode_stop(await read_frame(stream)).status is Status.PERMISSION_DENIED
        with trio.fail_after(60):
            assert await stream.read() == b""


async def test_a_target_that_refuses_or_says_nothing_is_a_failed_connection(
    lab: Any, autojump_clock: MockClock
) -> None:
    async with lab.node(1, reachable="yes") as relay, hop(lab, relay, 100) as target, hop(lab, relay, 101) as dialler:
        await target.ask(RESERVE)
        answer, _ = await dialler.ask(connect_to(Identity(bytes([100]) * 32).peer))  # it never reads its streams
        assert answer.status is Status.CONNECTION_FAILED
        assert relay.relay is not None
        assert relay.relay.open_circuits == 0


async def test_bytes_over_the_limit_end_a_circuit(lab: Any, autojump_clock: MockClock) -> None:
    limits = RelayLimits(circuit_bytes=100 * KIB)
    async with lab.node(1, reachable="yes", relay=limits) as relay, hidden(lab, 2) as seller, hidden(lab, 3) as buyer:
        await seller.connect(relay.addresses[0])
        await seller.relays.reserve(relay.peer_id)
        seller.serve("echo", echo, max_request=MIB)
        await buyer.connect(way_to(seller, relay))
        assert await buyer.call(seller.peer_id, "echo", b"x" * 60 * KIB)
        with pytest.raises(PeerUnreachable):
            await buyer.call(seller.peer_id, "echo", b"x" * 60 * KIB)
        await wait_for(lambda: not buyer.is_connected(seller.peer_id))
        assert relay.relay is not None
        assert relay.relay.open_circuits == 0
        await buyer.connect(way_to(seller, relay))  # and another one may be opened


async def test_time_ends_a_circuit(lab: Any, autojump_clock: MockClock) -> None:
    limits = RelayLimits(circuit_s=300)
    async with lab.node(1, reachable="yes", relay=limits) as relay, hidden(lab, 2) as seller, hidden(lab, 3) as buyer:
        await seller.connect(relay.addresses[0])
        await seller.relays.reserve(relay.peer_id)
        await buyer.connect(way_to(seller, relay))
        await trio.sleep(295)
        assert buyer.is_connected(seller.peer_id)
        await trio.sleep(10)
        assert not buyer.is_connected(seller.peer_id)


async def test_a_circuit_without_ends_does_not_last(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1, reachable="yes") as relay, hop(lab, relay, 100) as target, hop(lab, relay, 101) as dialler:
        await target.ask(RESERVE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_circuit, target)
            status, stream = await dialler.ask(connect_to(Identity(bytes([100]) * 32).peer))
        assert status.status is Status.OK
        assert relay.relay is not None
        assert relay.relay.open_circuits == 1
        await trio.sleep(IDLE_S + 1)
        assert relay.relay.open_circuits == 0
        with pytest.raises(StreamReset):
            await stream.read()


@pytest.mark.parametrize(
    ("limits", "hosts"),
    [
        (RelayLimits(circuits_per_target=2), ["192.1.0.1", "192.2.0.1", "192.3.0.1"]),
        (RelayLimits(circuits_per_network=2), ["192.1.0.1", "192.1.0.2", "192.1.0.3"]),
        (RelayLimits(circuits=2), ["192.1.0.1", "192.2.0.1", "192.3.0.1"]),
    ],
)
async def test_circuits_are_counted_by_target_by_network_and_in_all(
    lab: Any, autojump_clock: MockClock, limits: RelayLimits, hosts: list[str]
) -> None:
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(lab.node(1, host="192.0.2.1", reachable="yes", relay=limits))
        seller = await stack.enter_async_context(hidden(lab, 2))
        await seller.connect(relay.addresses[0])
        await seller.relays.reserve(relay.peer_id)
        diallers = [
            await stack.enter_async_context(hop(lab, relay, 100 + index, host=host)) for index, host in enumerate(hosts)
        ]
        answers = [(await dialler.ask(connect_to(seller.peer_id)))[0].status for dialler in diallers]
        assert answers == [Status.OK, Status.OK, Status.RESOURCE_LIMIT_EXCEEDED]


async def test_circuits_are_counted_by_dialler_and_given_back(lab: Any, autojump_clock: MockClock) -> None:
    limits = RelayLimits(circuits_per_dialler=2)
    async with (
        lab.node(1, reachable="yes", relay=limits) as relay,
        hidden(lab, 2) as seller,
        hop(lab, relay, 100) as dialler,
    ):
        await seller.connect(relay.addresses[0])
        await seller.relays.reserve(relay.peer_id)
        opened = [await dialler.ask(connect_to(seller.peer_id)) for _ in range(3)]
        assert [answer.status for answer, _ in opened] == [Status.OK, Status.OK, Status.RESOURCE_LIMIT_EXCEEDED]
        opened[0][1].reset()
        await wait_for(lambda: relay.relay is not None and relay.relay.open_circuits == 1)
        answer, _ = await dialler.ask(connect_to(seller.peer_id))
        assert answer.status is Status.OK


async def test_asking_for_circuits_again_and_again_costs_the_target_little(lab: Any, autojump_clock: MockClock) -> None:
    async with (
        lab.node(1, reachable="yes") as relay,
        hidden(lab, 2) as seller,
        hop(lab, relay, 100) as dialler,
    ):
        await seller.connect(relay.addresses[0])
        await seller.relays.reserve(relay.peer_id)
        granted = 0
        for _ in range(100):
            answer, stream = await dialler.ask(connect_to(seller.peer_id))
            stream.reset()
            granted += answer.status is Status.OK
            await trio.sleep(0.05)  # five seconds in all
        assert 20 <= granted <= 26


async def test_the_line_is_shared_between_networks(lab: Any, autojump_clock: MockClock) -> None:
    """At 256 KiB/s, one peer with four circuits from one network and one from another get the same."""
    limits = RelayLimits(bytes_per_s=256.0 * KIB, circuits_per_dialler=8)
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(lab.node(1, host="192.0.2.1", reachable="yes", relay=limits))
        sink = await stack.enter_async_context(hop(lab, relay, 90))
        await sink.ask(RESERVE)
        target = Identity(bytes([90]) * 32).peer
        nursery = await stack.enter_async_context(trio.open_nursery())
        greedy = await stack.enter_async_context(hop(lab, relay, 100, host="198.51.100.1"))
        modest = await stack.enter_async_context(hop(lab, relay, 101, host="203.0.113.1"))
        arrived: dict[int, int] = {}

        async def read(index: int, stream: MuxedStream) -> None:
            while data := await stream.read():
                arrived[index] = arrived.get(index, 0) + len(data)

        for index, dialler in enumerate([greedy, greedy, greedy, greedy, modest]):

            async def take(index: int) -> None:
                await read(index, await accept_circuit(sink))

            nursery.start_soon(take, index)
            answer, stream = await dialler.ask(connect_to(target))
            assert answer.status is Status.OK
            nursery.start_soon(stream.write, bytes(8 * MIB))
        started = trio.current_time()
        await trio.sleep(20)
        many, one = sum(arrived[index] for index in range(4)), arrived[4]
        passed_s = trio.current_time() - started
        assert many + one <= 256 * KIB * (passed_s + 2)
        assert many + one >= 256 * KIB * (passed_s - 2)
        assert 0.8 <= many / one <= 1.25
        nursery.cancel_scope.cancel()


# Whom a node knows


async def test_peers_behind_a_relay_share_what_its_network_may_have(lab: Any, autojump_clock: MockClock) -> None:
    """The owner of a relay can make up peers behind it; a full node lets them displace each other and nobody else."""
    async with AsyncExitStack() as stack:
        limits = RelayLimits(circuits_per_dialler=100, circuits_per_network=100, circuits_per_target=100, circuits=100)
        relay = await stack.enter_async_context(lab.node(1, host="192.0.2.1", reachable="yes", relay=limits))
        victim = await stack.enter_async_context(
            lab.node(2, host="198.18.0.1", max_connections=16, max_connections_per_host=64)
        )
        await victim.connect(relay.addresses[0])
        await victim.relays.reserve(relay.peer_id)
        honest: list[Network] = []
        for index in range(4):
            guest = await stack.enter_async_context(lab.node(10 + index, host=f"203.{index}.113.1"))
            await guest.connect(victim.addresses[0])
            honest.append(guest)
        for index in range(12):
            sybil = await stack.enter_async_context(hidden(lab, 100 + index))
            try:
                await sybil.connect(way_to(victim, relay))
            except PeerUnreachable:
                continue
        await trio.sleep(1)
        kept = {info.peer for info in victim.peers()}
        assert {guest.peer_id for guest in honest} <= kept
        relayed = [info for info in victim.peers() if info.relay == relay.peer_id]
        assert {info.host for info in relayed} == {"192.0.2.1"}
        assert len(relayed) <= 8


async def test_a_slot_is_never_held_through_a_relay(lab: Any, autojump_clock: MockClock) -> None:
    async with (
        lab.member(1, reachable="yes", target=0) as relay,
        lab.member(2, relay.network.addresses[0], listen=(), reachable="no") as seller,
        lab.member(3, relay.network.addresses[0], reachable="yes") as other,
    ):
        await wait_for(lambda: seller.network.relays.held)
        await wait_for(lambda: other.directory.find(seller.wallet))
        await trio.sleep(120)
        assert seller.network.peer_id not in other.chosen
