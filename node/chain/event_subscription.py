"""What readers of the event index receive: events in order, blocks that are done, blocks that were lost."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeAlias

import trio

from node.chain.chain import RawLog
from node.chain.deployment import Deployment
from node.chain.event_store import LAST_INDEX, Checkpoint, Position
from node.chain.events import ContractEvent, decode_log
from protocol.identity import Digest
from protocol.units import UnixTime

BATCH: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedEvent:
    """An event in a confirmed block. `position` is what to remember once it is dealt with."""

    event: ContractEvent
    block_hash: Digest
    transaction: Digest
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockConfirmed:
    """All events up to this block were delivered; `time` is the block's."""

    number: int
    hash: Digest
    time: UnixTime
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class BlocksReverted:
    """Blocks above `to` left the chain: what was delivered of them did not happen."""

    to: int
    position: Position


Delivery: TypeAlias = IndexedEvent | BlockConfirmed | BlocksReverted


class Indexed(Protocol):
    """What a reader sees of the index (`EventIndex`)."""

    @property
    def deployment(self) -> Deployment:
        """Whose events these are."""
        ...

    @property
    def reverts(self) -> Sequence[int]:
        """To which blocks the index ever went back; a reader's epoch counts how many of these it has seen."""
        ...

    @property
    def last(self) -> Checkpoint | None:
        """The newest confirmed block that was read, None before the first."""
        ...

    @property
    def changed(self) -> trio.Event:
        """Set when more was read, or something was undone; then there is another one."""
        ...

    async def logs_after(self, position: Position, *, up_to: int, limit: int) -> tuple[RawLog, ...]:
        """Return at most `limit` logs after `position` in blocks up to `up_to`, in their order on the chain."""
        ...


class Subscription:
    """One reader's way through the events. Owned by one task. Made by `EventIndex.subscribe`."""

    def __init__(self, index: Indexed, position: Position) -> None:
        self._index, self._position = index, position
        self._waiting: deque[RawLog] = deque()
        self._has_told_block = False

    @property
    def is_reverted(self) -> bool:
        """Whether blocks were lost of which this reader has not been told yet."""
        return len(self._index.reverts) > self._position.epoch

    async def receive(self) -> Delivery:
        """Return what comes next, waiting for it if need be.

        The newest block is told at first even if the reader had come so far before: it has to know the chain's time,
        and the chain may be away.
        """
        while True:
            reverts = self._index.reverts[self._position.epoch :]
            if reverts:
                delivery = self._revert(reverts)
                if delivery is not None:
                    return delivery
            if self._waiting:
                delivery = self._next_event()
                if delivery is not None:
                    return delivery
                continue
            changed, last = self._index.changed, self._index.last
            if last is None or (self._has_come_to(last) and self._has_told_block):
                await changed.wait()
                continue
            logs = await self._index.logs_after(self._position, up_to=last.number, limit=BATCH)
            if self.is_reverted:
                continue  # what was just read may be of the lost blocks
            self._waiting.extend(logs)
            if not logs:
                if not self._has_come_to(last):
                    self._position = replace(self._position, block=last.number, index=LAST_INDEX)
                self._has_told_block = True
                return BlockConfirmed(number=last.number, hash=last.hash, time=last.time, position=self._position)

    def _has_come_to(self, last: Checkpoint) -> bool:
        return last.number <= self._position.block and self._position.index == LAST_INDEX

    def _revert(self, reverts: Sequence[int]) -> BlocksReverted | None:
        """Go back as far as the index has since; None if this reader had not come that far."""
        to, epoch = min(reverts), len(self._index.reverts)
        self._waiting.clear()
        if to >= self._position.block:
            self._position = replace(self._position, epoch=epoch)
            return None
        self._position = Position(block=to, index=LAST_INDEX, epoch=epoch)
        return BlocksReverted(to=to, position=self._position)

    def _next_event(self) -> IndexedEvent | None:
        raw = self._waiting.popleft()
        self._position = replace(self._position, block=raw.block, index=raw.index)
        event = decode_log(self._index.deployment, raw)
        if event is None:
            return None
        return IndexedEvent(
            event=event, block_hash=raw.block_hash, transaction=raw.transaction, position=self._position
        )
