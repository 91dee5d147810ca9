"""A chain of its own for a simulation: blocks every few seconds, a mempool, reorganisations, lost touch.

Blocks hold calls of `contracts_model`. A call counts once `CONFIRMATIONS` blocks stand on it; a reorganisation takes
back up to `DEEPEST_REORG` blocks, fewer than that, and their calls wait again, in another order.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

import trio

from node.operations.clock import TrioClock
from node.payments.errors import EscrowGone
from node.payments.ports import Delivery, Fact, Mark
from protocol.channel.objects import ChannelKey, ChannelRules, Close, Voucher, channel_id
from protocol.errors import ChainRejected, TransientError
from protocol.identity import Address, Digest
from protocol.market.objects import Award
from protocol.settlement.claiming import ClaimCosts
from protocol.signing.eip712 import digest
from protocol.signing.signed import Signed
from protocol.task.objects import Acceptance, Receipt, Start
from protocol.units import Amount, UnixTime
from tests.simulation import contracts_model as model
from tests.simulation.contracts_model import Call, Contracts, EscrowState, Rules, Told

BLOCK_S: Final = 2.0
CONFIRMATIONS: Final = 7
DEEPEST_REORG: Final = 6
_PLACE: Final = struct.Struct(">Q")


class ChainAway(TransientError):
    """This node's way to the chain is cut."""


@dataclass(eq=False, kw_only=True)
class Sent:
    """A call on its way, and what became of it; known by `key` for ever, as a transaction log would keep it."""

    sender: Address
    key: tuple[object, ...]
    call: Call
    block: int = 0
    told: list[Told] = field(default_factory=list[Told])
    refusal: str = ""


@dataclass(frozen=True, kw_only=True)
class Block:
    """What happened, and the state afterwards."""

    number: int
    time: int
    sent: tuple[Sent, ...]
    facts: tuple[Told, ...]
    state: Contracts


class SimulatedChain:
    """The one chain of a simulation."""

    def __init__(self, rules: Rules, clock: TrioClock, chance: Random) -> None:
        self.rules, self._clock, self._chance = rules, clock, chance
        genesis = Block(number=0, time=int(clock.now()), sent=(), facts=(), state=Contracts(rules=rules))
        self.blocks = [genesis]
        self.waiting: list[Sent] = []
        self.is_stuck = False
        """No blocks come."""
        self._known: dict[tuple[object, ...], Sent] = {}
        self._grew = trio.Event()
        self.calls = 0

    @property
    def state(self) -> Contracts:
        """The newest state; tests read it, nodes only what is confirmed."""
        return self.blocks[-1].state

    @property
    def confirmed(self) -> Block:
        """The newest block that counts."""
        return self.blocks[max(0, len(self.blocks) - 1 - CONFIRMATIONS)]

    def mint(self, owner: Address, amount: int) -> None:
        """Give tokens at the beginning."""
        self.blocks[0].state.tokens[owner] = amount

    async def run(self) -> None:
        """Make blocks for ever."""
        while True:
            await trio.sleep(BLOCK_S)
            if not self.is_stuck:
                self._extend()

    async def next_block(self) -> None:
        """Wait until the chain grew or changed."""
        await self._grew.wait()

    def reorganise(self, depth: int) -> None:
        """Take back the newest blocks; as many others, and one more, take their place at once."""
        depth = min(depth, DEEPEST_REORG, len(self.blocks) - 1)
        if depth == 0:
            return
        orphaned = [sent for block in self.blocks[-depth:] for sent in block.sent]
        del self.blocks[-depth:]
        for sent in orphaned:
            sent.block, sent.told, sent.refusal = 0, [], ""
        self.waiting[:0] = _interleave(orphaned, self._chance)
        for _ in range(depth + 1):
            self._extend(most=self._chance.randrange(1 + len(self.waiting)))

    def send(self, sender: Address, key: tuple[object, ...], call: Call) -> Sent:
        """Put a call into the mempool, once for one key unless it was refused."""
        full = (sender, *key)
        known = self._known.get(full)
        if known is None or known.refusal:
            known = self._known[full] = Sent(sender=sender, key=full, call=call)
            self.waiting.append(known)
            self.calls += 1
        return known

    def _extend(self, most: int | None = None) -> None:
        parent = self.blocks[-1]
        time = max(parent.time + 1, int(self._clock.now()))
        state, facts, included = parent.state, list[Told](), list[Sent]()
        taken = self.waiting if most is None else self.waiting[:most]
        for sent in list(taken):
            attempt = state.copy()
            try:
                sent.told = sent.call(attempt, sent.sender, time)
            except ChainRejected as error:
                sent.refusal = str(error)
                sent.told = []
            else:
                state = attempt
            sent.block = len(self.blocks)
            facts += sent.told
            included.append(sent)
            self.waiting.remove(sent)
        self.blocks.append(
            Block(number=len(self.blocks), time=time, sent=tuple(included), facts=tuple(facts), state=state)
        )
        grew, self._grew = self._grew, trio.Event()
        grew.set()


def _interleave(calls: list[Sent], chance: Random) -> list[Sent]:
    """Return the calls in another order; those of one sender keep theirs, as their nonces demand."""
    queues: dict[Address, list[Sent]] = {}
    for sent in calls:
        queues.setdefault(sent.sender, []).append(sent)
    senders = [sent.sender for sent in calls]
    chance.shuffle(senders)
    return [queues[sender].pop(0) for sender in senders]


class WalletChain:
    """The chain as one wallet's payments see it: `node.payments.ports.Chain`."""

    def __init__(self, chain: SimulatedChain, wallet: Address, token: Address, is_away: Callable[[], bool]) -> None:
        self._chain, self._wallet, self.token, self._is_away = chain, wallet, token, is_away

    @property
    def channel_contract(self) -> Address:
        """See `Chain`."""
        return self._chain.rules.channel

    @property
    def escrow_contract(self) -> Address:
        """See `Chain`."""
        return self._chain.rules.escrow

    def subscribe(self, place: bytes | None) -> "WalletFacts":
        """See `Chain`."""
        return WalletFacts(self._chain, self._is_away, 0 if place is None else _PLACE.unpack(place)[0])

    async def rules(self) -> ChannelRules:
        """See `Chain`: constants, which a node may keep."""
        await trio.lowlevel.checkpoint()
        return ChannelRules(challenge=self._chain.rules.challenge, hold_period=self._chain.rules.hold_period)

    async def next_counter(self, payer: Address) -> int:
        """See `Chain`."""
        return (await self._read()).counters.get(payer, 0) + 1

    async def confirmed_block(self) -> int:
        """See `Chain`."""
        await self._read()
        return self._chain.confirmed.number

    async def token_balance(self, owner: Address) -> Amount:
        """See `Chain`."""
        return Amount((await self._read()).tokens.get(owner, 0))

    async def require_gas(self) -> None:
        """See `Chain`: fees are outside this model."""
        await self._read()

    async def locked_for(self, award: Digest, block: int) -> Amount | None:
        """See `Chain`."""
        await self._read()
        record = self._chain.blocks[min(block, len(self._chain.blocks) - 1)].state.escrows.get(award)
        if record is None:
            return None
        if record.state is not EscrowState.FUNDED or record.paid:
            raise EscrowGone("the escrow went on already")
        return Amount(record.amount)

    async def open_channel(self, key: ChannelKey, amount: Amount, *, order: str) -> ChannelKey:
        """See `Chain`."""
        sent = await self._send(("open", order), model.open_channel(key.signer, key.payee, self.token, amount))
        channel = sent.told[0][0]
        for counter in range(1, self._chain.state.counters[self._wallet] + 1):
            opened = ChannelKey(payer=key.payer, signer=key.signer, payee=key.payee, token=key.token, counter=counter)
            if channel_id(opened) == channel:
                return opened
        raise AssertionError("the channel that was opened has no counter")

    async def top_up(self, key: ChannelKey, amount: Amount, *, order: str) -> int:
        """See `Chain`."""
        return (await self._send(("top-up", order), model.top_up(channel_id(key), amount))).block

    async def claim(self, key: ChannelKey, voucher: Signed[Voucher]) -> int:
        """See `Chain`."""
        channel = channel_id(key)
        return (await self._send(("claim", voucher.signature), model.claim(channel, voucher))).block

    async def claim_batch(self, claims: Sequence[tuple[ChannelKey, Signed[Voucher]]]) -> tuple[int, frozenset[Digest]]:
        """See `Chain`."""
        pairs = [(channel_id(key), voucher) for key, voucher in claims]
        name = ("claim-batch", *(voucher.signature for _, voucher in pairs))
        sent = await self._send(name, model.claim_batch(pairs))
        return sent.block, frozenset(channel for channel, _ in pairs) - {channel for channel, _ in sent.told}

    async def claim_costs(self) -> ClaimCosts:
        """See `Chain`: fees are outside this model; they are what makes claims go now and then."""
        await self._read()
        return ClaimCosts(base=Amount(1_000), each=Amount(300))

    async def is_gas_cheap(self) -> bool:
        """See `Chain`: it changes from hour to hour."""
        await self._read()
        return len(self._chain.blocks) // 7 % 2 == 0

    async def present(self, key: ChannelKey, voucher: Signed[Voucher]) -> int:
        """See `Chain`."""
        return (await self._send(("present", voucher.signature), model.present(channel_id(key), voucher))).block

    async def start_exit(self, key: ChannelKey) -> int:
        """See `Chain`."""
        return (await self._send(("exit", channel_id(key)), model.start_exit(channel_id(key)))).block

    async def withdraw(self, key: ChannelKey) -> int:
        """See `Chain`: may be needed more than once, as holds end."""
        return (await self._send(("withdraw", channel_id(key), object()), model.withdraw(channel_id(key)))).block

    async def close(self, key: ChannelKey, close: Signed[Close]) -> int:
        """See `Chain`."""
        return (await self._send(("close", close.signature), model.close_channel(channel_id(key), close))).block

    async def fund(self, award: Signed[Award]) -> int:
        """See `Chain`."""
        return (await self._send(("fund", award.signature), model.fund(award))).block

    async def release(self, award: Award, acceptance: Signed[Acceptance]) -> int:
        """See `Chain`."""
        return (await self._send(("release", acceptance.signature), model.release(award, acceptance))).block

    async def recall(self, award: Award) -> int:
        """See `Chain`."""
        return (await self._send(("recall", self._id(award)), model.recall(award))).block

    async def prove_start(self, award: Award, start: Signed[Start]) -> int:
        """See `Chain`."""
        return (await self._send(("prove-start", self._id(award)), model.prove_start(award, start))).block

    async def claim_award(self, award: Award, start: Signed[Start], receipt: Signed[Receipt]) -> int:
        """See `Chain`."""
        return (await self._send(("claim-award", receipt.signature), model.claim_award(award, start, receipt))).block

    async def pay_claim(self, award: Award) -> int:
        """See `Chain`."""
        return (await self._send(("pay-claim", self._id(award)), model.pay_claim(award))).block

    async def dispute(self, award: Award) -> int:
        """See `Chain`."""
        return (await self._send(("dispute", self._id(award)), model.dispute(award))).block

    async def split(self, award: Award) -> int:
        """See `Chain`."""
        return (await self._send(("split", self._id(award)), model.split(award))).block

    async def refund(self, award: Award) -> int:
        """See `Chain`."""
        return (await self._send(("refund", self._id(award)), model.refund(award))).block

    async def credits_of(self, owner: Address) -> Mapping[Address, Amount]:
        """See `Chain`: the token of this model refuses nobody."""
        del owner
        await self._read()
        return {}

    async def withdraw_credit(self, contract: Address, to: Address) -> int:
        """See `Chain`."""
        raise ChainRejected(f"no credit of {to.hex()} in {contract.hex()}")

    def _id(self, award: Award) -> Digest:
        return digest(self._chain.rules.market, award)

    async def _read(self) -> Contracts:
        await trio.lowlevel.checkpoint()
        if self._is_away():
            raise ChainAway("the chain can't be reached")
        return self._chain.confirmed.state

    async def _send(self, key: tuple[object, ...], call: Call) -> Sent:
        """Send and wait until it is confirmed, however long that takes; refused only once that is confirmed too."""
        while self._is_away():
            await self._chain.next_block()
        sent = self._chain.send(self._wallet, key, call)
        while not (0 < sent.block <= self._chain.confirmed.number) or self._is_away():
            await self._chain.next_block()
        if sent.refusal:
            raise ChainRejected(sent.refusal)
        return sent


class WalletFacts:
    """One reader's way through the confirmed blocks."""

    def __init__(self, chain: SimulatedChain, is_away: Callable[[], bool], after: int) -> None:
        self._chain, self._is_away = chain, is_away
        self._block, self._index = after + 1, 0

    async def receive(self) -> Delivery:
        """See `Facts`."""
        while self._is_away() or self._chain.confirmed.number < self._block:
            await self._chain.next_block()
        await trio.lowlevel.checkpoint()
        block = self._chain.blocks[self._block]
        if self._index < len(block.facts):
            subject, event = block.facts[self._index]
            self._index += 1
            return Fact(block=block.number, index=self._index - 1, subject=subject, event=event)
        self._block, self._index = self._block + 1, 0
        return Mark(number=block.number, time=UnixTime(block.time), place=_PLACE.pack(block.number))
