"""How many connections there may be, and which one makes room for another (docs/adr/1342)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Final

import structlog
import trio

from node.networking.libp2p.connection import Connection
from node.networking.libp2p.secure import HandshakeFailed
from node.networking.peers.admission import Held, choose_victim
from node.networking.peers.groups import network_group
from protocol.identity import PeerId

log = structlog.get_logger(__name__)

DIAL_RESERVE: Final = 8
"""One part in so many of `max_connections` is kept for dialling, so that a full node can still choose whom it knows."""
MIN_DIAL_RESERVE: Final = 8
"""And at least these, unless that were more than half: the connections that discovery chooses (outbound.py)."""


class Places:
    """The places of one node's connections."""

    def __init__(
        self,
        connections: Mapping[PeerId, Sequence[Connection]],
        limit: int,
        *,
        is_protected: Callable[[PeerId], bool],
        score_of: Callable[[PeerId], float],
    ) -> None:
        """Keep `connections` to at most `limit` in all.

        Args:
            connections: All there are, by peer; the switch's own.
            limit: How many there may be.
            is_protected: Whether a peer's connections make room for nobody.
            score_of: How well a peer has served.
        """
        self._connections, self._limit = connections, limit
        self._is_protected, self._score_of = is_protected, score_of

    def _inbound(self) -> tuple[list[Connection], int]:
        """Return the connections that peers have opened, and how many there may be.

        They never take the places that are kept for dialling.
        """
        limit = self._limit
        reserve = max(limit // DIAL_RESERVE, min(MIN_DIAL_RESERVE, limit // 2))
        return [each for each in self.alive() if not each.is_dialler], limit - reserve

    def alive(self) -> list[Connection]:
        """Return the connections that are not being ended."""
        return [each for peer in self._connections.values() for each in peer if not each.scope.cancel_called]

    def is_full_for(self, host: str) -> bool:
        """Whether a stranger from `host` would displace nobody: then the handshake can be saved."""
        inbound, limit = self._inbound()
        if len(inbound) < limit:
            return False
        stranger = Held(group=network_group(host) or host, score=0.0, opened_at=trio.current_time())
        return self._find_victim(inbound, stranger) is None

    def make_room(self, newcomer: Connection) -> None:
        """End a connection if there are as many as may be, or refuse `newcomer`. Raises `HandshakeFailed`."""
        inbound, inbound_limit = self._inbound()
        alive, limit = self.alive(), self._limit
        if len(alive) < limit and (newcomer.is_dialler or len(inbound) < inbound_limit):
            return
        held = self._held(newcomer)
        if newcomer.is_dialler:
            # We chose it: it counts with nobody and is no worse than any. It displaces what came to us before it
            # displaces what we dialled.
            held = replace(held, group=newcomer, score=inf)
            dialled = [each for each in alive if each.is_dialler]
            victim = self._find_victim(inbound, held) or self._find_victim(dialled, held)
        else:
            victim = self._find_victim(inbound, held)
        if victim is None:
            raise HandshakeFailed(f"all {limit} connections of this node are in use")
        log.info("network.evicted", peer=victim.peer, host=victim.host)
        victim.end()

    def _find_victim(self, connections: Sequence[Connection], newcomer: Held) -> Connection | None:
        exposed = [each for each in connections if not self._is_protected(each.peer)]
        index = choose_victim([self._held(each) for each in exposed], newcomer)
        return None if index is None else exposed[index]

    def _held(self, connection: Connection) -> Held:
        return Held(
            group=network_group(connection.host) or connection.peer,
            score=self._score_of(connection.peer),
            opened_at=connection.opened_at,
        )
