"""The contracts' sources, and one compiler that stays warm for all their mutants."""

import json
import shutil
import subprocess
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

ROOT: Final = Path(__file__).parents[2]
DEPLOYED: Final = ("Escrow", "PaymentChannel", "Reputation", "DisputeArbiter", "Guardian")
"""The contracts that a chain is given: `contracts/NAME.sol` holds each."""
CONTRACTS: Final = (*DEPLOYED, "Bench")
"""Those, and the one that the court creates: its code is in the court's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """Contracts with suites: this repository, or a small one in a test."""

    root: Path
    deployed: tuple[str, ...]


HOUSE: Final = Project(root=ROOT, deployed=DEPLOYED)
LEFT_OUT: Final = "contracts/mocks/"
COMPILES_BEFORE_RESTART: Final = 300
"""solc's WebAssembly memory never shrinks."""


class CompilerGone(Exception):
    """The compiler's process ended without an answer: see what it printed."""


class Compiler:
    """Compiles contracts as forge's default profile does, but without a hash of the sources: equal code stays equal."""

    def __init__(self, project: Project = HOUSE) -> None:
        self._project = project
        settings = tomllib.loads((project.root / "foundry.toml").read_text())
        self._profile: dict[str, Any] = settings["profile"]["default"]
        self._process: subprocess.Popen[str] | None = None
        self._compiles = 0
        self.sources: dict[str, bytes] = {}
        """All files that the deployed contracts are made of, libraries of others included."""
        self.trees: dict[str, dict[str, Any]] = {}
        self._imports: dict[str, set[str]] = {}
        self._load([f"contracts/{name}.sol" for name in project.deployed])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the compiler's process."""
        if self._process is not None:
            with self._process as process:
                process.kill()
            self._process = None

    @property
    def ours(self) -> list[str]:
        """The files that are mutated."""
        return sorted(file for file in self.sources if file.startswith("contracts/") and not file.startswith(LEFT_OUT))

    def contracts_with(self, file: str) -> tuple[str, ...]:
        """The deployed contracts whose code the file can change."""
        return tuple(name for name in self._project.deployed if file in self.files_of(name))

    def files_of(self, contract: str) -> frozenset[str]:
        """The files that a contract is made of, those of libraries included."""
        return self._closure(f"contracts/{contract}.sol")

    def bytecode(self, contracts: Iterable[str], changed: Mapping[str, bytes]) -> dict[str, str] | None:
        """Compile `contracts` with some files changed; hex by name. None if it doesn't compile."""
        wanted = tuple(contracts)
        files = set[str]().union(*(self.files_of(name) for name in wanted))
        selection = {f"contracts/{name}.sol": {name: ["evm.bytecode.object"]} for name in wanted}
        answer = self._ask({file: changed.get(file, self.sources[file]) for file in files}, selection)
        if any(error["severity"] == "error" for error in answer.get("errors", [])):
            return None
        built = answer["contracts"]
        return {name: built[f"contracts/{name}.sol"][name]["evm"]["bytecode"]["object"] for name in wanted}

    def parse(self, file: str, source: bytes) -> dict[str, Any]:
        """The typed syntax tree of another version of a file that imports what it did."""
        typed = self._ask({**self.sources, file: source}, {"*": {"": ["ast"]}})
        return typed["sources"][file]["ast"]

    def _load(self, files: list[str]) -> None:
        """Read files and all that they import, and have each parsed."""
        waiting = list(files)
        while waiting:
            while waiting:
                file = waiting.pop()
                if file not in self.sources:
                    self.sources[file] = self._path(file).read_bytes()
            parsed = self._ask(self.sources, {"*": {"": ["ast"]}}, stop_after="parsing")
            for file, source in parsed["sources"].items():
                nodes = source["ast"]["nodes"]
                paths = {_resolve(file, node["file"]) for node in nodes if node["nodeType"] == "ImportDirective"}
                self._imports[file] = paths
                waiting.extend(paths - set(self.sources))
        typed = self._ask(self.sources, {"*": {"": ["ast"]}})
        problems = [error["formattedMessage"] for error in typed.get("errors", []) if error["severity"] == "error"]
        if problems:
            raise ValueError("the contracts don't compile:\n" + "\n".join(problems))
        self.trees = {file: source["ast"] for file, source in typed["sources"].items()}

    def _path(self, file: str) -> Path:
        return self._project.root / ("node_modules" if file.startswith("@") else "") / file

    def _closure(self, file: str) -> frozenset[str]:
        found, waiting = {file}, [file]
        while waiting:
            new = self._imports[waiting.pop()] - found
            found |= new
            waiting.extend(new)
        return frozenset(found)

    def _ask(
        self, sources: Mapping[str, bytes], selection: Mapping[str, object], *, stop_after: str | None = None
    ) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "optimizer": {"enabled": self._profile["optimizer"], "runs": self._profile["optimizer_runs"]},
            "evmVersion": self._profile["evm_version"],
            "viaIR": self._profile["via_ir"],
            "metadata": {"bytecodeHash": "none", "appendCBOR": False},
            "outputSelection": selection,
        }
        if stop_after is not None:
            settings["stopAfter"] = stop_after
        question = {
            "language": "Solidity",
            "sources": {file: {"content": text.decode()} for file, text in sources.items()},
            "settings": settings,
        }
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(question) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            self.close()
            raise CompilerGone(
                "the compiler ended without an answer; run `make setup`, and look at what it printed above"
            )
        return json.loads(answer)

    def _running(self) -> subprocess.Popen[str]:
        self._compiles += 1
        if self._process is not None and self._compiles % COMPILES_BEFORE_RESTART == 0:
            self.close()
        if self._process is None:
            node = shutil.which("node", path=None) or str(ROOT / ".venv/bin/node")
            server = ROOT / "scripts/toolchain/solc-server.js"
            # In a session of its own: a Ctrl-C is for us, and it ends when its input does, even if we are killed.
            self._process = subprocess.Popen(
                [node, str(server), str(ROOT / "node_modules/solc")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        return self._process


def _resolve(importer: str, path: str) -> str:
    """The name by which solc knows an imported file."""
    if not path.startswith("."):
        return path
    parts = importer.split("/")[:-1]
    for part in path.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
