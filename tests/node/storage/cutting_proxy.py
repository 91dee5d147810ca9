"""Stands between a node and its PostgreSQL server, and cuts the line at the worst moment."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from enum import Enum, auto
from pathlib import Path
from typing import Final

COMMIT: Final = b"Q\x00\x00\x00\x0bCOMMIT\x00"
CHUNK_BYTES: Final = 65536


class Cut(Enum):
    """When to cut, counted from the next COMMIT."""

    BEFORE = auto()  # the server never sees it
    SENT = auto()  # as soon as it was passed on: who knows what the server does
    ANSWERED = auto()  # the server has done it, and its answer is lost


class CuttingProxy:
    """A local socket like the server's. Made by `run_proxy`."""

    def __init__(self, folder: Path, target: Path) -> None:
        self.folder, self._target = folder, target
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen()
        self._open: list[socket.socket] = []
        self._cut: Cut | None = None
        self._for_good = False
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_next(self, cut: Cut, *, for_good: bool = False) -> None:
        """Cut the line of whichever session sends the next COMMIT, and take no other if it is `for_good`."""
        self._cut, self._for_good = cut, for_good

    def close(self) -> None:
        """Cut everything."""
        _close(self._listener)
        for each in self._open:
            _close(each)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                try:
                    server.connect(str(self._target))
                except OSError:
                    _close(client)
                    continue
                self._open += [client, server]
                doomed = threading.Event()
                threading.Thread(target=self._to_server, args=(client, server, doomed), daemon=True).start()
                threading.Thread(target=self._to_client, args=(client, server, doomed), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket, doomed: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(CHUNK_BYTES):
                cut = self._cut
                if cut is not None and COMMIT in data:
                    self._cut, self.cuts = None, self.cuts + 1
                    if self._for_good:
                        _close(self._listener)
                    if cut is Cut.BEFORE:
                        break
                    if cut is Cut.ANSWERED:
                        doomed.set()  # before the server can answer
                        server.sendall(data)
                        continue
                    server.sendall(data)
                    break
                server.sendall(data)
        _close(client)
        _close(server)

    def _to_client(self, client: socket.socket, server: socket.socket, doomed: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(CHUNK_BYTES):
                if doomed.is_set():
                    break
                client.sendall(data)
        _close(client)
        _close(server)


def _close(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


@contextmanager
def run_proxy(folder: Path, target: Path) -> Generator[CuttingProxy]:
    """Listen in `folder` until the block ends.

    Args:
        folder: Short: the path of a local socket holds 107 bytes.
        target: The server's socket.
    """
    proxy = CuttingProxy(folder, target)
    try:
        yield proxy
    finally:
        proxy.close()
