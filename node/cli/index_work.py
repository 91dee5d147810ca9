"""The index of events, for its commands: apart from them, since it loads database and chain."""

from dataclasses import dataclass
from typing import Any

from node.app.index_tools import open_index
from node.chain.event_check import MOST_NAMED, RangeCheck, check_index, compute_return, records
from node.config.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """Database and chain compared, ready to be shown.

    Attributes:
        rows: A range of blocks each.
        named: The first differences, in words.
        differences: How many there are.
        events: How many the chain has.
        mend_from: The block from which to read again; None if nothing differs.
        document: All of it, for programs.
    """

    rows: tuple[tuple[str, ...], ...]
    named: tuple[str, ...]
    differences: int
    events: int
    mend_from: int | None
    document: dict[str, Any]


async def check_events(settings: Settings) -> Checked:
    """Compare the events in the node's database with the chain. The node must not run."""
    async with open_index(settings) as (chain, store):
        ranges = [each async for each in check_index(chain, store)]
    found = [each for one in ranges for each in one.differences]
    mend = min((each.block for each in found), default=None)
    events = sum(each.on_chain for each in ranges)
    return Checked(
        rows=tuple(
            (str(one.first), str(one.last), str(one.stored), str(one.on_chain), _verdict(one)) for one in ranges
        ),
        named=tuple(
            f"{each.kind}: block {each.block}, log {each.index}, transaction 0x{each.transaction.hex()}"
            for each in found[:MOST_NAMED]
        ),
        differences=len(found),
        events=events,
        mend_from=mend,
        document={
            "ranges": [_range(each) for each in ranges],
            "events": events,
            "differences": len(found),
            "reindex_from": mend,
        },
    )


async def forget_events(settings: Settings, start: int) -> int:
    """Forget the events from block `start` on; return up to which block they are kept."""
    async with open_index(settings) as (chain, store):
        begin = chain.deployment.block
        to = compute_return(await store.checkpoints(), block=max(start, begin), begin=begin)
        await store.revert(to)
        return to


async def list_events(settings: Settings, start: int, limit: int) -> list[dict[str, Any]]:
    """Return the newest `limit` events from block `start` on."""
    async with open_index(settings) as (chain, store):
        shown = [
            {
                "network": each.network,
                "chain_id": each.chain_id,
                "block": each.block,
                "log": each.index,
                "transaction": "0x" + each.transaction.hex(),
                "contract": each.contract,
                "event": each.event,
                "settled": each.settled,
            }
            async for each in records(chain, store, since=start)
        ]
        return shown[-limit:]


def _range(each: RangeCheck) -> dict[str, Any]:
    return {
        "first": each.first,
        "last": each.last,
        "database": each.stored,
        "chain": each.on_chain,
        "database_digest": each.stored_digest.hex(),
        "chain_digest": each.chain_digest.hex(),
    }


def _verdict(each: RangeCheck) -> str:
    return "equal" if each.is_equal else f"{len(each.differences)} differ"
