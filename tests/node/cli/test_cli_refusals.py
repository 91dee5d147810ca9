"""What the command line says to what it can't do: one line of what is wrong, one of what to do, and a status."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.api.views import ChannelView, NodeStatus
from node.cli.failures import ExitCode
from node.payments.errors import InsufficientTokens, OpenFailed, OutOfGas
from protocol.errors import StoaError
from protocol.identity import Address, format_address
from protocol.units import Amount
from tests.node.api.fake_node import FakeNode
from tests.node.cli.cli_lab import running, stoa, write_task

ROOT = Path(__file__).resolve().parents[3]
SOMEBODY = "0x52908400098527886E0F7030069857D2E4169EE7"
HUGE = "9" * 30


class Refusing(FakeNode):
    """Refuses to open channels."""

    def __init__(self, error: StoaError) -> None:
        super().__init__()
        self._error = error

    async def channel_open(self, provider: Address, deposit: Amount) -> ChannelView:
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        InsufficientTokens(needed=5_000_000, balance=0),
        OutOfGas(needed=10, balance=0),
        OpenFailed("the channel could not be opened: ZeroAmount()"),
    ],
)
def test_too_little_money_is_a_refusal_and_no_bug(tmp_path: Path, error: StoaError) -> None:
    with running(tmp_path, Refusing(error)) as place:
        result = place.stoa("channels", "open", SOMEBODY, "5.00", "--json")
    assert result.exit_code == ExitCode.REFUSED
    report = json.loads(result.stderr)["error"]
    assert report["kind"] == type(error).__name__
    assert report["message"] == str(error)
    assert report["advice"] == error.advice


def test_balances_that_nobody_knows_are_not_shown_as_nothing(tmp_path: Path) -> None:
    class Away(FakeNode):
        async def node_status(self) -> NodeStatus:
            return replace(await super().node_status(), chain_reachable=False, token_balance=None, gas_balance=None)

    with running(tmp_path, Away()) as place:
        shown = place.stoa("status").stdout
        answer = place.json("status")
    assert "not known: the chain does not answer" in shown
    assert "$0.00" not in shown
    assert (answer["token_balance"], answer["gas_balance"]) == (None, None)


@pytest.mark.parametrize("name", ["", "missing/proof.json"])
def test_a_proof_that_can_not_be_written_is_said_and_no_bug(tmp_path: Path, name: str) -> None:
    with running(tmp_path) as place:
        about = format_address(place.node.reputation.opinions[0].provider)
        result = place.stoa("reputation", "prove", about, "-o", str(tmp_path / name))
    assert result.exit_code == ExitCode.USAGE
    assert f"can't write {tmp_path / name}" in result.stderr
    assert "Name another file with -o" in result.stderr


def test_a_proof_that_can_not_be_read_is_said(tmp_path: Path) -> None:
    with running(tmp_path) as place:
        result = place.stoa("reputation", "verify", str(tmp_path))
    assert result.exit_code == ExitCode.USAGE
    assert f"can't read {tmp_path}: Is a directory" in result.stderr
    assert "What to do" in result.stderr


def test_a_folder_is_no_auctions_evidence_and_neither_is_any_file(tmp_path: Path) -> None:
    with running(tmp_path) as place:
        folder = place.stoa("auctions", "verify", str(tmp_path))
        (tmp_path / "notes").write_text("none")
        notes = place.stoa("auctions", "verify", str(tmp_path / "notes"))
    assert folder.exit_code == ExitCode.USAGE
    assert "is no file" in folder.stderr
    assert notes.exit_code == ExitCode.REFUSED
    assert "auctions verify ID --keep FILE" in notes.stderr


@pytest.mark.parametrize(
    ("command", "most"),
    [
        (("arbiter", "enlist", "101"), "100"),
        (("arbiter", "enlist", HUGE), "100"),
        (("arbiter", "resign", HUGE), "4294967295"),
        (("task", "plan", "TASK", "--max-eta", HUGE), "4294967295"),
        (("reputation", "prove", SOMEBODY, "--epoch", HUGE), "18446744073709551615"),
    ],
)
def test_a_number_that_is_too_large_is_told_with_the_largest(
    tmp_path: Path, command: tuple[str, ...], most: str
) -> None:
    path = str(write_task(tmp_path / "task"))
    with running(tmp_path) as place:
        result = place.stoa(*(path if word == "TASK" else word for word in command))
    assert result.exit_code == ExitCode.USAGE
    assert "less than or equal" in result.stderr.replace("\n", " ")
    assert most in result.stderr


def test_a_wait_shows_a_clock_on_a_terminal_and_nothing_elsewhere(tmp_path: Path) -> None:
    with running(tmp_path) as place:
        channel: Any = place.json("channels", "open", SOMEBODY, "5.00")
        command = [sys.executable, "-m", "node.cli.main", "--data-dir", str(tmp_path), "channels", "close"]
        told = on_terminal([*command, channel["channel"]])
        quiet = subprocess.run(
            [*command, channel["channel"]], capture_output=True, text=True, cwd=ROOT, check=False, timeout=60
        )
    assert "Waiting for the other side to agree (payments.close_within_s)" in told
    assert quiet.stderr == ""
    assert quiet.returncode == ExitCode.DONE


def on_terminal(command: list[str]) -> str:
    """Run a command whose standard error is a terminal, and return what it wrote there."""
    ours, theirs = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "160"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, cwd=ROOT, env=environment) as process:
        os.close(theirs)
        told = b""
        try:
            while piece := os.read(ours, 4096):
                told += piece
        except OSError:  # how Linux says that nobody has the other end open any more
            pass
        os.close(ours)
    assert process.returncode == ExitCode.DONE, told
    return told.decode()


@pytest.mark.parametrize("command", ["up", "demo", "trial"])
@pytest.mark.parametrize("name", ["file", "file/folder"])
def test_a_network_in_what_is_no_folder_is_refused_before_anything_starts(
    tmp_path: Path, command: str, name: str
) -> None:
    (tmp_path / "file").write_text("mine")
    place = ("--checkout", str(ROOT)) if command != "up" else ()
    result = stoa("devnet", command, "--folder", str(tmp_path / name), *place)
    assert result.exit_code == ExitCode.USAGE
    assert f"can't make {tmp_path / name}" in result.stderr
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("command", ["demo", "trial"])
def test_a_story_without_its_examples_is_refused_before_anything_starts(tmp_path: Path, command: str) -> None:
    result = stoa("devnet", command, "--folder", str(tmp_path / "new"), "--checkout", str(tmp_path))
    assert result.exit_code == ExitCode.USAGE
    assert f"there is no examples/ in {tmp_path}" in result.stderr
    assert not (tmp_path / "new").exists()


def test_too_few_arbiters_for_a_committee_are_refused(tmp_path: Path) -> None:
    result = stoa("devnet", "up", "--arbiters", "4", "--folder", str(tmp_path / "new"))
    assert result.exit_code == ExitCode.USAGE
    assert "a committee has 5 seats" in result.stderr
    assert not (tmp_path / "new").exists()
