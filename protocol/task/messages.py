"""What requester and provider say to each other about one award (docs/spec/wire-messages.md, section 5).

Each is the body of one request over the framed stream between the two; an empty answer means it is durable on the
other side. Every one may be sent again after a crash: each names its award, and all sums are running totals.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from protocol.channel.objects import Hold, Voucher
from protocol.identity import ContentDigest, Digest
from protocol.market.objects import Award
from protocol.market.transcript import Transcript
from protocol.signing.signed import Signed
from protocol.task.objects import Acceptance, Receipt, Start
from protocol.units import Uint8, Uint32, Uint64
from protocol.wire.codec import MaxLen

MAX_HOLDS: Final = 256
REASON_MAX: Final = 512

AWARD_METHOD: Final = "task/award"
FUNDING_METHOD: Final = "task/funding"
START_METHOD: Final = "task/start"
PROGRESS_METHOD: Final = "task/progress"
RECEIPT_METHOD: Final = "task/receipt"
PAYMENT_METHOD: Final = "task/payment"
FAILURE_METHOD: Final = "task/failure"
CANCEL_METHOD: Final = "task/cancel"
SEAL_METHOD: Final = "task/seal"

Reason = Annotated[str, MaxLen(REASON_MAX)]


@dataclass(frozen=True, slots=True, kw_only=True)
class AwardNotice:
    """An award with all that proves it: the provider verifies the transcript before it takes the work."""

    award: Signed[Award]
    transcript: Transcript


@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherNotice:
    """A voucher and the holds under its root, sorted as docs/spec/channel.md says."""

    voucher: Signed[Voucher]
    holds: Annotated[tuple[Hold, ...], MaxLen(MAX_HOLDS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingNotice:
    """The award is funded: by the hold in `voucher`, or by an escrow that the provider looks up itself."""

    award: Digest
    voucher: VoucherNotice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartNotice:
    """The provider is bound."""

    start: Signed[Start]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressNotice:
    """How far a part is: for people to watch, unsigned, never billed from."""

    award: Digest
    part: Uint32
    fuel: Uint64
    bytes_out: Uint64


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """The host's own measurements behind `Receipt.notes`: signed by digest, never judged (B4)."""

    wall_ms: Uint64
    cpu_ms: Uint64
    host: Annotated[str, MaxLen(128)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptNotice:
    """One part is done. Output and logs are served by digest to the requester, with these lengths."""

    receipt: Signed[Receipt]
    output_bytes: Uint64
    log_bytes: Uint64
    notes: Notes


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentNotice:
    """A part is accepted; over a channel, the voucher that pays it comes along."""

    acceptance: Signed[Acceptance]
    voucher: VoucherNotice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureNotice:
    """The provider gives an award up: the host failed, or the outcome is one that nobody can judge (B3)."""

    award: Digest
    part: Uint32
    outcome: Uint8
    logs: ContentDigest
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelNotice:
    """The requester wants no more parts. What is delivered is paid; a part under way may be dropped."""

    award: Digest
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class SealNotice:
    """What the award's `audit_seal` sealed, told with the last payment: it shows which receipts were to be audited."""

    award: Digest
    secret: Digest
