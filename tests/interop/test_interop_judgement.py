"""The stranger's codec, signatures, trees and verdicts against ours, on the same bytes, without a network between."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from protocol.errors import ProtocolError
from protocol.identity import ZERO_DIGEST, Address
from protocol.market.auction_events import BidderFailed, ProviderChosen
from protocol.market.auction_states import Decided
from protocol.market.award import bids_root, sorted_bid_ids
from protocol.market.objects import AuctionFormat, Award
from protocol.market.roll import make_roll
from protocol.market.scoring import remaining_price
from protocol.market.transcript import Transcript, verify_transcript
from protocol.node_record import peer_id_of
from protocol.signing.signed import Signed, sign_struct
from protocol.units import Amount, UnixTime
from protocol.wire.codec import encode
from tests.interop.stranger import ask_checker
from tests.protocol.market.market_world import DOMAIN, Plan, Requester, address, key, make_offer, run_auction

VECTORS = Path(__file__).parents[1] / "vectors"
AUCTIONS = 32
WEIGHTS = ((5000, 3000, 2000), (10_000, 0, 0), (0, 10_000, 0), (0, 0, 10_000), (1, 9_998, 1), (3334, 3333, 3333))
BUDGETS = (1, 2, 10**6, 2**64 + 1, 2**128 - 1)


def make_auction(chance: random.Random) -> Requester:
    """Run an auction with up to seven bidders, at the edges of all figures, and let some winners fail."""
    kind = chance.choice(list(AuctionFormat))
    weights = chance.choice(WEIGHTS)
    copies = 1 if kind == AuctionFormat.DIRECT else chance.choice((1, 1, 2, 3))
    budget = chance.choice(BUDGETS)
    offer = make_offer(
        format=kind,
        copies=copies,
        parts=chance.choice((1, 3)),
        w_price=weights[0],
        w_reputation=weights[1],
        w_speed=weights[2],
        budget=Amount(budget),
        max_bidders=chance.choice((copies + 3, 16)),
    )
    if kind == AuctionFormat.DIRECT:
        return _hire(offer)
    prices = sorted({0, budget // 2, max(0, budget - 1), budget})
    names = [f"bidder {number}" for number in range(chance.randint(copies, 7))]
    plans = {
        name: Plan(
            price=chance.choice(prices),
            eta=chance.choice((1, 2, 300, 600)),
            reputation=chance.choice((0, 5000, 5000, 10_000)),
            reveals=place < copies or chance.random() < 0.8,
        )
        for place, name in enumerate(names)
    }
    requester = run_auction(offer, plans)
    for _ in range(chance.randint(0, 3)):
        if isinstance(requester.state, Decided) and requester.state.assignments:
            requester.now += 1
            failed = chance.choice(requester.state.assignments).terms
            next_part = chance.randint(failed.first_part, offer.parts - 1)
            requester.apply(
                BidderFailed(at=UnixTime(requester.now), slot=failed.slot, attempt=failed.attempt, next_part=next_part)
            )
    return requester


def _hire(offer: Any) -> Requester:
    requester = Requester(offer, now=offer.reveal_by + 1)
    requester.apply(
        ProviderChosen(at=UnixTime(requester.now), provider=address("hired"), price=offer.budget, eta=offer.max_eta)
    )
    return requester


def lies(honest: Transcript, chance: random.Random) -> Iterator[tuple[str, Transcript]]:
    """Change a transcript as its requester could: whatever is changed is signed again."""
    index = chance.randrange(len(honest.awards))
    award = honest.awards[index].value
    changes: dict[str, dict[str, Any]] = {
        "a price one higher": {"price": Amount(min(award.price + 1, 2**128 - 1))},
        "a price one lower": {"price": Amount(max(award.price - 1, 0))},
        "another winner": {"provider": chance.choice([*(bid.value.bidder for bid in honest.bids), address("nobody")])},
        "another arbiter": {"arbiter": Address(b"\7" * 20)},
        "a later delivery": {"deliver_by": UnixTime(award.deliver_by + 1)},
        "an earlier start": {"start_by": UnixTime(award.start_by - 1), "deliver_by": UnixTime(award.deliver_by - 1)},
        "an award before the reveals": {
            "start_by": UnixTime(honest.offer.value.reveal_by + honest.offer.value.start_within),
            "deliver_by": UnixTime(honest.offer.value.reveal_by + honest.offer.value.start_within + 1),
        },
        "another attempt": {"attempt": award.attempt + 1},
        "another slot": {"slot": award.slot + 1},
        "parts left out": {"first_part": award.first_part + 1, "parts": award.parts - 1},
        "no roll": {"roll": ZERO_DIGEST},
        "another channel": {"channel": ZERO_DIGEST},
    }
    for what, fields in changes.items():
        yield what, _with_award(honest, index, replace(award, **fields))
    yield "no award", replace(honest, awards=())
    yield "an award twice", replace(honest, awards=(*honest.awards, honest.awards[index]))
    yield "an award missing", replace(honest, awards=honest.awards[1:])
    if honest.bids:
        fewer = honest.bids[1:]
        yield "a bid left out", replace(honest, bids=fewer)
        ids = sorted_bid_ids(DOMAIN, [signed.value for signed in fewer])
        yield (
            "a bid left out under a root without it",
            replace(_with_award(honest, index, replace(award, bids=bids_root(ids))), bids=fewer),
        )
        yield "a bid twice", replace(honest, bids=(*honest.bids, honest.bids[0]))
        yield "the bids in another order", replace(honest, bids=honest.bids[::-1])
        yield "the commitments left out", replace(honest, commitments=())
    if honest.roll is not None and honest.leaves:
        leaves = (replace(honest.leaves[0], reputation=10_001), *honest.leaves[1:])
        roll = sign_struct(key("alice"), DOMAIN, make_roll(honest.roll.value.offer, leaves))
        yield "a reputation above the whole", replace(honest, leaves=leaves, roll=roll)
        yield "leaves in another order", replace(honest, leaves=honest.leaves[::-1])


def steps_back(requester: Requester, honest: Transcript) -> Iterator[tuple[str, Transcript]]:
    """Let a standby begin before whom it follows, in parts or in time, with everything else as it must be."""
    assert isinstance(requester.state, Decided)
    offer = honest.offer.value
    for assignment in requester.state.assignments:
        terms = assignment.terms
        index = next(
            (at for at, each in enumerate(honest.awards) if each.value == assignment.award and terms.attempt > 0), None
        )
        if index is None:
            continue
        award = honest.awards[index].value
        early = UnixTime(offer.reveal_by + offer.start_within + 1)
        sooner = replace(award, start_by=early, deliver_by=UnixTime(early + terms.eta))
        yield "a standby that starts as early as can be", _with_award(honest, index, sooner)
        if award.first_part > 0:
            first = award.first_part - 1
            price = remaining_price(offer, terms.whole_price, first)
            wider = replace(award, first_part=first, parts=award.parts + 1, price=price)
            yield "a standby that begins a part earlier", _with_award(honest, index, wider)


def _with_award(honest: Transcript, index: int, award: Award) -> Transcript:
    awards: list[Signed[Award]] = list(honest.awards)
    awards[index] = sign_struct(key("alice"), DOMAIN, award)
    return replace(honest, awards=tuple(awards))


def our_verdict(transcript: Transcript) -> dict[str, Any] | None:
    """What this implementation finds, as the checker spells it; None if a rule is broken."""
    try:
        verified = verify_transcript(DOMAIN, transcript)
    except ProtocolError:
        return None
    return {
        "ranked": [[each.bid.bidder.hex(), str(each.score.total)] for each in verified.ranked],
        "awards": [[award.provider.hex(), str(award.price)] for award in verified.awards],
        "silent": [bidder.hex() for bidder in verified.silent],
    }


def test_both_implementations_give_the_same_verdict_on_honest_and_forged_transcripts() -> None:
    chance = random.Random(1321)
    cases: list[tuple[str, Transcript]] = []
    for _ in range(AUCTIONS):
        requester = make_auction(chance)
        if requester.awards:
            honest = requester.transcript()
            cases += [("honest", honest), *lies(honest, chance)]
            if isinstance(requester.state, Decided):
                cases += steps_back(requester, honest)
    ours = [our_verdict(transcript) for _, transcript in cases]
    where = {"chainId": DOMAIN.chain_id, "contract": DOMAIN.verifying_contract.hex()}
    theirs = ask_checker([{"transcript": encode(transcript).hex(), **where} for _, transcript in cases])
    for number, ((what, _), our, their) in enumerate(zip(cases, ours, theirs, strict=True)):
        assert their.get("ok") == our, f"case {number}, {what}: {their}"
    honest_ones = [verdict for (what, _), verdict in zip(cases, ours, strict=True) if what == "honest"]
    assert len(honest_ones) > AUCTIONS // 2
    assert all(honest_ones)
    assert ours.count(None) > len(cases) // 2, "most forgeries are found"


def test_the_shared_vectors_hold_in_the_strangers_client() -> None:
    vectors = json.loads((VECTORS / "eip712.json").read_text())
    questions: list[dict[str, Any]] = []
    for name, struct in vectors["structs"].items():
        domain, party = vectors["domains"][struct["domain"]], vectors["keys"][struct["signer"]]
        questions.append(
            {
                "sign": name,
                "chainId": int(domain["chainId"]),
                "contract": domain["verifyingContract"][2:].lower(),
                "key": party["privateKey"][2:],
                "signer": party["address"][2:].lower(),
                "fields": struct["fields"],
            }
        )
    answers = ask_checker(questions)
    for (name, struct), answer in zip(vectors["structs"].items(), answers, strict=True):
        expected = {"digest": struct["digest"][2:], "signature": struct["signature"][2:]}
        assert answer == {"ok": expected}, name


@pytest.mark.parametrize("size", [2**20 + 1, 2 * 2**20, 3 * 2**20 + 1023])
def test_the_strangers_tree_of_groups_gives_the_blake3_of_the_whole(size: int) -> None:
    data = random.Random(size).randbytes(size)
    (answer,) = ask_checker([{"groups": data.hex()}])
    assert answer["ok"]["root"] == blake3(data).hexdigest()


def test_both_spell_a_peer_id_alike() -> None:
    keys = [bytes([number]) * 32 for number in (1, 127, 255)]
    answers = ask_checker([{"peer": each.hex()} for each in keys])
    assert [answer["ok"]["peer"] for answer in answers] == [peer_id_of(each) for each in keys]
