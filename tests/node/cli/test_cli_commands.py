"""Every command against a fake node on a real socket: what it prints, its JSON, its exit status."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from node.api.evidence import judge_file
from node.cli.failures import ExitCode
from node.cli.lazy import StoaGroup
from node.config.load import load_settings
from protocol.identity import format_address, parse_address
from tests.node.api.fake_node import FakeNode
from tests.node.api.fake_task import ANN, BOB
from tests.node.cli.cli_lab import Place, running, stoa, write_task

ROOT = Path(__file__).resolve().parents[3]
SOMEBODY = "0x52908400098527886E0F7030069857D2E4169EE7"


def submitted(place: Place, folder: Path) -> str:
    task: str = place.json("task", "submit", str(write_task(folder)), "--detach")["task"]
    return task


def lines_of(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_submit_follows_to_the_end_and_saves_what_was_signed(tmp_path: Path) -> None:
    with running(tmp_path) as place:
        result = place.stoa("task", "submit", str(write_task(tmp_path / "task")), "-o", f"{tmp_path}/out/")
    assert result.exit_code == ExitCode.DONE, result.output
    assert (tmp_path / "out/report.txt").read_bytes() == b"the result\n"
    for words in ("wins, for at most $0.30", "asks $0.20", "held in the payment channel", "Done", "$0.020001 paid"):
        assert words in result.stdout, result.stdout


def test_a_folder_with_a_task_file_will_do(tmp_path: Path) -> None:
    write_task(tmp_path / "task")
    with running(tmp_path) as place:
        assert place.stoa("task", "submit", str(tmp_path / "task")).exit_code == ExitCode.DONE
        assert [fake.manifest.name for fake in place.node.tasks.values()] == ["a-task"]


def test_parts_are_saved_one_by_one_under_their_numbers(tmp_path: Path) -> None:
    path = write_task(tmp_path / "task", parts=3)
    with running(tmp_path, FakeNode(outputs=(b"zero", b"one", b"two"))) as place:
        place.stoa("task", "submit", str(path), "-o", str(tmp_path / "sum.txt"))
    assert [(tmp_path / f"sum.{part}.txt").read_bytes() for part in range(3)] == [b"zero", b"one", b"two"]


def test_files_that_the_node_has_are_not_sent_again(tmp_path: Path) -> None:
    path = write_task(tmp_path / "task")
    with running(tmp_path) as place:
        place.stoa("task", "submit", str(path))
        uploads = place.node.uploads
        place.stoa("task", "submit", str(path))
        assert uploads == 2
        assert place.node.uploads == uploads


def test_submit_in_json_is_one_object_a_line(tmp_path: Path) -> None:
    with running(tmp_path, FakeNode(ending="standby")) as place:
        out = str(tmp_path / "r.txt")
        result = place.stoa("task", "submit", str(write_task(tmp_path / "task")), "-o", out, "--json")
    first, *events, last = lines_of(result.stdout)
    assert first["name"] == "a-task"
    assert first["budget"] == "400000"
    kinds = [event["kind"] for event in events]
    assert kinds[0] == "auction-opened"
    assert kinds[-1] == "task-ended"
    assert kinds.count("winner-chosen") == 2
    assert "provider-failed" in kinds
    assert last == {"saved": [out]}


def test_a_standby_is_told_with_the_reason(tmp_path: Path) -> None:
    with running(tmp_path, FakeNode(ending="standby")) as place:
        result = place.stoa("task", "submit", str(write_task(tmp_path / "task")))
    assert "failed: it fell silent" in result.stdout
    assert "Standby 0xbBbBBB…BBbB takes over part 0" in result.stdout


def test_nobody_bid_says_why_and_what_to_change(tmp_path: Path) -> None:
    with running(tmp_path, FakeNode(ending="nobody")) as place:
        result = place.stoa("task", "submit", str(write_task(tmp_path / "task")))
    assert result.exit_code == ExitCode.TASK_FAILED
    for words in ("no provider bid", "0 providers bid", "2 x not bid: it would cost $0.90", "raise the budget"):
        assert words in result.stdout


def test_a_result_whose_bytes_were_changed_is_not_saved(tmp_path: Path) -> None:
    with running(tmp_path, FakeNode(cut_read=True)) as place:
        result = place.stoa("task", "submit", str(write_task(tmp_path / "task")), "-o", str(tmp_path / "r.txt"))
        assert result.exit_code == ExitCode.WRONG
        assert "another digest" in result.stderr
        task = place.json("task", "list")[0]["task"]
        out = place.stoa("task", "result", task, "-o", "-")
        assert out.exit_code == ExitCode.WRONG
        assert "the result" not in out.stdout
    assert not (tmp_path / "r.txt").exists()
    assert not list(tmp_path.glob(".r.txt*"))


def test_a_spending_cap_refuses_with_advice(tmp_path: Path) -> None:
    with running(tmp_path) as place:
        path = str(write_task(tmp_path / "task"))
        result = place.stoa("task", "submit", path, "--budget", "50.000001")
        assert result.exit_code == ExitCode.REFUSED
        assert "cap per task" in result.stderr
        assert "raise wallet.caps.per_task" in result.stderr
        report = json.loads(place.stoa("task", "submit", path, "--budget", "50.000001", "--json").stderr)
        assert report["error"]["kind"] == "SpendingCapRefusal"
        assert report["error"]["exit_code"] == ExitCode.REFUSED


@pytest.mark.parametrize("command", [("submit", "--dry-run"), ("plan",)])
def test_a_plan_sends_nothing(tmp_path: Path, command: tuple[str, ...]) -> None:
    name, *more = command
    with running(tmp_path) as place:
        path = str(write_task(tmp_path / "task"))
        result = place.stoa("task", name, path, "--budget", "25", *more)
        assert "from the escrow contract" in result.stdout
        assert "Warning: nothing is checked" in result.stdout
        plan = place.json("task", name, path, *more)
        assert (plan["rail"], plan["estimate"], plan["cap"]) == ("channel", "123456", "400000")
        assert not place.node.tasks
        assert not place.node.uploads


def test_watch_tells_a_finished_task_again(tmp_path: Path) -> None:
    with running(tmp_path) as place:
        task = submitted(place, tmp_path / "task")
        result = place.stoa("task", "watch", task[:6])
        assert result.exit_code == ExitCode.DONE
        assert "wins, for at most" in result.stdout
        events = lines_of(place.stoa("task", "watch", task[:6], "--json").stdout)
        assert events[-1]["kind"] == "task-ended"


def test_show_result_and_logs(tmp_path: Path) -> None:
    with running(tmp_path) as place:
        task = submitted(place, tmp_path / "task")
        detail = place.json("task", "show", task[:8])
        assert detail["task"]["task"] == task
        assert detail["parts"][0]["output"] == blake3(b"the result\n").hexdigest()
        assert detail["parts"][0]["cost"] == "20001"
        told = place.stoa("task", "show", task).stdout
        assert task in told
        assert "Dispute over part 3: open, round 2, wrong result" in told
        assert place.stoa("task", "result", task, "-o", "-").stdout == "the result\n"
        assert place.json("task", "result", task, "-o", str(tmp_path / "r"))["saved"] == [str(tmp_path / "r")]
        assert place.stoa("task", "logs", task).stdout == "a log line\n"
        assert place.json("task", "logs", task, "--part", "0") == {"part": 0, "logs": "a log line\n"}
        assert place.stoa("task", "logs", task, "--part", "1").exit_code == ExitCode.USAGE


def test_an_unknown_task_is_refused_with_advice(tmp_path: Path) -> None:
    with running(tmp_path) as place:
        result = place.stoa("task", "show", "abcd")
    assert result.exit_code == ExitCode.REFUSED
    assert "What to do: see `stoa task list`" in result.stderr


def test_cancel_says_its_price_first_and_asks(tmp_path: Path) -> None:
    with running(tmp_path, FakeNode(ending="held")) as place:
        task = submitted(place, tmp_path / "task")
        declined = place.stoa("task", "cancel", task, stdin="n\n")
        assert "Cancelling costs $0.07: one part is delivered and paid" in declined.stdout
        assert place.json("task", "list", "--open")[0]["state"] == "running"
        assert place.json("task", "cancel", task)["cost"] == "70000"
        assert place.json("task", "list", "--open")[0]["state"] == "running"
        assert place.stoa("task", "cancel", task, stdin="y\n").exit_code == ExitCode.DONE
        assert place.json("task", "list", "--open") == []
        assert place.stoa("task", "watch", task).exit_code == ExitCode.TASK_FAILED


def test_auctions(tmp_path: Path) -> None:
    with running(tmp_path) as place:
        task = submitted(place, tmp_path / "task")
        assert place.json("auctions", "list")[0]["auction"] == task
        assert place.json("auctions", "show", task)["bids"][0]["won"] is True
        assert "won" in place.stoa("auctions", "show", task).stdout
        verdict = place.json("auctions", "verify", task)
        assert verdict["ok"] is True
        assert verdict["evidence"] is None
        assert "$0.19 or less would have passed" in place.stoa("auctions", "verify", task).stdout


def test_money_commands_in_json(tmp_path: Path) -> None:
    with running(tmp_path) as place:
        assert place.json("wallet", "show")["token_balance"] == "12345678"
        channel = place.json("channels", "open", SOMEBODY, "5.00")["channel"]
        assert place.json("channels", "top-up", channel[:6], "2.50")["deposit"] == "7500000"
        assert place.json("channels", "close", channel)["state"] == "closed"
        assert [each["channel"] for each in place.json("channels", "list")] == [channel]
        assert place.json("escrows")[0]["amount"] == "25000000"
        earned = place.json("earnings", "--period", "all")
        assert (earned["earned"], earned["unclaimed"], len(earned["awards"])) == ("130001", "30000", 1)
        assert place.stoa("earnings", "--period", "1y").exit_code == ExitCode.USAGE
        assert place.stoa("channels", "open", SOMEBODY[:-1], "5").exit_code == ExitCode.USAGE
        assert place.stoa("channels", "open", SOMEBODY, "-5").exit_code == ExitCode.USAGE


def test_who_contradicted_itself_is_accused_and_the_bounty_told(tmp_path: Path) -> None:
    with running(tmp_path) as place:
        first, second = place.json("auctions", "accuse", "c0ffee")
        assert (first["taken"], first["bounty"], first["problem"]) == ("8000000", "4000000", "")
        assert second["problem"] == "NothingToSlash"
        told = place.stoa("auctions", "accuse", "c0ffee").stdout
        assert "4.00" in told
        assert "NothingToSlash" in told
        assert "No contradiction" in place.stoa("auctions", "accuse", "3fa4").stdout


def test_a_dispute_is_shown_with_its_reason_its_money_and_what_is_in_the_way(tmp_path: Path) -> None:
    with running(tmp_path) as place:
        (case,) = place.json("disputes", "list")
        assert (case["state"], case["round"], case["due"], case["bonds"]) == ("open", 1, "1500000", "800000")
        assert place.json("disputes", "show", "0707") == case
        told = place.stoa("disputes", "show", "0707").stdout
        for said in ("wrong result", "states another output", "part 3", "1.50", "0.80", "the cap per day is reached"):
            assert said in told
        assert place.stoa("disputes", "show", "ffff").exit_code == ExitCode.REFUSED
        assert place.stoa("disputes", "list").stdout.strip()


def test_stake_is_added_asked_for_collected_and_freed(tmp_path: Path) -> None:
    with running(tmp_path) as place:
        told = place.stoa("stake", "status").stdout
        assert "locked" in told
        assert "5.00" in told
        assert place.json("stake", "add", "50.00")["free"] == "50000000"
        assert place.stoa("stake", "withdraw", "50.01").exit_code == ExitCode.REFUSED
        asked = place.json("stake", "withdraw", "20.00")
        assert (asked["leaving"], asked["free"], asked["cooldown"]) == ("20000000", "30000000", 5)
        assert place.json("stake", "collect")["stake"] == "35000000"
        assert place.json("stake", "free")["awards"] == []
        assert "No award has stake behind it" in place.stoa("stake", "status").stdout
        assert place.stoa("stake", "add", "-5").exit_code == ExitCode.USAGE


def test_opinions_are_shown_anchored_and_proved(tmp_path: Path) -> None:
    with running(tmp_path) as place:
        assert "Nothing is anchored" in place.stoa("reputation", "show").stdout
        about = place.json("reputation", "show")["opinions"][0]["provider"]
        assert place.json("reputation", "anchor")["scores"] == 1
        assert place.stoa("reputation", "anchor").exit_code == ExitCode.REFUSED
        file = tmp_path / "proof.json"
        proof = place.json("reputation", "prove", about, "-o", str(file))
        assert json.loads(file.read_text()) == proof
        assert (proof["subject"], proof["score"]) == (about, 8_400)
        assert place.json("reputation", "prove", about, "--of", SOMEBODY)["publisher"] == SOMEBODY
        assert place.stoa("reputation", "prove", SOMEBODY).exit_code == ExitCode.REFUSED
        assert place.json("reputation", "feedback")[0]["transaction"] == "06" * 32
        assert "75.00" in place.stoa("reputation", "agent", "22").stdout
        assert place.stoa("reputation", "agent", "x").exit_code == ExitCode.REFUSED
        too_long = json.dumps(proof | {"siblings": ["00" * 32] * 33})
        for text in ("", "[]", "{}", json.dumps(proof | {"score": "1"}), too_long):
            file.write_text(text)
            assert place.stoa("reputation", "verify", str(file)).exit_code == ExitCode.USAGE, text
        assert place.stoa("reputation", "verify", str(tmp_path / "none")).exit_code == ExitCode.USAGE


def test_towers_and_clients_come_and_go_and_the_configuration_keeps_them(tmp_path: Path) -> None:
    config = tmp_path / "stoa.toml"
    config.write_text(f'[node]\ndata_dir = "{tmp_path}"\n')
    third = "0x52908400098527886E0F7030069857D2E4169EE7"
    with running(tmp_path) as place:
        told = place.stoa("watch", "list").stdout
        assert "$2.50" in told
        assert "TooManyWatches" in told
        assert "acts at" in told
        assert len(place.json("watch", "add", third)["towers"]) == 2
        assert load_settings(config).watchtower.towers == (BOB, parse_address(third))
        assert place.json("watch", "remove", third)["towers"][0]["channels"] == 1
        assert load_settings(config).watchtower.towers == (BOB,)
        place.stoa("watch", "allow", third)
        assert load_settings(config).watchtower.clients == (ANN, parse_address(third))
        place.stoa("watch", "disallow", format_address(ANN))
        assert load_settings(config).watchtower.clients == (parse_address(third),)
        assert place.stoa("watch", "add", "0x12").exit_code == ExitCode.USAGE
        assert place.stoa("watch", "drop", "ff").exit_code == ExitCode.REFUSED
        assert place.json("watch", "drop", "0707")["watches"] == []
        assert "No channel is watched here" in place.stoa("watch", "list").stdout


def test_an_arbiters_tickets_are_bought_given_up_and_paid_back(tmp_path: Path) -> None:
    with running(tmp_path) as place:
        told = place.stoa("arbiter", "status").stdout
        assert "$1.00 to be collected now" in told.replace("\n", " ")
        assert "does not judge" not in told
        assert place.json("arbiter", "enlist", "3")["balance"] == "13000000"
        assert "This node does not judge" in place.stoa("arbiter", "status").stdout
        assert place.stoa("arbiter", "resign", "4").exit_code == ExitCode.REFUSED
        asked = place.json("arbiter", "resign", "2")
        assert (asked["tickets"], asked["leaving"], asked["cases"]) == (1, 2, 7)
        assert place.json("arbiter", "resign")["tickets"] == 0
        assert place.json("arbiter", "collect")["collectable"] == "0"
        for wrong in (("enlist", "0"), ("enlist",), ("resign", "-1")):
            assert place.stoa("arbiter", *wrong).exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    "command",
    [
        ("status",),
        ("stake", "status"),
        ("reputation", "show"),
        ("watch", "list"),
        ("arbiter", "status"),
        ("reputation", "feedback"),
        ("peers", "list"),
        ("channels", "list"),
        ("escrows",),
        ("disputes", "list"),
        ("wallet", "show"),
        ("earnings",),
        ("provide", "--show"),
        ("task", "list"),
        ("auctions", "list"),
    ],
)
def test_tables_and_json_of_every_list(tmp_path: Path, command: tuple[str, ...]) -> None:
    with running(tmp_path) as place:
        plain = place.stoa(*command)
        assert plain.exit_code == ExitCode.DONE, plain.output
        assert plain.stdout.strip()
        before = stoa("--json", "--data-dir", str(tmp_path), *command)
        after = place.stoa(*command, "--json")
        shown, again = json.loads(before.stdout), json.loads(after.stdout)
        if command == ("earnings",):  # counted back from now, and a second may pass
            assert abs(shown.pop("since") - again.pop("since")) < 300
        assert shown == again


def test_status_warns(tmp_path: Path) -> None:
    with running(tmp_path) as place:
        shown = place.stoa("status").stdout
        assert "Warning: no gas money, and 2 claims are due" in shown
        assert "2 transactions, 1 of them sent" in shown
        assert "1 wait: gas is too dear" in shown
        assert place.json("status")["gas_balance"] == "9990000000000000000"


def test_peers(tmp_path: Path) -> None:
    with running(tmp_path) as place:
        assert place.json("peers", "list")[0]["wallet"].lower() == "0x" + ANN.hex()
        assert place.json("peers", "connect", "/ip4/127.0.0.1/tcp/1/p2p/12D3")["connected"] is True
        assert place.stoa("peers", "connect", "/ip4/127.0.0.1/tcp/1").exit_code == ExitCode.REFUSED


def test_stop(tmp_path: Path) -> None:
    with running(tmp_path) as place:
        assert place.stoa("stop").exit_code == ExitCode.DONE
        assert place.node.stopped


@pytest.mark.parametrize("command", [("status",), ("task", "list"), ("wallet", "show"), ("stop",)])
def test_no_node_is_told_apart_from_other_failures(tmp_path: Path, command: tuple[str, ...]) -> None:
    result = stoa("--data-dir", str(tmp_path), *command)
    assert result.exit_code == ExitCode.NOT_RUNNING
    assert "stoa run" in result.stderr
    report = json.loads(stoa("--data-dir", str(tmp_path), *command, "--json").stderr)
    assert report["error"]["kind"] == "NodeNotRunning"


def test_a_bug_is_no_traceback_unless_asked_for(tmp_path: Path) -> None:
    class Buggy(FakeNode):
        async def channel_list(self) -> Any:
            raise KeyError

    with running(tmp_path, Buggy()) as place:
        result = place.stoa("channels", "list")
        assert result.exit_code == ExitCode.BUG
        assert "Traceback" not in result.stderr
        assert "Traceback" in place.stoa("channels", "list", "--debug").stderr


def test_the_socket_is_found_through_configuration_environment_and_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path):
        config = tmp_path / "other.toml"
        config.write_text(f'[node]\ndata_dir = "{tmp_path}"\n')
        assert stoa("--config", str(config), "status").exit_code == ExitCode.DONE
        config.write_text(f'[api]\ncontrol_socket = "{tmp_path}/control.sock"\n')
        assert stoa("--config", str(config), "status").exit_code == ExitCode.DONE
        assert stoa("--socket", f"{tmp_path}/control.sock", "status").exit_code == ExitCode.DONE
        monkeypatch.setenv("STOA_NODE__DATA_DIR", str(tmp_path))
        assert stoa("status").exit_code == ExitCode.DONE
        monkeypatch.setenv("STOA_NODE__DATA_DIR", "/nowhere")
        monkeypatch.setenv("STOA_API__CONTROL_SOCKET", f"{tmp_path}/control.sock")
        assert stoa("status").exit_code == ExitCode.DONE
    config.write_text("[node\n")
    assert stoa("--config", str(config), "status").exit_code == ExitCode.SETUP


@pytest.mark.parametrize(
    ("number", "shell"), [(signal.SIGINT, ""), (signal.SIGTERM, ""), (signal.SIGTERM, "trap '' INT;")]
)
def test_an_interrupt_detaches_and_says_how_to_come_back(tmp_path: Path, number: signal.Signals, shell: str) -> None:
    with running(tmp_path, FakeNode(ending="held")) as place:
        task_file = write_task(tmp_path / "task")
        command = f"{sys.executable} -m node.cli.main --data-dir {tmp_path} task submit {task_file}"
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"{shell} exec {command}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert process.stdout is not None
        for line in process.stdout:
            if "starts" in line:
                break
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == ExitCode.INTERRUPTED
        (task,) = place.node.tasks
        assert f"stoa task watch {task.hex()[:10]}" in errors
        assert "Traceback" not in errors


def test_a_reader_that_stops_reading_makes_no_traceback(tmp_path: Path) -> None:
    with running(tmp_path):
        command = f"{sys.executable} -m node.cli.main --data-dir {tmp_path} status | true"
        done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, cwd=ROOT, check=False)
        assert "Traceback" not in done.stderr


BRANCHES = tuple(sorted(StoaGroup.branches))


def test_no_help_loads_what_speaks_to_chains_networks_and_databases() -> None:
    code = (
        "import sys\n"
        "from node.cli.main import app\n"
        "heavy = {'node.chain', 'node.execution', 'node.networking', 'eth_account', 'fastapi', 'httpx', 'libp2p',"
        " 'sqlalchemy', 'wasmtime', 'web3'}\n"
        "for branch in sys.argv[1:]:\n"
        "    try:\n        app([branch, '--help'])\n"
        "    except SystemExit as end:\n        assert not end.code, branch\n"
        "    print(branch, *sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
        "    heavy -= set(sys.modules)\n"  # each at the first branch that loads it
    )
    done = subprocess.run([sys.executable, "-c", code, *BRANCHES], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr.split("\n")[:-1] == list(BRANCHES)


def test_help_and_completion_load_none_of_the_node(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from node.cli.main import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'node.app', 'node.chain', 'node.config', 'node.execution', 'sqlalchemy', 'web3', 'libp2p', 'trio'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr.strip() == "[]"
    assert "task" in done.stdout
    environment = {**os.environ, "_STOA_COMPLETE": "complete_bash", "COMP_WORDS": "stoa task su", "COMP_CWORD": "2"}
    completed = subprocess.run(
        [sys.executable, "-m", "node.cli.main"], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    assert completed.stdout.split() == ["submit"]


COMMANDS = (
    "init", "run", "status", "stop", "provide", "earnings", "escrows",
    "reputation show", "reputation anchor", "reputation prove", "reputation verify",
    "watch list", "watch add", "watch remove", "watch allow", "watch disallow", "watch drop",
    "disputes list", "disputes show",
    "reputation feedback", "reputation agent",
    "stake status", "stake add", "stake withdraw", "stake collect", "stake free",
    "arbiter status", "arbiter enlist", "arbiter resign", "arbiter collect",
    "peers list", "peers connect", "task submit", "task plan", "task list", "task show", "task watch", "task cancel",
    "task result", "task logs", "auctions list", "auctions show", "auctions verify", "auctions accuse",
    "wallet show", "wallet export",
    "wallet import", "channels list", "channels open", "channels top-up", "channels close",
    "chain start", "chain stop", "chain deploy", "chain fund", "chain check", "chain reindex", "chain events",
    "doctor", "backup", "restore", "devnet up", "devnet demo", "devnet trial",
)  # fmt: skip


def test_every_branch_is_among_the_commands_whose_help_is_read() -> None:
    assert {command.split()[0] for command in COMMANDS} == set(BRANCHES)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_teaches_with_an_example(command: str) -> None:
    result = stoa(*command.split(), "--help")
    assert result.exit_code == 0, result.output
    assert f"stoa {command}" in result.stdout.replace("\n", " ")


def test_a_mistyped_command_is_guessed(tmp_path: Path) -> None:
    result = stoa("tusk")
    assert result.exit_code == ExitCode.USAGE
    assert "Did you mean 'task'" in result.output


def test_judge_file_refuses_what_is_no_evidence(tmp_path: Path) -> None:
    for content in (b"", b"[]", b"{}", b'{"format":"stoa-auction-evidence-1","body":"AAAA"}', b"\xff", b"[" * 100_000):
        path = tmp_path / "evidence.json"
        path.write_bytes(content)
        result = stoa("auctions", "verify", str(path))
        assert result.exit_code == ExitCode.REFUSED, content
        assert "Traceback" not in result.output
    assert judge_file.__doc__
