"""What a fake node buys: blobs, tasks whose story is a script, and auctions that are over."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

from blake3 import blake3

from node.api.lines import CHUNK_BYTES
from node.api.views import (
    AuctionDetail,
    AuctionVerdict,
    AuctionView,
    BidderVerdict,
    BidView,
    CancelQuote,
    CapView,
    PartProgress,
    TaskDetail,
    TaskEnded,
    TaskEvent,
    TaskFilter,
    TaskOrder,
    TaskPlan,
    TaskView,
)
from protocol.errors import ProtocolError
from protocol.identity import ContentDigest, Digest
from protocol.signing.keccak import keccak256
from protocol.task.manifest import MANIFEST_MAX_BYTES, Manifest
from protocol.units import Amount, UnixTime, format_amount
from protocol.wire.codec import decode
from tests.node.api.fake_law import DISPUTE
from tests.node.api.fake_task import ANN, LOGS, NOW, OWN, FakeTask


class UnknownTask(ProtocolError):
    advice = "see `stoa task list`"


class WrongBytes(ProtocolError):
    pass


class SpendingCapRefusal(ProtocolError):
    pass


@dataclass
class FakeBuying:
    """See `NodeFacade`."""

    ending: str = "done"
    outputs: Sequence[bytes] = (b"the result\n",)
    blobs: dict[ContentDigest, bytes] = field(default_factory=dict[ContentDigest, bytes])
    tasks: dict[Digest, FakeTask] = field(default_factory=dict[Digest, FakeTask])
    cut_read: bool = False
    watchers: int = 0
    uploads: int = 0
    flood: bool = False
    verdict: AuctionVerdict | None = None

    async def blob_has(self, digest: ContentDigest) -> bool:
        return digest in self.blobs

    async def blob_put(self, digest: ContentDigest, size: int, chunks: AsyncIterator[bytes]) -> None:
        self.uploads += 1
        if size > 1 << 24:
            raise WrongBytes("too large for this store", advice="send less")
        data = b""
        async for chunk in chunks:
            data += chunk
        if blake3(data).digest() != digest or len(data) != size:
            raise WrongBytes("these bytes have another digest")
        self.blobs[digest] = data

    async def blob_read(self, digest: ContentDigest) -> AsyncGenerator[bytes, None]:
        if digest not in self.blobs:
            raise WrongBytes("no such blob")
        data = self.blobs[digest]
        for start in range(0, len(data), CHUNK_BYTES):
            yield data[start : start + CHUNK_BYTES]

    async def task_plan(self, order: TaskOrder) -> TaskPlan:
        manifest = decode(Manifest, order.manifest, max_bytes=MANIFEST_MAX_BYTES)
        return TaskPlan(
            name=manifest.name,
            parts=len(manifest.parts),
            format=order.format or "second-price",
            budget=order.budget,
            estimate=Amount(123_456),
            cap=order.budget,
            rail="channel" if order.budget <= 10_000_000 else "escrow",
            rail_reason=f"{format_amount(order.budget)} against the threshold of $10.00",
            top_up=Amount(0),
            max_eta_s=order.max_eta_s,
            window_s=(order.commit_window_s or 1.0) + (order.reveal_window_s or 1.0),
            sellers=2,
            verification="trust: nothing is checked",
            caps=(CapView(name="per_task", limit=Amount(50_000_000), left=Amount(50_000_000)),),
            warnings=("nothing is checked, so a cheat loses nothing",),
        )

    async def task_submit(self, order: TaskOrder) -> TaskView:
        manifest = decode(Manifest, order.manifest, max_bytes=MANIFEST_MAX_BYTES)
        if order.budget > 50_000_000:
            raise SpendingCapRefusal(
                "the budget is above the cap per task of $50.00", advice="raise wallet.caps.per_task"
            )
        missing = [blob for blob in manifest.blobs() if blob.digest not in self.blobs]
        if missing:
            raise WrongBytes(f"{len(missing)} blobs are missing")
        task = Digest(keccak256(order.manifest + bytes([len(self.tasks)])))
        view = TaskView(
            task=task,
            name=manifest.name,
            state="bidding",
            reason="",
            submitted_at=UnixTime(NOW + len(self.tasks)),
            changed_at=NOW,
            budget=order.budget,
            spent=Amount(0),
            parts=len(manifest.parts),
            paid_parts=0,
            attempt=0,
            provider=None,
            rail=None,
        )
        fake = self.tasks[task] = FakeTask(order=order, manifest=manifest, view=view)
        if self.ending not in ("nobody", "held"):
            for output in self.outputs:
                self.blobs[ContentDigest(blake3(output).digest())] = output[:-1] if self.cut_read else output
            self.blobs[ContentDigest(blake3(LOGS).digest())] = LOGS
        fake.tell(self.ending, self.outputs)
        return view

    async def task_list(self, state: TaskFilter, limit: int) -> tuple[TaskView, ...]:
        views = [task.view for task in self.tasks.values()]
        if state == "open":
            views = [view for view in views if view.state not in ("done", "failed", "cancelled")]
        return tuple(sorted(views, key=lambda view: -view.submitted_at)[:limit])

    async def task_show(self, task: str) -> TaskDetail:
        fake = self._find(task)
        return TaskDetail(
            task=fake.view,
            module=fake.manifest.module.digest,
            fuel_limit=fake.manifest.limits.fuel,
            memory_limit_mib=fake.manifest.limits.memory_mib,
            verification="trust: nothing is checked",
            warning="nothing is checked",
            awards=(fake.award(),) if fake.view.provider else (),
            parts=tuple(fake.parts),
            refuted=(),
            disputes=(DISPUTE,),
        )

    async def task_watch(self, task: str) -> AsyncGenerator[TaskEvent, None]:
        fake = self._find(task)
        self.watchers += 1
        try:
            position = 0
            while True:
                while position < len(fake.events):
                    event = fake.events[position]
                    position += 1
                    yield event
                    if isinstance(event, TaskEnded):
                        return
                if self.flood:
                    yield PartProgress(at=NOW, provider=ANN, part=0, fuel=1, fuel_limit=10, bytes_out=1)
                else:
                    await fake.changed.wait()
        finally:
            self.watchers -= 1

    async def task_cancel_quote(self, task: str) -> CancelQuote:
        fake = self._find(task)
        return CancelQuote(
            task=fake.view.task,
            cost=Amount(70_000),
            released=Amount(fake.order.budget - 70_000),
            explanation="one part is delivered and paid",
        )

    async def task_cancel(self, task: str, cost: Amount) -> TaskView:
        fake = self._find(task)
        if cost < 70_000:
            raise ProtocolError("cancelling costs $0.07 by now", advice="look at the price again")
        fake.view = replace(fake.view, state="cancelled")
        fake.end("cancelled")
        return fake.view

    async def auction_list(self, limit: int) -> tuple[AuctionView, ...]:
        return tuple(task.auction() for task in self.tasks.values())[:limit]

    async def auction_show(self, auction: str) -> AuctionDetail:
        fake = self._find(auction)
        bids = (
            BidView(
                bidder=ANN,
                position=1,
                price=Amount(200_000),
                eta_s=7,
                reputation=5000,
                score=5_500_000_000,
                price_score=2_500_000_000,
                reputation_score=1_500_000_000,
                speed_score=1_500_000_000,
                won=True,
            ),
        )
        return AuctionDetail(
            auction=fake.auction(),
            weight_price=5000,
            weight_reputation=3000,
            weight_speed=2000,
            max_eta_s=fake.order.max_eta_s,
            bids=bids,
            awards=(fake.award(),),
        )

    async def auction_verify(self, auction: str) -> AuctionVerdict:
        if self.verdict is not None:
            return self.verdict
        fake = self._find(auction)
        bidders = (
            BidderVerdict(bidder=ANN, won=True, text="won slot 0 at once"),
            BidderVerdict(bidder=OWN, won=False, text="place 2: $0.19 or less would have passed"),
        )
        return AuctionVerdict(auction=fake.view.task, ok=True, rule="", problem="", bidders=bidders, evidence=b"{}\n")

    def _find(self, prefix: str) -> FakeTask:
        found = [task for task in self.tasks.values() if task.view.task.hex().startswith(prefix)]
        if len(found) != 1:
            raise UnknownTask(f"{len(found)} tasks begin with {prefix!r}")
        return found[0]
