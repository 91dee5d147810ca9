"""Attacks on what lies below the muxer: TCP, the negotiation of encryption, the Noise handshake."""

from typing import Final

import trio
from noise.connection import Keypair, NoiseConnection

from node.networking.libp2p.negotiation import encode_varint, propose
from node.networking.libp2p.secure import NOISE, RawConnection
from tests.assault.aim import DIAL_TIMEOUT_S, Aim

HELLO: Final = b"\x13/multistream/1.0.0\n"
TO_NOISE: Final = HELLO + b"\x07/noise\n"
OPENINGS: Final = (
    b"\x00",
    b"\xff" * 64,
    HELLO + b"\x05\xff\xfe\xfd\xfc\n",  # not UTF-8
    HELLO + b"\xff\xff\xff\xff\x0f",  # a token of 4 GB
    HELLO + b"\x01\n" * 100,
    HELLO + b"\x06/noise",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    TO_NOISE + b"\x00\x00",
    TO_NOISE + b"\xff\xff" + bytes(65_535),
    TO_NOISE + b"\x00\x20" + bytes(32) + b"\x00\x10" + bytes(16),
)
PAYLOADS: Final = (b"", b"\xff" * 40, b"\x0a\x02\xff\xff\x12\x02\xff\xff", b"\x0a\x24\x08\x01\x12\x20" + bytes(32))
"""Proofs of who one is, none of which is one."""


async def garbage_on_tcp(aim: Aim) -> None:
    """Garbage instead of an opening, random or aimed at the parser."""

    async def attempt() -> None:
        async with aim.dial() as stream:
            random = aim.chance.randbytes(aim.chance.randrange(1, 65_536))
            await stream.send_all(aim.chance.choice((*OPENINGS, random)))
            with trio.move_on_after(0.2):
                while await stream.receive_some(65_536):
                    pass

    await aim.again_and_again(attempt, workers=16)


async def connections_in_turn(aim: Aim) -> None:
    """Connect and leave, as fast as it goes."""

    async def attempt() -> None:
        async with aim.dial():
            pass

    await aim.again_and_again(attempt, workers=8)


async def half_open(aim: Aim) -> None:
    """Hundreds of connections on which nothing is ever said."""

    async def attempt() -> None:
        async with aim.dial() as stream:
            while await stream.receive_some(1024):
                pass

    await aim.again_and_again(attempt, workers=300)


async def slow_openings(aim: Aim) -> None:
    """One byte a second: of the negotiation, or of a handshake message that was promised long."""
    texts = (TO_NOISE, TO_NOISE + b"\xff\xff" + bytes(65_535))

    async def attempt() -> None:
        async with aim.dial() as stream:
            text = aim.chance.choice(texts)
            head = aim.chance.choice((0, len(TO_NOISE) if len(text) > len(TO_NOISE) else 0))
            await stream.send_all(text[:head])
            for at in range(head, len(text)):
                await stream.send_all(text[at : at + 1])
                aim.done["bytes"] += 1
                await trio.sleep(1)

    await aim.again_and_again(attempt, workers=60)


async def garbage_in_handshakes(aim: Aim) -> None:
    """A Noise handshake whose last message proves nothing: all its cost, and no peer at the end."""

    async def attempt() -> None:
        async with aim.dial() as stream:
            raw = RawConnection(stream, is_initiator=True)
            with trio.fail_after(DIAL_TIMEOUT_S):
                await propose(raw, [NOISE])
                noise = NoiseConnection.from_name(b"Noise_XX_25519_ChaChaPoly_SHA256")
                noise.set_keypair_from_private_bytes(Keypair.STATIC, aim.chance.randbytes(32))
                noise.set_as_initiator()
                noise.start_handshake()
                first = bytes(noise.write_message(b""))
                await raw.write(len(first).to_bytes(2) + first)
                noise.read_message(await _read_message(raw))
                last = bytes(noise.write_message(aim.chance.choice(PAYLOADS)))
                await raw.write(len(last).to_bytes(2) + last)
                aim.done["handshakes"] += 1
                await raw.read(1)

    await aim.again_and_again(attempt, workers=8)


async def _read_message(raw: RawConnection) -> bytes:
    data = b""
    while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2]):
        chunk = await raw.read(65_537)
        if not chunk:
            raise trio.BrokenResourceError
        data += chunk
    return data[2 : 2 + int.from_bytes(data[:2])]


async def new_peers_in_turn(aim: Aim) -> None:
    """Whole handshakes, each with a key of its own, and gone again."""

    async def attempt() -> None:
        async with aim.secured():
            pass

    await aim.again_and_again(attempt, workers=8)


async def garbage_for_ciphertext(aim: Aim) -> None:
    """A sound handshake, then messages that do not decrypt, or are cut."""

    async def attempt() -> None:
        async with aim.secured() as line:
            raw = line.wire._wire._raw
            size = aim.chance.randrange(1, 4096)
            await raw.write(size.to_bytes(2) + aim.chance.randbytes(aim.chance.choice((size, size // 2))))

    await aim.again_and_again(attempt, workers=8)


async def garbage_in_negotiation(aim: Aim) -> None:
    """Tokens inside a stream that are no tokens: the first of them ended the stock host."""
    tokens = (
        b"\x05\xff\xfe\xfd\xfc\n",
        HELLO + b"\x05\xff\xfe\xfd\xfc\n",
        HELLO + b"\xff\xff\x7f",
        HELLO + (encode_varint(10) + b"/nonsense\n") * 17,
    )

    async def attempt() -> None:
        async with aim.muxed() as line:
            while True:
                stream = line.mux.open_stream()
                await stream.write(aim.chance.choice(tokens))
                aim.done["streams"] += 1
                with trio.move_on_after(0.5):
                    while await stream.read():
                        pass

    await aim.again_and_again(attempt, workers=4)
