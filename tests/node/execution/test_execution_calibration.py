"""Calibration measures what it says, on a real pool."""

from pathlib import Path

import pytest

from node.execution import calibration
from node.execution.calibration import Calibration, calibrate
from node.execution.errors import WorkerUnavailable
from node.execution.pool import open_worker_pool
from node.execution.settings import ExecutionSettings


async def test_calibration_measures_each_kind_of_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "ROUNDS", 1)
    monkeypatch.setattr(calibration, "KERNEL_FUEL", 20_000_000)
    monkeypatch.setattr(calibration, "COMPILED_FUNCTIONS", 100)
    async with open_worker_pool(ExecutionSettings(), cache_dir=tmp_path / "cache", work_dir=tmp_path / "work") as pool:
        measured = await calibrate(pool)
    speeds = [kernel.fuel_per_s for kernel in measured.kernels]
    assert len(speeds) == 6
    assert speeds == sorted(speeds, reverse=True)
    assert 0 < measured.slowest_fuel_per_s == speeds[-1] <= measured.fuel_per_s <= speeds[0]
    assert measured.compile_bytes_per_s > 0
    assert list((tmp_path / "work").iterdir()) == []


def test_patience_is_longer_than_a_promise_and_a_promise_than_a_guess() -> None:
    measured = Calibration(kernels=(), fuel_per_s=5 * 10**9, slowest_fuel_per_s=10**9, compile_bytes_per_s=1)
    assert measured.likely_cpu_s(10**10) == 2.0
    assert measured.promised_cpu_s(10**10) == 10.0
    assert measured.patience_cpu_s(10**10) == 32.0
    assert measured.patience_cpu_s(0) == 2.0


async def test_a_kernel_that_ends_otherwise_is_reported_and_not_averaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "_KERNELS", {"broken": '(func (export "_start") unreachable)'})
    with pytest.RaisesGroup(pytest.RaisesExc(WorkerUnavailable, match="broken")):
        async with open_worker_pool(
            ExecutionSettings(), cache_dir=tmp_path / "cache", work_dir=tmp_path / "work"
        ) as pool:
            await calibrate(pool)
