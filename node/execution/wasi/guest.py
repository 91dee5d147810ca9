"""All that a running guest has on this side: its memory, fuel, clock, randomness, open files and where it writes.

One `Guest` lives for one run. Its clock and randomness follow from the task alone (DESIGN D9): time is a constant that
moves on with each look at it and with each sleep, randomness is a stream drawn from the task's seed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from blake3 import blake3

from node.execution.wasi.abi import Errno, WasiError
from node.execution.wasi.memory import GuestMemory
from node.execution.wasi.sinks import Sink
from node.execution.wasi.tree import DirectoryNode, FileNode

CALL_FUEL: Final = 10_000
"""Charged for every host call before it does anything: about what a call costs in time (2.5 µs)."""
BYTE_FUEL: Final = 4
"""Charged for every byte that a call copies."""
ITEM_FUEL: Final = 1_000
"""Charged for every vector, path component, directory entry or subscription that a call walks through."""
CLOCK_STEP_NS: Final = 1_000
"""By how much the guest's clock moves on each time it is read, so that waiting for it ends."""
MAX_OPEN_FILES: Final = 256
ROOT_FD: Final = 3
NANOSECONDS: Final = 1_000_000_000


class OutOfFuel(Exception):
    """A host call costs more fuel than is left."""


class GuestExit(Exception):
    """The guest called proc_exit."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


class HostFault(Exception):
    """The machine failed, not the guest: a file that was there can't be read, or the disk is full."""


@dataclass(slots=True)
class OpenFile:
    """An open read-only file: the host descriptor below it belongs to the job."""

    node: FileNode
    host_fd: int
    offset: int = 0


@dataclass(slots=True)
class OpenDirectory:
    """An open folder. `preopen` is the name under which the guest was given it."""

    node: DirectoryNode
    preopen: bytes | None = None


@dataclass(slots=True)
class OpenSink:
    """Standard output or standard error."""

    sink: Sink


OpenNode = OpenFile | OpenDirectory | OpenSink


@dataclass(slots=True, kw_only=True)
class Guest:
    """The host's side of one run.

    Attributes:
        args: Encoded arguments, without NUL.
        env: Encoded `NAME=value`, without NUL.
        clock_s: Unix time at which the guest's clock starts.
        seed: 32 bytes.
        fds: Open descriptors by number.
        file_fds: Host descriptor of each of the job's files, by index.
        get_fuel: Reads the fuel left.
        set_fuel: Replaces it.
        memory: Set for the length of each call.
    """

    args: tuple[bytes, ...]
    env: tuple[bytes, ...]
    clock_s: int
    seed: bytes
    fds: dict[int, OpenNode]
    file_fds: tuple[int, ...]
    get_fuel: Callable[[], int]
    set_fuel: Callable[[int], None]
    memory: GuestMemory = field(default_factory=lambda: GuestMemory(0, 0))
    elapsed_ns: int = 0
    random_offset: int = 0

    def charge(self, fuel: int) -> None:
        """Take fuel for what a host call is about to do.

        Raises:
            OutOfFuel: Less is left; then nothing is left.
        """
        left = self.get_fuel()
        if fuel > left:
            self.set_fuel(0)
            raise OutOfFuel
        self.set_fuel(left - fuel)

    def charge_bytes(self, count: int) -> None:
        """Take the fuel for `count` bytes to copy. Raises as `charge`."""
        self.charge(count * BYTE_FUEL)

    def charge_items(self, count: int) -> None:
        """Take the fuel for `count` things to walk through. Raises as `charge`."""
        self.charge(count * ITEM_FUEL)

    def now_ns(self, *, realtime: bool) -> int:
        """Return the guest's time and let it move on."""
        now = self.elapsed_ns + (self.clock_s * NANOSECONDS if realtime else 0)
        self.pass_ns(CLOCK_STEP_NS)
        return now

    def pass_ns(self, duration_ns: int) -> None:
        """Let the guest's clock move on; it stops at 2^62 ns rather than wrap around."""
        self.elapsed_ns = min(self.elapsed_ns + duration_ns, 1 << 62)

    def random(self, count: int) -> bytes:
        """Return the next bytes of the task's random stream: BLAKE3 keyed with the seed, as a long output."""
        stream = blake3(b"stoa guest randomness, version 1", key=self.seed)
        data = stream.digest(length=count, seek=self.random_offset)
        self.random_offset += count
        return data

    def open_fd(self, number: int) -> OpenNode:
        """Return what is open under a number. Raises `WasiError` BADF."""
        node = self.fds.get(number)
        if node is None:
            raise WasiError(Errno.BADF)
        return node

    def directory(self, number: int) -> OpenDirectory:
        """Return an open folder. Raises `WasiError` BADF or NOTDIR."""
        node = self.open_fd(number)
        if not isinstance(node, OpenDirectory):
            raise WasiError(Errno.NOTDIR)
        return node

    def add_fd(self, node: OpenNode) -> int:
        """Give an open node the lowest free number. Raises `WasiError` MFILE."""
        if len(self.fds) >= MAX_OPEN_FILES:
            raise WasiError(Errno.MFILE)
        number = next(n for n in range(MAX_OPEN_FILES + 1) if n not in self.fds)
        self.fds[number] = node
        return number
