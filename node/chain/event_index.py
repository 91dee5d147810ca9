"""The contracts' events, read once from confirmed blocks, kept durably, delivered in order, undone when the chain is.

One task polls: it checks that the last block it has read is still on the chain, reads the next range of logs, stores
them with the hash of the range's last block, and only then wakes the subscribers, who read from the store. If that last
block has left the chain, a reorganisation went deeper than the profile's confirmations: the index goes back to the
newest block that both share and tells every subscriber to undo what came after it.

The newest blocks are read one by one, each by its hash: of several nodes behind one address, one that does not know a
block yet says so, whereas for a range it returns what it has, as if there were nothing more.

A long history is read in several ranges at once, and stored in order: whatever ends the node leaves a whole beginning,
from which the next start goes on. A range counts only if its end, and the block that was read last before it, are still
on the chain after its logs were read: then no reorganisation fell between them.
"""

from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

import structlog
import trio

from node.chain.abi import UndecodableLog
from node.chain.chain import Block, Chain, RawLog
from node.chain.deployment import Deployment
from node.chain.errors import ProtocolMismatch, RpcRefused
from node.chain.event_ranges import BlockRange, RangeSizes, run_at_once, without_gap
from node.chain.event_store import BEGINNING, Checkpoint, Position, Source
from node.chain.event_subscription import Subscription
from node.chain.events import decode_log, names_of
from protocol.errors import TransientError
from protocol.identity import Address, Digest

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

NEWEST: Final = 4
"""Confirmed blocks that are read one by one. Whoever misses more lags by these and by the profile's confirmations."""
BACKOFF_MOST_S: Final = 30.0


class NodeBehind(TransientError):
    """The chain's node does not know a block that it, or another behind the same address, has already shown."""


class EventStore(Protocol):
    """What the index needs kept (`SqlEventStore`)."""

    async def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Return the checkpoints that are kept, oldest first."""
        ...

    async def source(self) -> Source | None:
        """Return what the stored logs are of; None if nobody has said so yet."""
        ...

    async def set_source(self, source: Source) -> None:
        """Say durably what the logs are of that are stored from now on."""
        ...

    async def append(self, checkpoint: Checkpoint, logs: Sequence[RawLog]) -> None:
        """Keep a range of logs and the block that it ends with, together and durably."""
        ...

    async def revert(self, to: int) -> None:
        """Forget everything above block `to`, durably, and remember that this happened."""
        ...

    async def reverts_after(self, epoch: int) -> tuple[int, ...]:
        """Return to which blocks the index went back after `epoch`, oldest first."""
        ...

    async def logs_of(self, address: Address, first: int, last: int) -> tuple[RawLog, ...]:
        """Return all logs of one contract in blocks `first` to `last`, in their order on the chain."""
        ...

    async def logs_after(self, position: Position, *, up_to: int, limit: int) -> tuple[RawLog, ...]:
        """Return at most `limit` logs after `position` in blocks up to `up_to`, in their order on the chain."""
        ...


class EventIndex:
    """Reads the deployment's events. Made by `open_event_index`."""

    def __init__(self, chain: Chain, store: EventStore) -> None:
        self.chain: Final = chain
        self.store: Final = store
        self.changed = trio.Event()
        self.reverts: list[int] = []
        """To which blocks the index ever went back; a subscription's epoch counts how many of these it has seen."""
        self._checkpoints: deque[Checkpoint] = deque()
        self._contracts = tuple(names_of(chain.deployment))
        self._sizes = RangeSizes(chain.profile.log_range)
        self._done_with: Digest | None = None
        """The newest block of the chain when everything up to what it confirms had been read."""

    @property
    def deployment(self) -> Deployment:
        """Whose events these are."""
        return self.chain.deployment

    @property
    def last(self) -> Checkpoint | None:
        """The newest confirmed block that was read, None before the first."""
        return self._checkpoints[-1] if self._checkpoints else None

    async def logs_after(self, position: Position, *, up_to: int, limit: int) -> tuple[RawLog, ...]:
        """Return stored logs; see `EventStore`."""
        return await self.store.logs_after(position, up_to=up_to, limit=limit)

    def subscribe(self, after: Position = BEGINNING) -> Subscription:
        """Deliver everything after a position: what the reader had dealt with when it last stopped."""
        return Subscription(self, after)

    async def wait_for(self, block: int) -> None:
        """Return once block `block` is confirmed and read."""
        while self.last is None or self.last.number < block:
            await self.changed.wait()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read until cancelled. An unreachable chain only delays.

        Raises:
            ProtocolMismatch: The chain's node answers with logs that the contracts can't have made.
        """
        await self._match_source()
        self._checkpoints.extend(await self.store.checkpoints())
        self.reverts.extend(await self.store.reverts_after(0))
        task_status.started()
        failures = 0
        while True:
            try:
                await self._poll()
                failures = 0
            except TransientError as error:
                failures += 1
                log.warning("chain.events_wait", reason=str(error), failures=failures)
            await trio.sleep(min(self.chain.profile.poll_s * 2 ** min(failures, 8), BACKOFF_MOST_S))

    async def _match_source(self) -> None:
        """Begin anew if what is stored is of other contracts: a new one may have reported something before today."""
        deployment = self.chain.deployment
        source = Source(chain_id=deployment.chain_id, contracts=tuple(sorted(self._contracts)))
        known = await self.store.source()
        if known == source:
            return
        if known is None:  # a database of a release that read these two
            read = tuple(sorted((deployment.payment_channel, deployment.escrow)))
            known = Source(chain_id=deployment.chain_id, contracts=read)
        with trio.CancelScope(shield=True):
            if known != source and await self.store.checkpoints():
                log.warning("chain.events_of_other_contracts", contracts=len(known.contracts))
                await self.store.revert(deployment.block - 1)
            await self.store.set_source(source)

    async def _poll(self) -> None:
        head = await self.chain.head()
        if head.hash == self._done_with:
            return  # the same newest block has the same ancestors; most looks end here
        self._done_with = None  # what is undone below and not read again must not pass for read
        last = self.last
        if last is None or last.hash not in (head.hash, head.parent):  # else it is on the chain, as one sees
            await self._undo_lost_blocks()
        confirmed = await self.chain.confirmed(head)
        while True:
            first = self.chain.deployment.block if self.last is None else self.last.number + 1
            if first > confirmed.number:
                self._done_with = head.hash
                return
            older = confirmed.number - NEWEST
            read = self._read_newest(first, confirmed) if first > older else self._read_ranges(first, older)
            if not await read:
                return

    async def _read_newest(self, first: int, confirmed: Block) -> bool:
        """Read blocks one by one. False if the chain moved meanwhile: look again at the next poll."""
        for number in range(first, confirmed.number + 1):
            block = confirmed if number == confirmed.number else await self.chain.block(number)
            if self.last is not None and self.last.hash != block.parent:
                return False
            await self._store(BlockRange(number, block, await self.chain.logs_of(self._contracts, block)))
        return True

    async def _read_ranges(self, first: int, last: int) -> bool:
        """Read some ranges from block `first`. False if the chain moved meanwhile."""
        spans = self._sizes.plan(first, last)
        read: list[BlockRange | None] = [None] * len(spans)
        refused: list[RpcRefused] = []

        async def fetch(place: int, start: int, end: int) -> None:
            try:
                block = await self.chain.block(end)
                logs = await self.chain.logs(self._contracts, start, end)
            except RpcRefused as error:  # too many blocks, results or requests for this node
                refused.append(error)
            else:
                read[place] = BlockRange(start, block, logs)

        await run_at_once(fetch, spans)
        ranges = without_gap(read)
        if refused and not self._sizes.shrink() and not ranges:
            raise refused[0]
        if not await self._are_of_one_chain(ranges):
            return False
        for each in ranges:
            await self._store(each)
        if not refused:
            self._sizes.grow(len(ranges))
        return True

    async def _are_of_one_chain(self, ranges: Sequence[BlockRange]) -> bool:
        """Whether nothing was reorganised between what was read last before and what was read now.

        The end of each range was read before its logs; if it and the block before them are there after the logs, all of
        it was of one chain.
        """
        if not ranges:
            return True
        if self.last is not None and not await self._is_on_chain(self.last):
            return False
        still: list[bool] = []

        async def look(each: BlockRange) -> None:
            block = await self.chain.find_block(each.end.number)
            still.append(block is not None and block.hash == each.end.hash)

        await run_at_once(look, [(each,) for each in ranges])
        return all(still)

    async def _store(self, each: BlockRange) -> None:
        for log_of_range in each.logs:
            self._check(log_of_range, each.first, each.end.number)
        checkpoint = Checkpoint(number=each.end.number, hash=each.end.hash, time=each.end.time)
        with trio.CancelScope(shield=True):
            await self.store.append(checkpoint, each.logs)
            self._checkpoints.append(checkpoint)
        self._wake()

    def _check(self, each: RawLog, first: int, end: int) -> None:
        """A log that subscribers could not read must not be stored."""
        if not first <= each.block <= end:
            raise ProtocolMismatch(self.chain.rpc.url, f"a log of block {each.block} for blocks {first} to {end}")
        try:
            decode_log(self.chain.deployment, each)
        except UndecodableLog as error:
            raise ProtocolMismatch(self.chain.rpc.url, f"a log that our contracts never make: {error}") from error

    async def _undo_lost_blocks(self) -> None:
        if self.last is None or await self._is_on_chain(self.last):
            return
        to = self.chain.deployment.block - 1
        for checkpoint in reversed(self._checkpoints):
            if await self._is_on_chain(checkpoint):
                to = checkpoint.number
                break
        log.warning("chain.blocks_reverted", to=to, last=self.last.number)
        with trio.CancelScope(shield=True):
            await self.store.revert(to)
            while self._checkpoints and self._checkpoints[-1].number > to:
                self._checkpoints.pop()
            self.reverts.append(to)
        self._wake()

    async def _is_on_chain(self, checkpoint: Checkpoint) -> bool:
        block = await self.chain.find_block(checkpoint.number)
        if block is None:
            # A local chain may have begun anew. Elsewhere a chain does not shrink: its node, or one of several behind
            # one address, lags.
            if self.chain.profile.is_local:
                return False
            raise NodeBehind(f"the chain's node at {self.chain.rpc.url} does not know block {checkpoint.number} yet")
        return block.hash == checkpoint.hash

    def _wake(self) -> None:
        self.changed.set()
        self.changed = trio.Event()


@asynccontextmanager
async def open_event_index(chain: Chain, store: EventStore) -> AsyncGenerator[EventIndex, None]:
    """Read the deployment's events until the block ends; the next one goes on from what `store` holds."""
    index = EventIndex(chain, store)
    async with trio.open_nursery() as nursery:
        await nursery.start(index.run)
        yield index
        nursery.cancel_scope.cancel()
