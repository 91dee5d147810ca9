"""Bad input to real processes: each ends with the documented status and says what to do, and the network lives on."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
import trio

from node.api.client import open_client
from node.api.facade import NodeFacade
from node.chain.anvil import open_anvil
from node.chain.deployment import save_deployment
from node.devnet.layout import NodePlace, lay_out
from protocol.identity import format_address
from tests.node.execution.execution_lab import command
from tests.system.system_lab import EXAMPLES, Lab, Ran, make_monte_carlo, run_cli

PROVIDERS = 1
OVERRIDES = {"wallet.caps.per_task": "3.00"}

WORDS: Final = EXAMPLES / "word-statistics"
USAGE, NOT_RUNNING, REFUSED, TASK_FAILED, LATER, SETUP = 2, 3, 4, 5, 6, 7  # as node/cli/failures.py documents them
UNKNOWN_IMPORT: Final = bytes.fromhex(
    "0061736d01000000"  # magic and version
    "010401600000"  # a type: () -> ()
    "020b0103656e7603666c790000"  # imports env.fly
    "03020100"  # one function of that type
    "070a01065f73746172740001"  # exports it as _start
    "0a040102000b"  # which does nothing
)
GREEDY: Final = command("nop", pages="2048")  # 128 MiB
MALFORMED: Final = b"\0asm\1\0\0\0" + b"\xff" * 40
WAT: Final = b'(module (func (export "_start")))'
GARBAGE: Final = (
    b"",
    b"\x00" * 64,
    b"\xff" * 4096,
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x13/multistream/1.0.0\n" + b"\xff\xff\xff\xff\x0f" + b"A" * 1024,
    b"\x13/multistream/1.0.0\n\x07/noise\n" + os.urandom(2048),
)
BAD_LINES: Final = (
    b"\n",
    b"not json\n",
    b"[" * 5000 + b"\n",
    b'{"id": 1, "method": "node.nothing", "params": {}}\n',
    b'{"id": 1, "method": "task.submit", "params": {"order": {"manifest": "AAAA", "budget": -1}}}\n',
    b'{"id": 1, "method": "channel.open", "params": {"provider": "0x00", "deposit": 1e400}}\n',
    b"\xff\xfe\xfd\n",
    b"x" * 5_000_000,
)


@pytest.fixture
async def spare(lab: Lab, tmp_path: Path) -> NodePlace:
    """A node that is set up and not started."""
    deployments = lab.devnet.folder / "deployments.json"
    places = await lay_out(tmp_path / "spare", providers=1, rpc_url=lab.devnet.rpc_url, deployments=deployments)
    return places[0]


async def run_node(place: NodePlace, changes: Mapping[str, str]) -> Ran:
    """Try to run a node with settings changed by environment variables; it must end by itself."""
    return await run_cli("--config", place.config, "run", env={**os.environ, **changes})


def assert_told(ran: Ran, code: int, *words: str) -> None:
    """Check status and message: it names what is wrong, says what to do, and shows no traceback."""
    assert ran.code == code, ran.text
    told = " ".join(ran.err.split())
    assert "What to do:" in told, ran.text
    assert "Traceback" not in told, ran.text
    for word in words:
        assert word in told, f"{word!r} is not said:\n{ran.text}"


async def assert_alive(lab: Lab) -> None:
    """Check that every node serves."""
    for place in lab.devnet.places:
        assert lab.devnet.processes[place.name].is_running, lab.last_words()
        async with open_client(place.socket) as client:
            assert (await client.call(NodeFacade.node_status)).wallet == place.wallet


async def test_a_wrong_password_is_told_and_no_key_is_opened(spare: NodePlace, tmp_path: Path) -> None:
    wrong = trio.Path(tmp_path / "wrong")
    await wrong.write_text("not the password\n")
    await wrong.chmod(0o600)
    ran = await run_node(spare, {"STOA_WALLET__PASSWORD_FILE": str(wrong)})
    assert_told(ran, SETUP, "the password does not open", "wallet.json")
    assert "not the password" not in ran.text


async def test_a_port_in_use_is_named(lab: Lab, spare: NodePlace) -> None:
    ran = await run_node(spare, {"STOA_NETWORK__LISTEN_PORT": str(lab.requester.port)})
    assert_told(ran, SETUP, str(lab.requester.port))


async def test_a_chain_that_is_not_there_is_named_and_may_be_tried_again(spare: NodePlace) -> None:
    ran = await run_node(spare, {"STOA_CHAIN__RPC_URL": "http://127.0.0.1:1"})
    assert_told(ran, LATER, "http://127.0.0.1:1", "can't be reached", "chain.rpc_url")


async def test_another_chain_than_the_configured_one_is_refused(spare: NodePlace) -> None:
    async with open_anvil(chain_id=4242) as other:
        ran = await run_node(spare, {"STOA_CHAIN__RPC_URL": other.url})
    assert_told(ran, SETUP, "4242", "31337")


async def test_contracts_with_other_code_are_refused(lab: Lab, spare: NodePlace, tmp_path: Path) -> None:
    true = lab.devnet.deployment
    swapped = tmp_path / "deployments.json"
    save_deployment(swapped, replace(true, escrow=true.payment_channel, payment_channel=true.escrow))
    ran = await run_node(spare, {"STOA_CHAIN__DEPLOYMENTS": str(swapped)})
    assert_told(ran, SETUP, format_address(true.payment_channel))


async def test_a_second_node_on_one_data_folder_is_refused(lab: Lab) -> None:
    ran = await run_node(lab.requester, {"STOA_NETWORK__LISTEN_PORT": "0"})
    assert_told(ran, SETUP, "is in use by process", "node.data_dir")
    await assert_alive(lab)


async def test_a_second_node_on_one_control_socket_is_refused(lab: Lab, spare: NodePlace) -> None:
    ran = await run_node(spare, {"STOA_API__CONTROL_SOCKET": str(lab.requester.socket)})
    assert_told(ran, SETUP, "another node answers at", "api.control_socket")
    await assert_alive(lab)


async def test_all_mistakes_of_a_configuration_are_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "stoa.toml"
    await trio.Path(file).write_text(
        '[network]\nlisten_port = 70000\n[requester]\nweight_price = 9000\n[chain]\nprofil = "local"\n'
        '[wallet.caps]\nper_task = "-1"\n'
    )
    ran = await run_cli("--config", file, "run")
    assert_told(ran, SETUP, "listen_port", "weight_price", "profil", "per_task")


async def test_a_command_without_a_node_says_how_to_start_one(tmp_path: Path) -> None:
    ran = await run_cli("--socket", tmp_path / "none.sock", "status")
    assert_told(ran, NOT_RUNNING, "no node answers", "stoa run")


async def test_all_mistakes_of_a_task_file_are_named_at_once(lab: Lab, tmp_path: Path) -> None:
    await trio.Path(tmp_path / "task.toml").write_text(
        'name = "x"\nmodule = "none.wasm"\nstdim = "a"\n[limits]\nfuel = 0\nmemory_mib = 1\noutput_bytes = 1\n'
        '[offer]\nbudget = "-0.40"\nmax_eta_s = 10\n'
    )
    ran = await lab.cli(lab.requester, "task", "submit", tmp_path)
    assert_told(ran, USAGE, "none.wasm", "stdim", "fuel", "budget")


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (WAT, "looks like text"),
        (MALFORMED, "section 255"),
        (b"", "no magic bytes"),
        (UNKNOWN_IMPORT, "env.fly"),
        (GREEDY, "128 MiB of memory at its start"),
    ],
    ids=["wat", "malformed", "empty", "unknown-import", "greedy"],
)
@pytest.mark.parametrize("role", ["task's module", "test"])
async def test_a_module_that_no_sandbox_takes_is_refused_before_any_auction(
    lab: Lab, tmp_path: Path, role: str, module: bytes, words: str
) -> None:
    bad, good = ("bad.wasm", "good.wasm") if role == "task's module" else ("good.wasm", "bad.wasm")
    await trio.Path(tmp_path / "bad.wasm").write_bytes(module)
    await trio.Path(tmp_path / "good.wasm").write_bytes(command("nop"))
    await trio.Path(tmp_path / "task.toml").write_text(
        f'name = "bad"\nmodule = "{bad}"\n[limits]\nfuel = 1000\nmemory_mib = 1\noutput_bytes = 1\n'
        f'[test]\nmodule = "{good}"\nfuel = 1000\nmemory_mib = 1\n'
        '[offer]\nbudget = "0.40"\nmax_eta_s = 10\n'
    )
    async with open_client(lab.requester.socket) as client:
        before = len(await client.call(NodeFacade.auction_list, limit=1000))
        ran = await lab.cli(lab.requester, "task", "submit", tmp_path)
        assert_told(ran, REFUSED, f"the {role} can't be run: ", words)
        assert len(await client.call(NodeFacade.auction_list, limit=1000)) == before
    await assert_alive(lab)


async def test_garbage_on_the_network_port_harms_nobody(lab: Lab) -> None:
    for data in GARBAGE:
        for place in lab.devnet.places:
            stream = await trio.open_tcp_stream("127.0.0.1", place.port)
            async with stream:
                try:
                    await stream.send_all(data)
                    with trio.move_on_after(0.1):
                        await stream.receive_some(65_536)
                except trio.BrokenResourceError:
                    continue  # it hung up on us: that is an answer
    await assert_alive(lab)


async def test_garbage_on_the_control_socket_harms_nobody(lab: Lab) -> None:
    for data in BAD_LINES:
        stream = await trio.open_unix_socket(str(lab.requester.socket))
        async with stream:
            try:
                with trio.move_on_after(5):
                    await stream.send_all(data)
                    with trio.move_on_after(0.5):
                        await stream.receive_some(65_536)
            except trio.BrokenResourceError:
                continue
    await assert_alive(lab)


async def test_a_task_above_the_spending_cap_signs_nothing_and_names_the_cap(lab: Lab, tmp_path: Path) -> None:
    """It runs after the garbage above, so it also shows that the network still trades."""
    before = await lab.snapshot()
    seller = format_address(lab.devnet.providers[0].wallet)
    dear = make_monte_carlo(tmp_path / "task", parts=1, batches=2, paths=100, budget="12")
    ran = await lab.cli(lab.requester, "task", "submit", dear, "--hire", seller)
    assert ran.code in (REFUSED, TASK_FAILED), ran.text
    assert "per task" in " ".join(ran.text.split()), ran.text
    after = await lab.assert_books_balance(before)
    assert not any(lab.income(before, after).values())

    fits = await lab.cli(lab.requester, "task", "submit", dear, "--hire", seller, "--budget", "0.90")
    assert fits.code == 0, fits.text
    await lab.settle()
    await lab.assert_books_balance(before)
