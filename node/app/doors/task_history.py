"""What happened to a task, from the journal's records of its auction and its purchase: once for all that watch it."""

from collections.abc import Iterator
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
from protocol.task.verification import Audit, Verification, assess_deterrence, decode_verification, describe_policy
from protocol.units import Amount, UnixTime
from protocol.wire.codec import decode_as

MAX_RECORD: Final = 1 << 20


def warn_of(policy: Verification, offer: Offer) -> str:
    """Say why nothing deters a provider of the whole budget from cheating (BI18); empty if something does."""
    judged = assess_deterrence(policy, price=offer.budget, liability=offer.liability, budget=offer.budget)
    return "" if judged.deters else judged.reason


class TaskHistory:
    """Turns records into events, in the order of the journal. Feed it every record of the two streams."""

    def __init__(self, offer_id: Digest) -> None:
        self._auction = auction_run.stream_of(offer_id)
        self._purchase = purchase_run.stream_of(offer_id)
        self.fuel_limit = 0
        self.parts: list[views.PartView] = []
        self.awards: list[views.AwardView] = []
        self.refuted: list[views.RefutedView] = []
        self.verification = self.warning = ""
        self.is_over = False
        self._is_audited = False
        self._passed: Finding | None = None
        self._committed: set[Address] = set()
        self._award: Award | None = None
        self._state: purchase.State | None = None
        self._due = Amount(0)

    @property
    def streams(self) -> frozenset[str]:
        """The streams whose records matter."""
        return frozenset((self._auction, self._purchase))

    def take(self, record: Record) -> Iterator[views.TaskEvent]:
        """Return what one record tells people."""
        if record.kind == CLOSED:
            return
        if record.stream == self._auction:
            yield from self._take_auction(record)
        elif record.stream == self._purchase:
            yield from self._take_purchase(record)

    def _take_auction(self, record: Record) -> Iterator[views.TaskEvent]:
        if record.kind == OPENED:
            announcement: OfferAnnouncement = decode_as(OfferAnnouncement, record.body, max_bytes=MAX_RECORD)
            offer = announcement.signed.value
            policy = decode_verification(announcement.verification, offer.verification)
            self.verification, self.warning = describe_policy(policy), warn_of(policy, offer)
            self._is_audited = isinstance(policy, Audit)
            yield views.AuctionOpened(
                at=record.at,
                format=format_name(offer.format),
                budget=offer.budget,
                parts=offer.parts,
                max_eta_s=offer.max_eta,
                commit_by=offer.commit_by,
                reveal_by=offer.reveal_by,
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

    def _take_purchase(self, record: Record) -> Iterator[views.TaskEvent]:
        if record.kind == OPENED:
            context: PurchaseContext = decode_as(PurchaseContext, record.body, max_bytes=MAX_RECORD)
            self.fuel_limit = context.manifest.limits.fuel
            self._state = purchase.Seeking(progress=purchase.Progress(parts=context.offer.value.parts))
            return
        hint: Any = purchase.Event
        event: purchase.Event = decode_as(hint, record.body, max_bytes=MAX_RECORD)
        assert self._state is not None
        before = self._state
        self._state, _ = purchase.transition(before, event)
        yield from self._tell(record.at, before, event)
        if isinstance(self._state, purchase.Done | purchase.Failed | purchase.Cancelled):
            self.is_over = True
            yield self._ended(record.at, self._state, event)

    def _tell(self, at: UnixTime, before: purchase.State, event: purchase.Event) -> Iterator[views.TaskEvent]:
        match event:
            case purchase.WinnerChosen(award=award, award_id=award_id):
                self._award, self._due = award.value, Amount(0)
                yield self._winner(at, award.value, award_id)
            case purchase.RailFunded() if self._award is not None:
                amount = Amount(self._award.price + self._award.dispute_fee)
                yield views.RailFunded(at=at, rail=rail_of(self._award.channel), amount=amount)
            case purchase.Started() if self._award is not None:
                yield views.WorkStarted(at=at, provider=self._award.provider)
            case purchase.PartReceived(receipt=receipt, receipt_id=receipt_id) if self._award is not None:
                cost = Amount(receipt.value.due - self._due)
                self._due = receipt.value.due
                part = part_view(receipt.value, receipt_id, self._award.provider, cost, self._take_audit())
                self.parts.append(part)
                assert self._state is not None
                yield views.PartDelivered(at=at, part=part, spent=self._state.progress.spent)
            case purchase.ProviderFailed(reason=reason) if self._award is not None:
                missing = before.progress.parts - before.progress.paid_parts
                yield views.ProviderFailed(at=at, provider=self._award.provider, reason=reason, missing_parts=missing)
            case purchase.AuditPassed(finding=finding):
                self._passed = finding
            case purchase.AuditRefuted(receipt_id=receipt_id, reason=reason) if self._award is not None:
                missing = before.progress.parts - before.progress.paid_parts
                part = before.progress.paid_parts
                refuted = views.RefutedView(part=part, provider=self._award.provider, receipt=receipt_id, reason=reason)
                self.refuted.append(refuted)
                yield views.ReceiptRefuted(at=at, refuted=refuted, missing_parts=missing)
            case _:
                return

    def _take_audit(self) -> views.AuditName:
        """Return what the audit of the part that is delivered now has found."""
        passed, self._passed = self._passed, None
        if passed is None:
            return "not drawn" if self._is_audited else ""
        return "equal" if passed is Finding.EQUAL else "undecided"

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
        if award.attempt:
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

    def _ended(self, at: UnixTime, state: purchase.State, event: purchase.Event) -> views.TaskEnded:
        reason = ""
        if isinstance(event, purchase.NoWinner | purchase.RailFailed):
            reason = event.reason
        return views.TaskEnded(
            at=at,
            state=_final_name(state),
            reason=reason,
            advice=_advice(reason),
            spent=state.progress.spent,
            paid_parts=state.progress.paid_parts,
            sellers_heard=len(self._committed),
            refusals=(),
        )


def _final_name(state: purchase.State) -> views.FinalState:
    if isinstance(state, purchase.Done):
        return "done"
    return "failed" if isinstance(state, purchase.Failed) else "cancelled"


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
