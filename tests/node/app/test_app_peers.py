"""Peers by wallet: whom this node serves a blob, and how it takes the refusals of a node that has just started."""

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from blake3 import blake3
from trio.testing import MockClock

from node.app.peers import GrantedBlobs, NotServedYet, WalletPeers
from node.networking.blob_source import NotServed
from node.networking.errors import PeerUnreachable, RemoteRefused
from node.networking.memory import MemoryNetwork, MemoryTransport
from node.networking.network import Network, open_network
from node.networking.settings import NetworkSettings
from node.operations.clock import TrioClock
from node.storage.blob_partials import PartialBlob
from node.storage.blocking import in_line
from node.storage.storage import Storage, open_storage
from protocol.identity import Address, ContentDigest, PeerId
from protocol.units import UnixTime

DATA = b"input of a task"
FRIEND, STRANGER, UNKNOWN = PeerId("friend"), PeerId("stranger"), PeerId("unknown")
WALLETS = {FRIEND: Address(b"\x01" * 20), STRANGER: Address(b"\x02" * 20)}


async def test_a_blob_goes_to_the_wallet_it_was_granted_to_and_only_in_time(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    clock = TrioClock.starting_at(UnixTime(1_800_000_000))
    directory: Any = SimpleNamespace(wallet_of=WALLETS.get)
    async with open_storage(tmp_path, clock=clock, run_blocking=in_line) as storage:
        until = UnixTime(clock.now() + 60)
        digest = await storage.blobs.put(DATA, keep_until=UnixTime(until + 60))
        gone = ContentDigest(blake3(b"never stored").digest())
        for granted in (digest, gone):
            await storage.access.grant(granted, WALLETS[FRIEND], until)
        await storage.access.grant(digest, WALLETS[FRIEND], UnixTime(until - 30))  # shortens nothing
        source = GrantedBlobs(storage, directory)
        async with source.open(digest, FRIEND) as reader:
            assert await reader.read_at(0, 100) == DATA
        answers: set[str] = set()
        for wanted, peer in ((digest, STRANGER), (digest, UNKNOWN), (gone, FRIEND)):
            with pytest.raises(NotServed) as refused:
                async with source.open(wanted, peer):
                    pass
            answers.add(str(refused.value))
        assert len(answers) == 1, "what is stored would show in the answer"
        await trio.sleep(61)
        with pytest.raises(NotServed):
            async with source.open(digest, FRIEND):
                pass


BLOB = random.Random(5).randbytes(6 * 1024 * 1024 + 5)
BLOB_DIGEST = ContentDigest(blake3(BLOB).digest())
KEEP_UNTIL = UnixTime(1_900_000_000)
HOLDERS = [Address(bytes([number]) * 20) for number in (11, 12)]
ASKER = Address(bytes([10]) * 20)


async def know_already(_peer: PeerId) -> None:
    await trio.lowlevel.checkpoint()


@dataclass
class Node:
    """Network, store and peers by wallet of one node; who is who is known to all."""

    network: Network
    storage: Storage
    peers: WalletPeers


@dataclass
class Town:
    """Nodes on memory streams whose data folders outlive them."""

    folder: Path
    memory: MemoryNetwork = field(default_factory=MemoryNetwork)
    wallets: dict[PeerId, Address] = field(default_factory=dict[PeerId, Address])

    @asynccontextmanager
    async def node(self, wallet: Address) -> AsyncGenerator[Node]:
        clock = TrioClock.starting_at(UnixTime(1_800_000_000))
        settings = NetworkSettings(listen=("/memory/0",), hash_in_threads=False)
        async with (
            open_storage(self.folder / wallet.hex(), clock=clock, run_blocking=in_line) as storage,
            open_network(
                settings,
                wallet[:1] * 32,
                clock=clock.unix_time,
                random=random.Random(1),
                transport=MemoryTransport(self.memory),
            ) as network,
        ):
            self.wallets[network.peer_id] = wallet
            discovery: Any = SimpleNamespace(directory=self, introduce=know_already)
            directory: Any = self
            network.serve_blobs(GrantedBlobs(storage, directory))
            yield Node(network, storage, WalletPeers(network, discovery, storage))

    @asynccontextmanager
    async def holder(self, wallet: Address) -> AsyncGenerator[Node]:
        async with self.node(wallet) as node:
            await node.storage.blobs.put(BLOB, keep_until=KEEP_UNTIL)
            await node.peers.grant(BLOB_DIGEST, ASKER, KEEP_UNTIL)
            yield node

    def wallet_of(self, peer: PeerId) -> Address | None:
        return self.wallets.get(peer)

    def peer_of(self, wallet: Address) -> PeerId | None:
        return next((peer for peer, other in self.wallets.items() if other == wallet), None)


async def fetch(asker: Node, *wallets: Address) -> None:
    await asker.peers.fetch_from(wallets, BLOB_DIGEST, max_bytes=len(BLOB), keep_until=KEEP_UNTIL)


async def test_a_blob_comes_from_every_wallet_that_holds_it(tmp_path: Path, autojump_clock: MockClock) -> None:
    town = Town(tmp_path)
    async with town.node(ASKER) as asker, town.holder(HOLDERS[0]) as one, town.holder(HOLDERS[1]) as two:
        for holder in (one, two):
            await asker.network.connect(holder.network.addresses[0])
        await fetch(asker, *HOLDERS)
        assert await asker.storage.blobs.read(BLOB_DIGEST, max_bytes=len(BLOB)) == BLOB
        await fetch(asker, *HOLDERS)
        with pytest.raises(PeerUnreachable, match="no record"):
            await asker.peers.fetch(Address(bytes(20)), ContentDigest(bytes(32)), max_bytes=1, keep_until=KEEP_UNTIL)


@pytest.mark.parametrize("restarted", ["asker", "holder"])
async def test_a_transfer_goes_on_after_either_side_was_restarted(
    restarted: str, tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = Town(tmp_path)
    counted: list[int] = []
    put = PartialBlob.put
    nodes: dict[str, Node] = {}

    async def put_three(self: PartialBlob, index: int, data: bytes) -> None:
        await put(self, index, data)
        counted.append(index)
        if len(counted) == 3:
            await nodes["holder"].network.disconnect(nodes["asker"].network.peer_id)

    async def connect_and_fetch() -> None:
        await nodes["asker"].network.connect(nodes["holder"].network.addresses[0])
        await fetch(nodes["asker"], HOLDERS[0])

    monkeypatch.setattr(PartialBlob, "put", put_three)
    openers = {"asker": lambda: town.node(ASKER), "holder": lambda: town.holder(HOLDERS[0])}
    (stays,) = set(openers) - {restarted}
    async with openers[stays]() as nodes[stays]:
        async with openers[restarted]() as nodes[restarted]:
            with pytest.raises(PeerUnreachable):
                await connect_and_fetch()
        async with openers[restarted]() as nodes[restarted]:
            await connect_and_fetch()
            blobs = nodes["asker"].storage.blobs
            assert sorted(counted) == list(range(7)), "a group was fetched twice, or not at all"
            assert await blobs.read(BLOB_DIGEST, max_bytes=len(BLOB)) == BLOB
            assert blobs.used_bytes == len(BLOB)


@pytest.mark.parametrize(
    ("code", "error"),
    [("UnknownMethod", NotServedYet), ("NotIntroduced", NotServedYet), ("UnknownAward", RemoteRefused)],
)
async def test_a_node_that_has_just_started_is_asked_again_and_any_other_refusal_is_final(
    code: str, error: type[Exception]
) -> None:
    async def refuse(peer: PeerId, method: str, *_body: bytes, **_options: object) -> bytes:
        raise RemoteRefused(peer, method, code, "no")

    async def introduce(_peer: PeerId) -> None:
        await trio.lowlevel.checkpoint()

    network: Any = SimpleNamespace(is_connected={FRIEND}.__contains__, call=refuse)
    discovery: Any = SimpleNamespace(
        directory=SimpleNamespace(peer_of={WALLETS[FRIEND]: FRIEND}.get), introduce=introduce
    )
    storage: Any = SimpleNamespace(blobs=None)
    with pytest.raises(error):
        await WalletPeers(network, discovery, storage).call(WALLETS[FRIEND], "task/award", b"")
