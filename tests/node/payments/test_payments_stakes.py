"""Liability, lock and bonus between two nodes on a real chain: the money adds up, whoever crashes or is silent."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import trio

from node.chain.abi import load_artifact
from node.chain.local import POOL
from node.chain.reputation import LockState, Reputation
from node.chain.transaction_request import Request
from protocol.errors import ChainRejected
from protocol.identity import ZERO_ADDRESS, ZERO_DIGEST, Digest
from protocol.market.evidence import TwoAwards, TwoCommitments, TwoRolls
from protocol.market.objects import Award, Commitment, Roll
from protocol.signing.ecdsa import address_of
from protocol.signing.eip712 import digest
from protocol.signing.signed import Signed
from protocol.stake.terms import BackingRefused
from protocol.units import ONE_TOKEN, Amount
from tests.node.payments.payments_world import (
    SETTINGS,
    STAKE,
    Crash,
    Party,
    World,
    accept,
    eventually,
    key_of,
    receipt_of,
    start_of,
)

PRICE = 25 * ONE_TOKEN
LIABILITY = Amount(5 * ONE_TOKEN)
BONUS = PRICE // 20
STAKED = Amount(20 * ONE_TOKEN)
ARBITER = address_of(key_of("other"))
EAGER = replace(SETTINGS, free_at=Amount(1))
"""Frees at once; otherwise locks wait until there is enough to free."""
ENOUGH = 120
SHORT: dict[str, object] = {"start_within": 12, "max_eta": 1, "pace": 2, "resolve_within": 2}
"""Real seconds: enough to lock on a busy machine, and not too many to wait until it is too late."""
LONG_S = 60.0


def backed_award(world: World, payer: Party, payee: Party, **changes: object) -> tuple[Award, Digest]:
    """Return an award in escrow with a liability, signed and funded by nobody yet."""
    terms = {"rail": world.deployment.escrow, "arbiter": ARBITER, "liability": LIABILITY} | changes
    return world.award(world.offer(payer.address, **terms), payee.address, ZERO_DIGEST, PRICE)


def contract(party: Party) -> Reputation:
    assert party.gateway.reputation is not None
    return party.gateway.reputation


async def stake(party: Party, amount: Amount = STAKED) -> None:
    assert party.payments.stakes is not None
    with trio.fail_after(LONG_S):
        await party.payments.stakes.add(amount)


async def engage(payer: Party, payee: Party, award: Award, award_id: Digest) -> Signed[Award]:
    """Fund an award and have the provider take it, which locks."""
    signed = payer.sign(award)
    with trio.fail_after(LONG_S):
        await payer.payments.payer.fund(signed, award_id)
        await payee.payments.payee.receive_funding(signed, award_id, None)
        await payee.payments.payee.wait_funded(signed, award_id)
        await payer.payments.payer.wait_backed(signed, award_id)
    return signed


async def deliver(payer: Party, payee: Party, signed: Signed[Award], award_id: Digest) -> None:
    """Start, deliver and accept both parts, and settle."""
    rails, paying = payee.payments.payee, payer.payments.payer
    start = payee.sign(start_of(award_id))
    await rails.note_start(signed, award_id, start)
    await rails.note_receipt(signed, award_id, payee.sign(receipt_of(award_id, 1, PRICE)))
    acceptance = await accept(payer, signed, 1, PRICE)
    await paying.pay(signed, award_id, acceptance, last=True)
    await rails.receive_payment(signed, award_id, acceptance, None)
    await paying.close(signed, award_id)
    await rails.settle(signed, award_id, start, acceptance, None)


async def balances(world: World) -> Mapping[str, int]:
    """Return who has what; nobody else ever had any of it."""
    chain, found = world.chain, dict(await world.balances("payer", "payee", "other"))
    found["staked"] = await chain.token_balance(world.deployment.reputation)
    found["pool"] = await chain.token_balance(POOL)
    assert sum(found.values()) == 3 * STAKE
    return found


def has_stakes(*parties: Party) -> bool:
    return any(party.payments.stakes is not None and party.payments.stakes.views() for party in parties)


async def over(payer: Party, payee: Party) -> None:
    """Wait until neither side has an escrow, a lock or a bonus left."""
    await eventually(lambda: not (payer.payments.payer.escrows() or payee.payments.payee.escrows()), LONG_S)
    await eventually(lambda: not has_stakes(payee), LONG_S)


async def test_a_success_frees_the_lock_and_pays_the_bonus(world: World) -> None:
    async with world.party("payer") as payer, world.party("payee", settings=EAGER) as payee:
        await stake(payee)
        award, award_id = backed_award(world, payer, payee)
        signed = await engage(payer, payee, award, award_id)
        lock = await contract(payer).lock_of(award_id)
        assert (lock.state, lock.amount) == (LockState.LOCKED, LIABILITY)
        await engage(payer, payee, award, award_id)  # again: nothing is locked or deposited twice
        theirs = payer.payments.stakes
        assert theirs is not None
        await eventually(lambda: [each.bonus for each in theirs.views()] == [BONUS], LONG_S)
        await deliver(payer, payee, signed, award_id)
        await over(payer, payee)
        assert payee.payments.stakes is not None
        figures = await payee.payments.stakes.figures()
        assert (figures.stake, figures.locked, figures.free) == (STAKED, 0, STAKED)
    assert await balances(world) == {
        "payer": STAKE - PRICE - BONUS,
        "payee": STAKE - STAKED + PRICE + BONUS,
        "other": STAKE,
        "channels": 0,
        "escrow": 0,
        "staked": STAKED,
        "pool": 0,
    }


async def test_locks_wait_until_freeing_is_worth_it_or_asked_for_or_needed(world: World) -> None:
    patient = replace(SETTINGS, free_at=Amount(1_000 * ONE_TOKEN))
    no_bonus = replace(SETTINGS, success_bonus=False)
    async with world.party("payer", settings=no_bonus) as payer, world.party("payee", settings=patient) as payee:
        await stake(payee, LIABILITY)
        stakes = payee.payments.stakes
        assert stakes is not None
        first, first_id = backed_award(world, payer, payee)
        await deliver(payer, payee, await engage(payer, payee, first, first_id), first_id)
        await eventually(lambda: not payee.payments.payee.escrows(), LONG_S)
        await eventually(lambda: stakes.provider.freeable() == LIABILITY, LONG_S)
        assert (await contract(payee).lock_of(first_id)).state is LockState.LOCKED

        # All the stake is locked: the next award needs it, so the first lock is freed.
        second, second_id = backed_award(world, payer, payee)
        await deliver(payer, payee, await engage(payer, payee, second, second_id), second_id)
        assert (await contract(payee).lock_of(first_id)).state is LockState.FREED
        await eventually(lambda: stakes.provider.freeable() == LIABILITY, LONG_S)
        with trio.fail_after(LONG_S):
            assert await stakes.free() == LIABILITY
            assert await stakes.free() == 0
        assert (await stakes.figures()).free == LIABILITY
    assert (await balances(world))["staked"] == LIABILITY


async def test_a_provider_without_stake_says_so_and_the_requester_gets_all_back(world: World) -> None:
    async with world.party("payer") as payer, world.party("payee") as payee:
        await stake(payee, Amount(LIABILITY - 1))
        award, award_id = backed_award(world, payer, payee, **SHORT)
        signed = payer.sign(award)
        with trio.fail_after(LONG_S):
            await payer.payments.payer.fund(signed, award_id)
            with pytest.raises(BackingRefused, match=r"StakeTooSmall|not locked"):
                await payee.payments.payee.wait_funded(signed, award_id)
        await payee.payments.payee.settle(signed, award_id, None, None, None)
        with trio.fail_after(LONG_S), pytest.raises(BackingRefused, match="did not lock"):
            await payer.payments.payer.wait_backed(signed, award_id)
        await payer.payments.payer.close(signed, award_id)
        await over(payer, payee)
        await eventually(lambda: not has_stakes(payer), LONG_S)
    found = await balances(world)
    assert (found["payer"], found["payee"]) == (STAKE, STAKE - LIABILITY + 1)


async def test_a_requester_starts_nobody_by_a_lock_that_another_award_has(world: World) -> None:
    async with world.party("payer") as payer, world.party("payee") as payee:
        await stake(payee)
        one, one_id = backed_award(world, payer, payee, **SHORT)
        other, other_id = backed_award(world, payer, payee, **SHORT)
        await engage(payer, payee, one, one_id)
        with trio.fail_after(LONG_S):
            await payer.payments.payer.fund(payer.sign(other), other_id)
            with pytest.raises(BackingRefused, match="did not lock"):
                await payer.payments.payer.wait_backed(payer.sign(other), other_id)


async def test_a_slash_is_seen_on_both_sides_and_the_rest_is_free(world: World) -> None:
    async with (
        world.party("payer", settings=replace(SETTINGS, success_bonus=False)) as payer,
        world.party("payee") as payee,
        world.party("other") as arbiter,
    ):
        await stake(payee)
        award, award_id = backed_award(world, payer, payee)
        await engage(payer, payee, award, award_id)
        data = load_artifact("Reputation").abi.encode_call("slash", award, 4_000, ZERO_ADDRESS)
        await _call(arbiter, data)
        await eventually(lambda: not has_stakes(payee), LONG_S)
        assert payee.payments.stakes is not None
        figures = await payee.payments.stakes.figures()
        assert (figures.stake, figures.locked) == (STAKED - LIABILITY * 4 // 10, 0)
        with trio.fail_after(LONG_S), pytest.raises(BackingRefused):
            await payee.payments.payee.wait_funded(payer.sign(award), award_id)
    found = await balances(world)
    assert found["payer"] == STAKE - PRICE + LIABILITY * 4 // 10  # at most the bounty's cap


async def test_liability_without_an_arbiter_locks_nothing(world: World) -> None:
    async with world.party("payer") as payer, world.party("payee") as payee:
        award, award_id = backed_award(world, payer, payee, arbiter=ZERO_ADDRESS)
        await engage(payer, payee, award, award_id)
        assert not has_stakes(payer, payee)
        assert (await contract(payee).lock_of(award_id)).state is LockState.NONE


async def test_contradictions_cost_the_bond_once_of_which_the_accuser_gets_half(world: World) -> None:
    bond = Amount(6 * ONE_TOKEN)
    async with world.party("payee") as payee, world.party("payer") as payer, world.party("other") as accuser:
        await stake(payee)
        await stake(payer)
        accuse = accuser.payments.stakes
        assert accuse is not None
        offer = world.offer(payer.address, bond=bond)
        offered = payer.sign(offer)
        name = digest(world.deployment.market_domain, offer)
        sealed = [
            payee.sign(Commitment(offer=name, bidder=payee.address, hash=Digest(bytes([n]) * 32))) for n in (1, 2)
        ]
        rolls = [payer.sign(Roll(offer=name, root=Digest(bytes([n]) * 32), count=1)) for n in (1, 2)]
        awards = [payer.sign(world.award(offer, payee.address, ZERO_DIGEST, n)[0]) for n in (1, 2)]
        with trio.fail_after(LONG_S):
            found = await accuse.accuse(offer, TwoCommitments(first=sealed[0], second=sealed[1]))
            assert (found.amount, found.bounty) == (bond, bond // 2)
            found = await accuse.accuse(offer, TwoRolls(offer=offered, first=rolls[0], second=rolls[1]))
            assert (found.amount, found.bounty) == (bond, bond // 2)
            with pytest.raises(ChainRejected, match="AlreadyPunished"):
                await accuse.accuse(offer, TwoAwards(offer=offered, first=awards[0], second=awards[1]))
            with pytest.raises(ChainRejected, match="NoContradiction"):
                await accuse.accuse(offer, TwoCommitments(first=sealed[0], second=sealed[0]))
            other = world.offer(payer.address, bond=bond)
            name = digest(world.deployment.market_domain, other)
            both = [payer.sign(world.award(other, payee.address, ZERO_DIGEST, n)[0]) for n in (1, 2)]
            found = await accuse.accuse(other, TwoAwards(offer=payer.sign(other), first=both[0], second=both[1]))
            assert found.bounty == bond // 2
    found = await balances(world)
    assert (found["other"], found["pool"], found["staked"]) == (STAKE + 9 * ONE_TOKEN, 9 * ONE_TOKEN, 22 * ONE_TOKEN)


async def test_stake_leaves_by_its_owners_wish_alone_after_the_cooldown(world: World) -> None:
    async with world.party("payee") as payee:
        await stake(payee)
        stakes = payee.payments.stakes
        assert stakes is not None
        with trio.fail_after(LONG_S), pytest.raises(ChainRejected, match="StakeTooSmall"):
            await stakes.ask_for(Amount(STAKED + 1))
        with trio.fail_after(LONG_S):
            await stakes.ask_for(LIABILITY)
        figures = await stakes.figures()
        assert (figures.leaving, figures.free) == (LIABILITY, STAKED - LIABILITY)
        with trio.fail_after(LONG_S), pytest.raises(ChainRejected, match="NotReady"):
            await stakes.collect()
        with trio.fail_after(LONG_S):
            while (await payee.chain.head()).time <= figures.ready_at:
                await trio.sleep(0.1)
            await stakes.collect()
        assert (await stakes.figures()).stake == STAKED - LIABILITY
    assert (await balances(world))["payee"] == STAKE - STAKED + LIABILITY


async def test_both_sides_crash_after_every_record_and_nothing_is_locked_twice_or_forgotten(world: World) -> None:
    async with world.party("payee") as payee:
        await stake(payee)
    crashes = [0, 0]
    award: tuple[Award, Digest] | None = None
    for turn in range(ENOUGH):
        try:
            async with (
                world.party("payer", crash_after=1 if turn % 2 else 1_000) as payer,
                world.party("payee", settings=EAGER, crash_after=1_000 if turn % 2 else 1) as payee,
            ):
                if award is None:
                    award = backed_award(world, payer, payee)
                await _run(payer, payee, *award)
                break
        except* Crash:
            crashes[turn % 2] += 1
    assert all(crashes)
    async with world.party("payer") as payer, world.party("payee", settings=EAGER) as payee:
        await over(payer, payee)
        assert payee.payments.stakes is not None
        figures = await payee.payments.stakes.figures()
    assert (figures.stake, figures.locked) == (STAKED, 0)
    found = await balances(world)
    assert (found["staked"], found["escrow"], found["pool"]) == (STAKED, 0, 0)
    assert found["payee"] == STAKE - STAKED + PRICE + BONUS


async def _run(payer: Party, payee: Party, award: Award, award_id: Digest) -> None:
    """Go through a whole award; what a crash interrupted is simply done again, as the market does."""
    if (await payer.gateway.escrow.record_of(award_id)).state < 6:  # not closed yet
        signed = await engage(payer, payee, award, award_id)
        lock = await contract(payer).lock_of(award_id)
        if not lock.had_bonus:
            await _bonus_of(payer, award_id)
        await deliver(payer, payee, signed, award_id)
    await over(payer, payee)


async def _bonus_of(payer: Party, award_id: Digest) -> None:
    with trio.fail_after(LONG_S):
        while not (await contract(payer).lock_of(award_id)).had_bonus:
            await trio.sleep(0.05)


async def _call(party: Party, data: bytes) -> None:
    with trio.fail_after(LONG_S):
        await party.transactor.send(Request(to=contract(party).address, data=data, title="slash"))
