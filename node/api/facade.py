"""What the node does for its operator: one method a door. `node/app` implements it; server and client share it.

The signatures are the wire: a request's `method` is a name below with its first underscore as a dot (`task.show`), its
`params` are the arguments by name, its result the annotated type. A method that returns an `AsyncGenerator` is a
stream: its items are sent as they come, and it is closed when the client goes away. The one method that takes chunks
gets them from the client while it runs.

A `task`, `auction`, `channel` or `award` argument of type str is an id or the beginning of one, in hexadecimal digits.
Any method may raise a `StoaError`; message and advice reach the user.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

from node.api.views import (
    AccusationView,
    AgentView,
    ArbiterReport,
    AuctionDetail,
    AuctionVerdict,
    AuctionView,
    BackupProgress,
    CalibrationView,
    CancelQuote,
    ChannelView,
    DisputeQuote,
    DisputeView,
    EarningsReport,
    EscrowView,
    FeedbackView,
    NodeStatus,
    PeerView,
    ProvideOrder,
    ProvideView,
    ReputationReport,
    ScoreView,
    SheetView,
    StakeReport,
    TaskDetail,
    TaskEvent,
    TaskFilter,
    TaskOrder,
    TaskPlan,
    TaskView,
    WalletView,
    WatchReport,
)
from protocol.identity import Address, ContentDigest
from protocol.units import Amount, UnixTime


class NodeFacade(Protocol):
    """The doors of a running node."""

    async def node_status(self) -> NodeStatus:
        """Return the node at a glance."""
        ...

    async def node_stop(self) -> None:
        """Begin to end the node, and return at once."""
        ...

    def node_backup(self, path: str, config: str, *, blobs: bool) -> AsyncGenerator[BackupProgress, None]:
        """Write a backup to the absolute path `path`, with the configuration file `config` (none if empty).

        Closed before its end, it leaves nothing behind.
        """
        ...

    async def blob_has(self, digest: ContentDigest) -> bool:
        """Tell whether the whole blob is in the store, and keep it for a while if so."""
        ...

    async def blob_put(self, digest: ContentDigest, size: int, chunks: AsyncIterator[bytes]) -> None:
        """Store a blob of `size` bytes as its chunks come; refuse other bytes than `digest` names."""
        ...

    def blob_read(self, digest: ContentDigest) -> AsyncGenerator[bytes, None]:
        """Give a blob's bytes in pieces of at most 256 KiB. The reader checks the digest."""
        ...

    async def task_plan(self, order: TaskOrder) -> TaskPlan:
        """Say what `task_submit` would do; changes nothing, and needs no blob."""
        ...

    async def task_submit(self, order: TaskOrder) -> TaskView:
        """Open the auction."""
        ...

    async def task_list(self, state: TaskFilter, limit: int) -> tuple[TaskView, ...]:
        """Return tasks, newest first."""
        ...

    async def task_show(self, task: str) -> TaskDetail:
        """Return a task with its awards and delivered parts."""
        ...

    def task_watch(self, task: str) -> AsyncGenerator[TaskEvent, None]:
        """Give what happened so far, then what happens, and end after `TaskEnded`. Progress may be thinned out."""
        ...

    async def task_cancel_quote(self, task: str) -> CancelQuote:
        """Say what cancelling would cost now."""
        ...

    async def task_cancel(self, task: str, cost: Amount) -> TaskView:
        """Cancel, unless that costs more than `cost` by now."""
        ...

    async def auction_list(self, limit: int) -> tuple[AuctionView, ...]:
        """Return auctions that this node knows, newest first."""
        ...

    async def auction_show(self, auction: str) -> AuctionDetail:
        """Return an auction with its bids and scores."""
        ...

    async def auction_verify(self, auction: str) -> AuctionVerdict:
        """Compute an auction again from what its requester signed and this node heard (`node.api.evidence.judge`)."""
        ...

    async def auction_accuse(self, auction: str) -> tuple[AccusationView, ...]:
        """Show the contract each contradiction that was proved in an auction; its signer loses the bond."""
        ...

    async def earnings_show(self, since: UnixTime, limit: int) -> EarningsReport:
        """Return the awards taken since then, newest first; the sums are over all of them."""
        ...

    async def peer_list(self) -> tuple[PeerView, ...]:
        """Return the nodes that this one knows, connected ones first."""
        ...

    async def peer_connect(self, address: str) -> PeerView:
        """Connect to a multiaddress that ends in /p2p/<peer id>."""
        ...

    async def channel_list(self) -> tuple[ChannelView, ...]:
        """Return the open channels, both ways."""
        ...

    async def channel_open(self, provider: Address, deposit: Amount) -> ChannelView:
        """Open a channel to pay a provider, and return when it is confirmed."""
        ...

    async def channel_top_up(self, channel: str, amount: Amount) -> ChannelView:
        """Add to the deposit, and return when it is confirmed."""
        ...

    async def channel_close(self, channel: str) -> ChannelView:
        """Close together with the other side if it answers, else begin the exit; as payee, claim all."""
        ...

    async def escrow_list(self) -> tuple[EscrowView, ...]:
        """Return the escrows that are not over, both ways."""
        ...

    async def dispute_list(self) -> tuple[DisputeView, ...]:
        """Return the cases about this node's own tasks and work, open ones first."""
        ...

    async def dispute_show(self, award: str) -> DisputeView:
        """Return the case about an award."""
        ...

    async def dispute_open_quote(self, award: str, *, look: bool) -> DisputeQuote:
        """Say what a case about an award would be about, cost and bring.

        With `look`, a requester that never ran the part does so now, which takes as long as it takes, ten minutes at
        most.
        """
        ...

    async def dispute_open(self, award: str, bond: Amount, *, anyway: bool) -> DisputeView:
        """Open a case, unless its bond is more than `bond`; return once it is confirmed, or something is in the way.

        Also where there is nothing to gain, with `anyway`; then no part is run again before.
        """
        ...

    async def dispute_appeal_quote(self, award: str) -> DisputeQuote:
        """Say what an appeal in this node's open case would cost and bring."""
        ...

    async def dispute_appeal(self, award: str, bond: Amount, *, anyway: bool) -> DisputeView:
        """Appeal; otherwise as `dispute_open`."""
        ...

    async def stake_show(self) -> StakeReport:
        """Return what the wallet has at stake, and for what."""
        ...

    async def stake_add(self, amount: Amount) -> StakeReport:
        """Add to the stake, and return when it is confirmed."""
        ...

    async def stake_withdraw(self, amount: Amount) -> StakeReport:
        """Ask for a part of the free stake back; it can be collected after the cooldown."""
        ...

    async def stake_collect(self) -> StakeReport:
        """Take out what was asked for and is ready."""
        ...

    async def stake_free(self) -> StakeReport:
        """Free the locks of awards that are over, and return when that is confirmed."""
        ...

    async def reputation_show(self, limit: int) -> ReputationReport:
        """Return this node's opinions, and the sheets of them that it can prove."""
        ...

    async def reputation_anchor(self) -> SheetView:
        """Anchor the opinions as they are now, and return when that is confirmed."""
        ...

    async def reputation_prove(self, publisher: Address | None, subject: Address, epoch: int) -> ScoreView:
        """Return a publisher's line about a subject with its proof, checked with the chain.

        Args:
            publisher: Whose opinion; None for this node's own.
            subject: About whom.
            epoch: Of which epoch; 0 for the newest.
        """
        ...

    async def watch_show(self) -> WatchReport:
        """Return our watchtowers and what they hold, and whom this node watches for."""
        ...

    async def watch_add(self, tower: Address) -> WatchReport:
        """Have the node of this wallet watch our channels, until this node ends; the file is not touched."""
        ...

    async def watch_remove(self, tower: Address) -> WatchReport:
        """Tell a tower nothing more, until this node ends."""
        ...

    async def watch_allow(self, client: Address) -> WatchReport:
        """Watch for the node of this wallet, until this node ends."""
        ...

    async def watch_disallow(self, client: Address) -> WatchReport:
        """Take no new orders of a client; what is watched for it stays so."""
        ...

    async def watch_drop(self, channel: str) -> WatchReport:
        """Watch a client's channel no more."""
        ...

    async def arbiter_show(self) -> ArbiterReport:
        """Return what the wallet has on the court's bench."""
        ...

    async def arbiter_enlist(self, count: int) -> ArbiterReport:
        """Buy tickets, and return when they are confirmed."""
        ...

    async def arbiter_resign(self, count: int | None) -> ArbiterReport:
        """Give tickets up, all with None, and return when that is confirmed."""
        ...

    async def arbiter_collect(self) -> ArbiterReport:
        """Take earnings and free stake from the bench, and return when that is confirmed."""
        ...

    async def feedback_list(self, limit: int) -> tuple[FeedbackView, ...]:
        """Return the paid awards and the feedback about them, newest first."""
        ...

    async def feedback_agent(self, agent: str) -> AgentView:
        """Return what the registry of ERC-8004 says of an agent: its number, or the wallet of a node that is asked."""
        ...

    async def wallet_show(self) -> WalletView:
        """Return addresses, balances and what the caps leave."""
        ...

    async def provide_show(self) -> ProvideView:
        """Return what this node sells."""
        ...

    async def provide_set(self, order: ProvideOrder) -> ProvideView:
        """Change what this node sells, from the next offer on, until it ends; the configuration file is not touched."""
        ...

    async def provide_calibrate(self) -> CalibrationView:
        """Measure this machine; takes some seconds of one core."""
        ...

    async def provide_drain(self) -> ProvideView:
        """Take no new work, and return when all that was taken is done."""
        ...
