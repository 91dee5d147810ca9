"""Two signatures of one signer that exclude each other (docs/spec/auction.md, A7).

Such a pair proves a fault to anyone, a contract included, without knowing who heard what and when. Nothing else does: a
message that is *missing* costs reputation with whoever misses it, never money.
"""

from dataclasses import dataclass
from typing import TypeAlias, assert_never

from protocol.errors import ProtocolError
from protocol.identity import Address, format_address
from protocol.market.errors import RuleBroken
from protocol.market.objects import Award, Commitment, Offer, Roll
from protocol.signing.eip712 import Domain, digest
from protocol.signing.signed import Signed, verify_signer
from protocol.wire.codec import tagged


class NoConflict(RuleBroken):
    """Two messages that are no proof: they are equal, or do not exclude each other."""

    rule = "A7"


@tagged(1)
@dataclass(frozen=True, slots=True, kw_only=True)
class TwoCommitments:
    """One bidder committed to one offer twice."""

    first: Signed[Commitment]
    second: Signed[Commitment]


@tagged(2)
@dataclass(frozen=True, slots=True, kw_only=True)
class TwoRolls:
    """One requester signed two rolls for one offer, which it also signed."""

    offer: Signed[Offer]
    first: Signed[Roll]
    second: Signed[Roll]


@tagged(3)
@dataclass(frozen=True, slots=True, kw_only=True)
class TwoAwards:
    """One requester signed two awards for one (offer, slot, attempt)."""

    offer: Signed[Offer]
    first: Signed[Award]
    second: Signed[Award]


Conflict: TypeAlias = TwoCommitments | TwoRolls | TwoAwards


@dataclass(frozen=True, slots=True, kw_only=True)
class Culprit:
    """Who is proved to have signed both, and what that was, in words."""

    signer: Address
    fault: str


def check_conflict(domain: Domain, conflict: Conflict) -> Culprit:
    """Return whose fault `conflict` proves. Needs nothing but the two signatures (and the offer, for a requester's).

    Raises:
        NoConflict: The two messages are equal, or don't exclude each other.
        BadSignature: One of them is not signed by whom it must be.
    """
    match conflict:
        case TwoCommitments():
            return _two_commitments(domain, conflict)
        case TwoRolls():
            return _two_rolls(domain, conflict)
        case TwoAwards():
            return _two_awards(domain, conflict)
        case _:
            assert_never(conflict)


def accused_by(conflict: Conflict) -> Address:
    """Return whose fault `conflict` would prove. Nothing is checked: for conflicts that were, or to look before."""
    return conflict.first.value.bidder if isinstance(conflict, TwoCommitments) else conflict.offer.value.requester


def is_proved_by(domain: Domain, conflict: Conflict, against: Address) -> bool:
    """Return whether `conflict` proves a fault of `against`. For evidence that a peer offers as its excuse."""
    if accused_by(conflict) != against:  # cheap, and most are about others
        return False
    try:
        check_conflict(domain, conflict)
    except ProtocolError:
        return False
    return True


def _two_commitments(domain: Domain, conflict: TwoCommitments) -> Culprit:
    first, second = conflict.first.value, conflict.second.value
    if (first.offer, first.bidder) != (second.offer, second.bidder):
        raise NoConflict("the commitments are to two offers, or of two bidders")
    _differ(domain, first, second)
    verify_signer(domain, conflict.first, first.bidder)
    verify_signer(domain, conflict.second, first.bidder)
    return Culprit(signer=first.bidder, fault="signed two commitments to one offer")


def _two_rolls(domain: Domain, conflict: TwoRolls) -> Culprit:
    requester = conflict.offer.value.requester
    offer_id = verify_signer(domain, conflict.offer, requester)
    if conflict.first.value.offer != offer_id or conflict.second.value.offer != offer_id:
        raise NoConflict("one of the rolls is for another offer")
    _differ(domain, conflict.first.value, conflict.second.value)
    verify_signer(domain, conflict.first, requester)
    verify_signer(domain, conflict.second, requester)
    return Culprit(signer=requester, fault="signed two rolls for one offer")


def _two_awards(domain: Domain, conflict: TwoAwards) -> Culprit:
    requester = conflict.offer.value.requester
    offer_id = verify_signer(domain, conflict.offer, requester)
    first, second = conflict.first.value, conflict.second.value
    if first.offer != offer_id or second.offer != offer_id:
        raise NoConflict("one of the awards is for another offer")
    if (first.slot, first.attempt) != (second.slot, second.attempt):
        raise NoConflict("the awards are for two slots or two attempts")
    _differ(domain, first, second)
    verify_signer(domain, conflict.first, requester)
    verify_signer(domain, conflict.second, requester)
    return Culprit(signer=requester, fault=f"signed two awards for slot {first.slot}, attempt {first.attempt}")


def _differ(domain: Domain, first: object, second: object) -> None:
    # Compare what was signed, not the signatures: one message may carry two valid signatures of one key.
    if digest(domain, first) == digest(domain, second):
        raise NoConflict("both messages say the same")


def describe(domain: Domain, conflict: Conflict) -> str:
    """Return who did what, for people.

    Raises:
        ProtocolError: `conflict` proves nothing.
    """
    culprit = check_conflict(domain, conflict)
    return f"{format_address(culprit.signer)} {culprit.fault}"
