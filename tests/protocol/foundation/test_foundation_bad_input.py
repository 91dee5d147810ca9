"""The page of bad input names only errors, files and tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/spec/bad-input.md").read_text()


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 60
    missing = [f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / "tests" / file).read_text()]
    assert not missing


def test_every_place_that_the_page_names_exists() -> None:
    places = re.findall(r"`((?:node|protocol|contracts)/[\w/]+(?:\.py|\.sol)?)`", PAGE)
    assert len(places) > 30
    assert not [place for place in places if not (ROOT / place).exists()]


def test_every_error_and_outcome_that_the_page_names_exists() -> None:
    names = set(re.findall(r"`([A-Z]\w+)`", PAGE))
    assert len(names) > 25
    sources = "\n".join(path.read_text() for room in ("node", "protocol") for path in (ROOT / room).rglob("*.py"))
    assert not [
        name for name in sorted(names) if not re.search(rf"^class {name}\b|^    {name} = ", sources, re.MULTILINE)
    ]
