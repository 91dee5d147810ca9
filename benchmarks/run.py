"""All benchmarks, and one table of what they found.

python -m benchmarks.run                      everything (`make bench`), some twelve minutes on two quiet cores
python -m benchmarks.run --only network       one of them; may be repeated
python -m benchmarks.run --quick              few rounds: to see that it works, not to be quoted
python -m benchmarks.run --markdown           and write the table into docs/performance.md
python -m benchmarks.run --json FILE          keep the figures; those of a benchmark that does not run stay

With --json and --only, a table is put together from several runs: each benchmark's figures are those of its last run.
"""

import argparse
import importlib
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import Figure, Goal, Of
from benchmarks.machine import describe_machine
from benchmarks.table import render_goals, render_markdown, render_text

BENCHMARKS: Final = (
    "market",
    "network",
    "vouchers",
    "execution",
    "kernels",
    "journal",
    "auction",
    "connections",
    "watchtower",
)
PAGE: Final = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN: Final = "<!-- figures: written by `make bench-page` -->"
END: Final = "<!-- end of figures -->"


def main() -> None:
    """Run what is asked for, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=BENCHMARKS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    machine = describe_machine()
    groups: dict[str, list[Figure]] = {}
    if chosen.json and chosen.json.exists():
        groups = {name: [load(each) for each in kept] for name, kept in json.loads(chosen.json.read_text()).items()}
    for name in chosen.only or BENCHMARKS:
        began = time.monotonic()
        groups[name] = importlib.import_module(f"benchmarks.{name}").measure(quick=chosen.quick)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        if chosen.json:
            kept = {each: [asdict(figure) for figure in figures] for each, figures in groups.items()}
            chosen.json.write_text(json.dumps(kept, default=lambda of: of.value, indent=1))
    groups = {name: groups[name] for name in BENCHMARKS if name in groups}
    print("\n".join(machine), render_text(groups), render_goals(groups), sep="\n\n")
    if chosen.markdown:
        write_page("\n\n".join((*machine, render_goals(groups) + ".", render_markdown(groups))))


def load(kept: dict[str, Any]) -> Figure:
    """Undo `asdict`."""
    goal = kept.pop("goal")
    return Figure(**kept, goal=None if goal is None else Goal(**(goal | {"of": Of(goal["of"])})))


def write_page(text: str) -> None:
    """Put the figures where docs/performance.md has them."""
    page = PAGE.read_text(encoding="utf-8")
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    assert tail, f"{PAGE.name} has no place for the figures"
    PAGE.write_text(f"{head}{BEGIN}\n\n{text}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
