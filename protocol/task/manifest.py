"""What a task is: the module, what each part is given, and the limits it runs under (docs/spec/task.md).

The manifest travels with the offer, so a provider can tell before bidding what it would run. Its BLAKE3 digest stands
in the offer; every byte that the guest will see is named in it by digest.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from protocol.errors import ProtocolError
from protocol.identity import ContentDigest, Digest
from protocol.units import Uint8, Uint32, Uint64, UnixTime
from protocol.wire.codec import MaxLen

MANIFEST_VERSION: Final = 1
MANIFEST_MAX_BYTES: Final = 32 * 1024
MAX_PARTS: Final = 1024
MAX_ARGS: Final = 64
MAX_FILES: Final = 64
MIB: Final = 1 << 20
MAX_FUEL: Final = 2**63 - 1
MAX_OUTPUT_BYTES: Final = 2**63 - 1
MAX_MEMORY_MIB: Final = 4096
"""All that 32-bit WebAssembly can address."""
MAX_CLOCK: Final = 9_000_000_000
"""In nanoseconds it still fits the 64 bits that a guest reads, with room for the time that passes."""
MAX_NAME_BYTES: Final = 255

Text = Annotated[str, MaxLen(256)]
Args = Annotated[tuple[Annotated[str, MaxLen(4096)], ...], MaxLen(MAX_ARGS)]


class InvalidManifest(ProtocolError):
    """A manifest that no provider could run as it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one part may use at most. The price is the price at full limits (B1).

    Attributes:
        fuel: Units of wasmtime fuel.
        memory_mib: Linear memory, MiB.
        output_bytes: Bytes on standard output.
        log_bytes: Bytes on standard error.
    """

    fuel: Uint64
    memory_mib: Uint32
    output_bytes: Uint64
    log_bytes: Uint32


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Some bytes, by name and length."""

    digest: ContentDigest
    size: Uint64


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """A file that the guest finds under `path`, read-only."""

    path: Text
    blob: Blob


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One run: arguments after the common ones, its own standard input and files."""

    args: Args = ()
    stdin: Blob | None = None
    files: Annotated[tuple[InputFile, ...], MaxLen(MAX_FILES)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A task. `args[0]` is the program's name; `clock` and `seed` are all the time and chance a guest gets."""

    version: Uint8 = MANIFEST_VERSION
    name: Text
    module: Blob
    engine: Digest
    limits: Limits
    clock: UnixTime
    seed: Digest
    args: Args
    env: Annotated[tuple[tuple[Text, Text], ...], MaxLen(MAX_ARGS)] = ()
    files: Annotated[tuple[InputFile, ...], MaxLen(MAX_FILES)] = ()
    parts: Annotated[tuple[Part, ...], MaxLen(MAX_PARTS)]

    def __post_init__(self) -> None:
        """Check what the field types can't say.

        Raises:
            InvalidManifest: Naming the first thing that is wrong.
        """
        if self.version != MANIFEST_VERSION:
            raise InvalidManifest(f"manifest version {self.version} is not known here, only {MANIFEST_VERSION}")
        if not self.parts:
            raise InvalidManifest("a task has at least one part")
        if not self.args:
            raise InvalidManifest("args[0], the program's name, is missing")
        _check_limits(self.limits)
        if self.clock > MAX_CLOCK:
            raise InvalidManifest(f"the clock starts at {self.clock}, after {MAX_CLOCK}")
        if any(not name or "=" in name for name, _ in self.env):
            raise InvalidManifest("a variable's name is empty or contains '='")
        texts = [*self.args, *(text for pair in self.env for text in pair)]
        if any("\0" in text for text in (*texts, *(arg for part in self.parts for arg in part.args))):
            raise InvalidManifest("an argument or variable contains a NUL character")
        for part in self.parts:
            _check_paths([file.path for file in (*self.files, *part.files)])

    def inputs_of(self, part: int) -> tuple[Blob, ...]:
        """Return everything but the module that part number `part` reads."""
        own = self.parts[part]
        stdin = (own.stdin,) if own.stdin else ()
        return (*stdin, *(file.blob for file in (*self.files, *own.files)))

    def blobs(self) -> frozenset[Blob]:
        """Return the module and every input of every part."""
        return frozenset((self.module, *(blob for part in range(len(self.parts)) for blob in self.inputs_of(part))))


def _check_limits(limits: Limits) -> None:
    if not 0 < limits.fuel <= MAX_FUEL:
        raise InvalidManifest(f"a fuel limit of {limits.fuel}; allowed are 1 to {MAX_FUEL}")
    if not 0 < limits.memory_mib <= MAX_MEMORY_MIB:
        raise InvalidManifest(f"a memory limit of {limits.memory_mib} MiB; allowed are 1 to {MAX_MEMORY_MIB}")
    if limits.output_bytes > MAX_OUTPUT_BYTES:
        raise InvalidManifest(f"an output limit of {limits.output_bytes} bytes; allowed are up to {MAX_OUTPUT_BYTES}")


def _check_paths(paths: list[str]) -> None:
    if len(set(paths)) != len(paths):
        raise InvalidManifest("two files of one part have the same path")
    for path in paths:
        names = path.split("/")
        if names[0] or len(names) < 2 or any(not _is_name(name) for name in names[1:]):
            raise InvalidManifest(f"{path!r} is no absolute path of plain names, like /data/in.csv")
        if any(other.startswith(path + "/") for other in paths):
            raise InvalidManifest(f"{path!r} is a file, so no other file can lie inside it")


def _is_name(name: str) -> bool:
    return name not in ("", ".", "..") and "\0" not in name and len(name.encode()) <= MAX_NAME_BYTES
