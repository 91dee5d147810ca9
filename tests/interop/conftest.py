"""One network of real nodes for all tests of a file: a requester and two providers."""

from collections.abc import Iterator

import pytest

from tests.system.system_lab import Lab, run_lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The network."""
    folder = tmp_path_factory.mktemp("net", numbered=True)
    with run_lab(folder / "d", providers=2, overrides={"provider.credit_limit": "10", "logging.level": "debug"}) as lab:
        yield lab
