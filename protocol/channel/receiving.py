"""The payee's words: what happens to it, what it orders, and where it stands (protocol/channel/payee.py)."""

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
from protocol.channel.objects import ChannelKey, ChannelRules, Close, Hold, Voucher, channel_id
from protocol.identity import Address, Digest
from protocol.signing.eip712 import Domain
from protocol.signing.signed import Signed
from protocol.units import Amount, Uint64, UnixTime
from protocol.wire.codec import tagged


@tagged(32)
@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherReceived:
    """The payer sent a voucher and the holds behind it. Nothing about them is checked yet."""

    signed: Signed[Voucher]
    holds: Holds


@tagged(33)
@dataclass(frozen=True, slots=True, kw_only=True)
class AwardTaken:
    """This side is about to sign a Start.

    Attributes:
        award: Digest of the award.
        arbiter: Who judges it.
        price: Its price.
        dispute_fee: Its dispute fee.
        reserved_until: Its last deadline (`Deadlines.latest_resolve_by`).
        now: The node's clock.
    """

    award: Digest
    arbiter: Address
    price: Amount
    dispute_fee: Amount
    reserved_until: UnixTime
    now: UnixTime


@tagged(34)
@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptSigned:
    """A part was delivered; `due` in all is asked for `award`."""

    award: Digest
    due: Amount


@tagged(35)
@dataclass(frozen=True, slots=True, kw_only=True)
class AwardFinished:
    """Nothing more will be delivered for `award`: only what its receipts ask is insisted on."""

    award: Digest


@tagged(39)
@dataclass(frozen=True, slots=True, kw_only=True)
class AwardWrittenOff:
    """`award` is over, and what it leaves unpaid is given up: it names no arbiter, so nobody could enforce its hold."""

    award: Digest


@tagged(36)
@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequested:
    """Bring what was paid by voucher on chain now, whatever the threshold."""


@tagged(37)
@dataclass(frozen=True, slots=True, kw_only=True)
class PresentRequested:
    """A hold will be enforced: the newest voucher must stand on chain before the dispute."""


@tagged(38)
@dataclass(frozen=True, slots=True, kw_only=True)
class CloseProposed:
    """The payer proposes to end the channel. Nothing about it is checked yet."""

    signed: Signed[Close]
    now: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgeVoucher:
    """Tell the payer that voucher `sequence` is held."""

    sequence: Uint64


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitClaim:
    """Claim what the voucher pays. Repeats pay nothing, since the total is a running one."""

    key: ChannelKey
    signed: Signed[Voucher]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitPresent:
    """Claim what the voucher pays and let its holds count, as the payee or with its signature over the voucher."""

    key: ChannelKey
    signed: Signed[Voucher]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitClose:
    """Close on the payer's terms, as the payee."""

    key: ChannelKey
    signed: Signed[Close]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engagement:
    """One award that this side works on.

    Attributes:
        award: Its digest.
        price: Most that vouchers pay for it.
        due: What its receipts ask so far.
        paid: What vouchers have paid for it.
        since: Sequence of the voucher that held its money when it was taken.
        reserved_until: Its last deadline; later no arbiter enforces its hold.
        finished: Whether nothing more will be delivered.
    """

    award: Digest
    price: Amount
    due: Amount = Amount(0)
    paid: Amount = Amount(0)
    since: Uint64
    reserved_until: UnixTime
    finished: bool = False

    @property
    def unpaid(self) -> int:
        """Return what was delivered and not paid."""
        return max(0, self.due - self.paid)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeTaken:
    """What an arbiter took of the deposit for an award. It takes it once, and vouchers may still hold it."""

    award: Digest
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Purse:
    """What the payee has in one channel.

    Attributes:
        key: The channel's name.
        rules: The contract's constants.
        domain: Of the channel contract, in which vouchers are signed.
        claim_at: Unclaimed amount from which a claim is submitted.
        deposit: Confirmed, less withdrawals and arbiters' fees.
        claimed: Paid out on chain so far.
        presented: Sequence of the voucher presented last; 0 for none.
        presented_at: When that was seen; what is insisted on is reserved since then if it held anything.
        reserves: Whether it held anything.
        seen_at: Time of the newest confirmed block.
        best: The newest voucher; None before the first.
        holds: The holds behind it.
        engagements: Awards taken, by digest, ascending.
        claim_to: Total that a requested claim must reach.
        present_to: Sequence that a requested presentation must reach.
        fees_taken: What arbiters took of the deposit.
    """

    key: ChannelKey
    rules: ChannelRules
    domain: Domain
    claim_at: Amount
    deposit: Amount
    claimed: Amount = Amount(0)
    presented: Uint64 = 0
    presented_at: UnixTime = UnixTime(0)
    reserves: bool = False
    seen_at: UnixTime = UnixTime(0)
    best: Signed[Voucher] | None = None
    holds: tuple[Hold, ...] = ()
    engagements: tuple[Engagement, ...] = ()
    claim_to: Amount = Amount(0)
    present_to: Uint64 = 0
    fees_taken: tuple[FeeTaken, ...] = ()

    @property
    def channel(self) -> Digest:
        """Return the channel's id."""
        return channel_id(self.key)

    @property
    def sequence(self) -> int:
        """Return the sequence of the newest voucher, 0 before the first."""
        return self.best.value.sequence if self.best else 0

    @property
    def cumulative(self) -> int:
        """Return what the newest voucher pays in all."""
        return self.best.value.cumulative if self.best else 0

    @property
    def held(self) -> int:
        """Return what the newest voucher holds."""
        return self.best.value.held if self.best else 0

    def find(self, award: Digest) -> Engagement | None:
        """Return the engagement for `award`, or None."""
        return next((each for each in self.engagements if each.award == award), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiving:
    """Takes vouchers and work. `close`: the payer's proposed close, accepted and on its way."""

    purse: Purse
    close: Signed[Close] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Defending:
    """The payer leaves: everything held goes on chain before `exits_at` is over, nothing new is taken."""

    purse: Purse
    exits_at: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Closed and empty. `received` is what this side got in all."""

    channel: Digest
    received: Amount


PayeeState: TypeAlias = Receiving | Defending | Ended
PayeeEvent: TypeAlias = (
    OpenConfirmed
    | TopUpConfirmed
    | ClaimConfirmed
    | PresentConfirmed
    | ExitConfirmed
    | EnforceConfirmed
    | WithdrawConfirmed
    | CloseConfirmed
    | BlockSeen
    | VoucherReceived
    | AwardTaken
    | ReceiptSigned
    | AwardFinished
    | AwardWrittenOff
    | ClaimRequested
    | PresentRequested
    | CloseProposed
)
PayeeEffect: TypeAlias = AcknowledgeVoucher | SubmitClaim | SubmitPresent | SubmitClose
