"""Every class of attack, by name: the rows of the table."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from tests.assault import on_connections, on_gossip, on_services, on_streams
from tests.assault.aim import Aim

Attack: TypeAlias = Callable[[Aim], Awaitable[None]]

AT_THE_DOOR: Final[dict[str, Attack]] = {
    "tcp-garbage": on_connections.garbage_on_tcp,
    "connections-in-turn": on_connections.connections_in_turn,
    "half-open": on_connections.half_open,
    "slow-openings": on_connections.slow_openings,
    "handshake-garbage": on_connections.garbage_in_handshakes,
    "new-peers-in-turn": on_connections.new_peers_in_turn,
    "ciphertext-garbage": on_connections.garbage_for_ciphertext,
}
"""By strangers, below the muxer."""
INSIDE: Final[dict[str, Attack]] = {
    "negotiation-garbage": on_connections.garbage_in_negotiation,
    "frame-garbage": on_streams.garbage_frames,
    "tiny-messages": on_streams.tiny_messages,
    "pings-in-bulk": on_streams.pings_in_bulk,
    "windows-overrun": on_streams.windows_overrun,
    "windows-filled": on_streams.windows_filled,
    "5000-streams": on_streams.thousands_of_streams,
    "streams-reset": on_streams.streams_opened_and_reset,
    "gossip-malformed": on_gossip.malformed_gossip,
    "invalid-signatures": on_gossip.invalid_signatures,
    "gossip-flood": on_gossip.gossip_flood,
    "sound-offers": on_gossip.sound_offers,
    "sequence-repeats": on_gossip.repeated_sequences,
    "graft-ghosts": on_gossip.graft_ghosts,
    "request-garbage": on_services.garbage_requests,
    "nested-oversize": on_services.nested_and_oversize,
    "unfinished-frames": on_services.unfinished_frames,
    "slow-frames": on_services.slow_frames,
    "unread-answers": on_services.unread_answers,
    "sybil-joins": on_services.sybil_joins,
    "blob-drips": on_services.blob_drips,
    "metrics-door": on_services.at_the_door,
}
"""By peers that were let in, and at the other door."""
ARSENAL: Final = AT_THE_DOOR | INSIDE
