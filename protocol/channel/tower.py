"""When a watchtower acts for a payee that is away. Pure; docs/spec/watchtower.md, section 3.

Theory. A watchtower keeps no account of a channel. It has one order, and asks the contract where the channel stands;
what is to be done follows from these two and the time, whatever was done or missed before. So a tower that was down,
that acted twice, or whose chain was reorganised needs no repair: it looks again.

The payee acts at once, since it loses the money. A tower waits until an eighth of the challenge is over, so that it
pays no gas for a payee that is there, and is done asking by the end of the second eighth. In between each tower has a
moment of its own, so that of several the first one mostly pays alone.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from protocol.channel.objects import ChannelRules
from protocol.channel.watch import WatchOrder
from protocol.identity import Address, Digest
from protocol.signing.keccak import keccak256
from protocol.units import Amount, Uint64, UnixTime

PATIENCE: Final = 8
"""A tower begins to act when this part of the challenge is over."""
URGENCY: Final = 4
"""And has begun to by the time that this part is over (M6)."""
TURNS: Final = 1_000
"""Moments between the two, of which a tower has one for each channel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a channel stands on chain, confirmed.

    Attributes:
        deposit: 0 if it was never opened, or is closed.
        claimed: Paid to the payee so far.
        exits_at: Last second of the challenge; 0 while no exit has begun.
        presented: Sequence of the voucher presented last; 0 for none.
    """

    deposit: Amount
    claimed: Amount
    exits_at: UnixTime
    presented: Uint64


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """Nothing that the order says counts any more: forget it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Nothing is to be done as things stand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Bring the order on chain from the second `at` on.

    Attributes:
        at: May be over already; then it is late.
        presents: Let its holds count too; else only claim what it pays.
        gain: What the payee would have by it and not without, if every hold is enforced in full.
        by: Last second for which the contract still keeps that money, in any case; 0 if there is no such time.
    """

    at: UnixTime
    presents: bool
    gain: Amount
    by: UnixTime


Decision: TypeAlias = Over | Rest | Act


def turn_of(tower: Address, channel: Digest) -> int:
    """Return which of the `TURNS` moments a tower has for a channel."""
    return int.from_bytes(keccak256(tower + channel)[:8]) % TURNS


def decide(
    order: WatchOrder, standing: Standing, rules: ChannelRules, *, turn: int, least: Amount, seen_at: UnixTime
) -> Decision:
    """Say what a tower does about a channel.

    Args:
        order: A verified one.
        standing: Where the channel stands.
        rules: The contract's constants.
        turn: Of this tower (`turn_of`), 0 to `TURNS - 1`.
        least: The smallest gain that is worth the gas.
        seen_at: When the payee was heard of last.

    Returns:
        For a channel whose payer leaves, by itself or since a hold was enforced: to act in the tower's own moment of
        the challenge. For one in which an older voucher was presented, on which a verdict would be enforced: to act
        once the payee has been away for a quarter of the challenge, since one that is there does so itself (P12).
    """
    if not standing.deposit:
        return Over()
    voucher = order.voucher.value
    is_newer = voucher.sequence > standing.presented
    gain = gain_of(order, standing)
    if gain < max(least, 1) or not (standing.exits_at or (standing.presented and is_newer)):
        return Rest()
    if standing.exits_at:
        began = standing.exits_at - rules.challenge
        first, last = began + rules.challenge // PATIENCE, began + rules.challenge // URGENCY
        at = UnixTime(first + (last - first) * turn // TURNS)
    else:
        at = UnixTime(seen_at + rules.challenge // URGENCY)
    return Act(at=at, presents=is_newer and voucher.held > 0, gain=gain, by=standing.exits_at)


def gain_of(order: WatchOrder, standing: Standing) -> Amount:
    """Return what the payee would have by the order and not without, if every hold is enforced in full."""
    voucher = order.voucher.value
    held = voucher.held if voucher.sequence > standing.presented else 0
    # What a verdict on an older voucher paid is in `claimed`, and counts against holds too: the greater, no sum (P8).
    return Amount(max(0, min(voucher.cumulative + held, standing.deposit) - standing.claimed))
