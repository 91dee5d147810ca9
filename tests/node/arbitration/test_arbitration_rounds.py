"""Arbiters of one round: they agree among themselves, and where they can't, on the chain."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from protocol.dispute.case import Stage
from protocol.dispute.messages import EVIDENCE_METHOD, OPENINGS_METHOD, SEALS_METHOD, OpeningsNotice, SealsNotice
from protocol.dispute.objects import Finding
from protocol.wire.codec import decode, encode
from tests.node.arbitration.case_papers import OUTPUT, PART, PROVIDER, REQUESTER, digest_of, make_papers, rerun
from tests.node.arbitration.court_lab import Away, Lab, open_case
from tests.node.arbitration.party_lab import eventually


def with_both_sides(lab: Lab) -> Lab:
    """Both parties show everything; the provider serves what it says came out."""
    for side in (REQUESTER, PROVIDER):
        lab.network.show(lab.case, side, lab.case.dossier())
    lab.network.holders[lab.case.receipt.value.output] = {PROVIDER.address}
    return lab


async def test_five_that_agree_settle_in_one_transaction(tmp_path: Path, autojump_clock: MockClock) -> None:
    lab = with_both_sides(open_case(tmp_path, make_papers(output=b"forged")))
    async with lab.sitting():
        await lab.wait_over(30)
    vote = lab.hall.vote
    assert vote is not None
    assert (vote.finding, vote.part, vote.output) == (Finding.WRONG_RESULT, PART, digest_of(OUTPUT))
    assert vote.due == lab.case.before.value.due
    assert len(lab.hall.sent) == 1
    assert lab.hall.round.opened_seats.bit_count() == 5


async def test_two_liars_of_five_change_nothing(tmp_path: Path, autojump_clock: MockClock) -> None:
    lab = with_both_sides(open_case(tmp_path, make_papers(output=b"forged")))
    for liar in "bd":
        lab.runners[liar].finds = rerun(b"forged")
    async with lab.sitting():
        await lab.wait_over(100)
    assert lab.hall.vote is not None
    assert lab.hall.vote.finding == Finding.WRONG_RESULT
    assert [line.split()[1] for line in lab.hall.sent] == ["settle"]
    assert lab.hall.round.opened_seats == 0b10101


async def test_one_that_is_away_is_not_waited_for_for_ever(tmp_path: Path, autojump_clock: MockClock) -> None:
    lab = with_both_sides(open_case(tmp_path, make_papers()))
    lab.silent = {"c"}
    async with lab.sitting():
        await lab.wait_over()
    assert lab.hall.round.stage is Stage.AGREED
    assert lab.hall.vote is not None
    assert lab.hall.vote.finding == Finding.UPHELD
    assert lab.hall.round.opened_seats == 0b11011


async def test_arbiters_that_cannot_reach_each_other_decide_on_the_chain(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    lab = with_both_sides(open_case(tmp_path, make_papers(fuel=900_000_000)))
    lab.network.is_lost = lambda _source, _target, method: method in (SEALS_METHOD, OPENINGS_METHOD)
    async with lab.sitting():
        await lab.wait_over()
    acts = [line.split()[1] for line in lab.hall.sent]
    assert acts.count("draw") == 1
    assert acts.count("seal") == acts.count("open") == 5
    assert lab.hall.vote is not None
    assert lab.hall.vote.finding == Finding.OVERBILLED
    assert lab.hall.round.schedule.seal_by >= lab.hall.round.began + lab.hall.round.ended_after  # all had sealed


async def test_a_majority_opens_on_the_chain_although_two_never_seal(tmp_path: Path, autojump_clock: MockClock) -> None:
    lab = with_both_sides(open_case(tmp_path, make_papers()))
    lab.silent = {"a", "e"}
    lab.network.is_lost = lambda _source, _target, method: method in (SEALS_METHOD, OPENINGS_METHOD)
    async with lab.sitting():
        with trio.fail_after(200):
            while len(lab.hall.votes) < 3:
                await trio.sleep(0.25)
    assert lab.hall.round.stage is Stage.DECIDED
    assert lab.hall.round.opened_seats == 0b01110


async def test_several_seats_of_one_arbiter_vote_alike(tmp_path: Path, autojump_clock: MockClock) -> None:
    lab = with_both_sides(open_case(tmp_path, make_papers(output=b"forged"), arbiters="aabba"))
    async with lab.sitting():
        await lab.wait_over(30)
    assert lab.hall.round.opened_seats.bit_count() == 5
    assert lab.runners["a"].runs == lab.runners["b"].runs == 1


async def test_a_committee_of_eleven(tmp_path: Path, autojump_clock: MockClock) -> None:
    lab = with_both_sides(open_case(tmp_path, make_papers(output=b"forged"), arbiters="abcdefghijk"))
    async with lab.sitting():
        await lab.wait_over(40)
    assert lab.hall.round.opened_seats.bit_count() == 11
    assert len(lab.hall.sent) == 1


async def test_who_opened_the_case_and_falls_silent_is_not_the_only_one_heard(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    lab = open_case(tmp_path, make_papers())
    lab.network.holders[lab.case.receipt.value.output] = {PROVIDER.address}
    lab.network.show(lab.case, PROVIDER, lab.case.dossier())

    async def show() -> None:
        """What a provider does that hears of a case about its award."""
        for one in lab.people.values():
            while True:
                try:
                    handler = lab.network.handlers[one.address, EVIDENCE_METHOD]
                    await handler(_peer(PROVIDER.address), encode(lab.case.dossier()))
                    break
                except (KeyError, Exception):  # noqa: BLE001 - it tries until it is heard
                    await trio.sleep(1)

    async with lab.sitting(), trio.open_nursery() as nursery:
        nursery.start_soon(show)
        await lab.wait_over()
    assert lab.hall.vote is not None
    assert lab.hall.vote.finding == Finding.UPHELD


async def test_without_inputs_the_opener_loses(tmp_path: Path, autojump_clock: MockClock) -> None:
    for opener, due in ((REQUESTER, "receipt"), (PROVIDER, "before")):
        lab = open_case(tmp_path / due, make_papers(), opener=opener)
        for side in (REQUESTER, PROVIDER):
            lab.network.show(lab.case, side, lab.case.dossier())
        lab.network.holders.clear()
        async with lab.sitting():
            await lab.wait_over()
        assert lab.hall.vote is not None
        assert lab.hall.vote.finding == Finding.INPUTS_MISSING
        papers = lab.case
        assert lab.hall.vote.due == (papers.receipt.value.due if due == "receipt" else papers.before.value.due)


async def test_nothing_shown_at_all(tmp_path: Path, autojump_clock: MockClock) -> None:
    lab = open_case(tmp_path, make_papers())
    async with lab.sitting():
        await lab.wait_over()
    assert lab.hall.vote is not None
    assert (lab.hall.vote.finding, lab.hall.vote.due) == (Finding.INPUTS_MISSING, 0)


async def test_a_provider_that_shows_no_receipt_or_no_output_loses(tmp_path: Path, autojump_clock: MockClock) -> None:
    lab = open_case(tmp_path / "receipt", make_papers())
    lab.network.show(lab.case, REQUESTER, lab.case.dossier(receipt=False))
    async with lab.sitting():
        await lab.wait_over()
    assert lab.hall.vote is not None
    assert (lab.hall.vote.finding, lab.hall.vote.due) == (Finding.OUTPUT_MISSING, lab.case.before.value.due)

    lab = open_case(tmp_path / "output", make_papers())
    for side in (REQUESTER, PROVIDER):
        lab.network.show(lab.case, side, lab.case.dossier())
    async with lab.sitting():
        await lab.wait_over()
    assert lab.hall.vote is not None
    assert lab.hall.vote.finding == Finding.OUTPUT_MISSING


async def test_a_provider_that_never_ends_serving_its_output_is_not_waited_for(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    lab = with_both_sides(open_case(tmp_path, make_papers()))
    lab.network.trickles.add(lab.case.receipt.value.output)
    async with lab.sitting():
        await lab.wait_over()
    assert lab.hall.round.stage is Stage.AGREED
    assert lab.hall.vote is not None
    assert lab.hall.vote.finding == Finding.OUTPUT_MISSING


async def test_a_side_that_hides_what_was_accepted_gains_nothing(tmp_path: Path, autojump_clock: MockClock) -> None:
    lab = with_both_sides(open_case(tmp_path, make_papers()))
    lab.network.show(lab.case, REQUESTER, lab.case.dossier(before=False))
    async with lab.sitting():
        await lab.wait_over()
    assert lab.hall.vote is not None
    assert (lab.hall.vote.finding, lab.hall.vote.due) == (Finding.UPHELD, lab.case.receipt.value.due)


async def test_a_node_that_restarts_goes_on_with_its_vote(tmp_path: Path, autojump_clock: MockClock) -> None:
    lab = with_both_sides(open_case(tmp_path, make_papers(output=b"forged")))
    async with lab.sitting("a") as sitting:
        await eventually(lambda: bool(sitting["a"].sittings()) and sitting["a"].sittings()[0].has_vote)
    assert lab.runners["a"].runs == 1
    async with lab.sitting():
        await lab.wait_over()
    assert lab.runners["a"].runs == 1
    assert lab.hall.round.opened_seats.bit_count() == 5


async def test_the_chain_goes_away_in_the_middle(tmp_path: Path, autojump_clock: MockClock) -> None:
    lab = with_both_sides(open_case(tmp_path, make_papers(output=b"forged")))
    async with lab.sitting():
        await trio.sleep(4)
        lab.hall.away = True
        await trio.sleep(30)
        assert not lab.hall.sent
        lab.hall.away = False
        await lab.wait_over()
    assert lab.hall.round.stage is Stage.AGREED


async def test_an_appeal_that_is_told_while_the_chain_is_away_is_heard_all_the_same(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    lab = with_both_sides(open_case(tmp_path, make_papers(output=b"forged"), arbiters="abcdefghijk"))
    lab.hall.away = True
    async with lab.sitting():
        await trio.sleep(8)
        lab.hall.away = False
        await lab.wait_over()
    assert lab.hall.round.stage is Stage.AGREED


@pytest.mark.parametrize(("arbiters", "stage"), [("abcde", Stage.NONE), ("abcdefghijk", Stage.CLOSED)])
async def test_a_chain_node_that_has_not_come_to_the_round_costs_nobody_its_seat(
    tmp_path: Path, autojump_clock: MockClock, arbiters: str, stage: Stage
) -> None:
    lab = with_both_sides(open_case(tmp_path, make_papers(output=b"forged"), arbiters=arbiters))
    older = replace(lab.hall.round, stage=stage, number=0)  # nothing, or the round before
    lab.hall.behind["a"] = older
    async with lab.sitting() as sitting:
        await trio.sleep(4)
        del lab.hall.behind["a"]
        await eventually(lambda: sitting["a"].sittings()[0].has_vote)
        (seen,) = sitting["a"].sittings()
        assert seen.vote is not None
        assert (seen.part, seen.vote.finding) == (lab.hall.opened.part, Finding.WRONG_RESULT)
        assert seen.vote_by == lab.hall.round.schedule.open_by
        lab.hall.behind["a"] = older  # and once more, in the middle of it
        await trio.sleep(2)
        lab.hall.behind.clear()
        await lab.wait_over()
    assert lab.runners["a"].runs == 1
    assert lab.hall.round.opened_seats.bit_count() == len(arbiters)


async def test_a_round_that_never_comes_is_not_waited_for_for_ever(tmp_path: Path, autojump_clock: MockClock) -> None:
    lab = with_both_sides(open_case(tmp_path, make_papers()))
    lab.hall.behind["a"] = replace(lab.hall.round, stage=Stage.NONE)
    async with lab.sitting("a") as sitting:
        await eventually(lambda: bool(sitting["a"].sittings()))
        await trio.sleep(500)
        assert sitting["a"].sittings()
        await eventually(lambda: not sitting["a"].sittings())


async def test_a_machine_that_is_busy_tries_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    lab = with_both_sides(open_case(tmp_path, make_papers(output=b"forged")))
    lab.runners["a"].fails = Away("all workers are taken")
    async with lab.sitting():
        await trio.sleep(15)
        lab.runners["a"].fails = None
        await lab.wait_over()
    assert lab.runners["a"].runs > 1
    assert lab.hall.round.opened_seats.bit_count() == 5


async def test_an_arbiter_that_tells_each_another_seal_only_costs_time(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    lab = with_both_sides(open_case(tmp_path, make_papers(output=b"forged")))
    liar = lab.people["e"].address
    told = iter(range(1, 1000))

    def twist(source: Any, _target: Any, method: str, body: bytes) -> bytes:
        if source != liar or method != SEALS_METHOD:
            return body
        notice = decode(SealsNotice, body, max_bytes=1 << 16)
        (one,) = notice.seals
        return encode(
            SealsNotice(award=notice.award, round=0, seals=(type(one)(seat=one.seat, seal=_number(next(told))),))
        )

    lab.network.twist = twist
    async with lab.sitting():
        await lab.wait_over()
    assert lab.hall.vote is not None
    assert lab.hall.vote.finding == Finding.WRONG_RESULT


async def test_nobody_opens_before_it_has_heard_all_seals(tmp_path: Path, autojump_clock: MockClock) -> None:
    """An arbiter that opens first, under seals that it made up, is shown nothing (L7)."""
    lab = with_both_sides(open_case(tmp_path, make_papers(output=b"forged")))
    lab.runners["c"].takes_s = 30
    answers: list[OpeningsNotice] = []

    async with lab.sitting():
        await trio.sleep(10)
        handler = lab.network.handlers[lab.people["a"].address, OPENINGS_METHOD]
        notice = OpeningsNotice(award=lab.case.terms.award_id, round=0, seals=(_number(1),) * 5, vote=None, openings=())
        answers.append(
            decode(OpeningsNotice, await handler(_peer(lab.people["b"].address), encode(notice)), max_bytes=1 << 16)
        )
        await lab.wait_over()
    assert answers[0].vote is None
    assert not answers[0].openings
    assert lab.hall.round.opened_seats.bit_count() == 5


def _peer(wallet: bytes) -> Any:
    return wallet.hex()


def _number(value: int) -> Any:
    return value.to_bytes(32)
