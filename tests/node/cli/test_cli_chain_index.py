"""`stoa chain check`, `reindex` and `events` on a real chain and the node's own database."""

import json
import re
import sqlite3
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import trio

from node.app.index_tools import open_index
from node.chain.abi import load_artifact
from node.chain.anvil import find_anvil
from node.chain.event_index import open_event_index
from node.chain.local import DEPLOYER, deploy_local
from node.chain.rpc import Json, hexed, open_rpc
from node.config.load import load_settings
from protocol.units import Amount
from tests.node.chain.chain_world import included
from tests.node.cli.cli_lab import stoa

CHANNELS = 4
PATIENCE_S = 60


def run(folder: Path, *arguments: str, code: int = 0) -> Any:
    result = stoa("--data-dir", str(folder), "--config", str(folder / "stoa.toml"), "--json", "chain", *arguments)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


async def read_index(folder: Path) -> None:
    """Do what the node does: read until all is there."""
    settings = load_settings(folder / "stoa.toml", options={"node.data_dir": str(folder)})
    async with open_index(settings) as (chain, store), open_event_index(chain, store) as index:
        with trio.fail_after(PATIENCE_S):
            await index.wait_for((await chain.head()).number)


async def trade(url: str, folder: Path) -> None:
    """Deploy, and open some channels."""
    deployment = await deploy_local(url, path=folder / "deployments.json")
    token, channels = load_artifact("TestToken").abi, load_artifact("PaymentChannel").abi
    much = Amount(10**9)
    calls = [
        (deployment.token, token.encode_call("mint", DEPLOYER, much)),
        (deployment.token, token.encode_call("approve", deployment.payment_channel, much)),
    ]
    opening = channels.encode_call("open", DEPLOYER, b"\x55" * 20, deployment.token, Amount(1_000_000))
    calls += [(deployment.payment_channel, opening)] * CHANNELS
    async with open_rpc(url) as rpc:
        for to, data in calls:
            call: dict[str, Json] = {"from": hexed(DEPLOYER), "to": hexed(to), "data": hexed(data)}
            receipt = await included(rpc, await rpc.call("eth_sendTransaction", call))
            assert receipt["status"] == "0x1"


@pytest.fixture
def folder(tmp_path: Path) -> Generator[Path]:
    """A data folder whose index holds what a chain with some channels reported."""
    command = [str(find_anvil()), "--host", "127.0.0.1", "--port", "0", "--accounts", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            found = next(match for line in process.stdout if (match := re.search(r"Listening on (127\S+)", line)))
            url = f"http://{found[1]}"
            (tmp_path / "stoa.toml").write_text(f'[chain]\nrpc_url = "{url}"\n')
            trio.run(trade, url, tmp_path)
            trio.run(read_index, tmp_path)
            yield tmp_path
        finally:
            process.terminate()
            process.communicate()


def change(folder: Path, statement: str) -> None:
    connection = sqlite3.connect(folder / "stoa.sqlite3")
    with connection:
        assert connection.execute(statement).rowcount == 1
    connection.close()


def test_a_lost_record_is_found_and_read_again(folder: Path) -> None:
    good = run(folder, "check")
    assert (good["events"], good["differences"], good["reindex_from"]) == (CHANNELS, 0, None)
    shown = run(folder, "events")["events"]
    assert [each["event"] for each in shown] == ["ChannelOpened"] * CHANNELS
    assert {(each["network"], each["chain_id"], each["settled"]) for each in shown} == {("local", 31337, True)}
    assert len({each["transaction"] for each in shown}) == CHANNELS

    block = shown[1]["block"]
    change(folder, f"DELETE FROM chain_log WHERE block = {block}")
    bad = run(folder, "check", code=1)
    assert (bad["differences"], bad["reindex_from"]) == (1, block)
    assert bad["ranges"][0]["database_digest"] != bad["ranges"][0]["chain_digest"]
    told = stoa("--data-dir", str(folder), "--config", str(folder / "stoa.toml"), "chain", "check")
    assert told.exit_code == 1
    assert f"missing: block {block}" in told.output
    assert f"stoa chain reindex --from {block}" in " ".join(told.output.split())

    assert run(folder, "reindex", "--from", str(block))["kept_up_to"] < block
    trio.run(read_index, folder)
    assert run(folder, "check") == good


def test_everything_can_be_read_again(folder: Path) -> None:
    good = run(folder, "check")
    run(folder, "reindex")
    empty = stoa("--data-dir", str(folder), "--config", str(folder / "stoa.toml"), "chain", "check")
    assert empty.exit_code != 0
    assert "the event index is empty" in " ".join(empty.output.split())
    assert run(folder, "events")["events"] == []
    trio.run(read_index, folder)
    assert run(folder, "check") == good
