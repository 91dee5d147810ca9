"""One network of real nodes for all tests of a file: a requester and two providers."""

from collections.abc import Iterator

import pytest

from tests.system.conftest import pytest_runtest_makereport
from tests.system.system_lab import Lab, run_lab

__all__ = ["pytest_runtest_makereport"]
"""A failed test's report ends with what each node last said."""

OVERRIDES = {
    "provider.credit_limit": "10",
    "requester.start_within_s": 60,  # time to fetch and give up, on a machine with other things to do
    "logging.level": "debug",
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The network."""
    folder = tmp_path_factory.mktemp("net", numbered=True)
    with run_lab(folder / "d", providers=2, overrides=OVERRIDES) as lab:
        yield lab
