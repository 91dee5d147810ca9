"""A node behind a router sells: a whole task auctioned, run and paid through relays, one of which dies half-way."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.namespaces import open_namespaces, why_not
from tests.system.system_lab import ROOT

TIMEOUT_S = 400


@pytest.mark.parametrize("kind", ["plain", "translated"])
def test_a_task_is_bought_run_and_paid_between_two_nodes_that_can_not_dial_each_other(
    kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    reason = why_not(translated=kind == "translated")
    if reason is not None:
        pytest.skip(reason)
    folder: Path = tmp_path_factory.mktemp("r", numbered=True)
    with open_namespaces(translated=kind == "translated") as names:
        command = ["ip", "netns", "exec", names.middle, sys.executable, "-m", "tests.system.relay_story"]
        done = subprocess.run(
            [*command, str(folder), names.home, names.cafe, kind],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-6000:]}"
    assert "went on" in done.stdout
