"""The console and the scripts as processes of their own, as an operator runs them, against chains of their own."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from web3 import HTTPProvider, Web3
from web3.types import RPCEndpoint

from node.chain.anvil import find_anvil
from node.chain.deployment import load_deployment
from node.operations.ports import free_ports
from protocol.identity import format_address

ROOT = Path(__file__).resolve().parents[2]
APE = Path(sys.executable).with_name("ape")
PATIENCE_S = 240
TOOLS = {"SOLCX_BINARY_PATH": str(ROOT / ".cache/solcx"), "APE_DATA_FOLDER": str(ROOT / ".cache/ape")}
TOKEN, POOL, GUARDIAN = ("0x" + digit * 40 for digit in "789")
KEY = "0x" + "11" * 32
PASSWORD = "a passphrase"
SESSION = """\
me = accounts.test_accounts[0]
token.mint(me, dollars(100), sender=me)
token.approve(channels, dollars(100), sender=me)
opened = channels.open(me, accounts.test_accounts[1], token, dollars(10), sender=me)
identity = opened.events[0].channel.hex()
channel(identity)
channels.topUp(key(identity), dollars('2.5'), sender=me)
channel(identity)
events(identity)
print('HOLDER', guardian.holder(), escrow.paused())
award('11' * 32)
case('11' * 32)
arbiter(me.address)
stoa()
exit
"""

OPENING = """\
me = accounts.test_accounts[0]
token.approve(channels, dollars(10), sender=me)
print('OPENED', channels.open(me, accounts.test_accounts[1], token, dollars(10), sender=me).events[0].channel.hex())
exit
"""


@contextmanager
def chain(*options: str) -> Generator[Web3]:
    """Run anvil until the block ends."""
    command = [str(find_anvil()), "--host", "127.0.0.1", "--port", "0", "--accounts", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            found = next(match for line in process.stdout if (match := re.search(r"Listening on (127\S+)", line)))
            yield Web3(HTTPProvider(f"http://{found[1]}"))
        finally:
            process.terminate()
            process.communicate()


def ask(web3: Web3, method: str, *parameters: Any) -> None:
    answer = web3.provider.make_request(RPCEndpoint(method), list(parameters))
    assert "error" not in answer


def uri(web3: Web3) -> str:
    return str(getattr(web3.provider, "endpoint_uri"))  # noqa: B009  not every provider has one


def ape(*arguments: str, said: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(APE), *arguments],
        cwd=ROOT,
        env={**TOOLS, **os.environ, "COLUMNS": "160", **environment},
        input=said,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_every_script_teaches_itself() -> None:
    scripts = sorted(path.stem for path in (ROOT / "scripts").glob("*.py") if not path.stem.startswith("_"))
    assert {"deploy", "estimate", "fund", "guardian", "inspect-award", "inspect-case", "inspect-stake"} <= set(scripts)
    listed = ape("run", "--help").stdout
    for name in scripts:
        assert re.search(rf"^  {name}\s+\S", listed, re.MULTILINE), f"`ape run --help` says nothing of {name}"


@pytest.fixture
def sepolia(tmp_path: Path) -> Generator[tuple[Web3, dict[str, str]]]:
    """A chain with the number of a real network, and an Ape with an account that can pay there."""
    account = Account.from_key(KEY)
    folder = tmp_path / "ape"
    (folder / "accounts").mkdir(parents=True)
    keystore = Account.encrypt(bytes.fromhex(KEY[2:]), PASSWORD, kdf="pbkdf2", iterations=1_000)
    (folder / "accounts" / "deployer.json").write_text(json.dumps(keystore))
    with chain("--chain-id", "11155111", "--disable-default-create2-deployer") as web3:
        ask(web3, "anvil_setBalance", account.address, hex(10**19))
        ask(web3, "anvil_setCode", TOKEN, "0x6000")
        yield web3, {"APE_DATA_FOLDER": str(folder), "STOA_SEPOLIA_URI": uri(web3)}


def deploying(path: Path, *more: str) -> Sequence[str]:
    where = ("--network", "ethereum:sepolia:node", "--account", "deployer", "--out", str(path))
    return ("run", "deploy", *where, "--token", TOKEN, "--pool", POOL, "--guardian", GUARDIAN, *more)


def test_a_real_network_is_deployed_to_after_a_rehearsal_a_question_and_signatures(
    sepolia: tuple[Web3, dict[str, str]], tmp_path: Path
) -> None:
    web3, environment = sepolia
    path = tmp_path / "sepolia.json"

    refused = ape(*deploying(path), said="yes\n", **environment)
    assert refused.returncode == 1
    assert "Rehearsal on a copy of sepolia" in refused.stdout
    assert re.search(r"[\d,]+ gas in all; at \S+ gwei, as the network asks now, \d\.\d{6}", refused.stdout)
    assert "not confirmed; nothing was sent" in refused.stderr
    assert web3.eth.block_number == 0
    assert not path.exists()

    # The operator signs money for the factory and the guardian's place, and is interrupted at the third signature.
    halted = ape(*deploying(path), said=f"sepolia\ny\n{PASSWORD}\ny\ny\nn\n", **environment)
    assert halted.returncode != 0
    assert not path.exists()
    rehearsed = dict(re.findall(r"^  (\w+) +(0x\w{40})", halted.stdout, re.MULTILINE))
    assert web3.eth.get_code(Web3.to_checksum_address(rehearsed["Guardian"]))
    assert not web3.eth.get_code(Web3.to_checksum_address(rehearsed["Escrow"]))

    done = ape(*deploying(path, "--confirm", "sepolia"), said=f"y\n{PASSWORD}\ny\ny\ny\ny\n", **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    made = load_deployment(path)
    assert (made.chain_id, format_address(made.escrow)) == (11155111, rehearsed["Escrow"])
    assert format_address(made.reputation) == rehearsed["Reputation"]
    assert [format_address(each) for each in (made.court, made.bench, made.arbiter)] == [
        rehearsed[name] for name in ("DisputeArbiter", "Bench", "DisputeArbiter")
    ]
    assert web3.eth.get_code(Web3.to_checksum_address(made.payment_channel))
    assert not web3.eth.get_code(Web3.to_checksum_address(made.escrow), made.block - 1)
    for answer in (refused, halted, done):
        text = answer.stdout + answer.stderr + path.read_text()
        assert KEY[2:] not in text
        assert "node_modules" not in text

    # Nothing is left to send, so nothing is asked of the account.
    again = ape(*deploying(path, "--confirm", "sepolia"), **environment)
    assert again.returncode == 0, again.stdout + again.stderr
    assert load_deployment(path) == made
    other = ape(*deploying(path, "--confirm", "sepolia", "--salt", "22" * 32), **environment)
    assert "names other contracts" in other.stderr
    assert load_deployment(path) == made


def test_what_a_real_network_needs_is_asked_for_before_anything_is_tried(
    sepolia: tuple[Web3, dict[str, str]], tmp_path: Path
) -> None:
    web3, environment = sepolia
    where = ("run", "deploy", "--network", "ethereum:sepolia:node", "--out", str(tmp_path / "sepolia.json"))
    assert "name the stablecoin on sepolia: --token" in ape(*where, **environment).stderr
    assert "--pool" in ape(*where, "--token", TOKEN, **environment).stderr
    assert "--account NAME" in ape(*where, "--token", TOKEN, "--pool", POOL, **environment).stderr
    ask(web3, "anvil_setCode", TOKEN, "0x")
    assert f"no contract at --token {TOKEN}" in ape(*deploying(tmp_path / "s.json"), **environment).stderr
    ask(web3, "anvil_setCode", TOKEN, "0x6000")
    ask(web3, "anvil_setBalance", Account.from_key(KEY).address, hex(10**12))
    poor = ape(*deploying(tmp_path / "s.json", "--confirm", "sepolia"), **environment)
    assert re.search(r"it lacks 0\.\d{6}", poor.stderr)
    assert web3.eth.block_number == 0


def test_a_deployment_is_estimated_by_doing_it() -> None:
    with chain() as web3:
        answer = ape("run", "estimate", "--gas-price", "2", "--with-token", APE_FOUNDRY_HOST=uri(web3))
        assert web3.eth.block_number == 0
    rows = dict(re.findall(r"^(\w+) +([\d,]+)", answer.stdout, re.MULTILINE))
    gas = {name: int(value.replace(",", "")) for name, value in rows.items()}
    contracts = {"TestToken", "Guardian", "Escrow", "PaymentChannel", "Reputation", "DisputeArbiter"}
    assert set(gas) == {"factory", "all"} | contracts
    assert gas["all"] == sum(value for name, value in gas.items() if name != "all")
    page = (ROOT / "docs/operations/mainnet.md").read_text()
    told = {
        name: int(value.replace(",", ""))
        for name, value in re.findall(r"^\| (\w+)[^|]* \| ([\d,]+) \|", page, re.MULTILINE)
    }
    for name in contracts - {"TestToken"}:
        assert abs(told[name] - gas[name]) < 0.03 * gas[name], f"mainnet.md tells another figure for {name}"
    millionths = -(-gas["all"] * 2 * 10**9 // 10**12)
    assert f"0.{millionths:06}" in answer.stdout


def test_the_console_opens_with_contracts_and_helpers(tmp_path: Path) -> None:
    with chain() as web3:
        environment = {"APE_FOUNDRY_HOST": uri(web3), "IPYTHONDIR": str(tmp_path / "ipython")}
        deployments = tmp_path / "local.json"
        empty = ape("console", said="print('money', money(dollars('0.40')))\nexit\n", **environment)
        made = ape("run", "deploy", "--out", str(deployments), "--guardian", GUARDIAN, **environment)
        assert made.returncode == 0, made.stderr
        told = ape(
            "console",
            said=SESSION,
            STOA_DEPLOYMENTS=str(deployments),
            **environment,
        )
    assert "No contracts loaded" in empty.stdout
    assert "money $0.40" in empty.stdout
    assert "Stoa on local: deployment, token, escrow, channels, reputation, court, bench, guardian" in told.stdout
    assert told.stdout.index("deposit   $10.00") < told.stdout.index("deposit   $12.50")
    assert re.search(r"ChannelOpened .*\n.*ToppedUp", told.stdout)
    assert f"HOLDER {GUARDIAN} False" in told.stdout
    assert "no contract holds anything for this award" in told.stdout
    assert "what somebody staked, in words" in told.stdout
    assert "no court here has a case about this award" in told.stdout
    assert "tickets   0 at $100.00" in told.stdout
    assert "Traceback" not in told.stdout + told.stderr


def test_on_a_chain_that_makes_a_block_a_second_a_script_waits_for_its_own(tmp_path: Path) -> None:
    deployments = tmp_path / "local.json"
    owner = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
    with chain("--block-time", "1") as web3:
        environment = {"APE_FOUNDRY_HOST": uri(web3), "STOA_DEPLOYMENTS": str(deployments)}
        made = ape("run", "deploy", "--guardian", owner, "--out", str(deployments), **environment)
        assert made.returncode == 0, made.stdout + made.stderr
        funded = ape("run", "fund", "account", owner, "--dollars", "100", **environment)
        # Two transactions of one command, the second of which needs the first.
        opened = ape("console", said=OPENING, **environment, IPYTHONDIR=str(tmp_path / "ipython"))
        identity = re.search(r"OPENED (\w{64})", opened.stdout)
        assert identity is not None, opened.stdout + opened.stderr
        topped_up = ape("run", "fund", "channel", identity[1], "25", **environment)
    assert f"{owner} has $100.00 and money for fees" in funded.stdout
    assert "The deposit is $35.00 now" in topped_up.stdout, topped_up.stderr


def test_a_chain_that_does_not_answer_is_not_replaced_by_one_of_apes_own(tmp_path: Path) -> None:
    with chain() as web3:
        environment = {"APE_FOUNDRY_HOST": uri(web3)}
    path = tmp_path / "local.json"
    # Ape draws a port for its own chain among those of outgoing connections, and waits in vain where one has it.
    (port,) = free_ports(1)
    settings = json.dumps({"host": f"http://127.0.0.1:{port}"})
    own = ape("run", "deploy", "--provider-settings", settings, "--out", str(tmp_path / "own.json"))
    assert "That chain was Ape's own and ends with this command" in own.stdout
    answer = ape("run", "deploy", "--out", str(path), **environment)
    assert answer.returncode == 1
    assert f"no chain answers at {environment['APE_FOUNDRY_HOST']}" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not path.exists()
