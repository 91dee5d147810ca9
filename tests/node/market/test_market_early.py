"""What comes before what it is about, and what is told to one peer alone: nobody is held to what it could not hear."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from node.market.gossip import MESSAGE_METHOD, MarketGossip
from node.operations.clock import TrioClock
from protocol.identity import Address, PeerId
from protocol.market.messages import CommitmentAnnouncement, UnknownOffer, encode_message
from protocol.signing.eip712 import digest
from protocol.units import UnixTime
from protocol.wire.topics import MarketTopic, topic_name
from tests.protocol.market.market_world import (
    DOMAIN,
    NOW,
    Plan,
    address,
    announcement,
    commit,
    make_offer,
)

OFFER = make_offer()
BIDDER = "bidder"
PLAN = Plan(price=100_000, eta=60)


COMMITMENT = encode_message(CommitmentAnnouncement(signed=commit(OFFER, BIDDER, PLAN)))


@dataclass
class Wire:
    """Peers that remember what is gossiped."""

    published: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])
    judges: dict[str, Callable[[bytes], bool]] = field(default_factory=dict[str, Callable[[bytes], bool]])
    handlers: dict[str, Callable[[PeerId, bytes], Awaitable[bytes]]] = field(
        default_factory=dict[str, Callable[[PeerId, bytes], Awaitable[bytes]]]
    )

    async def publish(self, topic: str, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.published.append((topic, data))

    def subscribe(
        self, topic: str, *, judge: Callable[[bytes], bool], deliver: Callable[[bytes], Awaitable[None]]
    ) -> None:
        assert deliver
        self.judges[topic] = judge

    def serve(self, method: str, handler: Callable[[PeerId, bytes], Awaitable[bytes]], *, max_request: int) -> None:
        assert max_request
        self.handlers[method] = handler

    async def call(self, wallet: Address, method: str, body: bytes) -> bytes:
        raise NotImplementedError


@dataclass
class Node:
    gossip: MarketGossip
    wire: Wire

    def hear(self, topic: MarketTopic, data: bytes) -> bool:
        return self.wire.judges[topic_name(DOMAIN, topic)](data)

    @property
    def has_heard_the_commitment(self) -> bool:
        heard = self.gossip.observed.auctions.get(digest(DOMAIN, OFFER))
        return heard is not None and address(BIDDER) in heard.commitments


@asynccontextmanager
async def node(wallet: str) -> AsyncGenerator[Node]:
    wire = Wire()
    gossip = MarketGossip(DOMAIN, address(wallet), wire, TrioClock.starting_at(UnixTime(NOW)))
    gossip.join()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gossip.pass_on_early)
        yield Node(gossip, wire)
        nursery.cancel_scope.cancel()


async def test_a_commitment_that_overtook_its_offer_is_heard_and_passed_on_with_it(autojump_clock: MockClock) -> None:
    async with node("peer") as peer:
        assert not peer.hear(MarketTopic.COMMITMENTS, COMMITMENT)
        assert not peer.has_heard_the_commitment
        assert peer.hear(MarketTopic.OFFERS, encode_message(announcement(OFFER)))
        await wait_all_tasks_blocked()
        assert peer.has_heard_the_commitment
        assert peer.wire.published == [(topic_name(DOMAIN, MarketTopic.COMMITMENTS), COMMITMENT)]


async def test_what_came_too_early_and_is_bad_goes_no_further(autojump_clock: MockClock) -> None:
    forged = COMMITMENT[:-1] + bytes([COMMITMENT[-1] ^ 1])
    async with node("peer") as peer:
        assert not peer.hear(MarketTopic.COMMITMENTS, forged)
        assert peer.hear(MarketTopic.OFFERS, encode_message(announcement(OFFER)))
        await trio.sleep(1)
        assert not peer.has_heard_the_commitment
        assert peer.wire.published == []


async def test_many_early_messages_leave_room_for_our_own(autojump_clock: MockClock) -> None:
    async with node("peer") as peer:
        for number in range(20):
            message = CommitmentAnnouncement(signed=commit(OFFER, f"bidder {number}", PLAN))
            assert not peer.hear(MarketTopic.COMMITMENTS, encode_message(message))
        assert peer.hear(MarketTopic.OFFERS, encode_message(announcement(OFFER)))
        await trio.sleep(1.9)
        assert 9 <= len(peer.wire.published) <= 11
        await trio.sleep(10)
        assert len(peer.wire.published) == 20


@pytest.mark.parametrize(("wallet", "is_taken"), [("alice", True), ("peer", False)])
async def test_a_commitment_is_taken_straight_from_its_bidder_only_by_the_requester(
    wallet: str, autojump_clock: MockClock, *, is_taken: bool
) -> None:
    """Else one peer would hold an omission that the requester could not have heard of."""
    async with node(wallet) as it:
        assert it.hear(MarketTopic.OFFERS, encode_message(announcement(OFFER)))
        answer = it.wire.handlers[MESSAGE_METHOD]
        if is_taken:
            assert await answer(PeerId("bidder"), COMMITMENT) == b""
        else:
            with pytest.raises(UnknownOffer, match="another's"):
                await answer(PeerId("bidder"), COMMITMENT)
        assert it.has_heard_the_commitment == is_taken
        assert it.hear(MarketTopic.COMMITMENTS, COMMITMENT), "by gossip, everybody does"
        assert it.has_heard_the_commitment
