"""Commands that pages, advice and warnings tell people to run: each exists, with the options that are named."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from node.cli.lazy import StoaGroup
from node.cli.main import app

ROOT = Path(__file__).resolve().parents[3]
EVERYWHERE = {"--json", "--debug", "--help"}
QUOTED = re.compile(r"`stoa ([^`\n]+)`")
SHOWN = re.compile(r"^(?:\S*/)?stoa ([^#\n|&]+)", re.MULTILINE)
"""A line of a page's code block, with `.venv/bin/` before it or not."""
BEFORE = re.compile(r"^(--(?:config|data-dir|socket) \S+ )+")


def told() -> Iterator[tuple[Path, str]]:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "deploy").rglob("*.md"))]
    for page in pages:
        if "adr" in page.parts:  # decisions tell of their own time
            continue
        text = page.read_text(encoding="utf-8")
        blocks = "\n".join(text.split("```")[1::2])
        yield from ((page, found) for found in (*QUOTED.findall(text), *SHOWN.findall(blocks)))
    for module in sorted((ROOT / "node").rglob("*.py")):
        # A sentence may be broken into literals, and a command with it.
        text = re.sub(r'"\n\s+f?"', "", module.read_text(encoding="utf-8"))
        yield from ((module, found) for found in QUOTED.findall(text))


def problem_of(command: str) -> str:
    """Say what is wrong with a command, or nothing."""
    words = BEFORE.sub("", command).split()
    if not words or words[0].startswith("-") or not re.fullmatch(r"[a-z]+", words[0]):
        return ""  # an option of the root, or a pattern such as `stoa ...`
    branch = StoaGroup.branches.get(words[0])
    if branch is None:
        return f"there is no `stoa {words[0]}`"
    found: Any = get_command(importlib.import_module(branch.module).app)
    rest = words[1:]
    while hasattr(found, "commands") and rest and re.fullmatch(r"[a-z-]+,?", rest[0]) and rest[0][0] != "-":
        name = rest.pop(0).rstrip(",")
        if name not in found.commands:
            return f"`stoa {words[0]}` has no {name}"
        found = found.commands[name]
    options = {option for each in found.params for option in (*each.opts, *each.secondary_opts)} | EVERYWHERE
    named = {word.split("=")[0].rstrip(",.") for word in rest if word.startswith("--")}
    return f"{command!r} has no {', '.join(sorted(named - options))}" if named - options else ""


def test_each_command_that_people_are_told_to_run_is_there() -> None:
    assert app.info is not None  # the root is loaded, and with it the branches
    commands = list(told())
    assert len(commands) > 150
    wrong = [f"{page.relative_to(ROOT)}: {problem}" for page, command in commands if (problem := problem_of(command))]
    assert not wrong, "\n".join(wrong)


def test_a_command_that_is_not_there_is_noticed() -> None:
    assert "no `stoa channel`" in problem_of("channel close")
    assert "has no drain" not in problem_of("provide --drain")
    assert "has no --speed" in problem_of("--config x.toml provide --speed 3")
    assert "has no closes" in problem_of("channels closes 3fa4")
