"""A network that is watched: real Prometheus, a real collector of spans, the doctor beside a running node."""

import http.server
import json
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from node.chain.rpc import open_rpc
from node.cli.failures import ExitCode
from node.devnet.layout import NodePlace
from tests.deploy.deploy_lab import BOARDS, PROMETHEUS, find_program, metrics_of_deploy, queries_of
from tests.system.system_lab import EXAMPLES, Lab, run_lab

PATIENCE_S = 90.0
POLL_S = 0.2


class Collector(http.server.ThreadingHTTPServer):
    """Takes spans as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[tuple[str, dict[str, Any]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1/traces"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        for resource in body["resourceSpans"]:
            node = {each["key"]: each["value"]["stringValue"] for each in resource["resource"]["attributes"]}
            for scope in resource["scopeSpans"]:
                self.server.spans += [(node["service.instance.id"], span) for span in scope["spans"]]
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Lab]:
    overrides = {"operations.metrics_listen": "127.0.0.1:0", "operations.traces_endpoint": collector.url}
    with run_lab(tmp_path_factory.mktemp("net", numbered=True) / "d", providers=2, overrides=overrides) as lab:
        yield lab


def address_of(place: NodePlace) -> str:
    """Return where a node tells its metrics, since its last start."""
    lines = [json.loads(line) for line in place.log.read_text().splitlines() if '"metrics.listening"' in line]
    return f"127.0.0.1:{lines[-1]['port']}"


def get(url: str) -> tuple[int, str]:
    with urllib.request.urlopen(url, timeout=30) as response:
        return response.status, response.read().decode()


def sample(place: NodePlace, name: str, **labels: str) -> float:
    """Return a metric's value, added up over the labels that are not named."""
    _, text = get(f"http://{address_of(place)}/metrics")
    return sum(
        each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
        if each.name == name and labels.items() <= each.labels.items()
    )


async def until(what: str, is_true: Callable[[], bool]) -> None:
    with trio.move_on_after(PATIENCE_S):
        while not await trio.to_thread.run_sync(is_true):
            await trio.sleep(POLL_S)
        return
    raise AssertionError(f"after {PATIENCE_S:g} s not yet: {what}")


async def test_what_both_sides_count_is_what_was_traded(lab: Lab) -> None:
    before = {place.name: counts(place) for place in lab.devnet.places}

    def since(place: NodePlace) -> dict[str, float]:
        return {name: value - before[place.name][name] for name, value in counts(place).items()}

    task = await lab.submit(EXAMPLES / "word-statistics")
    detail = await lab.wait_ended(task)
    seller = lab.place_of(detail.task.provider)
    (loser,) = [place for place in lab.devnet.providers if place is not seller]
    await until("the provider is paid", lambda: since(seller)["delivered"] == 1)
    nothing = dict.fromkeys(before[seller.name], 0.0)
    paid = float(detail.task.spent)
    assert paid > 0
    assert since(lab.requester) == nothing | {"done": 1, "paid": paid}
    assert since(seller) == nothing | {"sealed": 1, "won": 1, "delivered": 1, "earned": paid}
    assert since(loser) == nothing | {"sealed": 1}
    assert sample(seller, "stoa_unclaimed_base_units") >= paid
    assert sample(seller, "stoa_fuel_total") > 0
    status, text = get(f"http://{address_of(seller)}/healthz")
    assert (status, json.loads(text)["status"]) == (200, "ok")


def counts(place: NodePlace) -> dict[str, float]:
    """Return what a node has counted so far."""
    return {
        "done": sample(place, "stoa_tasks_ended_total", state="done"),
        "paid": sample(place, "stoa_paid_base_units_total", rail="channel"),
        "earned": sample(place, "stoa_earned_base_units_total", rail="channel"),
        "sealed": sample(place, "stoa_bids_sealed_total"),
        "won": sample(place, "stoa_bids_won_total"),
        "delivered": sample(place, "stoa_deliveries_ended_total", state="delivered"),
    }


async def test_one_task_is_one_trace_in_spans_and_logs_of_every_node(lab: Lab, collector: Collector) -> None:
    task = await lab.submit(EXAMPLES / "word-statistics")
    detail = await lab.wait_ended(task)
    seller = lab.place_of(detail.task.provider)
    trace = task.task.hex()[:32]

    def spans() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for node, span in collector.spans:
            if span["traceId"] == trace:
                found.setdefault(node, []).append(span["name"])
        return found

    await until("both nodes' spans", lambda: sum("task" in s or "delivery" in s for s in spans().values()) == 2)
    assert spans() == {
        lab.requester.name: ["auction", "award", "part", "task"],
        seller.name: ["prepare", "part", "payment", "delivery"],
    }
    ids = {span["spanId"]: span for _, span in collector.spans if span["traceId"] == trace}
    (delivery,) = [span for span in ids.values() if span["name"] == "delivery"]
    assert ids[delivery["parentSpanId"]]["name"] == "task"
    for place in lab.devnet.places:  # the one that lost bid too
        lines = [json.loads(line) for line in place.log.read_text().splitlines() if trace in line]
        assert lines
        assert all(line["trace_id"] == trace for line in lines if "task_id" in line)
        assert any(line.get("task_id") == f"0x{task.task.hex()}" for line in lines)


@contextmanager
def prometheus(folder: Path, targets: list[str]) -> Generator[str]:
    """Run Prometheus with the rules of deploy/ and its configuration, but for targets and pace; give its address."""
    text = (PROMETHEUS / "prometheus.yml").read_text()
    text = text.replace("interval: 15s", "interval: 1s").replace('["127.0.0.1:9464"]', json.dumps(targets))
    text = text.replace("- alerts.yml", f"- {PROMETHEUS}/alerts.yml")
    (folder / "prometheus.yml").write_text(text)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                find_program("prometheus"),
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                "--web.listen-address=127.0.0.1:0",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield _listening(folder / "log", process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def _listening(log: Path, process: subprocess.Popen[bytes]) -> str:
    """Return where it listens, once it has read its database: until then it answers 503."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        text = log.read_text()
        found = re.search(r'msg="Listening on" address=(\S+)', text)
        if found and 'msg="Server is ready' in text:
            return f"http://{found[1]}"
        time.sleep(POLL_S)
    raise AssertionError(f"Prometheus does not answer:\n{log.read_text()}")


def ask(url: str, path: str, **query: str) -> Any:
    """Ask Prometheus's API."""
    try:
        _, text = get(f"{url}/api/v1/{path}?{urllib.parse.urlencode(query)}")
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{path} {query}: {error.read().decode()}") from error
    answer = json.loads(text)
    assert answer["status"] == "success", answer
    return answer["data"]


def value_of(url: str, query: str) -> dict[str, float]:
    """Return the values of an instant query by instance."""
    result = ask(url, "query", query=query)["result"]
    return {each["metric"].get("instance", ""): float(each["value"][1]) for each in result}


async def test_a_real_prometheus_scrapes_nodes_and_understands_every_rule_and_board(lab: Lab, tmp_path: Path) -> None:
    places = (lab.requester, lab.devnet.providers[0])
    targets = [address_of(place) for place in places]
    with prometheus(tmp_path, targets) as url:
        await until("both nodes are up", lambda: value_of(url, 'up{job="stoa"}') == dict.fromkeys(targets, 1.0))
        await until("a metric is there", lambda: value_of(url, "stoa_peers") == dict.fromkeys(targets, 2.0))
        await until("the chain was looked at", lambda: set(value_of(url, "stoa_gas_money_wei")) == set(targets))

        def are_evaluated() -> bool:
            rules = [rule for group in ask(url, "rules")["groups"] for rule in group["rules"]]
            assert len(rules) > 25
            assert not [rule for rule in rules if rule["health"] == "err"], rules
            return all(rule["health"] == "ok" for rule in rules)

        await until("every rule was evaluated", are_evaluated)
        firing = {alert["labels"]["alertname"] for alert in ask(url, "alerts")["alerts"] if alert["state"] == "firing"}
        assert firing == set()
        for board in BOARDS:
            for query in queries_of(board):
                ask(url, "query", query=query)
        await lab.kill(lab.devnet.providers[0])
        await until("a dead node is seen", lambda: value_of(url, 'up{job="stoa"}')[targets[1]] == 0)


async def test_every_metric_of_rules_and_boards_is_one_of_a_running_node(lab: Lab) -> None:
    _, text = get(f"http://{address_of(lab.requester)}/metrics")
    known: set[str] = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        known |= {name} if kind != "histogram" else {f"{name}_bucket", f"{name}_sum", f"{name}_count"}
    assert metrics_of_deploy() - known == set()


async def test_the_doctor_finds_nothing_on_a_good_node_and_what_is_broken_beside_it(lab: Lab) -> None:
    await lab.until("peers are there", lambda: has_peers(lab))
    good = await lab.cli(lab.requester, "doctor", "--json")
    assert good.code == ExitCode.DONE, good.text
    said = {each["check"]: each for each in good.documents()[0]["findings"]}
    assert {name for name, each in said.items() if each["state"] == "broken"} == set()
    for name in (
        "node",
        "keys",
        "port",
        "bootstrap",
        "peers",
        "chain",
        "contracts",
        "chain view",
        "gas money",
        "sandbox",
    ):
        assert said[name]["state"] == "ok", said[name]
    for place in lab.devnet.providers:
        await lab.kill(place)
    async with open_rpc(lab.devnet.rpc_url) as rpc:
        await rpc.call("anvil_setBalance", f"0x{lab.requester.wallet.hex()}", "0x0")

    async def is_alone() -> bool:
        return not await has_peers(lab)

    await lab.until("nobody is connected", is_alone)
    bad = await lab.cli(lab.requester, "doctor")
    assert bad.code == ExitCode.WRONG, bad.text
    for line in ("broken  peers:", "broken  bootstrap:", "broken  gas money:"):
        assert line in bad.out, bad.text


async def has_peers(lab: Lab) -> bool:
    return await trio.to_thread.run_sync(lambda: sample(lab.requester, "stoa_peers")) > 0
