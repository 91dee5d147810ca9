"""All doors in one hand: the `NodeFacade` of a running node."""

from node.app.doors.arbiters import ArbiterDoors
from node.app.doors.auctions import AuctionDoors
from node.app.doors.backup import BackupDoors
from node.app.doors.disputes import DisputeDoors
from node.app.doors.money import MoneyDoors
from node.app.doors.reputation import ReputationDoors
from node.app.doors.stakes import StakeDoors
from node.app.doors.status import StatusDoors
from node.app.doors.tasks import TaskDoors
from node.app.doors.watch import WatchDoors
from node.app.node import Node


class Doors(
    TaskDoors,
    AuctionDoors,
    MoneyDoors,
    StakeDoors,
    ArbiterDoors,
    DisputeDoors,
    ReputationDoors,
    WatchDoors,
    BackupDoors,
    StatusDoors,
):
    """What the control server calls."""

    def __init__(self, node: Node) -> None:
        StatusDoors.__init__(self, node)
