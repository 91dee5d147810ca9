#!/usr/bin/env python3
"""Write what the node needs of the contracts to node/chain/artifacts/, so that it runs without Ape or a compiler.

    python scripts/toolchain/export_abi.py            compile (4 s) and write the artifacts that changed
    python scripts/toolchain/export_abi.py --check    compile nothing; exit 1 if the artifacts aren't of these sources

An artifact holds the ABI, the creation code and the *code hash*: the keccak of the runtime code with every immutable
set to zero. Two deployments of one contract differ only in immutables and in the metadata that a compiler appends, so
the rule for checking the code at an address is (docs/spec/contracts.md, section 7):

    code = eth_getCode(address)[: runtimeLength], each (start, length) of immutables zeroed; keccak(code) == codeHash
"""

import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from eth_utils.crypto import keccak

ROOT = Path(__file__).resolve().parents[2]
SOLC = ROOT / ".cache/solcx/solc-v0.8.37"
ARTIFACTS = ROOT / "node/chain/artifacts"
SOURCES = {
    "Bench": "contracts/Bench.sol",
    "DisputeArbiter": "contracts/DisputeArbiter.sol",
    "Escrow": "contracts/Escrow.sol",
    "Guardian": "contracts/Guardian.sol",
    "PaymentChannel": "contracts/PaymentChannel.sol",
    "Reputation": "contracts/Reputation.sol",
    "TestToken": "contracts/mocks/TestToken.sol",
}
# Equal to foundry.toml and ape-config.yaml, but for the metadata: it would name source paths in the code.
SETTINGS: dict[str, Any] = {
    "evmVersion": "cancun",
    "optimizer": {"enabled": True, "runs": 1_000},
    "viaIR": True,
    "metadata": {"bytecodeHash": "none", "appendCBOR": False},
    "remappings": ["@openzeppelin/=node_modules/@openzeppelin/"],
    "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object", "evm.deployedBytecode"]}},
}


def fingerprint() -> str:
    """Name the sources, the settings and the library version that the artifacts come from."""
    digest = hashlib.sha256(json.dumps(SETTINGS, sort_keys=True).encode())
    package = json.loads((ROOT / "package.json").read_text())["devDependencies"]
    digest.update(f"solc {package['solc']} openzeppelin {package['@openzeppelin/contracts']}".encode())
    for path in sorted((ROOT / "contracts").rglob("*.sol")):
        name = path.relative_to(ROOT).as_posix()
        if "/.cache/" in name:  # where Ape lays the libraries while it compiles
            continue
        if not name.startswith("contracts/mocks/") or name in SOURCES.values():
            digest.update(f"\n{name}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def compile_sources() -> dict[str, Any]:
    """Compile `SOURCES` with solc's standard JSON and return its output by source file and contract.

    Raises:
        SystemExit: The compiler is missing or reports an error.
    """
    if not SOLC.exists():
        sys.exit(f"export_abi: {SOLC.relative_to(ROOT)} is missing; run scripts/toolchain/install-solc")
    sources = {path: {"content": (ROOT / path).read_text()} for path in SOURCES.values()}
    request = json.dumps({"language": "Solidity", "sources": sources, "settings": SETTINGS})
    answer = subprocess.run(  # noqa: S603  our own compiler wrapper, at a fixed path
        [str(SOLC), "--standard-json"], input=request, capture_output=True, text=True, cwd=ROOT, check=True
    )
    output = json.loads(answer.stdout)
    if errors := [e["formattedMessage"] for e in output.get("errors", ()) if e["severity"] == "error"]:
        sys.exit("export_abi: the contracts don't compile\n" + "\n".join(errors))
    return output["contracts"]


def artifact(name: str, contract: dict[str, Any], sources: str) -> dict[str, Any]:
    """Turn the compiler's output for one contract into what the node reads."""
    deployed = contract["evm"]["deployedBytecode"]
    code = bytearray.fromhex(deployed["object"])
    spans = sorted(
        (span["start"], span["length"]) for spans in deployed["immutableReferences"].values() for span in spans
    )
    for start, length in spans:
        code[start : start + length] = bytes(length)
    return {
        "name": name,
        "sources": sources,
        "codeHash": "0x" + keccak(bytes(code)).hex(),
        "runtimeLength": len(code),
        "immutables": spans,
        "abi": contract["abi"],
        "bytecode": "0x" + contract["evm"]["bytecode"]["object"],
    }


def render(value: dict[str, Any]) -> str:
    """One line per field and per ABI entry: a change of the interface then shows as a change of its line."""
    lines = [f' "{key}": {json.dumps(item)},' for key, item in value.items() if key not in ("abi", "bytecode")]
    entries = ",\n".join("  " + json.dumps(entry, separators=(",", ":")) for entry in value["abi"])
    return "{\n" + "\n".join(lines) + f'\n "abi": [\n{entries}\n ],\n "bytecode": "{value["bytecode"]}"\n}}\n'


def is_current(sources: str) -> bool:
    """Tell whether every artifact is there and comes from these sources."""
    for name in SOURCES:
        path = ARTIFACTS / f"{name}.json"
        if not path.exists() or json.loads(path.read_text())["sources"] != sources:
            print(f"{path.relative_to(ROOT)} is stale or missing; run scripts/toolchain/export_abi.py")
            return False
    return True


def main() -> int:
    """Write the artifacts, or check them with --check."""
    parser = argparse.ArgumentParser(description="Export ABI and bytecode of the contracts to node/chain/artifacts/.")
    parser.add_argument("--check", action="store_true", help="only tell whether the artifacts are current")
    arguments = parser.parse_args()
    sources = fingerprint()
    if arguments.check:
        return 0 if is_current(sources) else 1

    output = compile_sources()
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    for name, source in SOURCES.items():
        path = ARTIFACTS / f"{name}.json"
        text = render(artifact(name, output[source][name], sources))
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
