"""What can be wrong with a transcript whose messages are each sound by themselves (docs/spec/auction.md)."""

from protocol.identity import Address, format_address
from protocol.market.errors import TranscriptError
from protocol.market.evidence import Conflict


class WrongWinner(TranscriptError):
    """An award to a bidder that did not win."""

    rule = "A2"


class WrongPrice(TranscriptError):
    """An award at another price than the auction gives."""

    rule = "A4"


class WrongEtaAwarded(TranscriptError):
    """An award whose time to deliver is not the one that the winner promised."""

    rule = "O4"


class BidNotInRoll(TranscriptError):
    """A bid of a bidder that does not stand in the roll, or for another roll."""

    rule = "A1"


class UncountableBid(TranscriptError):
    """A bid under the award that counts as not revealed."""

    rule = "A2"


class TwoBidsOfOne(TranscriptError):
    """Two bids of one bidder under one award."""

    rule = "A2"


class BidsMismatch(TranscriptError):
    """Bids that are not those under the award's root."""

    rule = "A2"


class RollDiffers(TranscriptError):
    """An award for another roll than the transcript shows."""

    rule = "A1"


class OmittedCommitment(TranscriptError):
    """A commitment that this peer heard before the close is missing from the roll.

    Attributes:
        bidder: Whose it is.
    """

    rule = "A6"

    def __init__(self, bidder: Address) -> None:
        super().__init__(f"the roll leaves out {format_address(bidder)}, whose commitment was heard before the close")
        self.bidder = bidder


class OmittedBid(TranscriptError):
    """A bid that this peer heard in time is missing under the award.

    Attributes:
        bidder: Whose it is.
    """

    rule = "A6"

    def __init__(self, bidder: Address) -> None:
        super().__init__(f"the award leaves out the bid of {format_address(bidder)}, which was heard in time")
        self.bidder = bidder


class RequesterConflict(TranscriptError):
    """Two rolls, or two awards for one slot and attempt, of this requester.

    Attributes:
        conflict: The proof.
    """

    rule = "A7"

    def __init__(self, message: str, conflict: Conflict) -> None:
        super().__init__(message)
        self.conflict = conflict


class MissingAward(TranscriptError):
    """No award, or an attempt without the one before it: the transcript can't be recomputed."""

    rule = "A5"


class RepeatedPart(TranscriptError):
    """A later attempt that starts before an earlier one of its slot did."""

    rule = "A5"
