"""What can be wrong with an auction. Every error names the rule of docs/spec that was broken.

ProtocolError
└── RuleBroken
    ├── OfferError        an offer that nobody should bid on
    ├── CommitmentError   a commitment that does not count
    ├── RollError         a roll that does not hold together
    ├── BidError          a bid that counts as not revealed
    ├── AwardError        an award that does not follow from its offer
    ├── TranscriptError   a transcript whose awards do not follow from its offer, roll and bids
    └── UnexpectedEvent   an event that the state of a machine has no place for
"""

from typing import ClassVar

from protocol.errors import ProtocolError


class RuleBroken(ProtocolError):
    """A numbered rule of docs/spec does not hold.

    Attributes:
        rule: Its number, such as "A2".
    """

    rule: ClassVar[str] = ""

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(f"{message} (rule {self.rule})" if self.rule else message, advice=advice)


class OfferError(RuleBroken):
    """An offer that nobody should bid on."""


class CommitmentError(RuleBroken):
    """A commitment that does not count."""


class RollError(RuleBroken):
    """A roll that does not hold together."""


class BidError(RuleBroken):
    """A bid that counts as not revealed."""


class AwardError(RuleBroken):
    """An award that does not follow from its offer."""


class TranscriptError(RuleBroken):
    """A transcript whose awards do not follow from its offer, roll and bids."""


class UnexpectedEvent(RuleBroken):
    """An event that the state of a machine has no place for; the state did not change."""


class WrongOffer(RuleBroken):
    """A message about another offer than the one it was handed to."""

    rule = "C3"
