"""What a run found, as a table and as complaints."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from tests.mutation.mutant import Mutant
from tests.mutation.record import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was asked for, what came of it so far, and what was said of it before."""

    sample: Sequence[Mutant]
    outcomes: Mapping[str, Outcome]
    answers: Mapping[str, str]
    stale: Sequence[str]


def show_mutant(mutant: Mutant, outcome: Outcome, console: Console) -> None:
    """One line on a mutant."""
    end = f"  killed by {outcome.killer}" if outcome.killer else ""
    console.print(
        f"{outcome.what:<8} {mutant.id}  {mutant.edit.file}:{mutant.line}  {mutant.label}{end}",
        markup=False,
        soft_wrap=True,
    )


def tell(findings: Findings, console: Console, seconds: float) -> int:
    """Print table and complaints; 1 if there is something to complain of."""
    done = [(mutant, findings.outcomes[mutant.id]) for mutant in findings.sample if mutant.id in findings.outcomes]
    console.print(_table(findings, done))
    survived = sum(outcome.what == "survived" for _, outcome in done)
    killed = sum(outcome.what == "killed" for _, outcome in done)
    if killed + survived:
        share = 100 * killed / (killed + survived)
        console.print(f"{killed} of {killed + survived} killed ({share:.1f} %); {seconds:.0f} s")
    open_questions = [
        (mutant, outcome)
        for mutant, outcome in done
        if outcome.what == "survived" and mutant.id not in findings.answers
    ]
    if open_questions:
        console.print(f"{len(open_questions)} survivors without an answer in docs/spec/survivors.toml:")
        for mutant, outcome in open_questions:
            show_mutant(mutant, outcome, console)
    wrong = [
        mutant for mutant, outcome in done if outcome.what in ("killed", "invalid") and mutant.id in findings.answers
    ]
    for mutant in wrong:
        console.print(f"answered, but it doesn't survive: {mutant.id} {mutant.label}", markup=False, soft_wrap=True)
    if findings.stale:
        console.print(f"answers to mutants that there are not (any more): {' '.join(findings.stale)}", soft_wrap=True)
    return int(bool(open_questions or wrong or findings.stale))


def _table(findings: Findings, done: Sequence[tuple[Mutant, Outcome]]) -> Table:
    table = Table("file", "tried", "killed", "survived", "of them answered", "same code", "invalid", title="mutants")
    rows: dict[str, Counter[str]] = {}
    for mutant, outcome in done:
        for key in (mutant.edit.file.removeprefix("contracts/"), "all"):
            row = rows.setdefault(key, Counter())
            row[outcome.what] += 1
            row["tried"] += 1
            row["answered"] += outcome.what == "survived" and mutant.id in findings.answers
    for name in (*sorted(set(rows) - {"all"}), *(["all"] if rows else [])):
        row = rows[name]
        table.add_row(
            name, *(str(row[key]) for key in ("tried", "killed", "survived", "answered", "same", "invalid"))
        )  # fmt: skip
    return table
