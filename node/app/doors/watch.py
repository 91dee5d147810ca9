"""The doors to watchtowers: ours, and the one that this node is."""

from node.api import views
from node.app.node import Node
from node.payments.watch.handover import CoverView, Handover
from node.payments.watch.tower import Tower
from protocol.errors import ProtocolError
from protocol.identity import Address, format_address


class NoSuchWatch(ProtocolError):
    """No channel, tower or client of that name: none has it, several begin with it, or it is the node itself."""


class WatchDoors:
    """See `NodeFacade`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def watch_show(self) -> views.WatchReport:
        """See `NodeFacade`."""
        tower, handover = self._tower(), self._handover()
        return views.WatchReport(
            towers=tuple(
                views.TowerView(
                    wallet=each.wallet,
                    channels=each.channels,
                    heard_at=each.heard_at,
                    least=each.least,
                    trouble=each.trouble,
                )
                for each in handover.towers()
            ),
            channels=tuple(map(_cover_view, handover.covers())),
            clients=tuple(
                views.WatchClientView(
                    wallet=each.wallet,
                    allowed=each.allowed,
                    watches=each.watches,
                    size=each.size,
                    seen_at=each.seen_at,
                    acts=each.acts,
                )
                for each in await tower.clients()
            ),
            watches=tuple(
                views.WatchedView(
                    channel=each.channel,
                    client=each.client,
                    payer=each.payer,
                    sequence=each.sequence,
                    worth=each.worth,
                    received_at=each.received_at,
                    act_at=each.act_at,
                    acting=each.acting,
                    trouble=each.trouble,
                )
                for each in tower.watches()
            ),
        )

    async def watch_add(self, tower: Address) -> views.WatchReport:
        """See `NodeFacade`."""
        self._refuse_own(tower)
        self._handover().add(tower)
        return await self.watch_show()

    async def watch_remove(self, tower: Address) -> views.WatchReport:
        """See `NodeFacade`."""
        if all(each.wallet != tower for each in self._handover().towers()):
            raise NoSuchWatch(f"{format_address(tower)} is no tower of this node", advice="see `stoa watch list`")
        await self._handover().remove(tower)
        return await self.watch_show()

    async def watch_allow(self, client: Address) -> views.WatchReport:
        """See `NodeFacade`."""
        self._refuse_own(client)
        self._tower().allow(client)
        return await self.watch_show()

    async def watch_disallow(self, client: Address) -> views.WatchReport:
        """See `NodeFacade`."""
        if all(each.wallet != client or not each.allowed for each in await self._tower().clients()):
            raise NoSuchWatch(f"this node watches for no {format_address(client)}", advice="see `stoa watch list`")
        self._tower().disallow(client)
        return await self.watch_show()

    async def watch_drop(self, channel: str) -> views.WatchReport:
        """See `NodeFacade`."""
        digits, tower = channel.lower().removeprefix("0x"), self._tower()
        found = [each.channel for each in tower.watches() if digits and each.channel.hex().startswith(digits)]
        if len(found) != 1:
            problem = "several watched channels begin" if found else "no watched channel begins"
            raise NoSuchWatch(f"{problem} with {digits!r}", advice="see `stoa watch list`")
        await tower.drop(found[0])
        return await self.watch_show()

    def _refuse_own(self, wallet: Address) -> None:
        if wallet == self._node.signer.address:
            raise NoSuchWatch("this is the node's own wallet", advice="name a node of another wallet")

    def _tower(self) -> Tower:
        assert self._node.payments.tower is not None, "compose opens payments with it"
        return self._node.payments.tower

    def _handover(self) -> Handover:
        assert self._node.payments.handover is not None, "compose opens payments with it"
        return self._node.payments.handover


def _cover_view(cover: CoverView) -> views.CoverView:
    return views.CoverView(
        channel=cover.channel,
        payer=cover.payer,
        sequence=cover.sequence,
        at_stake=cover.at_stake,
        covered=cover.covered,
        towers=tuple(
            views.HeldView(tower=tower, sequence=sequence, problem=cover.problems.get(tower, ""))
            for tower, sequence in cover.held.items()
        ),
    )
