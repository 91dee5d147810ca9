"""Which way a task is paid: over a channel or from escrow (docs/spec/settlement.md, section 1; DESIGN D8).

Small tasks go over a channel and large ones into escrow. A channel is ruled out also where it could not keep its
promises: the peer's credit limit is too low for an unjudged part, the hold would not last, the view of the chain is
too old. The reason comes back in words, for `--dry-run`.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from protocol.errors import ProtocolError
from protocol.identity import ZERO_ADDRESS, Address
from protocol.units import ONE_TOKEN, Amount, Seconds, UnixTime, format_amount

THRESHOLD: Final = Amount(10 * ONE_TOKEN)
"""Default: up to and including $10 a task is paid over a channel."""


class Rail(Enum):
    """How an award is paid."""

    CHANNEL = "channel"
    ESCROW = "escrow"


class NoRail(ProtocolError):
    """Neither a channel nor an escrow can pay for this award now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelOutlook:
    """What a channel with the provider could offer.

    Attributes:
        free: Confirmed deposit that is neither paid nor promised; 0 if there is no channel yet.
        reachable: `free` plus what opening or topping up may add, by caps and balance.
        leaving: Whether an exit or a close is under way.
        challenge: Of the channel contract.
        hold_period: Of the channel contract.
        seen_at: Time of the newest confirmed block.
    """

    free: Amount
    reachable: Amount
    leaving: bool
    challenge: Seconds
    hold_period: Seconds
    seen_at: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What is to be paid for.

    Attributes:
        price: Of the whole award.
        dispute_fee: Reserved on top.
        highest_part: Price of the award's most expensive part.
        arbiter: Who judges it; zero for nobody.
        credit_limit: The most unpaid work that the provider allows this requester without an arbiter.
        latest_resolve_by: The award's last deadline.
    """

    price: Amount
    dispute_fee: Amount
    highest_part: Amount
    arbiter: Address
    credit_limit: Amount
    latest_resolve_by: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class RailChoice:
    """The rail, and why.

    Attributes:
        rail: Which.
        reason: In words, for people.
        top_up: What the channel still needs before it can promise the hold; 0 for escrow.
    """

    rail: Rail
    reason: str
    top_up: Amount


def choose_rail(
    charge: Charge, channel: ChannelOutlook, *, now: UnixTime, threshold: Amount = THRESHOLD, can_escrow: bool = True
) -> RailChoice:
    """Choose how to pay.

    Args:
        charge: What is to be paid for.
        channel: What a channel could offer.
        now: The node's clock.
        threshold: The highest price that goes over a channel.
        can_escrow: Whether the chain can be reached and the money is there to fund an escrow.

    Raises:
        NoRail: The channel is ruled out, and so is escrow.
    """
    against = _against_channel(charge, channel, now, threshold)
    if against is None:
        needed = charge.price + charge.dispute_fee
        top_up = Amount(max(0, needed - channel.free))
        reason = f"{format_amount(charge.price)} is at or below the threshold of {format_amount(threshold)}"
        if top_up:
            reason += f"; the channel needs {format_amount(top_up)} more"
        return RailChoice(rail=Rail.CHANNEL, reason=reason, top_up=top_up)
    if not can_escrow:
        raise NoRail(
            f"no channel, because {against}; and no escrow can be funded now",
            advice="check the connection to the chain and the wallet's balance, or lower the budget",
        )
    return RailChoice(rail=Rail.ESCROW, reason=against, top_up=Amount(0))


def is_fresh(channel: ChannelOutlook, now: UnixTime) -> bool:
    """Tell whether the confirmed view is no older than a quarter of the challenge (M6)."""
    return 4 * (now - channel.seen_at) <= channel.challenge


def _against_channel(charge: Charge, channel: ChannelOutlook, now: UnixTime, threshold: Amount) -> str | None:
    if charge.price > threshold:
        return f"{format_amount(charge.price)} is above the threshold of {format_amount(threshold)}"
    if charge.arbiter == ZERO_ADDRESS and charge.highest_part > charge.credit_limit:
        return (
            f"a part of {format_amount(charge.highest_part)} is above the provider's credit limit of"
            f" {format_amount(charge.credit_limit)} and no arbiter could enforce its hold"
        )
    if channel.leaving:
        return "the channel with this provider is being closed"
    if not is_fresh(channel, now):
        return f"the newest confirmed block is {now - channel.seen_at} s old, too old to trust the channel's deposit"
    if charge.latest_resolve_by > now + channel.hold_period:
        return f"the award may last until {charge.latest_resolve_by}, longer than a hold is reserved"
    if charge.price + charge.dispute_fee > channel.reachable:
        return f"the channel can't hold {format_amount(charge.price + charge.dispute_fee)}"
    return None
