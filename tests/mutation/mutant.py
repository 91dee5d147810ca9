"""What a mutant is: one small change of one source file, named by what it says and not by where it stands."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Replace the bytes `start` to `end` of `file` by `text`. A reader sees it within `unit`: a statement, a header."""

    file: str
    place: str
    """Contract and function, such as `Escrow.claim`; the file's name where code stands alone."""
    operator: str
    unit: tuple[int, int]
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """An edit with a name that stays while the statement does, whatever moves around it."""

    id: str
    edit: Edit
    line: int
    before: str
    after: str

    @property
    def label(self) -> str:
        """What a reader wants to know of it."""
        return f"{self.edit.place}: {_difference(self.before, self.after)}"

    def apply(self, source: bytes) -> bytes:
        """Return the file with the change."""
        return source[: self.edit.start] + self.edit.text.encode() + source[self.edit.end :]


def name_all(edits: list[Edit], sources: dict[str, bytes]) -> list[Mutant]:
    """Give each edit its name. Edits that make the same text of the same statement are one, but the same statement may
    stand twice in a function: then the second is another."""
    mutants: list[Mutant] = []
    seen: dict[tuple[str, ...], list[int]] = {}
    for edit in sorted(edits, key=lambda each: (each.file, each.unit, each.start, each.end, each.text)):
        source = sources[edit.file]
        start, end = edit.unit
        before = _one_line(source[start:end])
        after = _one_line(source[start : edit.start] + edit.text.encode() + source[edit.end : end])
        if before == after:
            continue
        said = (edit.file, edit.place, before, after)
        starts = seen.setdefault(said, [])
        if start in starts:
            continue
        starts.append(start)
        digest = hashlib.sha256("\n".join([*said, str(len(starts))]).encode()).hexdigest()
        line = source[: edit.start].count(b"\n") + 1
        mutants.append(Mutant(id=digest[:10], edit=edit, line=line, before=before, after=after))
    return mutants


def _one_line(text: bytes) -> str:
    return " ".join(text.decode().split())


def _difference(before: str, after: str) -> str:
    """The statement with the change in it: long ones are cut on both sides of what differs."""
    same = 0
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    tail = 0
    while tail < min(len(before), len(after)) - same and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    first, last = max(0, same - 36), max(0, tail - 24)
    return f"`{_cut(before, first, last)}` -> `{_cut(after, first, last) or 'nothing'}`"


def _cut(text: str, first: int, last: int) -> str:
    middle = text[first : len(text) - last]
    if len(middle) > 130:
        middle = f"{middle[:80]} ... {middle[-40:]}"
    return ("..." if first and middle else "") + middle + ("..." if last and middle else "")
