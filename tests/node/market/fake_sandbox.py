"""A sandbox that takes a virtual second a part, and can be told to lie, to fail and to be slow."""

from collections.abc import Callable

import trio

from node.market.ports import PartRun
from node.storage.storage import Storage
from protocol.errors import StoaError
from protocol.signing.keccak import keccak256
from protocol.task.manifest import Manifest
from protocol.units import UnixTime

ENGINE = keccak256(b"test engine")
PART_S = 1.0


class FakeSandbox:
    """Takes a virtual second a part and writes what it was asked."""

    engine = ENGINE

    def __init__(self, storage: Storage, keep_until: UnixTime) -> None:
        self._storage, self._keep_until = storage, keep_until
        self.runs: list[int] = []
        self.outcome = 0
        self.writes: Callable[[int], bytes] = output_of
        self.fuel = 600_000_000
        self.fails: StoaError | None = None
        self.part_s = PART_S
        self.seen: list[Manifest] = []
        """What parts were run as: under a test their clock and seed are the provider's."""
        self.tests: list[bytes] = []
        """Outputs that were tested here."""
        self.passes: Callable[[bytes], int] = lambda _output: 0
        """How a test ends."""
        self.fails_tests: StoaError | None = None

    async def prepare(self, manifest: Manifest) -> None:
        assert await self._storage.blobs.has(manifest.module.digest)

    async def run(self, manifest: Manifest, part: int, on_progress: Callable[[int, int], None]) -> PartRun:
        if manifest.name == "test":
            return await self._test(manifest)
        self.runs.append(part)
        self.seen.append(manifest)
        for blob in (manifest.module, *manifest.inputs_of(part)):
            assert await self._storage.blobs.has(blob.digest)
        for step in range(4):
            await trio.sleep(self.part_s / 4)
            on_progress(step, 0)
        if self.fails is not None:
            raise self.fails
        output, logs = self.writes(part), b""
        return PartRun(
            outcome=self.outcome,
            output=await self._storage.blobs.put(output, keep_until=self._keep_until),
            output_bytes=len(output),
            logs=await self._storage.blobs.put(logs, keep_until=self._keep_until),
            log_bytes=0,
            fuel=self.fuel + part,
            peak_mib=2,
            bytes_in=sum(blob.size for blob in manifest.inputs_of(part)),
            bytes_out=len(output),
            cpu_s=self.part_s,
            wall_s=self.part_s,
        )

    async def _test(self, manifest: Manifest) -> PartRun:
        if self.fails_tests is not None:
            raise self.fails_tests
        (part,) = manifest.parts
        assert part.stdin is not None
        for blob in (manifest.module, *manifest.inputs_of(0)):
            assert await self._storage.blobs.has(blob.digest)
        output = await self._storage.blobs.read(part.stdin.digest, max_bytes=part.stdin.size)
        self.tests.append(output)
        await trio.sleep(0.1)
        nothing = await self._storage.blobs.put(b"", keep_until=self._keep_until)
        return PartRun(
            outcome=self.passes(output),
            output=nothing,
            output_bytes=0,
            logs=nothing,
            log_bytes=0,
            fuel=1_000,
            peak_mib=1,
            bytes_in=sum(blob.size for blob in manifest.inputs_of(0)),
            bytes_out=0,
            cpu_s=0.1,
            wall_s=0.1,
        )

    def free_workers(self) -> int:
        return 1


def output_of(part: int) -> bytes:
    """What part number `part` writes."""
    return b"result of part %d" % part
