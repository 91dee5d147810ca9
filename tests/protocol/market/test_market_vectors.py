"""The shared vectors: up to date, and in agreement with an EIP-712 implementation that is not ours."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak

from tests.vectors.generate import FILES, render

VECTORS = Path(__file__).parents[2] / "vectors"


def load(name: str) -> dict[str, Any]:
    return json.loads((VECTORS / name).read_text())


@pytest.mark.parametrize("name", FILES)
def test_the_vector_file_is_what_the_generator_writes(name: str) -> None:
    assert (VECTORS / name).read_text() == render(FILES[name]()), "run python -m tests.vectors.generate"


@pytest.mark.parametrize("name", load("eip712.json")["structs"])
def test_eth_account_finds_the_same_digest_and_signature(name: str) -> None:
    vectors = load("eip712.json")
    struct = vectors["structs"][name]
    domain = vectors["domains"][struct["domain"]]
    members = [member.split(" ") for member in struct["type"].split("(")[1].rstrip(")").split(",")]
    message = {
        field: int(struct["fields"][field]) if kind.startswith("uint") else struct["fields"][field]
        for kind, field in members
    }
    signable = encode_typed_data(
        domain_data={
            "name": domain["name"],
            "version": domain["version"],
            "chainId": int(domain["chainId"]),
            "verifyingContract": domain["verifyingContract"],
        },
        message_types={name: [{"name": field, "type": kind} for kind, field in members]},
        message_data=message,
    )
    assert "0x" + signable.body.hex() == struct["structHash"]
    assert "0x" + signable.header.hex() == domain["separator"]
    digest = keccak(b"\x19\x01" + signable.header + signable.body)
    assert "0x" + digest.hex() == struct["digest"]
    key = vectors["keys"][struct["signer"]]
    signed = cast("Any", Account).sign_message(signable, key["privateKey"])
    assert "0x" + bytes(signed.signature).hex() == struct["signature"]
    assert cast("Any", Account).recover_message(signable, signature=struct["signature"]) == key["address"]


def test_every_auction_in_the_vectors_is_recomputed_from_its_fields_alone() -> None:
    for name, case in load("auction.json")["cases"].items():
        offer = {field: value if value.startswith("0x") else int(value) for field, value in case["offer"].items()}
        reputations = {leaf["bidder"]: int(leaf["reputation"]) for leaf in case["leaves"]}
        scores = {
            bid["bidder"]: offer["wPrice"] * 10**6 * (offer["budget"] - int(bid["price"])) // offer["budget"]
            + offer["wReputation"] * 10**6 * reputations[bid["bidder"]] // 10_000
            + offer["wSpeed"] * 10**6 * (offer["maxEta"] - int(bid["eta"])) // offer["maxEta"]
            for bid in case["bids"]
        }
        salts = b"".join(sorted(bytes.fromhex(bid["salt"][2:]) for bid in case["bids"]))
        roll = bytes.fromhex(case["rollId"][2:])

        def lot(bidder: str, before: bytes = roll + salts) -> bytes:
            return keccak(before + bytes(12) + bytes.fromhex(bidder[2:]))

        # In these cases either all bids tie or none do.
        order = sorted(scores, key=lambda bidder: (-scores[bidder], lot(bidder)))
        assert [entry["bidder"] for entry in case["ranking"]] == order, name
        assert [int(entry["score"]) for entry in case["ranking"]] == [scores[bidder] for bidder in order]
        assert [winner["bidder"] for winner in case["winners"]] == order[: offer["copies"]]
