"""One-way payment channel, payee's side. Pure; docs/spec/channel.md, section 4.

Theory. The payee owns the newest voucher that it took, and takes one only if it is no worse off with it: signed by
the channel's signer, never paying less than before, covered by the confirmed deposit, and lowering the hold of an
award only by what it pays for it. So whatever arrives, late, twice or out of order, `cumulative` plus the holds that
the payee insists on never falls, and the newest voucher is always the one to submit.

An award is taken (its Start may be signed) only against its own hold in that voucher, on a view that is fresh,
without an exit or a close pending, and if the hold stays reserved past the award's last deadline. Parts are delivered
one at a time: `may_begin` says no while an earlier part is unpaid, so at most one part is ever unpaid (M2).

When the payer leaves, all that the newest voucher pays and holds goes on chain before the challenge is over, and again
with every newer voucher, at most once in an eighth of the challenge while what stands reserves all of it.

    phase      event                                        next
    -----      -----                                        ----
    Receiving  VoucherReceived, a better one                Receiving   AcknowledgeVoucher; SubmitClaim from claim_at on
    Receiving  AwardTaken                                   Receiving   (refused unless all of the above holds)
    Receiving  ClaimRequested / PresentRequested            Receiving   SubmitClaim / SubmitPresent
    Receiving  CloseProposed, nothing owed                  Receiving   SubmitClose; takes nothing new until it is void
    Receiving  ExitConfirmed                                Defending   SubmitPresent or SubmitClaim
    Defending  VoucherReceived, a better one                Defending   AcknowledgeVoucher; SubmitPresent or SubmitClaim
    Receiving, Defending   ReceiptSigned, AwardFinished     same        -
    Receiving, Defending   AwardWrittenOff                  same        insists on nothing of the award any more
    Receiving, Defending   EnforceConfirmed                 same        follows an ExitConfirmed
    any        CloseConfirmed                               Ended

The chain's other events update what is known. Anything else raises `UnexpectedEvent`.
"""

from dataclasses import replace
from typing import Final, assert_never

from protocol.channel.acceptance import accept_voucher, is_repeat, without_done
from protocol.channel.chain import (
    BlockSeen,
    ClaimConfirmed,
    CloseConfirmed,
    EnforceConfirmed,
    ExitConfirmed,
    OpenConfirmed,
    PresentConfirmed,
    TopUpConfirmed,
    WithdrawConfirmed,
)
from protocol.channel.errors import (
    AwardConflict,
    BadClose,
    ClosePending,
    ExitPending,
    HoldMissing,
    HoldTooShort,
    ImpossibleFact,
    PaymentAboveHold,
    StaleView,
    UnexpectedEvent,
    UnknownAward,
    UnpaidPart,
    WorkOutstanding,
    WrongChannel,
)
from protocol.channel.holds import find_hold
from protocol.channel.objects import ChannelRules
from protocol.channel.receiving import (
    AcknowledgeVoucher,
    AwardFinished,
    AwardTaken,
    AwardWrittenOff,
    ClaimRequested,
    CloseProposed,
    Defending,
    Ended,
    Engagement,
    FeeTaken,
    PayeeEffect,
    PayeeEvent,
    PayeeState,
    PresentRequested,
    Purse,
    ReceiptSigned,
    Receiving,
    SubmitClaim,
    SubmitClose,
    SubmitPresent,
    VoucherReceived,
)
from protocol.identity import Digest
from protocol.settlement.deadlines import is_over
from protocol.signing.eip712 import Domain
from protocol.signing.signed import verify_signer
from protocol.units import Amount, format_amount

Step = tuple[PayeeState, tuple[PayeeEffect, ...]]

PRESENT_SHARE: Final = 8
"""During an exit a newer voucher is presented an eighth of the challenge after the one before, at the soonest."""


def start_receiving(event: OpenConfirmed, *, rules: ChannelRules, domain: Domain, claim_at: Amount) -> Receiving:
    """Return the first state of a channel whose payee this is.

    Args:
        event: The channel's opening, confirmed.
        rules: The contract's constants.
        domain: Of the channel contract.
        claim_at: Unclaimed amount from which a claim is submitted.
    """
    return Receiving(purse=Purse(key=event.key, rules=rules, domain=domain, claim_at=claim_at, deposit=event.deposit))


def may_begin(state: PayeeState, award: Digest) -> bool:
    """Tell whether the next part of `award` may be run: every earlier one is paid and the rest is still held (M2)."""
    if not isinstance(state, Receiving | Defending):
        return False
    engagement = state.purse.find(award)
    if engagement is None or engagement.finished or engagement.unpaid:
        return False
    if find_hold(state.purse.holds, award) is None:
        return False  # let go of after its last deadline
    # During an exit only a presented hold survives the challenge.
    return isinstance(state, Receiving) or state.purse.presented >= engagement.since


def exposure_of(state: PayeeState, award: Digest) -> int:
    """Return what was delivered for `award` and not paid by voucher, token base units."""
    engagement = None if isinstance(state, Ended) else state.purse.find(award)
    return engagement.unpaid if engagement else 0


def transition(state: PayeeState, event: PayeeEvent) -> Step:
    """Apply one event.

    Returns:
        The state after it and what must now be done.

    Raises:
        ChannelError, BadSignature: The event is not allowed; `state` is still what holds.
    """
    match state:
        case Receiving():
            return _receiving(state, event)
        case Defending():
            return _defending(state, event)
        case Ended():
            if isinstance(event, BlockSeen):
                return state, ()
            raise UnexpectedEvent(state, event)
        case _:
            assert_never(state)


def outstanding(state: PayeeState) -> tuple[PayeeEffect, ...]:
    """Return what `state` still needs done on chain."""
    if isinstance(state, Ended):
        return ()
    purse = state.purse
    effects: list[PayeeEffect] = []
    if purse.best is not None:
        payable = min(purse.cumulative, purse.deposit) - purse.claimed
        if isinstance(state, Defending):
            is_time = not _is_safe(state)
            present, claim = is_time and purse.presented < purse.sequence, is_time and payable > 0
        else:
            present = purse.presented < purse.present_to
            claim = payable > 0 and (payable >= purse.claim_at or purse.claimed < purse.claim_to)
        if present and purse.held:
            effects.append(SubmitPresent(key=purse.key, signed=purse.best))  # which claims too
        elif claim:
            effects.append(SubmitClaim(key=purse.key, signed=purse.best))
    if isinstance(state, Receiving) and state.close is not None:
        effects.append(SubmitClose(key=purse.key, signed=state.close))
    return tuple(effects)


def _is_safe(state: Defending) -> bool:
    """Tell whether a newer voucher may wait a little, since all that is insisted on was put out of the exit's reach.

    What was presented during the exit keeps `cumulative + held` in the channel for the hold period, and newer vouchers
    only move money from one to the other. So a payer that signs one each second must not cost us a presentation each.
    """
    purse = state.purse
    return (
        purse.reserves
        and purse.presented_at > state.exits_at - purse.rules.challenge
        and all(each.since <= purse.presented for each in purse.engagements)
        and purse.seen_at < purse.presented_at + purse.rules.challenge // PRESENT_SHARE
    )


def _receiving(state: Receiving, event: PayeeEvent) -> Step:
    purse = state.purse
    match event:
        case AwardTaken():
            return replace(state, purse=_take(state, event)), ()
        case TopUpConfirmed(deposit=deposit):
            return replace(state, purse=replace(purse, deposit=deposit)), ()
        case ClaimRequested():
            after = replace(state, purse=replace(purse, claim_to=Amount(min(purse.cumulative, purse.deposit))))
            return after, outstanding(after)
        case PresentRequested():
            after = replace(state, purse=replace(purse, present_to=purse.sequence))
            return after, outstanding(after)
        case CloseProposed():
            return _close(state, event)
        case ExitConfirmed(exits_at=exits_at):
            defending = Defending(purse=purse, exits_at=exits_at)
            return defending, outstanding(defending)
        case BlockSeen(time=time):
            void = state.close is not None and is_over(state.close.value.close_by, time)
            if not void and time <= purse.seen_at:
                return state, ()  # asked for many times between two blocks
            after = replace(state, purse=_at(purse, event), close=None if void else state.close)
            return after, ()
        case _:
            return _either(state, event)


def _defending(state: Defending, event: PayeeEvent) -> Step:
    match event:
        case AwardTaken():
            raise ExitPending("the payer is leaving this channel; no new work is taken on it")
        case ClaimRequested() | PresentRequested():
            return state, outstanding(state)
        case BlockSeen():
            return replace(state, purse=_at(state.purse, event)), ()
        case _:
            return _either(state, event)


def _either(state: Receiving | Defending, event: PayeeEvent) -> Step:
    """Apply what means the same before and during an exit."""
    purse = state.purse
    match event:
        case VoucherReceived():
            return _voucher(state, event)
        case ReceiptSigned(award=award, due=due):
            return replace(state, purse=_deliver(purse, award, due)), ()
        case AwardFinished(award=award):
            return replace(state, purse=_finish(purse, award)), ()
        case AwardWrittenOff(award=award):
            return replace(state, purse=_write_off(purse, award)), ()
        case ClaimConfirmed(claimed=claimed):
            return replace(state, purse=replace(purse, claimed=claimed)), ()
        case PresentConfirmed(sequence=sequence, held=held):
            shown = replace(purse, presented=sequence, presented_at=purse.seen_at, reserves=held > 0)
            return replace(state, purse=shown), ()
        case WithdrawConfirmed(amount=amount):
            return replace(state, purse=_less(purse, amount)), ()
        case EnforceConfirmed():
            after = replace(state, purse=_enforced(purse, event))
            return after, outstanding(after)
        case CloseConfirmed(to_payee=to_payee):
            return Ended(channel=purse.channel, received=to_payee), ()
        case _:
            raise UnexpectedEvent(state, event)


def _voucher(state: Receiving | Defending, event: VoucherReceived) -> Step:
    sequence = event.signed.value.sequence
    if is_repeat(state.purse, event.signed):
        return state, (AcknowledgeVoucher(sequence=sequence),)
    after = replace(state, purse=accept_voucher(state.purse, event.signed, event.holds))
    return after, (AcknowledgeVoucher(sequence=sequence), *outstanding(after))


def _take(state: Receiving, event: AwardTaken) -> Purse:
    purse = state.purse
    if state.close is not None:
        raise ClosePending("this channel is about to be closed; no new work is taken on it")
    age = event.now - purse.seen_at
    if 4 * age > purse.rules.challenge:
        raise StaleView(
            f"the newest confirmed block is {age} s old, over a quarter of the challenge ({purse.rules.challenge} s)",
            advice="check the connection to the chain",
        )
    if event.reserved_until > event.now + purse.rules.hold_period:
        raise HoldTooShort(
            f"the award can last until {event.reserved_until}, a hold taken now only until"
            f" {event.now + purse.rules.hold_period}",
            advice="use escrow, or shorter deadlines",
        )
    known = purse.find(event.award)
    if known is not None:
        if (known.price, known.reserved_until) != (event.price, event.reserved_until):
            raise AwardConflict(f"award {event.award.hex()} was taken on other terms")
        return purse
    hold, amount = find_hold(purse.holds, event.award), event.price + event.dispute_fee
    if hold is None or hold.arbiter != event.arbiter or hold.amount != amount:
        raise HoldMissing(
            f"the newest voucher has no hold of {format_amount(amount)} for award {event.award.hex()} with its arbiter",
            advice="wait for the requester's voucher",
        )
    new = Engagement(award=event.award, price=event.price, since=purse.sequence, reserved_until=event.reserved_until)
    return replace(purse, engagements=tuple(sorted((*purse.engagements, new), key=lambda each: each.award)))


def _deliver(purse: Purse, award: Digest, due: Amount) -> Purse:
    old = _engagement(purse, award)
    if due == old.due:
        return purse
    if old.unpaid or old.finished:
        raise UnpaidPart(f"award {award.hex()} is finished, or a part of it is unpaid; no further part is delivered")
    if due < old.due or due > old.price:
        raise PaymentAboveHold(
            f"{format_amount(due)} is asked for award {award.hex()}, after {format_amount(old.due)};"
            f" its price is {format_amount(old.price)}"
        )
    if find_hold(purse.holds, award) is None:
        raise HoldMissing(f"nothing is held for award {award.hex()} any more; its last deadline is over")
    return _with(purse, replace(old, due=due))


def _finish(purse: Purse, award: Digest) -> Purse:
    if purse.find(award) is None:
        return purse
    return _with(purse, replace(_engagement(purse, award), finished=True))


def _write_off(purse: Purse, award: Digest) -> Purse:
    old = purse.find(award)
    return purse if old is None else _with(purse, replace(old, due=old.paid, finished=True))


def _engagement(purse: Purse, award: Digest) -> Engagement:
    found = purse.find(award)
    if found is None:
        raise UnknownAward(f"award {award.hex()} was not taken on this channel")
    return found


def _with(purse: Purse, engagement: Engagement) -> Purse:
    changed = tuple(engagement if each.award == engagement.award else each for each in purse.engagements)
    return replace(purse, engagements=without_done(changed, purse.holds))


def _close(state: Receiving, event: CloseProposed) -> Step:
    purse, close = state.purse, event.signed.value
    if close.channel != purse.channel:
        raise WrongChannel(f"a close of channel {close.channel.hex()} came to {purse.channel.hex()}")
    verify_signer(purse.domain, event.signed, purse.key.signer)
    if is_over(close.close_by, event.now):
        raise BadClose(f"the close was valid until {close.close_by}")
    if any(not each.finished or each.unpaid for each in purse.engagements):
        raise WorkOutstanding("tasks of this channel are in flight or unpaid")
    if not purse.cumulative <= close.cumulative <= purse.deposit:
        raise BadClose(
            f"the close pays {format_amount(close.cumulative)} in all; {format_amount(purse.cumulative)} is owed"
            f" and {format_amount(purse.deposit)} deposited"
        )
    after = replace(state, close=event.signed)
    return after, (SubmitClose(key=purse.key, signed=event.signed),)


def _enforced(purse: Purse, event: EnforceConfirmed) -> Purse:
    """Note a verdict. Vouchers stay as they are: it applies to the hold of whichever counts in the end (P8)."""
    fees = purse.fees_taken
    if event.to_arbiter:
        fees = (*fees, FeeTaken(award=event.award, amount=event.to_arbiter))
    return replace(_less(purse, event.to_arbiter), claimed=Amount(purse.claimed + event.to_payee), fees_taken=fees)


def _at(purse: Purse, event: BlockSeen) -> Purse:
    return replace(purse, seen_at=max(purse.seen_at, event.time))


def _less(purse: Purse, amount: Amount) -> Purse:
    if amount > purse.deposit:  # the contract never sends more than it holds
        raise ImpossibleFact(f"{format_amount(amount)} left a channel that holds {format_amount(purse.deposit)}")
    return replace(purse, deposit=Amount(purse.deposit - amount))
