"""What came of mutants before, so that a run which was broken off goes on, and none is judged twice."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`killed`, `survived`, `invalid` (it doesn't compile) or `same` (it compiles to the original's code)."""

    mutant: str
    what: str
    killer: str = ""
    seconds: float = 0.0


class Record:
    """Outcomes under one fingerprint of contracts and suites; those under others say only what to look at again."""

    def __init__(self, path: Path, fingerprint: str) -> None:
        self._path = path
        self._fingerprint = fingerprint
        self.known: dict[str, Outcome] = {}
        self.survived_before: set[str] = set()
        """Those that survived when last judged, under whatever fingerprint."""
        for line in path.read_text().splitlines() if path.exists() else []:
            self._read(line)

    def add(self, outcome: Outcome) -> None:
        """Keep an outcome, at once."""
        self.known[outcome.mutant] = outcome
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            row = [self._fingerprint, outcome.mutant, outcome.what, outcome.killer, round(outcome.seconds, 2)]
            file.write(json.dumps(row) + "\n")

    def _read(self, line: str) -> None:
        try:
            fingerprint, mutant, what, killer, seconds = json.loads(line)
        except ValueError:
            return  # the last line of a run that was killed
        self.survived_before.discard(mutant)
        if what == "survived":
            self.survived_before.add(mutant)
        if fingerprint == self._fingerprint:
            self.known[mutant] = Outcome(mutant=mutant, what=what, killer=killer, seconds=seconds)
