import pytest
import trio
from prometheus_client import Counter
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

from node.operations.metrics import LAG_EVERY_S, Reading, counter, gauges, new_registry, render, watch_lag


def test_each_registry_is_its_own_and_tells_of_the_process() -> None:
    first, second = new_registry(), new_registry()
    Counter("stoa_x", "x", registry=first).inc()
    assert first.get_sample_value("stoa_x_total") == 1
    assert second.get_sample_value("stoa_x_total") is None
    assert (second.get_sample_value("process_open_fds") or 0) > 0
    assert (second.get_sample_value("process_max_fds") or 0) > 0


def test_readings_are_read_when_asked_for() -> None:
    registry, now = new_registry(), {"a": 1}
    registry.register(Reading(lambda: [gauges("stoa_g", "g", ("of",), [((k,), v) for k, v in now.items()])]))
    registry.register(Reading(lambda: [counter("stoa_c", "c", now["a"])]))
    assert registry.get_sample_value("stoa_g", {"of": "a"}) == 1
    now["a"] = 2
    assert registry.get_sample_value("stoa_g", {"of": "a"}) == 2
    assert registry.get_sample_value("stoa_c_total") == 2


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "text/plain; version=0.0.4"),
        ("text/html", "text/plain; version=0.0.4"),
        ("application/openmetrics-text; version=1.0.0,text/plain;q=0.5", "application/openmetrics-text; version=1.0.0"),
        ("application/openmetrics-text; version=x.y", "application/openmetrics-text; version=1.0.0"),
        ("text/plain; version=" + "9" * 5000, "text/plain; version=0.0.4"),
        ("text/plain; version=x; escaping=nothing-known", "text/plain; version=0.0.4"),
        (";;;,,,===", "text/plain; version=0.0.4"),
    ],
    ids=["none", "browser", "OpenMetrics", "no version", "long version", "no escaping", "garbage"],
)
def test_the_format_follows_the_accept_header_and_no_header_breaks_it(accept: str, kind: str) -> None:
    registry = new_registry()
    Counter("stoa_x", "x", registry=registry)
    body, content_type = render(registry, accept)
    assert content_type.startswith(kind)
    assert b"stoa_x_total 0.0" in body
    assert "\n" not in content_type
    assert "\r" not in content_type
    if kind.startswith("text/plain"):
        assert any(family.name == "stoa_x" for family in text_string_to_metric_families(body.decode()))


async def test_the_lag_is_what_a_sleeper_waits_too_long(autojump_clock: MockClock) -> None:
    lags: list[float] = []

    async def hog() -> None:
        await trio.sleep(LAG_EVERY_S * 3.5)
        autojump_clock.jump(2.0)  # what a task that computes for two seconds does to all others

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_lag, lags.append)
        nursery.start_soon(hog)
        await trio.sleep(5.0)
        nursery.cancel_scope.cancel()
    assert 1.8 < max(lags) <= 2.0
    assert sum(lag > 0.01 for lag in lags) == 1
