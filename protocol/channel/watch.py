"""What a watchtower needs to defend a payee that is away (docs/spec/watchtower.md, section 1).

Holds count on chain only with the payee's own signature over the voucher (M4), so whoever gets a `WatchOrder` could
also present it too early; that costs the payer waiting time and the payee nothing. Give orders only to a watchtower
that you trust that far, and a new one after each voucher that matters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from protocol.channel.errors import WrongChannel
from protocol.channel.holds import Holds, verify_holds
from protocol.channel.objects import ChannelKey, Hold, Voucher, channel_id
from protocol.identity import ZERO_ADDRESS, Digest
from protocol.signing.ecdsa import Signature
from protocol.signing.eip712 import Domain
from protocol.signing.signed import Signed, verify_signer
from protocol.units import Amount, Uint64


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOrder:
    """All that it takes to present one voucher for a payee.

    Attributes:
        key: The channel's name.
        voucher: Signed by the payer's signer.
        holds: The holds behind it, which an arbiter's entry needs later.
        payee_signature: The payee's, over the same voucher.
    """

    key: ChannelKey
    voucher: Signed[Voucher]
    holds: Holds
    payee_signature: Signature


def verify_watch_order(domain: Domain, order: WatchOrder) -> None:
    """Check that the chain would take `order`.

    Raises:
        WrongChannel: The voucher is for another channel.
        BadSignature: One of the signatures is not the signer's or the payee's.
        HoldsMismatch: The holds are not those of the voucher.
    """
    if order.voucher.value.channel != channel_id(order.key):
        raise WrongChannel("the voucher is for another channel than the order")
    verify_signer(domain, order.voucher, order.key.signer)
    verify_signer(domain, Signed(order.voucher.value, order.payee_signature), order.key.payee)
    verify_holds(order.voucher.value, order.holds)


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedMark:
    """What a tower said that it holds durably: the voucher's sequence, total and holds."""

    sequence: Uint64
    cumulative: Amount
    holds: Digest


def mark_of(voucher: Voucher) -> HandedMark:
    """Return the mark of a voucher that a tower holds."""
    return HandedMark(sequence=voucher.sequence, cumulative=voucher.cumulative, holds=voucher.holds)


def money_at_stake(
    voucher: Voucher, holds: Sequence[Hold], *, deposit: Amount, claimed: Amount, mark: HandedMark | None
) -> Amount:
    """Return what the payee could lose while it is away, if all that stood in for it were a tower with `mark`.

    Args:
        voucher: The newest that the payee holds.
        holds: Behind it. One that names no arbiter can't be enforced, so no presentation saves it.
        deposit: Of the channel, confirmed.
        claimed: Paid out on chain so far.
        mark: What the tower holds; None for no tower.
    """
    safe = max(claimed, mark.cumulative if mark is not None else 0)
    paid = max(0, min(voucher.cumulative, deposit) - safe)
    if mark is not None and mark.holds == voucher.holds:
        return Amount(paid)
    return Amount(paid + sum(hold.amount for hold in holds if hold.arbiter != ZERO_ADDRESS))
