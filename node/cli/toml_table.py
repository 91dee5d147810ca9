"""A table of a user's file: what is known is taken out of it, every mistake is named with its line."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from node.config.lines import KeyPath, nearest_line

NPM: Final = "npm:"
MAX_TEXT: Final = 256
MAX_ARG: Final = 4096


class Table:
    """One table of the file: takes out what is known, complains about the rest.

    What is wrong is noted in `mistakes` and answered with something of the right kind, so that the reading goes on.
    """

    def __init__(
        self, values: Mapping[str, Any], at: KeyPath, lines: Mapping[KeyPath, int], folder: Path, mistakes: list[str]
    ) -> None:
        self._values, self._at, self._lines = dict(values), at, lines
        self._known: list[str] = []
        self.folder, self.mistakes = folder, mistakes

    def complain(self, key: str, problem: str) -> None:
        """Note a mistake at `key` of this table."""
        names = tuple(name for name in (*self._at, key) if not name.startswith("["))
        line = nearest_line(self._lines, names)
        dotted = ".".join((*self._at, key)).replace(".[", "[")
        self.mistakes.append(f"line {line}: {dotted}: {problem}" if line else f"{dotted}: {problem}")

    def take(self, key: str) -> Any:
        """Return the value of `key` as it is written, None without one; the key is known from now on."""
        self._known.append(key)
        return self._values.pop(key, None)

    def has(self, key: str) -> bool:
        """Tell whether `key` is there and was not taken."""
        return key in self._values

    def require(self, key: str, what: str) -> Any:
        """Take `key`, or complain that it is missing and say `what` to write."""
        value = self.take(key)
        if value is None:
            self.complain(key, f"is missing; {what}")
        return value

    def text(self, key: str, default: str | None = None, *, most: int = MAX_TEXT) -> str:
        """Take a text of at most `most` bytes; one without a default has to be there."""
        value = self.take(key) if default is not None else self.require(key, "write a text in quotes")
        if value is None:
            return default or ""
        return self._checked_text(key, value, most)

    def texts(self, key: str) -> tuple[str, ...]:
        """Take a list of texts; none is an empty one."""
        value = self.take(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            self.complain(key, 'write a list of texts, such as ["--top", "20"]')
            return ()
        return tuple(self._checked_text(key, each, MAX_ARG) for each in cast("list[Any]", value))

    def integer(self, key: str, least: int, most: int, default: int | None = None) -> int:
        """Take a whole number from `least` to `most`; one without a default has to be there."""
        value = self.take(key) if default is not None else self.require(key, "write a whole number")
        if value is None:
            return default or 0
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            self.complain(key, f"{value!r} is not a whole number from {least} to {most}")
            return least
        return value

    def seconds(self, key: str) -> float | None:
        """Take a number of seconds, a tenth to a day."""
        value = self.take(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0.1 <= value <= 86_400:
            self.complain(key, f"{value!r} is not a number of seconds from 0.1 to 86400")
            return None
        return float(value)

    def file(self, key: str) -> Path | None:
        """Take the path of a file that is there."""
        value = self.take(key)
        return None if value is None else self.resolve(key, value)

    def resolve(self, key: str, value: object) -> Path:
        """Return the file that `value` names, which must be there."""
        if not isinstance(value, str) or not value:
            self.complain(key, "write the path of a file in quotes")
            return self.folder
        path = self._find_package_file(key, value) if value.startswith(NPM) else self.folder / value
        if path is None:
            return self.folder
        if not path.is_file():
            self.complain(key, f"there is no file {path}")
        return path

    def table(self, key: str) -> "Table":
        """Take a table; none is an empty one."""
        value = self.take(key)
        if value is not None and not isinstance(value, dict):
            self.complain(key, f"write a table: [{key}], and its keys below")
        values = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
        return Table(values, (*self._at, key), self._lines, self.folder, self.mistakes)

    def tables(self, key: str, most: int) -> list["Table"]:
        """Take a list of at most `most` tables; none is an empty one."""
        value = self.take(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in cast("list[Any]", value)):
            self.complain(key, "write a list of tables")
            return []
        items = cast("list[dict[str, Any]]", value)
        if len(items) > most:
            self.complain(key, f"there are {len(items)}, at most {most} are allowed")
        return [
            Table(each, (*self._at, key, f"[{index}]"), self._lines, self.folder, self.mistakes)
            for index, each in enumerate(items[:most])
        ]

    def finish(self) -> None:
        """Complain about every key that nobody took."""
        for key in self._values:
            close = difflib.get_close_matches(key, self._known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(self._known))}"
            self.complain(key, f"there is no such key; {hint}")

    def _checked_text(self, key: str, value: object, most: int) -> str:
        if not isinstance(value, str):
            self.complain(key, f"{value!r} is no text; write it in quotes")
            return ""
        if len(value.encode()) > most:
            self.complain(key, f"has more than {most} bytes")
        return value

    def _find_package_file(self, key: str, reference: str) -> Path | None:
        relative = reference.removeprefix(NPM)
        starts = (self.folder, *self.folder.parents, Path.cwd(), *Path.cwd().parents)
        for start in starts:
            if (start / "node_modules").is_dir():
                return start / "node_modules" / relative
        self.complain(key, f"no folder node_modules for {relative}; run npm install beside the task or above it")
        return None
