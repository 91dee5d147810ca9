"""Structs cross the ABI by position, so their fields must stand as the contracts have them."""

import json
from dataclasses import fields
from importlib.resources import files
from typing import Any

import pytest

from node.chain.abi import Abi, UndecodableLog, load_artifact
from node.chain.bench import BenchAccount, Ticket
from node.chain.escrow import EscrowClaim, EscrowRecord
from node.chain.events import snake
from node.chain.payment_channel import ChannelState
from node.chain.reputation import StakeAccount, StakeLeaving, StakeLock
from protocol.channel.objects import ChannelKey, Close, Voucher
from protocol.dispute.case import Round
from protocol.dispute.objects import Verdict, Vote
from protocol.market.objects import Award, Commitment, Offer, Roll
from protocol.task.objects import Acceptance, Receipt, Start

STRUCTS: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        *(Offer, Commitment, Roll, Award, Acceptance, Receipt, Start, Verdict),
        *(Voucher, Close, ChannelKey, ChannelState),
    )
} | {
    "Record": EscrowRecord,
    "ClaimRecord": EscrowClaim,
    "Account": StakeAccount,
    "Leaving": StakeLeaving,
    "Lock": StakeLock,
    "Round": Round,
    "Vote": Vote,
    "Ticket": Ticket,
    "BenchAccount": BenchAccount,
}

RENAMED = {
    ("Start", "started_at"): "at",
    ("Commitment", "seal"): "hash",
    ("Offer", "auction_format"): "format",
}
"""The Solidity member alone has another name; the signed type string says `at` (contracts/libraries/StructHash.sol)."""


NOT_OURS = {
    "Authorization": "the node pays by allowance",
    "Request": "the court's call to its bench",
    "Contracts": "of the constructor",
    "Terms": "likewise",
}


def structs_of(name: str) -> dict[str, list[str]]:
    document: Any = json.loads(files("node.chain").joinpath("artifacts", f"{name}.json").read_text())
    found: dict[str, list[str]] = {}
    for entry in document["abi"]:
        for item in [*entry.get("inputs", []), *entry.get("outputs", [])]:
            if item["type"].startswith("tuple"):
                struct = item["internalType"].removeprefix("struct ").rpartition(".")[2].removesuffix("[]")
                found[struct] = [snake(component["name"]) for component in item["components"]]
    return found


def test_every_struct_has_the_fields_of_the_contract_in_its_order() -> None:
    seen: set[str] = set()
    for contract in ("PaymentChannel", "Escrow", "Reputation", "DisputeArbiter", "Bench"):
        for struct, names in structs_of(contract).items():
            if struct == "Settlement":  # passed as a plain tuple
                assert names == ["award", "due", "settle_by"]
                continue
            if struct == "Quorum":  # likewise
                assert names == ["committee", "header", "seats", "secrets", "signatures", "others"]
                continue
            if struct in NOT_OURS:
                continue
            name = "BenchAccount" if (contract, struct) == ("Bench", "Account") else struct
            ours = [snake(field.metadata.get("solidity", field.name)) for field in fields(STRUCTS[name])]
            theirs = [RENAMED.get((struct, name), name).lower() for name in names]
            assert [name.lower() for name in ours] == theirs, struct
            seen.add(name)
    assert seen == set(STRUCTS)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ("", "no reason given"),
        ("08c379a0" + "20".rjust(64, "0") + "02".rjust(64, "0") + "6e6f".ljust(64, "0"), "Error(reason=no)"),
        ("4e487b71" + "11".rjust(64, "0"), "arithmetic overflow"),
        ("4e487b71" + "77".rjust(64, "0"), "code 119"),
        ("08c379a0" + "ff" * 32, "unknown error 0x08c379a0"),
        ("deadbeef00", "unknown error 0xdeadbeef00"),
        ("f4d678b8"[:6], "unknown error"),
    ],
)
def test_revert_data_of_any_shape_is_named_as_far_as_it_can_be(data: str, shown: str) -> None:
    error = load_artifact("Escrow").abi.decode_error(bytes.fromhex(data))
    assert shown in str(error)
    assert str(error).startswith("Escrow reverted")


def test_a_log_with_an_events_topic_and_another_shape_is_undecodable() -> None:
    abi: Abi = load_artifact("PaymentChannel").abi
    topic = next(item.hash for item in abi.events.values() if item.name == "ExitStarted")
    assert abi.decode_event([], b"") is None
    assert abi.decode_event([bytes(32)], b"") is None
    for topics, data in (
        ([topic], b""),
        ([topic, bytes(32), bytes(32)], b"\x01"),
        ([topic, bytes(32), b"\xff" * 32], bytes(32)),
    ):
        with pytest.raises(UndecodableLog):
            abi.decode_event(topics, data)
