# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.networking.addresses import parse_peer_address
from node.networking.directory import MAX_RECORDS, Directory
from node.networking.discovery import (
    EXCHANGE_RATE,
    MAX_EXCHANGE_BYTES,
    METHOD,
    Discovery,
    DiscoverySettings,
    PeersExchange,
    open_discovery,
)
from node.networking.errors import BadPeerAddress, PeerBusy
from node.networking.network import Network
from protocol.identity import Address, PeerId
from protocol.node_record import (
    BadNodeRecord,
    NodeAnnouncement,
    NodeBody,
    announce_node,
    host_public_key,
    peer_id_of,
)
from protocol.signing.ecdsa import BadSignature, address_of
from protocol.signing.eip712 import Domain
from protocol.wire.codec import decode, encode

DOMAIN = Domain(chain_id=31337, verifying_contract=Address(b"\x11" * 20))
NOW = 1_800_000_000
Eventually = Callable[[Callable[[], object]], Any]


def wallet_key(number: int) -> bytes:
    return number.to_bytes(32)


def announcement(number: int, peer: PeerId, *, sequence: int = 1, expires: int = NOW + 3600) -> NodeAnnouncement:
    key = wallet_key(number)
    body = NodeBody(addresses=(f"/memory/{number}",))
    return announce_node(
        key,
        DOMAIN,
        wallet=address_of(key),
        host_key=host_public_key(peer),
        body=body,
        sequence=sequence,
        expires=expires,
    )


def peer(number: int) -> PeerId:
    return peer_id_of(number.to_bytes(32))


class Wall:
    """A wall clock that tests can set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def test_the_newest_record_of_a_wallet_counts_whatever_the_order() -> None:
    directory = Directory(DOMAIN, Wall())
    assert directory.learn(announcement(1, peer(5), sequence=2), source=peer(9))
    assert not directory.learn(announcement(1, peer(4), sequence=1), source=peer(9))
    assert not directory.learn(announcement(1, peer(6), sequence=2), source=peer(9))
    assert directory.peer_of(address_of(wallet_key(1))) == peer(5)
    assert directory.learn(announcement(1, peer(6), sequence=3), source=peer(9))
    assert directory.peer_of(address_of(wallet_key(1))) == peer(6)


def test_only_a_peer_itself_can_say_whose_it_is() -> None:
    directory = Directory(DOMAIN, Wall())
    genuine, thief = announcement(1, peer(5)), announcement(2, peer(5))
    directory.learn(thief, source=peer(9))
    assert directory.wallet_of(peer(5)) is None
    directory.learn(genuine, source=peer(5))
    assert directory.wallet_of(peer(5)) == address_of(wallet_key(1))
    directory.learn(thief, source=peer(9))
    assert directory.wallet_of(peer(5)) == address_of(wallet_key(1))


def test_a_wallet_that_moves_to_another_peer_leaves_the_old_one() -> None:
    directory = Directory(DOMAIN, Wall())
    directory.learn(announcement(1, peer(5), sequence=1), source=peer(5))
    directory.learn(announcement(1, peer(6), sequence=2), source=peer(6))
    assert directory.wallet_of(peer(5)) is None
    assert directory.wallet_of(peer(6)) == address_of(wallet_key(1))


def test_a_newer_record_heard_from_others_does_not_make_a_peer_a_stranger() -> None:
    directory = Directory(DOMAIN, Wall())
    directory.learn(announcement(1, peer(5), sequence=1), source=peer(5))
    directory.learn(announcement(1, peer(5), sequence=2), source=peer(9))
    assert directory.wallet_of(peer(5)) == address_of(wallet_key(1))


def test_a_record_is_forgotten_when_it_expires() -> None:
    wall = Wall()
    directory = Directory(DOMAIN, wall)
    directory.learn(announcement(1, peer(5), expires=NOW + 10), source=peer(5))
    wall.now = NOW + 10
    assert directory.wallet_of(peer(5)) is not None
    wall.now = NOW + 11
    assert directory.wallet_of(peer(5)) is None
    assert directory.all() == ()
    directory.expire()
    wall.now = NOW
    assert directory.find(address_of(wallet_key(1))) is None


def test_a_forged_and_an_expired_record_are_typed_errors() -> None:
    directory = Directory(DOMAIN, Wall())
    genuine = announcement(1, peer(5))
    value = replace(genuine.record.value, sequence=9)
    with pytest.raises(BadSignature):
        directory.learn(replace(genuine, record=replace(genuine.record, value=value)), source=peer(5))
    with pytest.raises(BadNodeRecord):
        directory.learn(announcement(1, peer(5), expires=NOW - 1), source=peer(5))
    assert directory.all() == ()


def test_the_directory_is_bounded_and_forgets_the_stalest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.networking.directory.MAX_RECORDS", 3)
    directory = Directory(DOMAIN, Wall())
    for number in range(1, 5):
        directory.learn(announcement(number, peer(number)), source=peer(number))
    assert [each.wallet for each in directory.all()] == [address_of(wallet_key(number)) for number in (2, 3, 4)]
    assert directory.wallet_of(peer(1)) is None
    assert MAX_RECORDS >= 1000


def test_only_what_peers_showed_themselves_is_told_and_each_network_has_its_turn() -> None:
    directory = Directory(DOMAIN, Wall())
    for number in range(1, 4):
        directory.learn(announcement(number, peer(number)), source=peer(number), origin=f"network {number}")
    for number in range(10, 60):
        directory.learn(announcement(number, peer(number)), source=peer(number), origin="crowd")
    for number in range(100, 160):
        directory.learn(announcement(number, peer(number)), source=peer(1), origin="network 1")
    for seed in range(20):
        told = [each.peer for each in directory.sample(8, random.Random(seed), without=[peer(2)])]
        assert len(set(told)) == 8
        assert {peer(1), peer(3)} <= set(told)
        assert not set(told) & {peer(number) for number in (2, *range(100, 160))}


def test_a_sample_never_tells_what_the_directory_itself_would_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens to records: the table by network agrees with what is confirmed, and is empty when that is."""
    monkeypatch.setattr("node.networking.directory.MAX_RECORDS", 12)
    wall, chance = Wall(), random.Random(7)
    directory = Directory(DOMAIN, wall)
    for sequence in range(1, 400):
        number, host = chance.randrange(1, 20), chance.randrange(1, 20)
        expires = NOW + chance.randrange(1, 4000)
        source = peer(host if chance.random() < 0.7 else chance.randrange(1, 20))
        made = announcement(number, peer(host), sequence=sequence, expires=expires)
        if expires > wall():
            directory.learn(made, source=source, origin=chance.choice([None, "one", "two"]))
        wall.now += chance.randrange(20)
        if chance.random() < 0.1:
            directory.expire()
        told = {each.peer for each in directory.sample(99, chance, without=[peer(3)])}
        assert told == {each.peer for each, _ in directory.shown()} - {peer(3)}
        assert len(directory.sample(2, chance, without=())) == min(2, len(list(directory.shown())))
    wall.now += 10_000
    directory.expire()
    assert not directory._networks
    assert not directory._network_of


def test_a_flood_of_records_displaces_only_what_came_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.networking.directory.MAX_RECORDS", 30)
    directory = Directory(DOMAIN, Wall())
    for number in range(1, 11):
        directory.learn(announcement(number, peer(number)), source=peer(number), origin=f"network {number}")
    repeated = announcement(11, peer(11))
    directory.learn(repeated, source=peer(99), origin="crowd")
    for number in range(90, 100):
        directory.learn(announcement(number, peer(number)), source=peer(99), origin="crowd")
    directory.learn(repeated, source=peer(1), origin="network 1")
    for number in range(100, 200):
        directory.learn(announcement(number, peer(number)), source=peer(99), origin="crowd")
    assert all(directory.wallet_of(peer(number)) for number in range(1, 11))
    assert directory.peer_of(repeated.wallet) == peer(11)
    assert len(directory.all()) == 30


@dataclass
class Node:
    network: Network
    directory: Directory
    discovery: Discovery
    wallet: Address


@asynccontextmanager
async def discovering(lab: Any, number: int, *bootstrap: str, target: int = 8) -> AsyncGenerator[Node, None]:
    directory = Directory(DOMAIN, lambda: lab.now)
    async with lab.node(number) as network:
        place = network.addresses[0].partition("/p2p/")[0]

        def own() -> NodeAnnouncement:
            key = wallet_key(number)
            return announce_node(
                key,
                DOMAIN,
                wallet=address_of(key),
                host_key=host_public_key(network.peer_id),
                body=NodeBody(addresses=(place,)),
                sequence=int(lab.now),
                expires=int(lab.now) + 3600,
            )

        settings = DiscoverySettings(bootstrap=bootstrap, target_peers=target)

        async with open_discovery(network, directory, settings, own=own, random=random.Random(number)) as discovery:
            yield Node(network, directory, discovery, address_of(wallet_key(number)))


async def test_nodes_that_know_one_address_find_each_other(lab: Any, autojump_clock: MockClock) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(discovering(lab, 1))
        others = [
            await stack.enter_async_context(discovering(lab, number, first.network.addresses[0]))
            for number in range(2, 7)
        ]
        await trio.sleep(120)
        nodes = [first, *others]
        for node in nodes:
            assert {info.peer for info in node.network.peers()} == {
                each.network.peer_id for each in nodes if each is not node
            }
            for other in nodes:
                if other is not node:
                    assert node.directory.peer_of(other.wallet) == other.network.peer_id
                    assert node.directory.wallet_of(other.network.peer_id) == other.wallet


async def test_a_bootstrap_address_that_comes_up_later_is_found(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1) as probe:
        later = parse_peer_address(probe.addresses[0])
    async with discovering(lab, 2, f"/memory/{later.port + 2}") as node:
        await trio.sleep(60)
        assert node.network.peers() == ()
        async with discovering(lab, 3) as other:
            assert parse_peer_address(other.network.addresses[0]).port == later.port + 2
            await trio.sleep(200)
            assert [info.peer for info in node.network.peers()] == [other.network.peer_id]


async def test_dead_addresses_are_dialled_ever_more_rarely(
    lab: Any, autojump_clock: MockClock, logged: Callable[[str], list[Any]]
) -> None:
    async with discovering(lab, 2, "/memory/77"):
        await trio.sleep(3600)
        assert 10 <= len(logged("discovery.dial_failed")) <= 30


async def test_a_node_with_enough_peers_dials_no_more(lab: Any, autojump_clock: MockClock) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(discovering(lab, 1, target=0))
        for number in range(2, 6):
            await stack.enter_async_context(discovering(lab, number, first.network.addresses[0], target=1))
        await trio.sleep(300)
        assert len(first.network.peers()) == 4
        assert not any(info.dialled for info in first.network.peers())


async def test_a_peer_that_tells_a_forged_record_gets_a_strike_and_is_not_believed(
    lab: Any, autojump_clock: MockClock, logged: Callable[[str], list[Any]]
) -> None:
    genuine = announcement(50, peer(50))
    forged = replace(genuine, record=replace(genuine.record, value=replace(genuine.record.value, sequence=7)))
    async with lab.node(1) as liar, discovering(lab, 2, liar.addresses[0]) as node:

        async def lie(_peer: PeerId, _body: bytes) -> bytes:
            return encode(PeersExchange(own=None, others=(announcement(51, peer(51)), forged)))

        liar.serve(METHOD, lie, max_request=100_000)
        await trio.sleep(20)
        assert node.directory.peer_of(address_of(wallet_key(50))) is None
        assert node.directory.peer_of(address_of(wallet_key(51))) == peer(51)
        assert logged("network.misconduct")


async def test_a_peer_that_asks_in_a_row_is_told_to_wait(lab: Any, autojump_clock: MockClock) -> None:
    async with discovering(lab, 1) as node, lab.node(2) as asker:
        await asker.connect(node.network.addresses[0])
        question = encode(PeersExchange(own=None, wanted=32))

        async def ask(times: int) -> int:
            answered = 0
            for _ in range(times):
                with suppress(PeerBusy):
                    raw = await asker.call(node.network.peer_id, METHOD, question, max_response=MAX_EXCHANGE_BYTES)
                    assert decode(PeersExchange, raw).own is not None
                    answered += 1
            return answered

        assert await ask(20) == EXCHANGE_RATE.burst
        await trio.sleep(EXCHANGE_RATE.burst / EXCHANGE_RATE.per_s)
        assert await ask(20) == EXCHANGE_RATE.burst


async def test_a_record_of_another_peer_is_not_taken_for_its_own(
    lab: Any, autojump_clock: MockClock, logged: Callable[[str], list[Any]]
) -> None:
    async with lab.node(1) as liar, discovering(lab, 2, liar.addresses[0]) as node:

        async def lie(_peer: PeerId, _body: bytes) -> bytes:
            return encode(PeersExchange(own=announcement(51, peer(51))))

        liar.serve(METHOD, lie, max_request=100_000)
        await trio.sleep(20)
        assert node.directory.all() == ()
        assert logged("network.misconduct")


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"\x00" * 100_000, encode(PeersExchange(own=None)) + b"x"])
async def test_a_malformed_answer_is_a_strike(
    lab: Any, raw: bytes, autojump_clock: MockClock, logged: Callable[[str], list[Any]]
) -> None:
    async with lab.node(1) as liar, discovering(lab, 2, liar.addresses[0]):

        async def lie(_peer: PeerId, _body: bytes) -> bytes:
            return raw

        liar.serve(METHOD, lie, max_request=100_000)
        await trio.sleep(20)
        assert logged("network.misconduct")


async def test_a_record_with_addresses_that_lead_nowhere_is_harmless(lab: Any, autojump_clock: MockClock) -> None:
    key = wallet_key(60)
    body = NodeBody(addresses=("nonsense", "/memory/4000", "/ip4/999.1.1.1/tcp/1", "/dns/-/tcp/1"))
    traps = announce_node(
        key, DOMAIN, wallet=address_of(key), host_key=b"\x60" * 32, body=body, sequence=1, expires=NOW + 600
    )
    async with lab.node(1) as liar, discovering(lab, 2, liar.addresses[0]) as node:

        async def lie(_peer: PeerId, _body: bytes) -> bytes:
            return encode(PeersExchange(own=None, others=(traps,)))

        liar.serve(METHOD, lie, max_request=100_000)
        await trio.sleep(120)
        assert node.network.is_connected(liar.peer_id)


async def test_a_bootstrap_address_that_cant_be_read_is_named_at_once(lab: Any) -> None:
    with pytest.RaisesGroup(BadPeerAddress):
        async with discovering(lab, 1, "192.0.2.1:4001"):
            pass
