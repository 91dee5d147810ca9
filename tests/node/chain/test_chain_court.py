"""Whole cases through the gateway, on a real chain: what is judged, refused, taken back, and done once."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from node.app.court_chain import ContractCaseFacts, ContractCourt, RoundAsked
from node.arbitration.ports import Mark, PastRound, Rewound, Told
from node.chain.abi import load_artifact
from node.chain.bench import Randomness
from node.chain.errors import Reverted
from node.chain.gateway import open_gateway
from node.chain.local import DEFAULT_TERMS, POOL
from node.chain.reputation import LockState
from node.wallet.errors import UndeclaredSpend
from protocol.channel.objects import channel_id
from protocol.dispute.bond import bond_account, bond_of, bond_spend
from protocol.dispute.case import (
    Appealed,
    CaseClosed,
    CaseOpened,
    CommitteeDrawn,
    RoundDecided,
    Stage,
    VoteOpened,
    VoteSealed,
)
from protocol.dispute.objects import Finding, Vote
from protocol.identity import Address, Digest
from protocol.signing.eip712 import digest
from protocol.spending import SpendingCapExceeded, SpendingCaps
from protocol.units import MAX_AMOUNT, Amount
from tests.node.chain.chain_world import World, open_world
from tests.node.chain.court_world import (
    ENGINE,
    FEE,
    LIABILITY,
    PRICE,
    SEATS,
    TICKETS,
    a_receipt,
    a_vote,
    an_award,
    an_offer,
    ballots_of,
    bench_of,
    claimed,
    enlist,
    held,
    indexing,
    next_of,
    present_next,
    quorum_of,
    seals_of,
    side,
    told,
)


async def money(world: World) -> dict[str, int]:
    deployment = world.deployment
    places = {
        "requester": world.address(0),
        "provider": world.address(1),
        "arbiter": world.address(2),
        "pool": POOL,
        "bench": deployment.bench,
        "reputation": deployment.reputation,
        "escrow": deployment.escrow,
        "channels": deployment.payment_channel,
        "court": deployment.court,
    }
    return {name: await world.chain.token_balance(place) for name, place in places.items()}


async def test_a_claim_is_judged_by_a_quorum_and_the_cheat_is_slashed(tmp_path: Path) -> None:
    async with (
        open_world(court=True) as world,
        indexing(world, tmp_path) as index,
        side(world, index, 0) as requester,
        side(world, index, 1) as provider,
        side(world, index, 2) as arbiter,
    ):
        court, before = requester.court, await money(world)
        facts = court.subscribe(None)
        await enlist(world, arbiter)
        offer = await an_offer(world)
        award = await claimed(world, requester, provider, offer)
        award_id = digest(court.market_domain, award)
        assert (await court.round_of(award_id)).stage is Stage.NONE
        assert (await court.history_of(award_id), await court.committee_of(award_id)) == ((), None)

        opened = await court.open_on_escrow(award, offer)
        receipt = digest(court.market_domain, a_receipt(award_id))
        expected = CaseOpened(award=award_id, opener=world.address(0), engine=ENGINE, part=0, receipt=receipt)
        assert await told(facts, CaseOpened) == expected
        assert await court.open_on_escrow(award, offer) == opened  # made again, as after a crash
        assert await court.committee_of(award_id) is None  # the number of the draw comes later
        await world.mine(3)
        committee = await court.committee_of(award_id)
        assert committee is not None
        assert committee == (world.address(2),) * SEATS
        assert await court.history_of(award_id) == (PastRound(committee=(), vote=None),)

        vote = a_vote(Finding.WRONG_RESULT, 0)
        quorum, signatures = quorum_of(arbiter.signer, award_id, 0, committee, ballots_of(vote, SEATS))
        settled = await arbiter.court.settle(award_id, committee, quorum, signatures)
        assert await told(facts, CommitteeDrawn) == CommitteeDrawn(award=award_id, round=0, committee=committee)
        assert await told(facts, RoundDecided) == RoundDecided(award=award_id, round=0, seats=0b11111, vote=vote)
        current = await court.round_of(award_id)
        assert (current.stage, current.opened_seats) == (Stage.AGREED, 0b11111)
        history = await court.history_of(award_id)
        assert history == (PastRound(committee=committee, vote=vote),)
        assert await court.committee_of(award_id) == committee
        with pytest.raises(Reverted) as caught:
            await court.close(award, history)
        assert caught.value.error == "TooEarly"

        await world.wait_until(current.appeal_by)
        assert await court.now() > current.appeal_by
        closed = await court.close(award, history)
        assert await court.close(award, history) == closed > settled > opened
        assert await told(facts, CaseClosed) == CaseClosed(award=award_id, finding=Finding.WRONG_RESULT, due=Amount(0))
        assert await court.history_of(award_id) == history
        stakes = requester.gateway.reputation
        assert stakes is not None
        assert (await stakes.lock_of(award_id)).state is LockState.SLASHED
        after = await money(world)
        bounty = DEFAULT_TERMS.max_bounty
        assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == {
            "requester": bounty,  # price, both fees and the bond are back
            "provider": -LIABILITY,
            "pool": LIABILITY - FEE - bounty,
            "bench": TICKETS * DEFAULT_TERMS.seat_stake + FEE,
            "arbiter": -TICKETS * DEFAULT_TERMS.seat_stake,
        }
        await bench_of(arbiter).collect()
        assert await world.chain.token_balance(world.address(2)) == after["arbiter"] + FEE


async def test_a_receipt_is_judged_by_seals_on_the_chain_then_on_appeal_and_its_hold_enforced(tmp_path: Path) -> None:
    terms = replace(DEFAULT_TERMS, randomness=Randomness.BLOCK_HASH)
    async with (
        open_world(court=True, terms=terms) as world,
        indexing(world, tmp_path) as index,
        side(world, index, 0) as requester,
        side(world, index, 1) as provider,
        side(world, index, 2) as arbiter,
    ):
        court, facts = arbiter.court, arbiter.court.subscribe(None)
        await enlist(world, arbiter)
        channels = requester.gateway.channels
        award, offer, key, holds = await held(world, requester, provider)
        award_id = digest(court.market_domain, award)

        receipt = provider.signer.sign(a_receipt(award_id))
        await requester.court.open_on_channel(award, offer, receipt)
        await told(facts, CaseOpened)
        await world.mine(3)
        drawn = await court.draw(award_id)
        fact = await told(facts, CommitteeDrawn)
        assert isinstance(fact, CommitteeDrawn)
        assert await court.committee_of(award_id) == fact.committee
        assert await court.draw(award_id) == drawn  # not a second draw

        lie = a_vote(Finding.WRONG_RESULT, 0)
        await _vote_on_the_chain(court, facts, award_id, fact.committee, lie)
        assert await court.history_of(award_id) == (PastRound(committee=fact.committee, vote=lie),)

        block = await provider.court.appeal(award, offer, 1)
        assert await provider.court.appeal(award, offer, 1) == block  # made again, and no second bond
        with pytest.raises(RoundAsked):
            await requester.court.appeal(award, offer, 1)
        assert (await court.round_of(award_id)).by_provider
        await world.mine(3)
        again = await court.committee_of(award_id)
        assert again is not None
        assert (len(again), await court.seals_of(award_id)) == (11, {})
        await court.draw(award_id)  # so `settle` has to name the committee
        truth = a_vote(Finding.UPHELD, PRICE)
        quorum, signatures = quorum_of(arbiter.signer, award_id, 1, again, ballots_of(truth, 11))
        await court.settle(award_id, again, quorum, signatures)
        history = await court.history_of(award_id)
        assert history == (
            PastRound(committee=fact.committee, vote=lie),
            PastRound(committee=again, vote=truth),
        )
        kinds = [await told(facts, kind) for kind in (VoteOpened, VoteOpened, Appealed, CommitteeDrawn, RoundDecided)]
        assert kinds[2] == Appealed(award=award_id, round=1, appellant=world.address(1))

        await world.wait_until((await court.round_of(award_id)).appeal_by)
        await court.close(award, history)
        before = await money(world)
        enforced = await court.enforce(award, truth, key, holds)
        assert await court.enforce(award, truth, key, holds) == enforced
        after = await money(world)
        assert after["requester"] - before["requester"] == FEE  # its bond was spent; the hold's fee is the opener's
        assert await channels.is_enforced(channel_id(key), award_id)
        assert (await channels.state_of(channel_id(key))).base == PRICE

        # A newer voucher was out, for other work: it counts as well, though the verdict's call is the same to the byte.
        await present_next(requester, provider, key, holds, sequence=2, paid=5)
        assert not await channels.is_enforced(channel_id(key), award_id)
        assert await court.enforce(award, truth, key, holds) > enforced
        assert (await channels.state_of(channel_id(key))).claimed == PRICE + 5
        assert (await money(world))["requester"] == after["requester"]  # one fee


async def test_a_draw_that_finds_nobody_is_asked_for_anew_and_then_drawn(tmp_path: Path) -> None:
    terms = replace(DEFAULT_TERMS, randomness=Randomness.BLOCK_HASH)  # so that both draws have equal call data
    async with (
        open_world(court=True, terms=terms) as world,
        indexing(world, tmp_path) as index,
        side(world, index, 0) as requester,
        side(world, index, 1) as provider,
        side(world, index, 2) as arbiter,
    ):
        court, offer = requester.court, await an_offer(world)
        award = await claimed(world, requester, provider, offer)
        award_id = digest(court.market_domain, award)
        await court.open_on_escrow(award, offer)
        await enlist(world, arbiter)  # too late for the first request
        await world.mine(3)
        assert await court.committee_of(award_id) is None
        before = (await court.round_of(award_id)).draw_block
        await court.draw(award_id)
        assert (await court.round_of(award_id)).draw_block > before
        await world.mine(3)
        await court.draw(award_id)
        current = await court.round_of(award_id)
        assert current.stage is Stage.VOTING
        assert await court.committee_of(award_id) == (world.address(2),) * SEATS
        await world.wait_until(current.schedule.appeal_by)
        history = await court.history_of(award_id)
        await court.close(award, history)  # nobody voted
        assert history == (PastRound(committee=(world.address(2),) * SEATS, vote=None),)


async def test_facts_of_blocks_that_are_lost_are_taken_back_and_told_anew(tmp_path: Path) -> None:
    async with (
        open_world(court=True) as world,
        indexing(world, tmp_path) as index,
        side(world, index, 0) as requester,
        side(world, index, 1) as provider,
    ):
        facts = requester.court.subscribe(None)
        offer = await an_offer(world)
        award = await claimed(world, requester, provider, offer)
        marked = await _marked(facts, at_least=(await world.chain.head()).number)
        snapshot = await world.rpc.call("evm_snapshot")
        opened = await requester.court.open_on_escrow(award, offer)
        fact = await told(facts, CaseOpened)
        await _marked(facts, at_least=opened)
        await world.rpc.call("evm_revert", snapshot)
        await world.mine(2)
        while not isinstance(delivery := await next_of(facts), Rewound):
            assert isinstance(delivery, Mark)
        assert delivery.to < opened
        assert (await requester.court.round_of(digest(requester.court.market_domain, award))).stage is Stage.NONE

        again = await requester.court.open_on_escrow(award, offer)  # the transactor brings its transaction back
        assert again != opened
        while not isinstance(delivery := await next_of(facts), Told):
            assert isinstance(delivery, Mark)
        assert (delivery.fact, delivery.block) == (fact, again)
        assert marked.place  # and who stopped at that mark is told of it, too
        late = requester.court.subscribe(marked.place)
        assert await told(late, CaseOpened) == fact


async def test_bonds_count_against_the_caps_and_nothing_else_moves_money_to_the_court(tmp_path: Path) -> None:
    async with open_world(court=True) as world, indexing(world, tmp_path) as index:
        offer = await an_offer(world)
        award = await an_award(world, offer)
        award_id = digest(world.deployment.market_domain, award)
        abi = load_artifact("DisputeArbiter").abi
        wrong_round = replace(
            bond_spend(award, award_id, 1, wallet=world.address(0)), account=bond_account(award_id, 0)
        )
        async with world.signer(0) as signer:
            for to, data, spend in (
                (world.deployment.court, abi.encode_call("open", award, offer), None),
                (world.deployment.court, abi.encode_call("appeal", award, offer), None),
                (world.deployment.court, abi.encode_call("appeal", award, offer), wrong_round),
                (world.deployment.court, abi.encode_call("multicall", []), None),
                (world.deployment.bench, load_artifact("Bench").abi.encode_call("multicall", []), None),
            ):
                with pytest.raises(UndeclaredSpend):
                    await signer.sign_transaction(
                        chain_id=world.deployment.chain_id,
                        nonce=0,
                        max_priority_fee=1,
                        max_fee=1,
                        gas=1,
                        to=to,
                        value=0,
                        data=data,
                        spend=spend,
                    )
        caps = SpendingCaps(per_task=Amount(FEE - 1), per_hour=MAX_AMOUNT, per_day=MAX_AMOUNT, per_peer=MAX_AMOUNT)
        # A receipt may be disputed without more than what is signed: no chain state is needed before the cap is hit.
        async with world.transactor(number=0, caps=caps) as transactor, world.signer(1) as provider:
            gateway = open_gateway(world.chain, transactor)
            assert gateway.court is not None
            court = ContractCourt(world.chain, index, gateway.token, gateway.court, world.address(0))
            held = replace(award, rail=world.deployment.payment_channel, channel=Digest(b"c" * 32))
            receipt = provider.sign(a_receipt(digest(world.deployment.market_domain, held)))
            with pytest.raises(SpendingCapExceeded):
                await court.open_on_channel(held, offer, receipt)
            assert (await court.round_of(digest(world.deployment.market_domain, held))).stage is Stage.NONE
    assert [bond_of(FEE, number) for number in range(3)] == [FEE, FEE // 5 * 11, FEE // 5 * 23]


async def _vote_on_the_chain(
    court: ContractCourt, facts: ContractCaseFacts, award_id: Digest, committee: Sequence[Address], vote: Vote
) -> None:
    ballots = ballots_of(vote, SEATS)
    seals = seals_of(committee, ballots)
    async with trio.open_nursery() as nursery:  # five transactions at once
        for seat, seal in seals.items():
            nursery.start_soon(court.seal, award_id, committee, seat, seal)
    assert await court.seals_of(award_id) == seals
    for seat, ballot in ballots.items():
        await court.open_vote(award_id, committee, seat, ballot.vote, ballot.secret)
    for _ in range(SEATS):
        await told(facts, VoteSealed)
    for seat in range(3):
        assert await told(facts, VoteOpened) == VoteOpened(award=award_id, round=0, seat=seat, vote=vote)
    assert await told(facts, RoundDecided) == RoundDecided(award=award_id, round=0, seats=0b111, vote=vote)


async def _marked(facts: ContractCaseFacts, *, at_least: int) -> Mark:
    while True:
        delivery = await next_of(facts)
        if isinstance(delivery, Mark) and delivery.number >= at_least:
            return delivery
