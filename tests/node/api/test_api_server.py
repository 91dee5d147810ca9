"""The control socket, with a fake node behind it: what hostile, slow and vanishing clients can do to it."""

import json
import os
import socket
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from blake3 import blake3

from node.api import lines as lines_module
from node.api import server as server_module
from node.api.client import NodeClient, open_client
from node.api.control_socket import connect
from node.api.errors import (
    ConnectionLost,
    ControlSocketInUse,
    ControlSocketUnusable,
    NodeNotRunning,
    RemoteBug,
    RemoteRefusal,
    RemoteTransient,
)
from node.api.facade import NodeFacade
from node.api.lines import CHUNK_BYTES, MAX_LINE_BYTES
from node.api.server import ControlServer, open_control_server
from node.api.views import NodeStatus, TaskEnded, TaskOrder, TaskView
from protocol.errors import TransientError
from protocol.identity import ContentDigest, Digest
from protocol.task.engine import ENGINE_DIGEST
from protocol.task.manifest import Blob, Limits, Manifest, Part
from protocol.units import Amount, UnixTime
from protocol.wire.codec import encode
from tests.node.api.fake_node import FakeNode

MODULE = b"\0asm"
PATIENCE_S = 60.0


@asynccontextmanager
async def serving(path: Path, node: FakeNode) -> AsyncGenerator[tuple[Path, ControlServer], None]:
    async with open_control_server(node, path / "control.sock") as server:
        yield path / "control.sock", server


@asynccontextmanager
async def raw_client(path: Path) -> AsyncGenerator[trio.SocketStream, None]:
    async with await connect(path) as stream:
        yield stream


async def ask(stream: trio.SocketStream, data: bytes) -> dict[str, Any]:
    await stream.send_all(data)
    return await answer(stream)


async def answer(stream: trio.SocketStream) -> dict[str, Any]:
    received = b""
    while not received.endswith(b"\n"):
        chunk = await stream.receive_some(65_536)
        assert chunk, "the server closed the connection"
        received += chunk
    return json.loads(received)


async def pieces(data: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(data), CHUNK_BYTES):
        yield data[start : start + CHUNK_BYTES]


def an_order(budget: int = 400_000) -> TaskOrder:
    manifest = Manifest(
        name="a-task",
        module=Blob(digest=ContentDigest(blake3(MODULE).digest()), size=len(MODULE)),
        engine=ENGINE_DIGEST,
        limits=Limits(fuel=1000, memory_mib=1, output_bytes=10, log_bytes=10),
        clock=UnixTime(0),
        seed=Digest(bytes(32)),
        args=("a-task",),
        parts=(Part(),),
    )
    return TaskOrder(manifest=encode(manifest), budget=Amount(budget), max_eta_s=60)


async def submit(client: NodeClient) -> TaskView:
    digest = ContentDigest(blake3(MODULE).digest())
    await client.put_blob(digest, len(MODULE), pieces(MODULE))
    return await client.call(NodeFacade.task_submit, order=an_order())


async def test_a_result_arrives_as_the_value_that_the_node_gave(tmp_path: Path) -> None:
    node = FakeNode()
    async with serving(tmp_path, node) as (path, _), open_client(path) as client:
        assert await client.call(NodeFacade.node_status) == await node.node_status()
        assert await client.call(NodeFacade.wallet_show) == await node.wallet_show()
        assert await client.call(NodeFacade.task_list, state="all", limit=9) == ()


async def test_socket_and_folder_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "fresh"
    async with serving(folder, FakeNode()) as (path, _):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not path.exists()


async def test_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    await trio.Path(tmp_path).chmod(0o777)
    with pytest.raises(ControlSocketUnusable, match="others can write"):
        async with serving(tmp_path, FakeNode()):
            pass


async def test_a_second_node_on_one_socket_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    async with serving(tmp_path, FakeNode()) as (path, _):
        with pytest.raises(ControlSocketInUse):
            async with serving(tmp_path, FakeNode()):
                pass
        async with open_client(path) as client:
            assert isinstance(await client.call(NodeFacade.node_status), NodeStatus)


async def test_a_socket_that_a_killed_node_left_behind_is_replaced(tmp_path: Path) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "control.sock"))
    stale.close()
    with pytest.raises(NodeNotRunning):
        async with open_client(tmp_path / "control.sock"):
            pass
    async with serving(tmp_path, FakeNode()) as (path, _), open_client(path) as client:
        await client.call(NodeFacade.node_status)


async def test_a_file_in_the_way_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "control.sock").write_text("precious")
    with pytest.raises(ControlSocketUnusable, match="no socket"):
        async with serving(tmp_path, FakeNode()):
            pass
    assert (tmp_path / "control.sock").read_text() == "precious"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"\xff\xfe\n", "JSON"),
        (b"not json\n", "JSON"),
        (b"[1]\n", "object"),
        (b'{"id":1,"method":"node.status","params":NaN}\n', "JSON"),
        (b"[" * 100_000 + b"\n", "JSON"),
        (b'{"method":"node.status"}\n', "id"),
        (b'{"id":true,"method":"node.status"}\n', "id"),
        (b'{"id":1,"method":"node.reformat"}\n', "no method"),
        (b'{"id":1,"method":"__init__"}\n', "no method"),
        (b'{"id":1,"method":["x"]}\n', "no method"),
        (b'{"id":1,"method":"node.status","params":[]}\n', "params"),
        (b'{"id":1,"method":"node.status","params":{"x":1}}\n', "no parameter x"),
        (b'{"id":1,"method":"task.show"}\n', "task is missing"),
        (b'{"id":1,"method":"task.list","params":{"state":"all","limit":"9"}}\n', "limit"),
        (b'{"id":1,"method":"task.list","params":{"state":"some","limit":9}}\n', "state"),
        (b'{"id":1,"method":"task.cancel","params":{"task":"a","cost":-1}}\n', "cost"),
        (b'{"id":1,"method":"task.cancel","params":{"task":"a","cost":"-1"}}\n', "cost"),
        (b'{"id":1,"method":"blob.read","params":{"digest":"ab"}}\n', "digest"),
    ],
)
async def test_garbage_is_refused_in_words_and_the_connection_goes_on(tmp_path: Path, line: bytes, said: str) -> None:
    async with serving(tmp_path, FakeNode()) as (path, _), raw_client(path) as stream:
        refused = await ask(stream, line)
        assert refused["error"]["family"] == "refused"
        assert said in refused["error"]["message"]
        after = await ask(stream, b'{"id":2,"method":"node.status"}\n')
        assert after["id"] == 2
        assert after["result"]["name"] == "fake"


async def test_a_line_without_end_is_refused_and_ends_the_connection(tmp_path: Path) -> None:
    async with serving(tmp_path, FakeNode()) as (path, server), raw_client(path) as stream:
        refused = await ask(stream, b"x" * (MAX_LINE_BYTES + 1))  # more, and it may hang up while we write
        assert refused["error"]["kind"] == "LineTooLong"
        await wait_for_clients(server, 0)
        async with open_client(path) as other:
            await other.call(NodeFacade.node_status)


async def test_a_client_that_does_not_read_is_dropped_and_its_stream_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines_module, "SEND_TIMEOUT_S", 0.2)
    node = FakeNode(ending="held")
    async with serving(tmp_path, node) as (path, server):
        async with open_client(path) as client:
            view = await submit(client)
        node.flood = True
        async with raw_client(path) as stream:
            request = {"id": 1, "method": "task.watch", "params": {"task": view.task.hex()}}
            await stream.send_all(json.dumps(request).encode() + b"\n")
            with trio.fail_after(PATIENCE_S):
                while node.watchers == 0:
                    await trio.sleep(0.01)
                while node.watchers:
                    await trio.sleep(0.01)
            await wait_for_clients(server, 0)


async def test_a_client_that_vanishes_in_a_stream_ends_the_stream(tmp_path: Path) -> None:
    node = FakeNode(ending="held")
    async with serving(tmp_path, node) as (path, server):
        async with open_client(path) as client:
            view = await submit(client)
            async with client.stream(NodeFacade.task_watch, task=view.task.hex()) as events:
                await anext(events)
                assert node.watchers == 1
        await wait_for_clients(server, 0)
        assert node.watchers == 0


async def test_a_client_that_vanishes_in_an_upload_leaves_nothing(tmp_path: Path) -> None:
    node = FakeNode()
    async with serving(tmp_path, node) as (path, server):
        async with raw_client(path) as stream:
            request = {"id": 1, "method": "blob.put", "params": {"digest": "00" * 32, "size": 9}}
            await stream.send_all(json.dumps(request).encode() + b'\n{"id":1,"chunk":"AAAA"}\n')
            with trio.fail_after(PATIENCE_S):
                while node.uploads == 0:
                    await trio.sleep(0.01)
        await wait_for_clients(server, 0)
        assert not node.blobs


async def test_more_clients_than_the_limit_are_turned_away_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MAX_CLIENTS", 1)
    async with serving(tmp_path, FakeNode()) as (path, server):
        async with open_client(path) as first:
            await first.call(NodeFacade.node_status)
            async with open_client(path) as second:
                with pytest.raises(RemoteTransient, match="serves 1 commands"):
                    await second.call(NodeFacade.node_status)
        await wait_for_clients(server, 0)
        async with open_client(path) as third:
            await third.call(NodeFacade.node_status)


async def test_requests_beyond_the_queue_are_refused_one_by_one(tmp_path: Path) -> None:
    node = FakeNode(ending="held")
    async with serving(tmp_path, node) as (path, _):
        async with open_client(path) as client:
            view = await submit(client)
        async with raw_client(path) as stream:
            watch = {"id": 0, "method": "task.watch", "params": {"task": view.task.hex()}}
            await stream.send_all(json.dumps(watch).encode() + b"\n")
            await stream.send_all(b"".join(b'{"id":%d,"method":"node.status"}\n' % n for n in range(1, 40)))
            received = b""
            with trio.fail_after(PATIENCE_S):
                while b"requests wait already" not in received:
                    received += await stream.receive_some(65_536)


async def test_refusals_keep_kind_branch_and_advice(tmp_path: Path) -> None:
    async with serving(tmp_path, FakeNode()) as (path, _), open_client(path) as client:
        with pytest.raises(RemoteRefusal) as caught:
            await client.call(NodeFacade.task_show, task="abcd")
        assert caught.value.kind == "UnknownTask"
        assert caught.value.advice == "see `stoa task list`"
        assert "abcd" in str(caught.value)


async def test_a_refusal_in_a_group_is_unwrapped(tmp_path: Path) -> None:
    class Grouping(FakeNode):
        async def channel_list(self) -> Any:
            raise ExceptionGroup("nursery", [ExceptionGroup("inner", [TransientError("the chain is away")])])

    async with serving(tmp_path, Grouping()) as (path, _), open_client(path) as client:
        with pytest.raises(RemoteTransient, match="the chain is away"):
            await client.call(NodeFacade.channel_list)


@pytest.mark.parametrize("bug", [KeyError("secret"), ExceptionGroup("both", [TransientError("x"), KeyError("y")])])
async def test_a_bug_in_one_answer_does_not_end_the_node(tmp_path: Path, bug: Exception) -> None:
    class Buggy(FakeNode):
        async def channel_list(self) -> Any:
            raise bug

    async with serving(tmp_path, Buggy()) as (path, _), open_client(path) as client:
        with pytest.raises(RemoteBug, match="bug") as caught:
            await client.call(NodeFacade.channel_list)
        assert "secret" not in str(caught.value)
        await client.call(NodeFacade.node_status)


async def test_a_watch_replays_and_then_follows_to_the_end(tmp_path: Path) -> None:
    node = FakeNode()
    async with serving(tmp_path, node) as (path, _), open_client(path) as client:
        view = await submit(client)
        async with client.stream(NodeFacade.task_watch, task=view.task.hex()[:8]) as events:
            seen = [event async for event in events]
        assert seen == node.tasks[view.task].events
        assert isinstance(seen[-1], TaskEnded)
        assert (await client.call(NodeFacade.task_show, task=view.task.hex())).task.state == "done"


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * CHUNK_BYTES + 3])
async def test_a_blob_goes_up_and_comes_back_byte_for_byte(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    digest = ContentDigest(blake3(data).digest())
    async with serving(tmp_path, FakeNode()) as (path, _), open_client(path) as client:
        assert not await client.call(NodeFacade.blob_has, digest=digest)
        await client.put_blob(digest, size, pieces(data))
        assert await client.call(NodeFacade.blob_has, digest=digest)
        async with client.stream(NodeFacade.blob_read, digest=digest) as chunks:
            assert b"".join([chunk async for chunk in chunks]) == data


async def test_bytes_that_are_not_those_announced_are_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, FakeNode()) as (path, _), open_client(path) as client:
        with pytest.raises(RemoteRefusal, match="another digest"):
            await client.put_blob(ContentDigest(bytes(32)), 3, pieces(b"abc"))
        await client.call(NodeFacade.node_status)


async def test_a_refused_upload_stops_early_and_the_connection_goes_on(tmp_path: Path) -> None:
    sent = 0

    async def endless() -> AsyncGenerator[bytes, None]:
        nonlocal sent
        while True:
            sent += 1
            yield bytes(CHUNK_BYTES)

    async with serving(tmp_path, FakeNode()) as (path, _), open_client(path) as client:
        with trio.fail_after(PATIENCE_S), pytest.raises(RemoteRefusal, match="too large"):
            await client.put_blob(ContentDigest(bytes(32)), 1 << 30, endless())
        assert sent < 40


async def test_a_node_that_goes_away_is_reported_as_such(tmp_path: Path) -> None:
    node = FakeNode(ending="held")
    async with trio.open_nursery() as nursery:
        up, down = trio.Event(), trio.Event()

        async def run() -> None:
            async with serving(tmp_path, node):
                up.set()
                await down.wait()

        nursery.start_soon(run)
        await up.wait()
        async with open_client(tmp_path / "control.sock") as client:
            view = await submit(client)
            async with client.stream(NodeFacade.task_watch, task=view.task.hex()) as events:
                await anext(events)
                down.set()
                with pytest.raises(ConnectionLost):
                    async for _ in events:
                        pass


async def test_the_answer_of_another_release_is_told_apart_from_a_crash(tmp_path: Path) -> None:
    class Newer(FakeNode):
        async def task_list(self, state: Any, limit: int) -> Any:
            return (replace(await super().wallet_show(), caps=()),)

    async with serving(tmp_path, Newer()) as (path, _), open_client(path) as client:
        with pytest.raises(RemoteBug):
            await client.call(NodeFacade.task_list, state="all", limit=1)


async def wait_for_clients(server: ControlServer, count: int) -> None:
    with trio.fail_after(PATIENCE_S):
        while server.clients != count:
            await trio.sleep(0.01)
