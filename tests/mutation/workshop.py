"""Where mutants are tried: a copy of contracts and suites, built once, whose artifacts get a mutant's code.

forge links the suites dynamically here: a test fetches the code that it deploys from the build, so a mutant costs one
compile of one contract, and no test is compiled anew. The tests' own hashing and packing stay the original's.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from tests.mutation.compiler import HOUSE, ROOT, Project

COPIED: Final = ("contracts", "tests/contracts/forge", "tests/vectors")
BUILD: Final = ".build/forge"
UNITS: Final = ("--no-match-path", "*{Gas,Invariants}*")
INVARIANTS: Final = ("--match-path", "*Invariants*")
STAGES: Final[tuple[tuple[str, tuple[str, str], dict[str, str]], ...]] = (
    ("units", UNITS, {"FOUNDRY_FUZZ_RUNS": "8"}),
    ("invariants, shortly", INVARIANTS, {"FOUNDRY_INVARIANT_RUNS": "2"}),
    ("fuzzing", UNITS, {}),
    ("invariants", INVARIANTS, {}),
)
"""Cheapest first; the last two are what `make test` runs. Suites of gas are left out: a figure isn't a behaviour."""
MOST_S: Final = 400
"""Of one stage, which takes 2 to 20 s. Whoever takes longer runs in circles."""
DEAD_CODE: Final = "0x60fe60005360016000f3"
"""Creates a contract that fails whatever it is called with."""

REMEMBERING_SOLC: Final = """#!/bin/sh
# forge asks for the ABI of every file at each run that filters tests; here the files stay, and so does the answer.
case " $* " in *" --standard-json "*) ;; *) exec {solc} "$@" ;; esac
question=$(mktemp {folder}/asked/XXXXXX)
cat >"$question"
answer={folder}/asked/$(sha256sum <"$question" | cut -c1-64)
[ -e "$answer" ] || {{ {solc} "$@" <"$question" >"$question.answer" && mv "$question.answer" "$answer"; }}
rm -f "$question"
cat "$answer"
"""


class WorkshopBroken(Exception):
    """The suites say nothing here: they fail without a mutant, or pass with a contract that does nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the suites say of a mutant: the first test that failed, or nothing."""

    killer: str | None

    @property
    def survived(self) -> bool:
        """Whether no test failed."""
        return self.killer is None


class Workshop:
    """One copy. Nothing is ever written outside of its folder, so whatever kills us leaves the tree as it was."""

    def __init__(self, folder: Path, project: Project = HOUSE) -> None:
        self._folder = folder = folder.absolute()
        self._project = project
        self._environment = {
            **os.environ,
            "FOUNDRY_PROFILE": "default",
            "FOUNDRY_DYNAMIC_TEST_LINKING": "true",
            "FOUNDRY_SOLC": str(folder / "solc"),
            "FOUNDRY_INVARIANT_SHRINK_RUN_LIMIT": "0",  # nobody reads how a mutant was found out
            "PATH": f"{ROOT / 'node_modules/@foundry-rs/forge-linux-amd64/bin'}:{os.environ['PATH']}",
        }
        self._originals: dict[str, str] = {}
        self._lock: IO[str] | None = None
        self.fingerprint = _fingerprint(project)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.close()

    def open(self, original: Mapping[str, str]) -> None:
        """Copy, build, and make sure that the suites tell good from bad.

        Args:
            original: Code of each deployed contract, from the compiler that compiles the mutants.

        Raises:
            WorkshopBroken: The suites don't pass without a mutant, or don't fail without a contract.
        """
        self._hold()
        pristine = self._folder / "pristine"
        mark = pristine / self.fingerprint
        if not mark.exists():
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True)
            self._copy()
            self._forge("build")
            pristine.mkdir()
            for name in self._project.deployed:
                shutil.copy(self._artifact(name), pristine)
        # A run that was killed may have left a mutant in the build, but not here.
        self._originals = {name: (pristine / f"{name}.json").read_text() for name in self._project.deployed}
        for name in self._project.deployed:
            self._artifact(name).write_text(self._originals[name])
        if mark.exists():
            return
        verdict = self.judge(original)
        if not verdict.survived:
            raise WorkshopBroken(f"a test fails without a mutant: {verdict.killer}. Run `forge test` to see why")
        for name in self._project.deployed:
            if self.judge({name: DEAD_CODE[2:]}).survived:
                raise WorkshopBroken(f"the suites pass with a {name} that does nothing: they don't test what was built")
        mark.touch()

    def judge(self, codes: Mapping[str, str]) -> Verdict:
        """Let the suites run over contracts of this code (hex of the creation code, by name), cheapest first."""
        try:
            for name, code in codes.items():
                self._install(name, code)
            for stage, selection, settings in STAGES:
                killer = self._run(stage, selection, settings)
                if killer is not None:
                    return Verdict(killer=killer)
            return Verdict(killer=None)
        finally:
            for name in codes:
                self._artifact(name).write_text(self._originals[name])

    def _hold(self) -> None:
        """Two runs in one copy would try each other's mutants. The system lets go when the process ends."""
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        self._lock = self._folder.with_suffix(".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkshopBroken(f"another run is at work in {self._folder}: wait for it, or give --folder") from None

    def _copy(self) -> None:
        for part in COPIED:
            shutil.copytree(self._project.root / part, self._folder / part, ignore=shutil.ignore_patterns(".cache"))
        shutil.copy(self._project.root / "foundry.toml", self._folder)
        (self._folder / "asked").mkdir()
        wrapper = self._folder / "solc"
        wrapper.write_text(
            REMEMBERING_SOLC.format(folder=shlex.quote(str(self._folder)), solc=shlex.quote(str(_solc())))
        )
        wrapper.chmod(0o755)
        (self._folder / "node_modules").symlink_to(ROOT / "node_modules", target_is_directory=True)

    def _artifact(self, name: str) -> Path:
        return self._folder / BUILD / f"{name}.sol" / f"{name}.json"

    def _install(self, name: str, code: str) -> None:
        artifact = json.loads(self._originals[name])
        artifact["bytecode"]["object"] = "0x" + code
        self._artifact(name).write_text(json.dumps(artifact))

    def _run(self, stage: str, selection: tuple[str, ...], settings: Mapping[str, str]) -> str | None:
        """The test that failed first, if one did."""
        # A counterexample against one mutant says nothing of the next.
        shutil.rmtree(self._folder / "cache", ignore_errors=True)
        try:
            status, output = self._forge("test", "--fail-fast", *selection, settings=settings)
        except subprocess.TimeoutExpired:
            return f"{stage}: no end in {MOST_S} s"
        if "Compiling" in output:
            raise WorkshopBroken("forge compiled something between two mutants: did the copy change?")
        return _first_failure(output) if status else None

    def _forge(self, *arguments: str, settings: Mapping[str, str] | None = None) -> tuple[int, str]:
        # A session of its own, so that all of it can be ended.
        process = subprocess.Popen(
            ["forge", *arguments],
            cwd=self._folder,
            env={**self._environment, **(settings or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=MOST_S)
        except BaseException:  # whatever ends this, the compiler must not go on without it
            with contextlib.suppress(ProcessLookupError):  # over since
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        if arguments[0] == "build" and process.returncode:
            raise WorkshopBroken(f"the copy doesn't build:\n{output[-2000:]}")
        return process.returncode, output


def _first_failure(output: str) -> str:
    """Contract and test of the first failure that forge reports."""
    suite = ""
    lines = iter(output.splitlines())
    for line in lines:
        if ran := re.match(r"Ran \d+ tests? for \S+:(\S+)$", line):
            suite = ran[1]
        if line.startswith("[FAIL"):
            # The name ends the line; after an invariant's it follows the calls that broke it.
            for said in (line, *lines):
                if name := re.search(r"(?:^|\] |\s)(\w+)\([^)]*\) \((?:gas|runs):", said):
                    return f"{suite}.{name[1]}"
            return f"{suite}, {line}"
    raise WorkshopBroken(f"forge failed without naming a test:\n{output[-2000:]}")


def _fingerprint(project: Project) -> str:
    """Of everything that a build is made of, and of how it is tried."""
    digest = hashlib.sha256(repr((STAGES, project.deployed)).encode())
    for part in (*COPIED, "foundry.toml"):
        place = project.root / part
        for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if file.is_file() and ".cache" not in file.relative_to(project.root).parts:
                digest.update(
                    f"{file.relative_to(project.root)}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\0".encode()
                )
    return digest.hexdigest()


def _solc() -> Path:
    found = sorted((ROOT / ".cache/solcx").glob("solc-v*"))
    if not found:
        raise WorkshopBroken("there is no compiler yet: run `make setup`")
    return found[-1]
