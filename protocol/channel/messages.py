"""What payer and payee of a channel say to each other beside the messages of a task (docs/spec/channel.md, section 6).

Each is the body of one request. Vouchers and closes carry their own signatures, so it does not matter who brings them;
a release is asked for by the payer's own node. Every one may come again.
"""

from dataclasses import dataclass
from typing import Final

from protocol.channel.holds import Holds
from protocol.channel.objects import Close, Voucher
from protocol.identity import Digest
from protocol.signing.signed import Signed
from protocol.units import Uint64

VOUCHER_METHOD: Final = "channel/voucher"
"""A `VoucherNotice` of protocol/task/messages.py; the answer is a `VoucherHeld`."""
RELEASE_METHOD: Final = "channel/release"
"""A `ReleaseRequest`; the answer is a `ReleaseAnswer`."""
CLOSE_METHOD: Final = "channel/close"
"""A `CloseProposal`; an empty answer means that the payee keeps it and submits it."""
NEWEST_METHOD: Final = "channel/newest"
"""A `NewestRequest` of the channel's payer; the answer is a `NewestAnswer`, at most `VOUCHER_MAX_BYTES`."""

VOUCHER_MAX_BYTES: Final = 32 * 1024
SMALL_MAX_BYTES: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherHeld:
    """The payee holds the voucher `sequence` of the channel durably, and no newer one."""

    sequence: Uint64


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRequest:
    """The payer will pay nothing more for `award`: may it take back what is left of the hold?"""

    channel: Digest
    award: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseAnswer:
    """Whether the payee lets go of the hold. Once it has said yes it takes no work under that award."""

    released: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseProposal:
    """End the channel on these terms."""

    close: Signed[Close]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewestRequest:
    """The payer has forgotten what it signed in this channel: which voucher does the payee hold?"""

    channel: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class NewestAnswer:
    """The newest voucher that the payee holds, with its holds; None before the first."""

    voucher: Signed[Voucher] | None
    holds: Holds
