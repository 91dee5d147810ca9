"""Represents this node in its own cases: opens, shows, appeals, closes, takes what is due (docs/spec/parties.md)."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from node.arbitration.docket import Docket
from node.arbitration.dossier_desk import DossierDesk
from node.arbitration.party_room import PartyRoom
from node.arbitration.pursuit import Pursuit
from protocol.dispute.acting import Sight, reluctance
from protocol.dispute.party import File
from protocol.identity import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseView:
    """A case of this node's own, with what was seen of it last, if it is still followed.

    Attributes:
        problem: What is in the way of the next step.
        reluctance: Why this node opens no case by itself, as things are.
    """

    file: File
    sight: Sight | None = None
    problem: str = ""
    reluctance: str = ""


class Party:
    """Made by `open_party`."""

    def __init__(self, room: PartyRoom, nursery: trio.Nursery) -> None:
        self._room, self._nursery = room, nursery
        self._pursuits: dict[Digest, Pursuit] = {}

    async def run(self) -> None:
        """Pursue each case that is or becomes open."""
        files = self._room.files
        while True:
            change = files.next_change()
            for award, machine in files.open.items():
                if award not in self._pursuits:
                    self._pursuits[award] = pursuit = Pursuit(self._room, machine)
                    self._nursery.start_soon(self._pursue, award, pursuit)
            await change.wait()

    async def views(self) -> tuple[CaseView, ...]:
        """Return every case that is kept, those first that are not over."""
        views = [self._view(file) async for file in self._room.files.all()]
        return tuple(sorted(views, key=lambda view: view.file.brief.award_id not in self._room.files.open))

    def problem_of(self, award: Digest) -> str:
        """Return what is in the way of the next step of a case; empty if nothing is, or nobody follows it."""
        pursuit = self._pursuits.get(award)
        return "" if pursuit is None else pursuit.problem

    def _view(self, file: File) -> CaseView:
        pursuit = self._pursuits.get(file.brief.award_id)
        if pursuit is None:
            return CaseView(file=file)
        sight = pursuit.sight
        why = "" if sight is None else reluctance(file, sight, self._room.attitude)
        return CaseView(file=file, sight=sight, problem=pursuit.problem, reluctance=why)

    async def _pursue(self, award: Digest, pursuit: Pursuit) -> None:
        await pursuit.run()
        del self._pursuits[award]


@asynccontextmanager
async def open_party(room: PartyRoom) -> AsyncGenerator[Party, None]:
    """Look after every case of this node until the block ends; the next start takes up what is open then.

    Nothing here needs the chain at once: a court that can't be reached only delays what is to be done.
    """
    async with trio.open_nursery() as nursery:
        DossierDesk(room)
        party = Party(room, nursery)
        nursery.start_soon(Docket(room).run)
        nursery.start_soon(party.run)
        yield party
        nursery.cancel_scope.cancel()
