"""Opening a chain: the right one with the right contracts, or an error that names what is wrong; soon."""

import json
import socket
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from node.chain import trio_provider
from node.chain.abi import load_artifact
from node.chain.anvil import PortTaken, find_anvil, open_anvil
from node.chain.chain_check import TermsTooShort
from node.chain.deployment import Deployment, load_deployment, save_deployment
from node.chain.errors import (
    AnvilFailed,
    AnvilMissing,
    ChainTimeout,
    ChainUnreachable,
    CodeMismatch,
    ContractMissing,
    DeploymentInvalid,
    ProtocolMismatch,
    RpcRefused,
    WrongChain,
)
from node.chain.local import LocalTerms, deploy_local, fund
from node.chain.opening import open_chain
from node.chain.profile import LOCAL, PROFILES, SEPOLIA, profile_named
from node.chain.rpc import open_rpc
from protocol.errors import ConfigError
from protocol.identity import ZERO_ADDRESS, Address
from protocol.units import Amount, Seconds
from tests.node.chain.chain_world import PATIENCE_S, World

NOBODY = Address(b"\x99" * 20)


async def attempt(world: World, deployment: Deployment, profile: Any = LOCAL) -> None:
    async with open_chain(profile, world.anvil.url, deployment):
        pass


async def test_the_right_chain_opens_and_shows_balances_of_a_confirmed_block(world: World) -> None:
    async with open_chain(LOCAL, world.anvil.url, world.deployment) as chain:
        before = await chain.confirmed()
        await fund(world.anvil.url, world.deployment, [NOBODY], tokens=Amount(5), gas_money=7)
        assert await chain.token_balance(NOBODY) == 5
        assert await chain.token_balance(NOBODY, at=before) == 0
        assert await chain.gas_money(NOBODY) == 7


async def test_another_chain_is_refused_by_name(world: World) -> None:
    with pytest.raises(WrongChain) as caught:
        await attempt(world, replace(world.deployment, chain_id=1), replace(LOCAL, chain_id=1))
    assert (caught.value.expected, caught.value.actual) == (1, 31337)
    with pytest.raises(WrongChain, match="deployments file"):
        await attempt(world, world.deployment, SEPOLIA)


async def test_an_address_without_code_is_named(world: World) -> None:
    for name in ("token", "escrow", "payment_channel"):
        with pytest.raises(ContractMissing, match="0x9999"):
            await attempt(world, replace(world.deployment, **{name: NOBODY}))


async def test_other_code_is_refused_and_one_byte_is_enough(world: World) -> None:
    with pytest.raises(CodeMismatch, match="Escrow"):
        await attempt(world, replace(world.deployment, escrow=world.deployment.token))
    address = "0x" + world.deployment.escrow.hex()
    code = bytearray.fromhex(str(await world.rpc.call("eth_getCode", address, "latest"))[2:])
    code[-1] ^= 1
    await world.rpc.call("anvil_setCode", address, "0x" + code.hex())
    with pytest.raises(CodeMismatch, match="Escrow"):
        await attempt(world, world.deployment)


async def test_contracts_of_two_deployments_do_not_go_together(world: World) -> None:
    other = await deploy_local(world.anvil.url)
    with pytest.raises(ConfigError, match="belongs to another Escrow"):
        await attempt(world, replace(world.deployment, escrow=other.escrow))


async def test_periods_below_the_profile_are_refused(world: World) -> None:
    with pytest.raises(TermsTooShort, match="challenge of 2 s"):
        await attempt(world, world.deployment, replace(LOCAL, min_challenge=Seconds(3)))
    short = await deploy_local(world.anvil.url, terms=LocalTerms(min_pace=Seconds(1)))
    with pytest.raises(TermsTooShort, match="minPace"):
        await attempt(world, short)


async def test_the_code_hash_leaves_immutables_out_and_nothing_else(world: World) -> None:
    artifact = load_artifact("PaymentChannel")
    address = "0x" + world.deployment.payment_channel.hex()
    code = bytes.fromhex(str(await world.rpc.call("eth_getCode", address, "latest"))[2:])
    masked = {index for start, length in artifact.immutables for index in range(start, start + length)}
    assert artifact.masked_hash(code) == artifact.code_hash
    for index in (0, min(masked) - 1, min(masked), max(masked), max(masked) + 1, len(code) - 1):
        changed = bytearray(code)
        changed[index] ^= 1
        assert (artifact.masked_hash(bytes(changed)) == artifact.code_hash) == (index in masked)
    assert artifact.masked_hash(code + b"\0") != artifact.code_hash
    assert artifact.masked_hash(code[:-1]) != artifact.code_hash


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_dead_address_is_reported_at_once(world: World) -> None:
    much_less = trio_provider.RPC_TIMEOUT_S * 3 / 4
    with trio.fail_after(much_less), pytest.raises(ChainUnreachable, match="can't be reached"):
        async with open_chain(LOCAL, f"http://127.0.0.1:{free_port()}", world.deployment):
            pass


async def test_a_silent_address_is_reported_after_the_timeout(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trio_provider, "RPC_TIMEOUT_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(ChainTimeout, match="eth_chainId"):
            async with open_chain(LOCAL, f"http://127.0.0.1:{silent.getsockname()[1]}", world.deployment):
                pass


async def serve(answer: bytes, stream: trio.SocketStream) -> None:
    await stream.receive_some(65_536)
    await stream.send_all(answer)
    await stream.aclose()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", ProtocolMismatch),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", ProtocolMismatch),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", ProtocolMismatch),
        (b'HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\n{"id":9,"result":"0x1"}'[:-1] + b" ", ProtocolMismatch),
        (b"HTTP/1.1 429 Too Many\r\ncontent-length: 4\r\n\r\nslow", RpcRefused),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{", ChainUnreachable),
        (b"nonsense\r\n\r\n", ChainUnreachable),
    ],
)
async def test_whatever_answers_it_is_a_typed_error(answer: bytes, error: type[Exception]) -> None:
    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(
            partial(trio.serve_tcp, partial(serve, answer), 0, host="127.0.0.1")
        )
        port = listeners[0].socket.getsockname()[1]
        async with open_rpc(f"http://user:secret@127.0.0.1:{port}/key") as rpc:
            with pytest.raises(error) as caught:
                await rpc.call("eth_chainId")
        assert "secret" not in str(caught.value)
        assert "/key" not in str(caught.value)
        nursery.cancel_scope.cancel()


async def test_an_answer_without_end_is_cut_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trio_provider, "MAX_RESPONSE_BYTES", 1_000)
    with pytest.raises(ProtocolMismatch, match="longer than"):
        await world.rpc.call("eth_getCode", "0x" + world.deployment.escrow.hex(), "latest")


@pytest.mark.parametrize("url", ["", "localhost:8545", "ftp://x", "http://", "ws://127.0.0.1:1"])
async def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="address"):
        async with open_rpc(url):
            pass


async def test_a_deployment_survives_its_file(tmp_path: Path, world: World) -> None:
    path = tmp_path / "deployments" / "local.json"
    save_deployment(path, world.deployment)
    assert load_deployment(path) == world.deployment


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"chain_id": "1"}, "chain_id"),
        ({"chain_id": True}, "chain_id"),
        ({"block": -1}, "block"),
        ({"block": 2**64}, "block"),
        ({"token": None}, "token"),
        ({"escrow": "0x12"}, "escrow"),
        ({"escrow": "0x" + "00" * 20}, "different"),
        ({"payment_channel": "0x" + "01" * 20}, "different"),
        ({"arbiter": "0xzz"}, "arbiter"),
    ],
)
def test_a_deployments_file_that_contradicts_itself_is_refused(
    tmp_path: Path, change: dict[str, object], says: str
) -> None:
    good = {
        "chain_id": 31337,
        "token": "0x" + "01" * 20,
        "escrow": "0x" + "02" * 20,
        "payment_channel": "0x" + "03" * 20,
        "block": 1,
    }
    path = tmp_path / "local.json"
    path.write_text(json.dumps(good))
    assert load_deployment(path).arbiter == ZERO_ADDRESS
    path.write_text(json.dumps(good | change))
    with pytest.raises(DeploymentInvalid, match=says):
        load_deployment(path)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b"[" * 60_000, b" " * 70_000])
def test_bytes_that_are_no_deployments_file_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "local.json"
    path.write_bytes(data)
    with pytest.raises(DeploymentInvalid):
        load_deployment(path)
    with pytest.raises(DeploymentInvalid, match="No such file"):
        load_deployment(tmp_path / "none.json")


async def test_the_local_chain_keeps_its_state_between_runs_and_leaves_no_process(tmp_path: Path) -> None:
    state = tmp_path / "chain" / "state.json"
    async with open_anvil(state_file=state) as anvil:
        deployment = await deploy_local(anvil.url)
        await fund(anvil.url, deployment, [NOBODY], tokens=Amount(5))
        process = anvil.process
    assert process.returncode is not None
    async with open_anvil(state_file=state) as anvil, open_chain(LOCAL, anvil.url, deployment) as chain:
        assert await chain.token_balance(NOBODY) == 5


async def test_a_taken_port_is_named_before_anything_starts() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=str(port)):
            async with open_anvil(port=port):
                pass


async def test_an_anvil_that_dies_at_start_says_why(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    state.write_text("no state")
    with trio.fail_after(PATIENCE_S), pytest.RaisesGroup(pytest.RaisesExc(AnvilFailed, match="ended with status")):
        async with open_anvil(state_file=state):
            pass


def test_a_missing_anvil_is_a_typed_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert find_anvil().is_file()
    monkeypatch.setattr("node.chain.anvil._NATIVE", Path("nowhere/anvil"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AnvilMissing):
        find_anvil()


def test_profiles_keep_the_rules_of_time() -> None:
    for profile in PROFILES.values():
        assert profile_named(profile.name) == profile
        if not profile.is_local:
            assert profile.min_pace >= 3_600
            assert profile.min_pace >= 10 * profile.confirmations * profile.block_time_s
            assert profile.min_challenge >= 3_600
    with pytest.raises(ConfigError, match="no chain profile"):
        profile_named("goerli")


def test_a_profile_takes_the_users_values_and_refuses_impossible_ones() -> None:
    assert LOCAL.adjusted() == LOCAL
    changed = SEPOLIA.adjusted(confirmations=1, max_fee=SEPOLIA.min_priority_fee)
    assert (changed.confirmations, changed.max_fee) == (1, SEPOLIA.min_priority_fee)
    with pytest.raises(ConfigError, match="confirmations"):
        LOCAL.adjusted(confirmations=0)
    with pytest.raises(ConfigError, match="max_fee_gwei"):
        SEPOLIA.adjusted(max_fee=SEPOLIA.min_priority_fee - 1)
