"""What the node has of the contracts is what these sources compile to, and Python and Solidity hash alike."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from contracts_desk import Desk, words

from protocol.channel.objects import Close, Hold, Voucher
from protocol.identity import Digest, parse_address
from protocol.signing.eip712 import digest, encode_words, struct_hash
from protocol.signing.keccak import keccak256
from protocol.signing.merkle import leaf_hash, merkle_proof, merkle_root
from protocol.units import Amount, UnixTime

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("Escrow", "PaymentChannel", "TestToken")
OTHERS = ("Reputation", "DisputeArbiter", "Bench", "Guardian")
STRUCTS = ("Award", "Start", "Receipt", "Acceptance", "Voucher", "Close", "Settlement", "Verdict")


def code_hash(code: bytes, artifact: dict[str, Any]) -> str:
    """The rule of docs/spec/contracts.md, section 7."""
    masked = bytearray(code[: artifact["runtimeLength"]])
    for start, length in artifact["immutables"]:
        masked[start : start + length] = bytes(length)
    return "0x" + bytes(keccak256(bytes(masked))).hex()


@pytest.mark.parametrize("name", NAMES)
def test_the_code_hash_of_an_artifact_is_that_of_a_deployment(desk: Desk, name: str) -> None:
    artifact = json.loads((ROOT / f"node/chain/artifacts/{name}.json").read_text())
    contract = {"Escrow": desk.escrow, "PaymentChannel": desk.channels, "TestToken": desk.token}[name]
    code = bytes(desk.chain.provider.get_code(contract.address))
    assert code_hash(code, artifact) == artifact["codeHash"]
    flipped = bytes([code[100] ^ 1])
    assert code_hash(code[:100] + flipped + code[101:], artifact) != artifact["codeHash"]


@pytest.mark.parametrize("name", [*NAMES, *OTHERS])
def test_an_artifact_has_the_interface_that_ape_compiles(project: Any, name: str) -> None:
    artifact = json.loads((ROOT / f"node/chain/artifacts/{name}.json").read_text())
    compiled = json.loads(project.contracts[name].model_dump_json())["abi"]
    assert sorted(map(canonical, artifact["abi"])) == sorted(map(canonical, compiled))
    assert len(artifact["bytecode"]) // 2 < 49_152  # EIP-3860
    assert artifact["runtimeLength"] < 24_576  # EIP-170


def canonical(entry: dict[str, Any]) -> tuple[str, str, tuple[str, ...]]:
    """Kind, name and input types: enough to tell two entries of an ABI apart."""
    inputs = tuple(item["type"] for item in entry.get("inputs") or ())
    return entry["type"], entry.get("name") or "", inputs


def test_the_artifacts_belong_to_the_sources() -> None:
    script = ROOT / "scripts/toolchain/export_abi.py"
    answer = subprocess.run(  # our own script
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout


# ------------------------------------------------------------------------------------------------------- hashes


@pytest.fixture(scope="module")
def harness(desk: Desk, project: Any) -> Any:
    return desk.guardian.account.deploy(project.StructHashHarness)


def test_python_and_solidity_agree_on_every_struct(desk: Desk, harness: Any) -> None:
    award = desk.award(first_part=2**32 - 1, slot=2**16 - 1, attempt=1, liability=Amount(2**128 - 1))
    voucher = Voucher(
        channel=Digest(b"\xff" * 32),
        sequence=2**64 - 1,
        cumulative=Amount(2**128 - 1),
        held=Amount(0),
        holds=award.bids,
    )
    close = Close(channel=voucher.channel, cumulative=Amount(1), close_by=UnixTime(2**64 - 1))
    cases = {
        harness.hashAward: award,
        harness.hashStart: desk.start(award),
        harness.hashReceipt: desk.receipt(award, 2**32 - 1, 2**128 - 1),
        harness.hashAcceptance: desk.acceptance(award, 0, 0),
        harness.hashVoucher: voucher,
        harness.hashClose: close,
    }
    for call, value in cases.items():
        assert bytes(call(words(value))) == struct_hash(value), type(value).__name__
    market = harness.digest(desk.chain.chain_id, desk.escrow, struct_hash(award))
    assert bytes(market) == digest(desk.market, award)


def test_a_merkle_proof_of_python_convinces_solidity(desk: Desk, harness: Any) -> None:
    arbiter = parse_address(desk.arbiter.account.address)
    for count in (1, 2, 3, 5, 8):
        holds = [Hold(award=keccak256(bytes([i])), arbiter=arbiter, amount=Amount(i)) for i in range(count)]
        leaves = [leaf_hash(encode_words(hold)) for hold in holds]
        root = merkle_root(leaves)
        for index, hold in enumerate(holds):
            assert bytes(harness.holdLeaf(*words(hold))) == leaves[index]
            assert harness.verifyHold(merkle_proof(leaves, index), root, leaves[index])
        assert not harness.verifyHold(merkle_proof(leaves, 0), root, leaf_hash(b"another"))


@pytest.mark.parametrize(
    "name",
    [
        "Offer",
        "Commitment",
        "Roll",
        "Award",
        "Start",
        "Receipt",
        "Acceptance",
        "Voucher",
        "Close",
        "Settlement",
        "Verdict",
    ],
)
def test_the_vectors_of_the_protocol_hold_in_solidity(harness: Any, name: str) -> None:
    vectors = json.loads((ROOT / "tests/vectors/eip712.json").read_text())
    vector = vectors["structs"][name]
    fields = tuple(value if value.startswith("0x") else int(value) for value in vector["fields"].values())
    domain = vectors["domains"][vector["domain"]]

    structure = getattr(harness, f"hash{name}")(fields)

    assert "0x" + bytes(structure).hex() == vector["structHash"]
    whole = harness.digest(int(domain["chainId"]), domain["verifyingContract"], structure)
    assert "0x" + bytes(whole).hex() == vector["digest"]
