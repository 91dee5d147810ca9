"""Change the contracts one place at a time, and see whether a test notices: `python -m tests.mutation.run`.

A mutant is one small change: `<=` for `<`, a check that is gone, a modifier left out. If every suite of forge still
passes, the mutant survives, and no test looks at what was changed. Kill it with a test, or say in
docs/spec/survivors.toml why nobody can tell it from the original. The run fails on a survivor without an answer, and on
an answer without a mutant.

    python -m tests.mutation.run                            a sample of 300, by a seed of its own, which it prints
    python -m tests.mutation.run --seed 7 --sample 50       the same fifty as last time
    python -m tests.mutation.run --contract Escrow --sample 0   all of Escrow and of what it is made of
    python -m tests.mutation.run --only 05d01f84a1 --story  one, with its change and the test that killed it
    python -m tests.mutation.run --again                    those that survived when they were last judged
    python -m tests.mutation.run --list --contract Bench    what would be made, without trying it

It works in a copy, .cache/mutants; the tree is never written to. What was judged is kept there, so after Ctrl-C the
same command goes on. About 3 seconds a mutant, 15 a survivor; the first two minutes build the copy.
"""

import argparse
import hashlib
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.mutation.compiler import CONTRACTS, HOUSE, ROOT, Compiler
from tests.mutation.judge import Judge
from tests.mutation.mutant import Mutant, name_all
from tests.mutation.operators import OPERATORS, edits_of
from tests.mutation.record import Record
from tests.mutation.report import Findings, show_mutant, tell
from tests.mutation.survivors import read_answers, stale
from tests.mutation.workshop import Workshop

SAMPLE = 300


def main(arguments: Sequence[str]) -> int:
    """Run, print, and return 0 if each survivor has its answer and each answer its mutant."""
    chosen = _parse(arguments)
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, _leave)
    folder: Path = chosen.folder
    with Compiler() as compiler, Workshop(folder / "workshop") as workshop:
        mutants = all_mutants(compiler)
        answers = read_answers()
        record = Record(folder / "outcomes.jsonl", workshop.fingerprint)
        sample = _choose(mutants, chosen, compiler, record, set(answers))
        if chosen.list:
            for mutant in sample:
                console.print(f"{mutant.id}  {mutant.edit.operator:<11} {mutant.label}", markup=False, soft_wrap=True)
            return 0
        console.print(f"mutants: {len(sample)} of {len(mutants)}, seed {chosen.seed}", soft_wrap=True)
        findings = Findings(
            sample=sample, outcomes=record.known, answers=answers, stale=stale(answers, {each.id for each in mutants})
        )
        began = time.monotonic()
        try:
            _try_all(Judge(HOUSE, compiler, workshop, record), sample, console, story=chosen.story)
        except KeyboardInterrupt:
            tell(findings, console, time.monotonic() - began)
            console.print("broken off: the same command with this seed goes on")
            return 130
        return tell(findings, console, time.monotonic() - began)


def all_mutants(compiler: Compiler) -> list[Mutant]:
    """Every mutant of every file, in the order of files and lines."""
    edits = [edit for file in compiler.ours for edit in edits_of(file, compiler.trees[file], compiler.sources[file])]
    return name_all(edits, compiler.sources)


def _try_all(judge: Judge, sample: Sequence[Mutant], console: Console, *, story: bool) -> None:
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("building the copy", total=len(sample))
        judge.prepare()
        for mutant in sample:
            progress.update(task, description=f"{mutant.edit.place} {mutant.edit.operator}")
            outcome = judge.outcome(mutant)
            progress.advance(task)
            if story or outcome.what == "survived":
                show_mutant(mutant, outcome, console)


def _choose(
    mutants: list[Mutant], chosen: argparse.Namespace, compiler: Compiler, record: Record, answered: set[str]
) -> list[Mutant]:
    """Those that the command line asks for."""
    if chosen.only:
        return [mutant for mutant in mutants if mutant.id in chosen.only]
    if chosen.again:
        return [mutant for mutant in mutants if mutant.id in record.survived_before | answered]
    wanted = [
        mutant
        for mutant in mutants
        if (chosen.contract is None or mutant.edit.file in compiler.files_of(chosen.contract))
        and (chosen.operator is None or chosen.operator == mutant.edit.operator)
    ]
    if chosen.sample == 0:
        return wanted
    return sorted(wanted, key=lambda mutant: _lot(chosen.seed, mutant))[: chosen.sample]


def _lot(seed: int, mutant: Mutant) -> str:
    """Its own for each mutant: changed code changes its own part of a sample, and leaves the rest alone."""
    return hashlib.sha256(f"{seed} {mutant.id}".encode()).hexdigest()


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    teaching = "operators:\n" + "\n".join(f"  {name:<11} {what}" for name, what in OPERATORS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation.run",
        description=__doc__,
        epilog=teaching,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(10**6), help="of the sample; by default a new one"
    )
    parser.add_argument("--sample", type=int, default=SAMPLE, help=f"how many; 0 for all (default {SAMPLE})")
    parser.add_argument("--contract", choices=CONTRACTS, help="only of the files that this contract is made of")
    parser.add_argument("--operator", choices=list(OPERATORS), help="only of this kind")
    parser.add_argument("--only", nargs="+", metavar="ID", help="these mutants")
    parser.add_argument("--again", action="store_true", help="those that survived before, or have an answer")
    parser.add_argument("--list", action="store_true", help="print the mutants and try none")
    parser.add_argument("--story", action="store_true", help="tell of each mutant what came of it")
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache/mutants", help="of the copy and the outcomes")
    return parser.parse_args(arguments)


def _leave(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
