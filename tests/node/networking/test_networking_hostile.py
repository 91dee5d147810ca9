# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
"""Bytes that killed, or would kill, the stock host before a service sees them."""

from typing import Any

import pytest
import trio
from noise.connection import Keypair, NoiseConnection
from trio.testing import MockClock

from node.networking.addresses import parse_peer_address
from node.networking.errors import PeerUnreachable
from node.networking.libp2p.negotiation import (
    MAX_TOKEN_BYTES,
    MAX_TOKENS,
    NegotiationFailed,
    encode_varint,
    propose,
    respond,
)
from node.networking.libp2p.secure import NOISE, RawConnection
from node.networking.libp2p.yamux import StreamReset
from node.networking.memory import MemoryTransport

HELLO = b"\x13/multistream/1.0.0\n"


def token(text: bytes) -> bytes:
    return encode_varint(len(text) + 1) + text + b"\n"


async def echo(_peer: str, body: bytes) -> bytes:
    return body


async def assert_alive(lab: Any, victim: Any) -> None:
    """The node still serves somebody who behaves."""
    if "echo" not in victim._requests._methods:
        victim.serve("echo", echo, max_request=10)
    async with lab.node(90) as honest:
        await honest.connect(victim.addresses[0])
        assert await honest.call(victim.peer_id, "echo", b"ok") == b"ok"


async def drain(stream: trio.abc.Stream) -> bytes:
    data = b""
    with trio.fail_after(60):
        while chunk := await stream.receive_some():
            data += chunk
    return data


async def read_until_reset(stream: Any) -> None:
    try:
        while await stream.read():
            pass
    except StreamReset:
        return
    pytest.fail("the stream was finished, not reset")


GARBAGE = [
    b"\x00",
    b"\xff" * 64,
    HELLO + b"\x05\xff\xfe\xfd\xfc\n",  # not UTF-8
    HELLO + b"\xff\xff\xff\xff\x0f",  # a token of 4 GB
    HELLO + encode_varint(MAX_TOKEN_BYTES + 1) + bytes(MAX_TOKEN_BYTES + 1),
    HELLO + b"\x01\n" * 100,  # empty tokens
    HELLO + b"\x06/noise",  # no end of line
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    HELLO + token(b"/noise") + b"\x00\x00",
    HELLO + token(b"/noise") + b"\xff\xff" + bytes(65_535),
    HELLO + token(b"/noise") + b"\x00\x20" + bytes(32) + b"\x00\x10" + bytes(16),
]


@pytest.mark.parametrize("data", GARBAGE)
async def test_garbage_before_the_handshake_ends_that_connection_alone(
    lab: Any, data: bytes, autojump_clock: MockClock
) -> None:
    async with lab.node(1) as victim:
        stream = await lab.dial_raw(victim)
        await stream.send_all(data)
        await drain(stream)
        assert victim.peers() == ()
        await assert_alive(lab, victim)


@pytest.mark.parametrize("protocol", ["/plaintext/2.0.0", "/plaintext/1.0.0", "/secio/1.0.0", "/tls/1.0.0"])
async def test_no_other_security_than_noise_is_accepted(lab: Any, protocol: str, autojump_clock: MockClock) -> None:
    async with lab.node(1) as victim:
        stream = await lab.dial_raw(victim)
        with pytest.raises(NegotiationFailed, match="speaks none"):
            await propose(RawConnection(stream, is_initiator=True), [protocol])
        await drain(stream)
        assert victim.peers() == ()


async def test_a_listener_that_offers_only_plaintext_is_refused_by_the_dialler(lab: Any) -> None:
    async def plaintext_only(stream: trio.abc.Stream, _host: str) -> None:
        with pytest.raises(NegotiationFailed):
            await respond(RawConnection(stream, is_initiator=False), ["/plaintext/2.0.0"])

    async with lab.node(1) as victim, trio.open_nursery() as nursery:
        bound = await nursery.start(MemoryTransport(lab.memory).listen, parse_peer_address("/memory/0"), plaintext_only)
        with pytest.raises(PeerUnreachable):
            await victim.connect(str(bound))
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "payload", [b"", b"\xff" * 40, b"\x0a\x02\xff\xff\x12\x02\xff\xff", b"\x0a\x24\x08\x01\x12\x20" + bytes(32)]
)
async def test_a_handshake_with_a_malformed_identity_ends_that_connection_alone(
    lab: Any, payload: bytes, autojump_clock: MockClock
) -> None:
    async with lab.node(1) as victim:
        stream = await lab.dial_raw(victim)
        raw = RawConnection(stream, is_initiator=True)
        await propose(raw, [NOISE])
        noise = NoiseConnection.from_name(b"Noise_XX_25519_ChaChaPoly_SHA256")
        noise.set_keypair_from_private_bytes(Keypair.STATIC, b"\x05" * 32)
        noise.set_as_initiator()
        noise.start_handshake()
        first = bytes(noise.write_message(b""))
        await raw.write(len(first).to_bytes(2) + first)
        size = int.from_bytes(await raw.read(2))
        noise.read_message(await raw.read(size))
        last = bytes(noise.write_message(payload))
        await raw.write(len(last).to_bytes(2) + last)
        await drain(stream)
        assert victim.peers() == ()
        await assert_alive(lab, victim)


@pytest.mark.parametrize(
    "data",
    [
        b"\x05\xff\xfe\xfd\xfc\n",
        HELLO + b"\x05\xff\xfe\xfd\xfc\n",
        HELLO + b"\xff\xff\x7f",
        HELLO + token(b"/nonsense") * (MAX_TOKENS + 1),
    ],
)
async def test_garbage_in_the_negotiation_of_a_stream_ends_that_stream_alone(lab: Any, data: bytes) -> None:
    async with lab.node(1) as victim, lab.attacker(victim) as attacker:
        stream = attacker.mux.open_stream()
        await stream.write(data)
        with trio.fail_after(5):
            await read_until_reset(stream)
        assert len(victim.peers()) == 1
        await assert_alive(lab, victim)


async def test_a_stream_on_which_nothing_is_proposed_is_dropped(lab: Any, autojump_clock: MockClock) -> None:
    async with lab.node(1) as victim, lab.attacker(victim) as attacker:
        stream = attacker.mux.open_stream()
        with trio.fail_after(11):
            await read_until_reset(stream)
        assert len(victim.peers()) == 1


async def test_a_ciphertext_that_does_not_decrypt_ends_that_connection_alone(lab: Any) -> None:
    async with lab.node(1) as victim, lab.attacker(victim) as attacker:
        raw = attacker.wire._wire._raw
        await raw.write(b"\x00\x20" + bytes(32))
        with trio.fail_after(5):
            await attacker.ended.wait()
        assert victim.peers() == ()
        await assert_alive(lab, victim)


async def test_a_connection_cut_inside_a_message_is_no_zombie(lab: Any, eventually: Any) -> None:
    async with lab.node(1) as victim, lab.attacker(victim) as attacker:
        raw = attacker.wire._wire._raw
        await raw.write(b"\x40\x00" + bytes(100))
        await raw.close()
        await eventually(lambda: victim.peers() == ())
        await assert_alive(lab, victim)


async def test_ping_and_identify_answer_and_end(lab: Any) -> None:
    async with lab.node(1) as victim, lab.attacker(victim) as attacker:
        ping = await attacker.open("/ipfs/ping/1.0.0")
        await ping.write(bytes(range(32)))
        assert await ping.read() == bytes(range(32))
        identify = await attacker.open("/ipfs/id/1.0.0")
        assert b"/meshsub/1.1.0" in await identify.read()
