"""The doors to the court's bench."""

from node.api import views
from node.app.bench_desk import BenchDesk
from node.app.node import Node
from node.arbitration.arbiter import SittingView
from protocol.dispute.objects import Finding
from protocol.errors import ProtocolError


class NoCourt(ProtocolError):
    """A network whose deployment has no court."""


class ArbiterDoors:
    """See `NodeFacade`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def arbiter_show(self) -> views.ArbiterReport:
        """See `NodeFacade`."""
        figures = await self._bench().figures()
        account, now = figures.account, figures.now
        leaving = account.leaving if now <= account.ready_at else 0
        seats = account.seats_at(now)
        return views.ArbiterReport(
            enabled=self._node.settings.arbiter.enabled,
            court=self._node.chain.deployment.court,
            seat_stake=figures.seat_stake,
            tickets=account.tickets,
            leaving=leaving,
            ready_at=account.ready_at if leaving else None,
            seats=seats,
            serving_until=account.serving_until if seats else None,
            balance=account.balance,
            collectable=account.collectable(figures.seat_stake, now),
            cooldown=figures.cooldown,
            cases=figures.cases,
            sittings=() if self._node.arbiter is None else tuple(map(_sitting_view, self._node.arbiter.sittings())),
        )

    async def arbiter_enlist(self, count: int) -> views.ArbiterReport:
        """See `NodeFacade`."""
        await self._bench().enlist(count, order=f"{self._node.clock.now()}/{count}")
        return await self.arbiter_show()

    async def arbiter_resign(self, count: int | None) -> views.ArbiterReport:
        """See `NodeFacade`."""
        await self._bench().resign(count)
        return await self.arbiter_show()

    async def arbiter_collect(self) -> views.ArbiterReport:
        """See `NodeFacade`."""
        await self._bench().collect()
        return await self.arbiter_show()

    def _bench(self) -> BenchDesk:
        if self._node.bench is None:
            raise NoCourt(
                "this network has no court, so there is nothing to arbitrate",
                advice="its deployments file names none (court); a local chain gets one by: stoa chain deploy --court",
            )
        return self._node.bench


def _sitting_view(sitting: SittingView) -> views.SittingView:
    return views.SittingView(
        award=sitting.award,
        round=sitting.round,
        part=sitting.part,
        seats=sitting.seats,
        vote="" if sitting.vote is None else Finding(sitting.vote.finding).name.lower().replace("_", " "),
        vote_by=sitting.vote_by,
    )
