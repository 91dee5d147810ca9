"""What can be wrong in a channel. Each is a `ProtocolError`: the state did not change.

ChannelError
├── UnexpectedEvent      not in this phase
├── WrongChannel         another channel's voucher, close or key
├── BadVoucher           the payer's fault: reject, take no new work
│   ├── StaleVoucher     older than the one held; harmless, a link reorders
│   ├── ConflictingVoucher  two vouchers, one sequence: evidence
│   ├── CumulativeFell   takes back what was paid
│   ├── HoldsMismatch    holds and voucher contradict each other
│   ├── Overdrawn        promises more than the confirmed deposit
│   └── HoldMissing      drops or shrinks a hold without paying for it
├── Refused              our own rule forbids the step
│   ├── DepositExceeded, TooManyHolds, AwardConflict, UnknownAward, PaymentAboveHold
│   ├── ExitPending, ClosePending, StaleView, HoldTooShort, UnpaidPart, WorkOutstanding
│   ├── StateInDoubt     more may have been signed than this side knows of
│   └── EvidenceTooOld   the chain has seen more than what the payee shows
└── BadClose             a close that this side will not sign
"""

from protocol.errors import ProtocolError
from protocol.units import format_amount


class ChannelError(ProtocolError):
    """A step that the channel's rules forbid (docs/spec/channel.md)."""


class UnexpectedEvent(ChannelError):
    """An event that has no place in this phase."""

    def __init__(self, state: object, event: object) -> None:
        super().__init__(f"{type(event).__name__} has no place in {type(state).__name__}")


class WrongChannel(ChannelError):
    """Something that speaks of another channel."""


class BadVoucher(ChannelError):
    """A voucher that the payee does not take."""


class StaleVoucher(BadVoucher):
    """A voucher older than the best one already held."""

    def __init__(self, *, offered: int, held: int) -> None:
        super().__init__(f"voucher {offered} is older than voucher {held}, which is already held")
        self.offered, self.held = offered, held


class ConflictingVoucher(BadVoucher):
    """Two vouchers with one sequence: the payer contradicts itself."""


class CumulativeFell(BadVoucher):
    """A voucher that takes back what an older one paid."""


class HoldsMismatch(BadVoucher):
    """Holds that are not sorted, not unique, empty, or not those that the voucher names."""


class Overdrawn(BadVoucher):
    """A voucher that promises more than the confirmed deposit (M3)."""

    def __init__(self, *, promised: int, deposit: int) -> None:
        super().__init__(
            f"the voucher promises {format_amount(promised)}, the confirmed deposit is {format_amount(deposit)}",
            advice="the payer must top up the channel and wait for the confirmation",
        )
        self.promised, self.deposit = promised, deposit


class HoldMissing(BadVoucher):
    """A hold that is not there, is for another arbiter or amount, or was dropped without being paid."""


class Refused(ChannelError):
    """A step that this side does not take."""


class DepositExceeded(Refused):
    """A promise that the deposit does not cover."""

    def __init__(self, *, asked: int, free: int) -> None:
        super().__init__(
            f"the channel has {format_amount(free)} free, {format_amount(asked)} is needed",
            advice="top up the channel, or wait until tasks in flight are paid",
        )
        self.asked, self.free = asked, free


class TooManyHolds(Refused):
    """More tasks in flight than one voucher can carry."""


class AwardConflict(Refused):
    """One award, two different terms."""


class UnknownAward(Refused):
    """An award that this channel has no hold for."""


class PaymentAboveHold(Refused):
    """A payment beyond the award's price."""


class ExitPending(Refused):
    """The payer is leaving: nothing new is promised or taken."""


class ClosePending(Refused):
    """A cooperative close is under way: nothing new is promised or taken."""


class StaleView(Refused):
    """The confirmed view of the channel is too old to take new work on (M6)."""


class HoldTooShort(Refused):
    """The award's last deadline lies beyond the time for which a hold is reserved (M5)."""


class UnpaidPart(Refused):
    """An earlier part of the award is unpaid (M2)."""


class WorkOutstanding(Refused):
    """Tasks are in flight or unpaid, so the channel can't be closed."""


class StateInDoubt(Refused):
    """This side may have signed more than it remembers, so it signs nothing in this channel (docs/adr/1302)."""

    def __init__(self) -> None:
        super().__init__(
            "the channel is in doubt: more may have been signed in it than this node remembers",
            advice="the node goes on by itself once the provider shows the newest voucher that it holds; if it is gone"
            " for good, close the channel",
        )


class EvidenceTooOld(Refused):
    """A payee shows less than the chain has seen: it holds more, and hides it."""


class BadClose(ChannelError):
    """A proposed close on terms that this side does not accept."""


class ImpossibleFact(ChannelError):
    """A confirmed fact says that more was paid out than there is: a deep reorganisation brought one a second time."""
