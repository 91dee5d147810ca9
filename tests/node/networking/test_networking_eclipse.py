# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
"""An attacker with a /16 and identities for nothing tries to be everybody whom a node knows."""

from contextlib import AsyncExitStack
from typing import Any

import trio
from trio.testing import MockClock

from node.networking.discovery import METHOD, PeersExchange
from node.networking.libp2p.negotiation import NegotiationFailed
from node.networking.libp2p.secure import HandshakeFailed
from node.networking.libp2p.yamux import MuxError
from node.networking.network import Network
from node.networking.peers.book import MAX_HEARD_FROM_ONE
from protocol.identity import Address, PeerId
from protocol.node_record import NodeAnnouncement, NodeBody, announce_node, peer_id_of
from protocol.signing.ecdsa import address_of
from protocol.signing.eip712 import Domain
from protocol.wire.codec import encode

SYBILS = 1000
HONEST = 8
DOMAIN = Domain(chain_id=31337, verifying_contract=Address(b"\x11" * 20))


def sybil_record(number: int, expires: int) -> NodeAnnouncement:
    """A valid record of a wallet that nobody runs, at an address in the attacker's network."""
    key = (10_000 + number).to_bytes(32)
    body = NodeBody(addresses=(f"/ip4/66.6.{number // 250}.{number % 250 + 1}/tcp/4600",))
    return announce_node(
        key,
        DOMAIN,
        wallet=address_of(key),
        host_key=(20_000 + number).to_bytes(32),
        body=body,
        sequence=1,
        expires=expires,
    )


async def honest_network(lab: Any, stack: AsyncExitStack, *, max_connections: int = 32) -> tuple[Any, list[Any]]:
    """A node that dialled `HONEST` peers of as many networks, and those."""
    honest = [
        await stack.enter_async_context(lab.member(number, host=f"20.{number}.0.1", target=0))
        for number in range(1, HONEST + 1)
    ]
    places = [each.network.addresses[0] for each in honest]
    node = await stack.enter_async_context(
        lab.member(99, *places[:1], host="30.0.0.1", max_connections=max_connections)
    )
    for each in honest:
        node.network.learn_addresses(each.network.peer_id, each.network.addresses, source=honest[0].network.peer_id)
    await trio.sleep(120)
    assert node.chosen == {each.network.peer_id for each in honest}
    return node, honest


async def hold_connection(lab: Any, victim: Network, number: int) -> None:
    """Connect, and stay as long as one is let."""
    host = f"66.6.{100 + number // 250}.{number % 250 + 1}"
    try:
        async with lab.attacker(victim, key=(30_000 + number).to_bytes(32), host=host) as attacker:
            await attacker.ended.wait()
    except (HandshakeFailed, NegotiationFailed, MuxError):
        pass


async def test_a_thousand_sybil_records_and_a_flood_of_connections_take_no_honest_peer(
    lab: Any, autojump_clock: MockClock
) -> None:
    async with AsyncExitStack() as stack:
        node, honest = await honest_network(lab, stack)
        chosen = node.chosen
        guests = [
            await stack.enter_async_context(lab.member(number, host=f"40.{number}.0.1", target=0))
            for number in range(31, 35)
        ]
        for guest in guests:
            await guest.network.connect(node.network.addresses[0])

        records = [sybil_record(number, int(lab.wall()) + 20_000) for number in range(SYBILS)]
        teller = await stack.enter_async_context(lab.member(60, host="66.6.6.6", target=0))
        told = iter(range(0, SYBILS, 32))

        async def lie(_peer: PeerId, _body: bytes) -> bytes:
            start = next(told, 0)
            return encode(PeersExchange(own=None, others=tuple(records[start : start + 32])))

        teller.network._requests._methods.pop(METHOD)
        teller.network.serve(METHOD, lie, max_request=1_000_000)
        await teller.network.connect(node.network.addresses[0])
        for _ in range(SYBILS // 32 + 2):
            assert await node.discovery.exchange(teller.network.peer_id)

        # Each with an identity of its own, and from another address of the same /16.
        nursery = await stack.enter_async_context(trio.open_nursery())
        stack.callback(nursery.cancel_scope.cancel)
        for number in range(SYBILS):
            nursery.start_soon(hold_connection, lab, node.network, number)
            await trio.sleep(0.05)
        await trio.sleep(60)

        assert node.chosen == chosen
        hosts = {info.peer: info.host for info in node.network.peers()}
        assert all(guest.network.peer_id in hosts for guest in guests)
        assert sum(host.startswith("66.6.") for host in hosts.values()) <= 24 - len(guests)
        assert all(node.directory.peer_of(each.wallet) for each in (*honest, *guests))
        book = node.network.book
        assert all(book.is_proven(each.network.peer_id) for each in honest)
        known = sum(book.find(peer_id_of((20_000 + number).to_bytes(32))) is not None for number in range(SYBILS))
        assert 0 < known <= MAX_HEARD_FROM_ONE

        # A newcomer still finds a place, and an honest peer that is lost is found again.
        async with lab.member(36, host="41.1.0.1", target=0) as late:
            await late.network.connect(node.network.addresses[0])
            await trio.sleep(5)
            assert node.network.is_connected(late.network.peer_id)
        await node.network.disconnect(honest[3].network.peer_id)
        await trio.sleep(300)
        assert node.chosen == chosen
