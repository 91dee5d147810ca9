"""What happened to a task, from the journal's records of its auction and its purchases: once for all that watch it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from node.api import views
from node.app.doors.names import format_name, part_view, rail_of
from node.market import auction_run, purchase_run
from node.market.purchase_run import PurchaseContext
from node.storage.chain import Record
from node.storage.machine_log import CLOSED, OPENED
from protocol.identity import Address, Digest
from protocol.market import auction_events
from protocol.market.messages import OfferAnnouncement
from protocol.market.objects import Award, Offer
from protocol.task import purchase
from protocol.task.audit import Finding
from protocol.task.verification import (
    Audit,
    ByTest,
    Trust,
    Verification,
    assess_deterrence,
    decode_verification,
    describe_policy,
)
from protocol.units import Amount, UnixTime
from protocol.wire.codec import decode_as

MAX_RECORD: Final = 1 << 20


def warn_of(policy: Verification, offer: Offer) -> str:
    """Say why nothing deters a provider of the whole budget from cheating (BI18); empty if something does."""
    judged = assess_deterrence(policy, price=offer.budget, liability=offer.liability, budget=offer.budget)
    return "" if judged.deters else judged.reason


@dataclass(slots=True, kw_only=True)
class _Copy:
    """One slot as its records have told it so far."""

    state: purchase.State
    award: Award | None = None
    due: Amount = Amount(0)
    passed: Finding | None = None
    compared: views.ComparedName = ""
    reason: str = ""


class TaskHistory:
    """Turns records into events, in the order of the journal. Feed it every record of its streams."""

    def __init__(self, offer_id: Digest, copies: int) -> None:
        self._auction = auction_run.stream_of(offer_id)
        self._purchases = {purchase_run.stream_of(offer_id, slot): slot for slot in range(copies)}
        self._several = copies > 1
        self._slots: dict[int, _Copy] = {}
        self._parts: dict[int, views.PartView] = {}
        self.fuel_limit = 0
        self.awards: list[views.AwardView] = []
        self.refuted: list[views.RefutedView] = []
        self.verification = self.warning = ""
        self.is_over = False
        self._policy: Verification = Trust()
        self._committed: set[Address] = set()

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams whose records matter; the auction's first, since it names the policy."""
        return (self._auction, *self._purchases)

    @property
    def parts(self) -> tuple[views.PartView, ...]:
        """One result for each part that was delivered."""
        return tuple(part for _, part in sorted(self._parts.items()))

    @property
    def copies(self) -> tuple[views.CopyView, ...]:
        """How each of several copies stands; none if there is one only."""
        if not self._several:
            return ()
        return tuple(_copy_view(slot, each) for slot, each in sorted(self._slots.items()))

    def take(self, record: Record) -> Iterator[views.TaskEvent]:
        """Return what one record tells people."""
        if record.kind == CLOSED:
            return
        if record.stream == self._auction:
            yield from self._take_auction(record)
        elif record.stream in self._purchases:
            yield from self._take_purchase(record, self._purchases[record.stream])

    def _take_auction(self, record: Record) -> Iterator[views.TaskEvent]:
        if record.kind == OPENED:
            announcement: OfferAnnouncement = decode_as(OfferAnnouncement, record.body, max_bytes=MAX_RECORD)
            offer = announcement.signed.value
            policy = decode_verification(announcement.verification, offer.verification)
            self.verification, self.warning = describe_policy(policy), warn_of(policy, offer)
            self._policy = policy
            yield views.AuctionOpened(
                at=record.at,
                format=format_name(offer.format),
                budget=offer.budget,
                parts=offer.parts,
                max_eta_s=offer.max_eta,
                commit_by=offer.commit_by,
                reveal_by=offer.reveal_by,
                copies=offer.copies,
                verification=self.verification,
                warning=self.warning,
            )
            return
        hint: Any = auction_events.AuctionEvent
        event: auction_events.AuctionEvent = decode_as(hint, record.body, max_bytes=MAX_RECORD)
        match event:
            case auction_events.CommitmentHeard(signed=signed):
                bidder = signed.value.bidder
                self._committed.add(bidder)
                yield views.BidderCommitted(at=record.at, bidder=bidder, count=len(self._committed))
            case auction_events.CommitWindowClosed(opinions=opinions):
                yield views.RollSigned(at=record.at, bidders=len(opinions))
            case auction_events.BidHeard(signed=signed):
                bid = signed.value
                self._committed.add(bid.bidder)
                yield views.BidRevealed(at=record.at, bidder=bid.bidder, price=bid.price, eta_s=bid.eta)
            case _:
                return

    def _take_purchase(self, record: Record, slot: int) -> Iterator[views.TaskEvent]:
        if record.kind == OPENED:
            context: PurchaseContext = decode_as(PurchaseContext, record.body, max_bytes=MAX_RECORD)
            self.fuel_limit = context.manifest.limits.fuel
            self._slots[slot] = _Copy(state=purchase_run.purchase_machine(slot).begin(context))
            return
        hint: Any = purchase.Event
        event: purchase.Event = decode_as(hint, record.body, max_bytes=MAX_RECORD)
        copy = self._slots[slot]
        before = copy.state
        copy.state, _ = purchase.transition(before, event)
        yield from self._tell(record.at, copy, before, event)
        if isinstance(event, purchase.NoWinner | purchase.RailFailed):
            copy.reason = event.reason
        states = [each.state for each in self._slots.values()]
        if all(isinstance(each, purchase.Done | purchase.Failed | purchase.Cancelled) for each in states):
            self.is_over = True
            yield self._ended(record.at, states)

    def _tell(
        self, at: UnixTime, copy: _Copy, before: purchase.State, event: purchase.Event
    ) -> Iterator[views.TaskEvent]:
        if isinstance(event, purchase.WinnerChosen):
            copy.award, copy.due = event.award.value, Amount(0)
            yield self._winner(at, event.award.value, event.award_id)
        award = copy.award
        if award is None:
            return
        missing = before.progress.parts - before.progress.paid_parts
        match event:
            case purchase.RailFunded():
                amount = Amount(award.price + award.dispute_fee)
                yield views.RailFunded(at=at, rail=rail_of(award.channel), amount=amount)
            case purchase.Started():
                yield views.WorkStarted(at=at, provider=award.provider)
            case purchase.PartReceived(receipt=receipt, receipt_id=receipt_id):
                cost, copy.due = Amount(receipt.value.due - copy.due), receipt.value.due
                part = part_view(receipt.value, receipt_id, award.provider, cost, self._take_audit(copy))
                yield from self._delivered(at, part)
            case purchase.ProviderFailed(reason=reason):
                copy.reason = reason
                yield views.ProviderFailed(at=at, provider=award.provider, reason=reason, missing_parts=missing)
            case purchase.AuditPassed(finding=finding):
                copy.passed = finding
                copy.compared = "equal" if finding is Finding.EQUAL else "undecided"
            case purchase.AuditRefuted() | purchase.ReceiptContested():
                copy.compared = "different" if isinstance(event, purchase.AuditRefuted) else "contested"
                copy.reason = event.reason
                part = before.progress.paid_parts
                refuted = views.RefutedView(
                    part=part, provider=award.provider, receipt=event.receipt_id, reason=event.reason
                )
                self.refuted.append(refuted)
                yield views.ReceiptRefuted(at=at, refuted=refuted, missing_parts=missing)
            case _:
                return

    def _delivered(self, at: UnixTime, part: views.PartView) -> Iterator[views.TaskEvent]:
        """Tell of a part's first result; of another one only if more speaks for it."""
        known = self._parts.get(part.part)
        if known is None or (known.audit == "undecided" and part.audit in ("equal", "passed")):
            self._parts[part.part] = part
        if known is None:
            yield views.PartDelivered(at=at, part=part, spent=self._spent())

    def _spent(self) -> Amount:
        return Amount(sum(each.state.progress.spent for each in self._slots.values()))

    def _take_audit(self, copy: _Copy) -> views.AuditName:
        """Return what was found when the part that is delivered now was looked at."""
        passed, copy.passed = copy.passed, None
        if passed is None:
            return "not drawn" if isinstance(self._policy, Audit) else ""
        if passed is not Finding.EQUAL:
            return "undecided"
        return "passed" if isinstance(self._policy, ByTest) else "equal"

    def _winner(self, at: UnixTime, award: Award, award_id: Digest) -> views.WinnerChosen:
        rail = rail_of(award.channel)
        self.awards.append(
            views.AwardView(
                award=award_id,
                provider=award.provider,
                attempt=award.attempt,
                first_part=award.first_part,
                parts=award.parts,
                price=award.price,
                rail=rail,
                deliver_by=award.deliver_by,
            )
        )
        if self._several:
            reason = f"copy {award.slot + 1} of {len(self._purchases)}"
        elif award.attempt:
            reason = f"standby {award.attempt}, for the {award.parts} missing parts"
        else:
            reason = "the best score of price, reputation and speed"
        return views.WinnerChosen(
            at=at,
            provider=award.provider,
            price=award.price,
            attempt=award.attempt,
            first_part=award.first_part,
            parts=award.parts,
            award=award_id,
            rail=rail,
            reason=reason,
        )

    def _ended(self, at: UnixTime, states: Sequence[purchase.State]) -> views.TaskEnded:
        end = purchase.end_of(states)
        reason = ""
        if end is purchase.Failed:
            reason = next((each.reason for each in states if isinstance(each, purchase.Failed)), "")
        return views.TaskEnded(
            at=at,
            state=_FINAL_NAMES[end],
            reason=reason,
            advice=_advice(reason),
            spent=self._spent(),
            paid_parts=max(each.progress.paid_parts for each in states),
            sellers_heard=len(self._committed),
            refusals=(),
        )


_FINAL_NAMES: Final[dict[type[purchase.State], views.FinalState]] = {
    purchase.Done: "done",
    purchase.Failed: "failed",
    purchase.Cancelled: "cancelled",
}


def _copy_view(slot: int, copy: _Copy) -> views.CopyView:
    return views.CopyView(
        copy=slot,
        state=_state_name(copy.state),
        provider=copy.award.provider if copy.award else None,
        paid_parts=copy.state.progress.paid_parts,
        spent=copy.state.progress.spent,
        compared=copy.compared,
        reason="" if isinstance(copy.state, purchase.Done) else copy.reason,
    )


def _state_name(state: purchase.State) -> views.TaskState:
    match state:
        case purchase.Seeking():
            return "standby" if state.progress.attempt else "bidding"
        case purchase.Funding():
            return "funding"
        case purchase.Awaiting():
            return "awarded"
        case purchase.Running() | purchase.Auditing():
            return "running"
        case purchase.Done():
            return "done"
        case purchase.Failed():
            return "failed"
        case purchase.Cancelled():
            return "cancelled"


def _advice(reason: str) -> str:
    """Say what to change. The reasons are ours (`explain_failure`, the wallet, the rails)."""
    if "no provider bid" in reason:
        return "check `stoa peers list`, lengthen --commit-window, or raise --budget"
    if "asked more" in reason:
        return "raise --budget, allow more time with --max-eta, or lengthen --reveal-window"
    if "cap" in reason:
        return "raise the cap in the configuration (wallet.caps), or wait until it frees"
    if "standby" in reason:
        return "submit the rest as a new task"
    return ""
