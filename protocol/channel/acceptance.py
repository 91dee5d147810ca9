"""Whether a payee takes a voucher, and what it then pays for (docs/spec/channel.md, section 4)."""

from collections.abc import Sequence
from dataclasses import replace

from protocol.channel.errors import (
    ConflictingVoucher,
    CumulativeFell,
    HoldMissing,
    Overdrawn,
    StaleVoucher,
    WrongChannel,
)
from protocol.channel.holds import find_hold, verify_holds
from protocol.channel.objects import Hold, Voucher
from protocol.channel.receiving import Engagement, Purse
from protocol.settlement.deadlines import is_over
from protocol.signing.signed import Signed, verify_signer
from protocol.units import Amount, format_amount


def is_repeat(purse: Purse, signed: Signed[Voucher]) -> bool:
    """Tell whether this is the very voucher that is held: a repeat, to be acknowledged again."""
    return purse.best is not None and purse.best.value == signed.value


def accept_voucher(purse: Purse, signed: Signed[Voucher], holds: Sequence[Hold]) -> Purse:
    """Check a new voucher in full, and return the purse with it. The cheap checks come first.

    Raises:
        WrongChannel: For another channel.
        StaleVoucher: Older than the one held.
        BadSignature: Not the channel signer's.
        ConflictingVoucher: The payer signed another voucher with the sequence of the one held.
        HoldsMismatch: The holds are not canonical, or not what the voucher names.
        CumulativeFell: It takes back what was paid.
        Overdrawn: It promises more than the confirmed deposit.
        HoldMissing: It touches a hold of an award taken, without paying for it.
    """
    voucher = signed.value
    if voucher.channel != purse.channel:
        raise WrongChannel(f"a voucher for channel {voucher.channel.hex()} came to {purse.channel.hex()}")
    if not voucher.sequence or voucher.sequence < purse.sequence:
        raise StaleVoucher(offered=voucher.sequence, held=purse.sequence)
    verify_signer(purse.domain, signed, purse.key.signer)
    if voucher.sequence == purse.sequence:
        raise ConflictingVoucher(f"the payer signed two vouchers with sequence {voucher.sequence}")
    verify_holds(voucher, holds)
    if voucher.cumulative < purse.cumulative:
        raise CumulativeFell(
            f"the voucher pays {format_amount(voucher.cumulative)} in all,"
            f" an older one paid {format_amount(purse.cumulative)}"
        )
    promised = voucher.cumulative + voucher.held - _taken_of(purse, holds)
    if promised > purse.deposit:
        raise Overdrawn(promised=promised, deposit=purse.deposit)
    engagements = _settle(purse, voucher, holds)
    return replace(purse, best=signed, holds=tuple(holds), engagements=engagements)


def is_over_for(purse: Purse, engagement: Engagement) -> bool:
    """Tell whether nothing more can be earned under an engagement, so that only what was delivered is insisted on."""
    return engagement.finished or is_over(engagement.reserved_until, purse.seen_at)


def without_done(engagements: Sequence[Engagement], holds: Sequence[Hold]) -> tuple[Engagement, ...]:
    """Drop the engagements that are finished, paid and no longer in the holds."""
    return tuple(
        each for each in engagements if not each.finished or each.unpaid or find_hold(holds, each.award) is not None
    )


def _taken_of(purse: Purse, holds: Sequence[Hold]) -> int:
    """Return how much of the holds arbiters have taken: the deposit has lost it, and no verdict takes it again (P8)."""
    taken = 0
    for fee in purse.fees_taken:
        hold = find_hold(holds, fee.award)
        taken += min(fee.amount, hold.amount) if hold is not None else 0
    return taken


def _settle(purse: Purse, voucher: Voucher, holds: Sequence[Hold]) -> tuple[Engagement, ...]:
    """Find out what the voucher pays for each engagement.

    A hold that shrank was paid by that much. A hold that is gone was paid at least what is insisted on: the rest of the
    price while work may still come, what is delivered and unpaid afterwards. `cumulative` must have grown by all of it.
    """
    grown = voucher.cumulative - purse.cumulative
    after: list[Engagement] = []
    touched: list[str] = []
    for each in purse.engagements:
        payment = _payment(purse, each, holds)
        if payment:
            touched.append(each.award.hex())
        grown -= payment
        after.append(replace(each, paid=Amount(each.paid + payment)))
    if grown < 0:
        raise HoldMissing(
            f"holds were lowered by {format_amount(-grown)} more than was paid (awards {', '.join(touched)})"
        )
    return without_done(after, holds)


def _payment(purse: Purse, engagement: Engagement, holds: Sequence[Hold]) -> int:
    name = engagement.award.hex()
    before, now = find_hold(purse.holds, engagement.award), find_hold(holds, engagement.award)
    if now is None:
        return engagement.unpaid if is_over_for(purse, engagement) else engagement.price - engagement.paid
    if before is None or now.arbiter != before.arbiter or now.amount > before.amount:
        # The contract reads from a hold's amount what was paid for the award, so a hold may only shrink.
        raise HoldMissing(f"the hold for award {name} came back, grew or changed its arbiter")
    payment = before.amount - now.amount
    if engagement.paid + payment > engagement.price:
        raise HoldMissing(f"the hold for award {name} lost a part of its dispute fee")
    return payment
