"""Which addresses are likely one owner's: what diversity is counted by.

An attacker has identities for nothing and addresses cheaply, but addresses in many networks are dear. So whatever is
shared out between peers (slots, places in a table) is shared out between groups (Heilman et al. 2015, "Eclipse Attacks
on Bitcoin's Peer-to-Peer Network", section 7).
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from node.networking.addresses import PeerAddress

_NOT_PUBLIC: Final = tuple(
    ip_network(text)
    for text in (
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
)
"""Loopback, private and link-local: who is there is somebody the operator let in."""

REMEMBERED: Final = 4096
"""Hosts. Reading an address takes 15 us, and a full node looks at all its connections for each that comes."""


@lru_cache(REMEMBERED)
def host_group(host: str) -> str:
    """Return what counts as one machine: an IPv4 address, or the /64 that any IPv6 customer has for himself."""
    address = _read(host)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address) >> 64 << 64, 64)))
    return host if address is None else str(address)


@lru_cache(REMEMBERED)
def network_group(host: str) -> str | None:
    """Return what counts as one network: the /16 of an IPv4 address, the /32 of an IPv6 address.

    None for loopback, private and link-local addresses, and for what is no IP address: those are not counted together.
    """
    address = _read(host)
    if address is None or any(address in network for network in _NOT_PUBLIC):
        return None
    if isinstance(address, IPv4Address):
        return str(ip_network((int(address) >> 16 << 16, 16)))
    return str(ip_network((int(address) >> 96 << 96, 32)))


def address_group(address: PeerAddress) -> str | None:
    """Return the network group of an address that is not dialled yet; of a DNS name, its last two labels.

    Whoever owns a name has all names below it. What a name leads to counts by its IP address once it is connected.
    """
    if address.kind == "dns":
        return ".".join(address.host.rstrip(".").split(".")[-2:])
    return network_group(address.host)


def is_public(address: PeerAddress) -> bool:
    """Whether anybody could dial the address, as far as its text tells."""
    return address.kind == "dns" or (address.kind != "memory" and network_group(address.host) is not None)


def _read(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
