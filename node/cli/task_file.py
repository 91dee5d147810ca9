"""A user's task as a file: `task.toml`, read with all its mistakes named at once (docs/guide/buying.md).

Paths are relative to the file. A part's `args` and `files` are added behind the task's, its `stdin` replaces it.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from node.cli.failures import UsageMistake
from node.cli.policy import PolicySpec, parse_policy
from node.cli.toml_table import MAX_TEXT, Table
from node.config.lines import find_lines
from protocol.errors import ProtocolError
from protocol.identity import ZERO_DIGEST, Address, Digest, parse_address
from protocol.task.manifest import MAX_ARGS, MAX_FILES, MAX_FUEL, MAX_MEMORY_MIB, MAX_PARTS, Limits
from protocol.units import Amount, UnixTime, parse_amount

FILE_NAME: Final = "task.toml"
FORMATS: Final = ("second-price", "first-price", "open")
MAX_ETA_S: Final = 2**32 - 1
_UINT32: Final = 2**32 - 1
_UINT64: Final = 2**64 - 1


class InvalidTaskFile(UsageMistake):
    """A task file has mistakes; all of them are named.

    Attributes:
        mistakes: One line each, with the line of the file.
    """

    advice = "Correct them; docs/guide/buying.md explains every key, and examples/ has whole files."

    def __init__(self, path: Path, mistakes: tuple[str, ...]) -> None:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        super().__init__("\n  ".join((f"{count} in {path}:", *mistakes)))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestFile:
    """A file of this machine, and where the program finds it."""

    path: str
    source: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSpec:
    """One part, as written: `stdin` is None where the task's own counts."""

    args: tuple[str, ...] = ()
    stdin: Path | None = None
    files: tuple[GuestFile, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeSpec:
    """The module that judges the outputs of a task, and what one run of it may have."""

    module: Path
    fuel: int
    memory_mib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferSpec:
    """How to buy it; None where neither the file nor the user says."""

    budget: Amount | None = None
    max_eta_s: int | None = None
    format: str | None = None
    commit_window_s: float | None = None
    reveal_window_s: float | None = None
    weights: tuple[int, int, int] | None = None
    hire: Address | None = None
    verify: PolicySpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFile:
    """A task file without mistakes; every file that it names was there."""

    path: Path
    name: str
    description: str
    module: Path
    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    stdin: Path | None
    output: str
    files: tuple[GuestFile, ...]
    clock: UnixTime
    seed: Digest
    limits: Limits
    parts: tuple[PartSpec, ...]
    test: JudgeSpec | None
    offer: OfferSpec


def load_task_file(path: Path) -> TaskFile:
    """Read a task file, or the one in a folder.

    Raises:
        InvalidTaskFile: With all mistakes.
    """
    path = path / FILE_NAME if path.is_dir() else path
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except OSError as error:
        raise InvalidTaskFile(path, (error.strerror or str(error),)) from error
    except ValueError as error:  # not UTF-8, or not TOML; tomllib names the line
        raise InvalidTaskFile(path, (f"not valid TOML: {error}",)) from error
    mistakes: list[str] = []
    root = Table(document, (), find_lines(text), path.resolve().parent, mistakes)
    task = _read_task(path, root)
    if mistakes or task is None:
        raise InvalidTaskFile(path, tuple(mistakes))
    return task


def _read_task(path: Path, root: Table) -> TaskFile | None:
    name = root.text("name")
    if not name and not root.mistakes:
        root.complain("name", "must not be empty")
    module = root.resolve("module", root.require("module", "name the WASM file"))
    limits = _read_limits(root.table("limits"))
    task = TaskFile(
        path=path,
        name=name,
        description=root.text("description", "", most=4096),
        module=module,
        args=root.texts("args"),
        env=_read_env(root),
        stdin=root.file("stdin"),
        output=_read_output(root),
        files=_read_files(root),
        clock=UnixTime(root.integer("clock", 0, _UINT64, 0)),
        seed=_read_seed(root),
        limits=limits,
        parts=tuple(_read_part(part) for part in root.tables("parts", MAX_PARTS)) or (PartSpec(),),
        test=_read_test(root),
        offer=_read_offer(root.table("offer")),
    )
    root.finish()
    if task.offer.verify == PolicySpec(kind="test") and task.test is None:
        root.complain("test", 'is missing; verify = "test" needs a table [test] with module, fuel and memory_mib')
    for part in task.parts:
        paths = [file.path for file in (*task.files, *part.files)]
        if len(set(paths)) != len(paths):
            root.complain("files", "two files of one part have the same path")
        if len(task.args) + len(part.args) >= MAX_ARGS:
            root.complain("args", f"a part may have {MAX_ARGS - 1} arguments, those of the task included")
    return task


def _read_limits(table: Table) -> Limits:
    limits = Limits(
        fuel=table.integer("fuel", 1, _UINT64),
        memory_mib=table.integer("memory_mib", 1, 4096),
        output_bytes=table.integer("output_bytes", 0, _UINT64),
        log_bytes=table.integer("log_bytes", 0, _UINT32, 65_536),
    )
    table.finish()
    return limits


def _read_test(root: Table) -> JudgeSpec | None:
    if not root.has("test"):
        root.take("test")
        return None
    table = root.table("test")
    test = JudgeSpec(
        module=table.resolve("module", table.require("module", "name the WASM file that judges an output")),
        fuel=table.integer("fuel", 1, MAX_FUEL),
        memory_mib=table.integer("memory_mib", 1, MAX_MEMORY_MIB),
    )
    table.finish()
    return test


def _read_env(root: Table) -> tuple[tuple[str, str], ...]:
    value = root.take("env")
    if value is None:
        return ()
    if not isinstance(value, dict):
        root.complain("env", 'write a table, such as { LANG = "C" }')
        return ()
    pairs = cast("dict[str, Any]", value)
    if any(not isinstance(each, str) for each in pairs.values()):
        root.complain("env", "every value must be a text in quotes")
        return ()
    if len(pairs) > MAX_ARGS or any(len(text.encode()) > MAX_TEXT for pair in pairs.items() for text in pair):
        root.complain("env", f"at most {MAX_ARGS} variables, names and values of at most {MAX_TEXT} bytes")
    return tuple(sorted(pairs.items()))


def _read_output(root: Table) -> str:
    name = root.text("output", "output")
    if not name or "/" in name or name in (".", ".."):
        root.complain("output", f"{name!r} is no plain file name")
    return name


def _read_seed(root: Table) -> Digest:
    value = root.take("seed")
    if value is None:
        return ZERO_DIGEST
    try:
        seed = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        seed = b""
    if len(seed) != len(ZERO_DIGEST):
        root.complain("seed", "write 64 hexadecimal digits in quotes")
        return ZERO_DIGEST
    return Digest(seed)


def _read_files(table: Table) -> tuple[GuestFile, ...]:
    files: list[GuestFile] = []
    for entry in table.tables("files", MAX_FILES):
        path = entry.text("path")
        names = path.split("/")
        if names[0] or len(names) < 2 or any(name in ("", ".", "..") or "\0" in name for name in names[1:]):
            entry.complain("path", f"{path!r} is no absolute path of plain names, like /data/in.csv")
        source = entry.resolve("source", entry.require("source", "name the file on this machine"))
        entry.finish()
        files.append(GuestFile(path=path, source=source))
    return tuple(files)


def _read_part(table: Table) -> PartSpec:
    part = PartSpec(args=table.texts("args"), stdin=table.file("stdin"), files=_read_files(table))
    table.finish()
    return part


def _read_offer(table: Table) -> OfferSpec:
    offer = OfferSpec(
        budget=_read_budget(table),
        max_eta_s=table.integer("max_eta_s", 1, MAX_ETA_S, 0) or None,
        format=_read_format(table),
        commit_window_s=table.seconds("commit_window_s"),
        reveal_window_s=table.seconds("reveal_window_s"),
        weights=_read_weights(table),
        hire=_read_hire(table),
        verify=_read_verify(table),
    )
    table.finish()
    return offer


def _read_budget(table: Table) -> Amount | None:
    value = table.take("budget")
    if value is None:
        return None
    try:
        if isinstance(value, str):
            return parse_amount(value)
    except ProtocolError as error:
        table.complain("budget", str(error))
        return None
    table.complain("budget", f'write dollars in quotes: "{value}"')
    return None


def _read_format(table: Table) -> str | None:
    value = table.take("format")
    if value is not None and value not in FORMATS:
        table.complain("format", f"{value!r} is none of {', '.join(FORMATS)}")
    return value


def _read_weights(table: Table) -> tuple[int, int, int] | None:
    value = table.take("weights")
    if value is None:
        return None
    weights = cast("list[Any]", value) if isinstance(value, list) else []
    whole = all(isinstance(each, int) and not isinstance(each, bool) and each >= 0 for each in weights)
    if len(weights) != 3 or not whole or sum(weights) != 10_000:
        table.complain("weights", "write price, reputation and speed in basis points that add up to 10000")
        return None
    return (weights[0], weights[1], weights[2])


def _read_verify(table: Table) -> PolicySpec | None:
    value = table.take("verify")
    if value is None:
        return None
    try:
        return parse_policy(str(value))
    except UsageMistake as error:
        table.complain("verify", f"{error}. {error.advice}")
        return None


def _read_hire(table: Table) -> Address | None:
    value = table.take("hire")
    if value is None:
        return None
    try:
        return parse_address(str(value))
    except ProtocolError as error:
        table.complain("hire", str(error))
        return None
