# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateUsage=false
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
from node.networking.relay.messages import HOP, STOP
from node.networking.relay.reach import METHOD as REACH
from node.networking.verdict import Verdict
from protocol.identity import ContentDigest, PeerId
from protocol.wire.codec import decode, encode
from protocol.wire.topics import MarketTopic, topic_name
from tests.interop.wire_examples import BODY, CONTENT, HOST_SEED, examples_of_the_page
from tests.vectors.generate import MARKET, NOW

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


async def test_a_relay_answers_the_requests_of_the_page_as_shown(lab: Any, autojump_clock: MockClock) -> None:
    lab.now = NOW
    place = BODY.addresses[0].split("/")[2]
    async with lab.node(1, host=place, reachable="yes") as relay, lab.attacker(relay, 2) as stranger:
        stream = await stranger.open(HOP)
        await stream.write(PAGE["hop connect"])
        assert await read_all(stream, len(PAGE["hop no reservation"])) == PAGE["hop no reservation"]
        stream = await stranger.open(HOP)
        await stream.write(PAGE["hop reserve"])
        assert await read_all(stream, len(PAGE["hop reserved"])) == PAGE["hop reserved"]


async def test_a_peer_behind_a_relay_takes_the_circuit_of_the_page(lab: Any, autojump_clock: MockClock) -> None:
    lab.now = NOW
    async with lab.node(1, relay=None) as relay, lab.node(2, listen=(), reachable="no") as hidden:

        async def keep_a_place(stream: Any) -> None:
            assert await stream.read_exactly(len(PAGE["hop reserve"])) == PAGE["hop reserve"]
            await stream.write(PAGE["hop reserved"])

        relay._switch.handle(HOP, keep_a_place)
        await hidden.connect(relay.addresses[0])
        assert (await hidden.relays.reserve(relay.peer_id)).until - trio.current_time() == pytest.approx(3600, abs=1)
        stream = await relay._switch.open_stream(hidden.peer_id, [STOP])
        await stream.write(PAGE["stop connect"])
        assert await stream.read_exactly(len(PAGE["stop status"])) == PAGE["stop status"]
        assert await stream.read_exactly(20) == PAGE["negotiation"][:20]  # the connection above begins


async def test_the_question_of_the_page_is_answered_as_shown(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.member(1, host="198.51.100.1") as asked, lab.node(2, host="192.0.2.7") as asker:
        await asker.connect(asked.network.addresses[0])
        answer = await asker.call(asked.network.peer_id, REACH, PAGE["ReachQuestion"])
        assert answer == PAGE["ReachAnswer"]
