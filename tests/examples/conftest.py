"""An engine and compiled modules, shared by the session and let go at its end."""

from collections.abc import Iterator

import pytest
import wasmtime

from examples.run_local import ROOT, Task, open_engine, read_task


@pytest.fixture(scope="session")
def engine() -> wasmtime.Engine:
    return open_engine(ROOT / ".cache" / "examples")


@pytest.fixture(scope="session")
def own_modules(engine: wasmtime.Engine) -> Iterator[dict[str, tuple[wasmtime.Module, Task]]]:
    """The modules built from sources of ours, by example."""
    tasks = [read_task(ROOT / "examples" / name) for name in ("word-statistics", "image-filter", "monte-carlo")]
    modules = {task.name: (wasmtime.Module(engine, task.module.read_bytes()), task) for task in tasks}
    yield modules
    modules.clear()
