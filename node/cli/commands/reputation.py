"""`stoa reputation`: what this node thinks of others, and what others can prove to have said."""

import json
from pathlib import Path
from typing import Annotated, Final

import trio
import typer
from rich.console import Group, RenderableType

from node.api.facade import NodeFacade
from node.api.json_codec import from_json, to_json
from node.api.views import AgentView, FeedbackView, ReputationReport, ScoreView, SheetView
from node.cli.failures import FoundWrong, UsageMistake
from node.cli.lazy import StoaCommand, new_app
from node.cli.options import options_of
from node.cli.output import dollars, facts, long_address, moment, print_document, short_id, show, table
from node.cli.session import call, transact
from node.cli.setup import settings_of
from node.cli.terms import read_address
from protocol.errors import ProtocolError
from protocol.reputation.scores import MAX_SIBLINGS, ScoreProof

app = new_app(
    "Reputation: what your node thinks of the providers that it hired, out of its own dealings alone.\n\n"
    "Opinions can be anchored: their root goes on the chain, so that anybody can check later what you said, and that"
    " you said nothing else. They stay opinions: nobody can check that they are true, and no node takes another's for"
    " its own."
)
_MAX_FILE: Final = 65_536
_LAST_EPOCH: Final = 2**64 - 1


@app.command("show", cls=StoaCommand)
def show_report(
    context: typer.Context,
    *,
    limit: Annotated[int, typer.Option(min=1, max=16_384, help="Most providers to list.")] = 20,
) -> None:
    """Show your node's opinions, and which of them are anchored.

    Example:
      stoa reputation show
    """
    options = options_of(context)
    report = call(options, NodeFacade.reputation_show, limit=limit)
    show(options, report, lambda: _render(report))


@app.command("anchor", cls=StoaCommand)
def anchor(context: typer.Context) -> None:
    """Anchor your opinions as they are now; one transaction. An epoch takes one root.

    With reputation.anchor in the configuration the node does so by itself, when something changed and gas is cheap.

    Example:
      stoa reputation anchor
    """
    options = options_of(context)
    sheet = transact(options, NodeFacade.reputation_anchor)
    show(options, sheet, lambda: _render_sheets((sheet,)))


@app.command("prove", cls=StoaCommand)
def prove(
    context: typer.Context,
    subject: Annotated[str, typer.Argument(help="Wallet that the score is about.", show_default=False)],
    *,
    publisher: Annotated[str | None, typer.Option("--of", help="Whose opinion; else your own.")] = None,
    epoch: Annotated[int, typer.Option(min=0, max=_LAST_EPOCH, help="Of which epoch; else the newest.")] = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the proof there, as JSON.")] = None,
) -> None:
    """Get an anchored opinion with its proof: your own, or another publisher's, which is asked and checked.

    Examples:
      stoa reputation prove 0x52908400098527886E0F7030069857D2E4169EE7
      stoa reputation prove 0x529084… --of 0x8617E3… -o proof.json
    """
    options = options_of(context)
    about = read_address("SUBJECT", subject)
    whose = read_address("--of", publisher) if publisher is not None else None
    score = call(options, NodeFacade.reputation_prove, publisher=whose, subject=about, epoch=epoch)
    if output is not None:
        _write_proof(output, score)
    show(options, score, lambda: _render_score(score))


@app.command("verify", cls=StoaCommand)
def verify(
    context: typer.Context,
    proof: Annotated[Path, typer.Argument(help="What `stoa reputation prove` wrote.", show_default=False)],
) -> None:
    """Check somebody's proof with the chain. Needs no running node; ends with status 1 if the chain says otherwise.

    Example:
      stoa reputation verify proof.json
    """
    options = options_of(context)
    score = _read_proof(proof)
    line = ScoreProof(
        publisher=score.publisher,
        epoch=score.epoch,
        subject=score.subject,
        score=score.score,
        siblings=score.siblings,
    )
    settings = settings_of(options)
    from node.app.score_tools import is_anchored  # noqa: PLC0415 - all that speaks to chains: not for `--help`

    if not trio.run(is_anchored, settings, line):
        raise FoundWrong("the chain holds no such score of this publisher for this epoch")
    if options.json_output:
        print_document({"anchored": True})
        return
    show(options, score, lambda: _render_score(score))


@app.command("feedback", cls=StoaCommand)
def feedback(
    context: typer.Context,
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most awards to list.")] = 20,
) -> None:
    """Show the awards that you paid, and the feedback about each in a registry of ERC-8004.

    The node writes it if reputation.erc8004.write is set: one transaction an award that cost at least
    reputation.erc8004.write_from.

    Example:
      stoa reputation feedback
    """
    options = options_of(context)
    rows = call(options, NodeFacade.feedback_list, limit=limit)
    show(options, rows, lambda: _render_feedback(rows), hint=tuple[FeedbackView, ...])


@app.command("agent", cls=StoaCommand)
def agent(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Its number, or the wallet of its node.", show_default=False)],
) -> None:
    """Show what a registry of ERC-8004 says of an agent. Anybody can write there: for display, nothing follows from it.

    Examples:
      stoa reputation agent 22
      stoa reputation agent 0x52908400098527886E0F7030069857D2E4169EE7
    """
    options = options_of(context)
    found = call(options, NodeFacade.feedback_agent, agent=name)
    show(options, found, lambda: _render_agent(found))


def _write_proof(path: Path, score: ScoreView) -> None:
    try:
        path.write_text(json.dumps(to_json(score), indent=2) + "\n")
    except OSError as error:
        raise UsageMistake(f"can't write {path}: {error.strerror}", advice="Name another file with -o.") from error


def _read_proof(path: Path) -> ScoreView:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
        if len(data) > _MAX_FILE:
            raise UsageMistake(f"{path} is longer than any proof")
        score = from_json(ScoreView, json.loads(data))
    except OSError as error:
        raise UsageMistake(f"can't read {path}: {error.strerror}", advice="Name a file that holds a proof.") from error
    except (ValueError, RecursionError, ProtocolError) as error:
        raise UsageMistake(f"{path} is no proof: {error}", advice="Make one with: stoa reputation prove") from error
    if len(score.siblings) > MAX_SIBLINGS:
        raise UsageMistake(f"{path} is no proof: more than {MAX_SIBLINGS} siblings")
    return score


def _render(report: ReputationReport) -> RenderableType:
    opinions = table(
        "Opinions of this node",
        "provider", ">reputation", ">settled", ">failed", ">silent", ">refuted",
        rows=(
            (
                long_address(each.provider),
                str(each.reputation),
                str(each.settled),
                str(each.failed),
                str(each.silent),
                str(each.refuted),
            )
            for each in report.opinions
        ),
        empty="This node has hired nobody yet.",
    )  # fmt: skip
    return Group(opinions, _render_sheets(report.sheets))


def _render_sheets(sheets: tuple[SheetView, ...]) -> RenderableType:
    return table(
        "Anchored",
        "epoch", "began", ">scores", "root", ">block",
        rows=(
            (
                str(each.epoch),
                moment(each.epoch),
                str(each.scores),
                each.root.hex(),
                str(each.block) if each.block is not None else "not confirmed",
            )
            for each in sheets
        ),
        empty="Nothing is anchored.",
    )  # fmt: skip


def _render_feedback(rows: tuple[FeedbackView, ...]) -> RenderableType:
    return table(
        "Feedback on paid awards",
        "award", "provider", ">parts", ">paid", "ended", "feedback", "agent", "transaction",
        rows=(
            (
                short_id(each.award),
                long_address(each.provider),
                f"{each.paid_parts}/{each.parts}",
                dollars(each.due),
                moment(each.ended_at),
                f"{each.fate}: {each.reason}" if each.reason else each.fate,
                each.agent or "-",
                each.transaction.hex() if each.transaction is not None else "-",
            )
            for each in rows
        ),
        empty="Nothing was paid yet.",
    )  # fmt: skip


def _render_agent(found: AgentView) -> RenderableType:
    return table(
        f"Agent {found.agent} in {long_address(found.registry)}",
        "feedback of", ">clients", ">given", ">mean",
        rows=((each.whose, str(each.clients), str(each.count), each.value or "-") for each in found.summaries),
        empty="",
    )  # fmt: skip


def _render_score(score: ScoreView) -> RenderableType:
    return facts(
        ("publisher", long_address(score.publisher)),
        ("subject", long_address(score.subject)),
        ("score", f"{score.score} of 10000"),
        ("epoch", f"{score.epoch}, {moment(score.epoch)}"),
        ("anchored", "yes: the chain holds the root that this leads to"),
    )
