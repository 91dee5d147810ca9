"""The two stores, for every room that keeps something."""

from collections.abc import Generator

import pytest

from tests.postgres_lab import PostgresServer, run_postgres
from tests.stores import POSTGRESQL, SQLITE, Store


@pytest.fixture(scope="session")
def postgres_server() -> Generator[PostgresServer]:
    """A server for all tests of this process. A test that stops it starts it again."""
    with run_postgres() as server:
        yield server


@pytest.fixture(params=[SQLITE, POSTGRESQL])
def store(request: pytest.FixtureRequest) -> Store:
    """Each of the two stores in turn."""
    return Store((lambda: request.getfixturevalue("postgres_server")) if request.param == POSTGRESQL else None)


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> Store:
    """PostgreSQL alone, for what SQLite has no like of."""
    return Store(lambda: postgres_server)
