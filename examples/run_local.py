"""Run an example on this machine, without a market: read task.toml, run each part, save outputs, print what it used.

    .venv/bin/python examples/run_local.py examples/word-statistics -o out/

The engine is wasmtime with fuel and canonical NaNs, a clock that stands still and no entropy, so every figure printed
repeats exactly; except that a program which asks for the inode numbers of its files (CPython does) spends a few ten
thousand units more or less from one folder of this machine to the next. A node hides those too. It also meters host
calls, so its fuel is a little more. Where the task brings a test ([test]), that is run on every output as a node would.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import wasmtime

ROOT = Path(__file__).parent.parent
PREVIEW1 = "wasi_snapshot_preview1"
NS_PER_S = 1_000_000_000
TEST_OUTPUT_BYTES = 65_536
WASM_PAGE_BYTES = 65_536
SUCCESS = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestFile:
    """A read-only file: `source` on this machine, seen by the guest at the absolute `path`."""

    path: str
    source: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One run of the module: what the task says, with what the part changes already applied."""

    args: tuple[str, ...]
    stdin: Path | None
    files: tuple[GuestFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Most that one part may use; outputs in bytes, fuel in wasmtime's units."""

    fuel: int
    memory_mib: int
    output_bytes: int
    log_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """The module that judges every output, and what one run of it may use."""

    module: Path
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task.toml, with paths resolved; `test` is None where results are checked in another way."""

    name: str
    module: Path
    test: Test | None
    env: Mapping[str, str]
    output: str
    clock: int
    limits: Limits
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one part gave and what it used; wall time in seconds, memory as the guest's linear memory at the end."""

    exit_code: int
    output: bytes
    log: bytes
    fuel: int
    memory_bytes: int
    wall_s: float


def _resolve(folder: Path, reference: str) -> Path:
    if reference.startswith("npm:"):
        return ROOT / "node_modules" / reference.removeprefix("npm:")
    return folder / reference


def _files(folder: Path, entries: Sequence[Mapping[str, str]]) -> tuple[GuestFile, ...]:
    return tuple(GuestFile(path=entry["path"], source=folder / entry["source"]) for entry in entries)


def _test(folder: Path, table: Mapping[str, Any]) -> Test:
    limits = Limits(
        fuel=table["fuel"],
        memory_mib=table["memory_mib"],
        output_bytes=TEST_OUTPUT_BYTES,
        log_bytes=TEST_OUTPUT_BYTES,
    )
    return Test(module=_resolve(folder, table["module"]), limits=limits)


def read_task(folder: Path) -> Task:
    """Read `folder`/task.toml. A part's args and files are added to the task's; its stdin replaces the task's."""
    spec = tomllib.loads((folder / "task.toml").read_text())
    parts: list[Part] = []
    for change in spec.get("parts", [{}]):
        stdin = change.get("stdin", spec.get("stdin"))
        parts.append(
            Part(
                args=(spec["name"], *spec.get("args", ()), *change.get("args", ())),
                stdin=folder / stdin if stdin else None,
                files=_files(folder, [*spec.get("files", ()), *change.get("files", ())]),
            )
        )
    return Task(
        name=spec["name"],
        module=_resolve(folder, spec["module"]),
        test=_test(folder, spec["test"]) if "test" in spec else None,
        env=spec.get("env", {}),
        output=spec["output"],
        clock=spec.get("clock", 0),
        limits=Limits(**spec["limits"]),
        parts=tuple(parts),
    )


def open_engine(cache: Path | None = None) -> wasmtime.Engine:
    """An engine that meters fuel; with `cache`, a folder in which compiled modules are kept."""
    config = wasmtime.Config()
    config.consume_fuel = True
    config.cranelift_nan_canonicalization = True
    config.wasm_relaxed_simd = False
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        settings = cache / "wasmtime-cache.toml"
        settings.write_text(f'[cache]\ndirectory = "{(cache / "modules").resolve()}"\n')
        config.cache = str(settings)
    return wasmtime.Engine(config)


def _stage_files(files: Sequence[GuestFile], root: Path, clock: int, wasi: wasmtime.WasiConfig) -> None:
    """Copy `files` under `root`, last changed at `clock`, and open their top folders to the guest, read-only."""
    for file in files:
        target = root / file.path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.source.read_bytes())
    for entry in (root, *root.rglob("*")):
        os.utime(entry, (clock, clock))  # CPython reads the times of its script, and spends fuel on them
    for top in sorted(child.name for child in root.iterdir()):
        wasi.preopen_dir(str(root / top), f"/{top}", fs_mutable=False)


def _define_still_world(linker: wasmtime.Linker, clock: int) -> None:
    """Shadow the clock and the entropy of WASI: both are constants, so a run repeats to the last unit of fuel."""
    i32, i64 = wasmtime.ValType.i32(), wasmtime.ValType.i64()

    def memory_of(caller: wasmtime.Caller) -> wasmtime.Memory:
        memory = caller["memory"]
        assert isinstance(memory, wasmtime.Memory)
        return memory

    def clock_time_get(caller: wasmtime.Caller, _clock_id: int, _precision: int, pointer: int) -> int:
        memory_of(caller).write(caller, (clock * NS_PER_S).to_bytes(8, "little"), pointer & 0xFFFFFFFF)
        return SUCCESS

    def random_get(caller: wasmtime.Caller, pointer: int, length: int) -> int:
        memory_of(caller).write(caller, bytes(length & 0xFFFFFFFF), pointer & 0xFFFFFFFF)
        return SUCCESS

    linker.allow_shadowing = True
    clock_type = wasmtime.FuncType([i32, i64, i32], [i32])
    linker.define_func(PREVIEW1, "clock_time_get", clock_type, clock_time_get, access_caller=True)
    linker.define_func(PREVIEW1, "random_get", wasmtime.FuncType([i32, i32], [i32]), random_get, access_caller=True)


def run_part(engine: wasmtime.Engine, module: wasmtime.Module, task: Task, part: Part) -> Run:
    """Run one part within the task's limits.

    Raises:
        wasmtime.Trap: the guest trapped, for want of fuel among other causes.
    """
    store = wasmtime.Store(engine)
    store.set_fuel(task.limits.fuel)
    store.set_limits(memory_size=task.limits.memory_mib << 20)
    wasi = wasmtime.WasiConfig()
    wasi.argv = part.args
    wasi.env = list(task.env.items())
    with tempfile.TemporaryDirectory() as scratch:
        output, log, root = Path(scratch, "output"), Path(scratch, "log"), Path(scratch, "root")
        root.mkdir()
        _stage_files(part.files, root, task.clock, wasi)
        if part.stdin is not None:
            wasi.stdin_file = str(part.stdin)
        wasi.stdout_file, wasi.stderr_file = str(output), str(log)
        store.set_wasi(wasi)
        linker = wasmtime.Linker(engine)
        linker.define_wasi()
        _define_still_world(linker, task.clock)
        started = time.perf_counter()
        exports = linker.instantiate(store, module).exports(store)
        start, memory = exports["_start"], exports["memory"]
        assert isinstance(start, wasmtime.Func)
        assert isinstance(memory, wasmtime.Memory)
        try:
            start(store)
            exit_code = 0
        except wasmtime.ExitTrap as exited:
            exit_code = exited.code
        wall_s = time.perf_counter() - started
        return Run(
            exit_code=exit_code,
            output=output.read_bytes(),
            log=log.read_bytes(),
            fuel=task.limits.fuel - store.get_fuel(),
            memory_bytes=memory.size(store) * WASM_PAGE_BYTES,
            wall_s=wall_s,
        )


def run_test(engine: wasmtime.Engine, module: wasmtime.Module, task: Task, index: int, output: Path) -> Run:
    """Run the task's test, compiled as `module`, on the output of part `index`; exit code 0 says that it is right.

    What a test is given, protocol/task/testing.py says; what this raises, run_part.
    """
    assert task.test is not None
    part = task.parts[index]
    files = part.files if part.stdin is None else (*part.files, GuestFile(path="/input/stdin", source=part.stdin))
    judged = Part(args=("test", str(index), *part.args[1:]), stdin=output, files=files)
    return run_part(engine, module, replace(task, limits=task.test.limits), judged)


def output_path(task: Task, folder: Path, index: int) -> Path:
    """Where the output of part `index` goes: `output`, or `<stem>.<index><suffix>` if there are several parts."""
    name = Path(task.output)
    return folder / (task.output if len(task.parts) == 1 else f"{name.stem}.{index}{name.suffix}")


def run_task(task: Task, engine: wasmtime.Engine, folder: Path) -> list[tuple[Path, Run]]:
    """Run every part of `task`, save the outputs in `folder`, and return them with what they used."""
    module = wasmtime.Module(engine, task.module.read_bytes())
    folder.mkdir(parents=True, exist_ok=True)
    results: list[tuple[Path, Run]] = []
    for index, part in enumerate(task.parts):
        run = run_part(engine, module, task, part)
        path = output_path(task, folder, index)
        path.write_bytes(run.output)
        results.append((path, run))
    return results


def _used(run: Run) -> str:
    """What `run` came to, in words."""
    sizes = f"{len(run.output):,} bytes, log {len(run.log):,} bytes"
    memory = f"memory {run.memory_bytes / 2**20:.1f} MiB"
    return f"exit {run.exit_code}, {sizes}, fuel {run.fuel:,}, {memory}, {run.wall_s:.2f} s"


def main() -> None:
    """Run the example named on the command line."""
    parser = argparse.ArgumentParser(description="Run an example on this machine, without a market.")
    parser.add_argument("example", type=Path, help="folder that holds task.toml")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder in which to save the outputs")
    parser.add_argument("--cache", type=Path, help="folder in which to keep compiled modules")
    arguments = parser.parse_args()
    task, engine = read_task(arguments.example), open_engine(arguments.cache)
    test = None if task.test is None else wasmtime.Module(engine, task.test.module.read_bytes())
    for index, (path, run) in enumerate(run_task(task, engine, arguments.output)):
        print(f"{path}: {_used(run)}")
        if test is not None:
            print(f"{path}, its test: {_used(run_test(engine, test, task, index, path))}")


if __name__ == "__main__":
    main()
