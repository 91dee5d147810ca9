"""A local chain with a court, a requester, a provider with stake, and one arbiter that holds every seat."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import trio

from node.app.contract_chain import key_of
from node.app.court_chain import ContractCaseFacts, ContractCourt
from node.arbitration.ports import Delivery, Told
from node.chain.bench import Bench
from node.chain.chain import Chain
from node.chain.event_index import EventIndex, open_event_index
from node.chain.event_store import CHAIN_SCHEMA, SqlEventStore
from node.chain.gateway import Gateway, open_gateway
from node.operations.clock import SystemClock
from node.storage.storage import open_storage
from node.wallet.signer import Signer
from protocol.channel.holds import build_voucher
from protocol.channel.objects import ChannelKey, Hold, channel_id
from protocol.dispute.ballot import Ballot, Quorum, find_quorum, seal_of, seals_digest, vote_hash
from protocol.dispute.case import CaseFact
from protocol.dispute.objects import Finding, Opening, Vote
from protocol.identity import ZERO_ADDRESS, ZERO_DIGEST, Address, ContentDigest, Digest
from protocol.market.objects import Award, Offer
from protocol.signing.ecdsa import Signature
from protocol.signing.eip712 import digest
from protocol.signing.keccak import keccak256
from protocol.signing.signed import Signed
from protocol.task.objects import Receipt, Start
from protocol.units import ONE_TOKEN, Amount, Seconds, UnixTime
from tests.node.chain.chain_world import World
from tests.samples import sample_award, sample_offer

PATIENCE_S = 60.0
ENGINE = Digest(keccak256(b"an engine"))
PRICE = Amount(25 * ONE_TOKEN)
FEE = Amount(5 * ONE_TOKEN)
LIABILITY = Amount(40 * ONE_TOKEN)
RESOLVE = Seconds(240)
TICKETS = 20
SEATS = 5
EACH = 1_000_000_000  # what every account of the world begins with


@dataclass(kw_only=True)
class Side:
    """One wallet: its contracts, its court and its signer."""

    gateway: Gateway
    court: ContractCourt
    signer: Signer


@asynccontextmanager
async def side(world: World, index: EventIndex, number: int) -> AsyncGenerator[Side, None]:
    async with world.transactor(number=number) as transactor, world.signer(number) as signer:
        gateway = open_gateway(world.chain, transactor)
        assert gateway.court is not None
        court = ContractCourt(world.chain, index, gateway.token, gateway.court, world.address(number))
        yield Side(gateway=gateway, court=court, signer=signer)


@asynccontextmanager
async def indexing(world: World, folder: Path) -> AsyncGenerator[EventIndex, None]:
    async with open_storage(folder, clock=SystemClock(), schema_parts=[CHAIN_SCHEMA]) as storage:
        chain = Chain(world.rpc, world.chain.profile, world.deployment)
        async with open_event_index(chain, SqlEventStore(storage)) as index:
            yield index


def bench_of(each: Side) -> Bench:
    assert each.gateway.bench is not None
    return each.gateway.bench


async def enlist(world: World, each: Side, count: int = TICKETS) -> None:
    await each.gateway.token.ensure_allowance(world.deployment.bench, Amount(10**9))
    await bench_of(each).enlist(ENGINE, count, key="first")


async def an_offer(world: World) -> Offer:
    now = (await world.chain.head()).time
    nothing = Amount(0)
    return sample_offer(
        requester=world.address(0),
        token=world.deployment.token,
        rail=world.deployment.escrow,
        arbiter=world.deployment.court,
        manifest=ContentDigest(bytes(32)),
        engine=ENGINE,
        budget=PRICE,
        bond=nothing,
        min_stake=nothing,
        liability=LIABILITY,
        dispute_fee=FEE,
        max_eta=Seconds(9),
        start_within=Seconds(9),
        pace=Seconds(9),
        resolve_within=RESOLVE,
        commit_by=UnixTime(now + 9),
        reveal_by=UnixTime(now + 18),
        expires=UnixTime(now + 27),
    )


async def an_award(world: World, offer: Offer, *, channel: Digest = ZERO_DIGEST) -> Award:
    now = (await world.chain.head()).time
    deployment = world.deployment
    return sample_award(
        offer=digest(deployment.market_domain, offer),
        requester=world.address(0),
        provider=world.address(1),
        token=deployment.token,
        rail=deployment.escrow if channel == ZERO_DIGEST else deployment.payment_channel,
        channel=channel,
        arbiter=deployment.court,
        price=PRICE,
        liability=LIABILITY,
        dispute_fee=FEE,
        start_by=UnixTime(now + 1_000),
        deliver_by=UnixTime(now + 2_000),
        resolve_within=RESOLVE,
    )


def a_receipt(award_id: Digest) -> Receipt:
    return Receipt(
        award=award_id,
        part=0,
        outcome=0,
        output=ContentDigest(keccak256(b"a lie")),
        logs=ContentDigest(ZERO_DIGEST),
        fuel=5,
        peak_mib=1,
        bytes_in=0,
        bytes_out=0,
        due=PRICE,
        notes=ContentDigest(ZERO_DIGEST),
    )


def a_start(award_id: Digest, award: Award) -> Start:
    return Start(award=award_id, at=UnixTime(award.start_by - 1_000))


def a_vote(finding: Finding, due: int) -> Vote:
    output = ContentDigest(keccak256(b"what the arbiters found"))
    return Vote(finding=finding, part=0, outcome=0, output=output, fuel=12, due=Amount(due))


def ballots_of(vote: Vote, seats: int) -> dict[int, Ballot]:
    return {seat: Ballot(vote=vote, secret=Digest(keccak256(b"secret %d" % seat))) for seat in range(seats)}


def seals_of(committee: Sequence[Address], ballots: dict[int, Ballot]) -> dict[int, Digest]:
    return {seat: seal_of(vote_hash(one.vote), committee[seat], one.secret) for seat, one in ballots.items()}


def quorum_of(
    arbiter: Signer, award_id: Digest, number: int, committee: Sequence[Address], ballots: dict[int, Ballot]
) -> tuple[Quorum, list[Signature]]:
    """The openings of all seats, each of which is the arbiter's."""
    seals = seals_of(committee, ballots)
    quorum = find_quorum(committee, seals, ballots)
    assert quorum is not None
    everybody = seals_digest([seals.get(seat, ZERO_DIGEST) for seat in range(len(committee))])
    opening = Opening(award=award_id, round=number, vote=vote_hash(quorum.vote), seals=everybody)
    signature = arbiter.sign_opening(opening).signature
    return quorum, [signature] * len(quorum.secrets)


async def told(facts: ContractCaseFacts, kind: type[CaseFact]) -> CaseFact:
    """The next fact, which has to be of this kind."""
    while True:
        delivery = await next_of(facts)
        if isinstance(delivery, Told):
            assert isinstance(delivery.fact, kind), delivery.fact
            return delivery.fact


async def next_of(facts: ContractCaseFacts) -> Delivery:
    with trio.fail_after(PATIENCE_S):
        return await facts.receive()


async def held(world: World, requester: Side, provider: Side) -> tuple[Award, Offer, ChannelKey, tuple[Hold, ...]]:
    """An award on a channel, with a hold beside another one under a voucher that its provider has presented."""
    await requester.gateway.token.ensure_allowance(world.deployment.payment_channel, Amount(10**9))
    key = key_of(
        await requester.gateway.channels.open(
            signer=world.address(0), payee=world.address(1), amount=Amount(90 * ONE_TOKEN), key="only"
        )
    )
    channel = channel_id(key)
    offer = replace(await an_offer(world), rail=world.deployment.payment_channel)
    award = await an_award(world, offer, channel=channel)
    other = Hold(award=Digest(b"\x01" * 32), arbiter=ZERO_ADDRESS, amount=Amount(7))
    ours = Hold(
        award=digest(world.deployment.market_domain, award),
        arbiter=world.deployment.court,
        amount=Amount(PRICE + FEE),
    )
    holds = tuple(sorted((other, ours), key=lambda hold: hold.award))
    await present_next(requester, provider, key, holds, sequence=1, paid=0)
    return award, offer, key, holds


async def present_next(
    requester: Side, provider: Side, key: ChannelKey, holds: tuple[Hold, ...], *, sequence: int, paid: int
) -> None:
    """A voucher is signed by the requester and presented by the provider."""
    voucher = build_voucher(channel_id(key), sequence, Amount(paid), holds)
    signed = await requester.signer.sign_voucher(voucher, payee=key.payee, task=None, task_total=Amount(0))
    await provider.gateway.channels.present(key, signed)


async def claimed(world: World, requester: Side, provider: Side, offer: Offer) -> Award:
    """An award on escrow with its liability locked, funded and claimed to the full."""
    deployment = world.deployment
    award = await an_award(world, offer)
    award_id = digest(deployment.market_domain, award)
    stakes = provider.gateway.reputation
    assert stakes is not None
    await provider.gateway.token.ensure_allowance(deployment.reputation, LIABILITY)
    await stakes.stake(LIABILITY, key="once")
    await stakes.lock(award)
    await requester.gateway.token.ensure_allowance(deployment.escrow, Amount(10**9))
    await requester.gateway.escrow.fund(await requester.signer.sign_award(award))
    start: Signed[Start] = provider.signer.sign(a_start(award_id, award))
    receipt: Signed[Receipt] = provider.signer.sign(a_receipt(award_id))
    await provider.gateway.escrow.claim(award, start, receipt)
    return award
