"""The shipped tasks as a user runs them: whole, within their limits, and right according to another program."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import wasmtime

from examples.run_local import PREVIEW1, ROOT, Run, Task, read_task, run_part, run_task

EXAMPLES = ROOT / "examples"
NAMES = ("word-statistics", "image-filter", "monte-carlo", "python-script", "sqlite-query", "factors")
BY_LUCK = ("factors",)  # what these use hangs on a draw: test_examples_factors.py looks at many
OWN = ("word-statistics", "image-filter", "monte-carlo")
Finished = tuple[Task, list[tuple[Path, Run]]]


@pytest.fixture(scope="session")
def run_example(engine: wasmtime.Engine, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Finished]:
    """Run the example of this name, once a session; its files are to be read only."""

    done: dict[str, Finished] = {}

    def run(name: str) -> Finished:
        if name not in done:
            task = read_task(EXAMPLES / name)
            done[name] = task, run_task(task, engine, tmp_path_factory.mktemp(name))
        return done[name]

    return run


@pytest.fixture(params=NAMES)
def finished(request: pytest.FixtureRequest, run_example: Callable[[str], Finished]) -> Finished:
    return run_example(request.param)


def check(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / name / "check.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def changed(data: bytes) -> bytes:
    """`data` with one digit of its last number changed."""
    place = max(data.rfind(digit) for digit in b"0123456789")
    return data[:place] + (b"8" if data[place : place + 1] != b"8" else b"9") + data[place + 1 :]


def test_each_task_ends_well_within_its_limits(finished: Finished) -> None:
    task, results = finished
    for _, run in results:
        assert run.exit_code == 0, run.log
        assert 0 < run.fuel * 2 <= task.limits.fuel
        assert task.limits.fuel <= run.fuel * 4 or task.name in BY_LUCK
        assert run.memory_bytes * 2 <= task.limits.memory_mib << 20
        assert 0 < len(run.output) * 2 <= task.limits.output_bytes
        assert len(run.log) * 2 <= task.limits.log_bytes


def test_each_output_is_what_another_program_computes(finished: Finished) -> None:
    task, results = finished
    checked = check(task.name, *(path for path, _ in results))
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_each_readme_states_the_fuel_and_memory_that_were_measured(finished: Finished) -> None:
    task, results = finished
    readme = (EXAMPLES / task.name / "README.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ([\d,]+) \| ([\d.]+ MiB) \|$", readme, re.MULTILINE)
    # CPython's fuel depends on the inode numbers of the host's files, by about 3 in 100,000.
    slack = results[0][1].fuel // 10_000 if task.name == "python-script" else 0
    assert len(rows) == len(results)
    for (part, fuel, memory), (index, (_, run)) in zip(rows, enumerate(results), strict=True):
        assert int(part) == index
        assert abs(int(fuel.replace(",", "")) - run.fuel) <= slack
        assert memory == f"{run.memory_bytes / 2**20:.1f} MiB"


@pytest.mark.parametrize("name", ["word-statistics", "python-script", "sqlite-query"])
def test_a_text_with_one_wrong_digit_fails_its_check(
    name: str, run_example: Callable[[str], Finished], tmp_path: Path
) -> None:
    task, ((_, run),) = run_example(name)
    path = tmp_path / task.output
    path.write_bytes(changed(run.output))
    assert check(name, path).returncode == 1


def test_a_picture_filtered_otherwise_fails_its_check(run_example: Callable[[str], Finished]) -> None:
    task, ((path, _),) = run_example("image-filter")
    assert check(task.name, path, "--blur", "2", "--edges").returncode == 0
    assert check(task.name, path, "--blur", "1", "--edges").returncode == 1


def test_prices_with_a_wrong_digit_or_a_missing_part_fail_their_check(
    run_example: Callable[[str], Finished], tmp_path: Path
) -> None:
    task, results = run_example("monte-carlo")
    paths = [path for path, _ in results]
    assert check(task.name, *paths[1:]).returncode == 1
    assert check(task.name, *paths[1:], paths[1]).returncode == 1

    names, *lines = results[0][1].output.splitlines()
    wrong = tmp_path / paths[0].name
    wrong.write_bytes(b"\n".join([names, *map(changed, lines)]) + b"\n")
    checked = check(task.name, wrong, *paths[1:])
    assert checked.returncode == 1
    assert "WRONG" in checked.stdout


def test_a_factor_that_is_wrong_missing_or_another_parts_fails_its_check(
    run_example: Callable[[str], Finished], tmp_path: Path
) -> None:
    task, results = run_example("factors")
    first, second = (path for path, _ in results)
    wrong = tmp_path / first.name
    wrong.write_bytes(changed(first.read_bytes()))
    assert check(task.name, first).returncode == 1
    assert check(task.name, second, first).returncode == 1
    checked = check(task.name, wrong, second)
    assert checked.returncode == 1
    assert "WRONG for 1000000016000000063: not a factor" in checked.stdout


@pytest.mark.parametrize("name", ["image-filter", "python-script"])
def test_a_second_run_uses_the_same_fuel_and_gives_the_same_bytes(name: str, engine: wasmtime.Engine) -> None:
    task = read_task(EXAMPLES / name)
    module = wasmtime.Module(engine, task.module.read_bytes())
    first, second = (run_part(engine, module, task, task.parts[0]) for _ in range(2))
    assert (first.fuel, first.output, first.log) == (second.fuel, second.output, second.log)


@pytest.mark.parametrize("name", OWN)
def test_our_modules_ask_for_neither_clock_nor_chance_nor_network(name: str, engine: wasmtime.Engine) -> None:
    module = wasmtime.Module(engine, (EXAMPLES / name / f"{name.replace('-', '_')}.wasm").read_bytes())
    assert {item.module for item in module.imports} == {PREVIEW1}
    needed = {item.name for item in module.imports}
    assert needed <= {
        "args_get",
        "args_sizes_get",
        "fd_close",
        "fd_fdstat_get",
        "fd_read",
        "fd_seek",
        "fd_write",
        "proc_exit",
    }
