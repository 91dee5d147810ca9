"""The Unix socket itself: only its owner can connect, only one node listens, and it appears when it is ready."""

import fcntl
import os
import socket
import stat
import struct
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import trio

from node.api.errors import ControlSocketInUse, ControlSocketUnusable, ForeignSocket, NodeNotRunning

BACKLOG: Final = 64
_FOLDER_MODE: Final = 0o700
_SOCKET_MODE: Final = 0o600
_LOCK_MODE: Final = 0o600
_CREDENTIALS: Final = struct.Struct("iII")  # struct ucred: pid, uid, gid


@contextmanager
def hold_control_socket(path: Path) -> Generator[trio.SocketListener]:
    """Listen at `path` until the block ends, then remove it.

    A lock file beside it says whether its owner lives, so a socket that a killed node left behind is replaced and one
    that is in use never is; two nodes that start at once can't both win.

    Raises:
        ControlSocketInUse: Another node listens there.
        ControlSocketUnusable: The folder is missing, forbidden or open to others.
    """
    try:
        _prepare_folder(path)
        descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, _LOCK_MODE)
    except OSError as error:
        raise ControlSocketUnusable(path, error.strerror or str(error)) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ControlSocketInUse(path) from error
        _check_replaceable(path)
        with _listen(path) as listening:
            yield trio.SocketListener(trio.socket.from_stdlib_socket(listening))
    finally:
        os.close(descriptor)


async def connect(path: Path) -> trio.SocketStream:
    """Connect to the node at `path`.

    Raises:
        NodeNotRunning: Nobody listens there.
        ForeignSocket: The process there is another user's.
        ControlSocketUnusable: The path can't be used.
    """
    try:
        stream = await trio.open_unix_socket(str(path))
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NodeNotRunning(path) from error
    except (OSError, ValueError) as error:
        raise ControlSocketUnusable(path, str(error)) from error
    uid = peer_uid(stream)
    if uid not in (os.geteuid(), 0):
        await stream.aclose()
        raise ForeignSocket(path, uid)
    return stream


def peer_uid(stream: trio.SocketStream) -> int:
    """Return the user of the process at the other end, as the kernel knows it."""
    data = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(data)
    return int(uid)


def _prepare_folder(path: Path) -> None:
    path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    mode = path.parent.stat().st_mode
    if mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX:
        raise ControlSocketUnusable(path, f"others can write its folder (mode {stat.S_IMODE(mode):04o})")


def _check_replaceable(path: Path) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ControlSocketUnusable(path, "a file that is no socket is in the way")


@contextmanager
def _listen(path: Path) -> Generator[socket.socket]:
    # Made under a name of its own and renamed when it listens: whoever sees the path can connect, and nobody else can.
    temporary = path.with_name(f".{os.getpid()}")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            temporary.unlink(missing_ok=True)
            listening.bind(str(temporary))
            temporary.chmod(_SOCKET_MODE)
            listening.listen(BACKLOG)
            temporary.rename(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise ControlSocketUnusable(path, error.strerror or str(error)) from error
        try:
            yield listening
        finally:
            path.unlink(missing_ok=True)
    finally:
        listening.close()
