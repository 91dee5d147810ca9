"""What the control socket says and takes: flat values, made by the node, shown by the command line.

Amounts are token base units, times unix seconds, unless a name says otherwise. Every field is always present in JSON.
"""

from node.api.views.auctions import AuctionDetail, AuctionVerdict, AuctionView, BidderVerdict, BidView
from node.api.views.backup import BackupProgress
from node.api.views.money import ChannelView, EarningsReport, EarningView, EscrowView, WalletView
from node.api.views.names import AuctionFormatName, FinalState, RailName, TaskFilter, TaskState
from node.api.views.status import (
    CalibrationView,
    CapView,
    CountView,
    HealthView,
    KernelView,
    NodeStatus,
    PeerView,
    PricesView,
    ProvideOrder,
    ProvideView,
    TransactionView,
)
from node.api.views.task_events import (
    AuctionOpened,
    BidderCommitted,
    BidRevealed,
    PartDelivered,
    PartProgress,
    ProviderFailed,
    RailFunded,
    RollSigned,
    TaskEnded,
    TaskEvent,
    WinnerChosen,
    WorkStarted,
)
from node.api.views.tasks import AwardView, CancelQuote, PartView, TaskDetail, TaskOrder, TaskPlan, TaskView

__all__ = [
    "AuctionDetail",
    "AuctionFormatName",
    "AuctionOpened",
    "AuctionVerdict",
    "AuctionView",
    "AwardView",
    "BackupProgress",
    "BidRevealed",
    "BidView",
    "BidderCommitted",
    "BidderVerdict",
    "CalibrationView",
    "CancelQuote",
    "CapView",
    "ChannelView",
    "CountView",
    "EarningView",
    "EarningsReport",
    "EscrowView",
    "FinalState",
    "HealthView",
    "KernelView",
    "NodeStatus",
    "PartDelivered",
    "PartProgress",
    "PartView",
    "PeerView",
    "PricesView",
    "ProvideOrder",
    "ProvideView",
    "ProviderFailed",
    "RailFunded",
    "RailName",
    "RollSigned",
    "TaskDetail",
    "TaskEnded",
    "TaskEvent",
    "TaskFilter",
    "TaskOrder",
    "TaskPlan",
    "TaskState",
    "TaskView",
    "TransactionView",
    "WalletView",
    "WinnerChosen",
    "WorkStarted",
]
