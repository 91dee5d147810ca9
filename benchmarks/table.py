"""One table of all figures, for a terminal or for docs/performance.md."""

from collections.abc import Mapping, Sequence

from benchmarks.figures import Figure

COLUMNS = ("figure", "unit", "median", "p95", "beside", "ratio", "goal", "met")


def number(value: float | None) -> str:
    """Return three significant figures; thousands in full."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 1 else f"{value:.2g}"


def row(figure: Figure) -> tuple[str, ...]:
    """Return the cells of a figure."""
    beside = "" if figure.beside is None else f"{number(figure.beside)} {figure.peer}"
    met = {None: "", True: "yes", False: "NO"}[figure.is_met]
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    goal = "" if figure.goal is None else str(figure.goal)
    return (figure.name, figure.unit, number(figure.value), number(figure.p95), beside, ratio, goal, met)


def render_text(groups: Mapping[str, Sequence[Figure]]) -> str:
    """Return the table in columns."""
    rows = [COLUMNS, *(row(figure) for figures in groups.values() for figure in figures)]
    widths = [max(len(line[index]) for line in rows) for index in range(len(COLUMNS))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if 2 <= index <= 3 or index == 5 else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(padded).rstrip()

    return "\n".join(map(line, rows))


def render_markdown(groups: Mapping[str, Sequence[Figure]]) -> str:
    """Return a table for each benchmark."""
    parts: list[str] = []
    for name, figures in groups.items():
        parts += [f"### {name}", "", f"| {' | '.join(COLUMNS)} |", "|---|---|--:|--:|---|--:|---|---|"]
        parts += [f"| {' | '.join(row(figure))} |" for figure in figures]
        parts.append("")
    return "\n".join(parts)


def render_goals(groups: Mapping[str, Sequence[Figure]]) -> str:
    """Say how many goals are met, and name those that are not."""
    judged = [figure for figures in groups.values() for figure in figures if figure.goal is not None]
    missed = [figure.name.strip() for figure in judged if not figure.is_met]
    said = f"{len(judged) - len(missed)} of {len(judged)} goals met"
    return said + (": not " + "; not ".join(missed) if missed else "")
