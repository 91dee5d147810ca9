"""What can be in the way of a payment.

StoaError
├── InsufficientTokens   the wallet has less than the rail needs
├── OutOfGas             the wallet can't pay the fee of the transaction
└── OpenFailed           the contract, or our own wallet's rules, refused to open a channel
ProtocolError
├── ChannelUnknown       no such channel, or not ours, or not between these two
├── NotFunded            what came is not what funds the award
├── NotPaid              what came does not pay what was accepted
├── AwardRenounced       we have let go of the award's hold
├── EscrowGone           the escrow is not, or no longer, open for this award
├── BadTerms             the award names another token, contract or channel than ours
└── OldFact              a fact from the chain that was applied before (never leaves this room)
TransientError
├── NotSeenYet           our own confirmed view does not show it yet; ask again
└── NotConfirmedInTime   the transaction is on its way and not confirmed
ChainRejected
└── ClaimLeftOut         the contract skipped our claim in a batch
"""

from protocol.errors import ChainRejected, ProtocolError, StoaError, TransientError
from protocol.identity import Digest
from protocol.units import format_amount


class InsufficientTokens(StoaError):
    """The wallet has less than the rail needs."""

    def __init__(self, *, needed: int, balance: int) -> None:
        super().__init__(
            f"{format_amount(needed)} is needed, the wallet has {format_amount(balance)}",
            advice="send tokens to the wallet, or close channels that are no longer used",
        )
        self.needed, self.balance = needed, balance


class OutOfGas(StoaError):
    """The wallet can't pay the fee of the transaction that a rail needs."""

    def __init__(self, *, needed: int, balance: int) -> None:
        super().__init__(
            f"a transaction costs up to {needed} wei now, the wallet has {balance} wei of gas money",
            advice="send gas money to the wallet",
        )
        self.needed, self.balance = needed, balance


class OpenFailed(StoaError):
    """A channel could not be opened."""


class ChainRewound(StoaError):
    """Blocks that counted as confirmed left the chain, and money was promised in reliance on them."""

    def __init__(self, to: int) -> None:
        super().__init__(
            f"the chain lost confirmed blocks above {to}; what this node holds about channels and escrows may be wrong",
            advice="raise chain.confirmations, and compare channels and escrows with the chain before going on",
        )
        self.to = to


class ChannelUnknown(ProtocolError):
    """No such channel here."""


class NotFunded(ProtocolError):
    """What came is not what funds the award."""


class NotPaid(ProtocolError):
    """What came does not pay what was accepted."""


class AwardRenounced(ProtocolError):
    """This side has let go of the award's hold, and takes no work under it."""


class EscrowGone(ProtocolError):
    """The escrow of the award is not, or no longer, open."""


class BadTerms(ProtocolError):
    """An award over another token, contract or channel than ours."""


class OldFact(ProtocolError):
    """A fact from the chain that was applied before."""


class ClaimLeftOut(ChainRejected):
    """The contract skipped one claim of a batch: the channel is over, or somebody claimed as much before."""

    def __init__(self, channel: Digest) -> None:
        super().__init__(f"the claim of channel {channel.hex()} was left out of a batch")
        self.channel = channel


class NotSeenYet(TransientError):
    """Our own confirmed view does not show it yet."""


class NotConfirmedInTime(TransientError):
    """A transaction is on its way and not confirmed yet."""
