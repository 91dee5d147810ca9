"""Attacks on the muxer: frames, windows, streams."""

from typing import Final

import trio

from tests.assault.aim import DATA, PING, RST, SYN, WINDOW, Aim, Line, drained, frame

WINDOW_BYTES: Final = 256 * 1024
MANY_STREAMS: Final = 5_000
FRAMES_AT_ONCE: Final = 64


async def garbage_frames(aim: Aim) -> None:
    """What is no frame, or one that no peer may send now."""

    def bad() -> bytes:
        choose = aim.chance.randrange
        return aim.chance.choice(
            (
                aim.chance.randbytes(choose(1, 2048)),
                frame(DATA, SYN, 2, 0),  # our numbers are odd
                frame(DATA, 0, 1, 2**32 - 1),
                frame(7, 0, 0, 0),
                frame(WINDOW, SYN, 1, 2**32 - 1) + frame(WINDOW, 0, 1, 2**32 - 1),
                frame(DATA, SYN, 1, 5, b"abc"),
            )
        )

    async def attempt() -> None:
        async with aim.secured() as line, drained(line):
            for _ in range(50):
                await line.wire.write(bad())
                aim.done["frames"] += 1

    await aim.again_and_again(attempt, workers=8)


async def tiny_messages(aim: Aim) -> None:
    """Encrypted messages of nothing or of one ping each, as fast as they can be written: most work a byte."""

    async def attempt() -> None:
        async with aim.secured() as line, drained(line):
            number = 0
            while True:
                for _ in range(FRAMES_AT_ONCE):
                    number += 1
                    await line.wire.write(frame(PING, SYN, 0, number) if number % 2 else b"")
                aim.done["messages"] += FRAMES_AT_ONCE

    await aim.again_and_again(attempt, workers=6)


async def pings_in_bulk(aim: Aim) -> None:
    """Messages full of pings, window updates and data for streams that are not there."""
    pings = b"".join(frame(PING, SYN, 0, number) for number in range(1000))
    updates = frame(WINDOW, 0, 99, 1) * 1000
    nowhere = frame(DATA, 0, 99, 32_768, bytes(32_768))

    async def attempt() -> None:
        async with aim.secured() as line, drained(line):
            while True:
                await line.wire.write(aim.chance.choice((pings, updates, nowhere)))
                aim.done["frames"] += 1000

    await aim.again_and_again(attempt, workers=4)


async def windows_overrun(aim: Aim) -> None:
    """Far more on a stream than was granted: the stock muxer took 200 MB."""

    async def attempt() -> None:
        async with aim.secured() as line, drained(line):
            await line.wire.write(frame(WINDOW, SYN, 1, 0))
            body = bytes(32_768)
            for _ in range(200 * 1024 * 1024 // len(body)):
                await line.wire.write(frame(DATA, 0, 1, len(body), body))
                aim.done["bytes"] += len(body)

    await aim.again_and_again(attempt, workers=4)


async def windows_filled(aim: Aim) -> None:
    """On every stream just as much as is granted, and nothing that would let anybody read it."""

    async def attempt() -> None:
        async with aim.secured() as line, drained(line):
            body = bytes(32_768)
            for number in range(1, 60, 2):
                await line.wire.write(frame(WINDOW, SYN, number, 0))
                for _ in range(WINDOW_BYTES // len(body)):
                    await line.wire.write(frame(DATA, 0, number, len(body), body))
                    aim.done["bytes"] += len(body)
            await trio.sleep_forever()

    await aim.again_and_again(attempt, workers=60)


async def thousands_of_streams(aim: Aim) -> None:
    """5,000 streams at once, on which nothing is proposed."""

    async def attempt() -> None:
        async with aim.secured() as line, drained(line):
            await _open_many(aim, line, reset=False)
            await trio.sleep(1)

    await aim.again_and_again(attempt, workers=4)


async def streams_opened_and_reset(aim: Aim) -> None:
    """Streams that are reset as soon as they are open, so that there are never many."""

    async def attempt() -> None:
        async with aim.secured() as line, drained(line):
            await _open_many(aim, line, reset=True)

    await aim.again_and_again(attempt, workers=4)


async def _open_many(aim: Aim, line: Line, *, reset: bool) -> None:
    for number in range(1, 2 * MANY_STREAMS, 2):
        text = frame(WINDOW, SYN, number, 0)
        await line.wire.write(text + frame(WINDOW, RST, number, 0) if reset else text)
        aim.done["streams"] += 1
