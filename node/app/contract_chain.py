"""The payments room's `Chain` over `node/chain`: the one module that knows both."""

import struct
from collections.abc import Mapping, Sequence
from typing import Final

import structlog
import trio

from node.app.stake_chain import stake_fact
from node.chain import channel_events, escrow_events
from node.chain.chain import Chain
from node.chain.contract import Sent
from node.chain.escrow import EscrowState
from node.chain.event_index import EventIndex
from node.chain.event_store import BEGINNING, Position
from node.chain.event_subscription import BlockConfirmed, BlocksReverted, IndexedEvent, Subscription
from node.chain.events import ContractEvent
from node.chain.fees import is_cheap
from node.chain.gateway import Gateway
from node.chain.opening import CheckedBefore
from node.chain.payment_channel import NO_SIGNATURE
from node.payments.claiming import BASE_GAS, CLAIM_GAS
from node.payments.errors import EscrowGone, OutOfGas
from node.payments.ports import Delivery, Fact, FactEvent, Mark, Rewound
from protocol.channel import chain as channel_facts
from protocol.channel.objects import ChannelKey, ChannelRules, Close, Voucher
from protocol.errors import TransientError
from protocol.escrow import record as escrow_facts
from protocol.identity import Address, Digest
from protocol.market.objects import Award
from protocol.settlement.claiming import ClaimCosts
from protocol.signing.signed import Signed
from protocol.task.objects import Acceptance, Receipt, Start
from protocol.units import Amount
from protocol.wire.codec import decode, encode

GAS_OF_A_CALL: Final = 250_000
"""More than any of our calls takes (tests/contracts measures them)."""
HISTORY_BLOCKS: Final = 1024
"""What nodes give at once: three hours and a half of Ethereum."""
WEI: Final = 10**18
ASK_AGAIN_S: Final = 1.0
RULES_BYTES: Final = 256
_PLACE: Final = struct.Struct(">qQQ")

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


class ContractChain:
    """Contracts and event index in one hand, for one wallet."""

    def __init__(
        self, chain: Chain, index: EventIndex, gateway: Gateway, wallet: Address, notes: CheckedBefore | None = None
    ) -> None:
        """Take the parts; `notes` remember the channel contract's constants for a start without the chain."""
        self._chain, self._index, self._gateway, self._wallet = chain, index, gateway, wallet
        self._notes = notes

    @property
    def token(self) -> Address:
        """See `Chain`."""
        return self._chain.deployment.token

    @property
    def channel_contract(self) -> Address:
        """See `Chain`."""
        return self._chain.deployment.payment_channel

    @property
    def escrow_contract(self) -> Address:
        """See `Chain`."""
        return self._chain.deployment.escrow

    def subscribe(self, place: bytes | None) -> "ContractFacts":
        """See `Chain`."""
        return ContractFacts(self._chain, self._gateway, self._index.subscribe(read_place(place)))

    async def rules(self) -> ChannelRules:
        """See `Chain`. They can't change: while the chain is away, those that it told before are as good."""
        name = f"chain.rules/{self.channel_contract.hex()}"
        try:
            rules = await self._gateway.channels.rules()
        except TransientError as error:
            known = await self._notes.get(name) if self._notes is not None else None
            if known is None:
                raise
            log.warning("chain.rules_from_before", reason=str(error))
            return decode(ChannelRules, known, max_bytes=RULES_BYTES)
        if self._notes is not None:
            await self._notes.set(name, encode(rules))
        return rules

    async def next_counter(self, payer: Address) -> int:
        """See `Chain`."""
        return await self._gateway.channels.counter_of(payer) + 1

    async def confirmed_block(self) -> int:
        """See `Chain`."""
        head = await self._chain.head()
        return max(0, head.number - (self._chain.profile.confirmations - 1))

    async def token_balance(self, owner: Address) -> Amount:
        """See `Chain`."""
        return await self._gateway.token.balance_of(owner)

    async def require_gas(self) -> None:
        """See `Chain`."""
        head = await self._chain.head()
        needed = GAS_OF_A_CALL * (head.base_fee + self._chain.profile.min_priority_fee)
        balance = await self._chain.gas_money(self._wallet)
        if balance < needed:
            raise OutOfGas(needed=needed, balance=balance)

    async def locked_for(self, award: Digest, block: int) -> Amount | None:
        """See `Chain`."""
        record = await self._gateway.escrow.record_of(award, at=await self._chain.block(block))
        if record.state is EscrowState.NONE:
            return None
        if record.state is not EscrowState.FUNDED or record.paid:
            raise EscrowGone(f"the escrow of award {award.hex()} is {record.state.name.lower()} already")
        return record.amount

    async def open_channel(self, key: ChannelKey, amount: Amount, *, order: str) -> ChannelKey:
        """See `Chain`."""
        await self._gateway.token.ensure_allowance(self.channel_contract, amount)
        opened = await self._gateway.channels.open(signer=key.signer, payee=key.payee, amount=amount, key=order)
        return key_of(opened)

    async def top_up(self, key: ChannelKey, amount: Amount, *, order: str) -> int:
        """See `Chain`."""
        await self._gateway.token.ensure_allowance(self.channel_contract, amount)
        return _block(await self._gateway.channels.top_up(key, amount, key=order))

    async def claim(self, key: ChannelKey, voucher: Signed[Voucher]) -> int:
        """See `Chain`."""
        return _block(await self._gateway.channels.claim(key, voucher))

    async def claim_batch(self, claims: Sequence[tuple[ChannelKey, Signed[Voucher]]]) -> tuple[int, frozenset[Digest]]:
        """See `Chain`."""
        sent = await self._gateway.channels.claim_batch(self._wallet, self.token, claims)
        skipped = frozenset(event.channel for event in sent.events if isinstance(event, channel_events.ClaimSkipped))
        return _block(sent), skipped

    async def claim_costs(self) -> ClaimCosts:
        """See `Chain`."""
        head, profile = await self._chain.head(), self._chain.profile
        wei = head.base_fee + profile.min_priority_fee
        return ClaimCosts(
            base=_in_tokens(BASE_GAS * wei, profile.coin_price), each=_in_tokens(CLAIM_GAS * wei, profile.coin_price)
        )

    async def is_gas_cheap(self) -> bool:
        """See `Chain`."""
        return is_cheap(await self._chain.base_fees(HISTORY_BLOCKS), cap=self._chain.profile.max_fee)

    async def present(self, key: ChannelKey, voucher: Signed[Voucher]) -> int:
        """See `Chain`."""
        return _block(await self._gateway.channels.present(key, voucher))

    async def start_exit(self, key: ChannelKey) -> int:
        """See `Chain`."""
        return _block(await self._gateway.channels.start_exit(key))

    async def withdraw(self, key: ChannelKey) -> int:
        """See `Chain`."""
        return _block(await self._gateway.channels.withdraw(key))

    async def close(self, key: ChannelKey, close: Signed[Close]) -> int:
        """See `Chain`."""
        return _block(await self._gateway.channels.close(key, close.value, close.signature, NO_SIGNATURE))

    async def fund(self, award: Signed[Award]) -> int:
        """See `Chain`."""
        value = award.value
        await self._gateway.token.ensure_allowance(self.escrow_contract, Amount(value.price + value.dispute_fee))
        return _block(await self._gateway.escrow.fund(award))

    async def release(self, award: Award, acceptance: Signed[Acceptance]) -> int:
        """See `Chain`."""
        return _block(await self._gateway.escrow.release(award, acceptance))

    async def recall(self, award: Award) -> int:
        """See `Chain`."""
        return _block(await self._gateway.escrow.recall(award))

    async def prove_start(self, award: Award, start: Signed[Start]) -> int:
        """See `Chain`."""
        return _block(await self._gateway.escrow.prove_start(award, start))

    async def claim_award(self, award: Award, start: Signed[Start], receipt: Signed[Receipt]) -> int:
        """See `Chain`."""
        return _block(await self._gateway.escrow.claim(award, start, receipt))

    async def pay_claim(self, award: Award) -> int:
        """See `Chain`."""
        return _block(await self._gateway.escrow.pay_claim(award))

    async def dispute(self, award: Award) -> int:
        """See `Chain`."""
        return _block(await self._gateway.escrow.dispute(award))

    async def split(self, award: Award) -> int:
        """See `Chain`."""
        return _block(await self._gateway.escrow.split(award))

    async def refund(self, award: Award) -> int:
        """See `Chain`."""
        return _block(await self._gateway.escrow.refund(award))

    async def credits_of(self, owner: Address) -> Mapping[Address, Amount]:
        """See `Chain`."""
        return {
            self.channel_contract: Amount(await self._gateway.channels.credit_of(owner)),
            self.escrow_contract: Amount(await self._gateway.escrow.credit_of(owner)),
        }

    async def withdraw_credit(self, contract: Address, to: Address) -> int:
        """See `Chain`."""
        if contract == self.escrow_contract:
            return _block(await self._gateway.escrow.withdraw_credit(to))
        return _block(await self._gateway.channels.withdraw_credit(to))


class ContractFacts:
    """A subscription of the event index, in the words of the money machines."""

    def __init__(self, chain: Chain, gateway: Gateway, subscription: Subscription) -> None:
        self._chain, self._gateway, self._subscription = chain, gateway, subscription

    async def receive(self) -> Delivery:
        """See `Facts`."""
        while True:
            match await self._subscription.receive():
                case IndexedEvent() as indexed:
                    fact = await self._fact_at_last(indexed)
                    if fact is not None:
                        return fact
                case BlockConfirmed(number=number, time=time, position=position):
                    return Mark(number=number, time=time, place=write_place(position))
                case BlocksReverted(to=to, position=position):
                    return Rewound(to=to, place=write_place(position))

    async def _fact_at_last(self, indexed: IndexedEvent) -> Fact | None:
        """Return the fact, asking for as long as it takes: none is skipped, and a chain that is away stops nobody."""
        while not self._subscription.is_reverted:
            try:
                return await self._fact(indexed)
            except TransientError as error:
                log.warning("chain.fact_waits", block=indexed.position.block, reason=str(error))
                await trio.sleep(ASK_AGAIN_S)
        return None  # its block is lost, and that is told next

    async def _fact(self, indexed: IndexedEvent) -> Fact | None:
        event, position = indexed.event, indexed.position
        if isinstance(event, channel_events.HoldEnforced):
            told: tuple[Digest, FactEvent] | None = event.channel, await self._enforced(event, position.block)
        else:
            told = channel_fact(event) or escrow_fact(event) or stake_fact(event)
        if told is None:
            return None
        return Fact(block=position.block, index=position.index, subject=told[0], event=told[1])

    async def _enforced(self, event: channel_events.HoldEnforced, block: int) -> channel_facts.EnforceConfirmed:
        """The event does not say what stays reserved: the contract does, in the state after its block."""
        at = await self._chain.block(block)
        state = await self._gateway.channels.state_of(event.channel, at=at)
        return channel_facts.EnforceConfirmed(
            award=event.award,
            to_payee=event.to_payee,
            to_arbiter=event.to_arbiter,
            reserved=Amount(state.base + state.held if state.held else 0),
        )


def read_place(place: bytes | None) -> Position:
    """Return the position that a reader remembered; None for the first."""
    if place is None:
        return BEGINNING
    block, index, epoch = _PLACE.unpack(place)
    return Position(block=block, index=index, epoch=epoch)


def write_place(position: Position) -> bytes:
    """Return a position as what a reader remembers."""
    return _PLACE.pack(position.block, position.index, position.epoch)


def channel_fact(event: ContractEvent) -> tuple[Digest, channel_facts.ChainEvent] | None:
    """Return the channel that an event is about and what it says of it, or None."""
    match event:
        case channel_events.ChannelOpened(channel=channel):
            return channel, channel_facts.OpenConfirmed(key=key_of(event), deposit=event.deposit)
        case channel_events.ToppedUp(channel=channel):
            return channel, channel_facts.TopUpConfirmed(deposit=event.deposit)
        case channel_events.ChannelClaimed(channel=channel):
            return channel, channel_facts.ClaimConfirmed(claimed=event.claimed)
        case channel_events.HoldsPresented(channel=channel):
            presented = channel_facts.PresentConfirmed(
                sequence=event.sequence, cumulative=event.cumulative, held=event.held
            )
            return channel, presented
        case channel_events.ExitStarted(channel=channel):
            return channel, channel_facts.ExitConfirmed(exits_at=event.exits_at)
        case channel_events.Withdrawn(channel=channel):
            return channel, channel_facts.WithdrawConfirmed(amount=event.amount)
        case channel_events.ChannelClosed(channel=channel):
            return channel, channel_facts.CloseConfirmed(to_payee=event.to_payee)
        case _:
            return None


def escrow_fact(event: ContractEvent) -> tuple[Digest, escrow_facts.ChainEvent] | None:
    """Return the award that an event is about and what it says of its escrow, or None."""
    match event:
        case escrow_events.AwardFunded(award=award):
            return award, escrow_facts.FundConfirmed(amount=event.amount)
        case escrow_events.AwardRecalled(award=award):
            return award, escrow_facts.RecallConfirmed(start_proof_by=event.start_proof_by)
        case escrow_events.AwardStarted(award=award):
            return award, escrow_facts.StartConfirmed()
        case escrow_events.AwardReleased(award=award):
            return award, escrow_facts.ReleaseConfirmed(part=event.part, paid=event.paid)
        case escrow_events.AwardClaimed(award=award):
            claimed = escrow_facts.ClaimConfirmed(
                part=event.part, due=event.due, receipt=event.receipt, dispute_by=event.dispute_by
            )
            return award, claimed
        case escrow_events.AwardClaimAccepted(award=award):
            return award, escrow_facts.ClaimAcceptedConfirmed()
        case escrow_events.AwardDisputed(award=award):
            return award, escrow_facts.DisputeConfirmed(opener=event.opener, resolve_by=event.resolve_by)
        case escrow_events.AwardClosed(award=award):
            closed = escrow_facts.CloseConfirmed(
                outcome=escrow_facts.Outcome(event.outcome),
                to_provider=event.to_provider,
                to_requester=event.to_requester,
                to_arbiter=event.to_arbiter,
            )
            return award, closed
        case _:
            return None


def key_of(opened: channel_events.ChannelOpened) -> ChannelKey:
    """Return the key of a channel that was opened."""
    return ChannelKey(
        payer=opened.payer, signer=opened.signer, payee=opened.payee, token=opened.token, counter=opened.counter
    )


def _in_tokens(wei: int, coin_price: Amount) -> Amount:
    """Return what so many wei are worth, rounded up."""
    return Amount(-(-wei * coin_price // WEI))


def _block(sent: Sent) -> int:
    return sent.receipt.block
