"""A channel contract with state, as IPaymentChannel.sol describes it, and the keys of its parties."""

from collections.abc import Callable
from dataclasses import dataclass, field

from protocol.channel.chain import (
    BlockSeen,
    ChainEvent,
    ClaimConfirmed,
    CloseConfirmed,
    EnforceConfirmed,
    ExitConfirmed,
    OpenConfirmed,
    PresentConfirmed,
    TopUpConfirmed,
    WithdrawConfirmed,
)
from protocol.channel.objects import ChannelKey, ChannelRules, Close, Hold, Voucher, channel_id
from protocol.identity import Address, Digest
from protocol.signing.ecdsa import address_of
from protocol.signing.eip712 import Domain
from protocol.signing.signed import Signed, signer_of
from protocol.units import Amount, Seconds, UnixTime

PAYER, PAYEE, ARBITER, STRANGER = (bytes([n]) * 32 for n in (1, 2, 3, 4))
DOMAIN = Domain(chain_id=31337, verifying_contract=address_of(STRANGER))
RULES = ChannelRules(challenge=Seconds(43), hold_period=Seconds(1000))
KEY = ChannelKey(
    payer=address_of(PAYER),
    signer=address_of(PAYER),
    payee=address_of(PAYEE),
    token=address_of(STRANGER),
    counter=1,
)
CHANNEL = channel_id(KEY)
JUDGE: Address = address_of(ARBITER)


def award(number: int) -> Digest:
    return Digest(number.to_bytes(32))


class Reverted(Exception):
    """The contract said no."""


@dataclass
class FakeChannel:
    """The contract. `tell` hands each confirmed event to both sides; `paid_in` and `out` are where the money went."""

    tell: Callable[[ChainEvent], None]
    time: int = 1000
    paid_in: int = 0
    deposit: int = 0
    claimed: int = 0
    exits_at: int = 0
    sequence: int = 0
    held: int = 0
    base: int = 0
    holds: dict[Digest, Hold] = field(default_factory=dict[Digest, Hold])
    enforced_on: dict[Digest, int] = field(default_factory=dict[Digest, int])
    greatest: int = 0
    closed: bool = False
    reserved_until: int = 0
    out: dict[str, int] = field(default_factory=lambda: {"payer": 0, "payee": 0, "arbiter": 0})

    @property
    def reserved(self) -> int:
        return self.base + self.held if self.held else 0

    @property
    def balance(self) -> int:
        return self.deposit - self.claimed

    def open(self, amount: int) -> None:
        self.paid_in = self.deposit = amount
        self.tell(OpenConfirmed(key=KEY, deposit=Amount(amount)))

    def top_up(self, amount: int) -> None:
        self._need(not self.closed and not self.exits_at)
        self.paid_in += amount
        self.deposit += amount
        self.tell(TopUpConfirmed(deposit=Amount(self.deposit)))

    def advance(self, seconds: int) -> None:
        self.time += seconds
        self.tell(BlockSeen(time=UnixTime(self.time)))

    def claim(self, signed: Signed[Voucher]) -> None:
        self._check(signed)
        self._pay(signed.value.cumulative)

    def present(self, signed: Signed[Voucher], holds: tuple[Hold, ...]) -> None:
        self._check(signed)
        self._need(signed.value.sequence > self.sequence)
        self.sequence, self.base, self.held = signed.value.sequence, signed.value.cumulative, signed.value.held
        self.holds = {hold.award: hold for hold in holds}
        self.tell(PresentConfirmed(sequence=self.sequence, cumulative=Amount(self.base), held=Amount(self.held)))
        self._pay(signed.value.cumulative)

    def start_exit(self) -> None:
        self._need(not self.closed and not self.exits_at)
        self.exits_at = self.time + RULES.challenge
        self.reserved_until = self.exits_at + RULES.hold_period
        self.tell(ExitConfirmed(exits_at=UnixTime(self.exits_at)))

    def withdraw(self) -> None:
        self._need(not self.closed)
        self._need(bool(self.exits_at) and self.time > self.exits_at)
        kept = self.claimed if self.time > self.reserved_until else max(self.claimed, self.reserved)
        amount = self.deposit - min(kept, self.deposit)
        self._need(bool(amount) or kept == self.claimed)
        self.deposit -= amount
        self.out["payer"] += amount
        self.tell(WithdrawConfirmed(amount=Amount(amount)))
        self._close_if_empty()

    def close(self, signed: Signed[Close]) -> None:
        agreed = signed.value
        self._need(not self.closed and signer_of(DOMAIN, signed) == KEY.signer and agreed.channel == CHANNEL)
        self._need(self.time <= agreed.close_by and self.claimed <= agreed.cumulative <= self.deposit)
        self.out["payee"] += agreed.cumulative - self.claimed
        self.out["payer"] += self.deposit - agreed.cumulative
        self.deposit = self.claimed = agreed.cumulative
        self._close_if_empty()

    def enforce(self, of: Digest, price: int, fee: int, due: int, *, requester_lost: bool) -> None:
        self._need(not self.closed and of in self.holds and self.enforced_on.get(of) != self.sequence)
        hold = self.holds[of]
        paid = price + fee - hold.amount
        self._need(paid >= 0 and hold.amount <= self.held)
        owed = max(0, min(due, price) - paid)
        had_its_fee = of in self.enforced_on
        self.enforced_on[of] = self.sequence
        self.held -= hold.amount
        self.base += owed
        self.greatest = max(self.greatest, self.base)
        to_payee = max(0, min(self.base, self.deposit) - self.claimed)
        self.claimed += to_payee
        self.out["payee"] += to_payee
        to_arbiter = min(fee, hold.amount - owed, self.balance) if requester_lost and not had_its_fee else 0
        self.deposit -= to_arbiter
        self.out["arbiter"] += to_arbiter
        if not self.exits_at:
            self.exits_at = self.time + RULES.challenge
            self.reserved_until = self.exits_at + RULES.hold_period
            self.tell(ExitConfirmed(exits_at=UnixTime(self.exits_at)))
        self.tell(
            EnforceConfirmed(
                award=of, to_payee=Amount(to_payee), to_arbiter=Amount(to_arbiter), reserved=Amount(self.reserved)
            )
        )
        self._close_if_empty()

    def _pay(self, cumulative: int) -> None:
        amount = min(cumulative, self.deposit) - self.claimed
        if amount > 0:
            self.claimed += amount
            self.out["payee"] += amount
            self.tell(ClaimConfirmed(claimed=Amount(self.claimed)))

    def _close_if_empty(self) -> None:
        if not self.balance:
            self.closed = True
            self.tell(CloseConfirmed(to_payee=Amount(self.claimed)))

    def _check(self, signed: Signed[Voucher]) -> None:
        self._need(not self.closed and signer_of(DOMAIN, signed) == KEY.signer and signed.value.channel == CHANNEL)

    @staticmethod
    def _need(condition: bool) -> None:  # noqa: FBT001
        if not condition:
            raise Reverted
