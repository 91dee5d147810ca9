# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
import random
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.networking.by_wallet import PeersByWallet
from node.networking.directory import Directory
from node.networking.discovery import DiscoverySettings, open_discovery
from node.networking.errors import PeerUnreachable
from node.networking.network import Network
from protocol.errors import ProtocolError
from protocol.identity import Address, PeerId
from protocol.node_record import NodeBody, announce_node, host_public_key
from protocol.signing.ecdsa import address_of
from protocol.signing.eip712 import Domain

DOMAIN = Domain(chain_id=31337, verifying_contract=Address(b"\x11" * 20))


@dataclass
class Node:
    network: Network
    peers: PeersByWallet
    wallet: Address


@asynccontextmanager
async def node(lab: Any, number: int, *bootstrap: str) -> AsyncGenerator[Node, None]:
    key = number.to_bytes(32)
    async with AsyncExitStack() as stack:
        network: Network = await stack.enter_async_context(lab.node(number))
        announcement = announce_node(
            key,
            DOMAIN,
            wallet=address_of(key),
            host_key=host_public_key(network.peer_id),
            body=NodeBody(addresses=(network.addresses[0],)),
            sequence=1,
            expires=int(lab.now) + 3600,
        )
        discovery = await stack.enter_async_context(
            open_discovery(
                network,
                Directory(DOMAIN, lambda: lab.now),
                DiscoverySettings(bootstrap=bootstrap),
                own=lambda: announcement,
                random=random.Random(number),
            )
        )
        yield Node(network, PeersByWallet(network, discovery), address_of(key))


async def test_the_first_request_to_a_wallet_already_tells_whose_it_is(lab: Any, autojump_clock: MockClock) -> None:
    async with node(lab, 1) as one, node(lab, 2, one.network.addresses[0]) as two:

        async def who(peer: PeerId, _body: bytes) -> bytes:
            return one.peers.wallet_of(peer) or b"nobody"

        one.peers.serve("who", who, max_request=1)
        await trio.sleep(10)
        for _ in range(3):
            assert await two.peers.call(one.wallet, "who", b"") == two.wallet
            assert two.peers.is_reachable(one.wallet)
            await one.network.disconnect(two.network.peer_id)
            await trio.sleep(0.1)


async def test_a_wallet_without_a_record_is_unreachable(lab: Any) -> None:
    async with node(lab, 1) as one:
        with pytest.raises(PeerUnreachable, match="no record"):
            await one.peers.call(Address(b"\x07" * 20), "who", b"")
        assert not one.peers.is_reachable(Address(b"\x07" * 20))


async def test_what_a_judge_answers_becomes_the_verdict(lab: Any, autojump_clock: MockClock) -> None:
    async with node(lab, 1) as one, node(lab, 2, one.network.addresses[0]) as two:
        got: list[bytes] = []

        def judge(data: bytes) -> bool:
            if data == b"fault":
                raise ProtocolError("against a rule")
            return data != b"late"

        async def deliver(data: bytes) -> None:
            got.append(data)

        async def nothing(_data: bytes) -> None:
            return

        one.peers.subscribe("t", judge=judge, deliver=deliver)
        two.peers.subscribe("t", judge=lambda _data: True, deliver=nothing)
        await trio.sleep(10)
        for data in (b"late", b"fault", b"good"):
            await two.peers.publish("t", data)
        await trio.sleep(2)
        assert got == [b"good"]
