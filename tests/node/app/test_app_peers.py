"""Peers by wallet: whom this node serves a blob, and how it takes the refusals of a node that has just started."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from blake3 import blake3
from trio.testing import MockClock

from node.app.peers import GrantedBlobs, NotServedYet, WalletPeers
from node.networking.blobs import NotServed
from node.networking.errors import RemoteRefused
from node.operations.clock import TrioClock
from node.storage.blocking import in_line
from node.storage.storage import open_storage
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
    storage: Any = None
    with pytest.raises(error):
        await WalletPeers(network, discovery, storage).call(WALLETS[FRIEND], "task/award", b"")
