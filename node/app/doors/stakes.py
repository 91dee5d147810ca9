"""The doors to the wallet's stake."""

from node.api import views
from node.app.doors.auctions import find_auction
from node.app.node import Node
from node.payments.stake_view import StakeView
from node.payments.stakes import Stakes
from protocol.errors import ChainRejected, ProtocolError
from protocol.market.evidence import Conflict, accused_by
from protocol.market.objects import Offer
from protocol.units import Amount


class NoStakes(ProtocolError):
    """A network whose deployment has no contract for stakes."""


class StakeDoors:
    """See `NodeFacade`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def stake_show(self) -> views.StakeReport:
        """See `NodeFacade`."""
        stakes = self._stakes()
        figures = await stakes.figures()
        return views.StakeReport(
            stake=figures.stake,
            locked=figures.locked,
            leaving=figures.leaving,
            free=figures.free,
            ready_at=figures.ready_at if figures.leaving else None,
            cooldown=await stakes.cooldown(),
            freeable=stakes.provider.freeable(),
            awards=tuple(_award_view(each) for each in stakes.views()),
        )

    async def stake_add(self, amount: Amount) -> views.StakeReport:
        """See `NodeFacade`."""
        await self._stakes().add(amount)
        return await self.stake_show()

    async def stake_withdraw(self, amount: Amount) -> views.StakeReport:
        """See `NodeFacade`."""
        await self._stakes().ask_for(amount)
        return await self.stake_show()

    async def stake_collect(self) -> views.StakeReport:
        """See `NodeFacade`."""
        await self._stakes().collect()
        return await self.stake_show()

    async def stake_free(self) -> views.StakeReport:
        """See `NodeFacade`."""
        await self._stakes().free()
        return await self.stake_show()

    async def auction_accuse(self, auction: str) -> tuple[views.AccusationView, ...]:
        """See `NodeFacade`."""
        stakes, heard = self._stakes(), find_auction(self._node, auction)
        return tuple([await _accuse(stakes, heard.offer, conflict) for conflict in heard.conflicts])

    def _stakes(self) -> Stakes:
        if self._node.payments.stakes is None:
            raise NoStakes(
                "this network has no contract for stakes",
                advice="its deployments file names none (reputation); offers here can't ask for stake",
            )
        return self._node.payments.stakes


async def _accuse(stakes: Stakes, offer: Offer, conflict: Conflict) -> views.AccusationView:
    culprit, nothing = accused_by(conflict), Amount(0)
    try:
        punished = await stakes.accuse(offer, conflict)
    except ChainRejected as error:
        return views.AccusationView(culprit=culprit, taken=nothing, bounty=nothing, problem=str(error))
    return views.AccusationView(culprit=culprit, taken=punished.amount, bounty=punished.bounty, problem="")


def _award_view(view: StakeView) -> views.StakedAwardView:
    return views.StakedAwardView(
        award=view.award,
        role=view.role,
        peer=view.other,
        lock=view.lock,
        liability=view.liability,
        until=view.until,
        bonus=view.bonus,
        freeable=view.freeable,
    )
