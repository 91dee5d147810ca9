"""Before a requester stakes money on a claim being wrong, it looks for itself: what it sees, what is believed."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from node.arbitration.party_ports import Subject
from node.arbitration.rehearsal import Rehearsal, Rehearsed
from node.operations.clock import TrioClock
from protocol.dispute.evidence import Matter
from protocol.dispute.messages import Dossier
from protocol.dispute.objects import Finding
from protocol.dispute.party import Brief
from protocol.errors import ProtocolError, TransientError
from protocol.identity import Digest
from protocol.signing.eip712 import digest
from protocol.signing.signed import sign_struct
from protocol.task.outcome import Outcome
from tests.node.arbitration.case_papers import (
    EPOCH,
    FUEL,
    MARKET,
    OUTPUT,
    PART,
    PROVIDER,
    REQUESTER,
    Papers,
    make_papers,
    rerun,
)
from tests.node.arbitration.court_lab import FakePeers, FakeRunner, Network

WITHIN_S = 100.0


class OwnPapers:
    """What the requester has: everything but the receipt, as if it had never come."""

    def __init__(self, papers: Papers) -> None:
        self._papers = papers

    async def dossier_of(self, award: Digest, subject: Subject | None = None) -> Dossier | None:
        await trio.lowlevel.checkpoint()
        return self._papers.dossier(receipt=False) if award == self._papers.terms.award_id else None

    async def brief_of(self, award: Digest) -> Brief | None:
        raise NotImplementedError


async def rehearse(
    papers: Papers, network: Network, runner: FakeRunner, *, own: Papers | None = None
) -> tuple[Rehearsed, float]:
    """Return what is found out, and how long that took."""
    matter = Matter(
        award=papers.terms.award_id,
        opener=REQUESTER.address,
        part=PART,
        receipt=digest(MARKET, papers.receipt.value),
    )
    clock, peers = TrioClock.starting_at(EPOCH), FakePeers(network, REQUESTER.address)
    began = trio.current_time()
    found = await Rehearsal(peers, OwnPapers(own or papers), runner, clock, MARKET).rehearse(
        matter, PROVIDER.address, within_s=WITHIN_S
    )
    return found, trio.current_time() - began


def serving(papers: Papers, dossier: Dossier | None = None, *, output: bool = True) -> Network:
    network = Network()
    network.show(papers, PROVIDER, dossier or papers.dossier())
    if output:
        network.holders[papers.receipt.value.output] = {PROVIDER.address}
    return network


@pytest.mark.parametrize(
    ("output", "fuel", "finding"),
    [
        (OUTPUT, FUEL, Finding.UPHELD),
        (b"made up", FUEL, Finding.WRONG_RESULT),
        (OUTPUT, FUEL + 10**9, Finding.OVERBILLED),
    ],
)
async def test_a_claim_is_seen_as_a_court_would_see_it(
    autojump_clock: MockClock, output: bytes, fuel: int, finding: Finding
) -> None:
    papers = make_papers(output=output, fuel=fuel)
    found, _ = await rehearse(papers, serving(papers), FakeRunner(finds=papers.truth))
    assert (found.finding, found.receipt, found.rerun) == (finding, papers.receipt, papers.truth)
    assert found.reason.startswith("this node ran it itself")


@pytest.mark.parametrize("shown", ["nothing", "no receipt", "another receipt", "no output"])
async def test_who_is_not_shown_what_is_claimed_by_knows_nothing_and_waits_no_longer_than_it_may(
    autojump_clock: MockClock, shown: str
) -> None:
    papers = make_papers()
    other = sign_struct(PROVIDER.key, MARKET, replace(papers.receipt.value, fuel=1))
    dossiers: dict[str, Callable[[], Network]] = {
        "nothing": Network,
        "no receipt": lambda: serving(papers, papers.dossier(receipt=False)),
        "another receipt": lambda: serving(papers, replace(papers.dossier(), receipt=other)),
        "no output": lambda: serving(papers, output=False),
    }
    runner = FakeRunner(finds=papers.truth)
    found, took_s = await rehearse(papers, dossiers[shown](), runner)
    assert (found.finding, found.rerun, runner.runs) == (None, None, 0)
    assert found.receipt == (papers.receipt if shown == "no output" else None)
    assert abs(took_s - WITHIN_S) < 1


async def test_a_provider_that_is_away_for_a_while_is_asked_again(autojump_clock: MockClock) -> None:
    papers = make_papers()
    network = serving(papers)
    until = trio.current_time() + WITHIN_S / 2
    network.is_lost = lambda _source, _target, _method: trio.current_time() < until
    found, _ = await rehearse(papers, network, FakeRunner(finds=papers.truth))
    assert found.finding is Finding.UPHELD


class Unfit(ProtocolError):
    """The module is none here."""


class Busy(TransientError):
    """Never a worker."""


async def test_what_this_node_can_not_judge_is_not_held_against_the_claim(autojump_clock: MockClock) -> None:
    papers = make_papers()
    for runner in (
        FakeRunner(finds=papers.truth, fails=Unfit("no module")),
        FakeRunner(finds=papers.truth, engine=Digest(b"\x01" * 32)),
        FakeRunner(finds=rerun(outcome=Outcome.STACK_OVERFLOW)),
    ):
        found, _ = await rehearse(papers, serving(papers), runner)
        assert (found.finding, found.rerun) == (Finding.NOT_JUDGED, None)
    busy, took_s = await rehearse(papers, serving(papers), FakeRunner(finds=papers.truth, fails=Busy("full")))
    assert (busy.finding, busy.receipt) == (None, papers.receipt)
    assert abs(took_s - WITHIN_S) < 1


async def test_without_records_of_its_own_nobody_is_asked(autojump_clock: MockClock) -> None:
    papers, others = make_papers(), make_papers(output=b"of another task")
    changed = replace(others, award=replace(others.award, attempt=9))
    found, took_s = await rehearse(papers, serving(papers), FakeRunner(finds=papers.truth), own=changed)
    assert found.finding is None
    assert "no records" in found.reason
    assert took_s == 0
