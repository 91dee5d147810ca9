"""The model of the contracts against the contracts: the same calls, of which many must be refused, end the same way."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Final, TypeAlias, TypeVar

import pytest

from node.app.contract_chain import channel_fact, escrow_fact
from node.chain.channel_events import ChannelOpened
from node.chain.contract import Sent
from node.chain.gateway import Gateway, open_gateway
from node.chain.payment_channel import NO_SIGNATURE
from protocol.channel.objects import ChannelKey, Close, Voucher, channel_id
from protocol.errors import ChainRejected
from protocol.identity import ZERO_ADDRESS, ZERO_DIGEST, Address, ContentDigest
from protocol.market.objects import Award
from protocol.signing.eip712 import Domain, digest
from protocol.signing.keccak import keccak256
from protocol.signing.signed import Signed, sign_struct
from protocol.task.objects import Acceptance, Receipt, Start
from protocol.units import Amount, BasisPoints, Seconds, UnixTime
from tests.node.chain.chain_world import KEYS, World, open_world
from tests.simulation import contracts_model as model
from tests.simulation.contracts_model import Call, Contracts, EscrowState, Rules, Told

T = TypeVar("T")
Real: TypeAlias = Callable[[Gateway], Awaitable[Sent | ChannelOpened]]
PAYER, PAYEE, STRANGER = range(3)
PURSE: Final = 1_000_000_000
CALLS: Final = 60
START_WITHIN: Final = 40
DELIVER_WITHIN: Final = 90
LEAPS: Final = (1, 1, 1, 7, 23, 61)
"""Seconds between calls: mostly few, sometimes past a deadline."""


@dataclass
class Both:
    """Contracts and model, side by side."""

    world: World
    gateways: tuple[Gateway, ...]
    rules: Rules
    chance: Random
    state: Contracts
    keys: list[ChannelKey] = field(default_factory=list[ChannelKey])
    awards: list[Signed[Award]] = field(default_factory=list[Signed[Award]])
    accepted: int = 0
    refused: int = 0
    sequence: int = 0
    now: int = 0

    def address(self, who: int) -> Address:
        return self.world.address(who)

    def sign(self, who: int, value: T, *, channel: bool = False) -> Signed[T]:
        return sign_struct(KEYS[who], self.rules.channels if channel else self.rules.market, value)

    async def leap(self) -> None:
        """Let time pass, to a block of its own."""
        self.now += self.chance.choice(LEAPS)
        await self.world.rpc.call("evm_setNextBlockTimestamp", hex(self.now))
        await self.world.mine()

    async def same(self, who: int, call: Call, real: Real) -> None:
        """Make one call on both sides, and compare how it ends and everything that is then so."""
        self.now += 1
        attempt, told, refusal = self.state.copy(), list[Told](), ""
        try:
            told = call(attempt, self.address(who), self.now)
        except ChainRejected as error:
            refusal = str(error)
        await self.world.rpc.call("evm_setNextBlockTimestamp", hex(self.now))
        answer: Sent | ChannelOpened | None = None
        reverted = ""
        try:
            answer = await real(self.gateways[who])
        except ChainRejected as error:
            reverted = str(error) or "refused"
        assert bool(reverted) == bool(refusal), f"contract: {reverted or 'took it'}; model: {refusal or 'took it'}"
        self.refused += bool(refusal)
        if answer is not None:
            events = answer.events if isinstance(answer, Sent) else (answer,)
            assert [fact for event in events if (fact := channel_fact(event) or escrow_fact(event))] == told
            self.state = attempt
            self.accepted += 1
        await self._compare()

    async def _compare(self) -> None:
        for owner in (*map(self.address, range(3)), self.rules.escrow, self.rules.channel):
            assert await self.world.chain.token_balance(owner) == self.state.tokens.get(owner, 0)
        gateway = self.gateways[PAYER]
        for key in self.keys:
            real = await gateway.channels.state_of(channel_id(key))
            own = self.state.channels.get(channel_id(key))
            expected = (own.deposit, own.claimed, own.exits_at, own.sequence, own.held) if own else (0,) * 5
            assert (real.deposit, real.claimed, real.exits_at, real.sequence, real.held) == expected
        for signed in self.awards:
            award_id = digest(self.rules.market, signed.value)
            record, own = await gateway.escrow.record_of(award_id), self.state.escrows.get(award_id)
            if own is not None and own.state is not EscrowState.CLOSED:
                assert (record.amount, record.paid, record.time) == (own.amount, own.paid, own.time)


@asynccontextmanager
async def open_both(seed: int) -> AsyncGenerator[Both, None]:
    async with open_world() as world, AsyncExitStack() as stack:
        deployment = world.deployment
        senders = [await stack.enter_async_context(world.transactor(number=who)) for who in range(3)]
        gateways = tuple(open_gateway(world.chain, sender) for sender in senders)
        periods = await gateways[PAYER].channels.rules()
        rules = Rules(
            market=deployment.market_domain,
            channels=Domain(chain_id=deployment.chain_id, verifying_contract=deployment.payment_channel),
            challenge=periods.challenge,
            hold_period=periods.hold_period,
            min_pace=await gateways[PAYER].escrow.min_pace(),
        )
        state = Contracts(rules=rules, tokens={world.address(who): PURSE for who in range(3)})
        both = Both(world=world, gateways=gateways, rules=rules, chance=Random(seed), state=state)
        for contract in (rules.escrow, rules.channel):
            await gateways[PAYER].token.ensure_allowance(contract, Amount(PURSE))
        both.now = (await world.chain.head()).time + 1_000
        await both.leap()
        yield both


async def act_on_channel(both: Both) -> None:
    chance, token = both.chance, both.world.deployment.token
    if not both.keys or chance.random() < 0.15:
        amount, label = Amount(chance.choice((0, 1_000, 5_000))), f"{both.now}"
        payer, payee = both.address(PAYER), both.address(PAYEE)
        await both.same(
            PAYER,
            model.open_channel(payer, payee, token, amount),
            lambda to: to.channels.open(signer=payer, payee=payee, amount=amount, key=label),
        )
        both.keys = [record.key for record in both.state.channels.values()]
        return
    key = chance.choice(both.keys)
    channel = channel_id(key)
    signer = chance.choice((PAYER, PAYER, PAYER, STRANGER))
    caller = chance.choice((PAYER, PAYEE, PAYEE, STRANGER))
    both.sequence += chance.choice((0, 1, 1))
    cumulative = Amount(chance.choice((0, 500, 2_000, 4_000, 9_000)))
    held = Amount(chance.choice((0, 0, 700)))
    voucher = both.sign(
        signer,
        Voucher(
            channel=channel,
            sequence=both.sequence,
            cumulative=cumulative,
            held=held,
            holds=keccak256(b"holds") if held else ZERO_DIGEST,
        ),
        channel=True,
    )
    close = both.sign(
        signer,
        Close(channel=channel, cumulative=cumulative, close_by=UnixTime(both.now + chance.choice((-5, 60)))),
        channel=True,
    )
    amount, label = Amount(chance.choice((0, 1_000))), f"{both.now}"
    calls: list[tuple[int, Call, Real]] = [
        (PAYER, model.top_up(channel, amount), lambda to: to.channels.top_up(key, amount, key=label)),
        (caller, model.claim(channel, voucher), lambda to: to.channels.claim(key, voucher)),
        (caller, model.present(channel, voucher), lambda to: to.channels.present(key, voucher)),
        (caller, model.start_exit(channel), lambda to: to.channels.start_exit(key)),
        (caller, model.withdraw(channel), lambda to: to.channels.withdraw(key)),
        (
            PAYEE,
            model.close_channel(channel, close),
            lambda to: to.channels.close(key, close.value, close.signature, NO_SIGNATURE),
        ),
    ]
    await both.same(*chance.choice(calls))


def new_award(both: Both) -> Signed[Award]:
    price = Amount(both.chance.choice((0, 3_000, 6_000)))
    pace = Seconds(both.chance.choice((both.rules.min_pace, both.rules.min_pace + 20)))
    award = Award(
        offer=keccak256(b"offer %d" % len(both.awards)),
        roll=ZERO_DIGEST,
        bids=ZERO_DIGEST,
        requester=both.address(PAYER),
        provider=both.address(PAYEE),
        token=both.world.deployment.token,
        rail=both.rules.escrow,
        channel=ZERO_DIGEST,
        arbiter=ZERO_ADDRESS,
        slot=0,
        attempt=0,
        first_part=0,
        parts=3,
        price=price,
        liability=Amount(0),
        dispute_fee=Amount(0),
        split_bps=BasisPoints(5_000),
        start_by=UnixTime(both.now + START_WITHIN),
        deliver_by=UnixTime(both.now + DELIVER_WITHIN),
        pace=pace,
        resolve_within=Seconds(30),
        audit_seal=ZERO_DIGEST,
    )
    return both.sign(PAYER, award)


async def act_on_escrow(both: Both) -> None:
    chance = both.chance
    if not both.awards or chance.random() < 0.2:
        signed = new_award(both)
        both.awards.append(signed)
        await both.same(PAYER, model.fund(signed), lambda to: to.escrow.fund(signed))
        return
    signed = chance.choice(both.awards)
    award, award_id = signed.value, digest(both.rules.market, signed.value)
    caller = chance.choice((PAYER, PAYEE, PAYEE, STRANGER))
    part, due = chance.choice((0, 1, 2, 3)), Amount(chance.choice((0, 1_000, 2_000, 3_000, 6_001)))
    start = both.sign(PAYEE, Start(award=award_id, at=UnixTime(award.start_by + chance.choice((-5, -5, 5)))))
    acceptance = both.sign(PAYER, Acceptance(award=award_id, part=part, receipt=ZERO_DIGEST, due=due))
    receipt = both.sign(
        chance.choice((PAYEE, PAYEE, STRANGER)),
        Receipt(
            award=award_id,
            part=part,
            outcome=0,
            output=ContentDigest(bytes(32)),
            logs=ContentDigest(bytes(32)),
            fuel=1,
            peak_mib=1,
            bytes_in=0,
            bytes_out=0,
            due=due,
            notes=ContentDigest(bytes(32)),
        ),
    )
    calls: list[tuple[int, Call, Real]] = [
        (caller, model.release(award, acceptance), lambda to: to.escrow.release(award, acceptance)),
        (caller, model.recall(award), lambda to: to.escrow.recall(award)),
        (caller, model.prove_start(award, start), lambda to: to.escrow.prove_start(award, start)),
        (PAYEE, model.claim_award(award, start, receipt), lambda to: to.escrow.claim(award, start, receipt)),
        (PAYEE, model.claim_award(award, start, receipt), lambda to: to.escrow.claim(award, start, receipt)),
        (caller, model.pay_claim(award), lambda to: to.escrow.pay_claim(award)),
        (caller, model.dispute(award), lambda to: to.escrow.dispute(award)),
        (caller, model.split(award), lambda to: to.escrow.split(award)),
        (caller, model.refund(award), lambda to: to.escrow.refund(award)),
    ]
    await both.same(*chance.choice(calls))


@pytest.mark.parametrize("act", [act_on_channel, act_on_escrow], ids=["channel", "escrow"])
async def test_the_model_takes_and_refuses_what_the_contracts_do(act: Callable[[Both], Awaitable[None]]) -> None:
    async with open_both(7) as both:
        for _ in range(CALLS):
            await act(both)
            if both.chance.random() < 0.4:
                await both.leap()
        assert min(both.accepted, both.refused) > CALLS // 10, (both.accepted, both.refused)
