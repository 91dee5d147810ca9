"""The compiler wrapper and the export of artifacts (scripts/toolchain/)."""

import json
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SOLC = ROOT / ".cache/solcx/solc-v0.8.37"
SOURCE = "// SPDX-License-Identifier: MIT\npragma solidity 0.8.37;\nimport {B} from 'lib/B.sol';\ncontract A is B {}\n"
IMPORTED = "// SPDX-License-Identifier: MIT\npragma solidity 0.8.37;\ncontract B { uint256 public b = 7; }\n"


def solc(*arguments: str, text: str = "", cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(SOLC), *arguments], input=text, capture_output=True, text=True, check=False, cwd=cwd)


def test_installing_the_compiler_again_does_nothing() -> None:
    before = SOLC.stat().st_mtime_ns
    answer = subprocess.run([str(ROOT / "scripts/toolchain/install-solc")], capture_output=True, text=True, check=True)
    assert (answer.stdout, SOLC.stat().st_mtime_ns) == ("", before)


def test_the_wrapper_says_its_version_as_solc_does() -> None:
    first, second = solc("--version").stdout.splitlines()
    assert first == "solc, the solidity compiler commandline interface"
    assert second.startswith("Version: 0.8.37+commit.")


def test_the_wrapper_reads_sources_by_url_and_imports_by_remapping(tmp_path: Path) -> None:
    (tmp_path / "vendored").mkdir()
    (tmp_path / "vendored/B.sol").write_text(IMPORTED)
    (tmp_path / "A.sol").write_text(SOURCE)
    request: dict[str, Any] = {
        "language": "Solidity",
        "sources": {"A.sol": {"urls": ["A.sol"]}},
        "settings": {"remappings": ["lib/=vendored/"], "outputSelection": {"*": {"*": ["abi"]}}},
    }

    answer = solc("--standard-json", "--base-path", str(tmp_path), text=json.dumps(request))

    output = json.loads(answer.stdout)
    assert [entry["name"] for entry in output["contracts"]["A.sol"]["A"]["abi"]] == ["b"]


def test_the_wrapper_reports_errors_as_solc_does(tmp_path: Path) -> None:
    bad = json.loads(solc("--standard-json", text="{").stdout)
    assert bad["errors"][0]["type"] == "JSONError"
    (tmp_path / "A.sol").write_text(SOURCE)
    missing = solc("--combined-json", "abi", "A.sol", cwd=tmp_path)
    assert missing.returncode == 1
    assert "lib/B.sol" in missing.stderr
    unknown = solc("--gas")
    assert unknown.returncode == 2
    assert "this wrapper has no --gas" in unknown.stderr


def test_a_changed_source_or_compiler_makes_the_artifacts_stale(tmp_path: Path) -> None:
    fingerprint = runpy.run_path(str(ROOT / "scripts/toolchain/export_abi.py"))["fingerprint"]
    shutil.copytree(ROOT / "contracts", tmp_path / "contracts")
    shutil.copy(ROOT / "package.json", tmp_path)
    here = fingerprint()
    fingerprint.__globals__["ROOT"] = tmp_path
    assert fingerprint() == here

    (tmp_path / "contracts/mocks/HostileTokens.sol").write_text("// not the node's business")
    assert fingerprint() == here
    library = tmp_path / "contracts/libraries/StructHash.sol"
    library.write_text(library.read_text().replace("Stoa", "Agora"))
    changed = fingerprint()
    assert changed != here
    package = tmp_path / "package.json"
    package.write_text(package.read_text().replace("0.8.37", "0.8.38"))
    assert fingerprint() not in (here, changed)
