"""The trial as a user runs it: it says itself whether a cheat was slashed and the books add up."""

import subprocess
import sys
from pathlib import Path

from tests.system.system_lab import ROOT

PATIENCE_S = 400


def test_the_trial_slashes_the_cheat_and_balances_the_books(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "node.cli.main", "devnet", "trial", "--folder", str(tmp_path / "trial")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "provider-1 lost its stake of $2.40" in " ".join(ran.stdout.split()), ran.stdout
