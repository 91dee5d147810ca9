"""Everybody's money and stake in one place, and what each side of a payment sees of it."""

from dataclasses import dataclass, field
from typing import TypeVar

import trio

from protocol.errors import ProtocolError
from protocol.identity import Address, Digest
from protocol.market.objects import Award, Offer
from protocol.settlement.rail import Rail, RailChoice
from protocol.signing.ecdsa import address_of
from protocol.signing.eip712 import Domain
from protocol.signing.keccak import keccak256
from protocol.signing.signed import Signed, sign_struct
from protocol.task.messages import VoucherNotice
from protocol.task.objects import Acceptance, Receipt, Start
from protocol.units import Amount
from tests.node.market.fake_hub import LATENCY_S, Unreachable

T = TypeVar("T")
DOMAIN = Domain(chain_id=31337, verifying_contract=Address(b"\xee" * 20))
TOKEN = Address(b"\x70" * 20)


class FakeSigning:
    """A wallet without caps."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.address = address_of(key)

    def sign(self, value: T) -> Signed[T]:
        return sign_struct(self._key, DOMAIN, value)

    async def sign_award(self, award: Award) -> Signed[Award]:
        await trio.lowlevel.checkpoint()
        return sign_struct(self._key, DOMAIN, award)

    async def sign_acceptance(self, acceptance: Acceptance, award: Award) -> Signed[Acceptance]:
        await trio.lowlevel.checkpoint()
        assert acceptance.due <= award.price
        return sign_struct(self._key, DOMAIN, acceptance)


@dataclass(kw_only=True)
class Bank:
    """Everybody's money. A hold leaves the requester's purse, a payment reaches the provider's."""

    purses: dict[Address, int] = field(default_factory=dict[Address, int])
    held: dict[Digest, int] = field(default_factory=dict[Digest, int])
    paid: dict[Digest, int] = field(default_factory=dict[Digest, int])
    refuses: bool = False

    def total(self) -> int:
        return sum(self.purses.values()) + sum(self.held.values())


@dataclass(kw_only=True)
class FakeStakes:
    """What one node sees of everybody's stake; `away` while it can't see the chain."""

    free: dict[Address, int] = field(default_factory=dict[Address, int])
    away: bool = False

    async def free_of(self, owner: Address) -> Amount:
        await trio.sleep(LATENCY_S)
        if self.away:
            raise Unreachable("the chain is away")
        return Amount(self.free.get(owner, 0))


class FakePayerRails:
    """The requester's side of the bank."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank

    async def plan(self, provider: Address | None, price: Amount, offer: Offer) -> RailChoice:
        await trio.lowlevel.checkpoint()
        return RailChoice(rail=Rail.CHANNEL, reason="the only rail here", top_up=Amount(0))

    def contract_of(self, rail: Rail) -> Address:
        assert rail is Rail.CHANNEL
        return DOMAIN.verifying_contract

    async def prepare(self, provider: Address, price: Amount, offer: Offer) -> Digest:
        assert price <= offer.budget
        await trio.sleep(LATENCY_S)
        return keccak256(offer.requester + provider)

    async def fund(self, award: Signed[Award], award_id: Digest) -> VoucherNotice | None:
        await trio.sleep(LATENCY_S)
        if self._bank.refuses:
            raise ProtocolError("the purse is empty")
        if award_id not in self._bank.held:
            self._bank.purses[award.value.requester] -= award.value.price
            self._bank.held[award_id] = award.value.price
        return None

    async def wait_backed(self, award: Signed[Award], award_id: Digest) -> None:
        await trio.lowlevel.checkpoint()

    async def pay(
        self, award: Signed[Award], award_id: Digest, acceptance: Signed[Acceptance], *, last: bool
    ) -> VoucherNotice | None:
        await trio.lowlevel.checkpoint()
        before = self._bank.paid.get(award_id, 0)
        more = acceptance.value.due - before
        if more > 0:
            self._bank.held[award_id] -= more
            self._bank.paid[award_id] = acceptance.value.due
            self._bank.purses[award.value.provider] += more
        assert last or self._bank.held[award_id] >= 0
        return None

    async def close(self, award: Signed[Award], award_id: Digest) -> VoucherNotice | None:
        await trio.lowlevel.checkpoint()
        rest = self._bank.held.pop(award_id, 0)
        self._bank.purses[award.value.requester] += rest
        return None


class FakePayeeRails:
    """The provider's side of the bank."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self.settled: list[Digest] = []

    async def receive_funding(self, award: Signed[Award], award_id: Digest, notice: VoucherNotice | None) -> None:
        await trio.lowlevel.checkpoint()

    async def wait_funded(self, award: Signed[Award], award_id: Digest) -> None:
        while self._bank.held.get(award_id, 0) < award.value.price:
            await trio.sleep(LATENCY_S)

    async def receive_payment(
        self, award: Signed[Award], award_id: Digest, acceptance: Signed[Acceptance], notice: VoucherNotice | None
    ) -> None:
        await trio.lowlevel.checkpoint()
        if self._bank.paid.get(award_id, 0) < acceptance.value.due:
            raise ProtocolError("the acceptance came without its money")

    async def note_start(self, award: Signed[Award], award_id: Digest, start: Signed[Start]) -> None:
        await trio.lowlevel.checkpoint()

    async def note_receipt(self, award: Signed[Award], award_id: Digest, receipt: Signed[Receipt]) -> None:
        await trio.lowlevel.checkpoint()

    async def settle(
        self,
        award: Signed[Award],
        award_id: Digest,
        start: Signed[Start] | None,
        accepted: Signed[Acceptance] | None,
        unpaid: Signed[Receipt] | None,
    ) -> None:
        await trio.lowlevel.checkpoint()
        self.settled.append(award_id)
