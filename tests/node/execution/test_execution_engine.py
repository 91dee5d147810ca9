"""The engine is the one that its description names: every feature is on or off as stated."""

from dataclasses import replace

import pytest

from node.execution.engine import build_engine
from node.execution.messages import CompiledMessage, RefusedMessage
from protocol.errors import ConfigError
from protocol.task.engine import WASMTIME_50_0_1
from protocol.task.outcome import Outcome
from tests.node.execution.execution_lab import Lab, command, wat

OFF = {
    "threads": command("(drop (i32.atomic.load (i32.const 0)))"),
    "tail calls": command("(return_call $f)", fields="(func $f)"),
    "relaxed SIMD": command("(drop (i32x4.relaxed_trunc_f32x4_s (v128.const f32x4 0 0 0 0)))"),
    "64-bit memory": wat('(module (memory (export "memory") i64 1) (func (export "_start")))'),
    "several memories": wat('(module (memory (export "memory") 1) (memory 1) (func (export "_start")))'),
    "exceptions": command("(throw $e)", fields="(tag $e)"),
    "function references": command(
        "(call_ref $t (ref.func $f))", fields="(type $t (func)) (func $f) (elem declare func $f)"
    ),
    "garbage collection": command("(drop (struct.new_default $s))", fields="(type $s (struct (field i32)))"),
    "wide arithmetic": command("(drop (drop (i64.mul_wide_u (i64.const 1) (i64.const 2))))"),
    "custom page sizes": wat('(module (memory (export "memory") 1 (pagesize 1)) (func (export "_start")))'),
}
ON = {
    "several results": "(drop (drop (call $two)))",
    "bulk memory": "(memory.fill (i32.const 0) (i32.const 0) (i32.const 9))",
    "reference types": "(drop (ref.null func))",
    "SIMD": "(drop (i32x4.add (v128.const i32x4 1 2 3 4) (v128.const i32x4 1 2 3 4)))",
    "sign extension": "(drop (i32.extend8_s (i32.const 200)))",
    "extended constants": "(drop (global.get $g))",
    "saturating conversion": "(drop (i32.trunc_sat_f32_s (f32.const nan)))",
}
FD_WRITE = '(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))'


@pytest.mark.parametrize("feature", OFF)
def test_a_feature_that_is_off_makes_a_module_invalid(lab: Lab, feature: str) -> None:
    reply = lab.compile(OFF[feature])
    assert isinstance(reply, RefusedMessage)
    assert "not valid WebAssembly" in reply.reason or "not part of WebAssembly 2.0" in reply.reason


@pytest.mark.parametrize("feature", ON)
def test_a_feature_that_is_on_runs(lab: Lab, feature: str) -> None:
    module = command(
        ON[feature],
        fields="(func $two (result i32 i32) (i32.const 1) (i32.const 2)) "
        "(global $g i32 (i32.add (i32.const 1) (i32.const 2)))",
    )
    assert isinstance(lab.compile(module), CompiledMessage)
    assert lab.run(module).outcome == Outcome.OK


@pytest.mark.parametrize(
    ("store", "bits"),
    [
        ("(f64.store (i32.const 16) (f64.div (f64.const 0) (f64.const 0)))", "000000000000f87f"),
        ("(f64.store (i32.const 16) (f64.sqrt (f64.const -1)))", "000000000000f87f"),
        ("(f64.store (i32.const 16) (f64.add (f64.const nan:0x8000000000001) (f64.const 1)))", "000000000000f87f"),
        ("(f32.store (i32.const 16) (f32.sub (f32.const inf) (f32.const inf)))", "0000c07f00000000"),
        ("(f32.store (i32.const 16) (f32.demote_f64 (f64.const -nan:0x8000000000001)))", "0000c07f00000000"),
    ],
)
def test_a_computed_nan_has_one_bit_pattern(lab: Lab, store: str, bits: str) -> None:
    body = f"""
        (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 8)) {store}
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    """
    assert lab.run(command(body, imports=FD_WRITE)).output.hex() == bits


def test_another_version_of_the_runtime_is_refused_with_advice() -> None:
    with pytest.raises(ConfigError, match=r"50\.0\.1") as caught:
        build_engine(replace(WASMTIME_50_0_1, version="49.0.0"))
    assert "lock" in caught.value.advice
