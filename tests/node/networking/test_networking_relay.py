"""Nodes that meet at a relay: what it can and can not do to them, and they from behind it; on a virtual clock."""

from contextlib import AsyncExitStack, suppress
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from node.networking.addresses import parse_peer_address
from node.networking.errors import PeerUnreachable
from node.networking.libp2p.negotiation import NegotiationFailed
from node.networking.libp2p.secure import HandshakeFailed, Identity, secure
from node.networking.network import Network
from node.networking.relay.circuit import CircuitStream
from node.networking.settings import RelayLimits
from protocol.identity import PeerId
from protocol.node_record import peer_id_of
from tests.node.networking.relay_lab import MIB, RESERVE, accept_circuit, echo, hidden, hop, wait_for, way_to


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
