"""Speed and memory of blobs: holders and an asker in processes of their own, over loopback TCP, from disk to disk.

PYTHONPATH=. python benchmarks/blobs.py               medians of 3 runs, 128 MiB each
PYTHONPATH=. python benchmarks/blobs.py --large       also 1 GiB, for the peak memory

A run is from the first byte asked for until the blob is flushed and visible at the asker. The plain socket moves the
same file between the same two processes, in pieces of 256 KiB, flushed too, without encryption or checks.
Memory is the highest resident set of a process (VmHWM), imports included. CPU is the time of a process, start included,
for each MB that it moved: it says what bounds the speed, and does not depend on who else uses the machine.
"""

import argparse
import json
import logging
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import trio
from blake3 import blake3

from node.networking.blob_codec import Packer
from node.networking.blob_source import BlobReader
from node.networking.network import Network, open_network
from node.networking.settings import NetworkSettings
from node.operations.clock import SystemClock
from node.storage.storage import Storage, open_storage
from protocol.identity import ContentDigest, PeerId
from protocol.units import UnixTime

MIB = 2**20
RUNS = 3
PIECE = 256 * 1024
LATER = UnixTime(2**40)


class AnyonesBlobs:
    """A store served to everybody."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    @asynccontextmanager
    async def open(self, digest: ContentDigest, peer: PeerId) -> AsyncGenerator[BlobReader]:
        """Open a blob."""
        del peer
        async with self._storage.blobs.open_reader(digest) as reader:
            yield reader


def peak_mib() -> float:
    """Return the highest resident set of this process so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


@dataclass(frozen=True)
class Figures:
    """What was measured: speed, and of the asker and of the holder that took most, memory and CPU."""

    mb_s: float
    asker_mib: float
    holder_mib: float
    asker_ms_per_mb: float
    holder_ms_per_mb: float


@asynccontextmanager
async def open_node(number: int, folder: Path, limit_mib_s: float) -> AsyncGenerator[tuple[Network, Storage]]:
    """Open a node without a market."""
    settings = NetworkSettings(upload_bytes_per_s=limit_mib_s * MIB)
    async with (
        open_storage(folder, clock=SystemClock(), blob_quota_bytes=2**40) as storage,
        open_network(settings, bytes([number]) * 32, clock=time.time, random=random.Random()) as network,
    ):
        network.serve_blobs(AnyonesBlobs(storage))
        yield network, storage


# A holder, in its own process: says where it is, serves until its input ends, says how much memory it took.


async def hold(number: int, folder: Path, source: Path, limit_mib_s: float) -> None:
    """Serve one file by our protocol, and by a plain socket."""

    async def send_plainly(stream: trio.SocketStream) -> None:
        with source.open("rb", buffering=0) as file:
            while piece := file.read(PIECE):
                await stream.send_all(piece)
        await stream.send_eof()
        await stream.aclose()

    async with open_node(number, folder, limit_mib_s) as (network, storage), trio.open_nursery() as nursery:
        await storage.blobs.put_file(source, keep_until=LATER, max_bytes=2**40)
        serve = partial(trio.serve_tcp, send_plainly, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        port = listener.socket.getsockname()[1]
        before = time.process_time()
        print(json.dumps({"address": network.addresses[0], "port": port}), flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()
    print(json.dumps({"peak_mib": peak_mib(), "cpu_s": time.process_time() - before}), flush=True)


@dataclass
class Holder:
    """A process that holds the blob."""

    process: subprocess.Popen[str]
    address: str
    port: int

    def stop(self) -> dict[str, float]:
        """End it and return its memory and CPU."""
        output, _ = self.process.communicate("")
        return json.loads(output)


def start_holder(number: int, scratch: Path, source: Path, limit_mib_s: float, *, packs: bool) -> Holder:
    """Start a process that serves `source`."""
    command = [sys.executable, __file__, "--hold", str(number), str(scratch / f"holder-{number}"), str(source)]
    command += [str(limit_mib_s), "packs" if packs else "plain"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return Holder(process=process, **json.loads(process.stdout.readline()))


# The asker, in a process of its own too, so that its memory is its own.


async def ask(folder: Path, size: int, digest: ContentDigest, holders: list[dict[str, Any]], runs: int) -> None:
    """Fetch the blob `runs` times, and print the seconds and the memory."""
    seconds: list[float] = []
    async with open_node(200, folder, 0.0) as (network, storage):
        peers = [await network.connect(holder["address"]) for holder in holders]
        before = time.process_time()
        for _ in range(runs):
            start = time.perf_counter()
            async with storage.blobs.open_partial(digest, max_bytes=size) as partial:
                await network.gather_blob(peers, digest, max_bytes=size, into=partial)
                await partial.commit(keep_until=LATER)
            seconds.append(time.perf_counter() - start)
            await storage.blobs.delete(digest)
        cpu_s = time.process_time() - before
    print(json.dumps({"seconds": seconds, "peak_mib": peak_mib(), "cpu_s": cpu_s}))


async def ask_plainly(folder: Path, holders: list[dict[str, Any]], runs: int) -> None:
    """The same over a plain socket."""
    seconds: list[float] = []
    before = time.process_time()
    for _ in range(runs):
        start = time.perf_counter()
        with (folder / "plain").open("wb", buffering=0) as file:
            async with await trio.open_tcp_stream("127.0.0.1", holders[0]["port"]) as stream:
                while piece := await stream.receive_some(PIECE):
                    file.write(piece)
            os.fsync(file.fileno())
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": seconds, "peak_mib": peak_mib(), "cpu_s": time.process_time() - before}))


def run_asker(folder: Path, source: Path, holders: list[Holder], *, runs: int, plainly: bool = False) -> Any:
    """Run an asker and return what it measured."""
    where = json.dumps([{"address": holder.address, "port": holder.port} for holder in holders])
    digest = blake3().update_mmap(source).hexdigest()
    command = [sys.executable, __file__, "--ask", str(folder), str(source.stat().st_size), digest, where, str(runs)]
    output = subprocess.run([*command, "plainly" if plainly else "ours"], check=True, capture_output=True, text=True)
    return json.loads(output.stdout)


# What is measured


def text_of(size: int) -> bytes:
    """Return the documentation and sources of this repository, over and over, a MiB apart at least."""
    root = Path(__file__).parents[1]
    files = [*root.glob("docs/**/*.md"), *root.glob("node/**/*.py"), *root.glob("protocol/**/*.py")]
    return _repeat(b"".join(file.read_bytes() for file in sorted(files)), size)


def module_of(size: int) -> bytes:
    """Return the WASM modules of the examples, over and over."""
    root = Path(__file__).parents[1]
    modules = [file.read_bytes() for file in sorted(root.glob("**/*.wasm"))]
    return _repeat(b"".join(modules), size)


def _repeat(data: bytes, size: int) -> bytes:
    return (data * (size // len(data) + 1))[:size]


def measure(
    scratch: Path,
    source: Path,
    *,
    holders: int = 1,
    limit: float = 0.0,
    packs: bool = True,
    runs: int = RUNS,
    plainly: bool = False,
) -> Figures:
    """Move `source` and return the median speed."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder, ExitStack() as stack:
        started: list[Holder] = []
        for number in range(1, holders + 1):
            started.append(start_holder(number, Path(folder), source, limit, packs=packs))
            stack.callback(started[-1].process.kill)
        (Path(folder) / "asker").mkdir()
        asker = run_asker(Path(folder) / "asker", source, started, runs=runs, plainly=plainly)
        held = [holder.stop() for holder in started]
    moved = source.stat().st_size / 1e6
    return Figures(
        mb_s=moved / statistics.median(asker["seconds"]),
        asker_mib=asker["peak_mib"],
        holder_mib=max(each["peak_mib"] for each in held),
        asker_ms_per_mb=asker["cpu_s"] * 1000 / moved / runs,
        holder_ms_per_mb=sum(each["cpu_s"] for each in held) * 1000 / moved / runs,
    )


def report(name: str, figures: Figures, plain: Figures | None = None) -> None:
    """Print a line."""
    ratio = f"   {figures.mb_s / plain.mb_s:.2f} of plain" if plain else ""
    print(
        f"{name:40} {figures.mb_s:6.1f} MB/s  CPU ms/MB: asker {figures.asker_ms_per_mb:4.1f}, "
        f"holders {figures.holder_ms_per_mb:4.1f}  MiB: {figures.asker_mib:.0f}, {figures.holder_mib:.0f}{ratio}",
        flush=True,
    )


def main() -> None:
    """Measure all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--mib", type=int, default=128)
    parser.add_argument("--slow-mib", type=int, default=24)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        kinds = {"random": random.Random(1).randbytes, "text": text_of, "wasm": module_of}
        noise = scratch / "noise"
        noise.write_bytes(random.Random(2).randbytes(chosen.mib * MIB))
        plain = measure(scratch, noise, plainly=True)
        report(f"plain socket, random, {chosen.mib} MiB", plain)
        for holders in (1, 2, 4):
            report(f"{holders} holder(s), random", measure(scratch, noise, holders=holders), plain)
        for kind, make in kinds.items():
            for limit, mib in ((0.0, chosen.mib), (10.0, chosen.slow_mib)):
                source = scratch / kind
                source.write_bytes(make(mib * MIB))
                for packs in (False, True):
                    where = f"{limit:g} MiB/s" if limit else "loopback"
                    name = f"{kind}, {where}, {'as it pays' if packs else 'never packed'}"
                    report(name, measure(scratch, source, limit=limit, packs=packs, runs=1 if limit else RUNS))
        if chosen.large:
            large = scratch / "large"
            with large.open("wb") as file:
                for number in range(1024):
                    file.write(random.Random(number).randbytes(MIB))
            report("1 holder, random, 1 GiB", measure(scratch, large, runs=1))


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    logging.disable(logging.ERROR)
    match sys.argv[1:]:
        case ["--hold", number, folder, source, limit, packs]:
            if packs == "plain":
                Packer.wants = lambda self, size: False  # noqa: ARG005 - what it would be without
            trio.run(hold, int(number), Path(folder), Path(source), float(limit))
        case ["--ask", folder, size, digest, where, runs, "ours"]:
            wanted = ContentDigest(bytes.fromhex(digest))
            trio.run(ask, Path(folder), int(size), wanted, json.loads(where), int(runs))
        case ["--ask", folder, _, _, where, runs, _]:
            trio.run(ask_plainly, Path(folder), json.loads(where), int(runs))
        case _:
            main()
