"""The machine under the node: its folder, its disk, its limits, its sandbox."""

import os
import platform
import resource
import shutil
import stat
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import trio

from node.app.doctor.finding import Finding, Patient, broken, ok, warning
from node.app.terms import execution_settings
from node.execution.engine import build_engine
from node.execution.pool import open_worker_pool
from node.storage.errors import DataFolderInUse
from node.storage.folder_lock import hold_folder
from node.storage.health import GONE_BYTES, SCARCE_BYTES
from protocol.task.engine import WASMTIME_50_0_1

FLUSHES: Final = 20
FLUSH_BYTES: Final = 4096
SLOW_FLUSH_S: Final = 0.05
"""A tenth of the shortest usual window, and a task takes some ten flushes one after the other."""
DESCRIPTORS_BESIDE: Final = 256
"""What a node opens besides its peers: database, blobs, workers, sockets of commands and of the chain."""
DESCRIPTORS_PER_PEER: Final = 2
BARRIERS: Final = ("rlimits", "no_new_privs", "landlock", "seccomp")
MIB: Final = 2**20


async def check_python(_patient: Patient) -> list[Finding]:
    """The interpreter and the engine that tasks name."""
    await trio.lowlevel.checkpoint()
    build_engine(WASMTIME_50_0_1)  # raises if another one is installed
    engine = f"{WASMTIME_50_0_1.runtime} {WASMTIME_50_0_1.version}"
    return [ok("engine", f"Python {platform.python_version()}, {engine}, the engine that tasks name")]


async def check_folder(patient: Patient) -> list[Finding]:
    """Whether the data folder is ours alone, writable, and on a disk with room."""
    return await trio.to_thread.run_sync(_look_at_folder, patient)


async def check_disk_speed(patient: Patient) -> list[Finding]:
    """How long the disk takes to make a small write durable: every promise of a node waits for that."""
    folder = patient.settings.node.data_dir
    if not _is_writable(folder):
        return []  # said already
    slowest = await trio.to_thread.run_sync(_time_flushes, folder)
    median_s = statistics.median(slowest)
    text = f"a flush takes {median_s * 1000:.1f} ms (median of {FLUSHES}, slowest {max(slowest) * 1000:.1f} ms)"
    if median_s > SLOW_FLUSH_S:
        return [
            warning("disk speed", text, "use a local SSD: on this disk bids and payments come late to short windows")
        ]
    return [ok("disk speed", text)]


async def check_descriptors(patient: Patient) -> list[Finding]:
    """Whether the process may open as many files and sockets as its peers will need."""
    await trio.lowlevel.checkpoint()
    allowed, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    peers = patient.settings.network.max_peers
    needed = DESCRIPTORS_BESIDE + DESCRIPTORS_PER_PEER * peers
    text = f"{allowed} descriptors allowed, {needed} needed for {peers} peers"
    if allowed >= needed:
        return [ok("descriptors", text)]
    how = f"ulimit -n {needed}" if hard >= needed else f"LimitNOFILE={needed} in the service"
    return [broken("descriptors", text, f"raise the limit ({how}), or lower network.max_peers")]


async def check_sandbox(patient: Patient) -> list[Finding]:
    """Start a worker as the node would, and ask which of the kernel's barriers hold around it."""
    with tempfile.TemporaryDirectory(prefix="stoa-doctor-") as name:
        folder = Path(name)
        async with open_worker_pool(
            execution_settings(patient.settings), cache_dir=folder / "modules", work_dir=folder / "runs"
        ) as pool:
            held = pool.status().barriers
    missing = [barrier for barrier in BARRIERS if barrier not in held]
    if not missing:
        return [ok("sandbox", f"a worker started behind {', '.join(held)}")]
    text = f"a worker started, but without {', '.join(missing)}"
    advice = "use a kernel with Landlock (5.13 or newer, lsm=landlock) and seccomp filters; a container may forbid both"
    return [warning("sandbox", text, advice)]


def _look_at_folder(patient: Patient) -> list[Finding]:
    folder = patient.settings.node.data_dir
    if not folder.exists():
        return [broken("data folder", f"{folder} does not exist", "create it and its keys with: stoa init")]
    if not _is_writable(folder):
        return [broken("data folder", f"{folder} can't be written by user {os.geteuid()}", f"chown or chmod {folder}")]
    found = [_privacy(folder), _room(folder)]
    if patient.running is None:
        try:
            with hold_folder(folder):
                pass
        except DataFolderInUse as error:
            advice = "another node uses it, or this one answers no command: wait, or end that process"
            found.append(broken("data folder", str(error), advice))
    return found


def _privacy(folder: Path) -> Finding:
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        text = f"{folder} is open to other users (mode {mode:04o})"
        return warning("data folder", text, f"run: chmod 700 {folder}")
    return ok("data folder", f"{folder}, writable and private")


def _room(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    text = f"{free // MIB} MiB free on the disk of {folder}"
    if free >= SCARCE_BYTES:
        return ok("disk space", text)
    advice = "free space: a node that can't write its journal takes no work and makes no payment"
    return broken("disk space", text, advice) if free < GONE_BYTES else warning("disk space", text, advice)


def _is_writable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=sys.platform == "linux")


def _time_flushes(folder: Path) -> list[float]:
    times: list[float] = []
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
        for _ in range(FLUSHES):
            file.write(b"\0" * FLUSH_BYTES)
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return times
