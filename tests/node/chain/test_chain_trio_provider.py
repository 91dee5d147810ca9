"""web3.py on trio: what it sends, what it may not do, and what it is not believed."""

import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import pytest
import trio
from eth_abi.exceptions import EncodingError
from eth_utils.address import to_checksum_address

from node.chain.abi import Abi
from node.chain.chain import Chain
from node.chain.deployment import Deployment
from node.chain.errors import ProtocolMismatch, Reverted, RpcRefused
from node.chain.profile import LOCAL
from node.chain.rpc import Rpc, open_rpc
from node.chain.trio_provider import TrioProvider
from node.chain.web3_library import AsyncWeb3
from protocol.identity import Address

Request = dict[str, Any]
DEPLOYMENT = Deployment(
    chain_id=31337,
    token=Address(b"\x01" * 20),
    escrow=Address(b"\x02" * 20),
    payment_channel=Address(b"\x03" * 20),
    arbiter=Address(bytes(20)),
    block=1,
)


@asynccontextmanager
async def node_that(
    answers: Callable[[Request], object], status: int = 200
) -> AsyncGenerator[tuple[Rpc, list[Request]], None]:
    """A chain's node that answers as it is told; requests are kept."""
    requests: list[Request] = []

    async def serve(stream: trio.SocketStream) -> None:
        received = b""
        async for chunk in stream:
            received += chunk
            head, _, body = received.partition(b"\r\n\r\n")
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            if not lengths or len(body) < int(lengths[0].partition(b":")[2]):
                continue
            received = b""
            requests.append(json.loads(body))
            answer = json.dumps(answers(requests[-1])).encode()
            head = b"HTTP/1.1 %d OK\r\ncontent-length: %d\r\n\r\n" % (status, len(answer))
            await stream.send_all(head + answer)

    async with trio.open_nursery() as nursery:
        listeners: Sequence[trio.SocketListener] = await nursery.start(
            partial(trio.serve_tcp, serve, 0, host="127.0.0.1")
        )
        async with open_rpc(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}") as rpc:
            yield rpc, requests
        nursery.cancel_scope.cancel()


def result(value: object, **others: object) -> Callable[[Request], object]:
    return lambda request: {"jsonrpc": "2.0", "id": request["id"], "result": value} | others


async def test_one_call_is_one_request_and_nothing_is_remembered() -> None:
    async with node_that(result("0x7a69")) as (rpc, requests):
        assert [await rpc.call("eth_chainId") for _ in range(3)] == ["0x7a69"] * 3
        await rpc.call("eth_call", {"to": "0x"}, "latest")
    assert [request["method"] for request in requests] == ["eth_chainId"] * 3 + ["eth_call"]
    assert requests[3]["params"] == [{"to": "0x"}, "latest"]
    assert len({request["id"] for request in requests}) == 4


@pytest.mark.parametrize("value", [None, False, 0, "", "0x", [], {}])
async def test_an_empty_result_is_a_result(value: object) -> None:
    async with node_that(result(value, error=None)) as (rpc, _):
        assert await rpc.call("eth_getTransactionReceipt", "0x") == value


@pytest.mark.parametrize(
    "answer",
    [
        {"jsonrpc": "2.0", "id": 10**6, "result": "0x1"},
        {"jsonrpc": "2.0", "result": "0x1"},
        {"jsonrpc": "1.0", "id": 0, "result": "0x1"},
        {"id": 0, "result": "0x1"},
        {"jsonrpc": "2.0", "id": 0},
        {"jsonrpc": "2.0", "id": 0, "error": None},
        ["jsonrpc"],
        "0x1",
        None,
    ],
)
async def test_an_answer_to_something_else_is_refused(answer: object) -> None:
    async with node_that(lambda _: answer) as (rpc, _):
        with pytest.raises(ProtocolMismatch, match="not answered in JSON-RPC"):
            await rpc.call("eth_chainId")


async def test_a_gateway_whose_node_is_gone_is_no_other_chain_even_if_it_says_so_in_json() -> None:
    async with node_that(lambda _: {"message": "no healthy upstream"}, status=503) as (rpc, _):
        with pytest.raises(RpcRefused, match="HTTP status 503"):
            await rpc.call("eth_chainId")
        assert rpc.away_since is not None


@pytest.mark.parametrize(
    ("error", "data"),
    [
        ({"code": 3, "message": "execution reverted", "data": "0x1234"}, b"\x12\x34"),
        ({"code": -32000, "message": "VM Exception: revert", "data": {"data": "0x12"}}, b"\x12"),
        ({"code": 3, "message": "execution reverted", "data": "0x123"}, b""),
        ({"code": 3, "message": "execution reverted", "data": ["0x12"]}, b""),
        ({"code": 3}, b""),
    ],
)
async def test_a_revert_keeps_its_data_in_whatever_shape_it_comes(error: object, data: bytes) -> None:
    async with node_that(lambda request: {"jsonrpc": "2.0", "id": request["id"], "error": error}) as (rpc, _):
        with pytest.raises(Reverted) as caught:
            await rpc.call("eth_call", {}, "latest")
    assert caught.value.data == data


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": -32601, "message": "the method does not exist"}, -32601),
        ({"code": -32000, "message": "transaction not found"}, -32000),
        ({"code": "x", "message": ["no text"]}, 0),
        ("out of order", 0),
        ({"code": -32005, "message": "slow down\n" * 10**5}, -32005),
    ],
)
async def test_any_other_error_is_a_refusal_of_one_short_line(error: object, code: int) -> None:
    async with node_that(lambda request: {"jsonrpc": "2.0", "id": None, "error": error}) as (rpc, _):
        with pytest.raises(RpcRefused) as caught:
            await rpc.call("eth_getTransactionReceipt", "0x")
    assert caught.value.code == code
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


async def test_web3_is_never_led_to_fetch_an_address_that_a_contract_names() -> None:
    """EIP-3668: after the revert OffchainLookup(address, string[], bytes, bytes4, bytes) web3 fetches the addresses."""
    error = {"code": 3, "message": "execution reverted", "data": "0x556f1830" + "00" * 160}
    async with (
        node_that(lambda request: {"jsonrpc": "2.0", "id": request["id"], "error": error}) as (rpc, requests),
        httpx.AsyncClient(trust_env=False) as client,
    ):
        web3 = AsyncWeb3(TrioProvider(rpc.url, client), middleware=[])
        with pytest.raises(Reverted):
            await web3.eth.call({"to": to_checksum_address(b"\x11" * 20)}, ccip_read_enabled=True)
    assert len(requests) == 1


async def test_a_header_of_a_proof_of_authority_chain_is_read() -> None:
    """Polygon's and Gnosis' headers hold more `extraData` than the 32 bytes that web3's formatters allow."""
    header = {
        "number": "0x5",
        "hash": "0x" + "aa" * 32,
        "parentHash": "0x" + "bb" * 32,
        "timestamp": "0x10",
        "extraData": "0x" + "cc" * 97,
    }
    async with node_that(result(header)) as (rpc, _):
        block = await Chain(rpc, LOCAL, DEPLOYMENT).head()
    assert (block.number, block.time, block.base_fee) == (5, 16, 0)


def test_addresses_come_out_as_bytes_wherever_they_stand_and_clean() -> None:
    pair: list[object] = [{"name": "who", "type": "address"}, {"name": "amount", "type": "uint128"}]
    outputs: list[object] = [
        {"name": "one", "type": "address"},
        {"name": "many", "type": "address[]"},
        {"name": "pairs", "type": "tuple[]", "components": pair},
    ]
    abi = Abi("Shapes", [{"type": "function", "name": "f", "inputs": [], "outputs": outputs}])
    words = [b"\x01" * 20, 0x60, 0xA0, 1, b"\x02" * 20, 1, b"\x03" * 20, 7]
    data = b"".join(word.to_bytes(32) if isinstance(word, int) else word.rjust(32, b"\0") for word in words)
    assert abi.decode_result("f", data) == (b"\x01" * 20, (b"\x02" * 20,), ((b"\x03" * 20, 7),))


@pytest.mark.parametrize("value", [b"\x01" * 31, b"\x01" * 33, b"", 1])
def test_an_argument_is_never_padded_or_cut(value: object) -> None:
    abi = Abi(
        "Shapes", [{"type": "function", "name": "f", "inputs": [{"name": "a", "type": "bytes32"}], "outputs": []}]
    )
    assert abi.encode_call("f", b"\x01" * 32)[4:] == b"\x01" * 32
    with pytest.raises(EncodingError):
        abi.encode_call("f", value)


@pytest.mark.parametrize("module", ["errors", "profile", "deployment"])
def test_what_the_command_line_reads_of_this_room_does_not_load_web3(module: str) -> None:
    program = f"import sys, node.chain.{module}; sys.exit('web3' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_web3_loads_where_every_warning_is_an_error() -> None:
    program = "import node.chain.rpc"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
