"""`stoa task` against a fake node on a real socket: what it prints, its JSON, its exit status."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from blake3 import blake3

from node.cli.failures import ExitCode
from tests.node.api.fake_node import FakeNode
from tests.node.cli.cli_lab import lines_of, running, submitted, write_task
from tests.node.cli.test_cli_help import ROOT


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
