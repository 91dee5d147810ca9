"""What was said of mutants that no test kills: docs/spec/survivors.toml."""

import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Final

from tests.mutation.compiler import ROOT

ANSWERS: Final = ROOT / "docs/spec/survivors.toml"


class BadAnswer(Exception):
    """An answer without a reason, or two for one mutant."""


def read_answers(path: Path = ANSWERS) -> dict[str, str]:
    """Reason by mutant's id. The first word of a line in `mutants` is the id; the rest tells the reader what it is.

    Raises:
        BadAnswer: See there.
    """
    reasons: dict[str, str] = {}
    for answer in tomllib.loads(path.read_text()).get("answer", []):
        reason: str = answer["reason"].strip()
        for line in answer["mutants"]:
            mutant = line.split()[0]
            if not reason or mutant in reasons:
                raise BadAnswer(f"{path.name}: {mutant} has {'two answers' if reason else 'no reason'}")
            reasons[mutant] = reason
    return reasons


def stale(answers: Collection[str], mutants: Collection[str]) -> list[str]:
    """Answers to mutants that there are not (any more)."""
    return sorted(set(answers) - set(mutants))
