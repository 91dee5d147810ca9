# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
"""A node finds out whether others can dial it, and keeps itself within reach by relays if not; on a virtual clock."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.networking.errors import PeerBusy, RemoteRefused
from node.networking.relay.keeping import WANTED
from node.networking.relay.reach import METHOD, ReachAnswer, ReachQuestion
from node.networking.settings import RelayLimits
from protocol.wire.codec import decode, encode

Seen = Callable[[str], list[Any]]


async def wait_for(condition: Callable[[], object], *, at_most_s: float = 900.0) -> None:
    """Wait on the virtual clock."""
    with trio.fail_after(at_most_s):
        while not condition():
            await trio.sleep(0.25)


async def echo(_peer: str, body: bytes) -> bytes:
    return body


async def live(
    lab: Any, number: int, end: trio.Event, host: str, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED
) -> None:
    """Be a relay until `end`."""
    async with lab.member(number, host=host, reachable="yes", target=0) as relay:
        task_status.started(relay)
        await end.wait()


# Whether others can dial us


async def test_a_node_that_others_can_dial_learns_that_and_serves_as_a_relay(
    lab: Any, autojump_clock: MockClock
) -> None:
    async with (
        lab.member(1, host="198.51.100.1") as one,
        lab.member(2, one.network.addresses[0], host="203.0.113.1") as two,
    ):
        await wait_for(lambda: two.network.is_reachable)
        assert two.network.relays.held == {}
        assert two.network.addresses == (f"/ip4/203.0.113.1/tcp/4600/p2p/{two.network.peer_id}",)


async def test_a_node_behind_a_router_learns_that_nobody_can_dial_it(lab: Any, autojump_clock: MockClock) -> None:
    """It has a port that does not lead to it, and takes a place at a relay."""
    blocked = ("/ip4/203.0.113.1/tcp/4600",)
    async with (
        lab.member(1, host="198.51.100.1", reachable="yes") as relay,
        lab.member(2, relay.network.addresses[0], host="203.0.113.1", listen=(), announce=blocked) as two,
        lab.member(3, relay.network.addresses[0], host="192.0.2.1", reachable="no") as three,  # no second relay
    ):
        await wait_for(lambda: two.network.is_reachable is False)
        await wait_for(lambda: relay.network.peer_id in two.network.relays.held)
        way = f"{relay.network.addresses[0]}/p2p-circuit"
        assert two.network.record_addresses == (*blocked, way)
        await wait_for(lambda: (found := three.directory.find(two.wallet)) and way in found.body.addresses)
        two.network.serve("echo", echo, max_request=100)
        assert await three.network.call(two.network.peer_id, "echo", b"x") == b"x"


async def test_a_node_that_listens_nowhere_needs_to_ask_nobody(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.member(1, listen=()) as hidden:
        await trio.sleep(1)
        assert hidden.network.is_reachable is False


async def test_what_the_operator_says_is_not_asked(lab: Any, autojump_clock: MockClock, logged: Seen) -> None:
    async with (
        lab.member(1, host="198.51.100.1", reachable="yes") as one,
        lab.member(2, one.network.addresses[0], host="203.0.113.1", reachable="no"),
    ):
        await trio.sleep(700)
    assert logged("network.reachable") == logged("network.not_reachable") == []


async def test_a_router_that_forwards_the_port_later_ends_the_need_for_relays(
    lab: Any, autojump_clock: MockClock
) -> None:
    blocked = ("/ip4/203.0.113.1/tcp/4600",)
    async with (
        lab.member(1, host="198.51.100.1", reachable="yes") as relay,
        lab.member(2, relay.network.addresses[0], host="203.0.113.1", listen=(), announce=blocked) as two,
    ):
        await wait_for(lambda: two.network.relays.held)
        place = two.network._direct_places()[0]
        await two.network._switch.listen(place)
        await wait_for(lambda: two.network.is_reachable)
        await wait_for(lambda: two.network.record_addresses == blocked)


async def test_nobody_is_made_to_dial_a_stranger(lab: Any, autojump_clock: MockClock) -> None:
    """The question has no place for a host: who is asked dials whom it sees, and checks who answers."""
    async with (
        lab.member(1, host="198.51.100.1") as asked,
        lab.member(2, host="203.0.113.1") as victim,
        lab.node(3, host="203.0.113.1", listen=()) as asker,
    ):
        await asker.connect(asked.network.addresses[0])
        raw = await asker.call(asked.network.peer_id, METHOD, encode(ReachQuestion(port=4600)))
        # The victim shares the asker's address, and is not taken for it.
        assert decode(ReachAnswer, raw) == ReachAnswer(host="203.0.113.1", reached=False)
        assert victim.network.peers() == ()


async def test_dialling_back_is_rationed_by_network(lab: Any, autojump_clock: MockClock) -> None:
    async with (
        lab.member(1, host="198.51.100.1") as asked,
        lab.node(3, host="203.0.113.1", listen=()) as asker,
        lab.node(4, host="203.0.113.2", listen=()) as other,
        lab.node(5, host="192.0.2.1", listen=()) as elsewhere,
    ):
        question = encode(ReachQuestion(port=4600))
        for each in (asker, other, elsewhere):
            await each.connect(asked.network.addresses[0])
        for _ in range(4):
            await asker.call(asked.network.peer_id, METHOD, question)
        with pytest.raises(PeerBusy):
            await other.call(asked.network.peer_id, METHOD, question)
        await elsewhere.call(asked.network.peer_id, METHOD, question)


async def test_who_is_not_at_an_ip_address_is_dialled_nowhere(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.member(1) as asked, lab.node(2) as asker:
        await asker.connect(asked.network.addresses[0])
        with pytest.raises(RemoteRefused, match="NotAskable"):
            await asker.call(asked.network.peer_id, METHOD, encode(ReachQuestion(port=1)))


async def test_who_was_dialled_by_a_stranger_believes_no_one_who_denies_it(lab: Any, autojump_clock: MockClock) -> None:
    async with (
        lab.node(1, host="198.51.100.1") as liar,
        lab.member(2, liar.addresses[0], host="203.0.113.1") as two,
        lab.node(3, host="192.0.2.1") as stranger,
    ):

        async def deny(_peer: str, _body: bytes) -> bytes:
            return encode(ReachAnswer(host="203.0.113.1", reached=False))

        liar.serve(METHOD, deny, max_request=100)
        await wait_for(lambda: two.network.is_reachable is False)
        await stranger.connect(two.network.addresses[0])
        await wait_for(lambda: two.network.is_reachable)
        await trio.sleep(1500)
        assert two.network.is_reachable


# Places


async def test_places_are_held_at_three_relays_of_different_networks_and_replaced(
    lab: Any, autojump_clock: MockClock
) -> None:
    hosts = ["198.51.100.1", "198.51.100.2", "203.0.113.1", "192.0.2.1", "192.88.0.1"]
    async with trio.open_nursery() as nursery:
        relays: list[Any] = []
        ends = [trio.Event() for _ in hosts]
        for index, host in enumerate(hosts):
            relays.append(await nursery.start(live, lab, 10 + index, ends[index], host))
        known = [relay.network.addresses[0] for relay in relays]
        async with lab.member(1, *known, listen=()) as seller:
            await wait_for(lambda: len(seller.network.relays.held) == WANTED)
            held = [index for index, relay in enumerate(relays) if relay.network.peer_id in seller.network.relays.held]
            assert len({hosts[index].rpartition(".")[0] for index in held}) == WANTED
            assert len(seller.network.record_addresses) == WANTED

            ends[held[0]].set()
            lost = relays[held[0]].network.peer_id
            await wait_for(lambda: lost not in seller.network.relays.held)
            await wait_for(lambda: len(seller.network.relays.held) == WANTED)
            assert len(seller.network.record_addresses) == WANTED
        nursery.cancel_scope.cancel()


async def test_a_place_is_renewed_before_it_ends(lab: Any, autojump_clock: MockClock) -> None:
    limits = RelayLimits(reservation_s=60)
    async with (
        lab.member(1, host="198.51.100.1", reachable="yes", relay=limits, target=0) as relay,
        lab.member(2, relay.network.addresses[0], listen=()) as seller,
        lab.member(3, relay.network.addresses[0], host="192.0.2.1", target=1) as buyer,
    ):
        await wait_for(lambda: buyer.directory.find(seller.wallet))
        await trio.sleep(600)
        assert relay.network.relay is not None
        assert relay.network.relay.figures.reservations >= 10
        assert relay.network.relay.reserved == (seller.network.peer_id,)
        seller.network.serve("echo", echo, max_request=100)
        assert await buyer.network.call(seller.network.peer_id, "echo", b"still here") == b"still here"


async def test_a_peer_that_refuses_is_not_asked_in_a_circle(lab: Any, autojump_clock: MockClock) -> None:
    async with (
        lab.member(1, host="198.51.100.1", reachable="no", target=0) as refuser,
        lab.member(2, refuser.network.addresses[0], listen=()),
    ):
        await trio.sleep(1800)
        assert refuser.network.relay is not None
        assert 6 <= refuser.network.relay.figures.refused <= 10  # after 10, 20, 40, 80, 160 s, then every 300


async def test_the_other_relay_carries_on_when_one_dies(lab: Any, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        end = trio.Event()
        first = await nursery.start(live, lab, 1, end, "198.51.100.1")
        second = await nursery.start(live, lab, 2, trio.Event(), "203.0.113.1")
        known = [first.network.addresses[0], second.network.addresses[0]]
        async with lab.member(3, *known, listen=()) as seller, lab.member(4, *known, listen=()) as buyer:
            await wait_for(lambda: len(seller.network.relays.held) == 2)
            await wait_for(lambda: (found := buyer.directory.find(seller.wallet)) and len(found.body.addresses) == 2)
            seller.network.serve("echo", echo, max_request=100)
            await buyer.network.connect(f"{known[0]}/p2p-circuit/p2p/{seller.network.peer_id}")
            assert await buyer.network.call(seller.network.peer_id, "echo", b"by the first") == b"by the first"
            end.set()
            await wait_for(lambda: first.network.peer_id not in {info.relay for info in buyer.network.peers()})
            assert await buyer.network.call(seller.network.peer_id, "echo", b"by the second") == b"by the second"
            assert second.network.relay is not None
            assert second.network.relay.figures.circuits == 1
        nursery.cancel_scope.cancel()
