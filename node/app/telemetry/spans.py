"""A task as spans. All nodes that deal with it give them the same trace, and nothing travels for that.

The trace id is the first 16 bytes of the task's id (the offer's digest), and the requester's root span is the 8 bytes
after them: so a provider names the root as its parent without having been told. Other spans have ids by chance.

    requester    task ............................................................ (root)
                   auction ......  award (funding, start) ...  part 0 .....  part 1 ....
    provider       delivery .................................................. (one an award)
                                   prepare (money, inputs) ..  part 0 ...  payment 0 ...
"""

from dataclasses import dataclass, field
from typing import Final

from node.market.delivery_run import DeliveryContext
from node.market.purchase_run import PurchaseContext
from node.operations.clock import Clock
from node.operations.logs import TRACE_ID_BYTES, trace_id_of
from node.operations.randomness import RandomSource
from node.operations.tracing import Record, Span, Value
from protocol.identity import Digest
from protocol.task import delivery, purchase

SPAN_ID_BYTES: Final = 8
MOST_OPEN: Final = 1024
"""Tasks and awards whose beginnings are remembered; the oldest is forgotten for a newer one."""


def root_span_of(task_id: bytes) -> bytes:
    """Return the id of the requester's span over a whole task."""
    return task_id[TRACE_ID_BYTES : TRACE_ID_BYTES + SPAN_ID_BYTES]


@dataclass(slots=True, kw_only=True)
class _Open:
    """A task or award under way: its span, when it began, and which step is under way since when."""

    trace: bytes
    identity: bytes
    parent: bytes
    began: float
    doing: str
    step_began: float
    attributes: dict[str, Value] = field(default_factory=dict[str, Value])


class TaskSpans:
    """Makes spans of the events of purchases and deliveries. What a restart interrupted has none: its start is lost."""

    def __init__(self, record: Record, clock: Clock, random: RandomSource) -> None:
        self._record, self._clock, self._random = record, clock, random
        self._open: dict[Digest, _Open] = {}

    def on_task_submitted(self, context: PurchaseContext) -> None:
        """Begin a task's span, and its auction's."""
        offer = context.offer.value
        attributes: dict[str, Value] = {
            "stoa.task": f"0x{context.offer_id.hex()}",
            "stoa.name": context.manifest.name,
            "stoa.parts": offer.parts,
            "stoa.budget": offer.budget,
        }
        root = root_span_of(context.offer_id)
        self._begin(context.offer_id, context.offer_id, root, b"", "auction", attributes)

    def on_purchase_event(self, context: PurchaseContext, event: purchase.Event) -> None:
        """Make a span of the step that `event` ends."""
        key = context.offer_id
        match event:
            case purchase.WinnerChosen(award_id=award_id):
                self._step(key, then="award", attributes={"stoa.award": f"0x{award_id.hex()}"})
            case purchase.Started():
                self._step(key, then="part")
            case purchase.PartReceived(receipt=receipt):
                value = receipt.value
                self._step(key, then="part", attributes=_did(value.part, value.fuel, value.due))
                if value.part == context.offer.value.parts - 1:
                    self._end(key, "task")
            case purchase.AuditDrawn():
                self._step(key, then="audit")
            case (
                purchase.ProviderFailed(reason=reason)
                | purchase.AuditRefuted(reason=reason)
                | purchase.ReceiptContested(reason=reason)
            ):
                self._step(key, then="auction", error=reason)
            case purchase.NoWinner(reason=reason) | purchase.RailFailed(reason=reason):
                self._step(key, error=reason)
                self._end(key, "task", error=reason)
            case purchase.CancelRequested():
                self._step(key, error="cancelled")
                self._end(key, "task", error="cancelled")
            case purchase.RailFunded() | purchase.AuditPassed() | purchase.DisputeTaken():
                pass

    def on_copies_over(self, context: PurchaseContext, end: type[purchase.State]) -> None:
        """Make the span of a task in several copies."""
        self._end(context.offer_id, "task", error="" if end is purchase.Done else end.__name__.lower())

    def on_award_taken(self, context: DeliveryContext) -> None:
        """Begin a delivery's span."""
        award, task = context.job.award.value, context.job.award.value.offer
        attributes: dict[str, Value] = {
            "stoa.task": f"0x{task.hex()}",
            "stoa.award": f"0x{context.job.award_id.hex()}",
            "stoa.price": award.price,
            "stoa.parts": award.parts,
        }
        identity = self._random.bytes(SPAN_ID_BYTES)
        self._begin(context.job.award_id, task, identity, root_span_of(task), "prepare", attributes)

    def on_delivery_event(self, context: DeliveryContext, event: delivery.Event) -> None:
        """Make a span of the step that `event` ends."""
        key, award = context.job.award_id, context.job.award.value
        match event:
            case delivery.InputsHeld():
                self._step(key, then="part")
            case delivery.PartRan(receipt=receipt):
                self._step(key, then="payment", attributes=_did(receipt.part, receipt.fuel, receipt.due))
            case delivery.PartPaid(acceptance=acceptance):
                value = acceptance.value
                self._step(key, then="part", attributes={"stoa.part": value.part, "stoa.due": value.due})
                if value.part == award.first_part + award.parts - 1:
                    self._end(key, "delivery")
            case delivery.PartFailed(reason=reason) | delivery.Withdrawn(reason=reason):
                self._step(key, error=reason)
                self._end(key, "delivery", error=reason)
            case delivery.PaymentOverdue():
                self._step(key, error="the requester did not pay")
                self._end(key, "delivery", error="the requester did not pay")
            case delivery.RailConfirmed() | delivery.SecretHeard():
                pass

    def _begin(
        self, key: Digest, task: bytes, identity: bytes, parent: bytes, doing: str, attributes: dict[str, Value]
    ) -> None:
        now = self._clock.unix_time()
        self._open[key] = _Open(
            trace=trace_id_of(task),
            identity=identity,
            parent=parent,
            began=now,
            doing=doing,
            step_began=now,
            attributes=attributes,
        )
        if len(self._open) > MOST_OPEN:
            del self._open[next(iter(self._open))]

    def _step(
        self, key: Digest, *, then: str = "", attributes: dict[str, Value] | None = None, error: str = ""
    ) -> None:
        """End the step under way, and go on with `then`."""
        running = self._open.get(key)
        if running is None:
            return
        now = self._clock.unix_time()
        self._record(
            Span(
                trace=running.trace,
                identity=self._random.bytes(SPAN_ID_BYTES),
                parent=running.identity,
                name=running.doing,
                start=running.step_began,
                end=now,
                attributes=attributes or {},
                error=error,
            )
        )
        running.doing, running.step_began = then, now

    def _end(self, key: Digest, name: str, *, error: str = "") -> None:
        running = self._open.pop(key, None)
        if running is None:
            return
        self._record(
            Span(
                trace=running.trace,
                identity=running.identity,
                parent=running.parent,
                name=name,
                start=running.began,
                end=self._clock.unix_time(),
                attributes=running.attributes,
                error=error,
            )
        )


def _did(part: int, fuel: int, due: int) -> dict[str, Value]:
    return {"stoa.part": part, "stoa.fuel": fuel, "stoa.due": due}
