"""The cases to which this node is a party, each a journal stream: durable before anything is done about them."""

from collections.abc import AsyncGenerator, Callable
from typing import Final, TypeAlias

import structlog
import trio

from node.storage.errors import ConcurrentAppend
from node.storage.machine_log import Machine, MachineLog, load_machine, open_machine, select_open_streams
from node.storage.storage import Storage
from protocol.dispute.party import Brief, Event, EvidenceFound, File, begin, is_done, transition
from protocol.identity import Digest

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

PREFIX: Final = "dispute/"

CaseLog: TypeAlias = MachineLog[Brief, File, Event, None]


def _transition(file: File, event: Event) -> tuple[File, tuple[()]]:
    return transition(file, event), ()


DISPUTE: Final = Machine[Brief, File, Event, None](context=Brief, events=Event, begin=begin, transition=_transition)


def stream_of(award: Digest) -> str:
    """Return the journal stream of the case about an award."""
    return f"{PREFIX}{award.hex()}"


def _unobserved(_file: File, _event: Event | None) -> None:
    """Nobody watches."""


class CaseFiles:
    """Made by `load_case_files`. Those that are open are in memory.

    Who has a reason to go to court writes it down here (`hold`), whether the chain can be reached or not; who goes
    there for it hears of each change (`next_change`).
    """

    def __init__(self, storage: Storage, on_event: Callable[[File, Event | None], None] = _unobserved) -> None:
        """Prepare; `on_event` is told of each new file (without an event), and of each step that is durable."""
        self._storage, self._on_event = storage, on_event
        self._open: dict[Digest, CaseLog] = {}
        self._lock = trio.Lock()
        self._changed = trio.Event()

    @property
    def open(self) -> dict[Digest, CaseLog]:
        """Those that are not over, by award."""
        return self._open

    def next_change(self) -> trio.Event:
        """Return the event of the next change of any file, or of anything that `stir` tells of."""
        return self._changed

    def stir(self) -> None:
        """Let everybody look again who waits for a change."""
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def load(self) -> None:
        """Take up what was open."""
        names = await self._storage.read.query(lambda connection: select_open_streams(connection, PREFIX))
        for name in names:
            machine = await load_machine(self._storage.journal, DISPUTE, name)
            if is_done(machine.state):  # a crash came between its end and this
                await machine.close()
            else:
                self._open[machine.context.award_id] = machine

    async def hold(self, brief: Brief) -> None:
        """Write down a reason to go to court. Known by its award, so harmless to repeat; of use until the case is over.

        Raises:
            DiskFull: Nothing was written.
        """
        async with self._lock:
            machine = self._open.get(brief.award_id)
            if machine is None:
                try:
                    machine = await open_machine(self._storage.journal, DISPUTE, stream_of(brief.award_id), brief)
                except ConcurrentAppend:
                    return  # its case is over
                self._open[brief.award_id] = machine
                self._on_event(machine.state, None)
                self.stir()
        if brief.rerun is not None and brief.receipt is not None:
            found = EvidenceFound(receipt=brief.receipt, rerun=brief.rerun, reason=brief.reason)
            await self.apply(brief.award_id, found)

    async def apply(self, award: Digest, event: Event) -> bool:
        """Take an event about a file that is open, and say whether it told anything new.

        Raises:
            DiskFull: Nothing was written.
        """
        async with self._lock:
            machine = self._open.get(award)
            if machine is None:
                return False
            before = machine.state
            await machine.apply(event)
            if machine.state is not before:
                self._on_event(machine.state, event)
            if is_done(machine.state):
                await machine.close()
                del self._open[award]
            self.stir()
            return machine.state is not before

    async def find(self, award: Digest) -> File | None:
        """Return a file, also of a case that is over; None if there is none, or it was pruned."""
        machine = self._open.get(award)
        if machine is not None:
            return machine.state
        if not await self._storage.journal.streams(stream_of(award)):
            return None
        return (await load_machine(self._storage.journal, DISPUTE, stream_of(award))).state

    async def all(self) -> AsyncGenerator[File, None]:
        """Give every file that is still kept, those of cases that are over too."""
        for name in await self._storage.journal.streams(PREFIX):
            file = await self.find(Digest(bytes.fromhex(name.removeprefix(PREFIX))))
            if file is not None:
                yield file


async def load_case_files(storage: Storage, on_event: Callable[[File, Event | None], None] = _unobserved) -> CaseFiles:
    """Return the files of this node, with those in memory that are open."""
    files = CaseFiles(storage, on_event)
    await files.load()
    return files
