"""Why a watchtower does not take an order."""

from protocol.errors import ProtocolError, TransientError
from protocol.identity import Address, format_address
from protocol.units import Amount, format_amount


class NotAClient(ProtocolError):
    """Somebody for whom this node does not watch."""

    def __init__(self, wallet: Address | None) -> None:
        who = "a node whose wallet is not known here" if wallet is None else format_address(wallet)
        super().__init__(
            f"this node does not watch for {who}", advice="ask its operator to add your wallet to watchtower.clients"
        )


class NotYourChannel(ProtocolError):
    """A channel that does not pay who asks, or is of another token."""


class TooManyWatches(ProtocolError):
    """A client has as many watches, or bytes of them, as it may."""


class TooSmall(ProtocolError):
    """A deposit that is not worth a transaction."""

    def __init__(self, *, deposit: Amount, least: Amount) -> None:
        super().__init__(f"the deposit is {format_amount(deposit)}, this tower watches {format_amount(least)} and more")


class TooOften(TransientError):
    """A client asks more often than it may."""
