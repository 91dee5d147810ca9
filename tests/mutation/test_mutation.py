"""Mutation testing tried on a purse whose suite watches one limit and not the other."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mutation.compiler import Compiler, Project
from tests.mutation.judge import Judge
from tests.mutation.mutant import Mutant, name_all
from tests.mutation.operators import edits_of
from tests.mutation.record import Outcome, Record
from tests.mutation.survivors import BadAnswer, read_answers, stale
from tests.mutation.workshop import Workshop, WorkshopBroken

PURSE = """// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

contract Purse {
    event Paid(uint256 amount);

    uint256 public left = 100;
    address private immutable owner = msg.sender;

    modifier onlyOwner() {
        if (msg.sender != owner) revert();
        _;
    }

    function pay(uint256 amount) external onlyOwner {
        if (amount == 0 || amount > left) revert();
        left -= amount;
        emit Paid(amount);
    }

    function half() external view returns (uint256 result) {
        uint256 whole = left;
        assembly ("memory-safe") {
            result := shr(1, whole)
        }
    }
}
"""
SUITE = """// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Purse} from "../../../contracts/Purse.sol";

contract PurseTest {
    Purse private purse;

    function setUp() external {
        purse = new Purse();
    }

    function test_it_pays_to_the_last() external {
        purse.pay(100);
        require(purse.left() == 0, "left");
    }

    function test_it_pays_no_more_than_it_has() external {
        (bool paid,) = address(purse).call(abi.encodeCall(Purse.pay, (101)));
        require(!paid, "overdrawn");
    }
}
"""
SETTINGS = """[profile.default]
src = "contracts"
test = "tests/contracts/forge"
script = "tests/contracts/forge"
out = ".build/forge"
cache_path = ".cache/forge"
offline = true
evm_version = "cancun"
optimizer = true
optimizer_runs = 1000
via_ir = false
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("purse")
    for file, text in {
        "contracts/Purse.sol": PURSE,
        "tests/contracts/forge/Purse.t.sol": SUITE,
        "tests/vectors/none.json": "{}",
        "foundry.toml": SETTINGS,
    }.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)
    return Project(root=root, deployed=("Purse",))


@pytest.fixture(scope="module")
def compiler(project: Project) -> Iterator[Compiler]:
    with Compiler(project) as running:
        yield running


def mutants_of(compiler: Compiler, source: str = PURSE) -> dict[str, Mutant]:
    """By operator and text after the change."""
    file = "contracts/Purse.sol"
    encoded = source.encode()
    tree = compiler.trees[file] if source == PURSE else compiler.parse(file, encoded)
    mutants = name_all(edits_of(file, tree, encoded), {file: encoded})
    return {f"{mutant.edit.operator}: {mutant.after}": mutant for mutant in mutants}


def test_each_kind_of_slip_is_made(compiler: Compiler) -> None:
    made = set(mutants_of(compiler))
    assert made >= {
        "comparison: if (amount == 0 || amount >= left",
        "comparison: if (amount != 0 || amount > left",
        "logic: if (amount == 0 && amount > left",
        "operand: if (amount > left",
        "negation: if (!(amount == 0 || amount > left)",
        "constant: if (amount == 1 || amount > left",
        "constant: uint256 public left = 99",
        "assignment: left += amount",
        "statement: {}",
        "guard: {}",
        "modifier: function pay(uint256 amount) external",
        "unchecked: unchecked { left -= amount; }",
        "arithmetic: result := shl(1, whole)",
        "constant: result := shr(2, whole)",
    }


def test_a_name_stays_while_the_statement_does(compiler: Compiler) -> None:
    before = mutants_of(compiler)
    moved = PURSE.replace("contract Purse {", "// moved\ncontract Purse {").replace("emit Paid(amount);", "")
    after = mutants_of(compiler, moved)
    kept = "comparison: if (amount == 0 || amount >= left"
    assert after[kept].id == before[kept].id
    assert after[kept].line == before[kept].line + 1
    twice = PURSE.replace("left -= amount;", "left -= amount;\n        left -= amount;")
    file, encoded = "contracts/Purse.sol", twice.encode()
    same = name_all(edits_of(file, compiler.parse(file, encoded), encoded), {file: encoded})
    added = [mutant.id for mutant in same if mutant.after == "left += amount"]
    assert len(added) == len(set(added)) == 2
    assert added[0] == before["assignment: left += amount"].id


def test_what_no_test_looks_at_survives_and_the_rest_is_killed(
    project: Project, compiler: Compiler, tmp_path: Path
) -> None:
    mutants = mutants_of(compiler)
    folder = tmp_path / "workshop"
    with Workshop(folder, project) as workshop, Workshop(folder, project) as second:
        record = Record(tmp_path / "outcomes.jsonl", workshop.fingerprint)
        judge = Judge(project, compiler, workshop, record)
        judge.prepare()
        limit = judge.outcome(mutants["comparison: if (amount == 0 || amount >= left"])
        assert (limit.what, limit.killer) == ("killed", "PurseTest.test_it_pays_to_the_last")
        assert judge.outcome(mutants["constant: if (amount == 1 || amount > left"]).what == "survived"
        assert judge.outcome(mutants["modifier: function pay(uint256 amount) external"]).what == "survived"
        with pytest.raises(WorkshopBroken, match="another run"):
            second.open({})
    assert (project.root / "contracts/Purse.sol").read_text() == PURSE
    again = Record(tmp_path / "outcomes.jsonl", workshop.fingerprint)
    assert again.known.keys() == record.known.keys()


def test_a_record_forgets_under_another_fingerprint_what_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.jsonl"
    record = Record(path, "one")
    record.add(Outcome(mutant="a", what="killed", killer="T.t"))
    record.add(Outcome(mutant="b", what="survived"))
    with path.open("a") as file:
        file.write('["one", "c", "ki')  # killed while it wrote
    assert Record(path, "one").known.keys() == {"a", "b"}
    other = Record(path, "two")
    assert (other.known, other.survived_before) == ({}, {"b"})


def test_an_answer_has_a_reason_and_is_given_once(tmp_path: Path) -> None:
    path = tmp_path / "survivors.toml"
    path.write_text('[[answer]]\nreason = "Nobody can tell."\nmutants = ["aa  Purse.pay: x", "bb"]\n')
    answers = read_answers(path)
    assert answers == {"aa": "Nobody can tell.", "bb": "Nobody can tell."}
    assert stale(answers, {"aa"}) == ["bb"]
    path.write_text('[[answer]]\nreason = " "\nmutants = ["aa"]\n')
    with pytest.raises(BadAnswer, match="aa has no reason"):
        read_answers(path)
    path.write_text('[[answer]]\nreason = "One."\nmutants = ["aa", "aa"]\n')
    with pytest.raises(BadAnswer, match="aa has two answers"):
        read_answers(path)
