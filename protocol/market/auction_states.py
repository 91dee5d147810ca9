"""The states of a requester's auction. The machine is in `auction`."""

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias, assert_never

from protocol.identity import Address, Digest
from protocol.market.award import AwardTerms
from protocol.market.evidence import TwoCommitments
from protocol.market.objects import Award, Bid, Commitment, Offer, Roll, RollLeaf
from protocol.market.scoring import Candidate
from protocol.signing.eip712 import Domain
from protocol.signing.signed import Signed
from protocol.stake.terms import least_stake
from protocol.units import Uint32, format_amount


@dataclass(frozen=True, slots=True, kw_only=True)
class AuctionTerms:
    """What stays the same in every state."""

    domain: Domain
    offer_id: Digest
    offer: Offer


@dataclass(frozen=True, slots=True, kw_only=True)
class Collecting:
    """The offer is out.

    Attributes:
        terms: The auction.
        commitments: One a bidder, in the order heard. The first `max_bidders` take part.
        bids: Open format: the best bid of each bidder, in the order in which the bidders were first heard.
        conflicts: Proofs against bidders that committed twice; they take no part.
        unbacked: Bidders without the stake that the offer asks for; neither do they.
    """

    terms: AuctionTerms
    commitments: tuple[Signed[Commitment], ...] = ()
    bids: tuple[Signed[Bid], ...] = ()
    conflicts: tuple[TwoCommitments, ...] = ()
    unbacked: frozenset[Address] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Revealing:
    """The roll is out.

    Attributes:
        terms: The auction.
        roll: The roll, unsigned.
        roll_id: Its digest.
        leaves: Its leaves, by bidder.
        commitments: Those under the leaves, for the transcript.
        conflicts: Proofs against bidders left out.
        turned_away: How many committed after the roll was full.
        bids: One a bidder; each opens its commitment, and may still lie outside the offer.
    """

    terms: AuctionTerms
    roll: Roll
    roll_id: Digest
    leaves: tuple[RollLeaf, ...]
    commitments: tuple[Signed[Commitment], ...]
    conflicts: tuple[TwoCommitments, ...]
    turned_away: int
    bids: tuple[Signed[Bid], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Who holds a slot.

    Attributes:
        terms: What the auction decided.
        award: None until one was made.
        secret: What its `audit_seal` seals; None if nothing is audited by lot.
    """

    terms: AwardTerms
    award: Award | None = None
    secret: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The bids are in.

    Attributes:
        terms: The auction.
        revealing: The state that was decided, for the transcript; None for a direct hire.
        ranked: Every bid that counts, best first.
        bid_ids: Their digests, by bidder: the leaves under `Award.bids`.
        assignments: Who holds each slot now, by slot; a slot without a standby has none.
        failed: Bidders that held an award and failed, in that order.
        awards: Every award made so far.
    """

    terms: AuctionTerms
    revealing: Revealing | None
    ranked: tuple[Candidate, ...]
    bid_ids: tuple[Digest, ...]
    assignments: tuple[Assignment, ...]
    failed: tuple[Address, ...] = ()
    awards: tuple[Award, ...] = ()


class FailureReason(IntEnum):
    """Why an auction ended without anyone to do the work."""

    NO_COMMITMENTS = 1
    TOO_FEW_BIDS = 2
    NO_STANDBY = 3
    OFFER_OVER = 4
    CANCELLED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many bidders came how far.

    Attributes:
        committed: Commitments heard, one a bidder (open format: bidders).
        excluded: Bidders left out because they committed twice.
        unbacked: Bidders left out because they have too little stake.
        turned_away: Bidders that came after the roll was full.
        revealed: Bids that opened their commitments.
        above_budget: Of those, how many asked for more than the budget.
        too_slow: Of those, how many promised a later time than the offer allows.
        failed: Bidders that held an award and failed.
    """

    committed: Uint32 = 0
    excluded: Uint32 = 0
    unbacked: Uint32 = 0
    turned_away: Uint32 = 0
    revealed: Uint32 = 0
    above_budget: Uint32 = 0
    too_slow: Uint32 = 0
    failed: Uint32 = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The auction ended without anyone to do (the rest of) the work.

    Attributes:
        terms: The auction.
        reason: Why.
        counts: How many bidders came how far.
        revealing: As in `Decided`, if it came that far.
        bid_ids: Likewise.
        awards: Every award that was made.
    """

    terms: AuctionTerms
    reason: FailureReason
    counts: Counts
    revealing: Revealing | None = None
    bid_ids: tuple[Digest, ...] = ()
    awards: tuple[Award, ...] = ()


AuctionState: TypeAlias = Collecting | Revealing | Decided | Failed


def explain_failure(state: Failed) -> tuple[str, str]:
    """Return what happened and what the user can change, one sentence each; the second may be empty."""
    counts, offer = state.counts, state.terms.offer
    match state.reason:
        case FailureReason.NO_COMMITMENTS:
            if counts.unbacked:
                wanted = format_amount(least_stake(offer))
                return (
                    f"no provider bid with a free stake of {wanted}; {counts.unbacked} with less did",
                    "lower requester.min_stake, requester.bond or requester.liability_bps, or wait for other providers",
                )
            why = f" ({counts.excluded} were excluded for committing twice)" if counts.excluded else ""
            return (
                f"no provider bid{why}",
                "check that providers are connected, lengthen the commit window, raise the budget",
            )
        case FailureReason.TOO_FEW_BIDS:
            told = (
                f"{counts.committed} providers committed, {counts.revealed} revealed a bid, of which"
                f" {counts.above_budget} asked more than {format_amount(offer.budget)} and {counts.too_slow} needed"
                f" more than {offer.max_eta} s; {offer.copies} that count were needed"
            )
            return told, "raise the budget, allow more time, or lengthen the reveal window"
        case FailureReason.NO_STANDBY:
            who = "the provider" if counts.failed == 1 else f"{counts.failed} providers"
            return f"{who} failed and no standby is left", "submit the rest as a new task"
        case FailureReason.OFFER_OVER:
            return "the provider failed after the offer's end, so no standby can be awarded", "submit the rest again"
        case FailureReason.CANCELLED:
            return "the task was cancelled", ""
        case _:
            assert_never(state.reason)
