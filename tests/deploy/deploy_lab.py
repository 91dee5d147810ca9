"""What the files under deploy/ say, for tests on them and for tests on the nodes that they speak of."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
BOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))
UNPACKED = ROOT / ".cache" / "prometheus" / "usr" / "bin"
PROMTOOL_TIMEOUT_S = 120
_METRIC = re.compile(r"\b(?:stoa|process)_[a-z0-9_]+")
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
RANGE = {"$__rate_interval": "5m", "$instance": ".*"}
"""What Grafana puts in the place of its variables."""


def find_program(name: str) -> str:
    """Return the path of a program of Prometheus."""
    found = shutil.which(name) or shutil.which(name, path=str(UNPACKED))
    assert found, f"{name} is missing: run `scripts/setup test`"
    return found


def promtool(*arguments: str, cwd: Path = PROMETHEUS) -> subprocess.CompletedProcess[str]:
    """Run promtool to its end."""
    command = [find_program("promtool"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=PROMTOOL_TIMEOUT_S)


def metrics_in(text: str) -> set[str]:
    """Return the names of metrics of a node that a text names, comments left out."""
    return set(_METRIC.findall(_COMMENT.sub("", text)))


def board(path: Path) -> dict[str, Any]:
    """Return a Grafana board."""
    return json.loads(path.read_text())


def queries_of(path: Path) -> list[str]:
    """Return all queries of a board, as Grafana would send them."""
    found: list[str] = []
    for panel in board(path)["panels"]:
        for target in panel.get("targets", []):
            query: str = target["expr"]
            for variable, value in RANGE.items():
                query = query.replace(variable, value)
            found.append(query)
    return found


def metrics_of_deploy() -> set[str]:
    """Return every metric that a rule or a board names."""
    names = metrics_in((PROMETHEUS / "alerts.yml").read_text())
    return names.union(*(metrics_in(query) for path in BOARDS for query in queries_of(path)))
