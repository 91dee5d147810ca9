"""The payer's words: what happens to it, what it orders, and where it stands (protocol/channel/payer.py)."""

from dataclasses import dataclass
from typing import TypeAlias

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
from protocol.channel.holds import Holds
from protocol.channel.ledger import Ledger
from protocol.channel.objects import ChannelKey, ChannelRules, Close, Hold, Voucher, channel_id
from protocol.identity import Address, Digest
from protocol.units import Amount, Uint64, UnixTime
from protocol.wire.codec import tagged


@tagged(16)
@dataclass(frozen=True, slots=True, kw_only=True)
class HoldRequested:
    """Promise `price + dispute_fee` to `award`."""

    award: Digest
    arbiter: Address
    price: Amount
    dispute_fee: Amount


@tagged(17)
@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentDue:
    """`due` in all is owed for `award` (C6): an acceptance was signed."""

    award: Digest
    due: Amount


@tagged(18)
@dataclass(frozen=True, slots=True, kw_only=True)
class HoldReleased:
    """`award` is over, paid or never begun: what is left of its hold is free again."""

    award: Digest


@tagged(19)
@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherAcknowledged:
    """The payee holds voucher `sequence`."""

    sequence: Uint64


@tagged(20)
@dataclass(frozen=True, slots=True, kw_only=True)
class TopUpRequested:
    """Add `amount` to the deposit."""

    amount: Amount


@tagged(21)
@dataclass(frozen=True, slots=True, kw_only=True)
class ExitRequested:
    """Leave without the payee's help."""


@tagged(22)
@dataclass(frozen=True, slots=True, kw_only=True)
class CloseRequested:
    """End the channel with the payee's consent, until `close_by`."""

    close_by: UnixTime


@tagged(23)
@dataclass(frozen=True, slots=True, kw_only=True)
class Doubted:
    """More may have been signed than this side knows of: its journal was restored, or somebody has seen more."""


@tagged(24)
@dataclass(frozen=True, slots=True, kw_only=True)
class NewestShown:
    """The payee showed the newest voucher that it holds, checked by `verify_shown`; None if it holds none.

    Attributes:
        voucher: Signed by this side.
        holds: The holds behind it.
        now: The node's clock.
    """

    voucher: Voucher | None
    holds: Holds
    now: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class AskNewest:
    """Ask the payee for the newest voucher that it holds, once the chain is known up to now."""

    key: ChannelKey


@dataclass(frozen=True, slots=True, kw_only=True)
class AskOpened:
    """Ask the chain whether this counter was used, once it is known up to now."""

    key: ChannelKey


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitOpen:
    """Open `key` with `amount`. At most one transaction for one key: the counter makes a second fail."""

    key: ChannelKey
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitTopUp:
    """Add `amount`, so that the deposit reaches `target`. (channel, target) names this order: act on it once."""

    key: ChannelKey
    amount: Amount
    target: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class SendVoucher:
    """Sign this voucher and send it with its holds until it is acknowledged."""

    voucher: Voucher
    holds: tuple[Hold, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SendClose:
    """Sign this close and send it to the payee, who submits it."""

    close: Close


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitExit:
    """Begin the exit on chain."""

    key: ChannelKey


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitWithdraw:
    """Take out what is free. The contract sends the difference, so twice is harmless."""

    key: ChannelKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """The deposit is not confirmed yet. `doubt`: it may have been opened, and used, without this side's knowledge."""

    key: ChannelKey
    amount: Amount
    rules: ChannelRules
    doubt: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What is true of a channel in every phase after its opening.

    Attributes:
        key: Its name.
        rules: The contract's constants.
        deposit: What the contract holds or paid to the payee: deposits less withdrawals and arbiters' fees.
        claimed: What the payee was paid so far.
        by_voucher: The greatest total that it claimed by a voucher; verdicts may have given it more.
        reserved: What the payee would have in all if every presented hold were enforced in full; 0 without any. The
            payer can't take it before the hold period is over.
        presented: Sequence of the voucher presented last; 0 for none.
        now: Time of the newest confirmed block.
    """

    key: ChannelKey
    rules: ChannelRules
    deposit: Amount
    claimed: Amount = Amount(0)
    by_voucher: Amount = Amount(0)
    presented: Uint64 = 0
    reserved: Amount = Amount(0)
    now: UnixTime = UnixTime(0)

    @property
    def channel(self) -> Digest:
        """Return the channel's id."""
        return channel_id(self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Promises and pays.

    Attributes:
        account: The money on chain.
        ledger: The money promised and paid off chain.
        top_up_to: The deposit that a pending top-up reaches, if any.
        leaving: Whether an exit was asked for.
        close: A proposed close that still counts, if any.
        doubt: Whether more may have been signed than `ledger` says.
    """

    account: Account
    ledger: Ledger
    top_up_to: Amount | None = None
    leaving: bool = False
    close: Close | None = None
    doubt: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exiting:
    """The exit runs; what is in flight is still paid.

    Attributes:
        account: The money on chain.
        ledger: The money promised and paid off chain.
        exits_at: Last second of the challenge.
        doubt: Whether more may have been signed than `ledger` says.
    """

    account: Account
    ledger: Ledger
    exits_at: UnixTime
    doubt: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Closed and empty. `paid` went to the payee."""

    channel: Digest
    paid: Amount


PayerState: TypeAlias = Opening | Open | Exiting | Settled
PayerEvent: TypeAlias = (
    OpenConfirmed
    | TopUpConfirmed
    | ClaimConfirmed
    | PresentConfirmed
    | ExitConfirmed
    | EnforceConfirmed
    | WithdrawConfirmed
    | CloseConfirmed
    | BlockSeen
    | HoldRequested
    | PaymentDue
    | HoldReleased
    | VoucherAcknowledged
    | TopUpRequested
    | ExitRequested
    | CloseRequested
    | Doubted
    | NewestShown
)
PayerEffect: TypeAlias = (
    AskNewest | AskOpened | SubmitOpen | SubmitTopUp | SendVoucher | SendClose | SubmitExit | SubmitWithdraw
)
