"""Honest peers that ask the node something now and then, and note how long each answer took.

`python -m tests.assault.prober ADDRESS`: prints a line `<seconds since the epoch> <milliseconds>` an answer, -1 for one
that never came, until its standard input ends. Requests start on a schedule, whether or not the one before was
answered, so that a node that stalls is seen to stall. Each peer has an address of its own and asks within what a
stranger may: one that asked for all of them would wait for its own sake.
"""

import secrets
import sys
import time
from contextlib import AsyncExitStack
from itertools import cycle
from random import Random
from typing import Final

import trio

from node.networking.addresses import PeerAddress
from node.networking.discovery import METHOD, PeersExchange
from node.networking.network import Network, open_network
from node.networking.settings import NetworkSettings
from node.networking.sockets import SocketTransport
from node.operations.logs import configure_logs
from node.operations.redaction import Redactor
from protocol.errors import ProtocolError, TransientError
from protocol.identity import PeerId
from protocol.wire.codec import encode

PEERS: Final = 25
EVERY_S: Final = 0.02
"""All together: a phase of ten seconds has a 99th percentile then, and not merely a latest answer."""
GIVE_UP_S: Final = 20.0
REDIAL_S: Final = 0.5


async def ask(network: Network, peer: PeerId, address: str, at: float) -> None:
    """Ask once, and print how long it took since it was due."""
    took_ms = -1.0
    due = trio.current_time()
    with trio.move_on_after(GIVE_UP_S):
        try:
            if not network.is_connected(peer):
                await network.connect(address)
            await network.call(peer, METHOD, encode(PeersExchange(own=None, wanted=0)))
            took_ms = (trio.current_time() - due) * 1000
        except (TransientError, ProtocolError) as error:
            sys.stderr.write(f"{error}\n")
            await trio.sleep(REDIAL_S)
    sys.stdout.write(f"{at:.3f} {took_ms:.3f}\n")
    sys.stdout.flush()


class FromHost(SocketTransport):
    """Dials from one address of this machine."""

    def __init__(self, host: str) -> None:
        self._host = host

    async def dial(self, address: PeerAddress) -> tuple[trio.abc.Stream, str]:
        """Connect to `address`."""
        return await trio.open_tcp_stream(address.host, address.port, local_address=self._host), address.host


async def probe(address: str) -> None:
    """Ask until standard input ends."""
    peer = PeerId(address.rpartition("/")[2])
    async with AsyncExitStack() as stack:
        networks = [
            await stack.enter_async_context(
                open_network(
                    NetworkSettings(),
                    secrets.token_bytes(32),
                    clock=time.time,
                    random=Random(),
                    transport=FromHost(f"127.0.1.{number}"),
                )
            )
            for number in range(1, PEERS + 1)
        ]
        for network in networks:
            await network.connect(address)
        nursery = await stack.enter_async_context(trio.open_nursery())

        async def schedule() -> None:
            next_at = trio.current_time()
            for network in cycle(networks):
                nursery.start_soon(ask, network, peer, address, time.time())
                next_at = max(next_at + EVERY_S, trio.current_time() - GIVE_UP_S)
                await trio.sleep_until(next_at)

        nursery.start_soon(schedule)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    configure_logs(log_format="json", level="error", redactor=Redactor())
    trio.run(probe, sys.argv[1])
