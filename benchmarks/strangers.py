"""Many light peers of one node, in one process: `python -m benchmarks.strangers ADDRESS COUNT CHAIN CONTRACT`.

Each has a key, an address of 127.0.0.0/8 and a place in the gossip of every topic. Prints `ready` when all are there;
ends when its standard input does.
"""

import random
import secrets
import sys
import time
from typing import Final

import trio

from node.networking.addresses import PeerAddress
from node.networking.network import open_network
from node.networking.settings import NetworkSettings
from node.networking.sockets import SocketTransport
from node.networking.verdict import Verdict
from node.operations.logs import configure_logs
from node.operations.redaction import Redactor
from protocol.errors import TransientError
from protocol.identity import Address, PeerId
from protocol.signing.eip712 import Domain
from protocol.wire.topics import MarketTopic, topic_name

AGAIN_S: Final = 1.0


class FromElsewhere(SocketTransport):
    """TCP from an address of its own."""

    def __init__(self, number: int) -> None:
        self._source = f"127.{number // 250 + 1}.{number % 250}.1"

    async def dial(self, address: PeerAddress) -> tuple[trio.abc.Stream, str]:
        """Connect to `address`. See `Transport.dial`."""
        stream = await trio.open_tcp_stream(address.host, address.port, local_address=self._source)
        return stream, address.host


def accept(_author: PeerId, _data: bytes) -> Verdict:
    """Pass everything on."""
    return Verdict.ACCEPT


def forget(_author: PeerId, _data: bytes) -> None:
    """Want nothing."""


async def live(number: int, address: str, domain: Domain, *, task_status: trio.TaskStatus[None]) -> None:
    """Be one peer until cancelled."""
    async with open_network(
        NetworkSettings(listen=()),
        secrets.token_bytes(32),
        clock=time.time,
        random=random.Random(number),
        transport=FromElsewhere(number),
    ) as network:
        for topic in MarketTopic:
            network.subscribe(topic_name(domain, topic), validate=accept, deliver=forget)
        while True:
            try:
                await network.connect(address)
                break
            except TransientError:  # strangers are let in at a pace
                await trio.sleep(AGAIN_S)
        task_status.started()
        await trio.sleep_forever()


async def main(address: str, count: int, domain: Domain) -> None:
    """Be all of them until standard input ends."""
    async with trio.open_nursery() as nursery:
        for number in range(count):
            await nursery.start(live, number, address, domain)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    configure_logs(log_format="json", level="error", redactor=Redactor())
    trio.run(
        main,
        sys.argv[1],
        int(sys.argv[2]),
        Domain(chain_id=int(sys.argv[3]), verifying_contract=Address(bytes.fromhex(sys.argv[4]))),
    )
