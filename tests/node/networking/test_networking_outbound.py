# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import trio
from trio.testing import MockClock

from node.networking.addresses import parse_peer_address
from node.networking.discovery import METHOD
from node.networking.libp2p.yamux import SILENCE_S
from node.networking.network import Network
from node.networking.peers.outbound import ANCHOR_AGE_S, ANCHORS, MAX_IN_ONE_NETWORK
from node.networking.peers.stored import StoredPeers
from protocol.identity import PeerId

NOTICED_S = 180.0
"""Within which a peer that does not serve loses its slot (docs/spec/networking.md, N5.10)."""


class Memory:
    """A store in memory."""

    def __init__(self) -> None:
        self.peers = StoredPeers()

    async def load(self) -> StoredPeers:
        await trio.lowlevel.checkpoint()
        return self.peers

    async def save(self, peers: StoredPeers) -> None:
        await trio.lowlevel.checkpoint()
        self.peers = peers


@asynccontextmanager
async def never_answering(lab: Any, number: int) -> AsyncGenerator[Network, None]:
    """A node that acknowledges every byte and ping, and answers no request."""
    async with lab.node(number) as network:

        async def hang(_peer: PeerId, _body: bytes) -> bytes:
            await trio.sleep_forever()
            return b""

        network.serve(METHOD, hang, max_request=1_000_000)
        network._requests._run_handler = _hang  # not even a refusal after the handler's own timeout
        yield network


async def _hang(*_args: Any) -> None:
    await trio.sleep_forever()


async def test_a_peer_that_acknowledges_everything_and_serves_nothing_loses_its_slot(
    lab: Any, autojump_clock: MockClock, logged: Callable[[str], list[Any]]
) -> None:
    async with never_answering(lab, 1) as dead, lab.member(2, dead.addresses[0]) as node:
        await trio.sleep(10)
        assert node.chosen == {dead.peer_id}
        await trio.sleep(NOTICED_S)
        assert logged("discovery.silent_peer")
        assert node.network.book.score_of(dead.peer_id) < 0


async def test_one_that_stops_serving_later_is_noticed_too_and_replaced(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.member(1) as one, lab.member(3) as three, lab.member(2, one.network.addresses[0], target=1) as node:
        await trio.sleep(300)
        assert node.chosen == {one.network.peer_id}
        place = three.network.addresses[0]
        node.network.book.hear(three.network.peer_id, (place,), origin="test", is_own=False, is_near=True)
        one.network._requests._run_handler = _hang
        await trio.sleep(NOTICED_S + 10)
        assert node.chosen == {three.network.peer_id}


async def test_one_of_the_bootstrap_list_that_does_not_serve_rests_as_any_other(
    lab: Any, autojump_clock: MockClock, logged: Callable[[str], list[Any]]
) -> None:
    async with never_answering(lab, 1) as dead, lab.member(2, dead.addresses[0], target=1) as node:
        await trio.sleep(NOTICED_S)
        assert not node.chosen
        await trio.sleep(150)
        assert not node.chosen
        await trio.sleep(100)
        assert node.chosen == {dead.peer_id}, "it may have been mended"
        assert len(logged("discovery.silent_peer")) == 1


async def test_a_machine_that_vanishes_is_noticed_by_the_silence_of_its_connection(
    lab: Any, autojump_clock: MockClock
) -> None:
    gone: set[int] = set()
    lab.memory.is_cut = lambda source, target: bool({source, target} & gone)
    async with lab.member(1) as one, lab.member(2, one.network.addresses[0]) as node:
        await trio.sleep(60)
        assert node.chosen == {one.network.peer_id}
        gone.add(1)
        await trio.sleep(SILENCE_S + 60)
        assert node.network.peers() == ()
        assert node.chosen == frozenset()
        gone.clear()
        lab.memory.heal()
        await trio.sleep(400)
        assert node.network.is_connected(one.network.peer_id)


async def test_of_one_network_two_peers_hold_slots_and_private_networks_are_not_counted(
    lab: Any, autojump_clock: MockClock
) -> None:
    hosts = ["66.6.0.1", "66.6.0.2", "66.6.0.3", "66.6.9.9", "20.1.0.1", "20.2.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.3"]
    async with AsyncExitStack() as stack:
        members = [
            await stack.enter_async_context(lab.member(number, host=host, target=0))
            for number, host in enumerate(hosts, 1)
        ]
        node = await stack.enter_async_context(lab.member(99, host="20.9.0.1", target=20))
        for member in members:
            node.network.book.hear(
                member.network.peer_id, member.network.addresses, origin="test", is_own=False, is_near=True
            )
        await trio.sleep(900)
        held = [info.host for info in node.network.peers() if info.peer in node.chosen]
        assert sum(host.startswith("66.6.") for host in held) == MAX_IN_ONE_NETWORK
        assert {host for host in held if not host.startswith("66.6.")} == set(hosts[4:])


async def test_a_name_that_leads_to_a_network_with_its_share_gets_no_slot(
    lab: Any, autojump_clock: MockClock, logged: Callable[[str], list[Any]]
) -> None:
    async with AsyncExitStack() as stack:
        members = [
            await stack.enter_async_context(lab.member(number, host=f"66.6.0.{number}", target=0))
            for number in range(1, 5)
        ]
        node = await stack.enter_async_context(lab.member(99, host="20.9.0.1"))
        for number, member in enumerate(members, 1):
            name = f"n{number}.owner{number}.example"
            lab.memory.places[(name, 4600)] = member.network._switch._transport.number
            place = f"/dns/{name}/tcp/4600"
            node.network.book.hear(member.network.peer_id, (place,), origin="test", is_own=False, is_near=False)
        await trio.sleep(300)
        assert len(node.chosen) == MAX_IN_ONE_NETWORK
        assert logged("discovery.network_full")


async def test_peers_that_connect_to_us_take_no_slot(lab: Any, autojump_clock: MockClock) -> None:
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(lab.member(1, target=2))
        for number in range(2, 6):
            await stack.enter_async_context(lab.member(number, node.network.addresses[0], target=1))
        await trio.sleep(60)
        assert len(node.network.peers()) == 4
        assert node.chosen == frozenset()
        honest = await stack.enter_async_context(lab.member(9))
        node.network.book.hear(
            honest.network.peer_id, honest.network.addresses, origin="test", is_own=False, is_near=True
        )
        await trio.sleep(60)
        assert node.chosen == {honest.network.peer_id}


async def test_a_peer_that_connected_while_we_were_about_to_dial_it_takes_no_slot(
    lab: Any, autojump_clock: MockClock
) -> None:
    async with lab.member(1) as node, lab.member(2, node.network.addresses[0]) as other:
        await trio.sleep(60)
        assert node.network.is_connected(other.network.peer_id)
        place = parse_peer_address(other.network.addresses[0])
        await node.discovery.outbound._dial([place])
        assert node.chosen == frozenset()


async def test_a_peer_that_a_request_made_us_dial_takes_no_slot(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.member(1) as one, lab.member(2, target=3) as node:
        await node.network.connect(one.network.addresses[0])
        await trio.sleep(120)
        assert node.network.is_connected(one.network.peer_id)
        assert node.chosen == frozenset()


async def test_anchors_are_those_that_held_a_slot_for_long_and_are_dialled_first_after_a_restart(
    lab: Any, autojump_clock: MockClock, logged: Callable[[str], list[Any]]
) -> None:
    store = Memory()
    async with AsyncExitStack() as stack:
        members = [
            await stack.enter_async_context(lab.member(number, host=f"20.{number}.0.1", target=0))
            for number in range(1, 7)
        ]
        async with lab.member(99, host="30.0.0.1", target=6, store=store) as node:
            for member in members:
                node.network.book.hear(
                    member.network.peer_id, member.network.addresses, origin="test", is_own=False, is_near=True
                )
            await trio.sleep(ANCHOR_AGE_S / 2)
            assert node.network.book.anchors == ()
            longest = node.discovery.outbound.chosen[:ANCHORS]
            await trio.sleep(ANCHOR_AGE_S)
            assert node.network.book.anchors == longest
            await trio.sleep(30)
        assert sorted((each.anchor, each.peer) for each in store.peers.peers if each.anchor) == list(
            enumerate(longest, 1)
        )
        before = len(logged("network.connected"))
        async with lab.member(99, host="30.0.0.1", target=ANCHORS, store=store, chance=5) as node:
            await trio.sleep(30)
            assert node.chosen == set(longest)
        dialled = [entry for entry in logged("network.connected")[before:] if entry["dialled"]]
        assert {entry["peer"] for entry in dialled[:ANCHORS]} == set(longest)


async def test_an_anchor_is_not_given_up_because_it_was_away_at_the_restart(
    lab: Any, autojump_clock: MockClock
) -> None:
    store = Memory()
    async with lab.member(1, host="20.1.0.1") as one:
        async with lab.member(99, host="30.0.0.1", store=store) as node:
            node.network.book.hear(
                one.network.peer_id, one.network.addresses, origin="test", is_own=False, is_near=True
            )
            await trio.sleep(2 * ANCHOR_AGE_S)
        assert [each.anchor for each in store.peers.peers] == [1]
    async with lab.member(99, host="30.0.0.1", store=store) as node:
        await trio.sleep(300)
        assert node.network.book.anchors == (one.network.peer_id,)
        async with lab.member(1, host="20.1.0.1"):
            await trio.sleep(400)
            assert node.chosen == {one.network.peer_id}


async def test_a_record_that_names_a_peer_with_other_addresses_does_not_hide_it(
    lab: Any, autojump_clock: MockClock
) -> None:
    async with lab.member(1) as one, lab.member(2, one.network.addresses[0]) as node:
        await trio.sleep(20)
        for _ in range(20):
            node.network.learn_addresses(one.network.peer_id, ("/memory/4000",), source=PeerId("a thief"))
        await node.network.disconnect(one.network.peer_id)
        await node.network.connect_peer(one.network.peer_id)
        assert node.network.is_connected(one.network.peer_id)


async def test_newcomers_that_do_not_answer_do_not_keep_others_waiting(lab: Any, autojump_clock: MockClock) -> None:
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(lab.member(1))
        for number in range(150, 153):
            await stack.enter_async_context(lab.attacker(node.network, number))
        await trio.sleep(1)
        honest = await stack.enter_async_context(lab.member(2, target=0))
        await honest.network.connect(node.network.addresses[0])
        await trio.sleep(5)
        assert node.directory.wallet_of(honest.network.peer_id) == honest.wallet
