"""Metered WebAssembly against native code: the same four kernels, by the node's engine and by gcc -O2.

python -m benchmarks.run --only kernels

The engine is the one that tasks run on: fuel, canonical NaNs; the module may use SIMD, as a task may. Both run in this
process, one after the other, and must give the same number. Without gcc only the WebAssembly is timed.
"""

import ctypes
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import wasmtime

from benchmarks.figures import Figure, rated
from node.execution.engine import build_engine
from protocol.task.engine import WASMTIME_50_0_1

HERE: Final = Path(__file__).parent / "kernels"
KERNELS: Final = {"sha256": 40_000, "matmul": 20, "sieve": 6, "heapsort": 5}
"""Names, and how often each repeats its work: some ten milliseconds."""
FUEL: Final = 2**62


def metered() -> dict[str, Callable[[int], int]]:
    """Return the kernels as the node's engine runs them."""
    engine = build_engine(WASMTIME_50_0_1)
    module = wasmtime.Module(engine, (HERE / "kernels.wasm").read_bytes())
    store = wasmtime.Store(engine)
    store.set_fuel(FUEL)
    exports = wasmtime.Linker(engine).instantiate(store, module).exports(store)

    def bind(name: str) -> Callable[[int], int]:
        function = exports[name]
        assert isinstance(function, wasmtime.Func)
        return lambda rounds: int(function(store, rounds)) % 2**64

    return {name: bind(name) for name in KERNELS}


def native(folder: Path) -> dict[str, Callable[[int], int]]:
    """Return the kernels as gcc compiles them; none if there is no gcc."""
    compiler = shutil.which("gcc")
    if compiler is None:
        return {}
    library = folder / "kernels.so"
    options = ["-std=c11", "-O2", "-ffp-contract=off", "-shared", "-fPIC"]
    subprocess.run([compiler, *options, str(HERE / "kernels.c"), "-o", str(library)], check=True)
    loaded = ctypes.CDLL(str(library))

    def bind(name: str) -> Callable[[int], int]:
        function = loaded[name]
        function.restype, function.argtypes = ctypes.c_uint64, [ctypes.c_uint32]
        return function

    return {name: bind(name) for name in KERNELS}


def timed(function: Callable[[int], int], repeats: int) -> tuple[float, int]:
    """Return the CPU milliseconds of a run, and what it computed."""
    began = time.process_time()
    result = function(repeats)
    return (time.process_time() - began) * 1e3, result


def measure(*, quick: bool) -> list[Figure]:
    """Measure all."""
    rounds = 2 if quick else 9
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="stoa-bench-") as folder:
        ours, theirs = metered(), native(Path(folder))
        for name, repeats in KERNELS.items():
            ours[name](1)
            taken: tuple[list[float], list[float]] = ([], [])
            for _ in range(rounds):
                spent, result = timed(ours[name], repeats)
                taken[0].append(spent)
                if theirs:
                    spent, expected = timed(theirs[name], repeats)
                    taken[1].append(spent)
                    assert result == expected, f"{name} gives {result} in WebAssembly and {expected} natively"
            figures.append(rated(f"metered WASM, {name}", "ms CPU", taken[0], "gcc -O2" if theirs else "", taken[1]))
    return figures
