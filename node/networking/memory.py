"""A network inside one process: for tests and the simulator, on a virtual clock, without sockets."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import Final

import trio

from node.networking.addresses import PeerAddress
from node.networking.errors import PortInUse
from node.networking.transport import Serve

PIPE_CHUNKS: Final = 64
"""Chunks on the way in one direction before the sender waits, as in a full TCP window."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One listener of a `MemoryNetwork`."""

    serve: Serve
    nursery: trio.Nursery
    host: str


class MemoryNetwork:
    """The links between the memory transports of one simulation.

    Attributes:
        latency_s: Seconds from one endpoint number to another; a function, so that it may be random or change.
        is_cut: Whether nothing passes between two endpoint numbers now: dials fail, bytes on open connections wait.
    """

    def __init__(
        self,
        *,
        latency_s: Callable[[int, int], float] = lambda _from, _to: 0.0,
        is_cut: Callable[[int, int], bool] = lambda _from, _to: False,
    ) -> None:
        self.latency_s = latency_s
        self.is_cut = is_cut
        self.endpoints: dict[int, Endpoint] = {}
        self.places: dict[tuple[str, int], int] = {}
        self.numbers = count(1)
        self._healed = trio.Event()

    def heal(self) -> None:
        """Say that `is_cut` may answer differently now: bytes that wait look again."""
        self._healed.set()
        self._healed = trio.Event()

    async def wait_until_open(self, source: int, target: int) -> None:
        """Wait while the link is cut."""
        while self.is_cut(source, target):
            await self._healed.wait()


class MemoryTransport:
    """The transport of one node of a `MemoryNetwork`, at one endpoint number.

    With `host`, an IP address, others see the node there, and it can listen at TCP addresses of that host: for what
    depends on who comes from where.
    """

    def __init__(self, network: MemoryNetwork, host: str | None = None) -> None:
        self._network = network
        self.number = next(network.numbers)
        self.host = host or f"memory-{self.number}"

    async def listen(
        self,
        address: PeerAddress,
        serve: Serve,
        *,
        task_status: trio.TaskStatus[PeerAddress] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept connections until cancelled; `/memory/0` stands for this transport's own number."""
        number = self.number if address.kind != "memory" else address.port or self.number
        if number in self._network.endpoints:
            raise PortInUse(str(address), number)
        async with trio.open_nursery() as nursery:
            self._network.endpoints[number] = Endpoint(serve, nursery, self.host)
            place = PeerAddress(kind="memory", host="", port=number)
            if address.kind != "memory":
                place = replace(address, port=address.port or number)
                self._network.places[(place.host, place.port)] = number
            try:
                task_status.started(place)
                await trio.sleep_forever()
            finally:
                del self._network.endpoints[number]
                self._network.places.pop((place.host, place.port), None)

    async def dial(self, address: PeerAddress) -> tuple[trio.abc.Stream, str]:
        """Connect to the endpoint with the number of `address`.

        Raises:
            OSError: Nobody listens there, or the link is cut.
        """
        number = address.port
        if address.kind != "memory":
            number = self._network.places.get((address.host, address.port), 0)
        await trio.sleep(self._network.latency_s(self.number, number))
        endpoint = self._network.endpoints.get(number)
        if endpoint is None or self._network.is_cut(self.number, number):
            raise OSError(f"nobody listens at {address}")
        ours, theirs = stream_pair(self._network, self.number, number)

        async def serve() -> None:
            async with theirs:
                await endpoint.serve(theirs, self.host)

        endpoint.nursery.start_soon(serve)
        return ours, endpoint.host


class MemoryStream(trio.abc.Stream):
    """One end of a connection. Chunks arrive in order, each after the latency of its link."""

    def __init__(
        self,
        send: "trio.MemorySendChannel[tuple[float, bytes]]",
        receive: "trio.MemoryReceiveChannel[tuple[float, bytes]]",
        network: MemoryNetwork,
        source: int,
        target: int,
    ) -> None:
        self._send, self._receive = send, receive
        self._network, self._source, self._target = network, source, target
        self._arrived = b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`; waits when the other side does not read."""
        arrives = trio.current_time() + self._network.latency_s(self._source, self._target)
        await self._send.send((arrives, bytes(data)))

    async def wait_send_all_might_not_block(self) -> None:
        """Not known beforehand: answers at once."""
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what has arrived, none at the end."""
        if not self._arrived:
            try:
                arrives, self._arrived = await self._receive.receive()
            except trio.EndOfChannel:
                return b""
            await trio.sleep_until(arrives)
            await self._network.wait_until_open(self._target, self._source)
        data = self._arrived[:max_bytes]
        self._arrived = self._arrived[len(data) :]
        return data

    async def aclose(self) -> None:
        """Close both directions."""
        await self._send.aclose()
        await self._receive.aclose()


def stream_pair(network: MemoryNetwork, dialler: int, listener: int) -> tuple[MemoryStream, MemoryStream]:
    """Return the two ends of a new connection: the dialler's, and the listener's."""
    out_send, out_receive = trio.open_memory_channel[tuple[float, bytes]](PIPE_CHUNKS)
    back_send, back_receive = trio.open_memory_channel[tuple[float, bytes]](PIPE_CHUNKS)
    return (
        MemoryStream(out_send, back_receive, network, dialler, listener),
        MemoryStream(back_send, out_receive, network, listener, dialler),
    )
