"""What a party of a dispute does next. Pure: docs/spec/parties.md.

Everything follows from the confirmed state of the case (`protocol.dispute.party`), the party's conviction and what is
seen of the chain now (`Sight`), so `next_act` computes it afresh each time, and what was done twice is refused by the
contract and harms nobody.

    state    condition                                                            act
    -----    ---------                                                            ---
    Held     requester, channel, until deliverBy + 2*pace; if a lock answers       OpenCase
    Held     requester, escrow, the claim is disputed and there is time to judge   OpenCase
    Held     provider, channel, a part unpaid after claimBy and worth the bond     SecureHold, then OpenCase
    Held     provider, escrow, disputed, the requester leaves it at that, likewise OpenCase
    Held     the user ordered it, as soon as and as long as the court takes it     SecureHold, then OpenCase
    Held     none of this, and nobody can open a case any more                     Abandon
    Open     provider, channel, its hold doesn't count against an exit yet         SecureHold
    Open     decided against us and our conviction, within the appeal's time       AppealCase
    Open     no decision, and one is worth more to us than its bond, likewise      AppealCase
    Open     the user ordered it, likewise                                         AppealCase
    Open     that time is over: who opened it at once, the other a little later    CloseCase
    Closed   provider, channel, the decision gives it something out of the hold    TakeHold
    Closed   given, and again on a newer voucher that was signed since             TakeHold
    Closed   given, and such a voucher may still come                              (wait)
    Closed   otherwise, or once it was given                                       SettleCase
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from protocol.dispute.bond import bond_of
from protocol.dispute.case import Round, Stage
from protocol.dispute.objects import Finding
from protocol.dispute.party import Brief, Closed, File, Held, Open, Reason, is_against
from protocol.dispute.schedule import SEATS
from protocol.settlement.deadlines import deadlines_of, is_open, is_over
from protocol.units import WHOLE, Amount, UnixTime

LAST_ROUND: Final = len(SEATS) - 1
SURE_BPS: Final = 9_000
"""With which chance, in basis points, who knows the result itself counts on being found right: a bench may be bent, or
not come to a vote."""

PAID: Final = "what was delivered is paid"
NO_HOLD: Final = "no voucher here holds money for it any more"
TOO_LATE_ON_CHANNEL: Final = "it is too late: no case was open by deliverBy + 2*pace"
TOO_LATE_ON_ESCROW: Final = "it is too late: the escrow waits no longer than the court needs at least"


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldSight:
    """What stands for an award in the channel that pays it, as its payee sees it. Base units.

    Attributes:
        unpaid: Delivered, and not paid by voucher.
        held: The amount of the hold that could be enforced now; 0 without one. Once it was enforced, that of the hold
            in a newer voucher with which the payee would have more (P8).
        is_secured: Whether it counts on chain already, so that the payer's exit can't touch it.
        taken: What an arbiter had it pay, all enforcements together; None until then.
        may_change: Whether a newer voucher may still come after an enforcement, or wait to be enforced on.
    """

    unpaid: Amount = Amount(0)
    held: Amount = Amount(0)
    is_secured: bool = False
    taken: Amount | None = None
    may_change: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a party sees now. Nothing of it is kept.

    Attributes:
        now: Time of the newest block.
        round: The case's current round as of that block; of stage NONE without a case.
        dispute_by: Until when the claim on the escrow may be disputed; None without a claim, and once it is disputed.
        resolve_by: Until when the escrow waits for a verdict; None while its claim is not disputed, and on a channel.
        escrow_over: Whether the escrow is closed, so that no verdict can move it.
        paid: What the escrow has paid the provider.
        hold: What stands in the channel; None on an escrow, and for a requester.
        costs: What it costs the provider in gas to go through with a case over a channel, in the token.
    """

    now: UnixTime
    round: Round
    dispute_by: UnixTime | None = None
    resolve_by: UnixTime | None = None
    escrow_over: bool = False
    paid: Amount = Amount(0)
    hold: HoldSight | None = None
    costs: Amount = Amount(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attitude:
    """How a party goes to court, and what the court's contract asks for.

    Attributes:
        open, appeal: Whether it opens cases; whether it appeals.
        max_bond: Most that it puts down in one case, all rounds together; None for as much as it takes.
        min_resolve_within: Fewer seconds are not enough for a case on an escrow.
        stagger: How many seconds later than the opener it closes a case that the other side opened.
    """

    open: bool = True
    appeal: bool = True
    max_bond: Amount | None = None
    min_resolve_within: int
    stagger: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SecureHold:
    """Present the voucher with the hold, so that it counts on chain (P12)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCase:
    """Open a case; on an escrow about its claim, on a channel about the receipt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppealCase:
    """Ask for round `number`, for `bond`."""

    number: int
    bond: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseCase:
    """Have everybody paid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeHold:
    """Have the hold enforced as the case decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleCase:
    """Let go of what is left, and write down that nothing is to be done any more."""

    taken: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandon:
    """Nothing can be opened any more: write down why."""

    reason: Reason


Act: TypeAlias = SecureHold | OpenCase | AppealCase | CloseCase | TakeHold | SettleCase | Abandon


def next_act(file: File, sight: Sight, attitude: Attitude) -> Act | None:
    """Return what this party has to do now, or None."""
    brief, state = file.brief, file.state
    match state:
        case Held() if sight.round.stage is Stage.NONE:
            act = _plead(brief, state, sight, attitude)
            # While the other side may still go to court, this one must be there to answer: silence costs a lock (L1).
            return None if isinstance(act, Abandon) and not _is_too_late(brief, sight, attitude) else act
        case Open() if sight.round.stage is not Stage.CLOSED:
            return _secure(sight) or _appeal(brief, state, sight, attitude) or _close(brief, state, sight, attitude)
        case Closed(taken=None):
            return _settle(brief, state, sight)
        case _:
            return None


def reluctance(file: File, sight: Sight, attitude: Attitude) -> str:
    """Return why this party opens no case as things are, although somebody still may; empty if it does, or waits."""
    if not isinstance(file.state, Held) or sight.round.stage is not Stage.NONE:
        return ""
    act = _plead(file.brief, file.state, sight, attitude)
    return act.reason if isinstance(act, Abandon) else ""


def is_worth(gain: int, at_risk: int, costs: int) -> bool:
    """Tell whether who is sure of itself gains by staking `at_risk`: it gets that back with `gain`, or neither."""
    return gain * SURE_BPS > at_risk * (WHOLE - SURE_BPS) + costs * WHOLE


def due_from_hold(brief: Brief, closed: Closed, held: int) -> Amount:
    """Return what the contract gives the provider if a hold of `held` is enforced (P7, P8); base units.

    That is what the award is worth beyond what vouchers paid, and the requester's fee to a provider that opened the
    case and was right: so its bond comes home.
    """
    award, due = brief.award, due_again(brief, closed, held)
    is_fee_ours = bool(held) and closed.finding is Finding.UPHELD and closed.opener == brief.own
    return Amount(due + (min(award.dispute_fee, held - due) if is_fee_ours else 0))


def due_again(brief: Brief, closed: Closed, held: int) -> Amount:
    """Return what the contract adds for a hold of `held` to what its voucher pays; base units.

    Enforced once more, on a newer voucher, it gives no more than this: the arbiter's fee goes out once (P8).
    """
    if closed.finding is Finding.NONE or not held:
        return Amount(0)
    paid = brief.award.price + brief.award.dispute_fee - held
    return Amount(max(0, closed.due - paid))


def _plead(brief: Brief, held: Held, sight: Sight, attitude: Attitude) -> Act | None:
    if held.is_ordered:
        return _obey(brief, sight, attitude)
    if brief.is_requester:
        return _accuse(brief, sight, attitude)
    return _demand(brief, sight, attitude) if brief.on_channel else _defend(brief, sight, attitude)


def _is_too_late(brief: Brief, sight: Sight, attitude: Attitude) -> bool:
    """Tell whether nobody can open a case any more."""
    if brief.on_channel:
        return is_over(deadlines_of(brief.award).latest_dispute_by, sight.now)
    return sight.escrow_over or (
        sight.resolve_by is not None and sight.resolve_by - sight.now < attitude.min_resolve_within
    )


def refusal_to_open(brief: Brief, attitude: Attitude, held: Held | None = None) -> Abandon | None:
    """Return why this party opens no case about an award at all, whatever is seen; None if it does, or if it must."""
    if held is not None and held.is_ordered:
        return None
    if not attitude.open:
        return Abandon(reason="this node opens no cases (disputes.open)")
    if attitude.max_bond is not None and brief.award.dispute_fee > attitude.max_bond:
        return Abandon(reason="the bond is above what this node puts down in one case (disputes.max_bond)")
    return None


def _obey(brief: Brief, sight: Sight, attitude: Attitude) -> Act | None:
    """Open what the user ordered, whatever this node would do by itself; on an escrow that may dispute the claim."""
    if brief.is_paid_from_hold:
        hold = sight.hold or HoldSight()
        if not hold.unpaid or not hold.held:
            return Abandon(reason=PAID if not hold.unpaid else NO_HOLD)
        return _unless_late(brief, sight, attitude) or (OpenCase() if hold.is_secured else SecureHold())
    if brief.on_channel:
        return _unless_late(brief, sight, attitude) or OpenCase()
    if sight.escrow_over:
        return Abandon(reason="the escrow was closed without a case")
    if sight.resolve_by is None:
        may_dispute = brief.is_requester and sight.dispute_by is not None and is_open(sight.dispute_by, sight.now)
        return OpenCase() if may_dispute else None
    return _unless_late(brief, sight, attitude) or OpenCase()


def _unless_late(brief: Brief, sight: Sight, attitude: Attitude) -> Abandon | None:
    if not _is_too_late(brief, sight, attitude):
        return None
    return Abandon(reason=TOO_LATE_ON_CHANNEL if brief.on_channel else TOO_LATE_ON_ESCROW)


def _accuse(brief: Brief, sight: Sight, attitude: Attitude) -> Act | None:
    """Open as a requester."""
    refusal = refusal_to_open(brief, attitude)
    if refusal is not None:
        return refusal
    if brief.on_channel:
        if not is_open(deadlines_of(brief.award).latest_dispute_by, sight.now):
            return Abandon(reason=TOO_LATE_ON_CHANNEL)
        # The money is still ours. Without a lock nobody would give the bond back, and the provider must come to us.
        return OpenCase() if brief.award.liability else None
    if sight.escrow_over:
        return Abandon(reason="the escrow was closed without a claim that had to be judged")
    if sight.resolve_by is None:
        return None  # no claim yet; or payments dispute it, which they do by opening the case where that is possible
    if _is_too_late(brief, sight, attitude):
        return Abandon(reason=TOO_LATE_ON_ESCROW)
    return OpenCase()


def _defend(brief: Brief, sight: Sight, attitude: Attitude) -> Act | None:
    """Open as the provider of an escrow whose claim is disputed: without a verdict it gets `splitBps` of it (M8)."""
    if sight.escrow_over:
        return Abandon(reason="the escrow was closed without a case")
    if sight.resolve_by is None:
        return None  # a claim that nobody disputes is paid
    refusal = refusal_to_open(brief, attitude)
    if refusal is not None:
        return refusal
    if _is_too_late(brief, sight, attitude):
        return Abandon(reason=TOO_LATE_ON_ESCROW)
    to_provider, to_requester = _shares(brief, sight)
    if not is_worth(to_requester, brief.award.dispute_fee, sight.costs):
        return Abandon(reason=f"the split gives us {to_provider}; the rest is not worth the bond and the gas of a case")
    spare = brief.award.resolve_within - attitude.min_resolve_within
    # Who disputes goes to court, and pays the bond: for half of the time to spare we leave that to it.
    is_our_turn = sight.resolve_by - sight.now <= brief.award.resolve_within - spare // 2
    return OpenCase() if is_our_turn else None


def _demand(brief: Brief, sight: Sight, attitude: Attitude) -> Act | None:
    """Open as the provider of an award over a channel: a hold is enforced by a verdict, and by nothing else."""
    hold, times = sight.hold or HoldSight(), deadlines_of(brief.award)
    if not hold.unpaid:
        return Abandon(reason=PAID)
    if not hold.held:
        return Abandon(reason=NO_HOLD)
    if not is_over(times.claim_by, sight.now):
        return None  # it may still be paid
    refusal = refusal_to_open(brief, attitude)
    if refusal is not None:
        return refusal
    if is_over(times.latest_dispute_by, sight.now):
        return Abandon(reason=TOO_LATE_ON_CHANNEL)
    if not is_worth(hold.unpaid, brief.award.dispute_fee, sight.costs):
        return Abandon(reason="what is unpaid is not worth the bond and the gas of a case")
    return OpenCase() if hold.is_secured else SecureHold()


def _secure(sight: Sight) -> Act | None:
    hold = sight.hold
    return SecureHold() if hold is not None and hold.held and not hold.is_secured else None


def _appeal(brief: Brief, state: Open, sight: Sight, attitude: Attitude) -> Act | None:
    current = sight.round
    if current.number != state.number or state.number == LAST_ROUND:
        return None
    if not is_appealable(current, sight.now):
        return None
    bond = bond_of(brief.award.dispute_fee, state.number + 1)
    if state.ordered == state.number + 1:
        return AppealCase(number=state.ordered, bond=bond)
    if not attitude.appeal or not brief.is_convinced:
        return None
    if attitude.max_bond is not None and state.bonds + bond > attitude.max_bond:
        return None
    if not _wants_another_round(brief, state, sight, bond):
        return None
    return AppealCase(number=state.number + 1, bond=bond)


def is_appealable(current: Round, now: UnixTime) -> bool:
    """Tell whether the court takes an appeal of this round now (CT7)."""
    has_ended = bool(current.ended_after) or is_over(current.schedule.open_by, now)
    return current.number != LAST_ROUND and has_ended and is_open(current.appeal_by, now)


def _wants_another_round(brief: Brief, state: Open, sight: Sight, bond: Amount) -> bool:
    decision = state.decision
    if state.vote is None and sight.round.stage is not Stage.VOTING:
        # A vote that isn't confirmed yet; or a committee that could not be drawn, and a larger one can't either.
        return False
    if decision is not None:
        return is_against(brief, state.opener, decision.finding)
    # What the next committee costs may not all come back, even to who is right: the seats that fell silent lose little.
    return _lost_undecided(brief, state, sight) * SURE_BPS > bond * WHOLE


def _lost_undecided(brief: Brief, state: Open, sight: Sight) -> int:
    """Return what this party loses if nothing is decided and it is right, base units (CT8, CT11)."""
    award, is_opener = brief.award, state.opener == brief.own
    if brief.on_channel:
        if not brief.is_requester:  # the hold lapses, with it the fee in it that would give back a bond
            return (sight.hold.unpaid if sight.hold else 0) + (award.dispute_fee if is_opener else 0)
        return min(award.dispute_fee, award.liability) if is_opener else 0
    to_provider, to_requester = _shares(brief, sight)
    return to_provider + min(award.dispute_fee, award.liability) if brief.is_requester else to_requester


def _shares(brief: Brief, sight: Sight) -> tuple[int, int]:
    """Return what an escrow without a verdict gives provider and requester of what is claimed (M8)."""
    claimed = max(0, brief.receipt.value.due - sight.paid) if brief.receipt else 0
    to_provider = claimed * brief.award.split_bps // WHOLE
    return to_provider, claimed - to_provider


def _close(brief: Brief, state: Open, sight: Sight, attitude: Attitude) -> Act | None:
    # The escrow must hear of the decision before its own time is over; after the last round that is soon.
    stagger = 0 if state.opener == brief.own else min(attitude.stagger, sight.round.time // 48)
    return CloseCase() if is_over(UnixTime(sight.round.appeal_by + stagger), sight.now) else None


def _settle(brief: Brief, closed: Closed, sight: Sight) -> Act | None:
    hold = sight.hold
    if hold is None:
        return SettleCase(taken=Amount(0))
    if hold.taken is None:
        return TakeHold() if due_from_hold(brief, closed, hold.held) else SettleCase(taken=Amount(0))
    if due_again(brief, closed, hold.held):
        return TakeHold()
    # Anybody may enforce, also on an old voucher: what was signed since is ours as well, but not by itself.
    return None if hold.may_change else SettleCase(taken=hold.taken)
