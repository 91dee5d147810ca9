"""One network of processes for all tests of a file; a failed test's report ends with what each node last said."""

from collections.abc import Generator, Iterator
from types import ModuleType
from typing import Any, cast

import pytest
import trio

from node.chain.local import LocalTerms
from node.devnet.devnet import TERMS
from protocol.identity import ZERO_ADDRESS, Address
from tests.system.system_lab import Lab, run_lab


@pytest.fixture(scope="module")
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The file's network: `PROVIDERS`, `WATCHERS`, `OVERRIDES` and so on of the test module make it another."""
    module = cast("ModuleType", getattr(request, "module"))  # noqa: B009 - pytest gives it no type
    folder = tmp_path_factory.mktemp("net", numbered=True)
    providers: int = getattr(module, "PROVIDERS", 3)
    watchers: int = getattr(module, "WATCHERS", 0)
    overrides: dict[str, Any] = getattr(module, "OVERRIDES", {})
    own: dict[str, dict[str, Any]] = getattr(module, "OWN", {})
    terms: LocalTerms = getattr(module, "TERMS", TERMS)
    court: bool = getattr(module, "COURT", False)
    arbiter: Address = getattr(module, "ARBITER", ZERO_ADDRESS)
    with run_lab(
        folder / "d",
        providers=providers,
        watchers=watchers,
        overrides=overrides,
        own=own,
        terms=terms,
        court=court,
        arbiter=arbiter,
    ) as lab:
        yield lab


@pytest.fixture
def lab(network: Lab) -> Lab:
    """The network with every node alive, whatever an earlier test did."""
    trio.run(network.heal)
    return network


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the ends of the nodes' logs to a failure."""
    report = yield
    lab = getattr(item, "funcargs", {}).get("lab")
    if report.failed and isinstance(lab, Lab):
        report.sections.append(("the nodes' last words", lab.last_words()))
    return report
