# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
"""Finding the node of a wallet by asking from node to node, on a virtual clock."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.networking.by_wallet import PeersByWallet
from node.networking.discovery import PeersExchange
from node.networking.errors import PeerBusy, PeerUnreachable
from node.networking.lookup.finder import AGAIN_S, METHOD, MISS_S, Finder, FindQuestion, open_lookup
from protocol.identity import Address
from protocol.wire.codec import decode, encode

NOBODY = Address(b"\x77" * 20)
Seen = Callable[[str], list[Any]]


@dataclass
class Searcher:
    """A member of the network that can search."""

    member: Any
    finder: Finder
    peers: PeersByWallet

    @property
    def wallet(self) -> Address:
        return self.member.wallet


@asynccontextmanager
async def searcher(lab: Any, number: int, **settings: Any) -> AsyncGenerator[Searcher, None]:
    async with (
        lab.member(number, target=0, **settings) as member,
        open_lookup(member.network, member.discovery, random=member.discovery._random) as finder,
    ):
        yield Searcher(member, finder, PeersByWallet(member.network, member.discovery, finder=finder))


@asynccontextmanager
async def line(lab: Any, count: int) -> AsyncGenerator[list[Searcher], None]:
    """Nodes of which each has met only the one before it."""
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(searcher(lab, number)) for number in range(1, count + 1)]
        for one, other in pairwise(nodes):
            await one.member.discovery.exchange(await one.member.network.connect(other.member.network.addresses[0]))
            await other.member.discovery.exchange(one.member.network.peer_id)
        # What is told of others at a meeting would make everybody known to everybody: here only neighbours are.
        for index, node in enumerate(nodes):
            near = {each.wallet for each in nodes[max(0, index - 1) : index + 2]}
            for announcement in node.member.directory.all():
                if announcement.wallet not in near:
                    node.member.directory._records.pop(announcement.wallet)
        yield nodes


async def test_a_wallet_is_found_over_several_nodes_and_reached(lab: Any, autojump_clock: MockClock) -> None:
    async def echo(_peer: str, body: bytes) -> bytes:
        return body

    async with line(lab, 6) as nodes:
        first, last = nodes[0], nodes[-1]
        assert first.member.directory.find(last.wallet) is None
        last.peers.serve("echo", echo, max_request=100)
        assert await first.peers.call(last.wallet, "echo", b"found") == b"found"


async def test_a_search_leaves_no_connections_behind(lab: Any, autojump_clock: MockClock) -> None:
    async with line(lab, 6) as nodes:
        assert await nodes[0].finder.find(nodes[-1].wallet) == nodes[-1].member.network.peer_id
        await trio.sleep(1)
        assert len(nodes[0].member.network.peers()) <= 2


async def test_a_wallet_that_nobody_has_is_not_found_and_not_asked_for_again_at_once(
    lab: Any, autojump_clock: MockClock, logged: Seen
) -> None:
    async with line(lab, 3) as nodes:
        with pytest.raises(PeerUnreachable, match="no record"):
            await nodes[0].peers.call(NOBODY, "echo", b"")
        searches = len(logged("lookup.searched"))
        assert searches == 1
        assert await nodes[0].finder.find(NOBODY) is None
        assert len(logged("lookup.searched")) == searches
        await trio.sleep(MISS_S + 1)
        before = len(logged("lookup.searched"))
        await nodes[0].finder.find(NOBODY)
        assert len(logged("lookup.searched")) == before + 1


async def test_made_up_wallets_cause_few_searches(lab: Any, autojump_clock: MockClock, logged: Seen) -> None:
    async with line(lab, 2) as nodes:
        for index in range(200):
            await nodes[0].finder.find(Address(index.to_bytes(20)))
        assert len(logged("lookup.searched")) <= 21


async def test_a_forged_record_in_an_answer_is_a_strike_and_finds_nothing(
    lab: Any, autojump_clock: MockClock, logged: Seen
) -> None:
    async with searcher(lab, 1) as one, lab.member(2, target=0) as liar:
        own = liar.discovery.own_record
        value = replace(own.record.value, wallet=NOBODY)
        forged = replace(own, record=replace(own.record, value=value))

        async def lie(_peer: str, _body: bytes) -> bytes:
            return encode(PeersExchange(own=None, others=(forged,)))

        liar.network.serve(METHOD, lie, max_request=10_000)
        await one.member.discovery.exchange(await one.member.network.connect(liar.network.addresses[0]))
        assert await one.finder.find(NOBODY) is None
        assert [entry["peer"] for entry in logged("network.misconduct")] == [liar.network.peer_id]


async def test_who_asks_becomes_known_and_too_many_questions_are_refused(lab: Any, autojump_clock: MockClock) -> None:
    async with searcher(lab, 1) as asked, lab.member(2, target=0, listen=("/memory/9",)) as asker:
        await asker.network.connect(asked.member.network.addresses[0])
        question = encode(FindQuestion(own=asker.discovery.own_record, wallet=NOBODY))
        raw = await asker.network.call(asked.member.network.peer_id, METHOD, question)
        answer = decode(PeersExchange, raw)
        assert answer.own == asked.member.discovery.own_record
        assert answer.others == ()  # of the asker itself it is told nothing
        assert asked.member.directory.wallet_of(asker.network.peer_id) == asker.wallet
        refused = 0
        for _ in range(60):
            try:
                await asker.network.call(asked.member.network.peer_id, METHOD, question)
            except PeerBusy:
                refused += 1
        assert refused >= 15


async def test_a_node_keeps_itself_known_by_looking_for_itself(lab: Any, autojump_clock: MockClock) -> None:
    async with line(lab, 4) as nodes:
        assert nodes[3].member.directory.find(nodes[0].wallet) is None
        await trio.sleep(AGAIN_S / 2)
        assert nodes[3].member.directory.wallet_of(nodes[0].member.network.peer_id) == nodes[0].wallet
