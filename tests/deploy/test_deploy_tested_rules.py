"""The page that says which test notices an untrue rule: none is left out, and each test exists."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SPEC = ROOT / "docs/spec"
RULE = re.compile(r"^- ([A-Z]+\d+) ", re.MULTILINE)
ROW = re.compile(r"^\| ([A-Z]+\d+) \| (.+) \|$", re.MULTILINE)
TEST = re.compile(r"\b(?:function|def) ((?:test|testFuzz|invariant|check)_\w+)")
PARTIES = {"ST12", "ST13", "ST14", "P10", "P11", "P12", "P13", "P14"}
"""What parties must do: no contract can."""
LATER = {"K14", "K15", "K16"}
"""What a contract leaves to another: rules of their own there."""


def rules() -> set[str]:
    law = (SPEC / "law.md").read_text()
    contracts, arbiters = law.split("## 4. ", maxsplit=1)[0], law.split("## 6. ")[1].split("## 7. ")[0]
    return set(RULE.findall(contracts + arbiters + (SPEC / "contracts.md").read_text()))


def rows() -> dict[str, list[str]]:
    return {rule: re.findall(r"`(\w+)`", tests) for rule, tests in ROW.findall((SPEC / "tested.md").read_text())}


def test_each_rule_of_the_contracts_has_a_line() -> None:
    assert len(rules()) > 90
    assert set(rows()) == rules() - PARTIES - LATER


def test_each_test_that_is_named_exists() -> None:
    found: set[str] = set()
    for folder in ("tests/contracts", "tests/node/arbitration"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".sol", ".py"):
                found |= set(
                    re.findall(r"\b(?:function|def) ((?:test|testFuzz|invariant|check)_\w+)", path.read_text())
                )
    for rule, tests in rows().items():
        assert tests, rule
        assert set(tests) <= found, f"{rule}: {sorted(set(tests) - found)}"
