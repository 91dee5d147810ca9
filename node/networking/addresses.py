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
    """

    kind: Kind
    host: str
    port: int
    peer: PeerId | None = None

    def __str__(self) -> str:
        place = f"/memory/{self.port}" if self.kind == "memory" else f"/{self.kind}/{self.host}/tcp/{self.port}"
        return place if self.peer is None else f"{place}/p2p/{self.peer}"

    def at(self, peer: PeerId) -> "PeerAddress":
        """This place, with `peer` expected there."""
        return replace(self, peer=peer)


def parse_peer_address(text: str) -> PeerAddress:
    """Read `/ip4/…/tcp/…`, `/ip6/…/tcp/…`, `/dns/…/tcp/…` or `/memory/…`, each with or without `/p2p/…`.

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
            return PeerAddress(kind="memory", host="", port=_number(text, number, 2**32), peer=_peer(text, rest))
        case [kind, host, "tcp", port, *rest] if kind in _KINDS:
            checked = _host(text, _KINDS[kind], host)
            return PeerAddress(kind=_KINDS[kind], host=checked, port=_number(text, port, 2**16), peer=_peer(text, rest))
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


def _peer(text: str, rest: list[str]) -> PeerId | None:
    match rest:
        case []:
            return None
        case ["p2p", name]:
            try:
                host_public_key(PeerId(name))
            except ProtocolError as error:
                raise BadPeerAddress(text, str(error)) from error
            return PeerId(name)
        case _:
            raise BadPeerAddress(text, f"/{'/'.join(rest)} is not understood")
