"""A node behind the doors that keeps state but buys and sells nothing: what it tells of each task is a script.

The script is in `fake_task.py`.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

import trio
from blake3 import blake3

from node.api.json_codec import Wei
from node.api.lines import CHUNK_BYTES
from node.api.views import (
    AccusationView,
    AgentView,
    ArbiterReport,
    AuctionDetail,
    AuctionVerdict,
    AuctionView,
    BackupProgress,
    BidderVerdict,
    BidView,
    CalibrationView,
    CancelQuote,
    CapView,
    ChannelView,
    CountView,
    CoverView,
    DisputeView,
    EarningsReport,
    EarningView,
    EscrowView,
    FeedbackView,
    HealthView,
    HeldView,
    KernelView,
    NodeStatus,
    OpinionView,
    PartProgress,
    PeerView,
    PricesView,
    ProvideOrder,
    ProvideView,
    ReputationReport,
    ScoreView,
    SheetView,
    StakedAwardView,
    StakeReport,
    SummaryView,
    TaskDetail,
    TaskEnded,
    TaskEvent,
    TaskFilter,
    TaskOrder,
    TaskPlan,
    TaskView,
    TowerView,
    TransactionView,
    WalletView,
    WatchClientView,
    WatchedView,
    WatchReport,
)
from protocol.errors import ProtocolError
from protocol.identity import Address, ContentDigest, Digest, PeerId, did
from protocol.signing.keccak import keccak256
from protocol.task.manifest import MANIFEST_MAX_BYTES, Manifest
from protocol.units import Amount, Seconds, UnixTime, format_amount
from protocol.wire.codec import decode
from tests.node.api.fake_task import ANN, BOB, LOGS, NOW, OWN, FakeTask

PRICES = PricesView(
    start=Amount(1_000), gfuel=Amount(2_000), mib_gfuel=Amount(2), mib_in=Amount(100), mib_out=Amount(200)
)


STAKE = StakeReport(
    stake=Amount(5_000_000),
    locked=Amount(5_000_000),
    leaving=Amount(0),
    free=Amount(0),
    ready_at=None,
    cooldown=Seconds(5),
    freeable=Amount(0),
    awards=(
        StakedAwardView(
            award=Digest(b"\x05" * 32),
            role="provider",
            peer=ANN,
            lock="locked",
            liability=Amount(5_000_000),
            until=UnixTime(NOW + 60),
            bonus=Amount(1_250_000),
            freeable=Amount(0),
        ),
    ),
)
WATCH = WatchReport(
    towers=(TowerView(wallet=BOB, channels=1, heard_at=NOW, least=Amount(1_000_000), trouble=""),),
    channels=(
        CoverView(
            channel=Digest(b"\x06" * 32),
            payer=ANN,
            sequence=9,
            at_stake=Amount(2_500_000),
            covered=False,
            towers=(HeldView(tower=BOB, sequence=7, problem="TooManyWatches: no room"),),
        ),
    ),
    clients=(WatchClientView(wallet=ANN, allowed=True, watches=1, size=1_024, seen_at=NOW, acts=2),),
    watches=(
        WatchedView(
            channel=Digest(b"\x07" * 32),
            client=ANN,
            payer=BOB,
            sequence=3,
            worth=Amount(7_000_000),
            received_at=NOW,
            act_at=UnixTime(NOW + 60),
            acting=False,
            trouble="",
        ),
    ),
)
DISPUTE = DisputeView(
    award=Digest(b"\x07" * 32),
    role="requester",
    peer=BOB,
    state="open",
    opened_by_us=True,
    part=3,
    round=1,
    deadline=UnixTime(NOW + 60),
    finding="wrong result",
    due=Amount(1_500_000),
    price=Amount(2_000_000),
    liability=Amount(400_000),
    bonds=Amount(800_000),
    reason="the receipt for part 3 states another output",
    problem="the cap per day is reached",
)
BENCH = ArbiterReport(
    enabled=False,
    court=BOB,
    seat_stake=Amount(4_000_000),
    tickets=0,
    leaving=0,
    ready_at=None,
    seats=0,
    serving_until=None,
    balance=Amount(1_000_000),
    collectable=Amount(1_000_000),
    cooldown=Seconds(5),
    cases=7,
)
SELLING_NOTHING = ProvideView(
    enabled=False,
    draining=False,
    workers=2,
    busy=0,
    memory_mib=1024,
    fuel_per_s=0,
    prices=PRICES,
    refusals=(CountView(text="the task wants another engine", count=3),),
)


class UnknownTask(ProtocolError):
    advice = "see `stoa task list`"


SHEET = SheetView(epoch=UnixTime(NOW), scores=1, root=Digest(b"\x07" * 32), block=42)
FEEDBACK = FeedbackView(
    award=Digest(b"\x05" * 32),
    provider=ANN,
    parts=4,
    paid_parts=3,
    due=Amount(15_000_000),
    ended_at=UnixTime(NOW),
    fate="written",
    reason="",
    agent="22",
    index=1,
    transaction=Digest(b"\x06" * 32),
)
REPUTATION = ReputationReport(
    publisher=OWN,
    anchors=False,
    epoch_s=86_400,
    sheets=(),
    opinions=(OpinionView(provider=ANN, reputation=8_400, settled=10, failed=0, silent=0, refuted=0),),
)


class WrongBytes(ProtocolError):
    pass


@dataclass
class FakeNode:
    """Tasks end as `ending` says; "held" leaves them running until `release` is set."""

    ending: str = "done"
    outputs: Sequence[bytes] = (b"the result\n",)
    blobs: dict[ContentDigest, bytes] = field(default_factory=dict[ContentDigest, bytes])
    tasks: dict[Digest, FakeTask] = field(default_factory=dict[Digest, FakeTask])
    selling: ProvideView = field(default_factory=lambda: SELLING_NOTHING)
    channels: dict[Digest, ChannelView] = field(default_factory=dict[Digest, ChannelView])
    stake: StakeReport = STAKE
    reputation: ReputationReport = REPUTATION
    watch: WatchReport = WATCH
    bench: ArbiterReport = BENCH
    cut_read: bool = False
    stopped: bool = False
    watchers: int = 0
    uploads: int = 0
    backups: list[tuple[str, str, bool]] = field(default_factory=list[tuple[str, str, bool]])
    flood: bool = False
    verdict: AuctionVerdict | None = None

    async def node_status(self) -> NodeStatus:
        return NodeStatus(
            version="0.1.0",
            name="fake",
            wallet=OWN,
            did=did(31337, OWN),
            peer=PeerId("12D3KooWFake"),
            listening=("/ip4/127.0.0.1/tcp/4600/p2p/12D3KooWFake",),
            connected_peers=3,
            chain_id=31337,
            chain_reachable=True,
            chain_away_since=None,
            confirmed_block=42,
            confirmed_at=NOW,
            token_balance=Amount(12_345_678),
            gas_balance=Wei(9_990_000_000_000_000_000),
            started_at=NOW,
            open_tasks=sum(task.view.state not in ("done", "failed", "cancelled") for task in self.tasks.values()),
            open_deliveries=0,
            selling=self.selling,
            transactions=(
                TransactionView(title="claim of channel 1", nonce=7, attempts=2, max_fee=Wei(3), waits_for=""),
                TransactionView(
                    title="claim of channel 2", nonce=None, attempts=0, max_fee=Wei(0), waits_for="gas is too dear"
                ),
            ),
            health=(HealthView(name="storage", ok=True, detail=""),),
            warnings=("no gas money, and 2 claims are due",),
        )

    async def node_stop(self) -> None:
        self.stopped = True

    async def node_backup(self, path: str, config: str, *, blobs: bool) -> AsyncGenerator[BackupProgress, None]:
        self.backups.append((path, config, blobs))
        for done in (0, 5):
            yield BackupProgress(stage="files", done=done, total=10)
        await trio.Path(path).write_bytes(b"0123456789")
        yield BackupProgress(stage="done", done=10, total=10)

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

    async def earnings_show(self, since: UnixTime, limit: int) -> EarningsReport:
        row = EarningView(
            award=Digest(b"\x09" * 32),
            requester=BOB,
            task="word-statistics",
            taken_at=NOW,
            state="delivered",
            reason="",
            price=Amount(400_000),
            earned=Amount(130_001),
            parts=1,
            paid_parts=1,
            rail="channel",
        )
        rows = (row,) if since <= NOW else ()
        earned = Amount(sum(each.earned for each in rows))
        return EarningsReport(since=since, earned=earned, unclaimed=Amount(30_000), awards=rows[:limit])

    async def peer_list(self) -> tuple[PeerView, ...]:
        return (_peer("/ip4/127.0.0.1/tcp/4601"),)

    async def peer_connect(self, address: str) -> PeerView:
        if "/p2p/" not in address:
            raise ProtocolError(f"{address!r} names no peer", advice="end it in /p2p/<peer id>")
        return _peer(address)

    async def channel_list(self) -> tuple[ChannelView, ...]:
        return tuple(self.channels.values())

    async def channel_open(self, provider: Address, deposit: Amount) -> ChannelView:
        channel = Digest(keccak256(provider))
        self.channels[channel] = ChannelView(
            channel=channel,
            role="payer",
            peer=provider,
            state="open",
            deposit=deposit,
            paid=Amount(0),
            held=Amount(0),
            free=deposit,
            unclaimed=Amount(0),
            leaves_at=None,
        )
        return self.channels[channel]

    async def channel_top_up(self, channel: str, amount: Amount) -> ChannelView:
        found = self._channel(channel)
        after = replace(found, deposit=Amount(found.deposit + amount), free=Amount(found.free + amount))
        self.channels[found.channel] = after
        return after

    async def channel_close(self, channel: str) -> ChannelView:
        after = replace(self._channel(channel), state="closed")
        self.channels[after.channel] = after
        return after

    async def escrow_list(self) -> tuple[EscrowView, ...]:
        return (
            EscrowView(
                award=Digest(b"\x05" * 32),
                role="payer",
                peer=ANN,
                state="funded",
                amount=Amount(25_000_000),
                paid=Amount(0),
                claim_by=UnixTime(NOW + 60),
            ),
        )

    async def dispute_list(self) -> tuple[DisputeView, ...]:
        return (DISPUTE,)

    async def dispute_show(self, award: str) -> DisputeView:
        if not DISPUTE.award.hex().startswith(award):
            raise ProtocolError(f"no case is about {award}")
        return DISPUTE

    async def auction_accuse(self, auction: str) -> tuple[AccusationView, ...]:
        if auction != "c0ffee":
            return ()
        return (
            AccusationView(culprit=ANN, taken=Amount(8_000_000), bounty=Amount(4_000_000), problem=""),
            AccusationView(culprit=BOB, taken=Amount(0), bounty=Amount(0), problem="NothingToSlash"),
        )

    async def watch_show(self) -> WatchReport:
        return self.watch

    async def watch_add(self, tower: Address) -> WatchReport:
        new = TowerView(wallet=tower, channels=0, heard_at=None, least=None, trouble="")
        self.watch = replace(self.watch, towers=(*self.watch.towers, new))
        return self.watch

    async def watch_remove(self, tower: Address) -> WatchReport:
        self.watch = replace(self.watch, towers=tuple(each for each in self.watch.towers if each.wallet != tower))
        return self.watch

    async def watch_allow(self, client: Address) -> WatchReport:
        new = WatchClientView(wallet=client, allowed=True, watches=0, size=0, seen_at=None, acts=0)
        self.watch = replace(self.watch, clients=(*self.watch.clients, new))
        return self.watch

    async def watch_disallow(self, client: Address) -> WatchReport:
        clients = [replace(each, allowed=each.allowed and each.wallet != client) for each in self.watch.clients]
        self.watch = replace(self.watch, clients=tuple(clients))
        return self.watch

    async def watch_drop(self, channel: str) -> WatchReport:
        left = tuple(each for each in self.watch.watches if not each.channel.hex().startswith(channel))
        if len(left) == len(self.watch.watches):
            raise ProtocolError(f"no watched channel begins with {channel!r}")
        self.watch = replace(self.watch, watches=left)
        return self.watch

    async def stake_show(self) -> StakeReport:
        return self.stake

    async def stake_add(self, amount: Amount) -> StakeReport:
        self.stake = replace(self.stake, stake=Amount(self.stake.stake + amount), free=Amount(self.stake.free + amount))
        return self.stake

    async def stake_withdraw(self, amount: Amount) -> StakeReport:
        if amount > self.stake.free:
            raise ProtocolError(f"only {format_amount(self.stake.free)} is free")
        left = Amount(self.stake.free - amount)
        self.stake = replace(self.stake, free=left, leaving=amount, ready_at=UnixTime(NOW + 5))
        return self.stake

    async def stake_collect(self) -> StakeReport:
        gone = self.stake.leaving
        self.stake = replace(self.stake, stake=Amount(self.stake.stake - gone), leaving=Amount(0), ready_at=None)
        return self.stake

    async def arbiter_show(self) -> ArbiterReport:
        return self.bench

    async def arbiter_enlist(self, count: int) -> ArbiterReport:
        bench = self.bench
        balance = Amount(bench.balance + count * bench.seat_stake)
        self.bench = replace(bench, tickets=bench.tickets + count, balance=balance)
        return self.bench

    async def arbiter_resign(self, count: int | None) -> ArbiterReport:
        wanted = self.bench.tickets if count is None else count
        if wanted > self.bench.tickets:
            raise ProtocolError(f"this wallet has {self.bench.tickets}")
        self.bench = replace(
            self.bench, tickets=self.bench.tickets - wanted, leaving=wanted, ready_at=UnixTime(NOW + 5)
        )
        return self.bench

    async def arbiter_collect(self) -> ArbiterReport:
        left = Amount(self.bench.balance - self.bench.collectable)
        self.bench = replace(self.bench, balance=left, collectable=Amount(0))
        return self.bench

    async def stake_free(self) -> StakeReport:
        self.stake = replace(self.stake, locked=Amount(0), free=Amount(self.stake.free + self.stake.locked), awards=())
        return self.stake

    async def reputation_show(self, limit: int) -> ReputationReport:
        return replace(self.reputation, opinions=self.reputation.opinions[:limit])

    async def reputation_anchor(self) -> SheetView:
        if self.reputation.sheets:
            raise ProtocolError("this epoch has its root already", advice="an epoch takes one")
        self.reputation = replace(self.reputation, sheets=(SHEET,))
        return SHEET

    async def reputation_prove(self, publisher: Address | None, subject: Address, epoch: int) -> ScoreView:
        if subject not in [each.provider for each in self.reputation.opinions] or epoch not in (0, SHEET.epoch):
            raise ProtocolError("no score of it is in that sheet")
        return ScoreView(
            publisher=publisher or OWN, epoch=SHEET.epoch, subject=subject, score=8_400, siblings=(Digest(bytes(32)),)
        )

    async def feedback_list(self, limit: int) -> tuple[FeedbackView, ...]:
        return (FEEDBACK,)[:limit]

    async def feedback_agent(self, agent: str) -> AgentView:
        if agent != "22":
            raise ProtocolError(f"{agent!r} is no agent", advice="give its number, or the wallet of its node")
        mean = SummaryView(whose="this wallet", clients=1, count=2, value="75.00")
        return AgentView(agent=agent, registry=BOB, summaries=(mean,))

    async def wallet_show(self) -> WalletView:
        return WalletView(
            address=OWN,
            did=did(31337, OWN),
            chain_id=31337,
            token=Address(b"\x01" * 20),
            token_balance=Amount(12_345_678),
            gas_balance=Wei(9_990_000_000_000_000_000),
            in_channels=Amount(5_000_000),
            in_escrow=Amount(0),
            caps=(CapView(name="per_day", limit=Amount(500_000_000), left=Amount(499_000_000)),),
        )

    async def provide_show(self) -> ProvideView:
        return self.selling

    async def provide_set(self, order: ProvideOrder) -> ProvideView:
        self.selling = replace(
            self.selling,
            enabled=self.selling.enabled if order.enabled is None else order.enabled,
            prices=order.prices or self.selling.prices,
            fuel_per_s=order.fuel_per_s or self.selling.fuel_per_s,
        )
        return self.selling

    async def provide_calibrate(self) -> CalibrationView:
        kernels = (
            KernelView(name="integers", fuel_per_s=4 * 10**9),
            KernelView(name="host calls", fuel_per_s=10**9),
        )
        return CalibrationView(kernels=kernels, fuel_per_s=2 * 10**9, slowest_fuel_per_s=10**9)

    async def provide_drain(self) -> ProvideView:
        self.selling = replace(self.selling, enabled=False, draining=True)
        return self.selling

    def _find(self, prefix: str) -> FakeTask:
        found = [task for task in self.tasks.values() if task.view.task.hex().startswith(prefix)]
        if len(found) != 1:
            raise UnknownTask(f"{len(found)} tasks begin with {prefix!r}")
        return found[0]

    def _channel(self, prefix: str) -> ChannelView:
        found = [view for view in self.channels.values() if view.channel.hex().startswith(prefix)]
        if len(found) != 1:
            raise ProtocolError(f"{len(found)} channels begin with {prefix!r}")
        return found[0]


class SpendingCapRefusal(ProtocolError):
    pass


def _peer(address: str) -> PeerView:
    return PeerView(
        peer=PeerId("12D3KooWOther"),
        wallet=ANN,
        addresses=(address,),
        connected=True,
        sells=True,
        gfuel=Amount(100_000),
        record_expires=UnixTime(NOW + 600),
    )
