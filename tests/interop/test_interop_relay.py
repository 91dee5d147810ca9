# pyright: reportPrivateUsage=false, reportUnknownMemberType=false
"""Circuits with js-libp2p's own circuit relay, unchanged, as dialler, as target and as relay."""

import json
import random
import subprocess
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from node.networking.libp2p.connection import ProtocolStream
from node.networking.network import Network, open_network
from node.networking.settings import NetworkSettings

SCRIPT = Path(__file__).parent / "peer" / "relay.mjs"
TIMEOUT_S = 90
BYTES = 20_000
ECHO = "/echo/1"


async def echo(stream: ProtocolStream) -> None:
    await stream.write(await stream.read_exactly(BYTES))


@asynccontextmanager
async def ours(number: int, *, listens: bool) -> AsyncGenerator[Network, None]:
    """A node of ours on the loopback, with an echo."""
    settings = NetworkSettings(
        listen=("/ip4/127.0.0.1/tcp/0",) if listens else (), reachable="yes" if listens else "no"
    )
    chance = random.Random(number)
    async with open_network(settings, bytes([number]) * 32, clock=time.time, random=chance) as network:
        network._switch.handle(ECHO, echo)
        yield network


@asynccontextmanager
async def js(role: str, *arguments: str) -> AsyncGenerator[dict[str, Any], None]:
    """Run js-libp2p in a role; yields the first line that it prints."""
    command = ["node", str(SCRIPT), role, *arguments]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    try:
        received = b""
        with trio.move_on_after(TIMEOUT_S):
            while b"\n" not in received:
                chunk = await process.stdout.receive_some()
                if not chunk:
                    break
                received += chunk
        if b"\n" not in received:
            process.kill()
            assert process.stderr is not None
            errors = b"".join([chunk async for chunk in process.stderr])
            raise AssertionError(f"js-libp2p as {role} says nothing: {errors.decode()[-3000:]}")
        yield json.loads(received.splitlines()[0])
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.wait()


async def test_js_dials_a_node_of_ours_through_a_relay_of_ours() -> None:
    async with ours(1, listens=True) as relay, ours(2, listens=False) as seller:
        await seller.connect(relay.addresses[0])
        await seller.relays.reserve(relay.peer_id)
        async with js("dialler", seller.addresses[0]) as told:
            assert (told["same"], told["peer"], told["seconds"]) == (True, seller.peer_id, 3600)
            left = 256 * 1024 * 1024 - int(told["bytes"])
            assert BYTES <= left < 4 * BYTES  # what js-libp2p has counted so far, of the limit that the relay told it
        assert relay.relay is not None
        assert relay.relay.figures.circuits == 1


async def test_a_node_of_ours_dials_js_through_a_relay_of_ours() -> None:
    async with (
        ours(1, listens=True) as relay,
        ours(3, listens=False) as buyer,
        js("target", relay.addresses[0]) as told,
    ):
        assert relay.relay is not None
        assert relay.relay.reserved == (told["peer"],)
        assert told["address"] == f"{relay.addresses[0]}/p2p-circuit/p2p/{told['peer']}"
        await try_echo(buyer, told["address"])


async def test_two_nodes_of_ours_meet_at_a_relay_of_js() -> None:
    async with ours(2, listens=False) as seller, ours(3, listens=False) as buyer, js("relay") as told:
        await seller.connect(told["address"])
        held = await seller.relays.reserve(told["peer"])
        assert held.until > trio.current_time() + 60
        await try_echo(buyer, seller.addresses[0])
        assert {info.relay for info in buyer.peers()} == {None, told["peer"]}


async def try_echo(buyer: Network, address: str) -> None:
    """Send bytes there and compare what comes back."""
    peer = await buyer.connect(address)
    sent = random.Random(1).randbytes(BYTES)
    with trio.fail_after(TIMEOUT_S):
        stream = await buyer._switch.open_stream(peer, [ECHO])
        await stream.write(sent)
        assert await stream.read_exactly(BYTES) == sent
