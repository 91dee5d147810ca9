"""Who is told by the services what happens: here it is logged, counted and traced, and they need know of none of it."""

import structlog

from node.app.telemetry.instruments import Instruments
from node.app.telemetry.spans import TaskSpans
from node.market.delivery_run import DeliveryContext
from node.market.purchase_run import PurchaseContext
from node.operations.clock import Clock
from node.operations.randomness import RandomSource
from node.operations.tracing import Record
from protocol.task import delivery, purchase

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


class Witness:
    """One a node; made before the services, which are handed its methods."""

    def __init__(self, clock: Clock, random: RandomSource, record: Record | None = None) -> None:
        self.instruments = Instruments()
        self._spans = TaskSpans(record, clock, random) if record is not None else None

    def on_task_submitted(self, context: PurchaseContext) -> None:
        """A user gave this node a task."""
        self.instruments.on_task_submitted(context)
        if self._spans is not None:
            self._spans.on_task_submitted(context)

    def on_purchase_event(self, context: PurchaseContext, event: purchase.Event) -> None:
        """A task went one step on. Its id is on every line of its run."""
        log.info("task.step", step=type(event).__name__)
        self.instruments.on_purchase_event(context, event)
        if self._spans is not None and context.offer.value.copies == 1:  # copies are no steps, one after the other
            self._spans.on_purchase_event(context, event)

    def on_copies_over(self, context: PurchaseContext, end: type[purchase.State]) -> None:
        """All copies of a task came to their ends."""
        self.instruments.on_copies_over(end)
        if self._spans is not None:
            self._spans.on_copies_over(context, end)

    def on_award_taken(self, context: DeliveryContext) -> None:
        """This node took on an award."""
        self.instruments.on_award_taken(context)
        if self._spans is not None:
            self._spans.on_award_taken(context)

    def on_delivery_event(self, context: DeliveryContext, event: delivery.Event) -> None:
        """The work under an award went one step on."""
        log.info("task.step", step=type(event).__name__)
        self.instruments.on_delivery_event(context, event)
        if self._spans is not None:
            self._spans.on_delivery_event(context, event)
