"""Help: it teaches with examples, guesses what was meant, and loads none of the node."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from node.cli.failures import ExitCode
from node.cli.lazy import StoaGroup
from tests.node.cli.cli_lab import stoa

ROOT = Path(__file__).resolve().parents[3]


BRANCHES = tuple(sorted(StoaGroup.branches))


def test_no_help_loads_what_speaks_to_chains_networks_and_databases() -> None:
    code = (
        "import sys\n"
        "from node.cli.main import app\n"
        "heavy = {'node.chain', 'node.execution', 'node.networking', 'eth_account', 'fastapi', 'httpx', 'libp2p',"
        " 'sqlalchemy', 'wasmtime', 'web3'}\n"
        "for branch in sys.argv[1:]:\n"
        "    try:\n        app([branch, '--help'])\n"
        "    except SystemExit as end:\n        assert not end.code, branch\n"
        "    print(branch, *sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
        "    heavy -= set(sys.modules)\n"  # each at the first branch that loads it
    )
    done = subprocess.run([sys.executable, "-c", code, *BRANCHES], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr.split("\n")[:-1] == list(BRANCHES)


def test_help_and_completion_load_none_of_the_node(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from node.cli.main import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'node.app', 'node.chain', 'node.config', 'node.execution', 'sqlalchemy', 'web3', 'libp2p', 'trio'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr.strip() == "[]"
    assert "task" in done.stdout
    environment = {**os.environ, "_STOA_COMPLETE": "complete_bash", "COMP_WORDS": "stoa task su", "COMP_CWORD": "2"}
    completed = subprocess.run(
        [sys.executable, "-m", "node.cli.main"], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    assert completed.stdout.split() == ["submit"]


COMMANDS = (
    "init", "run", "status", "stop", "provide", "earnings", "escrows",
    "reputation show", "reputation anchor", "reputation prove", "reputation verify",
    "watch list", "watch add", "watch remove", "watch allow", "watch disallow", "watch drop",
    "disputes list", "disputes show", "disputes open", "disputes appeal",
    "reputation feedback", "reputation agent",
    "stake status", "stake add", "stake withdraw", "stake collect", "stake free",
    "arbiter status", "arbiter enlist", "arbiter resign", "arbiter collect",
    "peers list", "peers connect", "task submit", "task plan", "task list", "task show", "task watch", "task cancel",
    "task result", "task logs", "auctions list", "auctions show", "auctions verify", "auctions accuse",
    "wallet show", "wallet export",
    "wallet import", "channels list", "channels open", "channels top-up", "channels close",
    "chain start", "chain stop", "chain deploy", "chain fund", "chain check", "chain reindex", "chain events",
    "doctor", "backup", "restore", "devnet up", "devnet demo", "devnet trial",
)  # fmt: skip


def test_every_branch_is_among_the_commands_whose_help_is_read() -> None:
    assert {command.split()[0] for command in COMMANDS} == set(BRANCHES)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_teaches_with_an_example(command: str) -> None:
    result = stoa(*command.split(), "--help")
    assert result.exit_code == 0, result.output
    assert f"stoa {command}" in result.stdout.replace("\n", " ")


def test_a_mistyped_command_is_guessed(tmp_path: Path) -> None:
    result = stoa("tusk")
    assert result.exit_code == ExitCode.USAGE
    assert "Did you mean 'task'" in result.output
