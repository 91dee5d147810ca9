"""What happened, counted: the services say it in their own events, here it gets names and numbers.

Counters begin at zero with each start of the process, as Prometheus expects. Amounts are token base units; a float
holds them exactly up to 2**53, nine billion dollars. Books are never kept from these: the journal is for that.
"""

from typing import Final, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Histogram

from node.market.delivery_run import DeliveryContext
from node.market.purchase_run import PurchaseContext
from node.operations.metrics import new_registry
from node.payments.flow import Flow
from protocol.dispute.party import Abandoned, CaseBegan, CaseEnded, Closed, Event, File, RoundAsked, is_won
from protocol.identity import Digest
from protocol.market import auction_events
from protocol.market.bidding_states import BiddingState, LossReason, Lost, Won
from protocol.market.messages import MarketMessage, OfferAnnouncement
from protocol.signing.eip712 import Domain, digest
from protocol.task import delivery, purchase
from protocol.task.audit import Finding, describe_finding
from protocol.task.outcome import OutcomeClass, classify

OFFERS_REMEMBERED: Final = 4096
"""A message may come by gossip and directly: an offer is counted once as long as it is among the newest of these."""
COMMIT_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LAG_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

_Ends: TypeAlias = tuple[str, ...]
TASK_ENDS: Final[_Ends] = ("done", "failed", "cancelled")
DELIVERY_ENDS: Final[_Ends] = ("delivered", "dropped")
FINDINGS: Final = tuple(describe_finding(finding) for finding in Finding)
RAILS: Final[_Ends] = ("channel", "escrow")
DISPUTE_STEPS: Final[_Ends] = ("held", "opened", "appealed", "won", "lost", "undecided", "given_up")


class Instruments:
    """One node's counters and histograms. What labels are known beforehand are there from the start, at zero."""

    def __init__(self) -> None:
        self.registry: Final[CollectorRegistry] = new_registry()
        self._seen_offers: dict[Digest, None] = {}
        # Buying
        self._submitted = self._count("stoa_tasks_submitted", "Tasks submitted to this node")
        self._task_ends = self._count("stoa_tasks_ended", "Tasks of this node that are over", "state", TASK_ENDS)
        self._auctions = self._count("stoa_auctions_held", "Auctions of this node whose bidders are known, and hires")
        self._commitments = self._count("stoa_commitments_received", "Sealed bids heard in auctions of this node")
        self._bids_received = self._count("stoa_bids_received", "Revealed or open bids heard in auctions of this node")
        self._awards = self._count("stoa_awards_made", "Awards signed by this node, to standbys too")
        self._parts_bought = self._count("stoa_parts_bought", "Parts received, checked and accepted")
        self._provider_faults = self._count("stoa_providers_failed", "Awards that this node's providers did not fulfil")
        self._audits = self._count("stoa_audits", "Receipts that were looked at again before pay", "finding", FINDINGS)
        # Selling
        self._heard = self._count("stoa_auctions_heard", "Offers of others heard, each once")
        self._messages = self._count("stoa_market_messages_heard", "Sound market messages of others", "kind", ())
        self._sealed = self._count("stoa_bids_sealed", "Auctions in which this node began to bid")
        self._won = self._count("stoa_bids_won", "Awards to this node out of its bids")
        self._lost = self._count(
            "stoa_bids_lost",
            "Bids of this node that won nothing",
            "reason",
            tuple(why.name.lower() for why in LossReason),
        )
        self._taken = self._count("stoa_awards_taken", "Awards that this node took on")
        self._delivery_ends = self._count(
            "stoa_deliveries_ended", "Awards that this node has done with", "state", DELIVERY_ENDS
        )
        outcomes = tuple(kind.value for kind in OutcomeClass)
        self._parts_run = self._count("stoa_parts_run", "Parts run to a receipt, by billing class", "outcome", outcomes)
        self._fuel = self._count("stoa_fuel", "Fuel billed in this node's receipts")
        # Money
        self._paid = self._count("stoa_paid_base_units", "Paid to providers by voucher or acceptance", "rail", RAILS)
        self._earned = self._count("stoa_earned_base_units", "Received by voucher or acceptance", "rail", RAILS)
        self._claimed = self._count("stoa_claimed_base_units", "Paid out to this node on chain", "rail", RAILS)
        self._claims = self._count("stoa_claims_paid", "Confirmed events that paid this node on chain", "rail", RAILS)
        self._vouchers_signed = self._count("stoa_vouchers_signed", "Vouchers that this node owed to its payees")
        self._vouchers_received = self._count("stoa_vouchers_received", "Better vouchers that this node came to hold")
        # Law
        self._disputes = self._count(
            "stoa_disputes", "Steps of cases about this node's own tasks and work", "step", DISPUTE_STEPS
        )
        # Machinery
        self._commit_s = Histogram(
            "stoa_journal_commit_seconds",
            "From handing a group of writes to the writer until it is durable",
            buckets=COMMIT_BUCKETS_S,
            registry=self.registry,
        )
        self._jobs = self._count("stoa_journal_jobs", "Changes that were made durable")
        self._lag_s = Histogram(
            "stoa_event_loop_lag_seconds",
            "How much too late a sleeping task was woken",
            buckets=LAG_BUCKETS_S,
            registry=self.registry,
        )

    # ------------------------------------------------------------------------------------------------------ buying

    def on_task_submitted(self, _context: PurchaseContext) -> None:
        """Count a task."""
        self._submitted.inc()

    def on_auction_event(self, event: auction_events.AuctionEvent) -> None:
        """Count what happens in an auction of ours."""
        match event:
            case auction_events.CommitWindowClosed() | auction_events.ProviderChosen():
                self._auctions.inc()
            case auction_events.CommitmentHeard():
                self._commitments.inc()
            case auction_events.BidHeard():
                self._bids_received.inc()
            case auction_events.AwardMade():
                self._awards.inc()
            case _:
                pass

    def on_purchase_event(self, context: PurchaseContext, event: purchase.Event) -> None:
        """Count what happens to a task of ours."""
        match event:
            case purchase.PartReceived(receipt=receipt):
                self._parts_bought.inc()
                if receipt.value.part == context.offer.value.parts - 1:
                    self._task_ends.labels("done").inc()
            case purchase.NoWinner() | purchase.RailFailed():
                self._task_ends.labels("failed").inc()
            case purchase.CancelRequested():
                self._task_ends.labels("cancelled").inc()
            case purchase.ProviderFailed():
                self._provider_faults.inc()
            case purchase.AuditPassed(finding=finding):
                self._audits.labels(describe_finding(finding)).inc()
            case purchase.AuditRefuted():
                self._audits.labels(describe_finding(Finding.DIFFERENT)).inc()
                self._provider_faults.inc()
            case _:
                pass

    # ----------------------------------------------------------------------------------------------------- selling

    def on_market_message(self, domain: Domain, message: MarketMessage) -> None:
        """Count what others said."""
        self._messages.labels(type(message).__name__.removesuffix("Announcement").lower()).inc()
        if isinstance(message, OfferAnnouncement):
            offer_id = digest(domain, message.signed.value)
            if offer_id not in self._seen_offers:
                self._heard.inc()
            self._seen_offers.pop(offer_id, None)
            self._seen_offers[offer_id] = None
            if len(self._seen_offers) > OFFERS_REMEMBERED:
                del self._seen_offers[next(iter(self._seen_offers))]

    def on_bidding_step(self, before: BiddingState | None, after: BiddingState) -> None:
        """Count what becomes of our bids."""
        if before is None:
            self._sealed.inc()
        elif isinstance(after, Won) and not isinstance(before, Won):
            self._won.inc()
        elif isinstance(after, Lost) and not (isinstance(before, Lost) and before.why == after.why):
            self._lost.labels(after.why.name.lower()).inc()

    def on_award_taken(self, _context: DeliveryContext) -> None:
        """Count an award that we took on."""
        self._taken.inc()

    def on_delivery_event(self, context: DeliveryContext, event: delivery.Event) -> None:
        """Count what becomes of our work."""
        award = context.job.award.value
        match event:
            case delivery.PartRan(receipt=receipt):
                self._parts_run.labels(classify(receipt.outcome).value).inc()
                self._fuel.inc(receipt.fuel)
            case delivery.PartPaid(acceptance=acceptance):
                if acceptance.value.part == award.first_part + award.parts - 1:
                    self._delivery_ends.labels("delivered").inc()
            case delivery.PartFailed() | delivery.PaymentOverdue() | delivery.Withdrawn():
                self._delivery_ends.labels("dropped").inc()
            case _:
                pass

    # ------------------------------------------------------------------------------------------- money, machinery

    def on_flow(self, flow: Flow) -> None:
        """Count money that moved."""
        self._paid.labels(flow.rail).inc(flow.paid)
        self._earned.labels(flow.rail).inc(flow.earned)
        self._claimed.labels(flow.rail).inc(flow.claimed)
        if flow.claimed:
            self._claims.labels(flow.rail).inc()
        self._vouchers_signed.inc(flow.vouchers_signed)
        self._vouchers_received.inc(flow.vouchers_received)

    def on_dispute(self, file: File, event: Event | None) -> None:
        """Count a step of a case of ours."""
        match event:
            case None:
                step = "held"
            case CaseBegan():
                step = "opened"
            case RoundAsked():
                step = "appealed"
            case Abandoned():
                step = "given_up"
            case CaseEnded() if isinstance(file.state, Closed):
                step = {True: "won", False: "lost", None: "undecided"}[is_won(file.brief, file.state)]
            case _:
                return
        self._disputes.labels(step).inc()

    def on_commit(self, seconds: float, jobs: int) -> None:
        """Note a group of writes."""
        self._commit_s.observe(seconds)
        self._jobs.inc(jobs)

    def on_lag(self, seconds: float) -> None:
        """Note a late wake-up."""
        self._lag_s.observe(seconds)

    def _count(self, name: str, text: str, label: str = "", values: tuple[str, ...] = ()) -> Counter:
        made = Counter(name, text, (label,) if label else (), registry=self.registry)
        for value in values:  # a rate over a counter that appears with its first event misses that event
            made.labels(value)
        return made
