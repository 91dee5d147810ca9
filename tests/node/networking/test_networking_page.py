# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false
"""The bytes of docs/spec/wire-examples.md, sent to a node by a stranger: it understands them and answers as shown."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.networking.blob_source import NotServed
from node.networking.discovery import MAX_EXCHANGE_BYTES, METHOD, PeersExchange
from node.networking.libp2p.secure import Identity
from node.networking.libp2p.yamux import MuxedStream
from node.networking.verdict import Verdict
from protocol.identity import ContentDigest, PeerId
from protocol.wire.codec import decode, encode
from protocol.wire.topics import MarketTopic, topic_name
from tests.interop.wire_examples import CONTENT, HOST_SEED, examples_of_the_page
from tests.vectors.generate import MARKET

PAGE = examples_of_the_page()
TOPIC = topic_name(MARKET, MarketTopic.COMMITMENTS)


class Reader:
    """A blob of five bytes."""

    size = len(CONTENT)

    async def read_at(self, offset: int, length: int) -> bytes:
        return CONTENT[offset : offset + length]


class Source:
    """Serves that blob to anybody."""

    @asynccontextmanager
    async def open(self, digest: ContentDigest, peer: PeerId) -> AsyncGenerator[Reader, None]:
        if digest != PAGE["blob request"][:32]:
            raise NotServed("another")
        yield Reader()


async def read_all(stream: MuxedStream, size: int) -> bytes:
    data = b""
    with trio.fail_after(30):
        while len(data) < size:
            chunk = await stream.read(size - len(data))
            assert chunk, f"the node finished after {data.hex()}"
            data += chunk
    return data


async def test_the_requests_of_the_page_get_the_answers_of_the_page(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1) as network, lab.attacker(network) as stranger:
        asked: list[PeersExchange] = []

        async def peers(_peer: PeerId, body: bytes) -> bytes:
            asked.append(decode(PeersExchange, body))
            return encode(PeersExchange(own=None))

        network.serve(METHOD, peers, max_request=MAX_EXCHANGE_BYTES)
        stream = await stranger.open("/stoa/requests/1")
        await stream.write(PAGE["request"])
        assert await read_all(stream, len(PAGE["answer"])) == PAGE["answer"]
        assert asked == [PeersExchange(own=None, wanted=32)]

        unknown = b"\x01" + (2).to_bytes(4) + b"\x07no/such"
        await stream.write(len(unknown).to_bytes(4) + unknown + PAGE["cancel"])
        assert await read_all(stream, len(PAGE["refusal"])) == PAGE["refusal"]


async def test_the_blob_of_the_page_is_served_as_shown(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1) as network, lab.attacker(network) as stranger:
        network.serve_blobs(Source())
        stream = await stranger.open("/stoa/blobs/1")
        await stream.write(PAGE["blob request"])
        assert await read_all(stream, len(PAGE["blob answer"])) == PAGE["blob answer"]
        with trio.fail_after(30):
            assert await stream.read() == b""


# A bit of the author, the data, the sequence number, the topic, the signature.
@pytest.mark.parametrize("flipped", [None, 20, 100, 215, 230, 300])
async def test_the_gossip_of_the_page_is_delivered_and_nothing_that_differs_in_a_bit(
    lab: Any, autojump_clock: MockClock, flipped: int | None
) -> None:
    got: list[tuple[PeerId, bytes]] = []
    async with lab.node(2) as network, lab.attacker(network) as stranger:
        network.subscribe(
            TOPIC,
            validate=lambda _author, _data: Verdict.ACCEPT,
            deliver=lambda author, data: got.append((author, data)),
        )
        await trio.sleep(1)
        stream = await stranger.open("/meshsub/1.1.0")
        gossip = bytearray(PAGE["gossip"])
        if flipped is not None:
            gossip[flipped] ^= 1
        await stream.write(PAGE["subscription"] + bytes(gossip))
        await trio.sleep(5)
        expected = [(Identity(HOST_SEED).peer, PAGE["MarketMessage commitment"])] if flipped is None else []
        assert got == expected
