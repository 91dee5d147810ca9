"""What the figures were measured on. Never a host's name, never a path."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

PACKAGES: Final = ("trio", "libp2p", "wasmtime", "coincurve", "cryptography", "SQLAlchemy")


def describe_machine() -> list[str]:
    """Return lines for the head of the table."""
    cpu = _first(r"model name\s*: (.+)", "/proc/cpuinfo") or platform.processor()
    memory = int(_first(r"MemTotal:\s*(\d+)", "/proc/meminfo") or 0) / 2**20
    kernel = f"{platform.system()} {platform.release().split('-')[0]}"
    tools = f"node {_said('node', '--version')}, gcc {_said('gcc', '-dumpfullversion')}"
    js = _first(r'"libp2p": "([^"]+)"', str(Path(__file__).parents[1] / "package.json"))
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return [
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores of {cpu}, {memory:.0f} GiB, {kernel}",
        f"Python {platform.python_version()}, {tools}, js-libp2p {js}, {versions}",
        f"load average when it began: {os.getloadavg()[0]:.1f}",
    ]


def _first(pattern: str, path: str) -> str | None:
    found = re.search(pattern, Path(path).read_text())
    return found.group(1).strip() if found else None


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "missing"
    return done.stdout.splitlines()[0].strip()
