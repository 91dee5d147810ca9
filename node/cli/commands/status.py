"""`stoa status`."""

from collections import Counter

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from node.api.facade import NodeFacade
from node.api.views import NodeStatus
from node.cli.lazy import StoaCommand
from node.cli.options import options_of
from node.cli.output import dollars, facts, long_address, moment, native, show
from node.cli.session import call

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command(cls=StoaCommand)
def status(context: typer.Context) -> None:
    """Show the running node at a glance: who it is, its peers, chain, money, work, and what needs you.

    Examples:
      stoa status
      stoa status --json | jq .warnings
    """
    options = options_of(context)
    answer = call(options, NodeFacade.node_status)
    show(options, answer, lambda: _render(answer))


def _render(status: NodeStatus) -> RenderableType:
    selling = status.selling
    chain = f"{status.chain_id}, block {status.confirmed_block} confirmed ({moment(status.confirmed_at)})"
    since = "" if status.chain_away_since is None else f" since {moment(status.chain_away_since)}"
    sells = "finishing what it has" if selling.draining else "yes" if selling.enabled else "no"
    lines: list[RenderableType] = [
        facts(
            ("node", f"{status.name or '(no name)'}, release {status.version}, up since {moment(status.started_at)}"),
            ("wallet", long_address(status.wallet)),
            ("host", status.peer),
            ("listening", "\n".join(status.listening) or "(not yet)"),
            ("peers", f"{status.connected_peers} connected"),
            ("chain", chain if status.chain_reachable else Text(f"{chain}, away{since}", style="red")),
            ("balance", _balance(status)),
            ("buying", f"{status.open_tasks} tasks open"),
            ("selling", f"{sells}; {selling.busy} of {selling.workers} workers busy, {status.open_deliveries} awards"),
            ("settling", _settling(status)),
        )
    ]
    lines += [Text(f"{part.name}: {part.detail}", style="red") for part in status.health if not part.ok]
    lines += [Text(f"Warning: {warning}", style="yellow") for warning in status.warnings]
    return Group(*lines)


def _balance(status: NodeStatus) -> str:
    if status.token_balance is None or status.gas_balance is None:
        return "not known: the chain does not answer"
    return f"{dollars(status.token_balance)}, {native(status.gas_balance)} for fees"


def _settling(status: NodeStatus) -> str:
    """Say what is owed to the chain, and for each reason to wait, how many transactions have it."""
    waiting = Counter(each.waits_for for each in status.transactions if each.waits_for)
    sent = sum(each.nonce is not None for each in status.transactions)
    lines = [f"{len(status.transactions)} transactions, {sent} of them sent" if status.transactions else "nothing open"]
    lines += [f"{count} wait: {reason}" for reason, count in waiting.most_common()]
    return "\n".join(lines)
