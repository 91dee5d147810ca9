"""A transfer takes a few MiB of memory, whatever its size: measured in a process of its own."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
BLOB_MIB = 128
ALLOWED_MIB = 48
"""Measured: 9 to 13, for both sides together. What buffered the blob once would take 128."""

TRANSFER = """
import random, sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
import trio
from node.networking.memory import MemoryNetwork, MemoryTransport
from node.networking.network import open_network
from node.networking.settings import NetworkSettings
from node.operations.clock import SystemClock
from node.storage.storage import open_storage
from protocol.units import UnixTime

LATER = UnixTime(2**40)
folder, mib = Path(sys.argv[1]), int(sys.argv[2])

def peak(name="VmHWM"):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024

class Anyones:
    def __init__(self, storage):
        self.storage = storage

    def open(self, digest, peer):
        return self.storage.blobs.open_reader(digest)

async def main():
    memory = MemoryNetwork()
    async with AsyncExitStack() as stack:
        async def node(number):
            storage = await stack.enter_async_context(open_storage(folder / str(number), clock=SystemClock()))
            network = await stack.enter_async_context(open_network(
                NetworkSettings(listen=("/memory/0",)), bytes([number]) * 32, clock=SystemClock().unix_time,
                random=random.Random(number), transport=MemoryTransport(memory)))
            network.serve_blobs(Anyones(storage))
            return network, storage

        holders = [await node(1), await node(2)]
        asker, store = await node(3)
        for network, _ in holders:
            await asker.connect(network.addresses[0])

        peers = [network.peer_id for network, _ in holders]

        async def move(size):
            source = folder / "source"
            with source.open("wb") as file:
                for number in range(size):
                    file.write(random.Random(number).randbytes(2**20))
            for _, storage in holders:
                digest = await storage.blobs.put_file(source, keep_until=LATER, max_bytes=2**40)
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            before = peak("VmRSS")
            async with store.blobs.open_partial(digest, max_bytes=2**40) as partial:
                await asker.gather_blob(peers, digest, max_bytes=2**40, into=partial)
                await partial.commit(keep_until=LATER)
            return peak() - before

        await move(6)  # all modules are loaded, all threads have their instances
        (folder / "grown").write_text(str(await move(mib)))

trio.run(main)
"""


def test_a_transfer_takes_a_few_mib_whatever_its_size(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", TRANSFER, str(tmp_path), str(BLOB_MIB)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert float((tmp_path / "grown").read_text()) < ALLOWED_MIB
