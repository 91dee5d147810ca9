"""A side that shows arbiters different things has them vote alike all the same (docs/spec/law.md, CJ12)."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from protocol.dispute.messages import DOSSIER_METHOD, EVIDENCE_METHOD, PAPERS_METHOD, Dossier, Papers, PapersNotice
from protocol.dispute.objects import Finding
from protocol.identity import Address, ContentDigest
from protocol.signing.keccak import keccak256
from protocol.signing.signed import sign_struct
from protocol.units import Amount
from protocol.wire.codec import decode, encode
from tests.node.arbitration.case_papers import MARKET, PROVIDER, REQUESTER, make_papers
from tests.node.arbitration.court_lab import open_case
from tests.node.arbitration.party_lab import eventually
from tests.node.arbitration.sharing_lab import (
    ALL,
    FELLOWS_UNTIL_S,
    LATER,
    NAMED,
    NOTHING_MISSING_S,
    SIDES,
    Mallory,
    have_voted,
    open_channel_case,
    papers_of,
    peer_of,
    show,
    to,
)


async def test_a_later_part_that_three_of_five_are_shown_is_judged_by_all(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    lab, later = open_channel_case(tmp_path), papers_of(LATER, output=b"forged")
    lab.network.holders[later.receipt.value.output] = {PROVIDER.address}
    show(lab, REQUESTER, to("abc", later.dossier(), lab.case.dossier()))
    show(lab, PROVIDER, to("abcde", lab.case.dossier(), None))
    async with lab.sitting():
        await lab.wait_over()
    assert lab.hall.vote is not None
    assert (lab.hall.vote.finding, lab.hall.vote.part) == (Finding.WRONG_RESULT, LATER)
    assert lab.hall.round.opened_seats == ALL


async def test_who_holds_most_seats_hears_the_others_as_well(tmp_path: Path, autojump_clock: MockClock) -> None:
    lab, later = open_channel_case(tmp_path, arbiters="aabba"), papers_of(LATER, output=b"forged")
    lab.network.holders[later.receipt.value.output] = {PROVIDER.address}
    show(lab, REQUESTER, to("b", later.dossier(), lab.case.dossier()))
    show(lab, PROVIDER, to("ab", lab.case.dossier(), None))
    async with lab.sitting():
        await lab.wait_over()
    assert lab.hall.vote is not None
    assert lab.hall.vote.part == LATER
    assert lab.hall.round.opened_seats == ALL


async def test_a_receipt_that_one_is_shown_at_the_last_moment_reaches_all(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    lab = open_case(tmp_path, make_papers())
    lab.network.holders[lab.case.receipt.value.output] = {PROVIDER.address}
    show(lab, REQUESTER, to("abcde", lab.case.dossier(receipt=False), None))

    def late(name: str) -> Dossier | None:
        return lab.case.dossier() if name == "b" and trio.current_time() - began > 46 else None

    began = trio.current_time()
    show(lab, PROVIDER, late)
    async with lab.sitting():
        await lab.wait_over()
    assert lab.hall.vote is not None
    assert lab.hall.vote.finding == Finding.UPHELD
    assert lab.hall.round.opened_seats == ALL


async def test_of_acceptances_that_differ_all_count_the_greatest(tmp_path: Path, autojump_clock: MockClock) -> None:
    lab = open_channel_case(tmp_path)
    greater = sign_struct(REQUESTER.key, MARKET, replace(lab.case.before.value, due=Amount(2_500)))
    show(lab, REQUESTER, to("e", replace(lab.case.dossier(), before=greater), lab.case.dossier()))
    show(lab, PROVIDER, to("abcde", lab.case.dossier(), None))
    for runner in lab.runners.values():
        runner.finds = replace(runner.finds, output=keccak256(b"another"))
    async with lab.sitting():
        await lab.wait_over()
    assert lab.hall.vote is not None
    assert (lab.hall.vote.finding, lab.hall.vote.due) == (Finding.WRONG_RESULT, 2_500)
    assert lab.hall.round.opened_seats == ALL
    assert {runner.runs for runner in lab.runners.values()} <= {1, 2}


async def test_two_receipts_of_a_later_part_are_held_against_who_signed_both(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    lab, forged, mended = open_channel_case(tmp_path), papers_of(LATER, output=b"forged"), papers_of(LATER)
    show(lab, REQUESTER, to("d", forged.dossier(), lab.case.dossier()))
    show(lab, PROVIDER, to("ac", mended.dossier(), lab.case.dossier()))
    async with lab.sitting():
        await lab.wait_over()
    vote = lab.hall.vote
    assert vote is not None
    assert (vote.finding, vote.part, vote.due) == (Finding.WRONG_RESULT, LATER, forged.before.value.due)
    assert lab.hall.round.opened_seats == ALL


@pytest.mark.parametrize("served", ["a", "abc", ""])
async def test_an_output_that_some_are_served_counts_for_all_or_none(
    tmp_path: Path, autojump_clock: MockClock, served: str
) -> None:
    lab = open_case(tmp_path, make_papers())
    output = lab.case.receipt.value.output
    lab.network.holders[output] = {PROVIDER.address}
    chosen = {lab.people[name].address for name in served}
    lab.network.withholds = lambda holder, reader, digest: (
        digest == output and holder == PROVIDER.address and reader not in chosen
    )
    for side in (REQUESTER, PROVIDER):
        show(lab, side, to("abcde", lab.case.dossier(), None))
    began = trio.current_time()
    async with lab.sitting() as sitting:
        await eventually(lambda: have_voted(sitting.values()))
        took_s = trio.current_time() - began
        await lab.wait_over()
    assert took_s < FELLOWS_UNTIL_S + 5, "as soon as all know who has it"
    assert lab.hall.vote is not None
    assert lab.hall.vote.finding == (Finding.UPHELD if served else Finding.OUTPUT_MISSING)
    assert lab.hall.round.opened_seats == ALL


@pytest.mark.parametrize(("served_s", "finding"), [(47, Finding.WRONG_RESULT), (57.5, Finding.INPUTS_MISSING)])
async def test_inputs_that_one_is_served_late_reach_all_or_count_for_nobody(
    tmp_path: Path, autojump_clock: MockClock, served_s: float, finding: Finding
) -> None:
    lab = open_case(tmp_path, make_papers(output=b"forged"))
    lab.network.holders[lab.case.receipt.value.output] = {PROVIDER.address}
    began, chosen = trio.current_time(), lab.people["d"].address
    module = lab.case.manifest.module.digest
    for side in (REQUESTER, PROVIDER):
        show(lab, side, to("abcde", lab.case.dossier(), None))

    def withholds(holder: Address, reader: Address, blob: ContentDigest) -> bool:
        """Sides serve one arbiter alone; what that one hands on arrives when the others have sealed."""
        now_s = trio.current_time() - began
        if holder == chosen:
            return now_s < 59.9 and served_s > 50
        return blob == module and holder in SIDES and (reader != chosen or now_s < served_s)

    lab.network.withholds = withholds
    async with lab.sitting():
        await lab.wait_over()
    assert lab.hall.vote is not None
    assert lab.hall.vote.finding == finding
    assert lab.hall.round.opened_seats == ALL


async def test_where_all_were_shown_the_same_no_paper_is_sent_and_nobody_waits(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    lab = open_channel_case(tmp_path, output=b"forged")
    lab.network.holders[lab.case.receipt.value.output] = {PROVIDER.address}
    for side in (REQUESTER, PROVIDER):
        show(lab, side, to("abcde", lab.case.dossier(), None))
    sent: list[PapersNotice] = []

    def keep(_source: bytes, _target: bytes, method: str, body: bytes) -> bytes:
        if method == PAPERS_METHOD:
            sent.append(decode(PapersNotice, body, max_bytes=1 << 20))
        return body

    lab.network.twist = keep
    began = trio.current_time()
    async with lab.sitting() as sitting:
        await eventually(lambda: have_voted(sitting.values()))
        took_s = trio.current_time() - began
        await lab.wait_over(30)
    assert took_s < NOTHING_MISSING_S
    assert len(sent) <= 2 * 20, "at most twice to each by each"
    assert not any(notice.papers for notice in sent)
    assert all(len(encode(notice)) < 256 for notice in sent)


async def test_who_restarts_takes_nothing_more_of_a_side_than_it_told_its_fellows(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    lab, later = open_channel_case(tmp_path), papers_of(LATER, output=b"forged")
    is_later: set[str] = set()
    asked = show(lab, REQUESTER, lambda name: later.dossier() if name in is_later else lab.case.dossier())
    show(lab, PROVIDER, to("abcde", lab.case.dossier(), None))
    lab.runners["a"].takes_s = 20
    async with lab.sitting("b", "c", "d", "e"):
        async with lab.sitting("a"):
            await trio.sleep(NOTHING_MISSING_S)
        before, is_later = asked.count("a"), {"a"}
        assert before
        async with lab.sitting("a"):
            await lab.wait_over()
    assert asked.count("a") == before
    assert lab.hall.vote is not None
    assert lab.hall.vote.part == NAMED
    assert lab.hall.round.opened_seats == ALL


async def test_who_comes_late_judges_from_what_its_fellows_do(tmp_path: Path, autojump_clock: MockClock) -> None:
    lab, later = open_channel_case(tmp_path), papers_of(LATER, output=b"forged")
    show(lab, REQUESTER, to("e", later.dossier(), lab.case.dossier()))
    show(lab, PROVIDER, to("abcde", lab.case.dossier(), None))
    async with lab.sitting("a", "b", "c", "d"):
        await trio.sleep(FELLOWS_UNTIL_S + 5)
        async with lab.sitting("e"):
            await lab.wait_over()
    assert lab.hall.vote is not None
    assert lab.hall.vote.part == NAMED
    assert lab.hall.round.opened_seats == ALL


async def test_an_arbiter_that_is_still_asking_is_waited_for(tmp_path: Path, autojump_clock: MockClock) -> None:
    """It knows the same as all others so far; then a side shows it something new."""
    lab, later = open_channel_case(tmp_path), papers_of(LATER, output=b"forged")
    lab.network.holders[later.receipt.value.output] = {PROVIDER.address}
    began = trio.current_time()
    show(lab, REQUESTER, to("abcde", lab.case.dossier(), None))

    def stalling(name: str) -> Dossier | None:
        if name != "b":
            return lab.case.dossier()
        return later.dossier() if trio.current_time() - began > 20 else None

    show(lab, PROVIDER, stalling)
    async with lab.sitting():
        await lab.wait_over()
    assert lab.hall.vote is not None
    assert lab.hall.vote.part == LATER
    assert lab.hall.round.opened_seats == ALL


async def test_a_part_is_not_run_again_for_another_bill(tmp_path: Path, autojump_clock: MockClock) -> None:
    lab = open_channel_case(tmp_path, output=b"forged")
    lab.network.holders[lab.case.receipt.value.output] = {PROVIDER.address}
    for side in (REQUESTER, PROVIDER):
        show(lab, side, to("abcde", lab.case.dossier(), None))
    greater = sign_struct(REQUESTER.key, MARKET, replace(lab.case.before.value, due=Amount(2_500)))
    mallory = Mallory(lab, "e", lambda _name: None)
    async with lab.sitting():
        await trio.sleep(15)
        mallory.tells = lambda _name: mallory.notice(Papers(dossier=replace(lab.case.dossier(), before=greater)))
        await mallory.tell("a")
        await lab.wait_over()
    assert lab.hall.vote is not None
    assert lab.hall.vote.due == 2_500
    assert {name: runner.runs for name, runner in lab.runners.items() if name != "e"} == dict.fromkeys("abcd", 1)


async def test_what_a_side_shows_first_counts(tmp_path: Path, autojump_clock: MockClock) -> None:
    """It may show unasked as often as it likes; each time is some signatures to check."""
    lab, later = open_channel_case(tmp_path), papers_of(LATER, output=b"forged")
    show(lab, REQUESTER, to("abcde", lab.case.dossier(), None))
    lab.network.show(lab.case, PROVIDER, lab.case.dossier())
    del lab.network.handlers[PROVIDER.address, DOSSIER_METHOD]  # so that they go on asking
    async with lab.sitting():
        await trio.sleep(10)
        for name in "abcde":
            handler = lab.network.handlers[lab.people[name].address, EVIDENCE_METHOD]
            await handler(peer_of(REQUESTER.address), encode(later.dossier()))
        await lab.wait_over()
    assert lab.hall.vote is not None
    assert lab.hall.vote.part == NAMED
    assert lab.hall.round.opened_seats == ALL
