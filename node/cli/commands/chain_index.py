"""`stoa chain check`, `reindex`, `events`: the contracts' events as the node's database has them."""

from typing import Annotated, Any, Final

import trio
import typer

from node.app.index_tools import open_index
from node.chain.event_check import MOST_NAMED, RangeCheck, check_index, compute_return, records
from node.cli.failures import ExitCode
from node.cli.options import Options, options_of
from node.cli.output import new_console, print_document, table
from node.cli.setup import settings_of

_MOST_EVENTS: Final = 100


def check(context: typer.Context) -> None:
    """Compare the events in the node's database with the chain: counts and digests, range by range.

    Ends with status 1 if they differ, and says from which block to read again. The node must not run.

    Example:
      stoa chain check
    """
    options = options_of(context)
    ranges = trio.run(_check, options)
    found = [each for one in ranges for each in one.differences]
    mend = min((each.block for each in found), default=None)
    document: dict[str, Any] = {
        "ranges": [_range(each) for each in ranges],
        "events": sum(each.on_chain for each in ranges),
        "differences": len(found),
        "reindex_from": mend,
    }
    if options.json_output:
        print_document(document)
    else:
        console = new_console()
        rows = ((str(one.first), str(one.last), str(one.stored), str(one.on_chain), _verdict(one)) for one in ranges)
        console.print(table("Events", "from block", "to", "database", "chain", "", rows=rows, empty="none"))
        for each in found[:MOST_NAMED]:
            console.print(f"{each.kind}: block {each.block}, log {each.index}, transaction 0x{each.transaction.hex()}")
        if len(found) > MOST_NAMED:
            console.print(f"... and {len(found) - MOST_NAMED} more")
        if mend is None:
            console.print(f"Database and chain agree on all {document['events']} events.")
        else:
            console.print(f"They differ. Mend it: stoa chain reindex --from {mend}, then: stoa run")
    if found:
        raise typer.Exit(ExitCode.WRONG)


def reindex(
    context: typer.Context,
    *,
    start: Annotated[int, typer.Option("--from", min=0, help="The first block to read again; 0 for everything.")] = 0,
) -> None:
    """Forget the events from a block on, so that the next start of the node reads them again. The node must not run.

    Readers of the events are told to undo what they knew of these blocks, as after a reorganisation, and get what the
    chain has instead. The index goes on only from places where a range ended, so more may be read than was asked for.

    Examples:
      stoa chain reindex --from 18200000
      stoa chain reindex
    """
    options = options_of(context)
    kept = trio.run(_reindex, options, start)
    if options.json_output:
        print_document({"kept_up_to": kept})
    else:
        new_console().print(f"Events up to block {kept} are kept; the next `stoa run` reads those after it.")


def events(
    context: typer.Context,
    *,
    start: Annotated[int, typer.Option("--from", min=0, help="The first block to show.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest.")] = _MOST_EVENTS,
) -> None:
    """Show the contracts' events in the node's database: network, transaction, and whether they are settled.

    An event is settled once the network's own number of confirmations stands on it (docs/operations/chain.md), even if
    this node was told to go by fewer. The node must not run.

    Example:
      stoa chain events --limit 20 --json
    """
    options = options_of(context)
    shown = trio.run(_events, options, start, limit)
    if options.json_output:
        print_document({"events": shown})
        return
    rows = (
        (
            str(each["block"]),
            each["contract"],
            each["event"],
            each["transaction"],
            "yes" if each["settled"] else "not yet",
        )
        for each in shown
    )
    new_console().print(
        table("Events", "block", "contract", "event", "transaction", "settled", rows=rows, empty="no events yet"),
        soft_wrap=True,
    )


async def _check(options: Options) -> list[RangeCheck]:
    async with open_index(settings_of(options)) as (chain, store):
        return [each async for each in check_index(chain, store)]


async def _reindex(options: Options, start: int) -> int:
    async with open_index(settings_of(options)) as (chain, store):
        begin = chain.deployment.block
        to = compute_return(await store.checkpoints(), block=max(start, begin), begin=begin)
        await store.revert(to)
        return to


async def _events(options: Options, start: int, limit: int) -> list[dict[str, Any]]:
    async with open_index(settings_of(options)) as (chain, store):
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
