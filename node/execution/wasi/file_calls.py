"""Host calls on open descriptors: read, write, seek, stat, list."""

import os
from collections.abc import Callable
from typing import Final

from node.execution.wasi.abi import (
    FILETYPE_DIRECTORY,
    FILETYPE_REGULAR,
    FILETYPE_UNKNOWN,
    RIGHTS_DIRECTORY,
    RIGHTS_FILE,
    RIGHTS_SINK,
    Errno,
    WasiError,
)
from node.execution.wasi.guest import NANOSECONDS, Guest, HostFault, OpenDirectory, OpenFile, OpenNode, OpenSink
from node.execution.wasi.tree import DirectoryNode, FileNode, Node

MAX_VECTORS: Final = 1024
MAX_OFFSET: Final = 2**63 - 1
DEVICE: Final = 1


def _vectors(guest: Guest, vectors_at: int, count: int) -> tuple[list[memoryview], int]:
    """Return views of all of a call's buffers, their bytes already paid for, and how many bytes they are."""
    if count > MAX_VECTORS:
        raise WasiError(Errno.INVAL)
    guest.charge_items(count)
    raw = guest.memory.read(vectors_at, count * 8)
    views: list[memoryview] = []
    for start in range(0, len(raw), 8):
        pointer = int.from_bytes(raw[start : start + 4], "little")
        length = int.from_bytes(raw[start + 4 : start + 8], "little")
        views.append(guest.memory.view(pointer, length))
    return views, sum(map(len, views))


def _read_at(guest: Guest, file: OpenFile, offset: int, vectors_at: int, count: int, done_at: int) -> int:
    guest.memory.check(done_at, 4)
    views, room = _vectors(guest, vectors_at, count)
    wanted = min(room, max(0, file.node.size - offset))
    guest.charge_bytes(wanted)
    done = 0
    for view in views:
        part = view[: wanted - done]
        while part:
            got = _host_read(file.host_fd, part, offset + done)
            done += got
            part = part[got:]
    guest.memory.write_u32(done_at, done)
    return done


def _host_read(fd: int, view: memoryview, offset: int) -> int:
    got = os.preadv(fd, [view], offset)
    if got == 0:
        raise HostFault("a task file became shorter while the task ran")
    return got


def _file(guest: Guest, fd: int) -> OpenFile:
    node = guest.open_fd(fd)
    if isinstance(node, OpenFile):
        return node
    raise WasiError(Errno.ISDIR if isinstance(node, OpenDirectory) else Errno.BADF)


def fd_read(guest: Guest, fd: int, vectors_at: int, count: int, done_at: int) -> None:
    """Read from a file's position, straight into the guest's memory."""
    file = _file(guest, fd)
    file.offset += _read_at(guest, file, file.offset, vectors_at, count, done_at)


def fd_pread(guest: Guest, fd: int, vectors_at: int, count: int, offset: int, done_at: int) -> None:
    """Read at an offset."""
    _read_at(guest, _file(guest, fd), offset, vectors_at, count, done_at)


def fd_write(guest: Guest, fd: int, vectors_at: int, count: int, done_at: int) -> None:
    """Append to standard output or error. A task's files can't be written."""
    node = guest.open_fd(fd)
    if not isinstance(node, OpenSink):
        raise WasiError(Errno.BADF)
    guest.memory.check(done_at, 4)
    views, size = _vectors(guest, vectors_at, count)
    if size > 0xFFFFFFFF:  # the answer is 32 bits
        raise WasiError(Errno.INVAL)
    guest.charge_bytes(size)
    for view in views:
        node.sink.write(view)
    guest.memory.write_u32(done_at, size)


def fd_pwrite(guest: Guest, fd: int, *_rest: int) -> None:
    """Refuse: output has no positions, files can't be written."""
    raise WasiError(Errno.SPIPE if isinstance(guest.open_fd(fd), OpenSink) else Errno.BADF)


def make_fd_seek(whence_order: tuple[str, str, str]) -> Callable[[Guest, int, int, int, int], None]:
    """Return `fd_seek` for a snapshot's numbering of `whence`."""

    def fd_seek(guest: Guest, fd: int, delta: int, whence: int, at: int) -> None:
        """Move a file's position; it may stand beyond the end, but not before the start."""
        node = guest.open_fd(fd)
        if isinstance(node, OpenSink):
            raise WasiError(Errno.SPIPE)
        file = _file(guest, fd)
        if whence >= len(whence_order):
            raise WasiError(Errno.INVAL)
        signed = delta - (1 << 64) if delta >> 63 else delta
        base = {"set": 0, "current": file.offset, "end": file.node.size}[whence_order[whence]]
        target = base + signed
        if not 0 <= target <= MAX_OFFSET:
            raise WasiError(Errno.INVAL)
        guest.memory.write_u64(at, target)
        file.offset = target

    return fd_seek


def fd_tell(guest: Guest, fd: int, at: int) -> None:
    """Tell a file's position."""
    if isinstance(guest.open_fd(fd), OpenSink):
        raise WasiError(Errno.SPIPE)
    guest.memory.write_u64(at, _file(guest, fd).offset)


def fd_close(guest: Guest, fd: int) -> None:
    """Forget a descriptor; its host file stays open until the run ends."""
    guest.open_fd(fd)
    del guest.fds[fd]


def fd_renumber(guest: Guest, source: int, target: int) -> None:
    """Move a descriptor onto another that is open."""
    node = guest.open_fd(source)
    guest.open_fd(target)
    if source != target:
        guest.fds[target] = node
        del guest.fds[source]


def filetype(node: OpenNode | Node) -> int:
    """Return the WASI file type; output is of unknown type, as a pipe is, so that libraries buffer it."""
    if isinstance(node, OpenFile | FileNode):
        return FILETYPE_REGULAR
    return FILETYPE_DIRECTORY if isinstance(node, OpenDirectory | DirectoryNode) else FILETYPE_UNKNOWN


def fd_fdstat_get(guest: Guest, fd: int, at: int) -> None:
    """State a descriptor's type and rights."""
    node = guest.open_fd(fd)
    kind = filetype(node)
    rights = {FILETYPE_REGULAR: RIGHTS_FILE, FILETYPE_DIRECTORY: RIGHTS_DIRECTORY}.get(kind, RIGHTS_SINK)
    inheriting = RIGHTS_DIRECTORY if kind == FILETYPE_DIRECTORY else 0
    flags = 1 if isinstance(node, OpenSink) else 0  # append
    data = bytes([kind, 0]) + flags.to_bytes(2, "little") + bytes(4)
    guest.memory.write(at, data + rights.to_bytes(8, "little") + inheriting.to_bytes(8, "little"))


def fd_fdstat_set_flags(guest: Guest, fd: int, _flags: int) -> None:
    """Accept and ignore: append, non-blocking and sync mean nothing here."""
    guest.open_fd(fd)


def pack_filestat(guest: Guest, node: OpenNode | Node, *, wide: bool) -> bytes:
    """Return a `filestat`: fixed device, inode and times. `wide` is preview 1's, with 64 bits for the link count."""
    inner = node.node if isinstance(node, OpenFile | OpenDirectory) else node
    inode = 0 if isinstance(inner, OpenSink) else inner.inode
    size = inner.size if isinstance(inner, FileNode) else 0
    time = (guest.clock_s * NANOSECONDS).to_bytes(8, "little")
    head = DEVICE.to_bytes(8, "little") + inode.to_bytes(8, "little") + bytes([filetype(node)])
    links = bytes(7) + (1).to_bytes(8, "little") if wide else bytes(3) + (1).to_bytes(4, "little")
    return head + links + size.to_bytes(8, "little") + 3 * time


def make_fd_filestat_get(*, wide: bool) -> Callable[[Guest, int, int], None]:
    """Return `fd_filestat_get` for a snapshot's layout."""

    def fd_filestat_get(guest: Guest, fd: int, at: int) -> None:
        """State a descriptor's size and identity."""
        guest.memory.write(at, pack_filestat(guest, guest.open_fd(fd), wide=wide))

    return fd_filestat_get


def fd_prestat_get(guest: Guest, fd: int, at: int) -> None:
    """Name the length of the path under which a folder was given; only the root was."""
    node = guest.open_fd(fd)
    if not isinstance(node, OpenDirectory) or node.preopen is None:
        raise WasiError(Errno.BADF)
    guest.memory.write(at, bytes(4) + len(node.preopen).to_bytes(4, "little"))


def fd_prestat_dir_name(guest: Guest, fd: int, at: int, length: int) -> None:
    """Store that path."""
    node = guest.open_fd(fd)
    if not isinstance(node, OpenDirectory) or node.preopen is None:
        raise WasiError(Errno.BADF)
    if length < len(node.preopen):
        raise WasiError(Errno.NAMETOOLONG)
    guest.memory.write(at, node.preopen)


def fd_readdir(guest: Guest, fd: int, at: int, length: int, cookie: int, used_at: int) -> None:
    """List a folder from an entry on, `.` and `..` first, then in the order of the sorted paths.

    The last entry is cut where the buffer ends, which is how the guest learns that there are more.
    """
    node = guest.directory(fd).node
    guest.memory.check(used_at, 4)
    guest.memory.check(at, length)
    parent = node.parent or node
    entries: list[tuple[str, Node]] = [(".", node), ("..", parent), *node.children.items()]
    data = bytearray()
    for index, (name, entry) in enumerate(entries[cookie:], start=cookie):
        if len(data) >= length:
            break
        guest.charge_items(1)
        raw = name.encode()
        data += (index + 1).to_bytes(8, "little") + entry.inode.to_bytes(8, "little")
        data += len(raw).to_bytes(4, "little") + bytes([filetype(entry), 0, 0, 0]) + raw
    chunk = bytes(data[:length])
    guest.charge_bytes(len(chunk))
    guest.memory.write(at, chunk)
    guest.memory.write_u32(used_at, len(chunk))


def accept_on_open_fd(guest: Guest, fd: int, *_rest: int) -> None:
    """Do nothing, on an open descriptor: advice and syncing have no effect on a tree that never changes."""
    guest.open_fd(fd)


def refuse_read_only(guest: Guest, fd: int, *_rest: int) -> None:
    """Refuse to change anything: the file system is read-only."""
    guest.open_fd(fd)
    raise WasiError(Errno.ROFS)
