"""An arbiter that lies to its fellows, floods them or falls silent changes nothing (docs/spec/law.md, CJ12)."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from node.arbitration import sharing
from protocol.dispute.evidence import Matter
from protocol.dispute.messages import (
    OPENINGS_METHOD,
    PAPERS_METHOD,
    SEALS_METHOD,
    Papers,
    PapersNotice,
    SealsNotice,
    SeatSeal,
)
from protocol.dispute.objects import Finding
from protocol.dispute.papers import Shown, read_papers
from protocol.errors import StoaError
from protocol.signing.eip712 import Domain
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
    Mallory,
    gist,
    have_voted,
    open_channel_case,
    papers_of,
    peer_of,
    show,
    to,
)


def false_papers(mallory: Mallory) -> dict[str, PapersNotice | bytes]:
    """What a fellow may tell that is not so."""
    lab, later = mallory.lab, papers_of(LATER)
    good = lab.case.dossier()
    receipt, before = later.receipt.value, later.before.value
    alien = make_papers()  # of another award
    forged = sign_struct(REQUESTER.key, MARKET, receipt)
    accepted = sign_struct(lab.people["e"].key, MARKET, replace(before, due=Amount(10**6)))
    told = keccak256(b"something new")
    notices = {
        "a receipt that it signed itself": Papers(dossier=replace(later.dossier(), receipt=forged)),
        "an acceptance that it signed itself": Papers(dossier=replace(later.dossier(), before=accepted)),
        "another case's dossier": Papers(dossier=alien.dossier()),
        "another manifest": Papers(dossier=replace(good, manifest=good.manifest + b"\0")),
        "a contradiction that is none": Papers(dossier=later.dossier(), contrary=later.receipt),
        "papers that come to something else": Papers(dossier=good),
    }
    bodies: dict[str, PapersNotice | bytes] = {
        what: mallory.notice(each, gist_told=told) for what, each in notices.items()
    }
    bodies["something that it does not show"] = mallory.notice(None, gist_told=told)
    bodies["garbage"] = b"\xc1" * 100
    bodies["another round"] = replace(mallory.notice(None), round=1)
    return bodies


LIES = (
    "a receipt that it signed itself", "an acceptance that it signed itself", "another case's dossier",
    "another manifest", "a contradiction that is none", "papers that come to something else",
    "something that it does not show", "garbage", "another round",
)  # fmt: skip


@pytest.mark.parametrize("what", LIES)
async def test_a_fellow_that_hands_on_what_is_not_so_changes_nothing(
    tmp_path: Path, autojump_clock: MockClock, what: str
) -> None:
    lab = open_channel_case(tmp_path, output=b"forged")
    lab.network.holders[lab.case.receipt.value.output] = {PROVIDER.address}
    for side in (REQUESTER, PROVIDER):
        show(lab, side, to("abcde", lab.case.dossier(), None))
    mallory = Mallory(lab, "e", lambda _name: None)
    lie = false_papers(mallory)[what]
    assert set(false_papers(mallory)) == set(LIES)
    mallory.tells = lambda _name: lie
    began = trio.current_time()
    async with lab.sitting() as sitting, trio.open_nursery() as nursery:
        for name in "abcd":
            nursery.start_soon(mallory.tell, name)
        await eventually(lambda: have_voted(sitting.values()))
        took_s = trio.current_time() - began
        await lab.wait_over()
    assert lab.hall.vote is not None
    assert (lab.hall.vote.finding, lab.hall.vote.part) == (Finding.WRONG_RESULT, NAMED)
    assert lab.hall.round.opened_seats == 0b01111
    if what in LIES[:6]:
        assert took_s < NOTHING_MISSING_S
    else:  # this proves nothing, so it counts as silent
        assert abs(took_s - FELLOWS_UNTIL_S) < 2


async def test_a_flood_of_papers_is_read_at_a_pace_and_splits_nobody(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A side and an arbiter together make ever greater acceptances, and tell each another."""
    lab = open_channel_case(tmp_path, output=b"forged")
    lab.network.holders[lab.case.receipt.value.output] = {PROVIDER.address}
    for side in (REQUESTER, PROVIDER):
        show(lab, side, to("abcde", lab.case.dossier(), None))
    ever, reads = iter(range(3_000, 10_000)), list[Papers]()

    def more(_name: str) -> PapersNotice:
        greater = sign_struct(REQUESTER.key, MARKET, replace(lab.case.before.value, due=Amount(next(ever))))
        return mallory.notice(Papers(dossier=replace(lab.case.dossier(), before=greater)))

    def counted(domain: Domain, named: Matter, papers: Papers) -> Shown:
        reads.append(papers)
        return read_papers(domain, named, papers)

    mallory = Mallory(lab, "e", lambda _name: None)
    monkeypatch.setattr(sharing, "read_papers", counted)

    async def flood(name: str) -> None:
        for _ in range(100):
            await mallory.tell(name)
            await trio.sleep(0.02)

    async with lab.sitting(), trio.open_nursery() as nursery:
        await trio.sleep(6)
        reads.clear()
        mallory.tells = more
        for name in "abcd":
            nursery.start_soon(flood, name)
        await trio.sleep(3)
        mallory.tells = lambda _name: None
        assert len(reads) < 4 * 4 * 8, "of each by each at most two a second"
        await lab.wait_over()
    assert lab.hall.vote is not None
    assert lab.hall.vote.finding == Finding.WRONG_RESULT
    assert lab.hall.vote.due > 3_000
    assert lab.hall.round.opened_seats == 0b01111


async def test_who_asks_for_papers_all_the_time_is_sent_them_now_and_then(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    lab = open_channel_case(tmp_path)
    for side in (REQUESTER, PROVIDER):
        show(lab, side, to("abcde", lab.case.dossier(), None))
    asks = iter(range(10_000))
    mallory = Mallory(lab, "e", lambda _name: None)
    answers: list[PapersNotice] = []
    async with lab.sitting("a"):
        await trio.sleep(6)
        handler = lab.network.handlers[lab.people["a"].address, PAPERS_METHOD]
        mallory.tells = lambda _name: mallory.notice(None, gist_told=keccak256(b"%d" % next(asks)))
        for _ in range(200):
            told = mallory.tells("a")
            body = await handler(peer_of(mallory.address), encode(told))
            answers.append(decode(PapersNotice, body, max_bytes=1 << 20))
            await trio.sleep(0.02)
    answered = [*answers, *mallory.heard]
    assert next(asks) > 200, "it was called as well, each time that it said something new"
    assert 4 <= sum(notice.papers is not None for notice in answered) <= 9, "in four seconds, at most two each"


async def test_a_silent_fellow_is_waited_for_while_the_part_is_run_and_no_longer(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    lab = open_channel_case(tmp_path, output=b"forged")
    lab.network.holders[lab.case.receipt.value.output] = {PROVIDER.address}
    for side in (REQUESTER, PROVIDER):
        show(lab, side, to("abcde", lab.case.dossier(), None))
    lab.silent = {"e"}
    for name, takes_s in (("a", 1), ("b", 24), ("c", 34)):
        lab.runners[name].takes_s = takes_s
    began = trio.current_time()
    took_s: dict[str, float] = {}
    async with lab.sitting() as sitting:
        for name in "abc":
            await eventually(lambda name=name: have_voted([sitting[name]]))
            took_s[name] = trio.current_time() - began
        await lab.wait_over()
    assert abs(took_s["a"] - FELLOWS_UNTIL_S) < 1
    assert abs(took_s["b"] - FELLOWS_UNTIL_S) < 1, "it ran meanwhile"
    assert abs(took_s["c"] - (34 + 5)) < 3, "its own run took longer"
    assert all(runner.runs <= 1 for runner in lab.runners.values())
    assert lab.hall.round.opened_seats == 0b01111


@pytest.mark.parametrize("takes_s", [1, 15])
async def test_who_tells_some_a_paper_after_the_others_sealed_splits_nobody(
    tmp_path: Path, autojump_clock: MockClock, takes_s: float
) -> None:
    """One arbiter and a side: two are told that nothing is missing, and seal; the other two are kept waiting."""
    lab, later = open_channel_case(tmp_path), papers_of(LATER, output=b"forged")
    for side in (REQUESTER, PROVIDER):
        show(lab, side, to("abcde", lab.case.dossier(), None))
    for name in "ad":
        lab.runners[name].takes_s = takes_s
    mallory = Mallory(lab, "e", lambda _name: None)
    same = Papers(dossier=lab.case.dossier())
    mallory.tells = lambda name: mallory.notice(same) if name in "bc" else None
    began = trio.current_time()
    async with lab.sitting() as sitting:
        await eventually(lambda: have_voted([sitting["b"], sitting["c"]]))
        await trio.sleep(2)
        mallory.tells = lambda _name: mallory.notice(Papers(dossier=later.dossier()))
        for name in "ad":
            await mallory.tell(name)
        await eventually(lambda: have_voted([sitting["a"], sitting["d"]]))
        assert trio.current_time() - began < NOTHING_MISSING_S + takes_s
        await lab.wait_over()
    assert lab.hall.vote is not None
    assert lab.hall.vote.part == NAMED
    assert lab.hall.round.opened_seats == 0b01111


async def test_one_that_seals_at_once_keeps_nobody_from_hearing_the_others(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Not even one that has two seats of five: with the liar's they would be three."""
    lab, later = open_channel_case(tmp_path, arbiters="aabce"), papers_of(LATER, output=b"forged")
    lab.network.holders[later.receipt.value.output] = {PROVIDER.address}
    show(lab, REQUESTER, to("b", later.dossier(), lab.case.dossier()))
    show(lab, PROVIDER, to("abce", lab.case.dossier(), None))
    mallory = Mallory(lab, "e", lambda _name: None)
    seal = SealsNotice(
        award=lab.case.terms.award_id, round=0, seals=(SeatSeal(seat=4, seal=keccak256(b"whatever it is")),)
    )
    async with lab.sitting() as sitting:
        handler = lab.network.handlers[lab.people["a"].address, SEALS_METHOD]
        while not have_voted([sitting["a"]]):
            with suppress(StoaError):
                await handler(peer_of(mallory.address), encode(seal))
            await trio.sleep(0.05)
        await lab.wait_over()
    assert lab.hall.vote is not None
    assert lab.hall.vote.part == LATER
    assert lab.hall.round.opened_seats == 0b01111


async def test_what_a_fellow_hands_on_after_its_time_counts_for_nobody(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    lab, later = open_channel_case(tmp_path), papers_of(LATER, output=b"forged")
    for side in (REQUESTER, PROVIDER):
        show(lab, side, to("abcde", lab.case.dossier(), None))
    for runner in lab.runners.values():
        runner.takes_s = 40
    mallory = Mallory(lab, "e", lambda _name: None)
    async with lab.sitting():
        await trio.sleep(FELLOWS_UNTIL_S + 2)
        mallory.tells = lambda name: mallory.notice(Papers(dossier=later.dossier())) if name in "ab" else None
        await mallory.tell("a")
        await mallory.tell("b")
        await lab.wait_over()
    assert lab.hall.vote is not None
    assert lab.hall.vote.part == NAMED
    assert lab.hall.round.opened_seats == 0b01111


async def test_what_an_arbiter_is_told_late_it_hands_on_to_all_who_still_judge(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """One arbiter has a later part from a side that shows it to nobody else, and tells one fellow of it."""
    lab, later = open_channel_case(tmp_path), papers_of(LATER, output=b"forged")
    lab.network.holders[later.receipt.value.output] = {PROVIDER.address}
    for side in (REQUESTER, PROVIDER):
        show(lab, side, to("abcde", lab.case.dossier(), None))
    for runner in lab.runners.values():
        runner.takes_s = 22
    mallory = Mallory(lab, "e", lambda _name: None)
    mallory.tells = lambda name: mallory.notice(Papers(dossier=(later if name == "c" else lab.case).dossier()))
    began = trio.current_time()
    async with lab.sitting() as sitting:
        await mallory.tell("c")
        await eventually(lambda: have_voted(sitting.values()))
        assert trio.current_time() - began < FELLOWS_UNTIL_S + 2, "nobody ran the other part to its end first"
        await lab.wait_over()
    assert lab.hall.vote is not None
    assert lab.hall.vote.part == LATER
    assert lab.hall.round.opened_seats == 0b01111


async def test_a_stranger_is_told_nothing_and_believed_nothing(tmp_path: Path, autojump_clock: MockClock) -> None:
    lab = open_channel_case(tmp_path)
    for side in (REQUESTER, PROVIDER):
        show(lab, side, to("abcde", lab.case.dossier(), None))
    later = Papers(dossier=papers_of(LATER, output=b"forged").dossier())
    notice = PapersNotice(
        award=lab.case.terms.award_id, round=0, gist=gist(lab, later), is_final=True, has_output=None, papers=later
    )
    async with lab.sitting():
        await trio.sleep(5)
        handler = lab.network.handlers[lab.people["a"].address, PAPERS_METHOD]
        with pytest.raises(Exception, match="no seat"):
            await handler(peer_of(REQUESTER.address), encode(notice))
        await lab.wait_over()
    assert lab.hall.vote is not None
    assert lab.hall.vote.part == NAMED


async def test_what_a_side_serves_one_that_comes_late_counts_for_nobody(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """All others were not served the output and have voted; who sits down now is."""
    lab = open_case(tmp_path, make_papers())
    output, late = lab.case.receipt.value.output, lab.people["e"].address
    lab.network.holders[output] = {PROVIDER.address}
    lab.network.withholds = lambda holder, reader, digest: (
        digest == output and (holder != PROVIDER.address or reader != late)
    )
    for side in (REQUESTER, PROVIDER):
        show(lab, side, to("abcde", lab.case.dossier(), None))
    async with lab.sitting("a", "b", "c", "d"):
        await trio.sleep(42)
        async with lab.sitting("e"):
            await lab.wait_over()
    assert lab.hall.vote is not None
    assert lab.hall.vote.finding == Finding.OUTPUT_MISSING
    assert lab.hall.round.opened_seats == ALL


@pytest.mark.parametrize("has_fellows", [True, False])
async def test_who_comes_after_the_time_for_evidence_votes_as_its_fellows_show_or_not_at_all(
    tmp_path: Path, autojump_clock: MockClock, *, has_fellows: bool
) -> None:
    """An absent seat loses a tenth of a stake, one that finds missing what it could not ask for a whole one."""
    lab = open_case(tmp_path, make_papers(output=b"forged"))
    lab.network.holders[lab.case.receipt.value.output] = {PROVIDER.address}
    for side in (REQUESTER, PROVIDER):
        show(lab, side, to("abcde", lab.case.dossier(), None))
    lab.network.is_lost = lambda _source, _target, method: method in (SEALS_METHOD, OPENINGS_METHOD)
    async with lab.sitting(*("abcd" if has_fellows else "a")) as sitting:
        await eventually(lambda: have_voted(sitting.values()))
        await trio.sleep(62 - trio.current_time())
        if not has_fellows:
            lab.network.handlers.clear()
        async with lab.sitting("e"):
            with trio.fail_after(100):
                while len(lab.hall.votes) < (5 if has_fellows else 1):
                    await trio.sleep(0.25)
    assert len(set(lab.hall.votes.values())) == 1
    assert sorted(lab.hall.seals) == ([0, 1, 2, 3, 4] if has_fellows else [0])
