"""What a watchtower needs to defend a payee that is away (docs/spec/channel.md, CH21).

Holds count on chain only with the payee's own signature over the voucher (M4), so whoever gets a `WatchOrder` could
also present it too early; that costs the payer waiting time and the payee nothing. Give orders only to a watchtower
that you trust that far, and a new one after each voucher that matters.
"""

from dataclasses import dataclass

from protocol.channel.errors import WrongChannel
from protocol.channel.holds import Holds, verify_holds
from protocol.channel.objects import ChannelKey, Voucher, channel_id
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


def is_needed(order: WatchOrder, *, is_exiting: bool, claimed: Amount, presented: Uint64) -> bool:
    """Tell whether a watchtower must present `order` now: the payer leaves, and the chain knows less than the order."""
    voucher = order.voucher.value
    return is_exiting and (voucher.cumulative > claimed or (voucher.held > 0 and voucher.sequence > presented))
