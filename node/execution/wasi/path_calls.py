"""Host calls that name a file by a path. All of them lead into the task's own tree, none to the host's."""

from collections.abc import Callable

from node.execution.wasi.abi import (
    OFLAG_CREAT,
    OFLAG_DIRECTORY,
    OFLAG_EXCL,
    OFLAG_TRUNC,
    RIGHT_FD_WRITE,
    Errno,
    WasiError,
)
from node.execution.wasi.file_calls import pack_filestat
from node.execution.wasi.guest import Guest, OpenDirectory, OpenFile
from node.execution.wasi.tree import PATH_MAX, DirectoryNode, FileNode, Node, resolve


def _lookup(guest: Guest, fd: int, path_at: int, length: int) -> Node:
    base = guest.directory(fd).node
    if length > PATH_MAX:
        raise WasiError(Errno.NAMETOOLONG)
    raw = guest.memory.read(path_at, length)
    guest.charge_bytes(length)
    guest.charge_items(raw.count(b"/") + 1)
    return resolve(base, raw)


def path_open(
    guest: Guest,
    fd: int,
    _lookup_flags: int,
    path_at: int,
    length: int,
    oflags: int,
    rights: int,
    _inheriting: int,
    _fdflags: int,
    at: int,
) -> None:
    """Open a file or folder for reading. Opening for writing, creating or truncating answers ROFS."""
    guest.memory.check(at, 4)
    try:
        node = _lookup(guest, fd, path_at, length)
    except WasiError as error:
        if error.errno is Errno.NOENT and oflags & OFLAG_CREAT:
            raise WasiError(Errno.ROFS) from error
        raise
    if oflags & OFLAG_CREAT and oflags & OFLAG_EXCL:
        raise WasiError(Errno.EXIST)
    if oflags & OFLAG_DIRECTORY and not isinstance(node, DirectoryNode):
        raise WasiError(Errno.NOTDIR)
    if oflags & OFLAG_TRUNC or rights & RIGHT_FD_WRITE:
        raise WasiError(Errno.ISDIR if isinstance(node, DirectoryNode) else Errno.ROFS)
    if isinstance(node, FileNode):
        number = guest.add_fd(OpenFile(node=node, host_fd=guest.file_fds[node.index]))
    else:
        number = guest.add_fd(OpenDirectory(node=node))
    guest.memory.write_u32(at, number)


def make_path_filestat_get(*, wide: bool) -> Callable[[Guest, int, int, int, int, int], None]:
    """Return `path_filestat_get` for a snapshot's layout."""

    def path_filestat_get(guest: Guest, fd: int, _flags: int, path_at: int, length: int, at: int) -> None:
        """State the size and identity of what stands at a path."""
        guest.memory.write(at, pack_filestat(guest, _lookup(guest, fd, path_at, length), wide=wide))

    return path_filestat_get


def path_readlink(guest: Guest, fd: int, path_at: int, length: int, _buffer: int, _size: int, _used_at: int) -> None:
    """Refuse: there are no links."""
    _lookup(guest, fd, path_at, length)
    raise WasiError(Errno.INVAL)
