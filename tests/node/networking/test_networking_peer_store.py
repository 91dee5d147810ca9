# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from trio.testing import MockClock

from node.networking.peers.keeping import MAX_BAN_S, SAVE_S
from node.networking.peers.store import NETWORK_SCHEMA, SqlPeerStore
from node.networking.peers.stored import StoredBan, StoredPeer, StoredPeers
from node.operations.clock import TrioClock
from node.storage.blocking import in_line
from node.storage.schema import schema_differences
from protocol.errors import TransientError
from protocol.identity import PeerId
from protocol.node_record import peer_id_of
from protocol.units import UnixTime
from tests.stores import Store

ON_SQLITE = Store(None)
Eventually = Callable[[Callable[[], object]], Any]


def peer(number: int) -> PeerId:
    return peer_id_of(number.to_bytes(32))


def stored(number: int, **changes: Any) -> StoredPeer:
    values: dict[str, Any] = {
        "peer": peer(number),
        "addresses": (f"/ip4/20.0.0.{number}/tcp/1/p2p/{peer(number)}", f"/memory/{number}/p2p/{peer(number)}"),
        "record": b"\x00\xff",
        "seen_at": 1_800_000_000,
        "successes": 7,
        "failures": 2,
        "score_milli": -1500,
        "score_at": 1_800_000_001,
        "anchor": 0,
    }
    return StoredPeer(**{**values, **changes})


@asynccontextmanager
async def open_store(folder: Path, store: Store = ON_SQLITE) -> AsyncGenerator[SqlPeerStore, None]:
    clock = TrioClock.starting_at(UnixTime(1_800_000_000))
    async with store.open(folder, clock=clock, schema_parts=[NETWORK_SCHEMA], run_blocking=in_line) as storage:
        yield SqlPeerStore(storage)


async def test_the_migrations_make_the_tables_that_the_code_sees(tmp_path: Path, store: Store) -> None:
    clock = TrioClock.starting_at(UnixTime(1_800_000_000))
    async with store.open(tmp_path, clock=clock, schema_parts=[NETWORK_SCHEMA]) as storage:
        assert await storage.read.query(lambda connection: list(schema_differences(connection, NETWORK_SCHEMA))) == []


async def test_what_is_saved_comes_back_in_order_and_replaces_what_was_there(tmp_path: Path, store: Store) -> None:
    everything = StoredPeers(
        peers=(stored(3, anchor=2), stored(1, anchor=1), stored(2, record=b"")),
        bans=(StoredBan(peer=peer(9), until=1_800_000_600),),
    )
    async with open_store(tmp_path, store) as book:
        assert await book.load() == StoredPeers()
        await book.save(StoredPeers(peers=(stored(8),), bans=(StoredBan(peer=peer(7), until=1),)))
        await book.save(everything)
    async with open_store(tmp_path, store) as book:
        assert await book.load() == everything


async def test_a_node_whose_bootstrap_is_dead_finds_the_network_again_after_a_restart(
    lab: Any, tmp_path: Path, autojump_clock: MockClock, eventually: Eventually
) -> None:
    async with lab.member(2) as two, lab.member(3) as three:
        known = (two.network.addresses[0], three.network.addresses[0])
        async with lab.member(1, *known) as first:
            entrance = first.network.addresses[0]
            async with open_store(tmp_path) as store, lab.member(4, entrance, store=store) as node:
                await trio.sleep(120)
                assert len(node.network.peers()) == 3
        await trio.sleep(30)
        async with open_store(tmp_path) as store, lab.member(4, entrance, store=store, chance=1) as node:
            assert node.directory.peer_of(three.wallet) == three.network.peer_id  # known before anybody is asked
            assert node.directory.wallet_of(three.network.peer_id) is None  # which it has yet to show
            await trio.sleep(60)
            assert {info.peer for info in node.network.peers()} == {two.network.peer_id, three.network.peer_id}
            assert node.directory.wallet_of(three.network.peer_id) == three.wallet


async def test_without_a_store_such_a_node_stays_alone(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.member(2), lab.member(4, "/memory/77") as node:
        await trio.sleep(600)
        assert node.network.peers() == ()


class Recorder:
    """A store in memory that says when it was written."""

    def __init__(self) -> None:
        self.saved: list[StoredPeers] = []
        self.full = False

    async def load(self) -> StoredPeers:
        await trio.lowlevel.checkpoint()
        return self.saved[-1] if self.saved else StoredPeers()

    async def save(self, peers: StoredPeers) -> None:
        await trio.lowlevel.checkpoint()
        if self.full:
            raise TransientError("no room")
        self.saved.append(peers)


async def test_what_a_crash_must_not_cost_is_saved_soon_and_the_rest_now_and_then(
    lab: Any, autojump_clock: MockClock
) -> None:
    store = Recorder()
    async with lab.member(1) as one, lab.member(2, one.network.addresses[0], store=store) as node:
        await trio.sleep(20)
        assert [each.peer for each in store.saved[-1].peers] == [one.network.peer_id]
        assert store.saved[-1].bans == ()
        await node.network.ban(peer(9), for_s=100)
        await trio.sleep(20)
        assert [each.peer for each in store.saved[-1].bans] == [peer(9)]
        before = len(store.saved)
        await trio.sleep(10 * SAVE_S)
        assert before + 8 <= len(store.saved) <= before + 12


async def test_a_store_without_room_costs_nothing_but_the_memory(
    lab: Any, autojump_clock: MockClock, logged: Callable[[str], list[Any]]
) -> None:
    store = Recorder()
    store.full = True
    async with lab.member(1) as one, lab.member(2, one.network.addresses[0], store=store) as node:
        await trio.sleep(2 * SAVE_S)
        assert node.network.is_connected(one.network.peer_id)
        store.full = False
    assert logged("discovery.peers_not_saved")
    assert len(store.saved[-1].peers) == 1  # saved a last time when it closed


async def test_a_ban_survives_a_restart_for_its_rest(lab: Any, autojump_clock: MockClock) -> None:
    store = Recorder()
    async with lab.member(2, store=store) as node:
        await node.network.ban(peer(9), for_s=600)
        await trio.sleep(400)
    async with lab.member(2, store=store) as node:
        assert node.network.is_banned(peer(9))
        await trio.sleep(195)
        assert node.network.is_banned(peer(9))
        await trio.sleep(10)
        assert not node.network.is_banned(peer(9))
    async with lab.member(2, store=store) as node:
        assert not node.network.is_banned(peer(9))


async def test_a_clock_set_back_does_not_turn_a_ban_into_years(lab: Any, autojump_clock: MockClock) -> None:
    store = Recorder()
    store.saved.append(StoredPeers(bans=(StoredBan(peer=peer(9), until=int(lab.now) + 10**9),)))
    async with lab.member(2, store=store) as node:
        assert node.network.bans()[peer(9)] <= MAX_BAN_S


async def test_a_damaged_record_in_the_store_is_left_out(lab: Any, autojump_clock: MockClock) -> None:
    store = Recorder()
    store.saved.append(StoredPeers(peers=(stored(1), stored(2, addresses=("x",)), stored(3, record=b"\xc1" * 9999))))
    async with lab.member(2, store=store) as node:
        assert len(node.network.book.snapshot()) == 2
        assert node.directory.all() == ()
