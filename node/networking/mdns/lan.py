"""The multicast group of a LAN: UDP through trio, on one interface."""

import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, Protocol

import trio

from node.networking.mdns.packets import MAX_PACKET_BYTES
from protocol.errors import ConfigError

GROUP: Final = "224.0.0.251"
PORT: Final = 5353
_IP_MULTICAST_ALL: Final = 49
"""linux/in.h; Python has no name for it. Off: what came to the group on other interfaces is not ours."""
_ANY_HOST: Final = "0.0.0.0"  # noqa: S104 - compared with, and "the interface that the routing table says"


class Lan(Protocol):
    """Where packets reach everybody near."""

    @property
    def host(self) -> str:
        """Our own address there."""
        ...

    async def send(self, packet: bytes) -> None:
        """Send `packet` to everybody. Raises `OSError` when the network is down."""
        ...

    async def receive(self) -> tuple[bytes, str]:
        """Return the next packet and the address of its sender. Raises `OSError` when the network is down."""
        ...


class UdpLan:
    """A `Lan` of one socket."""

    def __init__(self, group: trio.socket.SocketType, host: str, port: int) -> None:
        self.host = host
        self._group, self._port = group, port

    async def send(self, packet: bytes) -> None:
        """See `Lan`."""
        await self._group.sendto(packet, (GROUP, self._port))

    async def receive(self) -> tuple[bytes, str]:
        """See `Lan`."""
        packet, sender = await self._group.recvfrom(MAX_PACKET_BYTES + 1)
        return packet, str(sender[0])


@asynccontextmanager
async def open_lan(interface: str, *, port: int = PORT) -> AsyncGenerator[UdpLan, None]:
    """Join the group until the context ends.

    Args:
        interface: IPv4 address of the interface; 0.0.0.0 for the one that the routing table says.
        port: 5353 but in tests.

    Raises:
        ConfigError: The machine has no such interface, or no multicast.
    """
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as group:
        try:
            host = interface if interface != _ANY_HOST else await _routed_host(port)
            inside = socket.inet_aton(host)
            # Other programs of this machine speak mDNS too. Bound to the group itself, we take nothing that was sent
            # to the machine, and what we send still has the interface's address and this port (RFC 6762, section 5.2).
            group.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            await group.bind((GROUP, port))
            if sys.platform == "linux":
                group.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            group.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + inside)
            group.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, inside)
            group.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)  # section 11
        except OSError as error:
            raise ConfigError(
                f"the node can't look for others on the network of {interface}: {error.strerror or error}",
                advice="Set network.mdns to false, or network.listen_host to an IPv4 address of this machine.",
            ) from error
        yield UdpLan(group, host, port)


async def _routed_host(port: int) -> str:
    """Return our address on the interface that packets to the group leave by. Sends nothing."""
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        await probe.connect((GROUP, port))
        return str(probe.getsockname()[0])
