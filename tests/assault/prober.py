"""An honest peer that asks the node something every few milliseconds, and notes how long each answer took.

`python -m tests.assault.prober ADDRESS CHAIN CONTRACT`: prints a line `<seconds since the epoch> <milliseconds>` an
answer, -1 for one that never came, until its standard input ends. Requests start on a schedule, whether or not the one
before was answered, so that a node that stalls is seen to stall.
"""

import secrets
import sys
import time
from random import Random
from typing import Final

import trio

from node.networking.discovery import METHOD, PeersExchange
from node.networking.network import Network, open_network
from node.networking.settings import NetworkSettings
from node.operations.logs import configure_logs
from node.operations.redaction import Redactor
from protocol.errors import ProtocolError, TransientError
from protocol.identity import PeerId
from protocol.wire.codec import encode

EVERY_S: Final = 0.02
"""So that a phase of ten seconds has a 99th percentile: of a hundred answers it is merely the latest."""
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


async def probe(address: str) -> None:
    """Ask until standard input ends."""
    peer = PeerId(address.rpartition("/")[2])
    settings = NetworkSettings()
    async with (
        open_network(settings, secrets.token_bytes(32), clock=time.time, random=Random()) as network,
        trio.open_nursery() as nursery,
    ):
        await network.connect(address)

        async def schedule() -> None:
            next_at = trio.current_time()
            while True:
                nursery.start_soon(ask, network, peer, address, time.time())
                next_at = max(next_at + EVERY_S, trio.current_time() - GIVE_UP_S)
                await trio.sleep_until(next_at)

        nursery.start_soon(schedule)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    configure_logs(log_format="json", level="error", redactor=Redactor())
    trio.run(probe, sys.argv[1])
