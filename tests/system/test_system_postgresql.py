"""Requester and cheapest provider keep their journals in PostgreSQL: trade, and deaths, the server's among them."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from node.api.views import PartDelivered
from tests.postgres_lab import PostgresServer, run_postgres
from tests.system.crash_lab import (
    CHANNEL_BUDGET,
    ESCROW_BUDGET,
    PARTS,
    bill_of,
    check_books,
    check_paid_once,
    check_result,
    earnings_of,
    make_task,
    part_delivered,
)
from tests.system.sweep_lab import Moment, Sweep, make_mortal
from tests.system.system_lab import Lab, run_cli, run_lab

ON_SERVER = ("requester", "provider-1")
OVERRIDES = {"requester.pace_s": 40, "requester.start_within_s": 40}


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with run_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def network(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two nodes on a server, two with SQLite."""
    own = {name: {"storage.url": server.url(server.new_database())} for name in ON_SERVER}
    with run_lab(tmp_path_factory.mktemp("net") / "d", providers=3, overrides=OVERRIDES, own=own) as lab:
        yield lab


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_a_standby_does_what_a_killed_provider_on_postgresql_left_and_it_is_paid_after_its_restart(
    lab: Lab, tmp_path: Path
) -> None:
    for place in lab.devnet.places:
        assert ("stoa.sqlite3" in names(place.folder)) == (place.name not in ON_SERVER)
    await lab.settle()
    before = await lab.snapshot()
    path = make_task(tmp_path / "task", budget=CHANNEL_BUDGET, batches=32)
    task = await lab.submit(path)
    event = await lab.watch(lab.requester, task, part_delivered(1))
    assert isinstance(event, PartDelivered)
    killed = lab.place_of(event.part.provider)
    assert killed.name in ON_SERVER
    await lab.kill(killed)
    detail = await lab.wait_ended(task)
    check_paid_once(detail)
    assert [part.part for part in detail.parts] == list(range(PARTS))
    first, second = detail.awards
    assert first.provider == killed.wallet != second.provider
    await check_result(lab, path, detail, tmp_path / "out")
    await lab.start(killed)
    bill = bill_of(detail)

    async def is_paid() -> bool:
        earned = (await earnings_of(killed)).get(first.award)
        return earned is not None and earned.earned == bill[killed.wallet]

    await lab.until("the killed provider holds the payment of what it delivered, and no more", is_paid)
    await check_books(lab, before, detail)


async def test_a_task_goes_on_when_the_server_of_both_its_sides_died_meanwhile(
    lab: Lab, server: PostgresServer, tmp_path: Path
) -> None:
    await lab.settle()
    before = await lab.snapshot()
    path = make_task(tmp_path / "task", budget=ESCROW_BUDGET, batches=32)
    task = await lab.submit(path)
    await lab.watch(lab.requester, task, part_delivered(0))
    await trio.to_thread.run_sync(server.stop, signal.SIGQUIT)
    await trio.to_thread.run_sync(server.start)
    detail = await lab.wait_ended(task)
    check_paid_once(detail)
    assert [part.part for part in detail.parts] == list(range(PARTS))
    await check_result(lab, path, detail, tmp_path / "out")
    await check_books(lab, before, detail)


async def test_a_backup_of_a_node_on_postgresql_is_made_while_it_runs_and_its_doctor_sees_the_server(
    lab: Lab, tmp_path: Path
) -> None:
    place = lab.requester
    ran = await lab.cli(place, "backup", tmp_path / "b.tar")
    assert ran.code == 0, ran.text
    ran = await run_cli("restore", tmp_path / "b.tar", "--to", tmp_path / "new")
    assert ran.code == 0, ran.text
    assert "stoa.sqlite3" in names(tmp_path / "new")
    written = (tmp_path / "new" / "stoa.toml").read_text().splitlines()
    assert not [line for line in written if line.startswith("url = ")]
    ran = await lab.cli(place, "--json", "doctor")
    database = [each for document in ran.documents() for each in document["findings"] if each["check"] == "database"]
    assert len(database) == 1, ran.text
    assert "PostgreSQL" in database[0]["text"]


DEATHS: list[tuple[str, str, int, Moment]] = [
    ("requester", ESCROW_BUDGET, 9, "after"),
    ("provider-1", "1", 4, "before"),
]


@pytest.fixture(scope="module")
def sweep(network: Lab) -> Iterator[Sweep]:
    """The network with mortal nodes; what comes after this has no others."""
    with make_mortal(network) as made:
        yield made


@pytest.mark.parametrize(("victim", "budget", "step", "moment"), DEATHS)
async def test_whoever_dies_at_a_commit_to_postgresql_every_base_unit_is_where_it_belongs(
    sweep: Sweep, tmp_path: Path, victim: str, budget: str, step: int, moment: Moment
) -> None:
    died = ""
    for sooner in (step, 2, 1):  # what falls into one commit depends on how busy the machine is
        folder = tmp_path / f"{sooner}"
        folder.mkdir()
        died = died or await sweep.survive(folder, victim, budget, sooner, moment)
    assert died
