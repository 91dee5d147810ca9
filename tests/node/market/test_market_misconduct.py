"""What a node holds against others outlives it."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from node.market import misconduct
from protocol.identity import Address, Digest
from protocol.market.evidence import TwoCommitments
from protocol.market.messages import ConflictAnnouncement
from protocol.market.objects import Commitment
from protocol.market.observer_states import Strike
from protocol.reputation.strikes import COUNTED, FORGOTTEN_AFTER, HALF_LIFE
from protocol.signing.ecdsa import address_of
from protocol.signing.signed import sign_struct
from protocol.units import UnixTime
from tests.node.market.fake_bank import DOMAIN, Bank
from tests.node.market.mallory_lab import finish, lose, open_stage, trade_honestly
from tests.node.market.market_lab import make_wish, open_hub, open_node, wait_over

CHEAT = (7).to_bytes(32)
CULPRIT = address_of(CHEAT)


def two_commitments(offer: bytes) -> TwoCommitments:
    first, second = (
        sign_struct(CHEAT, DOMAIN, Commitment(offer=Digest(offer * 32), bidder=CULPRIT, hash=Digest(hash_ * 32)))
        for hash_ in (b"\x01", b"\x02")
    )
    return TwoCommitments(first=first, second=second)


def strike(number: int, at: UnixTime) -> Strike:
    return Strike(offer_id=Digest(bytes([number]) * 32), at=at)


async def test_proofs_and_strikes_are_remembered_after_a_restart(autojump_clock: MockClock, tmp_path: Path) -> None:
    proof = two_commitments(b"\x05")
    async with AsyncExitStack() as stack:
        hub, bank = await stack.enter_async_context(open_hub()), Bank()
        async with open_node(hub, bank, tmp_path, "provider", gfuel=100_000) as node:
            async with open_node(hub, bank, tmp_path, "other") as other:
                await other.gossip.publish(ConflictAnnouncement(conflict=proof))
            await trio.sleep(1)
            for number in (9, 1, 5, 3, 7):
                node.gossip.recall_strike(CULPRIT, strike(number, UnixTime(hub.clock.now() - 10 + number)))
            await trio.sleep(1)
            assert node.gossip.proof_against(CULPRIT) == proof
            held = node.gossip.observed.strikes[CULPRIT]
            assert len(held) == COUNTED
        for _ in range(2):  # what was recalled is not written again
            async with open_node(hub, bank, tmp_path, "provider", gfuel=100_000) as node:
                assert node.gossip.proof_against(CULPRIT) == proof
                assert set(node.gossip.observed.strikes[CULPRIT]) == set(held), (
                    "with the times at which they were found"
                )
                await trio.sleep(1)


async def test_a_strike_fades_and_is_forgotten_in_the_journal_as_well(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        hub, bank = await stack.enter_async_context(open_hub()), Bank()
        async with open_node(hub, bank, tmp_path, "provider", gfuel=100_000) as node:
            node.gossip.recall_strike(CULPRIT, strike(1, hub.clock.now()))
            assert node.gossip.is_refused(CULPRIT)
            await trio.sleep(HALF_LIFE)
            assert not node.gossip.is_refused(CULPRIT)
        async with open_node(hub, bank, tmp_path, "provider", gfuel=100_000) as node:
            assert node.gossip.strikes_of(CULPRIT) == 1
            await trio.sleep(FORGOTTEN_AFTER)
            assert node.gossip.strikes_of(CULPRIT) == 0
        async with open_node(hub, bank, tmp_path, "provider", gfuel=100_000) as node:
            assert node.gossip.strikes_of(CULPRIT) == 0, "its stream was closed"


async def test_a_bidder_whose_commitment_never_arrived_holds_nothing_against_the_requester(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path, prices=(100_000, 110_000)) as stage:
        requester, bidder, other = stage.honest
        lose(stage, bidder, "commitments", "market/message")
        offer_id = await requester.requester.submit(await make_wish(requester))
        row = await finish(requester, offer_id)
        assert (row.state, row.provider) == ("done", other.wallet)
        assert bidder.gossip.observed.auctions[offer_id].awards, "it heard how the auction ended, without it"
        assert bidder.gossip.strikes_of(requester.wallet) == 0
        await trade_honestly(stage)


async def test_culprits_that_were_made_up_do_not_fill_the_memory_beyond_a_restart(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(misconduct, "MAX_KEPT", 3)
    made_up = [Address(bytes([number]) * 20) for number in range(10)]
    async with AsyncExitStack() as stack:
        hub, bank = await stack.enter_async_context(open_hub()), Bank()
        async with open_node(hub, bank, tmp_path, "provider", gfuel=100_000) as node:
            for culprit in made_up:
                node.gossip.recall_strike(culprit, strike(1, hub.clock.now()))
            await trio.sleep(1)
        async with open_node(hub, bank, tmp_path, "provider", gfuel=100_000) as node:
            assert sum(node.gossip.strikes_of(culprit) for culprit in made_up) == 3


async def test_a_provider_that_was_restarted_still_refuses_whom_it_held_an_omission_to(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_stage(tmp_path) as stage:
        requester = stage.honest[0]
        async with open_node(stage.hub, stage.bank, tmp_path, "provider", gfuel=100_000) as provider:
            provider.gossip.recall_strike(requester.wallet, strike(1, stage.hub.clock.now()))
            await trio.sleep(1)
        async with open_node(stage.hub, stage.bank, tmp_path, "provider", gfuel=100_000) as provider:
            offer_id = await requester.requester.submit(await make_wish(requester))
            await wait_over(requester, offer_id)
            assert "this requester left bidders out" in provider.provider.reasons
            assert not provider.sandbox.runs
