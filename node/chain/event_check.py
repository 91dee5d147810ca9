"""Does the database hold what the chain has? Compares range by range, and says from which block to read again.

Chain and database are read independently: counts and digests of the raw logs must be equal, and what differs is named.
Only what the index calls read is compared. A record is *settled* once the network's own number of confirmations stands
on it, which may be more than this node was told to wait for.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final

from node.chain.chain import Chain, RawLog
from node.chain.errors import RpcRefused
from node.chain.event_store import LAST_INDEX, Checkpoint, Position, SqlEventStore
from node.chain.events import decode_log, names_of
from node.chain.profile import profile_named
from protocol.errors import StorageError
from protocol.identity import Address, Digest
from protocol.signing.keccak import keccak256

_BATCH: Final = 1_000
MOST_NAMED: Final = 20
"""Differences that are named one by one; all are counted."""


class IndexEmpty(StorageError):
    """Nothing was read yet, so there is nothing to compare."""

    def __init__(self) -> None:
        super().__init__("the event index is empty", advice="run the node for a while first")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A log that is `missing` from the database, there and not on the chain (`extra`), or `altered`."""

    kind: str
    block: int
    index: int
    transaction: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeCheck:
    """Blocks `first` to `last`: how many logs either side has, and the digest of all of them."""

    first: int
    last: int
    stored: int
    on_chain: int
    stored_digest: Digest
    chain_digest: Digest
    differences: tuple[Difference, ...]

    @property
    def is_equal(self) -> bool:
        """Whether database and chain agree."""
        return self.stored_digest == self.chain_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One log of the index, for people and programs.

    Attributes:
        network: The profile's name.
        settled: Whether the profile's confirmations stand on its block, as of the newest block that was read.
    """

    network: str
    chain_id: int
    block: int
    index: int
    transaction: Digest
    contract: str
    address: Address
    event: str
    settled: bool


async def check_index(chain: Chain, store: SqlEventStore) -> AsyncGenerator[RangeCheck, None]:
    """Compare all that the index has read with the chain, oldest first.

    Raises:
        IndexEmpty: Nothing was read yet.
        RpcRefused: The chain's node refuses even a single block.
    """
    checkpoints = await store.checkpoints()
    if not checkpoints:
        raise IndexEmpty
    end = checkpoints[-1].number
    size, first = chain.profile.log_range, chain.deployment.block
    while first <= end:
        last = min(first + size - 1, end)
        try:
            on_chain = await chain.logs(tuple(names_of(chain.deployment)), first, last)
        except RpcRefused:
            if size == 1:
                raise
            size = max(1, size // 2)
            continue
        stored = [log async for log in stored_logs(store, first, last)]
        yield RangeCheck(
            first=first,
            last=last,
            stored=len(stored),
            on_chain=len(on_chain),
            stored_digest=_digest(stored),
            chain_digest=_digest(on_chain),
            differences=_differences(stored, on_chain),
        )
        first = last + 1


def compute_return(checkpoints: Sequence[Checkpoint], *, block: int, begin: int) -> int:
    """Return to which block an index goes back so that it reads `block` again: a place where it can go on.

    Args:
        checkpoints: Those that are kept, oldest first.
        block: The first block to read again.
        begin: The first block of the deployment.
    """
    return max((each.number for each in checkpoints if each.number < block), default=begin - 1)


async def stored_logs(store: SqlEventStore, first: int, last: int) -> AsyncGenerator[RawLog, None]:
    """Give the logs of blocks `first` to `last` as the database has them, in their order."""
    position = Position(block=first - 1, index=LAST_INDEX, epoch=0)
    while logs := await store.logs_after(position, up_to=last, limit=_BATCH):
        for each in logs:
            yield each
        position = Position(block=logs[-1].block, index=logs[-1].index, epoch=0)


async def records(chain: Chain, store: SqlEventStore, *, since: int) -> AsyncGenerator[Record, None]:
    """Give what the index holds from block `since` on, in the chain's order."""
    checkpoints = await store.checkpoints()
    if not checkpoints:
        return
    names, own = names_of(chain.deployment), chain.profile
    newest = checkpoints[-1].number
    # The index reads what its own confirmations cover; the network's profile may ask for more than the node's settings.
    settled_up_to = newest + own.confirmations - profile_named(own.name).confirmations
    async for log in stored_logs(store, since, newest):
        event = decode_log(chain.deployment, log)
        yield Record(
            network=own.name,
            chain_id=chain.deployment.chain_id,
            block=log.block,
            index=log.index,
            transaction=log.transaction,
            contract=names.get(log.address, "another contract"),
            address=log.address,
            event="" if event is None else type(event).__name__,
            settled=log.block <= settled_up_to,
        )


def _digest(logs: Sequence[RawLog]) -> Digest:
    return keccak256(b"".join(_content(each) for each in logs))


def _content(log: RawLog) -> bytes:
    """Return a log as bytes: the parts of fixed length first, so that no two logs share them."""
    place = log.block.to_bytes(8, "big") + log.index.to_bytes(8, "big") + len(log.topics).to_bytes(1, "big")
    body = b"".join((place, log.block_hash, log.transaction, log.address, *log.topics, log.data))
    return keccak256(body)


def _differences(stored: Sequence[RawLog], on_chain: Sequence[RawLog]) -> tuple[Difference, ...]:
    here = {(each.block, each.index): each for each in stored}
    there = {(each.block, each.index): each for each in on_chain}
    found: list[Difference] = []
    for place in sorted(here.keys() | there.keys()):
        mine, theirs = here.get(place), there.get(place)
        if mine == theirs:
            continue
        kind = "missing" if mine is None else "extra" if theirs is None else "altered"
        known = mine or theirs
        assert known is not None, "the place is of one of both"
        found.append(Difference(kind=kind, block=place[0], index=place[1], transaction=known.transaction))
    return tuple(found)
