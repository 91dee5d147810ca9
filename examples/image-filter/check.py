"""Filter input.png with Python's zlib and integers, and compare every pixel.

    python3 check.py output.png [filters, as in task.toml]

The PNG is decoded here, without the library that made it. Exit status 0 only if size and all samples are equal.
"""

from __future__ import annotations

import math
import struct
import sys
import tomllib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import mul
from pathlib import Path

HERE = Path(__file__).parent
MAGIC = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # colour type -> samples a pixel; 3, a palette, is not for this example
Plane = list[list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """8-bit samples, one plane a channel, each a list of rows."""

    width: int
    height: int
    planes: tuple[Plane, ...]


def _paeth(left: int, above: int, corner: int) -> int:
    """The neighbour nearest to left + above - corner (PNG, section 9.4)."""
    guess = left + above - corner
    return min((left, above, corner), key=lambda value: abs(guess - value))


PREDICTORS: tuple[Callable[[int, int, int], int], ...] = (
    lambda _left, _above, _corner: 0,
    lambda left, _above, _corner: left,
    lambda _left, above, _corner: above,
    lambda left, above, _corner: (left + above) // 2,
    _paeth,
)


def decode_png(data: bytes) -> Image:
    """Decode a PNG of 8 bits a sample, not interlaced, without palette.

    Raises:
        ValueError: it is something else, or a checksum is wrong.
    """
    if not data.startswith(MAGIC):
        raise ValueError("not a PNG")
    chunks: list[tuple[bytes, bytes]] = []
    offset = len(MAGIC)
    while offset < len(data):
        (length,) = struct.unpack_from(">I", data, offset)
        kind, body = data[offset + 4 : offset + 8], data[offset + 8 : offset + 8 + length]
        if zlib.crc32(kind + body) != struct.unpack_from(">I", data, offset + 8 + length)[0]:
            raise ValueError(f"checksum of {kind!r}")
        chunks.append((kind, body))
        offset += 12 + length
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    if depth != 8 or interlaced or colour not in CHANNELS:
        raise ValueError("not 8 bits a sample, or interlaced, or with a palette")
    pixel = CHANNELS[colour]
    raw = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    size = width * pixel
    above = bytes(size + pixel)  # with one pixel of zeros to the left
    planes: tuple[Plane, ...] = tuple([] for _ in range(pixel))
    for start in range(0, height * (size + 1), size + 1):
        predict, row = PREDICTORS[raw[start]], bytearray(size + pixel)
        for i, value in enumerate(raw[start + 1 : start + 1 + size], start=pixel):
            row[i] = (value + predict(row[i - pixel], above[i], above[i - pixel])) & 0xFF
        for channel, plane in enumerate(planes):
            plane.append(list(row[pixel + channel :: pixel]))
        above = bytes(row)
    return Image(width=width, height=height, planes=planes)


def _blur_rows(plane: Plane, radius: int) -> Plane:
    weights = [math.comb(2 * radius, i) for i in range(2 * radius + 1)]
    half, shift = 1 << (2 * radius - 1), 2 * radius
    rows: Plane = []
    for row in plane:
        padded = [row[0]] * radius + row + [row[-1]] * radius
        windows = (padded[i : i + 2 * radius + 1] for i in range(len(row)))
        rows.append([(sum(map(mul, weights, window)) + half) >> shift for window in windows])
    return rows


def _turn(plane: Plane) -> Plane:
    return [list(column) for column in zip(*plane, strict=True)]


def blur(image: Image, radius: int) -> Image:
    """Binomial smoothing of every channel: rows, then columns."""
    planes = tuple(_turn(_blur_rows(_turn(_blur_rows(plane, radius)), radius)) for plane in image.planes)
    return Image(width=image.width, height=image.height, planes=planes)


def sharpen(image: Image, radius: int, percent: int) -> Image:
    """Unsharp mask of the colours; alpha stays."""
    colours = len(image.planes) - (len(image.planes) % 2 == 0)
    planes = list(image.planes)
    for channel, smooth in enumerate(blur(image, radius).planes[:colours]):
        planes[channel] = [
            [max(0, min(255, old + (old - low) * percent // 100)) for old, low in zip(before, after, strict=True)]
            for before, after in zip(image.planes[channel], smooth, strict=True)
        ]
    return Image(width=image.width, height=image.height, planes=tuple(planes))


def edges(image: Image) -> Image:
    """Sobel gradient of brightness, dark on white, in every colour; alpha stays."""
    colours = len(image.planes) - (len(image.planes) % 2 == 0)
    grey = image.planes[0]
    if colours == 3:
        rows = zip(*image.planes[:3], strict=True)
        grey = [[(299 * r + 587 * g + 114 * b + 500) // 1000 for r, g, b in zip(*row, strict=True)] for row in rows]
    last_x, last_y = image.width - 1, image.height - 1
    drawing: Plane = []
    for y in range(image.height):
        above, here, below = grey[max(y - 1, 0)], grey[y], grey[min(y + 1, last_y)]
        line: list[int] = []
        for x in range(image.width):
            left, right = max(x - 1, 0), min(x + 1, last_x)
            across = above[right] + 2 * here[right] + below[right] - above[left] - 2 * here[left] - below[left]
            down = below[left] + 2 * below[x] + below[right] - above[left] - 2 * above[x] - above[right]
            line.append(255 - min(255, math.isqrt(across * across + down * down)))
        drawing.append(line)
    planes = (drawing,) * colours + image.planes[colours:]
    return Image(width=image.width, height=image.height, planes=planes)


def apply(image: Image, args: Sequence[str]) -> Image:
    """Apply filters named as on the module's command line."""
    rest = list(args)
    while rest:
        match rest.pop(0):
            case "--blur":
                image = blur(image, int(rest.pop(0)))
            case "--sharpen":
                image = sharpen(image, int(rest.pop(0)), int(rest.pop(0)))
            case "--edges":
                image = edges(image)
            case unknown:
                raise ValueError(f"unknown filter {unknown}")
    return image


def main() -> int:
    """Compare the PNG named on the command line with the one computed here."""
    args = sys.argv[2:] or tomllib.loads((HERE / "task.toml").read_text())["args"]
    output = decode_png(Path(sys.argv[1]).read_bytes())
    expected = apply(decode_png((HERE / "input.png").read_bytes()), args)
    if (output.width, output.height, len(output.planes)) != (expected.width, expected.height, len(expected.planes)):
        print(f"got {output.width} x {output.height} pixels of {len(output.planes)} channels")
        return 1
    pairs = zip(output.planes, expected.planes, strict=True)
    wrong = sum(
        a != b for got, want in pairs for x, y in zip(got, want, strict=True) for a, b in zip(x, y, strict=True)
    )
    total = output.width * output.height * len(output.planes)
    print(f"equal: {total} samples" if wrong == 0 else f"{wrong} of {total} samples differ")
    return 0 if wrong == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
