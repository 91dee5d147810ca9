"""The stakes through the gateway, on a real chain: every base unit is somewhere, and what is refused says why."""

from dataclasses import replace
from pathlib import Path

import pytest

from node.chain.abi import load_artifact
from node.chain.deployment import load_deployment, save_deployment
from node.chain.errors import DeploymentInvalid, Reverted
from node.chain.events import decode_log
from node.chain.gateway import Gateway, open_gateway
from node.chain.local import POOL, deploy_local
from node.chain.opening import open_chain
from node.chain.reputation import LockState, Reputation, StakeAccount, StakeLock
from node.chain.stake_events import BonusDeposited, BonusPaid, LiabilityFreed, LiabilityLocked, Staked
from node.wallet.errors import UndeclaredSpend
from protocol.errors import ConfigError
from protocol.identity import ZERO_ADDRESS, ZERO_DIGEST, Address, ContentDigest, Digest
from protocol.market.objects import AuctionFormat, Award, Commitment, Offer
from protocol.signing.eip712 import digest
from protocol.signing.signed import Signed
from protocol.spending import SpendingCapExceeded, SpendingCaps
from protocol.task.objects import Acceptance
from protocol.units import MAX_AMOUNT, ONE_TOKEN, Amount, BasisPoints, Seconds, UnixTime
from tests.node.chain.chain_world import PROFILE, World

STAKE = Amount(100 * ONE_TOKEN)
EACH = 1_000_000_000


def stakes(gateway: Gateway) -> Reputation:
    assert gateway.reputation is not None
    return gateway.reputation


async def add(world: World, gateway: Gateway, amount: Amount) -> None:
    await gateway.token.ensure_allowance(world.deployment.reputation, amount)
    await stakes(gateway).stake(amount, key=f"add {amount}")


async def award(world: World, *, price: int = 20 * ONE_TOKEN) -> Award:
    now = (await world.chain.head()).time
    return Award(
        offer=Digest(b"o" * 32),
        roll=ZERO_DIGEST,
        bids=ZERO_DIGEST,
        requester=world.address(0),
        provider=world.address(1),
        token=world.deployment.token,
        rail=world.deployment.payment_channel,
        channel=Digest(b"c" * 32),
        arbiter=world.address(2),
        slot=0,
        attempt=0,
        first_part=0,
        parts=1,
        price=Amount(price),
        liability=Amount(4 * ONE_TOKEN),
        dispute_fee=Amount(0),
        split_bps=BasisPoints(5_000),
        start_by=UnixTime(now + 1_000),
        deliver_by=UnixTime(now + 2_000),
        pace=Seconds(60),
        resolve_within=Seconds(60),
        audit_seal=ZERO_DIGEST,
    )


async def _offer(world: World, *, bond: Amount) -> Offer:
    now = (await world.chain.head()).time
    nothing, whole = Amount(0), BasisPoints(10_000)
    return Offer(
        requester=world.address(0),
        token=world.deployment.token,
        rail=world.deployment.escrow,
        arbiter=ZERO_ADDRESS,
        manifest=ContentDigest(bytes(32)),
        engine=ZERO_DIGEST,
        rates=ZERO_DIGEST,
        verification=ZERO_DIGEST,
        format=AuctionFormat.SEALED_SECOND_PRICE,
        parts=1,
        copies=1,
        w_price=whole,
        w_reputation=BasisPoints(0),
        w_speed=BasisPoints(0),
        max_bidders=8,
        split_bps=whole,
        budget=Amount(ONE_TOKEN),
        bond=bond,
        min_stake=nothing,
        liability=nothing,
        dispute_fee=nothing,
        max_eta=Seconds(9),
        start_within=Seconds(9),
        pace=Seconds(9),
        resolve_within=Seconds(9),
        commit_by=UnixTime(now + 9),
        reveal_by=UnixTime(now + 18),
        expires=UnixTime(now + 27),
        salt=ZERO_DIGEST,
    )


async def total(world: World) -> int:
    holders = [*(world.address(number) for number in range(3)), world.deployment.reputation, POOL]
    return sum([await world.chain.token_balance(each) for each in holders])


async def test_a_lock_is_made_and_freed_by_the_acceptance_with_the_bonus(world: World) -> None:
    before = await total(world)
    async with world.transactor(number=0) as buyer, world.transactor(number=1) as seller, world.signer(0) as signer:
        buys, sells = open_gateway(world.chain, buyer), open_gateway(world.chain, seller)
        await add(world, sells, STAKE)
        terms = await award(world)
        name = digest(world.deployment.market_domain, terms)

        locked = (await stakes(sells).lock(terms)).the(LiabilityLocked)
        assert (locked.award, locked.amount) == (name, terms.liability)
        assert locked.until == terms.deliver_by + 2 * terms.pace + terms.resolve_within
        account = await stakes(sells).account_of(world.address(1))
        assert account == StakeAccount(stake=STAKE, locked=terms.liability)
        assert await stakes(sells).free_stake_of(world.address(1)) == STAKE - terms.liability
        with pytest.raises(Reverted) as caught:
            await stakes(sells).lock(terms)
        assert caught.value.error == "WrongLockState"

        await buys.token.ensure_allowance(world.deployment.reputation, Amount(ONE_TOKEN))
        assert (await stakes(buys).deposit_bonus(terms)).the(BonusDeposited).amount == ONE_TOKEN
        assert await stakes(buys).lock_of(name) == StakeLock(
            amount=terms.liability, bonus=Amount(ONE_TOKEN), state=LockState.LOCKED, had_bonus=True
        )

        accepted = Acceptance(award=name, part=0, receipt=Digest(b"r" * 32), due=terms.price)
        signed = await signer.sign_acceptance(accepted, terms)
        sent = await stakes(sells).free_accepted(terms, signed)
        assert sent.the(LiabilityFreed).amount == terms.liability
        assert sent.the(BonusPaid).earned
        assert (await stakes(sells).lock_of(name)).state is LockState.FREED
    assert await world.chain.token_balance(world.address(1)) == EACH - STAKE + ONE_TOKEN
    assert await total(world) == before


async def test_locks_of_many_awards_are_freed_in_one_transaction_or_none_is(world: World) -> None:
    async with world.transactor(number=1) as seller, world.signer(0) as signer:
        ours = open_gateway(world.chain, seller)
        await add(world, ours, STAKE)
        ended: list[tuple[Award, Signed[Acceptance] | None]] = []
        for slot in range(4):
            terms = replace(await award(world), slot=slot, liability=Amount(ONE_TOKEN * (slot + 1)))
            await stakes(ours).lock(terms)
            name = digest(world.deployment.market_domain, terms)
            accepted = Acceptance(award=name, part=0, receipt=Digest(b"r" * 32), due=terms.price)
            ended.append((terms, await signer.sign_acceptance(accepted, terms)))
        running, no_proof = ended[3][0], None
        with pytest.raises(Reverted) as caught:
            await stakes(ours).free_many([*ended[:3], (running, no_proof)])
        assert caught.value.error == "NotOver"
        assert (await stakes(ours).account_of(world.address(1))).locked == 10 * ONE_TOKEN, "all or none"
        sent = await stakes(ours).free_many(ended[:3])
        freed = [event.amount for event in sent.events if isinstance(event, LiabilityFreed)]
        assert freed == [ONE_TOKEN, 2 * ONE_TOKEN, 3 * ONE_TOKEN]
        assert (await stakes(ours).account_of(world.address(1))).locked == 4 * ONE_TOKEN
        await world.rpc.call("evm_increaseTime", hex(10_000))
        await world.mine()
        assert (await stakes(ours).free_many([(running, None)])).the(LiabilityFreed).amount == 4 * ONE_TOKEN


async def test_a_batch_frees_and_does_nothing_else_and_escrows_are_funded_one_by_one(world: World) -> None:
    deployment, terms = world.deployment, await award(world)
    abi, escrow = load_artifact("Reputation").abi, load_artifact("Escrow").abi
    free, stake = abi.encode_call("free", terms), abi.encode_call("stake", world.address(2), 1)
    nested = abi.encode_call("multicall", [stake])
    batch = abi.encode_call("multicall", [free, free])
    async with world.signer(1) as signer:

        async def sign(to: Address, data: bytes) -> None:
            await signer.sign_transaction(
                chain_id=deployment.chain_id,
                nonce=0,
                max_priority_fee=1,
                max_fee=1,
                gas=1,
                to=to,
                value=0,
                data=data,
                spend=None,
            )

        await sign(deployment.reputation, batch)
        await sign(deployment.reputation, abi.encode_call("multicall", []))
        for data in (
            abi.encode_call("multicall", [free, stake]),
            abi.encode_call("multicall", [nested]),
            abi.encode_call("multicall", [abi.encode_call("depositBonus", terms)]),
            abi.encode_call("multicall", [b""]),
            batch[:-32],
            batch[:40],
            batch[:4] + (2**200).to_bytes(32) + batch[36:],
            batch[:36] + (2**60).to_bytes(32) + batch[68:],
        ):
            with pytest.raises(UndeclaredSpend):
                await sign(deployment.reputation, data)
        for data in (
            escrow.encode_call("multicall", []),
            escrow.encode_call("fundByAuthorization", terms, b"", world.address(2), (0, 0, 27, bytes(32), bytes(32))),
        ):
            with pytest.raises(UndeclaredSpend, match="by fund and fundMany"):
                await sign(deployment.escrow, data)


async def test_stake_leaves_after_its_cooldown_and_not_before(world: World) -> None:
    async with world.transactor(number=1) as seller:
        ours = open_gateway(world.chain, seller)
        await add(world, ours, STAKE)
        await stakes(ours).unstake(Amount(30 * ONE_TOKEN))
        leaving = await stakes(ours).leaving_of(world.address(1))
        assert leaving.amount == 30 * ONE_TOKEN
        for again in (stakes(ours).withdraw(), stakes(ours).unstake(Amount(1))):
            with pytest.raises(Reverted) as caught:
                await again
            assert caught.value.error in ("NotReady", "AlreadyLeaving")
        await world.rpc.call("evm_increaseTime", hex(await stakes(ours).cooldown() + 1))
        await world.mine()
        await stakes(ours).withdraw()
        assert (await stakes(ours).leaving_of(world.address(1))).amount == 0
    assert await world.chain.token_balance(world.address(1)) == EACH - 70 * ONE_TOKEN


async def test_two_commitments_cost_the_bond_of_which_the_accuser_gets_half(world: World) -> None:
    async with world.transactor(number=1) as seller, world.transactor(number=2) as accuser, world.signer(1) as signer:
        await add(world, open_gateway(world.chain, seller), STAKE)
        offer = await _offer(world, bond=Amount(8 * ONE_TOKEN))
        name = digest(world.deployment.market_domain, offer)
        one, other = (
            signer.sign(Commitment(offer=name, bidder=world.address(1), hash=Digest(bytes([number]) * 32)))
            for number in (1, 2)
        )
        theirs = stakes(open_gateway(world.chain, accuser))
        with pytest.raises(Reverted) as caught:
            await theirs.punish_commitments(offer, one, Signed(one.value, one.signature))
        assert caught.value.error == "NoContradiction"
        await theirs.punish_commitments(offer, one, other)
        assert (await theirs.account_of(world.address(1))).stake == STAKE - offer.bond
    assert await world.chain.token_balance(world.address(2)) == EACH + offer.bond // 2
    assert await world.chain.token_balance(POOL) == offer.bond // 2


async def test_the_wallet_stakes_for_itself_alone_and_counts_a_bonus_against_its_caps(world: World) -> None:
    caps = SpendingCaps(per_task=Amount(ONE_TOKEN - 1), per_hour=MAX_AMOUNT, per_day=MAX_AMOUNT, per_peer=MAX_AMOUNT)
    abi = load_artifact("Reputation").abi
    async with world.signer(0) as signer:
        for data, why in (
            (abi.encode_call("stake", world.address(2), 1), "not for this wallet"),
            (abi.encode_call("depositBonus", await award(world)), "bonus"),
        ):
            with pytest.raises(UndeclaredSpend, match=why):
                await signer.sign_transaction(
                    chain_id=world.deployment.chain_id,
                    nonce=0,
                    max_priority_fee=1,
                    max_fee=1,
                    gas=1,
                    to=world.deployment.reputation,
                    value=0,
                    data=data,
                    spend=None,
                )
    async with world.transactor(number=0, caps=caps) as buyer:
        ours = open_gateway(world.chain, buyer)
        await ours.token.ensure_allowance(world.deployment.reputation, Amount(ONE_TOKEN))
        with pytest.raises(SpendingCapExceeded):
            await stakes(ours).deposit_bonus(await award(world))


async def test_a_deployment_without_stakes_reads_as_such_and_has_no_gateway(world: World, tmp_path: Path) -> None:
    path = tmp_path / "deployments.json"
    save_deployment(path, world.deployment)
    assert load_deployment(path) == world.deployment
    old = path.read_text().replace("reputation", "of_another_time")
    path.write_text(old)
    deployment = load_deployment(path)
    assert deployment == replace(world.deployment, reputation=ZERO_ADDRESS)
    assert not deployment.has_stakes
    async with open_chain(PROFILE, world.anvil.url, deployment) as chain:
        assert open_gateway(chain).reputation is None
    twice = replace(world.deployment, reputation=world.deployment.escrow)
    save_deployment(path, twice)
    with pytest.raises(DeploymentInvalid, match="another address"):
        load_deployment(path)


async def test_stakes_of_another_market_are_refused_at_the_start(world: World) -> None:
    other = await deploy_local(world.anvil.url)
    mixed = replace(world.deployment, reputation=other.reputation)
    with pytest.raises(ConfigError, match="another Escrow"):
        async with open_chain(PROFILE, world.anvil.url, mixed):
            pass


async def test_events_of_stakes_are_read_only_where_there_are_stakes(world: World) -> None:
    async with world.transactor(number=1) as seller:
        await add(world, open_gateway(world.chain, seller), STAKE)
    head = await world.chain.head()
    (log, *_) = await world.chain.logs((world.deployment.reputation,), 0, head.number)
    event = decode_log(world.deployment, log)
    assert event == Staked(owner=world.address(1), payer=world.address(1), amount=STAKE)
    assert decode_log(replace(world.deployment, reputation=ZERO_ADDRESS), log) is None
