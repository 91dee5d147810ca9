"""What makes two runs equal: the engine that a task names, and its digest (SPEC O2, docs/spec/execution.md, section 1).

Everything here changes an outcome, an output or a fuel figure when it changes, and nothing else is here: how memory is
reserved, how hard the compiler optimises or how often a run is metered differ between honest nodes.

The processor is not named either, only that it is a 64-bit little-endian one: fuel is counted on WebAssembly
instructions before any of them becomes machine code. Measured on 50.0.1: the x86-64 code generator at three settings,
Pulley, wasmtime's portable interpreter, agree on every outcome and every unit of fuel (tests/node/execution), except
where a stack overflows, which is never judged.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from protocol.signing.keccak import Digest, keccak256
from protocol.task.outcome import Outcome
from protocol.units import Uint8, Uint16, Uint64
from protocol.wire.codec import MaxLen, encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One named switch (0 or 1) or size of an engine."""

    name: Annotated[str, MaxLen(64)]
    value: Uint64


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineDescription:
    """An execution engine, exactly enough to repeat its runs.

    Attributes:
        runtime: Name of the WebAssembly runtime.
        version: Its exact version.
        target: The class of processors among which runs are equal.
        features: Language features and compiler switches, by name, in alphabetical order.
        caps: What a module or an instance may have at most, likewise. More makes the module invalid.
        host_calls: Version of the host calls: what they return and what fuel they charge.
        leaky: Outcomes at which this runtime loses fuel, ascending.
    """

    runtime: Annotated[str, MaxLen(64)]
    version: Annotated[str, MaxLen(64)]
    target: Annotated[str, MaxLen(64)]
    features: Annotated[tuple[Setting, ...], MaxLen(256)]
    caps: Annotated[tuple[Setting, ...], MaxLen(256)]
    host_calls: Uint16
    leaky: Annotated[tuple[Uint8, ...], MaxLen(32)]


def _settings(**values: int) -> tuple[Setting, ...]:
    return tuple(Setting(name=name, value=value) for name, value in sorted(values.items()))


def engine_digest(engine: EngineDescription) -> Digest:
    """Return the name of an engine: the Keccak-256 of its canonical encoding."""
    return Digest(keccak256(encode(engine)))


WASMTIME_50_0_1: Final = EngineDescription(
    runtime="wasmtime",
    version="50.0.1",
    target="64-bit little-endian",
    features=_settings(
        consume_fuel=1,
        cranelift_nan_canonicalization=1,
        gc_support=0,
        max_wasm_stack=2 << 20,
        wasm_bulk_memory=1,
        wasm_component_model=0,
        wasm_custom_page_sizes=0,
        wasm_exceptions=0,
        wasm_function_references=0,
        wasm_gc=0,
        wasm_memory64=0,
        wasm_multi_memory=0,
        wasm_multi_value=1,
        wasm_reference_types=1,
        wasm_relaxed_simd=0,
        wasm_simd=1,
        wasm_stack_switching=0,
        wasm_tail_call=0,
        wasm_threads=0,
        wasm_wide_arithmetic=0,
    ),
    caps=_settings(
        module_bytes=64 << 20,
        functions=200_000,
        function_bytes=4 << 20,
        function_locals=10_000,
        total_locals=4_000_000,
        data_segments=100_000,
        globals=10_000,
        imports=256,
        exports=100_000,
        types=10_000,
        table_elements=1_000_000,
        tables=8,
    ),
    host_calls=1,
    leaky=(
        int(Outcome.DIVISION_BY_ZERO),
        int(Outcome.INTEGER_OVERFLOW),
        int(Outcome.BAD_CONVERSION),
        int(Outcome.MEMORY_OUT_OF_BOUNDS),
        int(Outcome.TABLE_OUT_OF_BOUNDS),
    ),
)
"""The engine of this release."""

ENGINE_DIGEST: Final = engine_digest(WASMTIME_50_0_1)


def cap_of(engine: EngineDescription, name: str) -> int:
    """Return one of the engine's caps by name."""
    return next(setting.value for setting in engine.caps if setting.name == name)
