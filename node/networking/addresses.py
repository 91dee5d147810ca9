"""Where a peer can be reached, written as libp2p multiaddresses: the few kinds that this node dials."""

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from node.networking.errors import BadPeerAddress
from protocol.errors import ProtocolError
from protocol.identity import PeerId
from protocol.node_record import host_public_key

MAX_ADDRESS_CHARS: Final = 200
"""An address comes from peers: longer ones are refused unread. A DNS name has at most 253, useful ones far fewer."""

Kind: TypeAlias = Literal["ip4", "ip6", "dns", "memory"]
_KINDS: Final[dict[str, Kind]] = {"ip4": "ip4", "ip6": "ip6", "dns": "dns", "dns4": "dns", "dns6": "dns"}
_NAME: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})*\.?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerAddress:
    """One way to reach a peer.

    Attributes:
        kind: How to read `host`.
        host: IP address or DNS name; empty for `memory`.
        port: TCP port, or the number of a `memory` endpoint.
        peer: Who must answer there; None if anybody may (only ever typed in by the user).
        relay: Who answers at the place and passes on to `peer` what is for it; None if `peer` itself is there.
    """

    kind: Kind
    host: str
    port: int
    peer: PeerId | None = None
    relay: PeerId | None = None

    def __str__(self) -> str:
        place = f"/memory/{self.port}" if self.kind == "memory" else f"/{self.kind}/{self.host}/tcp/{self.port}"
        if self.relay is not None:
            place = f"{place}/p2p/{self.relay}/p2p-circuit"
        return place if self.peer is None else f"{place}/p2p/{self.peer}"

    def at(self, peer: PeerId) -> "PeerAddress":
        """This place, with `peer` expected there."""
        return replace(self, peer=peer)

    def through(self, relay: PeerId) -> "PeerAddress":
        """The way to nobody in particular through `relay`, which answers at this place."""
        return replace(self, peer=None, relay=relay)

    @property
    def of_relay(self) -> "PeerAddress":
        """Where the relay itself answers."""
        return replace(self, peer=self.relay, relay=None)


def parse_peer_address(text: str) -> PeerAddress:
    """Read `/ip4/…/tcp/…`, `/ip6/…/tcp/…`, `/dns/…/tcp/…` or `/memory/…`, each with or without `/p2p/…`.

    With `/p2p/RELAY/p2p-circuit` in between it is the way through a relay.

    Raises:
        BadPeerAddress: Anything else.
    """
    if len(text) > MAX_ADDRESS_CHARS:
        raise BadPeerAddress(text[:40] + "…", f"longer than {MAX_ADDRESS_CHARS} characters")
    parts = text.split("/")
    if parts[0]:
        raise BadPeerAddress(text, "it must begin with a slash")
    match parts[1:]:
        case ["memory", number, *rest]:
            peer, relay = _peers(text, rest)
            return PeerAddress(kind="memory", host="", port=_number(text, number, 2**32), peer=peer, relay=relay)
        case [kind, host, "tcp", port, *rest] if kind in _KINDS:
            checked = _host(text, _KINDS[kind], host)
            number, (peer, relay) = _number(text, port, 2**16), _peers(text, rest)
            return PeerAddress(kind=_KINDS[kind], host=checked, port=number, peer=peer, relay=relay)
        case _:
            raise BadPeerAddress(text, "only /ip4, /ip6 and /dns with /tcp are dialled")


def _host(text: str, kind: Kind, host: str) -> str:
    if kind == "dns":
        if not _NAME.fullmatch(host):
            raise BadPeerAddress(text, f"{host!r} is no host name")
        return host.lower()
    try:
        address = ipaddress.IPv4Address(host) if kind == "ip4" else ipaddress.IPv6Address(host)
    except ipaddress.AddressValueError as error:
        raise BadPeerAddress(text, f"{host!r} is no {kind} address") from error
    if "%" in host:  # a zone means something on one machine only
        raise BadPeerAddress(text, f"{host!r} names a zone")
    return str(address)


def _number(text: str, digits: str, limit: int) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 10 and int(digits) < limit):
        raise BadPeerAddress(text, f"{digits!r} is no port")
    return int(digits)


def _peers(text: str, rest: list[str]) -> tuple[PeerId | None, PeerId | None]:
    """Return who must answer, and through whom."""
    match rest:
        case []:
            return None, None
        case ["p2p", name]:
            return _peer(text, name), None
        case ["p2p", relay, "p2p-circuit"]:
            return None, _peer(text, relay)
        case ["p2p", relay, "p2p-circuit", "p2p", name] if relay != name:
            return _peer(text, name), _peer(text, relay)
        case _:
            raise BadPeerAddress(text, f"/{'/'.join(rest)} is not understood")


def _peer(text: str, name: str) -> PeerId:
    try:
        host_public_key(PeerId(name))
    except ProtocolError as error:
        raise BadPeerAddress(text, str(error)) from error
    return PeerId(name)
