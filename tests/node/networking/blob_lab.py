# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
"""Blobs in memory, holders of them, and holders and askers that do as a test says."""

import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import trio
from blake3 import blake3

from node.networking.blob_frames import (
    ORDER_BYTES,
    PROTOCOL,
    Accepts,
    Encoding,
    Greeting,
    GroupHead,
    Order,
    OrderKind,
    Status,
    encode_answer,
)
from node.networking.blob_source import NotServed
from node.networking.network import Network
from node.storage.blake3_tree import GROUP_BYTES, BlobTree, group_count, group_cv
from protocol.identity import ContentDigest, PeerId

MIB = GROUP_BYTES
GREETING_BYTES = 35
"""Of an asker without bases."""


@cache
def blob(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@cache
def tree_of(data: bytes) -> BlobTree:
    groups = range(group_count(len(data)))
    cvs = b"".join(group_cv(group(data, index), index) for index in groups) if len(groups) > 1 else b""
    tree = BlobTree.prove(ContentDigest(blake3(data).digest()), len(data), cvs)
    assert tree is not None
    return tree


def group(data: bytes, index: int) -> bytes:
    return data[index * MIB : (index + 1) * MIB]


@dataclass
class Crate:
    """Where groups go, in memory. What was put is genuine: it is compared."""

    data: bytes
    tree: BlobTree | None = None
    missing: frozenset[int] = frozenset()
    puts: list[int] = field(default_factory=list[int])
    put_delay_s: float = 0.0

    async def begin(self, tree: BlobTree) -> None:
        assert tree == tree_of(self.data)
        self.tree, self.missing = tree, frozenset(range(tree.groups))
        await trio.lowlevel.checkpoint()

    async def put(self, index: int, data: bytes) -> None:
        assert data == group(self.data, index), "unchecked bytes reached the store"
        await trio.sleep(self.put_delay_s)
        self.missing -= {index}
        self.puts.append(index)

    def resumed_with(self, *indexes: int) -> "Crate":
        self.tree = tree_of(self.data)
        self.missing = frozenset(range(self.tree.groups)) - set(indexes)
        return self


@dataclass
class Shelf:
    """A source in memory. `delay_s` is the time of each read, `served` what was read."""

    data: bytes
    delay_s: float = 0.0
    served: int = 0
    opened: int = 0
    open_now: int = 0
    allows: bool = True

    @property
    def size(self) -> int:
        return len(self.data)

    @asynccontextmanager
    async def open(self, digest: ContentDigest, _peer: PeerId) -> AsyncGenerator["Shelf"]:
        if not self.allows or digest != tree_of(self.data).digest:
            raise NotServed(digest.hex())
        self.opened += 1
        self.open_now += 1
        try:
            yield self
        finally:
            self.open_now -= 1

    async def read_at(self, offset: int, length: int) -> bytes:
        await trio.sleep(self.delay_s)
        piece = self.data[offset : offset + length]
        self.served += len(piece)
        return piece


@dataclass
class Scene:
    asker: Network
    holders: list[Network]

    async def gather(self, crate: Crate, *, of: Sequence[int] | None = None, max_bytes: int = 1000 * MIB) -> None:
        chosen = self.holders if of is None else [self.holders[index] for index in of]
        await self.asker.gather_blob(
            [holder.peer_id for holder in chosen],
            tree_of(crate.data).digest,
            into=crate,
            max_bytes=max_bytes,
        )


@asynccontextmanager
async def scene(lab: Any, *shelves: Shelf, knows: bool = True, **settings: Any) -> AsyncGenerator[Scene]:
    """An asker that is connected to a holder for each shelf. `knows`: the holders have the chaining values already."""
    async with AsyncExitStack() as stack:
        asker = await stack.enter_async_context(lab.node(100, **settings))
        holders: list[Network] = []
        for number, shelf in enumerate(shelves, 1):
            holder = await stack.enter_async_context(lab.node(number, **settings))
            holder.serve_blobs(shelf)
            if knows and len(shelf.data) > MIB:
                holder._blobs._serving._cvs[tree_of(shelf.data).digest] = tree_of(shelf.data).cvs
            await asker.connect(holder.addresses[0])
            holders.append(holder)
        yield Scene(asker, holders)


def greeting(data: bytes, *, tree: bool = False, accepts: Accepts = Accepts.NONE) -> bytes:
    return Greeting(tree_of(data).digest, accepts, tree).encode()


def want(first: int, count: int = 1) -> bytes:
    return Order(OrderKind.WANT, first, count).encode()


def leave(first: int, count: int = 1) -> bytes:
    return Order(OrderKind.LEAVE, first, count).encode()


async def read_all(stream: Any) -> bytes:
    data = b""
    while chunk := await stream.read():
        data += chunk
    return data


@dataclass
class Script:
    """What a hostile holder does with a stream, and how many were opened."""

    play: Callable[[Any, "Script"], Awaitable[None]]
    data: bytes
    opened: int = 0
    said: list[bytes] = field(default_factory=list[bytes])

    async def run(self, stream: Any) -> None:
        self.opened += 1
        await self.play(stream, self)
        stream.finish()
        await trio.sleep_forever()

    @property
    def tree(self) -> BlobTree:
        return tree_of(self.data)


def plain(index: int, body: bytes) -> bytes:
    return GroupHead(index, Encoding.PLAIN, len(body)).encode() + body


async def hello(stream: Any, script: Script, *, has_greeted: bool = False) -> None:
    """Answer as an honest holder does: size, chaining values, last group."""
    if not has_greeted:
        greeting = await stream.read_exactly(GREETING_BYTES)
        assert greeting[:32] == script.tree.digest
    await stream.read_exactly(ORDER_BYTES)
    last = script.tree.groups - 1
    await stream.write(
        encode_answer(Status.OK, script.tree.size) + script.tree.cvs + plain(last, group(script.data, last))
    )


@asynccontextmanager
async def hostile(lab: Any, script: Script, *honest: Shelf) -> AsyncGenerator[Scene]:
    """A scene in which the first holder plays `script`; the others are honest."""
    async with AsyncExitStack() as stack:
        it = await stack.enter_async_context(scene(lab, Shelf(script.data), *honest))
        it.holders[0]._switch.handle(PROTOCOL, script.run)
        yield it
