"""The search for factors: whatever start is drawn, what it finds is right, and both judges of it say the same."""

import importlib.util
import random
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import wasmtime
from hypothesis import example, given, settings
from hypothesis import strategies as st

from examples import run_local
from examples.run_local import PREVIEW1, ROOT, Run, Task, read_task, run_part, run_test

FACTORS = ROOT / "examples" / "factors"
MOST = 2**62 - 1  # the greatest number that number.h reads
NUMBERS = st.sampled_from([0, 1, 4, 6, 9, 2**61, MOST - 1, MOST, MOST + 1, 2**64 + 4]) | st.integers(2, MOST)


@pytest.fixture(scope="module")
def task() -> Task:
    return read_task(FACTORS)


@pytest.fixture(scope="module")
def search(engine: wasmtime.Engine, task: Task) -> wasmtime.Module:
    return wasmtime.Module(engine, task.module.read_bytes())


@pytest.fixture(scope="module")
def judge(engine: wasmtime.Engine, task: Task) -> wasmtime.Module:
    assert task.test is not None
    return wasmtime.Module(engine, task.test.module.read_bytes())


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """check.py, as a module."""
    spec = importlib.util.spec_from_file_location("check_factors", FACTORS / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the guests of this test entropy, the same each time the test is run."""
    drawn = random.Random(1975)

    def define_chance(linker: wasmtime.Linker, _clock: int) -> None:
        def random_get(caller: wasmtime.Caller, pointer: int, length: int) -> int:
            memory = caller["memory"]
            assert isinstance(memory, wasmtime.Memory)
            memory.write(caller, drawn.randbytes(length), pointer)
            return 0

        i32 = wasmtime.ValType.i32()
        linker.allow_shadowing = True
        linker.define_func(PREVIEW1, "random_get", wasmtime.FuncType([i32, i32], [i32]), random_get, access_caller=True)

    monkeypatch.setattr(run_local, "_define_still_world", define_chance)


@pytest.mark.usefixtures("chance")
def test_from_any_start_it_finds_a_factor_well_within_its_limits(
    engine: wasmtime.Engine, task: Task, search: wasmtime.Module
) -> None:
    for part in task.parts:
        number, found = int(part.args[1]), set[int]()
        for _ in range(40):
            run = run_part(engine, search, task, part)
            assert run.exit_code == 0, run.log
            assert run.fuel * 2 <= task.limits.fuel
            found.add(int(run.output))
        assert len(found) == 2, "luck decides which of the two is found"
        assert all(1 < factor < number and number % factor == 0 for factor in found)


class Judges:
    """Ask the test module and check.py about an output of the first part, were its number another."""

    def __init__(
        self, engine: wasmtime.Engine, task: Task, module: wasmtime.Module, reference: ModuleType, path: Path
    ) -> None:
        self._engine, self._task, self._module, self._reference, self._path = engine, task, module, reference, path

    def tested(self, number: int, output: bytes) -> Run:
        self._path.write_bytes(output)
        part = replace(self._task.parts[0], args=("factors", str(number)))
        return run_test(self._engine, self._module, replace(self._task, parts=(part,)), 0, self._path)

    def is_factor(self, number: int, output: bytes) -> bool:
        try:
            self._reference.read_factor(output, number)
        except ValueError:
            return False
        return True


@pytest.fixture(scope="module")
def judges(
    engine: wasmtime.Engine,
    task: Task,
    judge: wasmtime.Module,
    reference: ModuleType,
    tmp_path_factory: pytest.TempPathFactory,
) -> Judges:
    return Judges(engine, task, judge, reference, tmp_path_factory.mktemp("factors") / "output")


@st.composite
def outputs(draw: st.DrawFn) -> tuple[int, bytes]:
    """A number and what might be said of it: often a factor, often in a form that is not quite right."""
    small, large = draw(st.integers(1, 100)), draw(NUMBERS)
    number = draw(st.sampled_from([large, small * (large // small)]))
    said = str(draw(st.sampled_from([small, large // small, number, 1, 0])))
    zeros = "0" * draw(st.sampled_from([0, 1, 29 - len(said), 30 - len(said), 31 - len(said)]))
    end = draw(st.sampled_from([b"\n", b"\n", b"\n", b"", b"\n\n", b" \n", b"\x00\n", b"-\n", b"\xff"]))
    return number, zeros.encode() + said.encode() + end


@settings(max_examples=300, deadline=None)
@example(asked=(MOST, b"3\n"))
@example(asked=(MOST - 1, b"2\n"))
@example(asked=(MOST + 1, b"2\n"))
@example(asked=(2**64 + 4, b"2\n"))
@example(asked=(6, b"\n"))
@example(asked=(6, b"2" * 5000))
@given(asked=outputs())
def test_the_test_module_says_of_every_output_what_another_program_says(
    asked: tuple[int, bytes], judges: Judges
) -> None:
    number, output = asked
    run = judges.tested(number, output)
    assert run.exit_code == (0 if judges.is_factor(number, output) else 1)
    assert run.exit_code == 0 or run.output.startswith(b"not ")


def test_the_test_module_asks_for_neither_clock_nor_chance(judge: wasmtime.Module) -> None:
    assert {item.module for item in judge.imports} == {PREVIEW1}
    assert {item.name for item in judge.imports}.isdisjoint({"clock_time_get", "random_get"})
