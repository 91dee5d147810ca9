"""Attacks on what a node answers: requests, records, blobs, and the HTTP door."""

import struct
import time
from typing import Final

import trio

from node.networking.blob_frames import PROTOCOL as BLOBS
from node.networking.discovery import METHOD as PEERS
from node.networking.discovery import PeersExchange
from node.networking.frames import Kind, encode_frame, encode_named
from node.networking.libp2p.secure import Identity
from node.networking.requests import PROTOCOL as REQUESTS
from protocol.node_record import NodeAnnouncement, NodeBody, announce_node, host_public_key
from protocol.signing.ecdsa import address_of
from protocol.wire.codec import encode
from tests.assault.aim import Aim, Line
from tests.assault.sham_offers import sham_offer

MESSAGE: Final = "market/message"
METHODS: Final = (PEERS, MESSAGE, "market/award", "channel/voucher", "nonsense", "x" * 64)
BLACK_HOLE_PORT: Final = 9
_LENGTH: Final = struct.Struct("!I")
_HEAD: Final = struct.Struct("!IBI")


def request(number: int, method: str, body: bytes) -> bytes:
    """Return the bytes of a request."""
    return encode_frame(Kind.REQUEST, number, encode_named(method, body))


async def garbage_requests(aim: Aim) -> None:
    """Frames that are none, and requests whose bodies are none."""

    def bad() -> bytes:
        noise = aim.chance.randbytes(aim.chance.randrange(0, 2048))
        number = aim.chance.getrandbits(32)
        return aim.chance.choice(
            (
                noise,
                _LENGTH.pack(2**32 - 1),
                _HEAD.pack(5, 9, number),
                _HEAD.pack(7, 1, number) + b"\x00\xff",
                request(number, aim.chance.choice(METHODS), noise),
            )
        )

    async def attempt() -> None:
        async with aim.muxed() as line:
            while True:
                stream = await line.open(REQUESTS)
                for _ in range(30):
                    await stream.write(bad())
                    aim.done["requests"] += 1

    await aim.again_and_again(attempt)


async def nested_and_oversize(aim: Aim) -> None:
    """Bodies nested as deep, or as long, as a frame can be; and market messages with forged signatures."""
    deep = b"\x91" * 100_000 + b"\xc0"
    wide = b"\xdd" + (60_000).to_bytes(4) + b"\xc0" * 60_000

    async def attempt() -> None:
        async with aim.muxed() as line:
            stream = await line.open(REQUESTS)
            for number in range(1000):
                forged = bytearray(sham_offer(aim))
                forged[aim.chance.randrange(len(forged))] ^= 1
                body = aim.chance.choice((deep, wide, bytes(500_000), bytes(forged)))
                await stream.write(request(number, aim.chance.choice(METHODS), body))
                aim.done["requests"] += 1

    await aim.again_and_again(attempt)


async def unfinished_frames(aim: Aim) -> None:
    """On each stream a frame of a MiB that lacks its last byte."""
    almost = _HEAD.pack(1024 * 1024, Kind.REQUEST, 1) + bytes([5]) + b"peers" + bytes(1024 * 1024 - 12)

    async def attempt() -> None:
        async with aim.muxed() as line:
            for _ in range(200):
                stream = await line.open(REQUESTS)
                await stream.write(almost)
                aim.done["bytes"] += len(almost)
            await trio.sleep_forever()

    await aim.again_and_again(attempt, workers=8)


async def slow_frames(aim: Aim) -> None:
    """One byte a second, on as many streams as there may be, behind a sound handshake."""

    async def drip(line: Line, protocol: str) -> None:
        stream = await line.open(protocol)
        await stream.write(b"\x00\x0f\xff\xff\x01")
        while True:
            await stream.write(b"\x00")
            aim.done["bytes"] += 1
            await trio.sleep(1)

    async def attempt() -> None:
        async with aim.muxed() as line, trio.open_nursery() as nursery:
            for protocol in (REQUESTS, BLOBS, "/meshsub/1.1.0", "/ipfs/ping/1.0.0") * 10:
                nursery.start_soon(drip, line, protocol)
            await trio.sleep_forever()

    await aim.again_and_again(attempt, workers=10)


async def unread_answers(aim: Aim) -> None:
    """Requests at full speed, and none of the answers read."""

    async def attempt() -> None:
        async with aim.muxed() as line:
            stream = await line.open(REQUESTS)
            body = encode(PeersExchange(own=None, wanted=32))
            number = 0
            while True:
                number += 1
                await stream.write(request(number, PEERS, body))
                aim.done["requests"] += 1

    await aim.again_and_again(attempt, workers=8)


def record(aim: Aim, identity: Identity, port: int, *, forged: bool = False) -> NodeAnnouncement:
    """Return the record of a wallet that did not exist before, over this host key."""
    key = aim.chance.randbytes(32)
    addresses = tuple(f"/ip4/{aim.chance.choice(aim.sources)}/tcp/{port}" for _ in range(8))
    now = int(time.time())
    return announce_node(
        aim.chance.randbytes(32) if forged else key,
        aim.domain,
        wallet=address_of(key),
        host_key=host_public_key(identity.peer),
        body=NodeBody(addresses=addresses),
        sequence=now,
        expires=now + 3600,
    )


async def sybil_joins(aim: Aim) -> None:
    """New keys and new wallets, each with a sound record whose addresses answer the dial and then say nothing."""
    listeners = await trio.open_tcp_listeners(0, host="0.0.0.0")
    port: int = listeners[0].socket.getsockname()[1]

    async def hang(stream: trio.SocketStream) -> None:
        aim.done["dialled"] += 1
        with trio.move_on_after(60):
            await stream.receive_some(1)
            await trio.sleep_forever()

    async def attempt() -> None:
        identity = aim.identity()
        async with aim.muxed(identity) as line:
            stream = await line.open(REQUESTS)
            for number in range(20):
                own = record(aim, identity, port, forged=aim.chance.random() < 0.1)
                await stream.write(request(number, PEERS, encode(PeersExchange(own=own, wanted=32))))
                aim.done["records"] += 1
            await trio.sleep(0.2)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, hang, listeners)
        await aim.again_and_again(attempt, workers=8)


async def blob_drips(aim: Aim) -> None:
    """Requests for blobs: of digests that are nowhere, cut short, and with streams that are held."""

    async def hold(line: Line) -> None:
        while True:
            stream = await line.open(BLOBS)
            greeting = aim.chance.randbytes(32) + b"\x01\x01"
            await stream.write(aim.chance.choice((greeting, greeting[:20], greeting + b"\xff" * 9)))
            aim.done["requests"] += 1
            with trio.move_on_after(aim.chance.choice((0.01, 5))):
                while await stream.read(1):
                    await trio.sleep(1)

    async def attempt() -> None:
        async with aim.muxed() as line, trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(hold, line)

    await aim.again_and_again(attempt, workers=6)


async def at_the_door(aim: Aim) -> None:
    """The HTTP door: garbage, headers without end, one byte a second, and whole requests without a pause."""
    whole = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"

    async def attempt() -> None:
        async with aim.dial(port=aim.door) as stream:
            match aim.chance.randrange(4):
                case 0:
                    await stream.send_all(aim.chance.randbytes(4096))
                case 1:
                    await stream.send_all(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000)
                case 2:
                    for byte in whole:
                        await stream.send_all(bytes([byte]))
                        await trio.sleep(1)
                case _:
                    for _ in range(50):
                        await stream.send_all(whole)
                        aim.done["requests"] += 1
                        await stream.receive_some(65_536)

    await aim.again_and_again(attempt, workers=24)
