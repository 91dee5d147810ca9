"""The protocol's values as the doors show them."""

from typing import Final, cast

from node.api import views
from protocol.identity import ZERO_DIGEST, Address, Digest
from protocol.market.objects import AuctionFormat
from protocol.task.objects import Receipt
from protocol.task.outcome import describe
from protocol.task.pricing import Rates
from protocol.units import Amount

FORMATS: Final[dict[views.AuctionFormatName, AuctionFormat]] = {
    "second-price": AuctionFormat.SEALED_SECOND_PRICE,
    "first-price": AuctionFormat.SEALED_FIRST_PRICE,
    "open": AuctionFormat.OPEN,
}
_FORMAT_NAMES: Final = {AuctionFormat.DIRECT: "direct hire", **{value: name for name, value in FORMATS.items()}}


def format_name(number: int) -> str:
    """Return an auction format's name."""
    return _FORMAT_NAMES[AuctionFormat(number)]


def own_format_name(number: int) -> views.AuctionFormatName:
    """Return the name of a format that this node may ask for."""
    return cast("views.AuctionFormatName", _FORMAT_NAMES[AuctionFormat(number)])


def rail_of(channel: Digest) -> views.RailName:
    """Return how an award is paid."""
    return "escrow" if channel == ZERO_DIGEST else "channel"


def prices_view(rates: Rates) -> views.PricesView:
    """Return the five prices."""
    return views.PricesView(
        start=rates.start,
        gfuel=rates.gfuel,
        mib_gfuel=rates.mib_gfuel,
        mib_in=rates.mib_in,
        mib_out=rates.mib_out,
    )


def rates_from(prices: views.PricesView) -> Rates:
    """Return the five prices as the protocol counts them."""
    return Rates(
        start=prices.start,
        gfuel=prices.gfuel,
        mib_gfuel=prices.mib_gfuel,
        mib_in=prices.mib_in,
        mib_out=prices.mib_out,
    )


def part_view(
    receipt: Receipt, receipt_id: Digest, provider: Address, cost: Amount, audit: views.AuditName
) -> views.PartView:
    """Return a delivered part; its sizes are filled in where the blobs are at hand."""
    return views.PartView(
        part=receipt.part,
        provider=provider,
        outcome=receipt.outcome,
        outcome_text=describe(receipt.outcome),
        output=receipt.output,
        output_bytes=0,
        logs=receipt.logs,
        log_bytes=0,
        fuel=receipt.fuel,
        peak_mib=receipt.peak_mib,
        cost=cost,
        receipt=receipt_id,
        audit=audit,
    )
