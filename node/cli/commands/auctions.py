"""`stoa auctions`: what was asked, who bid, who won and why; computed again by yourself."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from node.api.client import NodeClient
from node.api.evidence import MAX_FILE_BYTES, judge_file
from node.api.facade import NodeFacade
from node.api.views import AccusationView, AuctionDetail, AuctionVerdict, AuctionView
from node.cli.failures import ExitCode, UsageMistake
from node.cli.lazy import StoaCommand, new_app
from node.cli.options import options_of
from node.cli.output import (
    dollars,
    facts,
    long_address,
    moment,
    new_console,
    print_document,
    short_address,
    short_id,
    show,
    table,
)
from node.cli.session import ask, call, transact

app = new_app("Auctions that your node held, took part in, or heard.")

AuctionId = Annotated[str, typer.Argument(help="The auction's id, or its first digits.", show_default=False)]


@app.command("list", cls=StoaCommand)
def list_auctions(
    context: typer.Context, *, limit: Annotated[int, typer.Option(min=1, max=1000, help="Most to show.")] = 20
) -> None:
    """List auctions, newest first.

    Example:
      stoa auctions list
    """
    options = options_of(context)
    auctions = call(options, NodeFacade.auction_list, limit=limit)
    show(options, auctions, lambda: _render_list(auctions), hint=tuple[AuctionView, ...])


@app.command("show", cls=StoaCommand)
def show_auction(context: typer.Context, auction: AuctionId) -> None:
    """Show an auction: its terms, each bid with its score term by term, and the awards.

    Example:
      stoa auctions show 3fa4
    """
    options = options_of(context)
    detail = call(options, NodeFacade.auction_show, auction=auction)
    show(options, detail, lambda: _render_detail(detail))


@app.command(cls=StoaCommand)
def verify(
    context: typer.Context,
    auction: Annotated[
        str, typer.Argument(help="The auction's id, its first digits, or an evidence file.", show_default=False)
    ],
    *,
    keep: Annotated[
        Path | None, typer.Option("--keep", help="Where to write the evidence; else here, if a rule is broken.")
    ] = None,
) -> None:
    """Compute an auction again from its signed messages and say why each bidder won or lost.

    Ends with status 1 and names the rule if one is broken. The evidence file can be verified on any machine, without a
    node, by this same command.

    Examples:
      stoa auctions verify 3fa4
      stoa auctions verify 3fa4 --keep auction.json
      stoa auctions verify auction.json
    """
    options = options_of(context)
    file = Path(auction)
    is_file = file.is_file()
    if is_file:
        verdict = judge_file(_read(file))
    elif file.exists():
        raise UsageMistake(f"{file} is no file", advice="Name an auction, or a file that --keep wrote.")
    else:

        async def work(client: NodeClient) -> AuctionVerdict:
            return await client.call(NodeFacade.auction_verify, auction=auction)

        verdict = ask(options, work)
    kept: Path | None = None
    if keep is not None or (not verdict.ok and not is_file):
        kept = keep or Path(f"auction-{short_id(verdict.auction)}.evidence.json")
        _write(kept, verdict.evidence)
    if options.json_output:
        print_document(_document(verdict, kept))
    else:
        new_console().print(_render_verdict(verdict, kept), soft_wrap=True)
    if not verdict.ok:
        raise typer.Exit(ExitCode.WRONG)


@app.command(cls=StoaCommand)
def accuse(context: typer.Context, auction: AuctionId) -> None:
    """Show the contract who signed two things in an auction that exclude each other. It loses the bond; you get half.

    Half, and at most what the contract allows: who accuses itself loses by it. One transaction a culprit. Only auctions
    with a bond (requester.bond) have something to lose.

    Example:
      stoa auctions accuse 3fa4
    """
    options = options_of(context)
    found = transact(options, NodeFacade.auction_accuse, auction=auction)
    show(options, found, lambda: _render_accusations(found), hint=tuple[AccusationView, ...])


def _render_accusations(found: tuple[AccusationView, ...]) -> RenderableType:
    return table(
        "",
        "culprit", ">lost", ">your bounty", "",
        rows=(
            (long_address(each.culprit), dollars(each.taken), dollars(each.bounty), each.problem) for each in found
        ),
        empty="No contradiction is proved in this auction.",
    )  # fmt: skip


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageMistake(f"can't read {path}: {error.strerror}", advice="Check its permissions.") from error


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UsageMistake(f"can't write {path}: {error.strerror}", advice="Name another file with --keep.") from error


def _document(verdict: AuctionVerdict, kept: Path | None) -> dict[str, object]:
    return {
        "auction": verdict.auction.hex(),
        "ok": verdict.ok,
        "rule": verdict.rule,
        "problem": verdict.problem,
        "bidders": [
            {"bidder": long_address(each.bidder), "won": each.won, "text": each.text} for each in verdict.bidders
        ],
        "evidence": str(kept) if kept else None,
    }


def _render_list(auctions: tuple[AuctionView, ...]) -> RenderableType:
    return table(
        "",
        "auction", "you were", "state", "format", ">budget", ">bidders", ">bids", "winner", ">price",
        ">your bid", "closed",
        rows=(
            (
                short_id(each.auction),
                each.role,
                each.state,
                each.format,
                dollars(each.budget),
                str(each.bidders),
                str(each.bids),
                short_address(each.winner),
                dollars(each.price),
                dollars(each.own_price),
                moment(each.reveal_by),
            )
            for each in auctions
        ),
        empty="No auction has been heard yet.",
    )  # fmt: skip


def _render_detail(detail: AuctionDetail) -> RenderableType:
    auction = detail.auction
    weights = f"price {detail.weight_price}, reputation {detail.weight_reputation}, speed {detail.weight_speed}"
    bids = table(
        "\nBids that count, best first (score = weighted price + reputation + speed)",
        ">place", "bidder", ">price", ">time", ">reputation", ">score", ">of price", ">of reputation", ">of speed", "",
        rows=(
            (
                str(bid.position),
                long_address(bid.bidder),
                dollars(bid.price),
                f"{bid.eta_s} s",
                f"{bid.reputation / 100:.0f}%",
                f"{bid.score:,}",
                f"{bid.price_score:,}",
                f"{bid.reputation_score:,}",
                f"{bid.speed_score:,}",
                "won" if bid.won else "",
            )
            for bid in detail.bids
        ),
        empty="\nNo bid counts.",
    )  # fmt: skip
    awards = table(
        "\nAwards",
        "award", "provider", ">attempt", ">parts", ">price", "paid by",
        rows=(
            (
                short_id(award.award),
                long_address(award.provider),
                str(award.attempt),
                str(award.parts),
                dollars(award.price),
                award.rail,
            )
            for award in detail.awards
        ),
        empty="\nNo award.",
    )  # fmt: skip
    work = f"{auction.parts} parts" if auction.parts > 1 else "one part"
    terms = f"at most {dollars(auction.budget)} for {work} within {detail.max_eta_s} s, {auction.format}"
    return Group(
        facts(
            ("auction", auction.auction.hex()),
            ("requester", long_address(auction.requester)),
            ("state", auction.state),
            ("terms", terms),
            ("weights", f"{weights} (basis points)"),
            ("closed", f"commitments {moment(auction.commit_by)}, reveals {moment(auction.reveal_by)}"),
        ),
        bids,
        awards,
    )


def _render_verdict(verdict: AuctionVerdict, kept: Path | None) -> RenderableType:
    head = (
        Text("Every rule held: the award follows from what was signed.", style="green")
        if verdict.ok
        else Text(f"A rule is broken: {verdict.problem}", style="bold red")
    )
    lines: list[RenderableType] = [Text(f"Auction {verdict.auction.hex()}"), head]
    lines += [Text(f"  {long_address(each.bidder)} {each.text}") for each in verdict.bidders]
    if kept is not None:
        lines.append(Text(f"The evidence is in {kept}; anyone can check it: stoa auctions verify {kept}"))
    return Group(*lines)
