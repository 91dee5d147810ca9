"""A task that is being bought: its auction, and a purchase for each of its copies."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from node.market.auction_run import AuctionRun
from node.market.comparing import Comparer, SlotWinners
from node.market.purchase_run import PurchaseContext, PurchaseLog, PurchaseRun, RequesterRoom
from protocol.task import purchase


@dataclass(frozen=True, slots=True)
class TaskRun:
    """One task: its auction, and what is bought with it, one purchase a slot in the order of the slots."""

    auction: AuctionRun
    purchases: tuple[PurchaseRun, ...]
    comparer: Comparer | None = None

    @property
    def purchase(self) -> PurchaseRun:
        """That of the first slot: the only one, unless several copies are bought."""
        return self.purchases[0]

    async def close(self) -> None:
        """Note that nothing more will come of it. The auction last: what is open of it is found by the auction."""
        if self.comparer is not None:
            await self.comparer.close()
        await self.auction.close()


def compared(room: RequesterRoom, comparer: Comparer, auction: AuctionRun, machines: Sequence[PurchaseLog]) -> TaskRun:
    """Let every slot ask what becomes of its receipts, and see what the others do."""

    def on_event(context: PurchaseContext, event: purchase.Event) -> None:
        room.on_event(context, event)
        comparer.note()

    slots = replace(room, auditor=comparer, on_event=on_event)
    runs = tuple(
        PurchaseRun(slots, machine, SlotWinners(auction, slot, comparer)) for slot, machine in enumerate(machines)
    )
    for slot, run in enumerate(runs):
        comparer.add(slot, run)
    return TaskRun(auction, runs, comparer)
