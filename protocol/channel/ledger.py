"""What a payer has promised and paid in one channel, from which its voucher follows (docs/spec/channel.md, CH3)."""

from dataclasses import dataclass, replace

from protocol.channel.errors import AwardConflict, PaymentAboveHold, TooManyHolds, UnknownAward
from protocol.channel.holds import MAX_HOLDS, build_voucher
from protocol.channel.objects import Hold, Voucher
from protocol.identity import Address, Digest
from protocol.units import Amount, Uint64, format_amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What one award may cost, and what was paid of its price."""

    award: Digest
    arbiter: Address
    price: Amount
    dispute_fee: Amount
    paid: Amount = Amount(0)

    @property
    def amount(self) -> Amount:
        """Return the amount of its hold: what is not yet paid of price and fee."""
        return Amount(self.price + self.dispute_fee - self.paid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """One growing voucher.

    Attributes:
        sequence: Of the newest voucher; 0 while there is none.
        cumulative: Everything ever paid.
        promises: By award, ascending. One that is fully paid stays until it is released.
        acknowledged: Highest sequence that the payee said it holds.
    """

    sequence: Uint64 = 0
    cumulative: Amount = Amount(0)
    promises: tuple[Promise, ...] = ()
    acknowledged: Uint64 = 0

    @property
    def holds(self) -> tuple[Hold, ...]:
        """Return the holds of the newest voucher, sorted; a hold of nothing is left out."""
        return tuple(
            Hold(award=each.award, arbiter=each.arbiter, amount=each.amount) for each in self.promises if each.amount
        )

    @property
    def held(self) -> int:
        """Return the sum of the holds."""
        return sum(each.amount for each in self.promises)

    def voucher(self, channel: Digest) -> Voucher:
        """Return the newest voucher."""
        return build_voucher(channel, self.sequence, self.cumulative, self.holds)

    def find(self, award: Digest) -> Promise:
        """Return the promise to `award`.

        Raises:
            UnknownAward: There is none.
        """
        for each in self.promises:
            if each.award == award:
                return each
        raise UnknownAward(f"this channel has no hold for award {award.hex()}")


def promise(ledger: Ledger, award: Digest, arbiter: Address, price: Amount, dispute_fee: Amount) -> Ledger:
    """Add a promise. The same one again changes nothing.

    Raises:
        AwardConflict: This award was promised on other terms.
        TooManyHolds: The voucher could not carry it.
    """
    new = Promise(award=award, arbiter=arbiter, price=price, dispute_fee=dispute_fee)
    old = next((each for each in ledger.promises if each.award == award), None)
    if old is not None:
        if replace(old, paid=Amount(0)) != new:
            raise AwardConflict(f"award {award.hex()} is already promised on other terms")
        return ledger
    if len(ledger.promises) >= MAX_HOLDS:
        raise TooManyHolds(f"{MAX_HOLDS} tasks are in flight in this channel; wait until one is paid")
    promises = tuple(sorted((*ledger.promises, new), key=lambda each: each.award))
    return replace(ledger, promises=promises, sequence=ledger.sequence + 1)


def pay(ledger: Ledger, award: Digest, due: Amount) -> Ledger:
    """Lift what was paid for `award` to `due`: its hold shrinks by what `cumulative` grows (M3).

    A running total at or below what was paid is a repeat and changes nothing (C6).

    Raises:
        UnknownAward: There is no hold for it.
        PaymentAboveHold: `due` is above the award's price.
    """
    old = ledger.find(award)
    if due > old.price:
        raise PaymentAboveHold(
            f"{format_amount(due)} is due for award {award.hex()}, its price is {format_amount(old.price)}"
        )
    if due <= old.paid:
        return ledger
    promises = tuple(replace(each, paid=due) if each is old else each for each in ledger.promises)
    cumulative = Amount(ledger.cumulative + due - old.paid)
    return replace(ledger, promises=promises, cumulative=cumulative, sequence=ledger.sequence + 1)


def release(ledger: Ledger, award: Digest) -> Ledger:
    """Drop the promise to `award`. One that is not there was released before: nothing changes."""
    kept = tuple(each for each in ledger.promises if each.award != award)
    if len(kept) == len(ledger.promises):
        return ledger
    return replace(ledger, promises=kept, sequence=ledger.sequence + 1)


def acknowledge(ledger: Ledger, sequence: Uint64) -> Ledger:
    """Note that the payee holds voucher `sequence`; a number that was never signed says nothing."""
    if not ledger.acknowledged < sequence <= ledger.sequence:
        return ledger
    return replace(ledger, acknowledged=sequence)
