"""Verdicts on auctions, and evidence files that say the same on another machine."""

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.api.evidence import BadEvidence, judge, judge_file
from protocol.market.transcript import Heard, HeardCommitment, Transcript
from protocol.signing.signed import sign_struct
from protocol.units import Amount, UnixTime, format_amount
from tests.node.cli.cli_lab import stoa
from tests.protocol.market.market_world import DOMAIN, NOW, Plan, address, commit, key, make_offer, run_auction

PLANS = {
    "bob": Plan(price=100_000, eta=300, reputation=6000),
    "carol": Plan(price=120_000, eta=200, reputation=5000),
    "dave": Plan(price=300_000, eta=600, reputation=1000),
    "erin": Plan(price=90_000, eta=10, reputation=9000, reveals=False),
}


def a_transcript() -> Transcript:
    return run_auction(make_offer(), PLANS).transcript()


def with_price(transcript: Transcript, change: int) -> Transcript:
    award = transcript.awards[0].value
    changed = replace(award, price=Amount(award.price + change))
    return replace(transcript, awards=(sign_struct(key("alice"), DOMAIN, changed),))


def test_an_honest_auction_holds_and_every_bidder_is_told_why() -> None:
    transcript = a_transcript()
    verdict = judge(DOMAIN, transcript, Heard())
    assert verdict.ok
    assert (verdict.rule, verdict.problem) == ("", "")
    told = {each.bidder: each for each in verdict.bidders}
    assert set(told) == {address(name) for name in PLANS}
    winner = transcript.awards[0].value
    assert [each.bidder for each in verdict.bidders if each.won] == [winner.provider]
    assert format_amount(winner.price) in told[winner.provider].text
    assert "revealed no bid that counts" in told[address("erin")].text
    assert "was needed" in told[address("dave")].text
    assert judge_file(verdict.evidence) == verdict


@pytest.mark.parametrize("change", [-1, 1])
def test_a_wrong_price_breaks_the_rule_on_prices_and_the_file_proves_it(change: int) -> None:
    verdict = judge(DOMAIN, with_price(a_transcript(), change), Heard())
    assert not verdict.ok
    assert verdict.rule == "A4"
    assert "the auction gives" in verdict.problem
    again = judge_file(verdict.evidence)
    assert (again.ok, again.rule, again.problem) == (False, "A4", verdict.problem)


def test_a_signature_of_somebody_else_is_named() -> None:
    transcript = a_transcript()
    forged = replace(transcript, awards=(sign_struct(key("mallory"), DOMAIN, transcript.awards[0].value),))
    verdict = judge(DOMAIN, forged, Heard())
    assert not verdict.ok
    assert verdict.problem


def test_what_this_peer_heard_travels_in_the_file() -> None:
    offer = make_offer()
    transcript = run_auction(offer, PLANS).transcript()
    late = commit(offer, "frank", Plan(price=50_000))
    heard = Heard(commitments={address("frank"): HeardCommitment(signed=late, at=UnixTime(NOW + 1))})
    verdict = judge(DOMAIN, transcript, heard)
    assert verdict.rule == "A6"
    assert judge(DOMAIN, transcript, Heard()).ok
    assert judge_file(verdict.evidence).rule == "A6"


def test_the_summary_for_people_is_not_believed() -> None:
    document: dict[str, Any] = json.loads(judge(DOMAIN, with_price(a_transcript(), 1), Heard()).evidence)
    document |= {"broken_rule": "", "problem": ""}
    assert judge_file(json.dumps(document).encode()).rule == "A4"


def test_no_changed_byte_crashes_or_changes_who_won() -> None:
    honest = judge(DOMAIN, a_transcript(), Heard())
    document: dict[str, Any] = json.loads(honest.evidence)
    body = base64.b64decode(document["body"])
    for position in range(0, len(body), max(1, len(body) // 97)):
        damaged = body[:position] + bytes([body[position] ^ 0x41]) + body[position + 1 :]
        data = json.dumps({**document, "body": base64.b64encode(damaged).decode()}).encode()
        try:
            verdict = judge_file(data)
        except BadEvidence:
            continue
        # A roll that is not full needs no commitments to be shown, so a change in those may pass.
        assert not verdict.ok or (verdict.auction, verdict.bidders) == (honest.auction, honest.bidders)


def test_the_command_verifies_a_file_without_a_node(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_bytes(judge(DOMAIN, a_transcript(), Heard()).evidence)
    bad.write_bytes(judge(DOMAIN, with_price(a_transcript(), 1), Heard()).evidence)
    fine = stoa("auctions", "verify", str(good))
    assert fine.exit_code == 0
    assert "Every rule held" in fine.stdout
    wrong = stoa("auctions", "verify", str(bad), "--json")
    assert wrong.exit_code == 1
    assert json.loads(wrong.stdout)["rule"] == "A4"
