"""Reading the configuration: file, then environment over it, then command-line options over both."""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource

from node.config.lines import KeyPath, find_lines, nearest_line
from node.config.settings import ENV_DELIMITER, ENV_PREFIX, Settings
from protocol.errors import ConfigError

# Names that look like settings and are not: where the file is, and the wallet's password.
RESERVED_VARIABLES: Final = frozenset(
    {
        "STOA_CONFIG",
        "STOA_WALLET_PASSWORD",
        # Of the operator's console (docs/operations/console.md), which may run in the same shell.
        "STOA_DEPLOYMENTS",
        "STOA_SEPOLIA_URI",
        "STOA_POLYGON_URI",
        "STOA_MAINNET_URI",
    }
)
_LONGEST_VALUE: Final = 60

_NOT_WHOLE: Final = "{given} is not a whole number; write one without quotes"
_NOT_NUMBER: Final = "{given} is not a number; write one without quotes"
_NOT_TRUTH: Final = "{given} is neither true nor false"
_NOT_TABLE: Final = "{given} stands where a table belongs; write [{table}] and its settings below it"
_WORDS: Final = {
    "int_type": _NOT_WHOLE,
    "int_parsing": _NOT_WHOLE,
    "int_from_float": _NOT_WHOLE,
    "float_type": _NOT_NUMBER,
    "float_parsing": _NOT_NUMBER,
    "finite_number": _NOT_NUMBER,
    "bool_type": _NOT_TRUTH,
    "bool_parsing": _NOT_TRUTH,
    "string_type": "{given} is not text; put it in quotes",
    "string_too_long": "{given} is too long; write at most {max_length} characters",
    "string_too_short": "{given} is too short; write at least {min_length} characters",
    "string_pattern_mismatch": "{given} has characters that are not allowed here",
    "literal_error": "{given} is not one of the choices; write {expected}",
    "greater_than_equal": "{given} is too small; write at least {ge}",
    "greater_than": "{given} is too small; write more than {gt}",
    "less_than_equal": "{given} is too large; write at most {le}",
    "less_than": "{given} is too large; write less than {lt}",
    "model_type": _NOT_TABLE,
    "model_attributes_type": _NOT_TABLE,
    "dict_type": _NOT_TABLE,
    "tuple_type": "{given} is not a list; write [...]",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One thing to correct.

    Attributes:
        where: File and line, environment variable, or option.
        key: Dotted name of the setting; empty if it is about the whole.
        problem: What is wrong and what to write instead.
    """

    where: str
    key: str
    problem: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.key, self.problem) if part)


class InvalidConfig(ConfigError):
    """The configuration has mistakes; all of them are named."""

    advice = "Correct them and start again. `stoa init` writes a file in which every setting is explained."

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        super().__init__("\n  ".join((f"{count} in the configuration:", *map(str, mistakes))))
        self.mistakes = mistakes


class ConfigMissing(ConfigError):
    """The configuration file that was named isn't there or can't be read."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"can't read the configuration {path}: {reason}", advice="Run `stoa init`, or name another file."
        )


def load_settings(path: Path | None = None, *, options: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings, every value checked.

    Args:
        path: TOML file; none: defaults, environment and options only.
        options: Dotted names with values as TOML would have them; they win over all else.

    Raises:
        ConfigMissing: `path` can't be read.
        InvalidConfig: With all mistakes.
    """
    text, from_file = _read(path)
    from_environment = EnvSettingsSource(Settings)()
    from_options = _nest(options or {})
    finder = _Finder(path, find_lines(text), frozenset(options or {}))
    mistakes = _find_unknown_variables()
    try:
        settings = Settings(**_merge(_merge(from_file, from_environment), from_options))
    except ValidationError as error:
        mistakes += [finder.describe(each) for each in error.errors()]
        raise InvalidConfig(tuple(mistakes)) from error
    if mistakes:
        raise InvalidConfig(tuple(mistakes))
    return settings


class _Finder:
    """Says where a mistake stands and what to write instead."""

    def __init__(self, path: Path | None, lines: Mapping[KeyPath, int], options: frozenset[str]) -> None:
        self._path, self._lines, self._options = path, lines, options
        self._variables = {name.upper(): name for name in os.environ}

    def describe(self, error: ErrorDetails) -> Mistake:
        """Return the mistake of one of pydantic's errors."""
        names = tuple(part for part in error["loc"] if isinstance(part, str))
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).removeprefix(".")
        return Mistake(where=self._where(names), key=key, problem=_explain(error, names))

    def _where(self, names: KeyPath) -> str:
        for length in range(len(names), 0, -1):
            if ".".join(names[:length]) in self._options:
                return f"option {'.'.join(names[:length])}"
            variable = ENV_PREFIX + ENV_DELIMITER.join(names[:length]).upper()
            if variable in self._variables:
                return f"environment variable {self._variables[variable]}"
        inside = ENV_PREFIX + ENV_DELIMITER.join(names).upper() + ENV_DELIMITER
        variables = sorted(name for upper, name in self._variables.items() if upper.startswith(inside))
        if variables and names not in self._lines:
            return f"environment variable {variables[0]}"
        line = nearest_line(self._lines, names)
        if self._path is None:
            return ""
        return f"{self._path}:{line}" if line is not None else str(self._path)


def _explain(error: ErrorDetails, names: KeyPath) -> str:
    match error["type"]:
        case "value_error":  # raised by our own checks, which say it all
            return str(error["ctx"]["error"]) if "ctx" in error else error["msg"]
        case "extra_forbidden":
            return f"there is no such setting{_suggest(names[-1], _siblings(names))}"
        case kind:
            words = _WORDS.get(kind, "{given}: {message}")
            facts = {"given": _quote(error["input"]), "message": error["msg"], "table": ".".join(names)}
            return words.format(**facts, **error.get("ctx", {}))


def _read(path: Path | None) -> tuple[str, dict[str, Any]]:
    if path is None:
        return "", {}
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigMissing(path, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise ConfigMissing(path, "it is not UTF-8 text") from error
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        where = f"{path}:{line[1]}" if line else str(path)
        raise InvalidConfig((Mistake(where=where, key="", problem=f"not valid TOML: {error}"),)) from error


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        before = merged.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            merged[key] = _merge(cast("dict[str, Any]", before), cast("dict[str, Any]", value))
        else:
            merged[key] = value
    return merged


def _nest(options: Mapping[str, Any]) -> dict[str, Any]:
    """Turn `{"a.b": 1}` into `{"a": {"b": 1}}`."""
    nested: dict[str, Any] = {}
    for name, value in options.items():
        for part in reversed(name.split(".")):
            value = {part: value}  # noqa: PLW2901 - built from the inside out
        nested = _merge(nested, value)
    return nested


def _find_unknown_variables() -> list[Mistake]:
    """Pydantic passes over variables of sections that don't exist; a mistyped one must not be lost."""
    mistakes: list[Mistake] = []
    for name in sorted(os.environ):
        section = name.upper().removeprefix(ENV_PREFIX).split(ENV_DELIMITER)[0].lower()
        if (
            name.upper().startswith(ENV_PREFIX)
            and name not in RESERVED_VARIABLES
            and section not in Settings.model_fields
        ):
            problem = f"there is no section {section!r}{_suggest(section, list(Settings.model_fields))}"
            mistakes.append(Mistake(where=f"environment variable {name}", key="", problem=problem))
    return mistakes


def _siblings(names: KeyPath) -> list[str]:
    """Return the names that could stand where the last of `names` stands."""
    model: type[BaseModel] = Settings
    for name in names[:-1]:
        annotation = model.model_fields[name].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


def _suggest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}" if known else ""


def _quote(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
