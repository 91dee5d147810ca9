"""The contract tests run under `ape test tests/contracts`; any other pytest run passes them by.

So nothing here may import Ape, or what imports it, before a test asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from contracts_desk import Desk, Party


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave these files out where Ape's fixtures are switched off (`-p no:ape_test`, the rest of the tests)."""
    del collection_path
    return None if config.pluginmanager.hasplugin("ape_test") else True


@pytest.fixture(scope="session")
def parties(accounts: Any) -> tuple[Party, ...]:
    from contracts_desk import Party  # noqa: PLC0415

    return tuple(Party(account=account, key=bytes.fromhex(account.private_key[2:])) for account in accounts[:5])


@pytest.fixture(scope="session")
def compiled(project: Any) -> Any:
    """The project with every changed contract compiled: `project.Escrow` alone may come from a stale cache."""
    project.load_contracts()
    return project


@pytest.fixture(scope="module")
def desk(compiled: Any, chain: Any, parties: tuple[Party, ...]) -> Desk:
    """Contracts, reset after each test. Requester and stranger have $1,000 each, and unlimited allowances to both."""
    from contracts_desk import open_desk  # noqa: PLC0415

    return open_desk(compiled, chain, parties)
