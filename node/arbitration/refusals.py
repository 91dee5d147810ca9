"""Why a user can't open a case, or appeal: each says what to do instead (docs/spec/parties.md, PT18 to PT20)."""

from datetime import UTC, datetime

from protocol.errors import ProtocolError
from protocol.identity import Digest
from protocol.units import Amount, UnixTime, format_amount


class NoSuchAward(ProtocolError):
    """No award of this node's own has an id that begins so, or several have."""


class NoCourtNamed(ProtocolError):
    """The award names no court, or another."""

    def __init__(self) -> None:
        super().__init__(
            "this award names no court of this network, so it can have no case",
            advice="what is disputed on its escrow is split as the award says, and a hold in a channel lapses; only"
            " tasks whose parts cost at least the court's dispute fee name it (requester.dispute_fee)",
        )


class CaseExists(ProtocolError):
    """An award has one case, and has it."""

    def __init__(self, award: Digest, state: str) -> None:
        super().__init__(
            f"this award has its one case already: {state}",
            advice=f"see `stoa disputes show {award.hex()[:10]}`; a decision against you can be appealed",
        )


class NoReceipt(ProtocolError):
    """Over a channel a case is about a receipt."""

    def __init__(self) -> None:
        super().__init__(
            "no receipt of this award is here, and a case over a channel is about one",
            advice="nothing was delivered, so nothing is owed for it: what is held for the award lapses by itself",
        )


class NotDisputable(ProtocolError):
    """Nothing is to be judged: nothing was claimed, nothing is unpaid, or the money is gone already."""


class TooLateForCourt(ProtocolError):
    """The time for it is over."""

    def __init__(self, what: str, since: UnixTime) -> None:
        super().__init__(
            f"it is too late to {what}: the last second was {moment(since)}",
            advice="the contracts take nothing after that; `stoa disputes list` shows the cases that there are",
        )


class NotYet(ProtocolError):
    """There is nothing to appeal yet."""


class BondNotCovered(ProtocolError):
    """The wallet has less than the bond, or its caps leave less."""


class DearerThanAgreed(ProtocolError):
    """The bond is more than what the user said yes to."""

    def __init__(self, bond: Amount, agreed: Amount) -> None:
        super().__init__(
            f"the bond is {format_amount(bond)}, and {format_amount(agreed)} was agreed to",
            advice="look at it again",
        )


class NothingToGain(ProtocolError):
    """The user would lose the bond for nothing, as far as this node can tell."""

    def __init__(self, why: str) -> None:
        super().__init__(why, advice="if you know better, say --anyway")


def moment(time: UnixTime) -> str:
    """Return a time as messages tell it: the reader may be in another zone than the node."""
    try:
        return datetime.fromtimestamp(time, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):  # an award may name any second
        return f"second {time}"
