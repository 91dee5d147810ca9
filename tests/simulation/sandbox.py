"""A sandbox without WASM: what a part gives follows from module and part alone, as in the real one."""

from collections.abc import Callable
from random import Random
from typing import Final

import trio
from blake3 import blake3

from node.market.ports import PartRun
from node.storage.storage import Storage
from protocol.errors import TransientError
from protocol.signing.keccak import keccak256
from protocol.task.manifest import Manifest
from protocol.units import UnixTime

ENGINE: Final = keccak256(b"simulated engine")
STEPS: Final = 4


FORGED: Final = b"whatever comes first"


class HostFailed(TransientError):
    """The worker died."""


def output_of(manifest: Manifest, part: int) -> bytes:
    """Return what a part writes."""
    return b"result of part %d of " % part + manifest.name.encode()


def fuel_of(manifest: Manifest, part: int) -> int:
    """Return what a part costs, a little different each."""
    digest = blake3(output_of(manifest, part)).digest()
    return manifest.limits.fuel // 2 + int.from_bytes(digest[:3]) * 8


class Sandbox:
    """Takes some virtual seconds a part."""

    engine = ENGINE

    def __init__(
        self, storage: Storage, keep_until: UnixTime, chance: Random, *, part_s: float, failing: Callable[[], float]
    ) -> None:
        self._storage, self._keep_until, self._chance = storage, keep_until, chance
        self._part_s, self._failing = part_s, failing
        self.ran: list[tuple[str, int]] = []
        self.lies: Callable[[PartRun], PartRun] | None = None

    async def prepare(self, manifest: Manifest) -> None:
        """See `Sandbox`."""
        assert await self._storage.blobs.has(manifest.module.digest)

    async def run(self, manifest: Manifest, part: int, on_progress: Callable[[int, int], None]) -> PartRun:
        """See `Sandbox`."""
        for blob in (manifest.module, *manifest.inputs_of(part)):
            assert await self._storage.blobs.has(blob.digest)
        seconds = self._part_s * self._chance.uniform(0.5, 1.5)
        for step in range(STEPS):
            await trio.sleep(seconds / STEPS)
            on_progress(step, 0)
        if self._chance.random() < self._failing():
            raise HostFailed("the worker died")
        self.ran.append((manifest.name, part))
        output = output_of(manifest, part)
        honest = PartRun(
            outcome=0,
            output=await self._storage.blobs.put(output, keep_until=self._keep_until),
            output_bytes=len(output),
            logs=await self._storage.blobs.put(b"", keep_until=self._keep_until),
            log_bytes=0,
            fuel=fuel_of(manifest, part),
            peak_mib=2,
            bytes_in=sum(blob.size for blob in manifest.inputs_of(part)),
            bytes_out=len(output),
            cpu_s=seconds,
            wall_s=seconds,
        )
        if self.lies is None:
            return honest
        await self._storage.blobs.put(FORGED, keep_until=self._keep_until)
        return self.lies(honest)

    def free_workers(self) -> int:
        """See `Sandbox`."""
        return 1
