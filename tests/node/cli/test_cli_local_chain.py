"""`stoa chain` as a process: a real anvil, contracts, money, and all of it again after a restart."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from node.chain.deployment import load_deployment
from node.chain.rpc import hexed, open_rpc, quantity
from node.wallet.keystore import create_wallet
from node.wallet.keystore_v3 import ScryptCost
from protocol.identity import ZERO_ADDRESS, Address, format_address
from tests.node.cli.cli_lab import stoa

ROOT = Path(__file__).resolve().parents[3]
STOP_TIMEOUT_S = 60


def start_chain(folder: Path) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    command = [sys.executable, "-m", "node.cli.main", "--data-dir", str(folder), "--json", "chain", "start"]
    process = subprocess.Popen(
        [*command, "--port", "0", "--tokens", "12.50"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=dict(os.environ),
    )
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


async def tokens_of(url: str, folder: Path, wallet: Address) -> int:
    deployment = load_deployment(folder / "deployments.json")
    async with open_rpc(url) as rpc:
        data = "0x70a08231" + wallet.hex().rjust(64, "0")  # balanceOf(address)
        return quantity(
            hex(int(str(await rpc.call("eth_call", {"to": hexed(deployment.token), "data": data}, "latest")), 16))
        )


@pytest.mark.timeout(120)
def test_a_local_chain_keeps_its_state_over_a_restart(tmp_path: Path) -> None:
    wallet = trio.run(lambda: create_wallet(tmp_path / "wallet.json", "pw", cost=ScryptCost(n=2**12)))
    process, first = start_chain(tmp_path)
    try:
        assert trio.run(tokens_of, first["rpc_url"], tmp_path, wallet) == 12_500_000
        funded = stoa("--data-dir", str(tmp_path), "chain", "fund", "--tokens", "1", "--rpc-url", first["rpc_url"])
        assert funded.exit_code == 0, funded.output
        assert stoa("--data-dir", str(tmp_path), "chain", "start", "--port", "0").exit_code == 7
        assert stoa("--data-dir", str(tmp_path), "chain", "stop").exit_code == 0
        assert process.wait(STOP_TIMEOUT_S) == 0
    finally:
        process.kill()
        process.communicate()
    process, second = start_chain(tmp_path)
    try:
        assert {**first, "rpc_url": ""} == {**second, "rpc_url": ""}
        assert trio.run(tokens_of, second["rpc_url"], tmp_path, wallet) == 13_500_000
        assert second["court"] is None
        told = stoa("--data-dir", str(tmp_path), "chain", "deploy", "--court", "--rpc-url", second["rpc_url"])
        made = load_deployment(tmp_path / "deployments.json")
        assert made.arbiter == made.court != ZERO_ADDRESS
        for address in (made.reputation, made.court, made.bench):
            assert format_address(address) in told.output.replace("\n", "")
        assert "Its test dollars are new ones: stoa chain fund" in told.output
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_TIMEOUT_S) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.timeout(120)
def test_a_chain_at_another_port_than_the_nodes_says_what_to_set(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "node.cli.main", "--data-dir", str(tmp_path), "chain", "start", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            told = ""
            while "Ctrl-C ends it" not in told:
                line = process.stdout.readline()
                assert line, told
                told += line
        finally:
            process.terminate()
    (url,) = set(re.findall(r"http://127\.0\.0\.1:\d+", told))
    assert f'set chain.rpc_url = "{url}"' in told
