"""Runs `stoa` with a sandbox that lies, for the trial of `stoa devnet` and for tests; nodes have no such switch.

    python -m node.cli.cheat output|fuel ARGUMENTS-OF-STOA...

All else is an honest node's: it signs what its sandbox says, serves the bytes that it names, and asks for its money.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from blake3 import blake3

from node.app.sandbox import WasmSandbox
from node.cli.main import main
from node.market.ports import PartRun
from node.storage.blobs import BlobStore
from protocol.identity import ContentDigest
from protocol.task.manifest import Manifest
from protocol.units import UnixTime

FORGED: Final = b"whatever comes first\n"
FOR_EVER: Final = UnixTime(2**40)


async def forge_output(run: PartRun, blobs: BlobStore) -> PartRun:
    """Name other bytes, and have them."""
    await blobs.put(FORGED, keep_until=FOR_EVER)
    size = len(FORGED)
    return replace(
        run,
        output=ContentDigest(blake3(FORGED).digest()),
        output_bytes=size,
        bytes_out=run.bytes_out - run.output_bytes + size,
    )


async def forge_fuel(run: PartRun, _blobs: BlobStore) -> PartRun:
    """Bill one unit of fuel too much."""
    return replace(run, fuel=run.fuel + 1)


LIES: Final = {"output": forge_output, "fuel": forge_fuel}


def arm(lie: str) -> None:
    """Put the lie behind the sandbox's own work."""
    honest_run = WasmSandbox.run

    async def lying_run(
        self: WasmSandbox, manifest: Manifest, part: int, on_progress: Callable[[int, int], None]
    ) -> PartRun:
        run = await honest_run(self, manifest, part, on_progress)
        return await LIES[lie](run, self._blobs)  # pyright: ignore[reportPrivateUsage] - it has no other door

    WasmSandbox.run = lying_run


if __name__ == "__main__":
    arm(sys.argv.pop(1))
    main()
