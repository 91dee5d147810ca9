"""One mutant's way: compile, compare with the original, let the suites run."""

import hashlib
import time

from tests.mutation.compiler import Compiler, Project
from tests.mutation.mutant import Mutant
from tests.mutation.record import Outcome, Record
from tests.mutation.workshop import Workshop


class Judge:
    """Judges mutants one after another. The same code is judged once, whichever mutants make it."""

    def __init__(self, project: Project, compiler: Compiler, workshop: Workshop, record: Record) -> None:
        self._project = project
        self._compiler = compiler
        self._workshop = workshop
        self._record = record
        self._original: dict[str, str] = {}
        self._by_code: dict[str, Outcome] = {}

    def prepare(self) -> None:
        """Build the copy, if it isn't there."""
        original = self._compiler.bytecode(self._project.deployed, {})
        assert original is not None  # the compiler has parsed and typed it
        self._original = original
        self._workshop.open(original)

    def outcome(self, mutant: Mutant) -> Outcome:
        """What came of it, now or before."""
        known = self._record.known.get(mutant.id)
        if known is None:
            known = self._try(mutant)
            self._record.add(known)
        return known

    def _try(self, mutant: Mutant) -> Outcome:
        began = time.monotonic()
        file = mutant.edit.file
        changed = {file: mutant.apply(self._compiler.sources[file])}
        codes = self._compiler.bytecode(self._compiler.contracts_with(file), changed)
        if codes is None:
            return Outcome(mutant=mutant.id, what="invalid", seconds=time.monotonic() - began)
        codes = {name: code for name, code in codes.items() if code != self._original[name]}
        if not codes:
            return Outcome(mutant=mutant.id, what="same", seconds=time.monotonic() - began)
        digest = hashlib.sha256("".join(f"{name}{codes[name]}" for name in sorted(codes)).encode()).hexdigest()
        twin = self._by_code.get(digest)
        if twin is None:
            verdict = self._workshop.judge(codes)
            what = "survived" if verdict.survived else "killed"
            twin = Outcome(mutant=mutant.id, what=what, killer=verdict.killer or "", seconds=time.monotonic() - began)
            self._by_code[digest] = twin
        return Outcome(mutant=mutant.id, what=twin.what, killer=twin.killer, seconds=time.monotonic() - began)
