"""`stoa chain check`, `reindex`, `events`: the contracts' events as the node's database has them."""

from typing import Annotated, Final

import trio
import typer

from node.cli.failures import ExitCode
from node.cli.options import options_of
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
    from node.cli.index_work import check_events  # noqa: PLC0415 - database and chain: not for `--help`

    found = trio.run(check_events, settings_of(options))
    if options.json_output:
        print_document(found.document)
    else:
        console = new_console()
        console.print(table("Events", "from block", "to", "database", "chain", "", rows=found.rows, empty="none"))
        for each in found.named:
            console.print(each)
        if found.differences > len(found.named):
            console.print(f"... and {found.differences - len(found.named)} more")
        if found.mend_from is None:
            console.print(f"Database and chain agree on all {found.events} events.")
        else:
            console.print(f"They differ. Mend it: stoa chain reindex --from {found.mend_from}, then: stoa run")
    if found.differences:
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
    from node.cli.index_work import forget_events  # noqa: PLC0415 - as above

    kept = trio.run(forget_events, settings_of(options), start)
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
    from node.cli.index_work import list_events  # noqa: PLC0415 - as above

    shown = trio.run(list_events, settings_of(options), start, limit)
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
