"""A registry of metrics of its own per node, collectors that read at scrape time, and how late the event loop is.

The process's global registry is never used: a simulation runs two hundred nodes in one process. What the metrics are
is up to whoever builds the node (`node.app.telemetry`).
"""

from collections.abc import Callable, Iterable
from typing import Final

import trio
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

LAG_EVERY_S: Final = 0.25
_OPEN_METRICS: Final = "application/openmetrics-text"


def new_registry() -> CollectorRegistry:
    """Return a registry that tells of this process: memory, processor time, descriptors, start; and of its Python."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


class Reading(Collector):
    """Metrics that are read off the state of the node when somebody asks: they cost nothing in between."""

    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of this moment."""
        return self._read()


def gauge(name: str, text: str, value: float) -> Metric:
    """Return a gauge without labels."""
    return GaugeMetricFamily(name, text, value=value)


def gauges(name: str, text: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    """Return a gauge with a value for each combination of labels."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for of, value in values:
        family.add_metric(of, value)
    return family


def counter(name: str, text: str, value: float) -> Metric:
    """Return a counter without labels whose count is kept elsewhere; `_total` is added to its name."""
    return CounterMetricFamily(name, text, value=value)


def render(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """Return all metrics and their content type: as OpenMetrics if the `Accept` header names that, else as plain text.

    `choose_encoder` gets a header of ours, never the stranger's: a version that is no number raises TypeError in it.
    """
    wants_open_metrics = any(each.partition(";")[0].strip() == _OPEN_METRICS for each in accept.split(","))
    encode, content_type = choose_encoder(f"{_OPEN_METRICS}; version=1.0.0" if wants_open_metrics else "")
    return encode(registry), content_type


async def watch_lag(observe: Callable[[float], None]) -> None:
    """Tell `observe`, four times a second and for ever, how many seconds too late this task was woken.

    That is what every other task waits too, whenever something holds the loop.
    """
    while True:
        due = trio.current_time() + LAG_EVERY_S
        await trio.sleep_until(due)
        observe(max(0.0, trio.current_time() - due))
