"""What any peer keeps of the auctions that it hears. Pure: docs/spec/auction.md, section 6.

Theory. A transcript can't show what it leaves out; peers that heard the gossip can (A6). So every peer keeps, for a
while and within bounds, the commitments, rolls, bids and awards that it heard and when. From them it checks transcripts
(`heard_of`), finds contradictions (A7) and weighs protests: a protest counts against a requester only if this peer
itself heard in time what was left out. Strikes are this peer's own opinion and move no money.

    state           event               next
    -----           -----               ----
    ObserverState   OfferSeen           the auction is followed until an hour after its end
    ObserverState   CommitmentSeen …    kept; a contradiction is kept as proof: PublishConflict
    ObserverState   ProtestSeen         a strike against the requester, once for an auction
    ObserverState   ConflictSeen        the culprit is remembered
    ObserverState   VerificationFailed  a strike against the requester
    ObserverState   TimePassed          auctions that are long over are dropped, and strikes that have faded

Bounds. Whoever can sign can make offers without end, so the number of auctions, the auctions of one requester, the
messages of one auction and the messages in all are capped. When a cap is reached the new is refused: what was heard
first can't be flushed out by a flood.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, assert_never

from protocol.identity import ZERO_DIGEST, Address, Digest
from protocol.market.award import bids_root, check_award, is_same_slot
from protocol.market.errors import RuleBroken
from protocol.market.evidence import Conflict, TwoAwards, TwoCommitments, TwoRolls, accused_by, check_conflict
from protocol.market.messages import KnownAuction, UnknownOffer
from protocol.market.objects import AuctionFormat, Bid
from protocol.market.observer_states import (
    AwardSeen,
    BidSeen,
    CommitmentSeen,
    ConflictSeen,
    HeardAward,
    ObservedAuction,
    ObserverEvent,
    ObserverState,
    OfferSeen,
    ProtestSeen,
    PublishConflict,
    RollSeen,
    Strike,
    StrikeRecalled,
    TimePassed,
    VerificationFailed,
)
from protocol.market.offer import check_offer_terms
from protocol.market.roll import MAX_BIDDERS, check_roll
from protocol.market.scoring import compute_score
from protocol.market.sealing import committed_by
from protocol.market.transcript import Heard, HeardBid, HeardCommitment, bids_until
from protocol.market.transcript_errors import BidsMismatch
from protocol.reputation import strikes
from protocol.signing.eip712 import Domain, digest
from protocol.signing.signed import Signed, verify_signer
from protocol.units import Seconds, UnixTime

MAX_AUCTIONS: Final = 1024
MAX_PER_REQUESTER: Final = 64
MAX_MESSAGES: Final = 65_536
"""Commitments and bids in all auctions together; some 400 bytes each."""
MAX_STRUCK: Final = 4096
"""Requesters with strikes, and likewise culprits, that are remembered."""
MAX_LIFE: Final = Seconds(7 * 86_400)
KEPT_AFTER: Final = Seconds(3_600)


class ObserverFull(RuleBroken):
    """A cap was reached; the message was not kept. Nobody is at fault."""


def heard_of(state: ObserverState, offer_id: Digest) -> Heard:
    """Return what this peer heard of an auction, for `verify_transcript`; nothing if it does not follow it."""
    auction = state.auctions.get(offer_id)
    if auction is None:
        return Heard()
    return Heard(
        commitments=auction.commitments,
        bids=tuple(auction.bids.values()),
        rolls=tuple(roll for roll in (auction.roll, auction.other_roll) if roll is not None),
        awards=tuple(award.signed for award in auction.awards),
        conflicts=auction.conflicts,
    )


def known_auction(state: ObserverState, offer_id: Digest) -> KnownAuction | None:
    """Return what `messages.validate` needs to know of an auction."""
    auction = state.auctions.get(offer_id)
    if auction is None:
        return None
    roll_id = None if auction.roll is None else digest(state.domain, auction.roll.value)
    return KnownAuction(signed_offer=auction.signed_offer, roll_id=roll_id, leaves=auction.leaves)


def strikes_of(state: ObserverState, requester: Address) -> int:
    """Return in how many auctions this peer holds a requester to an omission, however faded."""
    return len(state.strikes.get(requester, ()))


def is_refused(state: ObserverState, requester: Address, now: UnixTime) -> bool:
    """Return whether strikes against a requester weigh so much that this peer bids on nothing of it (A6b)."""
    return strikes.is_refused((strike.at for strike in state.strikes.get(requester, ())), now)


def proof_against(state: ObserverState, culprit: Address) -> Conflict | None:
    """Return a proof of a fault of `culprit`, if one is known."""
    return state.proofs.get(culprit)


def transition(  # noqa: C901 - one case a kind of event
    state: ObserverState, event: ObserverEvent
) -> tuple[ObserverState, tuple[PublishConflict, ...]]:
    """Apply what was heard. A message that was heard before changes nothing.

    Raises:
        UnknownOffer: It is about an auction that this peer does not follow.
        ObserverFull: A cap was reached.
        BadSignature, RuleBroken: It is not genuine, or breaks a rule by itself. The state did not change.
    """
    match event:
        case OfferSeen():
            return _offer_seen(state, event), ()
        case CommitmentSeen():
            return _commitment_seen(state, event)
        case RollSeen():
            return _roll_seen(state, event)
        case BidSeen():
            return _bid_seen(state, event), ()
        case AwardSeen():
            return _award_seen(state, event)
        case ProtestSeen():
            return _protest_seen(state, event), ()
        case ConflictSeen(conflict=conflict):
            return _remember(state, conflict), ()
        case VerificationFailed(at=at, offer_id=offer_id):
            requester = _followed(state, offer_id).offer.requester
            return _strike(state, requester, Strike(offer_id=offer_id, at=at)), ()
        case StrikeRecalled(requester=requester, strike=strike):
            return _strike(state, requester, strike), ()
        case TimePassed(at=at):
            return _time_passed(state, at), ()
        case _:
            assert_never(event)


def _followed(state: ObserverState, offer_id: Digest) -> ObservedAuction:
    auction = state.auctions.get(offer_id)
    if auction is None:
        raise UnknownOffer(f"offer {offer_id.hex()[:16]} is not followed here")
    return auction


def _with(state: ObserverState, auction: ObservedAuction) -> ObserverState:
    before = state.auctions.get(auction.offer_id)
    added = auction.messages - (before.messages if before else 0)
    if added > 0 and state.messages + added > MAX_MESSAGES:
        raise ObserverFull(f"{MAX_MESSAGES} messages are kept already")
    return replace(state, auctions={**state.auctions, auction.offer_id: auction}, messages=state.messages + added)


def _offer_seen(state: ObserverState, event: OfferSeen) -> ObserverState:
    offer = event.signed.value
    offer_id = verify_signer(state.domain, event.signed, offer.requester)
    known = state.auctions.get(offer_id)
    if known is not None:
        return _with(state, replace(known, own=True)) if event.own and not known.own else state
    check_offer_terms(offer)
    if offer.expires > event.at + MAX_LIFE:
        raise ObserverFull(f"the offer lives longer than {MAX_LIFE} s; it is not followed")
    of_requester = [each for each in state.auctions.values() if each.offer.requester == offer.requester]
    if len(of_requester) >= MAX_PER_REQUESTER:
        over = _first_over(of_requester, event.at)
        if over is not None:
            state = _without(state, over)
        elif not event.own:
            raise ObserverFull(f"{MAX_PER_REQUESTER} auctions of this requester are followed already")
    if len(state.auctions) >= MAX_AUCTIONS:
        state = _make_room(state, event)
    return _with(state, ObservedAuction(offer_id=offer_id, signed_offer=event.signed, own=event.own))


def _make_room(state: ObserverState, event: OfferSeen) -> ObserverState:
    """Forget the auction that was over first; if none is, the one that ends last, for a newcomer that ends before it.

    Offers are free to sign. Were those kept that came first, a thousand of them that are open for days would shut out
    every other; so, to fill this table, one must keep saying offers that end sooner than everybody else's.
    """
    over = _first_over(state.auctions.values(), event.at)
    if over is not None:
        return _without(state, over)
    exposed = [each for each in state.auctions.values() if not each.own]
    longest = max(exposed, key=lambda each: each.offer.reveal_by, default=None)
    if longest is None or (longest.offer.reveal_by <= event.signed.value.reveal_by and not event.own):
        raise ObserverFull(f"{MAX_AUCTIONS} auctions are followed already, none of which ends later")
    return _without(state, longest)


def _first_over(auctions: Iterable[ObservedAuction], at: UnixTime) -> ObservedAuction | None:
    """Return, of the auctions in which nobody bids any more, the one that was over first: it is kept for evidence.

    This node's own are over when their offers are: until then it may hire a standby.
    """
    over = (each for each in auctions if (each.offer.expires if each.own else each.offer.reveal_by) < at)
    return min(over, key=lambda each: each.offer.reveal_by, default=None)


def _without(state: ObserverState, auction: ObservedAuction) -> ObserverState:
    kept = {offer_id: each for offer_id, each in state.auctions.items() if offer_id != auction.offer_id}
    return replace(state, auctions=kept, messages=state.messages - auction.messages)


def _commitment_seen(state: ObserverState, event: CommitmentSeen) -> tuple[ObserverState, tuple[PublishConflict, ...]]:
    commitment = event.signed.value
    auction = _followed(state, commitment.offer)
    verify_signer(state.domain, event.signed, commitment.bidder)
    known = auction.commitments.get(commitment.bidder)
    if known is not None:
        if known.signed.value == commitment:
            return state, ()
        return _found(state, auction, TwoCommitments(first=known.signed, second=event.signed))
    if len(auction.commitments) >= 2 * MAX_BIDDERS:
        raise ObserverFull("this auction has more commitments than could ever take part")
    heard = HeardCommitment(signed=event.signed, at=event.at)
    return _with(state, replace(auction, commitments={**auction.commitments, commitment.bidder: heard})), ()


def _roll_seen(state: ObserverState, event: RollSeen) -> tuple[ObserverState, tuple[PublishConflict, ...]]:
    auction = _followed(state, event.signed.value.offer)
    check_roll(state.domain, auction.offer_id, auction.offer, event.signed, event.leaves)
    if auction.roll is None:
        return _with(state, replace(auction, roll=event.signed, leaves=event.leaves)), ()
    if auction.roll.value == event.signed.value or auction.other_roll is not None:
        return state, ()
    both = replace(auction, other_roll=event.signed)
    conflict = TwoRolls(offer=auction.signed_offer, first=auction.roll, second=event.signed)
    return _found(_with(state, both), both, conflict)


def _bid_seen(state: ObserverState, event: BidSeen) -> ObserverState:
    bid = event.signed.value
    auction = _followed(state, bid.offer)
    verify_signer(state.domain, event.signed, bid.bidder)
    known = auction.bids.get(bid.bidder)
    if known is not None:
        old, new = (compute_score(auction.offer, one, 0).total for one in (known.signed.value, bid))
        if auction.offer.format != AuctionFormat.OPEN or new <= old:
            return state  # sealed: only the one that opens the commitment counts, and validators let no other pass
    elif len(auction.bids) >= 2 * MAX_BIDDERS:
        raise ObserverFull("this auction has more bids than could ever take part")
    heard = HeardBid(signed=event.signed, at=event.at)
    return _with(state, replace(auction, bids={**auction.bids, bid.bidder: heard}))


def _award_seen(state: ObserverState, event: AwardSeen) -> tuple[ObserverState, tuple[PublishConflict, ...]]:
    award = event.signed.value
    auction = _followed(state, award.offer)
    check_award(state.domain, auction.offer_id, auction.offer, event.signed)
    if bids_root(event.bid_ids) != award.bids:
        raise BidsMismatch("the bid digests that came with the award are not those under its root")
    for known in auction.awards:
        if known.signed.value == award:
            return state, ()
        if is_same_slot(known.signed.value, award):
            conflict = TwoAwards(offer=auction.signed_offer, first=known.signed, second=event.signed)
            return _found(state, auction, conflict)
    if len(auction.awards) >= 2 * MAX_BIDDERS:
        raise ObserverFull("this auction has more awards than could ever be needed")
    heard = HeardAward(signed=event.signed, bid_ids=event.bid_ids)
    return _with(state, replace(auction, awards=(*auction.awards, heard))), ()


def _found(
    state: ObserverState, auction: ObservedAuction, conflict: Conflict
) -> tuple[ObserverState, tuple[PublishConflict, ...]]:
    """Keep a contradiction, one a culprit and auction."""
    culprit = check_conflict(state.domain, conflict).signer
    if any(accused_by(known) == culprit for known in auction.conflicts):
        return state, ()
    kept = _with(state, replace(auction, conflicts=(*auction.conflicts, conflict)))
    return _remember(kept, conflict), (PublishConflict(conflict=conflict),)


def _remember(state: ObserverState, conflict: Conflict) -> ObserverState:
    culprit = check_conflict(state.domain, conflict).signer
    if culprit in state.proofs or len(state.proofs) >= MAX_STRUCK:
        return state
    return replace(state, proofs={**state.proofs, culprit: conflict})


def _protest_seen(state: ObserverState, event: ProtestSeen) -> ObserverState:
    bid = event.signed.value
    auction = _followed(state, bid.offer)
    verify_signer(state.domain, event.signed, bid.bidder)
    if not (_left_out_of_roll(state.domain, auction, bid) or _left_out_of_award(state.domain, auction, event.signed)):
        return state
    return _strike(state, auction.offer.requester, Strike(offer_id=auction.offer_id, at=event.at))


def _left_out_of_roll(domain: Domain, auction: ObservedAuction, bid: Bid) -> bool:
    """Whether this peer heard, before the close, the commitment that `bid` opens, and the roll had room but not it."""
    heard = auction.commitments.get(bid.bidder)
    if heard is None or auction.roll is None or heard.at > auction.offer.commit_by:
        return False
    if len(auction.leaves) >= auction.offer.max_bidders or any(leaf.bidder == bid.bidder for leaf in auction.leaves):
        return False
    excluded = any(accused_by(conflict) == bid.bidder for conflict in auction.conflicts)
    return not excluded and digest(domain, heard.signed.value) == committed_by(domain, bid)


def _left_out_of_award(domain: Domain, auction: ObservedAuction, signed: Signed[Bid]) -> bool:
    """Whether this peer heard the bid in time, the roll names its bidder, and an award leaves it out."""
    bid = signed.value
    heard = auction.bids.get(bid.bidder)
    if heard is None or heard.signed.value != bid or heard.at > bids_until(auction.offer) or auction.roll is None:
        return False
    is_open = auction.offer.format == AuctionFormat.OPEN
    roll_id = ZERO_DIGEST if is_open else digest(domain, auction.roll.value)
    bid_id = digest(domain, bid)
    entry = bid_id if is_open else committed_by(domain, bid)
    listed = any((leaf.bidder, leaf.commitment) == (bid.bidder, entry) for leaf in auction.leaves)
    return bid.roll == roll_id and listed and any(bid_id not in award.bid_ids for award in auction.awards)


def _strike(state: ObserverState, requester: Address, strike: Strike) -> ObserverState:
    known = state.strikes.get(requester, ())
    if any(each.offer_id == strike.offer_id for each in known):
        return state
    if not known and len(state.strikes) >= MAX_STRUCK:
        return state
    newest = (*known, strike)[-strikes.COUNTED :]
    return replace(state, strikes={**state.strikes, requester: newest})


def _time_passed(state: ObserverState, at: UnixTime) -> ObserverState:
    state = _forget_strikes(state, at)
    kept = {
        offer_id: auction for offer_id, auction in state.auctions.items() if at <= auction.offer.expires + KEPT_AFTER
    }
    if len(kept) == len(state.auctions):
        return state
    return replace(state, auctions=kept, messages=sum(auction.messages for auction in kept.values()))


def _forget_strikes(state: ObserverState, at: UnixTime) -> ObserverState:
    held = {
        requester: tuple(strike for strike in known if not strikes.is_forgotten(strike.at, at))
        for requester, known in state.strikes.items()
    }
    if held == state.strikes:
        return state
    return replace(state, strikes={requester: known for requester, known in held.items() if known})
