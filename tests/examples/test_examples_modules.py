"""Our modules against the second implementations in check.py, on other inputs than the shipped ones."""

import importlib.util
import itertools
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import wasmtime
from hypothesis import example, given, settings
from hypothesis import strategies as st

from examples.run_local import ROOT, Part, Run, Task, run_part

EXAMPLES = ROOT / "examples"
OWN = ("word-statistics", "image-filter", "monte-carlo")
CLANG_VERSION = "clang version 14.0.6"
Runner = Callable[[str, list[str], bytes], Run]
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}

# A real line, and what breaks or bends one.
LINE = (
    b'127.0.0.7 - - [20/Nov/2026:10:59:30 +0000] "GET /a HTTP/1.1" 200 17 "http://docs.example.org/" "reader/1.2" 1200'
)
SCRAPS = [b'"', b'\\"', b"\\", b" ", b"]", b"-", b"\t", b"", b"\xc3\xa9", b"\x00"]
NUMBERS = [b"0200", b"099", b"100", b"404", b"599", b"600", b"20", b"-", b"", b"+1", b"0", b"9" * 18, b"9" * 19]


@cache
def checker(name: str) -> ModuleType:
    """check.py of an example, as a module."""
    alias = f"check_{name.replace('-', '_')}"
    spec = importlib.util.spec_from_file_location(alias, EXAMPLES / name / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[alias] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run(
    engine: wasmtime.Engine,
    own_modules: dict[str, tuple[wasmtime.Module, Task]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Runner:
    """Run the module of the example of this name, with these arguments and this input."""
    source = tmp_path_factory.mktemp("modules") / "stdin"

    def run_module(name: str, args: list[str], stdin: bytes) -> Run:
        source.write_bytes(stdin)
        module, task = own_modules[name]
        part = Part(args=(name, *args), stdin=source, files=())
        return run_part(engine, module, task, part)

    return run_module


@st.composite
def log_lines(draw: st.DrawFn) -> bytes:
    """The real line, often with a number or another field replaced, or with a scrap put in somewhere."""
    fields = LINE.split(b" ")
    for _ in range(draw(st.integers(0, 2))):
        fields[draw(st.sampled_from([8, 9, -1]))] = draw(st.sampled_from(NUMBERS))
    if draw(st.booleans()):
        fields[draw(st.integers(0, len(fields) - 1))] = draw(st.sampled_from(SCRAPS))
    line = b" ".join(fields)
    place = draw(st.integers(0, len(line)))
    return line[:place] + draw(st.sampled_from(SCRAPS)) + line[place:] if draw(st.booleans()) else line


# Bends that chance finds too seldom (seen by planting bugs in the second implementation).
BENT = [
    LINE.replace(b" 200 ", b" 600 "),
    LINE.replace(b" 200 ", b" 99 "),
    LINE.replace(b"GET /a", b'GET /\\"a\\" \\\\'),
    LINE.replace(b"reader", b'\\"reader'),
    LINE.replace(b"GET /a HTTP/1.1", b"GET /a"),
    LINE.replace(b"GET /a HTTP/1.1", b"GET /a HTTP/1.1 "),
    LINE.replace(b" 1200", b""),
    LINE.replace(b" 1200", b" "),
    LINE.replace(b" 1200", b"1200"),
]


@settings(max_examples=150, deadline=None)
@example(lines=BENT, end=b"\n")
@given(lines=st.lists(log_lines(), max_size=6), end=st.sampled_from([b"", b"\n", b"\n\n"]))
def test_word_statistics_agrees_with_python_on_bent_and_broken_logs(
    lines: list[bytes], end: bytes, run: Runner
) -> None:
    text = b"\n".join(lines) + end
    result = run("word-statistics", ["--top", "20", "--log"], text)
    assert result.output == b"\n".join(checker("word-statistics").report(text)) + b"\n"


@settings(max_examples=50, deadline=None)
@given(text=st.text(alphabet="aAzZ09 '\n.-\u00e9\u4e2d", max_size=200).map(str.encode) | st.binary(max_size=200))
def test_word_statistics_counts_words_of_any_bytes_as_python_does(text: bytes, run: Runner) -> None:
    result = run("word-statistics", ["--log"], text)
    assert result.output == b"\n".join(checker("word-statistics").report(text)) + b"\n"


def encode_png(width: int, height: int, channels: int, samples: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    stride = width * channels
    rows = b"".join(b"\x00" + samples[start : start + stride] for start in range(0, height * stride, stride))
    header = struct.pack(">IIBBBBB", width, height, 8, COLOUR_TYPES[channels], 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@st.composite
def pictures(draw: st.DrawFn) -> bytes:
    width, height, channels = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(1, 4))
    size = width * height * channels
    extreme = st.lists(st.sampled_from([0, 1, 127, 128, 254, 255]), min_size=size, max_size=size).map(bytes)
    return encode_png(width, height, channels, draw(extreme | st.binary(min_size=size, max_size=size)))


RADII = st.sampled_from(["1", "2", "11", "12"])
FILTERS = st.lists(
    st.tuples(st.just("--blur"), RADII)
    | st.tuples(st.just("--sharpen"), RADII, st.sampled_from(["1", "99", "150", "1000"]))
    | st.just(("--edges",)),
    max_size=3,
)


@settings(max_examples=150, deadline=None)
@given(picture=pictures(), filters=FILTERS)
def test_image_filter_agrees_with_python_on_small_pictures_of_all_kinds(
    picture: bytes, filters: list[tuple[str, ...]], run: Runner
) -> None:
    args = list(itertools.chain(*filters))
    reference = checker("image-filter")
    result = run("image-filter", args, picture)
    assert result.exit_code == 0, result.log
    assert reference.decode_png(result.output) == reference.apply(reference.decode_png(picture), args)


@pytest.mark.parametrize(
    "text",
    [
        "--seed 1 --batches 3 --paths 40 --spot 10000 --strike 10500 --rate 300 --volatility 2000 --days 252",
        "--seed 0 --batches 2 --paths 9 --spot 1 --strike 1 --rate 0 --volatility 1 --days 1",
        "--seed 1000000000000 --batches 1 --paths 9 --spot 100000000 --strike 1 --rate 5000 --volatility 10000",
        "--seed 7 --batches 1 --paths 9 --spot 1 --strike 100000000 --rate 5000 --volatility 10000 --days 2",
    ],
)
def test_monte_carlo_agrees_with_python_to_the_last_digit(text: str, run: Runner) -> None:
    reference = checker("monte-carlo")
    option = reference.read_option(text.split())
    output = run("monte-carlo", [*text.split(), "--part", "1000000"], b"").output
    rows = [reference.run_batch(option, 1000000, batch) for batch in range(option.batches)]
    table = ["\t".join(map(str, row)) for row in [reference.NAMES, *rows]]
    assert output.decode() == "\n".join(table) + "\n"


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("word-statistics", ["--top"]),
        ("word-statistics", ["--top", "-1"]),
        ("word-statistics", ["--top", "100001"]),
        ("word-statistics", ["--what"]),
        ("image-filter", ["--blur"]),
        ("image-filter", ["--blur", "0"]),
        ("image-filter", ["--blur", "13"]),
        ("image-filter", ["--sharpen", "1"]),
        ("image-filter", ["--sharpen", "1", "1001"]),
        ("monte-carlo", ["--paths", "0"]),
        ("monte-carlo", ["--paths", "10001"]),
        ("monte-carlo", ["--paths", "99999999999999999999999"]),
        ("monte-carlo", ["--days"]),
        ("monte-carlo", ["--nights", "3"]),
    ],
)
def test_wrong_arguments_exit_with_2_and_say_what_is_right(name: str, args: list[str], run: Runner) -> None:
    result = run(name, args, b"")
    assert (result.exit_code, result.output) == (2, b"")
    assert result.log.startswith(b"usage: ")


GOOD = encode_png(2, 2, 3, bytes(12))


@pytest.mark.parametrize(
    "picture",
    [b"", b"GIF89a", GOOD[:40], GOOD.replace(b"\x08\x02", b"\x10\x02"), encode_png(100_000, 100_000, 1, b"")],
    ids=["empty", "not a PNG", "cut short", "16 bits", "more pixels than allowed"],
)
def test_what_is_no_picture_exits_with_1_and_says_so(picture: bytes, run: Runner) -> None:
    result = run("image-filter", ["--edges"], picture)
    assert (result.exit_code, result.output) == (1, b"")
    assert b"PNG" in result.log


def has_the_compiler() -> bool:
    if shutil.which("clang") is None or shutil.which("wasm-ld") is None:
        return False
    answer = subprocess.run(["clang", "--version"], capture_output=True, text=True, check=True).stdout
    return CLANG_VERSION in answer and Path("/usr/include/stb/stb_image.h").exists()


@pytest.mark.skipif(not has_the_compiler(), reason="needs Debian 12's clang, lld, wasi-libc and libstb-dev")
@pytest.mark.parametrize("name", [*OWN, "factors"])
def test_the_committed_modules_are_what_their_sources_build(name: str, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / name, tmp_path / name)
    committed = sorted((EXAMPLES / name).glob("*.wasm"))
    assert committed
    for module in committed:
        (tmp_path / name / module.name).unlink()
    subprocess.run(["sh", str(tmp_path / name / "build")], check=True)
    for module in committed:
        assert (tmp_path / name / module.name).read_bytes() == module.read_bytes(), module.name
