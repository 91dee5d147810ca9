"""The typed contracts end to end on anvil: channel and escrow, with every base unit accounted for."""

from dataclasses import replace
from pathlib import Path

import pytest

from node.chain.channel_events import ChannelClaimed, ChannelClosed, ClaimSkipped
from node.chain.contract import Sent
from node.chain.errors import Reverted
from node.chain.escrow import EscrowState
from node.chain.escrow_events import AwardClosed, AwardFunded, AwardReleaseSkipped
from node.chain.gateway import Gateway, open_gateway
from node.chain.payment_channel import NO_SIGNATURE
from node.chain.transaction_book import TransactionConfirmed, TransactionSigned
from node.chain.transaction_log import JournaledTransactionLog
from node.operations.clock import SystemClock
from node.storage.errors import ConcurrentAppend
from node.storage.storage import open_storage
from node.wallet.signer import Signer
from protocol.channel.objects import ChannelKey, Close, Voucher, channel_id
from protocol.identity import ZERO_ADDRESS, ZERO_DIGEST, Digest
from protocol.market.objects import Award
from protocol.signing.eip712 import digest
from protocol.signing.signed import Signed
from protocol.spending import Spend
from protocol.task.objects import Acceptance
from protocol.units import Amount, BasisPoints, Seconds, UnixTime
from tests.node.chain.chain_world import World


async def total(world: World) -> int:
    owners = [world.address(number) for number in range(3)]
    owners += [world.deployment.payment_channel, world.deployment.escrow]
    return sum([await world.chain.token_balance(owner) for owner in owners])


async def channel_with(world: World, gateway: Gateway, deposit: int, key: str) -> ChannelKey:
    await gateway.token.ensure_allowance(world.deployment.payment_channel, Amount(deposit))
    opened = await gateway.channels.open(
        signer=world.address(0), payee=world.address(1), amount=Amount(deposit), key=key
    )
    channel = ChannelKey(
        payer=opened.payer, signer=opened.signer, payee=opened.payee, token=opened.token, counter=opened.counter
    )
    assert channel_id(channel) == opened.channel
    return channel


async def voucher_of(world: World, signer: Signer, channel: ChannelKey, sequence: int, paid: int) -> Signed[Voucher]:
    voucher = Voucher(
        channel=channel_id(channel),
        sequence=sequence,
        cumulative=Amount(paid),
        held=Amount(0),
        holds=ZERO_DIGEST,
    )
    return await signer.sign_voucher(voucher, payee=world.address(1), task=None, task_total=Amount(0))


async def test_a_channel_is_opened_topped_up_claimed_and_closed_to_the_base_unit(world: World) -> None:
    before = await total(world)
    async with world.transactor(number=0) as payer, world.transactor(number=1) as payee, world.signer(0) as signer:
        ours, theirs = open_gateway(world.chain, payer), open_gateway(world.chain, payee)
        channel = await channel_with(world, ours, 100, "first")
        await ours.channels.top_up(channel, Amount(50), key="more")
        state = await ours.channels.state_of(channel_id(channel))
        assert (state.deposit, state.claimed, state.exits_at) == (150, 0, 0)

        sent = await theirs.channels.claim(channel, await voucher_of(world, signer, channel, 1, 40))
        assert sent.events == (ChannelClaimed(channel=channel_id(channel), claimed=Amount(40), paid=Amount(40)),)
        assert sent.fee > 0
        with pytest.raises(Reverted) as caught:
            await theirs.channels.claim(channel, await voucher_of(world, signer, channel, 1, 40))
        assert caught.value.error == "NothingToClaim"

        agreed = Close(channel=channel_id(channel), cumulative=Amount(60), close_by=UnixTime(2**40))
        spend = Spend(account=channel_id(channel), total=Amount(60), peer=world.address(1))
        signed = await signer.sign_agreed(agreed, spend, channel=True)
        closed = await theirs.channels.close(channel, agreed, signed.signature, NO_SIGNATURE)
        assert closed.the(ChannelClosed).to_payee == 60
        assert (await ours.channels.state_of(channel_id(channel))).deposit == 0
    assert await world.chain.token_balance(world.address(1)) == 1_000_000_000 + 60
    assert await total(world) == before


async def test_a_batch_claims_what_it_can_and_names_what_it_left_out(world: World) -> None:
    async with world.transactor(number=0) as payer, world.transactor(number=1) as payee, world.signer(0) as signer:
        ours, theirs = open_gateway(world.chain, payer), open_gateway(world.chain, payee)
        channels = [await channel_with(world, ours, 10, str(number)) for number in range(3)]
        claims = [(channel, await voucher_of(world, signer, channel, 1, 5)) for channel in channels]
        claims[1] = (channels[1], Signed(claims[1][1].value, claims[0][1].signature))
        sent = await theirs.channels.claim_batch(world.address(1), world.deployment.token, claims)
    skipped = [event.channel for event in sent.events if isinstance(event, ClaimSkipped)]
    assert skipped == [channel_id(channels[1])]
    assert await world.chain.token_balance(world.address(1)) == 1_000_000_000 + 10


async def test_a_payer_leaves_after_the_challenge(world: World) -> None:
    async with world.transactor(number=0) as payer:
        ours = open_gateway(world.chain, payer)
        channel = await channel_with(world, ours, 10, "first")
        await ours.channels.start_exit(channel)
        with pytest.raises(Reverted) as caught:
            await ours.channels.withdraw(channel)
        assert caught.value.error == "ExitNotOver"
        rules = await ours.channels.rules()
        await world.rpc.call("evm_increaseTime", hex(rules.challenge + 1))
        await world.mine()
        await ours.channels.withdraw(channel)
    assert await world.chain.token_balance(world.address(0)) == 1_000_000_000


async def award(world: World, price: int, fee: int) -> Award:
    now = (await world.chain.head()).time
    pace = await open_gateway(world.chain).escrow.min_pace()
    return Award(
        offer=Digest(b"o" * 32),
        roll=ZERO_DIGEST,
        bids=ZERO_DIGEST,
        requester=world.address(0),
        provider=world.address(1),
        token=world.deployment.token,
        rail=world.deployment.escrow,
        channel=ZERO_DIGEST,
        arbiter=world.address(2) if fee else ZERO_ADDRESS,
        slot=0,
        attempt=0,
        first_part=0,
        parts=1,
        price=Amount(price),
        liability=Amount(0),
        dispute_fee=Amount(fee),
        split_bps=BasisPoints(5000),
        start_by=UnixTime(now + 100),
        deliver_by=UnixTime(now + 200),
        pace=Seconds(pace),
        resolve_within=Seconds(pace),
        audit_seal=ZERO_DIGEST,
    )


async def fund(world: World, gateway: Gateway, signed: Signed[Award]) -> Sent:
    await gateway.token.ensure_allowance(world.deployment.escrow, Amount(10**9))
    return await gateway.escrow.fund(signed)


async def test_an_award_is_funded_accepted_and_closed_to_the_base_unit(world: World) -> None:
    before = await total(world)
    async with world.transactor(number=0) as requester, world.transactor(number=1) as provider:
        ours, theirs = open_gateway(world.chain, requester), open_gateway(world.chain, provider)
        async with world.signer(0) as signer:
            signed = await signer.sign_award(await award(world, 25_000_000, 1_000_000))
            job = signed.value
            identity = digest(world.deployment.market_domain, job)
            funded = (await fund(world, ours, signed)).the(AwardFunded)
            assert (funded.award, funded.amount) == (identity, 26_000_000)
            record = await ours.escrow.record_of(identity)
            assert (record.amount, record.paid, record.state) == (26_000_000, 0, EscrowState.FUNDED)
            with pytest.raises(Reverted) as caught:
                await ours.escrow.fund(signed)
            assert caught.value.error == "WrongState"

            accepted = Acceptance(award=identity, part=0, receipt=ZERO_DIGEST, due=Amount(20_000_000))
            release = await theirs.escrow.release(job, await signer.sign_acceptance(accepted, job))
        closed = release.the(AwardClosed)
        assert (closed.to_provider, closed.to_requester, closed.to_arbiter) == (20_000_000, 6_000_000, 0)
        assert (await ours.escrow.record_of(identity)).state is EscrowState.ACCEPTED
    assert await world.chain.token_balance(world.address(1)) == 1_000_000_000 + 20_000_000
    assert await total(world) == before


async def test_awards_are_funded_and_released_together_and_what_is_done_is_skipped(world: World) -> None:
    before = await total(world)
    async with world.transactor(number=0) as requester, world.transactor(number=1) as provider:
        ours, theirs = open_gateway(world.chain, requester), open_gateway(world.chain, provider)
        async with world.signer(0) as signer:
            job = await award(world, 500, 3)
            awards = [await signer.sign_award(replace(job, slot=slot)) for slot in range(2)]
            await ours.token.ensure_allowance(world.deployment.escrow, Amount(10**9))
            funded = await ours.escrow.fund_many(awards)
            ids = [digest(world.deployment.market_domain, signed.value) for signed in awards]
            assert [event.award for event in funded.events if isinstance(event, AwardFunded)] == ids
            accepted: list[tuple[Award, Signed[Acceptance]]] = []
            for signed, identity, due in zip(awards, ids, (500, 400), strict=True):
                agreed = Acceptance(award=identity, part=0, receipt=ZERO_DIGEST, due=Amount(due))
                accepted.append((signed.value, await signer.sign_acceptance(agreed, signed.value)))
        await theirs.escrow.release(*accepted[0])
        released = await theirs.escrow.release_many(accepted)
        skipped = [event.award for event in released.events if isinstance(event, AwardReleaseSkipped)]
        assert skipped == [ids[0]]
        closed = released.the(AwardClosed)
        assert (closed.award, closed.to_provider, closed.to_requester) == (ids[1], 400, 103)
    assert await world.chain.token_balance(world.address(1)) == 1_000_000_000 + 900
    assert await total(world) == before


async def test_an_escrow_without_a_claim_is_refunded(world: World) -> None:
    async with world.transactor(number=0) as requester, world.signer(0) as signer:
        ours = open_gateway(world.chain, requester)
        signed = await signer.sign_award(await award(world, 500, 0))
        await fund(world, ours, signed)
        with pytest.raises(Reverted) as caught:
            await ours.escrow.refund(signed.value)
        assert caught.value.error == "TooEarly"
        await world.rpc.call("evm_increaseTime", hex(10_000))
        await world.mine()
        refunded = await ours.escrow.refund(signed.value)
    assert refunded.the(AwardClosed).outcome == EscrowState.REFUNDED
    assert await world.chain.token_balance(world.address(0)) == 1_000_000_000


async def test_a_forged_or_changed_award_is_refused_by_name(world: World) -> None:
    async with world.transactor(number=0) as requester, world.signer(0) as signer, world.signer(1) as other:
        ours = open_gateway(world.chain, requester)
        job = await award(world, 500, 0)
        await ours.token.ensure_allowance(world.deployment.escrow, Amount(500))
        forged = await other.sign_award(job)
        stranger = open_gateway(world.chain, requester).escrow
        async with world.transactor(number=2) as third:
            with pytest.raises(Reverted) as caught:
                await open_gateway(world.chain, third).escrow.fund(forged)
        assert caught.value.error == "BadSignature"
        signed = await signer.sign_award(replace(job, pace=Seconds(0)))
        with pytest.raises(Reverted) as caught:
            await stranger.fund(signed)
        assert caught.value.error == "BadTerms"


async def test_transactions_survive_a_restart_in_the_real_journal(world: World, tmp_path: Path) -> None:
    async with open_storage(tmp_path, clock=SystemClock()) as storage:
        journal = JournaledTransactionLog(storage.journal, 31337, world.address())
        async with world.transactor(journal) as transactor:
            channel = await channel_with(world, open_gateway(world.chain, transactor), 10, "only")
    async with open_storage(tmp_path, clock=SystemClock()) as storage:
        journal = JournaledTransactionLog(storage.journal, 31337, world.address())
        async with world.transactor(journal) as transactor:
            assert await channel_with(world, open_gateway(world.chain, transactor), 10, "only") == channel
        records = await journal.load()
        assert sum(isinstance(record, TransactionSigned) for record in records) == 2
        assert sum(isinstance(record, TransactionConfirmed) for record in records) == 2
        stale = JournaledTransactionLog(storage.journal, 31337, world.address())
        with pytest.raises(ConcurrentAppend):
            await stale.append(records[0])
