"""What is, read off a running node whenever somebody asks."""

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.metadata import version

from prometheus_client.metrics_core import Metric

from node.app.node import Node
from node.app.telemetry.look import Lookout
from node.operations.metrics import counter, gauge, gauges
from node.operations.tracing import Tracer
from protocol.spending import Cap
from protocol.task.engine import ENGINE_DIGEST


class Readings:
    """The gauges of one node, and counters that services keep themselves."""

    def __init__(self, node: Node, lookout: Lookout, tracer: Tracer | None) -> None:
        self._node, self._lookout, self._tracer = node, lookout, tracer
        self._version = version("stoa")  # reads files: once, not at each scrape

    def read(self) -> Iterator[Metric]:
        """Return everything as it is now. Quick: nothing in here waits, beyond one question to the file system."""
        yield from self._node_itself()
        yield from self._market()
        yield from self._money()
        yield from self._chain()
        yield from self._network()
        yield from self._storage()
        if self._tracer is not None:
            yield counter("stoa_spans_sent", "Spans that the collector took", self._tracer.sent)
            yield counter("stoa_spans_dropped", "Spans that it did not take", self._tracer.dropped)
            yield gauge("stoa_spans_queue", "Spans that wait to be sent", self._tracer.waiting)

    def _node_itself(self) -> Iterator[Metric]:
        labels = {"version": self._version, "engine": ENGINE_DIGEST.hex()[:16], "name": self._node.settings.node.name}
        yield gauges("stoa_build_info", "What runs here; always 1", tuple(labels), [(tuple(labels.values()), 1)])
        yield gauges(
            "stoa_health",
            "State of each concern: 0 ok, 1 degraded, 2 failed",
            ("check",),
            [((name,), report.status.value) for name, report in self._node.health.latest().items()],
        )

    def _market(self) -> Iterator[Metric]:
        node = self._node
        tasks = Counter(type(run.purchase.state).__name__.lower() for run in node.requester.tasks.values())
        yield _by_state("stoa_tasks", "Tasks of this node that are not over", tasks, _TASK_STATES)
        deliveries = Counter(type(run.state).__name__.lower() for run in node.provider.deliveries.values())
        yield _by_state("stoa_deliveries", "Awards that this node works on", deliveries, _DELIVERY_STATES)
        yield gauge("stoa_bids", "Auctions in which this node has a bid, standbys included", len(node.provider.bids))
        yield gauge("stoa_auctions_followed", "Auctions that this node remembers", len(node.gossip.observed.auctions))
        yield counter(
            "stoa_offers_refused", "Offers that this node did not bid on", sum(node.provider.reasons.values())
        )
        yield gauge("stoa_selling", "Whether this node bids: 0 or 1", node.provider.terms is not None)
        pool = node.pool.status()
        workers = {"running": pool.running, "free": pool.free}
        yield gauges("stoa_workers", "Parts that run, and that could", ("state",), _pairs(workers))

    def _money(self) -> Iterator[Metric]:
        payer, payee = self._node.payments.payer, self._node.payments.payee
        paying, receiving = payer.channels(), payee.channels()
        funded, awarded = payer.escrows(), payee.escrows()
        yield gauges(
            "stoa_channels",
            "Channels that are not over",
            ("role", "phase"),
            Counter(
                [*(("payer", each.phase) for each in paying), *(("payee", each.phase) for each in receiving)]
            ).items(),
        )
        yield gauges(
            "stoa_channel_deposit_base_units",
            "Confirmed deposits of these channels",
            ("role",),
            _pairs({"payer": sum(each.deposit for each in paying), "payee": sum(each.deposit for each in receiving)}),
        )
        yield gauges(
            "stoa_channel_held_base_units",
            "Promised to tasks in flight",
            ("role",),
            _pairs({"payer": sum(each.held for each in paying), "payee": sum(each.held for each in receiving)}),
        )
        yield gauges(
            "stoa_escrows",
            "Escrowed awards that are not over",
            ("role", "phase"),
            Counter(
                [*(("payer", each.phase) for each in funded), *(("payee", each.phase) for each in awarded)]
            ).items(),
        )
        disputed = sum(each.phase == "disputed" for each in (*funded, *awarded))
        yield gauge("stoa_disputes", "Escrowed awards in dispute", disputed)
        yield gauges(
            "stoa_escrow_locked_base_units",
            "Locked in these escrows",
            ("role",),
            _pairs(
                {
                    "payer": sum(each.amount - each.paid for each in funded),
                    "payee": sum(each.amount - each.paid for each in awarded),
                }
            ),
        )
        yield gauges(
            "stoa_unclaimed_base_units",
            "Owed to this node and not yet paid out on chain",
            ("rail",),
            _pairs(
                {
                    "channel": sum(max(0, each.earned - each.claimed) for each in receiving),
                    "escrow": sum(max(0, each.accepted - each.paid) for each in awarded),
                }
            ),
        )
        yield gauge(
            "stoa_unpaid_base_units",
            "Delivered over channels and not paid by voucher yet",
            sum(each.unpaid for each in receiving),
        )
        yield from self._stakes()
        yield from self._watching()
        caps = self._node.signer.remaining()
        yield gauges(
            "stoa_spending_cap_left_base_units",
            "What each spending cap leaves now",
            ("cap",),
            [((cap.name.lower(),), caps[cap]) for cap in (Cap.HOUR, Cap.DAY)],
        )

    def _stakes(self) -> Iterator[Metric]:
        stakes = self._node.payments.stakes
        if stakes is None:
            return
        backed = stakes.views()
        yield gauges(
            "stoa_stake_awards",
            "Awards with stake behind them that are not over",
            ("role", "lock"),
            Counter((each.role, each.lock) for each in backed).items(),
        )
        locked = sum(each.liability for each in backed if each.role == "provider" and each.lock == "locked")
        yield gauge("stoa_stake_locked_base_units", "Stake of this wallet that answers for awards", locked)
        yield gauge(
            "stoa_stake_freeable_base_units", "What freeing locks that are over would bring", stakes.provider.freeable()
        )

    def _watching(self) -> Iterator[Metric]:
        tower, handover = self._node.payments.tower, self._node.payments.handover
        if tower is None or handover is None:
            return
        bare = [cover.at_stake for cover in handover.covers() if not cover.covered] if handover.towers() else []
        yield gauge(
            "stoa_watch_uncovered_base_units",
            "At stake in channels that none of this node's watchtowers holds; 0 without towers",
            sum(bare),
        )
        watches = tower.watches()
        yield gauge("stoa_watches", "Channels that this node watches for others", len(watches))
        stuck = sum(bool(each.trouble) for each in watches)
        yield gauge("stoa_watches_stuck", "Of these, those for which it has to act and something is in the way", stuck)

    def _chain(self) -> Iterator[Metric]:
        feed, look, clock = self._node.payments.feed, self._lookout.chain, self._node.clock
        yield gauge("stoa_chain_processed_block", "Newest confirmed block whose events were acted on", feed.number)
        if feed.number:
            age_s = max(0, clock.now() - feed.time)
            yield gauge("stoa_chain_view_age_seconds", "Age of that block by this node's clock", age_s)
        since = self._node.chain.rpc.away_since
        away_s = 0 if since is None else max(0, clock.now() - since)
        yield gauge("stoa_chain_away_seconds", "For how long the chain has answered nothing; 0 while it does", away_s)
        in_hand = self._node.transactor.in_hand()
        waiting = sum(bool(each.waits_for) for each in in_hand)
        yield gauge("stoa_transactions", "Transactions queued or on their way", len(in_hand))
        yield gauge("stoa_transactions_blocked", "Of these, those that something keeps from being sent", waiting)
        if look is None:
            return
        yield gauge(
            "stoa_chain_reachable", "Whether the chain's node answered at the last look: 0 or 1", look.reachable
        )
        if not look.head:
            return
        yield gauge("stoa_chain_head_block", "Newest block of the chain at the last look", look.head)
        if look.lag_blocks >= 0:
            yield gauge("stoa_chain_lag_blocks", "Blocks from the newest one acted on to the head", look.lag_blocks)
            yield gauge("stoa_chain_lag_seconds", "Seconds of block time between the two", look.lag_s)
        yield gauge("stoa_gas_money_wei", "Native money of the wallet, for fees", look.gas_money)
        yield gauge("stoa_token_balance_base_units", "Tokens of the wallet", look.tokens)

    def _network(self) -> Iterator[Metric]:
        network = self._node.network
        yield gauge("stoa_peers", "Nodes connected now", len(network.peers()))
        yield gauge("stoa_peers_known", "Nodes whose signed record is known", len(self._node.directory.all()))
        dropped = sum(network.dropped.values())
        yield counter("stoa_gossip_dropped", "Gossip dropped because the market did not keep up", dropped)

    def _storage(self) -> Iterator[Metric]:
        storage = self._node.storage
        yield gauge("stoa_journal_queue", "Changes that wait for the next commit", storage.writer.waiting)
        yield gauge("stoa_journal_head", "Number of the newest durable record", storage.journal.head.seq)
        yield gauge("stoa_blob_bytes", "Taken by blobs", storage.blobs.used_bytes)
        yield gauge("stoa_blob_quota_bytes", "Most that blobs may take", storage.blobs.quota_bytes)
        disk = shutil.disk_usage(storage.folder)
        yield gauge("stoa_disk_free_bytes", "Left on the disk of the data folder", disk.free)
        yield gauge("stoa_disk_size_bytes", "Size of that disk", disk.total)


_TASK_STATES = ("seeking", "funding", "awaiting", "running")
_DELIVERY_STATES = ("offered", "fetching", "working", "unpaid")


def _by_state(name: str, text: str, found: Counter[str], known: Iterable[str]) -> Metric:
    """Count by state; the known ones are there also at zero, so that a board shows a line and not a gap."""
    counts = dict.fromkeys(known, 0) | found
    return gauges(name, text, ("state",), _pairs(counts))


def _pairs(values: dict[str, int]) -> list[tuple[tuple[str, ...], float]]:
    return [((name,), value) for name, value in values.items()]
