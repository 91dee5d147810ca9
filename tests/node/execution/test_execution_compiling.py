"""What is no module is refused with its reason, before or by the compiler."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.execution.compiling import compile_module
from node.execution.engine import build_engine
from node.execution.errors import InvalidModule
from node.execution.messages import CompiledMessage, CompileMessage, DamagedMessage, RefusedMessage
from node.execution.module_scan import first_memory_bytes, scan_module
from protocol.task.engine import WASMTIME_50_0_1, cap_of
from tests.node.execution.execution_lab import Lab, command, digest, wat

GOOD = command("")
HEADER = b"\0asm\1\0\0\0"


def leb(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def section(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + leb(len(body)) + body


def functions_with_locals(count: int, each: int) -> bytes:
    """Return a module of `count` functions with `each` locals: few bytes, much work for a compiler."""
    body = leb(1) + leb(each) + b"\x7f" + b"\x0b"
    code = leb(count) + (leb(len(body)) + body) * count
    types = section(1, b"\1\x60\0\0")
    return HEADER + types + section(3, leb(count) + b"\0" * count) + section(10, code)


def reason(lab: Lab, module: bytes) -> str:
    reply = lab.compile(module)
    assert isinstance(reply, RefusedMessage)
    return reply.reason


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (b"", "no magic bytes"),
        (b"garbage", "no magic bytes"),
        (b"\0asm", "version"),
        (b'(module (func (export "_start")))', "looks like text"),
        (b"  ;; comment\n(module)", "looks like text"),
        (b"\0asm\x0d\0\1\0", "component"),
        (HEADER + b"\x63\0", "section 99"),
        (HEADER + b"\1\x85", "middle of a number"),
        (HEADER + b"\1\xff\xff\xff\xff\xff\1", "32 bits"),
        (HEADER + b"\1\x7f", "longer than what contains it"),
        (HEADER + section(3, leb(200_001)), "200001 functions"),
        (HEADER + section(2, leb(257)), "257 imports"),
        (HEADER + section(11, leb(100_001)), "data segments"),
        (HEADER + section(4, b"\1\x70\0" + leb(1_000_001)), "a table of 1000001 elements"),
        (HEADER + section(10, b"\1" + leb((4 << 20) + 1)), "a function of"),
        (GOOD[:-3], "longer than what contains it"),
        (GOOD + b"\1\1\0", "not valid WebAssembly"),
        (wat('(module (memory (export "memory") 1))'), "no function _start"),
        (wat('(module (memory (export "memory") 1) (func (export "_start") (param i32)))'), "takes arguments"),
        (wat('(module (memory (export "memory") 1) (global (export "_start") i32 (i32.const 1)))'), "no function"),
        (wat('(module (func (export "_start")))'), "no memory"),
        (command("", imports='(import "env" "puts" (func (param i32)))'), "unknown import env.puts"),
        (
            command("", imports='(import "wasi_snapshot_preview1" "system" (func (param i32)))'),
            "unknown import wasi_snapshot_preview1.system",
        ),
        (
            command("", imports='(import "wasi_snapshot_preview1" "fd_close" (func (param i64) (result i32)))'),
            "wrong type",
        ),
        (command("", imports='(import "wasi_snapshot_preview1" "fd_close" (global i32))'), "unknown import"),
        (wat('(module (memory (export "memory") 1) (memory 1) (func (export "_start")))'), "not valid WebAssembly"),
        (wat('(module (memory (export "memory") i64 1) (func (export "_start")))'), "not valid WebAssembly"),
        (wat('(module (memory (export "memory") 1 1 shared) (func (export "_start")))'), "not valid WebAssembly"),
    ],
)
def test_what_is_no_module_is_refused_with_its_reason(lab: Lab, module: bytes, expected: str) -> None:
    assert expected in reason(lab, module)


def test_a_bomb_of_locals_is_refused_before_it_costs_anything(lab: Lab) -> None:
    limit = cap_of(WASMTIME_50_0_1, "function_locals")
    assert "local variables" in reason(lab, functions_with_locals(1, limit + 1))
    assert "in all functions together" in reason(lab, functions_with_locals(401, limit))
    assert "no function _start" in reason(lab, functions_with_locals(2, limit))  # within the caps it is compiled


def test_a_file_that_is_not_what_its_digest_names_is_told_from_an_invalid_module(tmp_path: Path) -> None:
    source = tmp_path / "module"
    source.write_bytes(GOOD)
    request = CompileMessage(module=digest(b"another"), module_bytes=len(GOOD))
    engine = build_engine(WASMTIME_50_0_1)
    with source.open("rb") as read, (tmp_path / "artifact").open("wb") as write:
        reply = compile_module(request, read.fileno(), write.fileno(), engine, WASMTIME_50_0_1)
    assert isinstance(reply, DamagedMessage)


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(GOOD) - 1), byte=st.integers(0, 255), cut=st.integers(0, len(GOOD)))
def test_no_damage_makes_the_scan_do_anything_but_accept_or_refuse(at: int, byte: int, cut: int) -> None:
    damaged = bytearray(GOOD)
    damaged[at] = byte
    for module in (bytes(damaged), bytes(damaged[:cut])):
        try:
            scan_module(memoryview(module), WASMTIME_50_0_1)
        except InvalidModule:
            continue


@pytest.mark.parametrize("pages", [0, 1, 127, 128, 65_536])
def test_the_memory_at_the_start_is_read_from_the_binary(pages: int) -> None:
    for limits in (f"{pages}", f"{pages} 65536"):
        assert first_memory_bytes(memoryview(command("nop", pages=limits))) == pages * 65_536


def test_a_module_without_memory_begins_with_none() -> None:
    assert first_memory_bytes(memoryview(wat('(module (func (export "_start")))'))) == 0
    assert first_memory_bytes(memoryview(HEADER + section(5, b"\0"))) == 0


@settings(deadline=None)
@given(at=st.integers(8, len(GOOD) - 1), byte=st.integers(0, 255), cut=st.integers(8, len(GOOD)))
def test_damage_on_the_disk_is_told_and_breaks_nothing(at: int, byte: int, cut: int) -> None:
    damaged = bytearray(GOOD)
    damaged[at] = byte
    with suppress(InvalidModule):
        assert first_memory_bytes(memoryview(damaged)[:cut]) >= 0


def test_the_scan_accepts_what_it_must(lab: Lab) -> None:
    scan_module(memoryview(GOOD), WASMTIME_50_0_1)
    assert isinstance(lab.compile(GOOD), CompiledMessage)
