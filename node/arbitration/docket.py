"""The court's confirmed facts, as far as they are about this node's own awards, brought into its case files."""

from typing import Final

import structlog
import trio

from node.arbitration.party_room import PartyRoom
from node.arbitration.ports import Mark, Rewound, Told
from protocol.dispute.case import CaseOpened
from protocol.dispute.party import event_of
from protocol.errors import StoaError, TransientError

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

CURSOR: Final = "party.facts"
NOTE_EVERY: Final = 256
"""Blocks without a fact for us after which the place is noted all the same."""
RETRY_S: Final = 1.0
"""Before a fact that could not be written is taken again."""


class CasesRewound(StoaError):
    """Blocks that counted as confirmed left the chain, and a case was believed in reliance on them."""

    def __init__(self, to: int) -> None:
        super().__init__(
            f"the chain lost confirmed blocks above {to}; what this node holds about its disputes may be wrong",
            advice="raise chain.confirmations, and compare `stoa disputes` with the court before going on",
        )
        self.to = to


class Docket:
    """Reads until it is cancelled. After a crash it begins at an older place: old facts change no file."""

    def __init__(self, room: PartyRoom) -> None:
        self._room = room
        self._noted = 0

    async def run(self) -> None:
        """Follow the court.

        Raises:
            CasesRewound: Confirmed blocks left the chain. The next start reads on from there.
        """
        room = self._room
        facts = room.court.subscribe(await room.cursors.get(CURSOR))
        mattered = False
        while True:
            delivery = await facts.receive()
            match delivery:
                case Rewound(to=to):
                    await self._note(delivery)  # told once: the next start goes on
                    raise CasesRewound(to)
                case Told():
                    mattered |= await self._take(delivery)
                case Mark():
                    room.files.stir()  # time has passed
                    if mattered or delivery.number - self._noted >= NOTE_EVERY:
                        mattered = not await self._note(delivery)

    async def _take(self, told: Told) -> bool:
        """Take a fact for as long as it takes: on a full disk none may be skipped."""
        while True:
            try:
                return await self._apply(told)
            except TransientError as error:
                log.warning("dispute.fact_waits", block=told.block, reason=str(error))
                await trio.sleep(RETRY_S)

    async def _apply(self, told: Told) -> bool:
        room, fact = self._room, told.fact
        event = event_of(fact)
        if event is None:
            return False
        if isinstance(fact, CaseOpened) and fact.award not in room.files.open:
            brief = await room.papers.brief_of(fact.award)
            if brief is None:
                return False  # other people's
            await room.files.hold(brief)
        return await room.files.apply(fact.award, event)

    async def _note(self, reached: Mark | Rewound) -> bool:
        """Remember the place; if that can't be written, the next start reads some facts again."""
        block = reached.number if isinstance(reached, Mark) else reached.to
        try:
            await self._room.cursors.set(CURSOR, reached.place)
        except TransientError as error:
            log.warning("dispute.place_not_noted", block=block, reason=str(error))
            return False
        self._noted = block
        return True
