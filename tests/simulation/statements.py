"""What honest nodes signed and sent: never two things of which only one can be meant, whatever crashed in between.

A node says a thing twice after a restart, and must say the same. What was signed, lost with the disk's last writes and
never sent binds nobody; so it is read off the lines, before anything there goes wrong.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Final

from protocol.channel.messages import CLOSE_METHOD, VOUCHER_METHOD, CloseProposal
from protocol.channel.objects import Voucher
from protocol.errors import ProtocolError
from protocol.identity import Address, Digest
from protocol.market.messages import read_message
from protocol.market.objects import Award, Bid, Commitment, Roll
from protocol.signing.eip712 import Domain, struct_hash
from protocol.signing.signed import Signed, signer_of
from protocol.task.messages import (
    AWARD_METHOD,
    FUNDING_METHOD,
    PAYMENT_METHOD,
    RECEIPT_METHOD,
    START_METHOD,
    AwardNotice,
    FundingNotice,
    PaymentNotice,
    ReceiptNotice,
    StartNotice,
    VoucherNotice,
)
from protocol.task.objects import Acceptance, Receipt, Start
from protocol.wire.codec import decode_as
from tests.simulation.contracts_model import Rules

_BODIES: Final[dict[str, type]] = {
    AWARD_METHOD: AwardNotice,
    FUNDING_METHOD: FundingNotice,
    START_METHOD: StartNotice,
    RECEIPT_METHOD: ReceiptNotice,
    PAYMENT_METHOD: PaymentNotice,
    VOUCHER_METHOD: VoucherNotice,
    CLOSE_METHOD: CloseProposal,
}
_MARKET_METHOD: Final = "market/message"
_MAX_BYTES: Final = 1 << 20


@dataclass(kw_only=True)
class Statements:
    """Who said what about what; `broken` tells of those that said two things."""

    rules: Rules
    said: dict[tuple[object, ...], Digest] = field(default_factory=dict[tuple[object, ...], Digest])
    broken: dict[Address, str] = field(default_factory=dict[Address, str])

    def hear(self, sender: Address, what: str, data: bytes) -> None:
        """Take down what `sender` signed itself in a message that it sends."""
        try:
            message = _read(what, data)
        except ProtocolError as error:
            self.broken.setdefault(sender, f"sent what nobody can read: {error}")
            return
        for signed in _signed_in(message):
            place = _place_of(signed.value)
            if place is None or signer_of(self._domain_of(signed.value), signed) != sender:
                continue
            said = struct_hash(signed.value)
            if self.said.setdefault((sender, *place), said) != said:
                self.broken.setdefault(sender, f"signed and sent another {signed.value}")

    def _domain_of(self, value: object) -> Domain:
        return self.rules.channels if isinstance(value, Voucher) else self.rules.market


def _read(what: str, data: bytes) -> object:
    if what.startswith("/stoa/") or what == _MARKET_METHOD:
        return read_message(data)
    body = _BODIES.get(what)
    return None if body is None else decode_as(body, data, max_bytes=_MAX_BYTES)


def _signed_in(value: Any) -> Iterator[Signed[Any]]:
    if isinstance(value, Signed):
        yield value
    elif is_dataclass(value):
        for each in fields(value):
            yield from _signed_in(getattr(value, each.name))
    elif isinstance(value, tuple):
        for item in value:  # pyright: ignore[reportUnknownVariableType] - any tuple of a decoded message
            yield from _signed_in(item)


def _place_of(value: object) -> tuple[object, ...] | None:
    """Return what there may be one statement about."""
    match value:
        case Commitment(offer=offer):
            place = (offer,)
        case Roll(offer=offer):
            place = (offer,)
        case Bid(offer=offer, roll=roll) if any(roll):  # in an open auction a better one may follow
            place = (offer,)
        case Award(offer=offer, slot=slot, attempt=attempt):
            place = (offer, slot, attempt)
        case Start(award=award):
            place = (award,)
        case Receipt(award=award, part=part) | Acceptance(award=award, part=part):
            place = (award, part)
        case Voucher(channel=channel, sequence=sequence):
            place = (channel, sequence)
        case _:
            return None
    return (type(value).__name__, *place)
