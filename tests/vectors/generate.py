"""Write the vectors on which Python, Solidity and TypeScript must agree: `python -m tests.vectors.generate`.

Every number is a decimal string and every byte string is 0x and hexadecimal, so no language rounds anything. Field
names are those of the Solidity structs. The keys are test keys: their bytes are keccak256("stoa test key: <name>").
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from protocol.channel.objects import Close, Hold, Voucher
from protocol.dispute.objects import Verdict
from protocol.escrow.objects import Settlement
from protocol.identity import Address, ContentDigest, format_address
from protocol.market.award import AwardTerms, bids_root, build_award, sorted_bid_ids
from protocol.market.objects import AuctionFormat, Offer, RollLeaf, SealedBid
from protocol.market.roll import make_roll, roll_root, sort_leaves
from protocol.market.scoring import Candidate, candidate_of, place, place_standby, rank, remaining_price
from protocol.market.sealing import bid_for, commitment_of, seal
from protocol.signing.ecdsa import address_of
from protocol.signing.eip712 import Domain, digest, domain_separator, encode_words, struct_hash, type_string
from protocol.signing.keccak import Digest, keccak256
from protocol.signing.merkle import leaf_hash
from protocol.signing.signed import sign_struct
from protocol.task.objects import Acceptance, Receipt, Start
from protocol.units import Amount, BasisPoints, Seconds, UnixTime

HERE: Final = Path(__file__).parent
ESCROW: Final = Address(b"\xe5" * 20)
CHANNELS: Final = Address(b"\xc4" * 20)
MARKET: Final = Domain(chain_id=31337, verifying_contract=ESCROW)
PAYMENTS: Final = Domain(chain_id=31337, verifying_contract=CHANNELS)
NOW: Final = 1_800_000_000


def word(name: str) -> Digest:
    """Return 32 bytes that depend on a name only."""
    return keccak256(name.encode())


def key_of(name: str) -> bytes:
    """Return a test key."""
    return word(f"stoa test key: {name}")


def address_for(name: str) -> Address:
    """Return the address of a test key."""
    return address_of(key_of(name))


def make_offer(**changes: Any) -> Offer:
    """Return an offer of alice's."""
    values: dict[str, Any] = {
        "requester": address_for("alice"),
        "token": Address(b"\x70" * 20),
        "rail": ESCROW,
        "arbiter": address_for("judge"),
        "manifest": ContentDigest(word("manifest")),
        "engine": word("engine"),
        "rates": word("rates"),
        "verification": word("verification"),
        "format": AuctionFormat.SEALED_SECOND_PRICE,
        "parts": 3,
        "copies": 1,
        "w_price": BasisPoints(5000),
        "w_reputation": BasisPoints(3000),
        "w_speed": BasisPoints(2000),
        "max_bidders": 16,
        "split_bps": BasisPoints(5000),
        "budget": Amount(25_000_000),
        "bond": Amount(0),
        "min_stake": Amount(0),
        "liability": Amount(5_000_000),
        "dispute_fee": Amount(1_000_000),
        "max_eta": Seconds(600),
        "start_within": Seconds(30),
        "pace": Seconds(3600),
        "resolve_within": Seconds(86_400),
        "commit_by": UnixTime(NOW + 10),
        "reveal_by": UnixTime(NOW + 20),
        "expires": UnixTime(NOW + 3600),
        "salt": word("offer salt"),
    }
    return Offer(**(values | changes))


def spelling(cls: type) -> list[tuple[str, str, str]]:
    """Return (Python name, Solidity name, Solidity type) of each field, in order."""
    inner = type_string(cls).split("(", 1)[1].removesuffix(")")
    solidity = [member.split(" ") for member in inner.split(",")]
    return [(field.name, name, kind) for field, (kind, name) in zip(fields(cls), solidity, strict=True)]


def show(value: Any) -> str:
    """Write a value as any language can read it."""
    if isinstance(value, bytes):
        return format_address(value) if len(value) == 20 else "0x" + value.hex()
    return str(int(value))


def show_fields(value: object) -> dict[str, str]:
    """Write the fields of a struct under their Solidity names."""
    return {name: show(getattr(value, python)) for python, name, _ in spelling(type(value))}


def struct_vector(domain: Domain, signer: str, value: object) -> dict[str, Any]:
    """Describe one signed struct."""
    signed = sign_struct(key_of(signer), domain, value)
    return {
        "type": type_string(type(value)),
        "typeHash": show(keccak256(type_string(type(value)).encode())),
        "domain": "payments" if domain is PAYMENTS else "market",
        "fields": show_fields(value),
        "structHash": show(struct_hash(value)),
        "digest": show(digest(domain, value)),
        "signer": signer,
        "signature": show(signed.signature),
    }


def leaf_vector(value: object) -> dict[str, Any]:
    """Describe a Merkle leaf: `abi.encode` of its fields, hashed twice."""
    return {
        "types": [kind for _, _, kind in spelling(type(value))],
        "fields": show_fields(value),
        "encoded": show(encode_words(value)),
        "leaf": show(leaf_hash(encode_words(value))),
    }


def show_domain(domain: Domain) -> dict[str, str]:
    """Describe a domain."""
    return {
        "name": domain.name,
        "version": domain.version,
        "chainId": str(domain.chain_id),
        "verifyingContract": show(domain.verifying_contract),
        "separator": show(domain_separator(domain)),
    }


def eip712_vectors() -> dict[str, Any]:
    """Return one instance of every struct of docs/spec/objects.md."""
    offer = make_offer()
    offer_id = digest(MARKET, offer)
    sealed = SealedBid(
        offer=offer_id, bidder=address_for("bob"), price=Amount(20_000_000), eta=Seconds(300), salt=word("bid salt")
    )
    commitment = commitment_of(sealed)
    leaf = RollLeaf(commitment=digest(MARKET, commitment), bidder=sealed.bidder, reputation=8_400)
    roll = make_roll(offer_id, (leaf,))
    bid = bid_for(sealed, digest(MARKET, roll))
    terms = AwardTerms(
        roll=bid.roll,
        bids=bids_root(sorted_bid_ids(MARKET, [bid])),
        provider=bid.bidder,
        slot=0,
        attempt=0,
        first_part=0,
        whole_price=offer.budget,
        eta=bid.eta,
    )
    award = build_award(
        offer_id, offer, terms, channel=word("channel"), audit_seal=keccak256(word("secret")), at=UnixTime(NOW + 21)
    )
    award_id = digest(MARKET, award)
    receipt = Receipt(
        award=award_id,
        part=1,
        outcome=0,
        output=ContentDigest(word("output")),
        logs=ContentDigest(word("logs")),
        fuel=2**64 - 1,
        peak_mib=16,
        bytes_in=1_048_576,
        bytes_out=4_096,
        due=Amount(2**128 - 1),
        notes=ContentDigest(word("notes")),
    )
    acceptance = Acceptance(award=award_id, part=1, receipt=digest(MARKET, receipt), due=receipt.due)
    hold = Hold(award=award_id, arbiter=award.arbiter, amount=Amount(award.price + award.dispute_fee))
    voucher = Voucher(
        channel=award.channel,
        sequence=7,
        cumulative=Amount(400_000),
        held=hold.amount,
        holds=leaf_hash(encode_words(hold)),
    )
    verdict = Verdict(
        award=award_id,
        part=1,
        round=0,
        finding=1,
        output=receipt.output,
        fuel=receipt.fuel,
        due=Amount(1),
        severity=BasisPoints(10_000),
    )
    market: list[tuple[str, Any]] = [
        ("alice", offer),
        ("bob", commitment),
        ("alice", roll),
        ("bob", bid),
        ("alice", award),
        ("bob", Start(award=award_id, at=UnixTime(NOW + 40))),
        ("bob", receipt),
        ("alice", acceptance),
        ("judge", verdict),
        ("alice", Settlement(award=award_id, due=Amount(2), settle_by=UnixTime(NOW + 50))),
    ]
    structs = {type(value).__name__: struct_vector(MARKET, signer, value) for signer, value in market}
    close = Close(channel=voucher.channel, cumulative=Amount(3), close_by=UnixTime(NOW + 60))
    payments = {type(value).__name__: struct_vector(PAYMENTS, "alice", value) for value in (voucher, close)}
    return {
        "keys": {
            name: {"privateKey": show(key_of(name)), "address": show(address_for(name))}
            for name in ("alice", "bob", "judge")
        },
        "domains": {"market": show_domain(MARKET), "payments": show_domain(PAYMENTS)},
        "structs": structs | payments,
        "leaves": {"RollLeaf": leaf_vector(leaf), "Hold": leaf_vector(hold)},
        "sealedBid": {
            "fields": show_fields(sealed),
            "encoded": show(encode_words(sealed)),
            "hash": show(seal(sealed)),
        },
    }


Plan = tuple[str, int, int, int]
"""Name, price, eta, reputation."""

PLANS: Final[tuple[Plan, ...]] = (
    ("bob", 20_000_000, 300, 6_000),
    ("carol", 21_000_000, 200, 5_000),
    ("dave", 9_000_001, 599, 1_000),
    ("erin", 25_000_000, 1, 10_000),
)
TIED: Final[tuple[Plan, ...]] = tuple((name, 10_000_000, 60, 5_000) for name in ("bob", "carol", "dave"))

CASES: Final[Mapping[str, tuple[Offer, tuple[Plan, ...]]]] = {
    "second price": (make_offer(), PLANS),
    "first price": (make_offer(format=AuctionFormat.SEALED_FIRST_PRICE), PLANS),
    "two copies": (make_offer(copies=2), PLANS),
    "alone": (make_offer(), PLANS[:1]),
    "tie": (make_offer(), TIED),
    "price alone": (make_offer(w_price=10_000, w_reputation=0, w_speed=0), PLANS),
    "price without weight": (make_offer(w_price=0, w_reputation=5_000, w_speed=5_000), PLANS),
    "smallest budget": (make_offer(budget=1), (("bob", 1, 600, 0), ("carol", 0, 600, 0))),
    "largest budget": (make_offer(budget=2**128 - 1), (("bob", 2**127, 1, 0), ("carol", 2**128 - 1, 600, 10_000))),
}


def auction_vector(offer: Offer, plans: tuple[Plan, ...]) -> dict[str, Any]:
    """Describe one sealed auction from its offer to the award of its first standby."""
    offer_id = digest(MARKET, offer)
    sealed = {
        name: SealedBid(
            offer=offer_id, bidder=address_for(name), price=Amount(price), eta=Seconds(eta), salt=word(f"salt {name}")
        )
        for name, price, eta, _ in plans
    }
    leaves = sort_leaves(
        RollLeaf(
            commitment=digest(MARKET, commitment_of(sealed[name])), bidder=address_for(name), reputation=reputation
        )
        for name, _, _, reputation in plans
    )
    roll = make_roll(offer_id, leaves)
    roll_id = digest(MARKET, roll)
    bids = {name: bid_for(sealed[name], roll_id) for name in sealed}
    reputations = {leaf.bidder: leaf.reputation for leaf in leaves}
    ranked = rank(roll_id, [candidate_of(offer, bid, reputations[bid.bidder]) for bid in bids.values()])
    winners = place(offer, ranked)
    bid_ids = sorted_bid_ids(MARKET, bids.values())
    return {
        "offer": show_fields(offer),
        "offerId": show(offer_id),
        "leaves": [show_fields(leaf) for leaf in leaves],
        "root": show(roll_root(leaves)),
        "roll": show_fields(roll),
        "rollId": show(roll_id),
        "bids": [show_fields(bid) for bid in sorted(bids.values(), key=lambda bid: bid.bidder)],
        "bidIds": [show(bid_id) for bid_id in bid_ids],
        "bidsRoot": show(bids_root(bid_ids)),
        "ranking": [_show_candidate(candidate) for candidate in ranked],
        "winners": [{"bidder": show(winner.candidate.bid.bidder), "price": show(winner.price)} for winner in winners],
        "standby": _standby_vector(offer, ranked),
    }


def _show_candidate(candidate: Candidate) -> dict[str, str]:
    score = candidate.score
    return {
        "bidder": show(candidate.bid.bidder),
        "scorePrice": show(score.price),
        "scoreReputation": show(score.reputation),
        "scoreSpeed": show(score.speed),
        "score": show(score.total),
    }


def _standby_vector(offer: Offer, ranked: tuple[Candidate, ...]) -> dict[str, str] | None:
    """The best bidder fails with one part accepted: who does the rest, at what price."""
    if len(ranked) <= offer.copies:
        return None
    serving = [candidate.bid.bidder for candidate in ranked[1 : offer.copies]]
    placed = place_standby(offer, ranked, failed=[ranked[0].bid.bidder], serving=serving)
    return {
        "failed": show(ranked[0].bid.bidder),
        "bidder": show(placed.candidate.bid.bidder),
        "wholePrice": show(placed.price),
        "priceFromPartOne": show(remaining_price(offer, placed.price, 1)),
    }


def auction_vectors() -> dict[str, Any]:
    """Return sealed auctions with everything that follows from them."""
    return {
        "domain": show_domain(MARKET),
        "cases": {name: auction_vector(offer, plans) for name, (offer, plans) in CASES.items()},
    }


FILES: Final = {"eip712.json": eip712_vectors, "auction.json": auction_vectors}


def render(vectors: Mapping[str, Any]) -> str:
    """Return the text of a vector file."""
    return json.dumps(vectors, indent=2) + "\n"


def main() -> None:
    """Write every file."""
    for name, build in FILES.items():
        (HERE / name).write_text(render(build()), encoding="utf-8")


if __name__ == "__main__":
    main()
