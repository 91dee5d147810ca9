"""What an operator may set about networking, and the defaults."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from node.networking.limits import Rate

Reachable: TypeAlias = Literal["auto", "yes", "no"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayLimits:
    """What this node does for peers that nobody can dial. A network is a /16 of IPv4 or a /32 of IPv6.

    Attributes:
        reservations: Places, one a peer.
        reservations_per_network: Of them, for peers of one network.
        reservation_s: How long a place lasts before it must be asked for again.
        circuits: At once, in all. One holds up to 512 KiB in memory if its ends don't read.
        circuits_per_dialler: Of them, opened by one peer.
        circuits_per_target: Of them, to one peer.
        circuits_per_network: Of them, opened by peers of one network.
        circuit_s: How long one lasts.
        circuit_bytes: How much one carries in each direction.
        bytes_per_s: What all of them together may carry, shared between the networks of the diallers; 0 is no limit.
    """

    reservations: int = 64
    reservations_per_network: int = 16
    reservation_s: int = 3600
    circuits: int = 64
    circuits_per_dialler: int = 8
    circuits_per_target: int = 16
    circuits_per_network: int = 16
    circuit_s: int = 3600
    circuit_bytes: int = 256 * 1024 * 1024
    bytes_per_s: float = 1024.0 * 1024.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """Limits that hold whatever peers do. Rates are per peer unless they say otherwise.

    Attributes:
        listen: Addresses to accept connections on, as multiaddresses without a peer id; port 0 picks a free one.
        announce: Addresses to tell others instead of the ones bound: for nodes behind a router or a name, and for
            those that listen on every interface (0.0.0.0), which is no address that anybody could dial.
        max_connections: In all. An eighth of them is kept for connections that this node dials.
        max_connections_per_host: From one IP address: what one machine of an attacker can hold. Local networks of
            many nodes need more than the default.
        max_connections_per_peer: Two, since two nodes may dial each other at once.
        max_handshakes: Inbound connections not yet authenticated, at once.
        max_gossip_bytes: Largest message on a topic.
        gossip_rate: Messages that one peer may forward to us on one topic.
        author_rate: Messages that one author may publish on one topic; our own publishing is paced to it.
        request_rate: Requests that one peer may send us.
        max_requests_per_peer: Requests of one peer being handled, and of ours waiting for one peer.
        max_response_bytes: What `call` accepts if it isn't told otherwise.
        max_blob_streams_per_peer: Blobs being served to one peer at once.
        max_blob_streams: Blobs being served at once.
        upload_bytes_per_s: What all blobs together may take that this node serves; 0 is no limit.
        upload_bytes_per_s_per_peer: The same for each peer.
        download_bytes_per_s: What all blobs together may take that this node fetches; 0 is no limit.
        download_bytes_per_s_per_peer: The same for each peer.
        reachable: Whether others can dial this node; "auto" asks them. A node that listens nowhere can't be.
        relay: What it relays for peers that can't be dialled, if it can be dialled itself; None relays nothing.
        hash_in_threads: Whether large blobs are hashed beside the main loop. Off only under a virtual clock, which
            does not wait for threads.
    """

    listen: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/0",)
    announce: tuple[str, ...] = ()
    max_connections: int = 128
    max_connections_per_host: int = 32
    max_connections_per_peer: int = 2
    max_handshakes: int = 32
    max_gossip_bytes: int = 64 * 1024
    gossip_rate: Rate = field(default_factory=lambda: Rate(per_s=400, burst=1200))
    author_rate: Rate = field(default_factory=lambda: Rate(per_s=20, burst=100))
    request_rate: Rate = field(default_factory=lambda: Rate(per_s=200, burst=400))
    max_requests_per_peer: int = 32
    max_response_bytes: int = 256 * 1024
    max_blob_streams_per_peer: int = 4
    max_blob_streams: int = 32
    upload_bytes_per_s: float = 0.0
    upload_bytes_per_s_per_peer: float = 0.0
    download_bytes_per_s: float = 0.0
    download_bytes_per_s_per_peer: float = 0.0
    reachable: Reachable = "auto"
    relay: RelayLimits | None = field(default_factory=RelayLimits)
    hash_in_threads: bool = True
