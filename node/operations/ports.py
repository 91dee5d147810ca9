"""Ports for servers that this machine starts for itself: a local chain, a network of nodes."""

import random
import socket
from contextlib import ExitStack
from typing import Final

LOWEST: Final = 15_000
HIGHEST: Final = 32_000
"""Below the ports of outgoing connections: nobody gets one by chance before its server binds it."""
TRIES: Final = 100


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that are free, drawn at random.

    Raises:
        OSError: So many tries found too few.
    """
    found: list[int] = []
    with ExitStack() as held:  # all at once, so that no two are the same
        for _ in range(TRIES * count):
            if len(found) == count:
                break
            port = random.SystemRandom().randrange(LOWEST, HIGHEST)
            probe = held.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    if len(found) < count:
        raise OSError(f"fewer than {count} ports between {LOWEST} and {HIGHEST} are free on this machine")
    return found
