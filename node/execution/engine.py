"""Build the wasmtime engine that an `EngineDescription` names, and only that one.

The description decides everything that a run's result depends on. What is set here besides is this node's business and
changes no result: see `docs/spec/execution.md`, section 1.
"""

from importlib.metadata import version
from typing import Final

import wasmtime

from node.execution.native import ffi
from protocol.errors import ConfigError
from protocol.task.engine import EngineDescription

FIBER_STACK_BYTES: Final = 8 << 20
"""Guest code and the Python host calls above it share this stack, so it is far above `max_wasm_stack`."""
MEMORY_RESERVATION_BYTES: Final = 4 << 30
"""Address space, not memory. All that a 32-bit guest can ask for, so a memory never moves and never has to be copied to
grow: growth fails at the task's limit and nowhere else."""
MEMORY_GUARD_BYTES: Final = 32 << 20


def build_engine(description: EngineDescription) -> wasmtime.Engine:
    """Return an engine that matches `description`.

    Raises:
        ConfigError: The installed runtime is another one.
    """
    installed = version("wasmtime")
    if (description.runtime, description.version) != ("wasmtime", installed):
        raise ConfigError(
            f"this node has wasmtime {installed}, the engine is {description.runtime} {description.version}",
            advice="install the exact version that requirements/lock.txt names",
        )
    config = wasmtime.Config()
    for setting in description.features:
        value = setting.value if setting.name == "max_wasm_stack" else bool(setting.value)
        setattr(config, setting.name, value)
    config.parallel_compilation = False  # its threads hang after a fork, and one core is what a compilation is given
    config.memory_reservation = MEMORY_RESERVATION_BYTES
    config.memory_guard_size = MEMORY_GUARD_BYTES
    ffi.wasmtime_config_async_stack_size_set(config.ptr(), FIBER_STACK_BYTES)
    return wasmtime.Engine(config)
