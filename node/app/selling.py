"""What this node sells: the operator's settings, its measured speed, and what was changed while it runs."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import structlog
import trio

from node.config.settings import Settings
from node.config.trade import PriceSettings, RateSettings
from node.execution.calibration import Calibration, KernelSpeed, calibrate
from node.execution.pool import WorkerPool
from node.market.quoting import SellingTerms
from protocol.task.pricing import Rates

log = structlog.stdlib.get_logger(__name__)

FILE = "calibration.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seller:
    """Selling terms, and where the measurement behind them is kept."""

    terms: SellingTerms
    calibration: Calibration | None

    def patience_cpu_s(self, fuel: int) -> float:
        """Return the CPU seconds after which a run with so much fuel is stopped (B4); unmeasured, no such limit."""
        return self.calibration.patience_cpu_s(fuel) if self.calibration else float("inf")


def terms_of(settings: Settings, calibration: Calibration | None) -> SellingTerms:
    """Return the terms that the configuration gives.

    A promised time must hold for the slowest kind of work, so it is computed from the slowest kernel.
    """
    provider = settings.provider
    return SellingTerms(
        rates=rates_of(provider.prices),
        memory_mib=min(provider.memory_mib // provider.worker_count, settings.execution.max_memory_mib),
        input_mib=settings.execution.max_input_mib,
        output_mib=settings.execution.max_output_mib,
        max_eta_s=settings.execution.max_wall_s,
        fuel_per_s=provider.fuel_per_s or (calibration.slowest_fuel_per_s if calibration else 0),
        allow=frozenset(provider.allow),
        deny=frozenset(provider.deny),
        credit_limit=provider.credit_limit,
        hours=provider.working_hours,
    )


def rates_of(prices: PriceSettings | RateSettings) -> Rates:
    """Return the prices as the protocol counts them."""
    return Rates(
        start=prices.start,
        gfuel=prices.gfuel,
        mib_gfuel=prices.mib_gfuel,
        mib_in=prices.mib_in,
        mib_out=prices.mib_out,
    )


async def load_seller(settings: Settings, pool: WorkerPool) -> Seller:
    """Return the terms; a node that sells and was never measured is measured now, which takes some seconds."""
    calibration = await trio.to_thread.run_sync(_read, settings.node.data_dir / FILE)
    if calibration is None and settings.provider.enabled and settings.provider.fuel_per_s is None:
        calibration = await measure(settings, pool)
    return Seller(terms=terms_of(settings, calibration), calibration=calibration)


async def measure(settings: Settings, pool: WorkerPool) -> Calibration:
    """Measure this machine and keep the result in the data folder."""
    calibration = await calibrate(pool)
    log.info("provider.calibrated", median=calibration.fuel_per_s, slowest=calibration.slowest_fuel_per_s)
    path = trio.Path(settings.node.data_dir / FILE)
    await path.write_text(json.dumps(asdict(calibration), indent=2) + "\n")
    return calibration


def with_speed(terms: SellingTerms, fuel_per_s: int) -> SellingTerms:
    """Return the terms with another speed."""
    return replace(terms, fuel_per_s=fuel_per_s)


def _read(path: Path) -> Calibration | None:
    try:
        raw = json.loads(path.read_text())
        kernels = tuple(KernelSpeed(**kernel) for kernel in raw.pop("kernels"))
        return Calibration(kernels=kernels, **raw)
    except (OSError, ValueError, TypeError, KeyError):
        return None  # missing or of another release: measured anew
