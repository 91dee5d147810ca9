"""What the node and its worker processes say to one another, and the frames in which they say it.

A frame is a length (4 bytes, little-endian) and a value in the codec of the wire. A worker has run a stranger's code,
so the node decodes what it says as strictly as what a peer says. Descriptors travel beside a frame: a worker opens no
file.
"""

import array
import socket
from dataclasses import dataclass
from typing import Annotated, Final

from protocol.errors import ProtocolError
from protocol.identity import ContentDigest
from protocol.signing.keccak import Digest
from protocol.units import Uint8, Uint32, Uint64
from protocol.wire.codec import MaxLen, tagged

MAX_FRAME_BYTES: Final = 4 << 20
MAX_DESCRIPTORS: Final = 250
HEADER_BYTES: Final = 4
MICROSECONDS: Final = 1_000_000

Text = Annotated[str, MaxLen(512)]
LongText = Annotated[str, MaxLen(128 * 1024)]


class BadFrame(ProtocolError):
    """A frame that is too long, or that ends early."""


class BadReply(ProtocolError):
    """A reply that no worker of ours gives at this point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestFile:
    """A task file: where the guest finds it, and how long it is."""

    path: Annotated[str, MaxLen(4096)]
    size: Uint64


@tagged(1)
@dataclass(frozen=True, slots=True, kw_only=True)
class RunMessage:
    """Run a module. Descriptors: artifact, output, logs, standard input, then the files in order."""

    artifact: ContentDigest
    artifact_bytes: Uint64
    args: Annotated[tuple[LongText, ...], MaxLen(1024)]
    env: Annotated[tuple[LongText, ...], MaxLen(1024)]
    stdin_bytes: Uint64
    files: Annotated[tuple[GuestFile, ...], MaxLen(256)]
    clock: Uint64
    seed: ContentDigest
    fuel: Uint64
    memory_mib: Uint32
    output_bytes: Uint64
    log_bytes: Uint64
    cpu_us: Uint64


@tagged(2)
@dataclass(frozen=True, slots=True, kw_only=True)
class CompileMessage:
    """Compile a module. Descriptors: module, artifact to write."""

    module: ContentDigest
    module_bytes: Uint64


@tagged(10)
@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyMessage:
    """A worker stands ready: on which engine, and behind which of the system's barriers."""

    engine: Digest
    barriers: Annotated[tuple[Text, ...], MaxLen(16)]


@tagged(11)
@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressMessage:
    """Where the run stands."""

    fuel: Uint64
    bytes_out: Uint64
    cpu_us: Uint64


@tagged(12)
@dataclass(frozen=True, slots=True, kw_only=True)
class DoneMessage:
    """The run is over."""

    outcome: Uint8
    fuel: Uint64
    peak_mib: Uint32
    output: ContentDigest
    output_bytes: Uint64
    logs: ContentDigest
    log_bytes: Uint64
    cpu_us: Uint64
    detail: Text


@tagged(13)
@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedMessage:
    """A file is not what its digest says. To a runner: the artifact; compile it anew. To a compiler: the module."""

    reason: Text


@tagged(14)
@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledMessage:
    """The artifact is written."""

    artifact: ContentDigest
    artifact_bytes: Uint64
    cpu_us: Uint64


@tagged(15)
@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedMessage:
    """The module is invalid."""

    reason: Text


Request = RunMessage | CompileMessage
WorkerReply = ReadyMessage | ProgressMessage | DoneMessage | DamagedMessage
CompilerReply = CompiledMessage | RefusedMessage | DamagedMessage


def frame(payload: bytes) -> bytes:
    """Return `payload` with its length in front."""
    assert len(payload) <= MAX_FRAME_BYTES, f"a frame of {len(payload)} bytes"
    return len(payload).to_bytes(HEADER_BYTES, "little") + payload


def frame_length(header: bytes) -> int:
    """Return the length that a header announces.

    Raises:
        BadFrame: It is longer than a frame may be.
    """
    length = int.from_bytes(header, "little")
    if length > MAX_FRAME_BYTES:
        raise BadFrame(f"a frame of {length} bytes, at most {MAX_FRAME_BYTES} are allowed")
    return length


def descriptors_beside(fds: list[int]) -> list[tuple[int, int, bytes]]:
    """Return the ancillary data that hands open descriptors to the process at the other end."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes())] if fds else []


def clip(text: str) -> str:
    """Cut a text so that it fits a `Text` field, whatever characters it has."""
    return text.encode(errors="replace")[:500].decode(errors="ignore")
