"""`stoa doctor` as its user sees it: lines, JSON, exit status."""

import json
import logging
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import structlog

from node.cli.failures import ExitCode
from tests.node.api.fake_node import FakeNode
from tests.node.cli.cli_lab import running, stoa


@pytest.fixture(autouse=True)
def unconfigured() -> Generator[None]:
    """Put logging back as it was: the command sends it to the runner's own stream, which is closed afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def findings(text: str) -> dict[str, dict[str, Any]]:
    return {each["check"]: each for each in json.loads(text)["findings"]}


def test_a_broken_configuration_is_the_one_line_and_names_every_mistake(tmp_path: Path) -> None:
    config = tmp_path / "stoa.toml"
    config.write_text('[network]\nlisten_port = "many"\n[operations]\nmetrics_listen = "everywhere"\n')
    result = stoa("--config", str(config), "doctor")
    assert result.exit_code == ExitCode.WRONG
    assert result.stdout.startswith("broken  settings: 2 mistakes")
    assert "listen_port" in result.stdout
    assert "operations.metrics_listen" in result.stdout
    assert result.stdout.count("\nbroken") == 0


def test_a_folder_with_nothing_in_it_is_said_for_people_and_for_programs_and_stays_so(tmp_path: Path) -> None:
    home = tmp_path / "home"
    people = stoa("--data-dir", str(home), "doctor")
    assert people.exit_code == ExitCode.WRONG
    assert "broken  data folder:" in people.stdout
    assert "-> create it and its keys with: stoa init" in people.stdout
    programs = stoa("--data-dir", str(home), "doctor", "--json")
    assert programs.exit_code == ExitCode.WRONG
    assert json.loads(programs.stdout)["sound"] is False
    found = findings(programs.stdout)
    assert found["node"]["state"] == "ok"
    assert found["data folder"]["advice"] == "create it and its keys with: stoa init"
    assert not home.exists()


def test_a_password_that_can_not_be_read_is_said_and_the_rest_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STOA_WALLET_PASSWORD", raising=False)
    result = stoa("--data-dir", str(tmp_path), "doctor", "--json", "--password-file", str(tmp_path / "none"))
    found = findings(result.stdout)
    assert found["password file"]["state"] == "broken"
    assert "port" in found


def test_a_running_node_is_asked_what_it_sees(tmp_path: Path) -> None:
    with running(tmp_path, FakeNode()) as place:
        result = place.stoa("doctor", "--json")
    found = findings(result.stdout)
    assert found["node"]["text"].startswith("running, release ")
    assert "peers" in found
    assert found["port"]["state"] == "broken"  # a fake node listens on no port
