"""Each thing is broken on purpose, and the line that says so is looked for."""

import json
import resource
import secrets
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from node.api.json_codec import Wei
from node.api.views.status import NodeStatus, PeerView, TransactionView
from node.api.views.watch import CoverView, HeldView, TowerView, WatchReport
from node.app.doctor import chain as chain_checks
from node.app.doctor import database as database_checks
from node.app.doctor import machine, reach
from node.app.doctor.chain import WINDOW_S, check_chain
from node.app.doctor.database import check_database
from node.app.doctor.finding import Check, Finding, Patient, Running, look
from node.app.doctor.keys import check_keys, check_password_file
from node.app.doctor.machine import check_descriptors, check_disk_speed, check_folder, check_python, check_sandbox
from node.app.doctor.reach import check_address, check_bootstrap, check_port
from node.app.doctor.watch import judge_towers
from node.app.identity import LIFETIME_S
from node.chain.anvil import open_anvil
from node.chain.chain import Block
from node.chain.deployment import Deployment, save_deployment
from node.chain.local import deploy_local, fund
from node.chain.rpc import open_rpc
from node.config.load import load_settings
from node.execution import engine
from node.networking.network import open_network
from node.networking.settings import NetworkSettings
from node.operations.clock import SystemClock
from node.storage.folder_lock import hold_folder
from node.storage.postgres import database as postgres_database
from node.wallet.host_key import create_host_key
from node.wallet.keystore import create_wallet
from node.wallet.keystore_v3 import ScryptCost
from protocol.identity import ZERO_DIGEST, Address, PeerId
from protocol.units import Amount, UnixTime
from tests.stores import Store

LIGHT = ScryptCost(n=2**12)
PASSWORD = "correct horse"
PATIENCE_S = 60.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder as `stoa init` makes it."""
    home = tmp_path / "node"
    home.mkdir(mode=0o700)
    trio.run(create_keys, home)
    return home


async def create_keys(home: Path) -> None:
    await create_wallet(home / "wallet.json", PASSWORD, cost=LIGHT)
    await create_host_key(home / "host.json", PASSWORD, cost=LIGHT)


def patient(folder: Path, password: str | None = PASSWORD, **changes: Any) -> Patient:
    options = {"node.data_dir": str(folder), **{name.replace("__", "."): value for name, value in changes.items()}}
    return Patient(settings=load_settings(options=options), password=password, running=None)


async def told(check: Check, who: Patient) -> dict[str, tuple[str, str]]:
    """Make a check as the doctor does; return state and everything said, by name."""
    with trio.fail_after(PATIENCE_S):
        findings = await look("it", check, who)
    for each in findings:
        assert each.state == "ok" or each.advice, f"nothing to do about {each}"
    return {each.check: (each.state, f"{each.text} -> {each.advice}") for each in findings}


async def states(check: Check, who: Patient) -> list[str]:
    return [state for state, _ in (await told(check, who)).values()]


# ------------------------------------------------------------------------------------------------------- machine


async def test_a_good_folder_is_good_and_nothing_is_left_in_it(folder: Path) -> None:
    before = names_in(folder)
    assert await states(check_folder, patient(folder)) == ["ok", "ok"]
    assert await states(check_disk_speed, patient(folder)) in (["ok"], ["warning"])  # a busy disk may be slow
    assert names_in(folder) - before == {"stoa.lock"}


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_folder_that_is_missing_no_folder_open_to_others_or_taken_is_said(folder: Path) -> None:
    def folder_said(where: Path) -> tuple[str, str]:
        return trio.run(told, check_folder, patient(where))["data folder"]

    state, text = folder_said(folder / "none")
    assert (state, "stoa init" in text) == ("broken", True)
    assert not (folder / "none").exists()  # it changes nothing
    (folder / "file").write_text("")
    assert folder_said(folder / "file")[0] == "broken"
    assert trio.run(told, check_disk_speed, patient(folder / "file")) == {}
    folder.chmod(0o755)
    state, text = folder_said(folder)
    assert (state, f"chmod 700 {folder}" in text) == ("warning", True)
    folder.chmod(0o700)
    with hold_folder(folder):
        assert folder_said(folder)[0] == "broken"


@pytest.mark.parametrize(("limit", "state"), [("SCARCE_BYTES", "warning"), ("GONE_BYTES", "broken")])
async def test_a_disk_without_room_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, limit: str, state: str
) -> None:
    for each in ("SCARCE_BYTES", limit):
        monkeypatch.setattr(machine, each, 2**70)
    assert (await told(check_folder, patient(folder)))["disk space"][0] == state


async def test_a_server_for_the_journal_is_looked_at_as_the_node_would(
    folder: Path, postgres: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = postgres.url(folder)
    assert await told(check_database, patient(folder)) == {}
    good = await told(check_database, patient(folder, storage__url=url))
    assert {name: state for name, (state, _) in good.items()} == {"database": "ok"}
    assert "PostgreSQL" in good["database"][1]

    monkeypatch.setattr(database_checks, "SLOW_ANSWER_S", 0.0)
    assert await states(check_database, patient(folder, storage__url=url)) == ["warning"]
    monkeypatch.setattr(postgres_database, "LOCK_PATIENCE_S", 0.0)
    with postgres.server.connect(url.split("/")[3].split("?")[0]) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (postgres_database.LOCK_KEY,))
        state, text = (await told(check_database, patient(folder, storage__url=url)))["it"]
        assert (state, "in use by another node" in text) == ("broken", True)
    absent = await told(check_database, patient(folder, storage__url=f"postgresql:///x?host={tmp_path}"))
    assert absent["it"][0] == "broken"


async def test_a_slow_disk_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "SLOW_FLUSH_S", 0.0)
    assert (await told(check_disk_speed, patient(folder)))["disk speed"][0] == "warning"


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_too_few_descriptors_are_said_with_the_number_to_set(folder: Path, few_descriptors: None) -> None:
    state, text = (await told(check_descriptors, patient(folder, network__max_peers=64)))["descriptors"]
    assert (state, "ulimit -n 384" in text) == ("broken", True)
    assert await states(check_descriptors, patient(folder, network__max_peers=20)) == ["ok"]


def other_version(_package: str) -> str:
    return "1.2.3"


async def test_another_engine_than_tasks_name_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await states(check_python, patient(folder)) == ["ok"]
    monkeypatch.setattr(engine, "version", other_version)
    state, text = (await told(check_python, patient(folder)))["it"]
    assert (state, "1.2.3" in text) == ("broken", True)


async def test_a_missing_barrier_around_workers_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = (await told(check_sandbox, patient(folder)))["sandbox"][1]
    assert "rlimits" in held
    monkeypatch.setattr(machine, "BARRIERS", ("rlimits", "moat"))
    state, text = (await told(check_sandbox, patient(folder)))["sandbox"]
    assert (state, "without moat" in text) == ("warning", True)


# ---------------------------------------------------------------------------------------------------------- keys


async def test_good_keys_are_opened(folder: Path) -> None:
    state, text = (await told(check_keys, patient(folder)))["keys"]
    assert (state, "0x" in text, PASSWORD in text) == ("ok", True, False)


async def test_keys_that_others_can_read_are_said(folder: Path) -> None:
    (folder / "wallet.json").chmod(0o644)
    state, text = (await told(check_keys, patient(folder)))["keys"]
    assert (state, f"chmod 600 {folder}/wallet.json" in text) == ("broken", True)


async def test_missing_and_damaged_keys_are_said(folder: Path) -> None:
    (folder / "host.json").write_text("{}")
    state, text = (await told(check_keys, patient(folder)))["keys"]
    assert (state, "host.json is no usable key file" in text) == ("broken", True)
    (folder / "host.json").unlink()
    assert "there is no key file" in (await told(check_keys, patient(folder)))["keys"][1]


async def test_a_wrong_password_and_none_are_said(folder: Path) -> None:
    state, text = (await told(check_keys, patient(folder, "hunter2hunter2")))["it"]
    assert (state, "does not open" in text, "hunter2" in text) == ("broken", True, False)
    assert (await told(check_keys, patient(folder, None)))["password"][0] == "warning"


async def test_a_password_file_that_is_open_or_missing_is_said(folder: Path) -> None:
    path = folder / "password"
    who = patient(folder, wallet__password_file=str(path))
    assert await states(check_password_file, who) == ["broken"]
    path.write_text(PASSWORD)
    path.chmod(0o640)
    assert f"chmod 600 {path}" in (await told(check_password_file, who))["password file"][1]
    path.chmod(0o600)
    assert await states(check_password_file, who) == ["ok"]


# --------------------------------------------------------------------------------------------------------- reach


async def test_a_port_that_another_program_has_is_said(folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        port = other.getsockname()[1]
        who = patient(folder, network__listen_host="127.0.0.1", network__listen_port=port)
        state, text = (await told(check_port, who))["port"]
        assert (state, f"127.0.0.1:{port}" in text) == ("broken", True)
    assert await states(check_port, patient(folder, network__listen_host="127.0.0.1", network__listen_port=0)) == ["ok"]
    assert await states(check_port, patient(folder, network__listen_host="192.0.2.77")) == ["broken"]


REAL = {"chain__profile": "sepolia", "chain__rpc_url": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"network__listen_host": "0.0.0.0"}, "warning"),
        ({"network__listen_host": "127.0.0.1"}, "ok"),
        ({"network__listen_host": "127.0.0.1", **REAL}, "warning"),
        ({"network__advertise": ["/ip4/192.168.1.5/tcp/4600"], **REAL}, "warning"),
        ({"network__advertise": ["/ip4/100.64.1.5/tcp/4600"], **REAL}, "warning"),
        ({"network__advertise": ["/ip4/8.8.8.8/tcp/4600"], **REAL}, "ok"),
        ({"network__advertise": ["/dns4/localhost/tcp/4600"], **REAL}, "warning"),
        ({"network__advertise": ["/dns4/no-such-host.invalid/tcp/4600"], **REAL}, "broken"),
    ],
)
async def test_an_address_that_leads_nowhere_is_said(folder: Path, changes: dict[str, Any], state: str) -> None:
    assert await states(check_address, patient(folder, **changes)) == [state]


WAY = "/ip4/198.51.100.1/tcp/4600/p2p/12D3KooWExample/p2p-circuit/p2p/12D3KooWOther"


@pytest.mark.parametrize(
    ("changes", "listening", "state", "said"),
    [
        ({"network__listen": False}, (WAY, WAY), "ok", "2 relays"),
        ({"network__listen": False}, (), "broken", "no place at any relay"),
        ({"network__reachable": "no"}, ("/ip4/0.0.0.0/tcp/4600",), "broken", "no place at any relay"),
        ({**REAL}, ("/ip4/10.0.0.2/tcp/4600", WAY), "ok", "1 relay "),
    ],
)
async def test_a_node_that_nobody_can_dial_is_told_by_its_places_at_relays(
    folder: Path, changes: dict[str, Any], listening: tuple[str, ...], state: str, said: str
) -> None:
    status = cast("NodeStatus", SimpleNamespace(listening=listening))
    who = replace(patient(folder, **changes), running=Running(status=status, peers=()))
    found, text = (await told(check_address, who))["address"]
    assert found == state
    assert said in text


async def test_a_node_that_listens_nowhere_needs_no_port(folder: Path) -> None:
    who = patient(folder, network__listen=False)
    assert await states(check_port, who) == await states(check_address, who) == ["ok"]


async def test_bootstrap_peers_are_dialled_and_their_identity_checked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "DIAL_TIMEOUT_S", 20.0)
    settings, clock = NetworkSettings(listen=("/ip4/127.0.0.1/tcp/0",)), SystemClock().unix_time
    async with (
        open_network(settings, secrets.token_bytes(32), clock=clock, random=Random(1)) as good,
        open_network(settings, secrets.token_bytes(32), clock=clock, random=Random(2)) as other,
    ):
        here = good.addresses[0]
        stranger = other.addresses[0].rpartition("/p2p/")[0] + f"/p2p/{good.peer_id}"
        nobody = f"/ip4/127.0.0.1/tcp/1/p2p/{good.peer_id}"
        findings = await check_bootstrap(patient(folder, network__bootstrap=[here, nobody, stranger]))
        assert [each.state for each in findings] == ["ok", "warning", "warning"]
        findings = await check_bootstrap(patient(folder, network__bootstrap=[nobody, stranger]))
        assert [each.state for each in findings] == ["broken", "broken"]  # not one is left to ask
    assert await states(check_bootstrap, patient(folder)) == ["warning"]


# --------------------------------------------------------------------------------------------------------- chain


@pytest.fixture
async def local_chain(folder: Path) -> AsyncGenerator[tuple[str, Deployment], None]:
    async with open_anvil() as anvil:
        deployment = await deploy_local(anvil.url, path=folder / "deployments.json")
        yield anvil.url, deployment


def wallet_of(folder: Path) -> Address:
    return Address(bytes.fromhex(json.loads((folder / "wallet.json").read_text())["address"].removeprefix("0x")))


async def test_a_good_chain_is_good_and_each_kind_of_missing_money_is_said(
    folder: Path, local_chain: tuple[str, Deployment]
) -> None:
    url, deployment = local_chain
    who = patient(folder, chain__rpc_url=url)
    empty = await told(check_chain, who)
    assert empty["gas money"][0] == "broken"
    assert empty["tokens"][0] == "warning"
    await fund(url, deployment, [wallet_of(folder)], tokens=Amount(5))
    assert set(await states(check_chain, who)) == {"ok"}
    async with open_rpc(url) as rpc:
        await rpc.call("anvil_setBalance", f"0x{wallet_of(folder).hex()}", "0x1")
    assert (await told(check_chain, who))["gas money"][0] == "warning"
    selling = patient(folder, chain__rpc_url=url, provider__enabled=True)
    assert (await told(check_chain, selling))["tokens"][0] == "ok"


async def test_a_chain_that_is_silent_another_or_without_contracts_is_said(
    folder: Path, local_chain: tuple[str, Deployment]
) -> None:
    url, deployment = local_chain
    state, text = (await told(check_chain, patient(folder, chain__rpc_url="http://127.0.0.1:1")))["chain"]
    assert (state, "127.0.0.1:1" in text) == ("broken", True)
    state, text = (await told(check_chain, patient(folder, chain__profile="sepolia", chain__rpc_url=url)))["it"]
    assert (state, "11155111" in text) == ("broken", True)
    save_deployment(folder / "other.json", replace(deployment, escrow=Address(b"\x01" * 20)))
    who = patient(folder, chain__rpc_url=url, chain__deployments=str(folder / "other.json"))
    assert (await told(check_chain, who))["it"][0] == "broken"
    who = patient(folder, chain__rpc_url=url, chain__deployments=str(folder / "none.json"))
    assert (await told(check_chain, who))["it"][0] == "broken"


async def test_a_clock_that_differs_from_the_chains_is_said(folder: Path, local_chain: tuple[str, Deployment]) -> None:
    url, _ = local_chain
    async with open_rpc(url) as rpc:
        await rpc.call("evm_increaseTime", 3600)
        await rpc.call("anvil_mine", 1)
    state, text = (await told(check_chain, patient(folder, chain__rpc_url=url)))["clock"]
    assert (state, "ahead of this machine's clock" in text) == ("warning", True)


@pytest.mark.parametrize(
    ("block_ahead_s", "state"), [(WINDOW_S + 1, "broken"), (WINDOW_S, "ok"), (-60, "ok"), (-86_400, "warning")]
)
def test_on_a_real_chain_a_clock_behind_the_newest_block_is_broken(block_ahead_s: int, state: str) -> None:
    head = Block(number=9, hash=ZERO_DIGEST, parent=ZERO_DIGEST, time=UnixTime(10_000 + block_ahead_s), base_fee=1)
    (finding,) = chain_checks.judge_clock(head, 10_000.0, is_local=False)
    assert finding.state == state


@pytest.mark.parametrize(("ahead_s", "state"), [((-50, -3000), "ok"), ((60, 60, 0), "broken"), ((60, 0, 0), "warning")])
def test_peers_whose_clocks_are_ahead_are_said(ahead_s: tuple[int, ...], state: str) -> None:
    now = 1_000_000.0
    peers = tuple(
        PeerView(
            peer=PeerId(f"peer-{number}"),
            wallet=None,
            addresses=(),
            connected=True,
            sells=False,
            gfuel=None,
            record_expires=UnixTime(int(now) + ahead + LIFETIME_S),
        )
        for number, ahead in enumerate(ahead_s)
    )
    (finding,) = chain_checks.judge_peers_clocks(peers, now)
    assert finding.state == state
    assert chain_checks.judge_peers_clocks((), now) == []


async def test_a_check_that_hangs_is_given_up_and_a_bug_is_a_bug(folder: Path, autojump_clock: MockClock) -> None:
    async def hang(_patient: Patient) -> list[Finding]:
        await trio.sleep_forever()
        return []

    async def fail(_patient: Patient) -> list[Finding]:
        await trio.lowlevel.checkpoint()
        raise KeyError("bug")

    checks: list[Callable[[Patient], Awaitable[list[Finding]]]] = [hang, fail]
    (finding,) = await look("slow", checks[0], patient(folder))
    assert (finding.check, finding.state) == ("slow", "broken")
    with pytest.raises(KeyError):
        await look("buggy", checks[1], patient(folder))


def test_what_waits_to_be_sent_is_told_with_its_reason() -> None:
    sent = TransactionView(title="claim $3", nonce=4, attempts=1, max_fee=Wei(9), waits_for="")
    queued = TransactionView(title="claim $5", nonce=None, attempts=0, max_fee=Wei(0), waits_for="gas is too dear")
    assert chain_checks.judge_queue(()) == []
    (fine,) = chain_checks.judge_queue((sent,))
    assert (fine.state, "1 transactions" in fine.text) == ("ok", True)
    (late,) = chain_checks.judge_queue((sent, queued))
    assert late.state == "warning"
    assert "1 of 2 transactions wait" in late.text
    assert "claim $5: gas is too dear" in late.text


# ------------------------------------------------------------------------------------------------------- watchtowers


def watch_report(*, towers: tuple[str, ...] = (), at_stake: int = 0, problem: str = "") -> WatchReport:
    """A node with a tower for each trouble, and one channel."""
    return WatchReport(
        towers=tuple(
            TowerView(wallet=Address(bytes([at]) * 20), channels=1, heard_at=None, least=None, trouble=trouble)
            for at, trouble in enumerate(towers)
        ),
        channels=(
            CoverView(
                channel=ZERO_DIGEST,
                payer=Address(bytes(20)),
                sequence=1,
                at_stake=Amount(at_stake),
                covered=not at_stake,
                towers=tuple(
                    HeldView(tower=Address(bytes([at]) * 20), sequence=0, problem=problem) for at in range(len(towers))
                ),
            ),
        ),
        clients=(),
        watches=(),
    )


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (watch_report(), {}),
        (watch_report(at_stake=5_000_000), {"none set; $5.00 in 1 channels": "warning"}),
        (watch_report(towers=("",)), {"1 answer": "ok"}),
        (watch_report(towers=("", "no answer")), {"no answer": "warning"}),
        (watch_report(towers=("",), at_stake=5_000_000), {"no tower holds the newest of 1": "warning"}),
        (
            watch_report(towers=("",), at_stake=5_000_000, problem="TooSmall: it is"),
            {"at stake: 000000000000 (TooSmall: it is)": "warning"},
        ),
    ],
)
def test_what_no_tower_holds_is_told(report: WatchReport, expected: dict[str, str]) -> None:
    found = judge_towers(report)
    assert [each.state for each in found] == list(expected.values())
    for each, words in zip(found, expected, strict=True):
        assert words in each.text
        assert each.state == "ok" or each.advice
