"""A relay, nodes that nobody can dial, and strangers who say to them what they want."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from node.networking.libp2p.circuit_codec import decode_hop, decode_stop, encode_hop, encode_stop, frame
from node.networking.libp2p.negotiation import NegotiationFailed, respond
from node.networking.libp2p.yamux import MuxedStream, StreamReset
from node.networking.network import Network
from node.networking.relay.messages import HOP, STOP, HopKind, HopMessage, Status, StopKind, StopMessage
from protocol.identity import PeerId

KIB = 1024
MIB = 1024 * KIB
Eventually = Callable[[Callable[[], object]], Any]


async def echo(_peer: str, body: bytes) -> bytes:
    return body


def way_to(target: Network, relay: Network) -> str:
    return f"{relay.addresses[0]}/p2p-circuit/p2p/{target.peer_id}"


def hidden(lab: Any, number: int, **settings: Any) -> Any:
    """A node that listens nowhere."""
    return lab.node(number, listen=(), reachable="no", **settings)


@asynccontextmanager
async def hop(lab: Any, relay: Network, number: int, **options: Any) -> AsyncGenerator[Any, None]:
    """A stranger who says what it wants to `relay` and reads the answers."""
    async with lab.attacker(relay, number, **options) as attacker:

        async def ask(message: HopMessage | bytes) -> tuple[HopMessage, MuxedStream]:
            stream = await attacker.open(HOP)
            await stream.write(frame(message if isinstance(message, bytes) else encode_hop(message)))
            return decode_hop(await read_frame(stream)), stream

        attacker.ask = ask
        yield attacker


async def read_frame(stream: MuxedStream) -> bytes:
    async def exactly(size: int) -> bytes:
        data = b""
        while len(data) < size:
            chunk = await stream.read(size - len(data))
            assert chunk, "the other side finished"
            data += chunk
        return data

    length = (await exactly(1))[0]
    if length & 0x80:
        length = length & 0x7F | (await exactly(1))[0] << 7
    return await exactly(length)


RESERVE = HopMessage(kind=HopKind.RESERVE)


def connect_to(peer: PeerId) -> HopMessage:
    return HopMessage(kind=HopKind.CONNECT, peer=peer)


async def accept_circuit(attacker: Any) -> MuxedStream:
    """Take the next circuit that comes to `attacker`, as a target does."""
    while True:
        while not attacker.inbound:
            await trio.sleep(0.1)
        stream = attacker.inbound.pop(0)
        try:
            await respond(stream, [STOP])
        except (NegotiationFailed, StreamReset):
            continue  # something else that a node opens, such as gossip
        assert decode_stop(await read_frame(stream)).kind is StopKind.CONNECT
        await stream.write(frame(encode_stop(StopMessage(kind=StopKind.STATUS, status=Status.OK))))
        return stream


async def wait_for(condition: Callable[[], object], *, at_most_s: float = 600.0) -> None:
    """Wait on the virtual clock."""
    with trio.fail_after(at_most_s):
        while not condition():
            await trio.sleep(0.25)
