"""Rules, boards and units are checked by the programs that read them, and against each other."""

import itertools
import json
import re
import shutil
from pathlib import Path

import pytest

from node.app.telemetry.instruments import Instruments
from node.config.load import load_settings
from tests.deploy.deploy_lab import BOARDS, PROMETHEUS, ROOT, board, metrics_in, metrics_of_deploy, promtool, queries_of

ALERTS = re.findall(r"^ +- alert: (\w+)$", (PROMETHEUS / "alerts.yml").read_text(), re.MULTILINE)
UNIT = ROOT / "deploy" / "systemd" / "stoa.service"
MONITORING = ROOT / "docs" / "operations" / "monitoring.md"


def test_rules_and_configuration_are_what_prometheus_reads() -> None:
    for arguments in (("check", "rules", "alerts.yml"), ("check", "config", "prometheus.yml")):
        ran = promtool(*arguments)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    assert len(ALERTS) == len(set(ALERTS)) >= 25


def test_each_alert_fires_when_it_should_and_not_before() -> None:
    ran = promtool("test", "rules", "alerts_test.yml")
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_no_alert_is_without_its_test_and_its_words() -> None:
    tests = re.split(r"^  - name: ", (PROMETHEUS / "alerts_test.yml").read_text(), flags=re.MULTILINE)[1:]
    assert [text.partition("\n")[0] for text in tests] == ALERTS
    rules = re.split(r"^ +- alert: ", (PROMETHEUS / "alerts.yml").read_text(), flags=re.MULTILINE)[1:]
    for name, rule, test in zip(ALERTS, rules, tests, strict=True):
        assert re.search(rf'ALERTS{{alertname="{name}", alertstate="firing", .*instance="sick"', test), name
        assert 'instance="well"' in test, name
        assert "exp_samples: []" in test or "for: " not in rule, f"{name}: not shown that it waits"
        assert re.search(r"severity: (critical|warning)", rule), name
        assert re.search(r'summary: ".+"\n +action: ".+"', rule), name
        assert f"`{name}`" in MONITORING.read_text(), f"{name} is not in the manual"


def test_a_wrong_threshold_is_caught_by_the_alerts_tests(tmp_path: Path) -> None:
    copy = shutil.copytree(PROMETHEUS, tmp_path / "p")
    rules = copy / "alerts.yml"
    rules.write_text(rules.read_text().replace("stoa_peers == 0", "stoa_peers == 1"))
    assert promtool("test", "rules", "alerts_test.yml", cwd=copy).returncode != 0


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_query_of_a_board_is_promql(path: Path, tmp_path: Path) -> None:
    queries = queries_of(path)
    rules = [{"record": f"board:query{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "board", "rules": rules}]}))
    ran = promtool("check", "rules", "rules.yml", cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{len(queries)} rules found" in ran.stdout
    assert len(queries) > 15


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_the_panels_of_a_board_have_names_and_do_not_overlap(path: Path) -> None:
    panels = board(path)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["title"] and (panel["type"] == "row" or panel["description"]) for panel in panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in itertools.combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)
    assert len({board(each)["uid"] for each in BOARDS}) == len(BOARDS)


def test_the_manual_explains_every_metric_that_is_counted_or_named() -> None:
    counted = {family.name for family in Instruments().registry.collect() if family.name.startswith("stoa_")}
    told = metrics_in(MONITORING.read_text())
    bare = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in told}
    assert counted <= bare
    assert {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in metrics_of_deploy()} <= bare


def test_the_services_environment_is_settings_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    text = UNIT.read_text()
    for name, value in re.findall(r"^Environment=(\w+)=(.*)$", text, re.MULTILINE):
        monkeypatch.setenv(name, value.replace("%d", "/run/credentials/stoa"))
    settings = load_settings()
    assert settings.node.data_dir == Path("/var/lib/stoa")
    assert settings.wallet.password_file == Path("/run/credentials/stoa/wallet-password")
    assert "MemoryDenyWriteExecute=" not in text  # the engine compiles
    assert "LoadCredential=wallet-password:" in text
