"""A task whose course is a script: bidders, awards, parts and the end, as the views tell them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import trio
from blake3 import blake3

from node.api.views import (
    AuctionOpened,
    AuctionView,
    AwardView,
    BidderCommitted,
    BidRevealed,
    CountView,
    PartDelivered,
    PartProgress,
    PartView,
    ProviderFailed,
    RailFunded,
    RollSigned,
    TaskEnded,
    TaskEvent,
    TaskOrder,
    TaskView,
    WinnerChosen,
    WorkStarted,
)
from protocol.identity import Address, ContentDigest, Digest
from protocol.task.manifest import Manifest
from protocol.units import Amount, UnixTime

NOW = UnixTime(1_800_000_000)
OWN = Address(bytes.fromhex("52908400098527886e0f7030069857d2e4169ee7"))
ANN = Address(b"\xaa" * 20)
BOB = Address(b"\xbb" * 20)
AWARD = Digest(b"\x06" * 32)
RECEIPT = Digest(b"\x07" * 32)
LOGS = b"a log line\n"


@dataclass
class FakeTask:
    order: TaskOrder
    manifest: Manifest
    view: TaskView
    events: list[TaskEvent] = field(default_factory=list[TaskEvent])
    parts: list[PartView] = field(default_factory=list[PartView])
    changed: trio.Event = field(default_factory=trio.Event)

    def say(self, event: TaskEvent) -> None:
        self.events.append(event)
        self.changed.set()
        self.changed = trio.Event()

    def tell(self, ending: str, outputs: Sequence[bytes]) -> None:
        """Say everything up to `ending`; the outputs of the parts are these, in turn."""
        order = self.order
        self.say(
            AuctionOpened(
                at=NOW,
                format=order.format or "second-price",
                budget=order.budget,
                parts=self.view.parts,
                max_eta_s=order.max_eta_s,
                commit_by=UnixTime(NOW + 1),
                reveal_by=UnixTime(NOW + 2),
            )
        )
        if ending == "nobody":
            refusals = (CountView(text="it would cost $0.90 here, the budget is $0.40", count=2),)
            self.end("failed", "no provider bid", "raise the budget", refusals)
            return
        for count, bidder in enumerate((ANN, BOB), 1):
            self.say(BidderCommitted(at=NOW, bidder=bidder, count=count))
        self.say(RollSigned(at=NOW, bidders=2))
        self.say(BidRevealed(at=NOW, bidder=ANN, price=Amount(200_000), eta_s=7))
        self.say(BidRevealed(at=NOW, bidder=BOB, price=Amount(300_000), eta_s=9))
        self._hire(ANN, 0)
        if ending == "held":
            return
        if ending == "standby":
            self.say(ProviderFailed(at=NOW, provider=ANN, reason="it fell silent", missing_parts=self.view.parts))
            self._hire(BOB, 1)
        for part in range(self.view.parts):
            self._deliver(part, outputs[part % len(outputs)])
        self.end("done")

    def end(self, state: str, reason: str = "", advice: str = "", refusals: tuple[CountView, ...] = ()) -> None:
        """Say that the task is over."""
        assert state in ("done", "failed", "cancelled")
        self.view = replace(self.view, state=state, reason=reason)
        self.say(
            TaskEnded(
                at=NOW,
                state=state,
                reason=reason,
                advice=advice,
                spent=self.view.spent,
                paid_parts=self.view.paid_parts,
                sellers_heard=0 if refusals else 2,
                refusals=refusals,
            )
        )

    def award(self) -> AwardView:
        return AwardView(
            award=AWARD,
            provider=self.view.provider or ANN,
            attempt=self.view.attempt,
            first_part=0,
            parts=self.view.parts,
            price=Amount(300_000),
            rail="channel",
            deliver_by=UnixTime(NOW + 60),
        )

    def auction(self) -> AuctionView:
        return AuctionView(
            auction=self.view.task,
            requester=OWN,
            role="requester",
            state="decided",
            format="second-price",
            budget=self.view.budget,
            parts=self.view.parts,
            commit_by=UnixTime(NOW + 1),
            reveal_by=UnixTime(NOW + 2),
            bidders=2,
            bids=2,
            winner=self.view.provider,
            price=Amount(300_000),
            own_price=None,
        )

    def _hire(self, provider: Address, attempt: int) -> None:
        self.view = replace(self.view, state="running", provider=provider, rail="channel", attempt=attempt)
        self.say(
            WinnerChosen(
                at=NOW,
                provider=provider,
                price=Amount(300_000),
                attempt=attempt,
                first_part=0,
                parts=self.view.parts,
                award=AWARD,
                rail="channel",
                reason="highest score",
            )
        )
        self.say(RailFunded(at=NOW, rail="channel", amount=Amount(300_000)))
        self.say(WorkStarted(at=NOW, provider=provider))

    def _deliver(self, part: int, output: bytes) -> None:
        provider = self.view.provider or ANN
        limit = self.manifest.limits.fuel
        self.say(PartProgress(at=NOW, provider=provider, part=part, fuel=10, fuel_limit=limit, bytes_out=1))
        view = PartView(
            part=part,
            provider=provider,
            outcome=0,
            outcome_text="ok",
            output=ContentDigest(blake3(output).digest()),
            output_bytes=len(output),
            logs=ContentDigest(blake3(LOGS).digest()),
            log_bytes=len(LOGS),
            fuel=123_456_789,
            peak_mib=7,
            cost=Amount(20_001),
            receipt=RECEIPT,
        )
        self.parts.append(view)
        spent = Amount(20_001 * len(self.parts))
        self.view = replace(self.view, paid_parts=len(self.parts), spent=spent)
        self.say(PartDelivered(at=NOW, part=view, spent=spent))
