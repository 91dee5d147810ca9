"""Commands about a node, its money and duties, against a fake node on a real socket: what they print, their JSON."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.api.evidence import judge_file
from node.cli.failures import ExitCode
from node.config.load import load_settings
from protocol.identity import format_address, parse_address
from tests.node.api.fake_node import FakeNode
from tests.node.api.fake_task import ANN, BOB
from tests.node.cli.cli_lab import running, stoa, submitted
from tests.node.cli.test_cli_help import ROOT

SOMEBODY = "0x52908400098527886E0F7030069857D2E4169EE7"


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
        for said in (
            "wrong result", "states another output", "part 3", "1.50", "0.80", "the cap per day is reached", "you",
            "7 of 11 arbiters have voted", "Next: the other side may appeal", "Until 20",
        ):  # fmt: skip
            assert said in told
        assert place.stoa("disputes", "show", "ffff").exit_code == ExitCode.REFUSED
        assert place.stoa("disputes", "list").stdout.strip()


def test_a_dispute_is_opened_by_hand_after_its_price_and_its_ends_were_told_and_agreed_to(tmp_path: Path) -> None:
    with running(tmp_path) as place:
        declined = place.stoa("disputes", "open", "0808", stdin="n\n")
        assert declined.exit_code == ExitCode.DONE
        for said in (
            "part 3", "asks for $1.50", "bond", "$0.25", "5 arbiters", "$0.40 are locked", "ran it itself",
            "disputes.max_bond", "another result than the receipt's", "-$1.75", "+$0.15", "open no case",
            "At best you end at +$0.15", "worst at -$1.75", "Put down $0.25 and open the case?",
        ):  # fmt: skip
            assert said in declined.stdout, said
        priced = place.json("disputes", "open", "0808")
        assert (priced["bond"], priced["ends"][0]["own"], priced["otherwise"]["finding"]) == ("250000", -1_750_000, "")
        assert len(place.json("disputes", "list")) == 1, "so far nothing was opened"
        opened = place.stoa("disputes", "open", "0808", stdin="y\n")
        assert opened.exit_code == ExitCode.DONE, opened.output
        assert "drawing" in opened.stdout
        assert place.json("disputes", "open", "0808", "--yes")["bonds"] == "250000"
        unknown = place.stoa("disputes", "open", "ffff", "--yes")
        assert unknown.exit_code == ExitCode.REFUSED
        assert "stoa escrows" in unknown.stderr


def test_a_bond_that_would_be_lost_for_nothing_is_put_down_only_by_who_says_so(tmp_path: Path) -> None:
    with running(tmp_path) as place:
        for how in ((), ("--yes",), ("--yes", "--json")):
            refused = place.stoa("disputes", "open", "0909", *how, stdin="y\n")
            assert refused.exit_code == ExitCode.REFUSED
            assert "--anyway" in refused.stderr
        assert len(place.json("disputes", "list")) == 1
        asked = place.stoa("disputes", "open", "0909", "--anyway", stdin="n\n")
        assert "Warning: the bond would be lost" in asked.stdout
        assert "has not run the part itself" in asked.stdout, "who says anyway waits for no run"
        assert len(place.json("disputes", "list")) == 1, "and it is asked all the same"
        assert place.json("disputes", "open", "0909", "--anyway", "--yes")["state"] == "open"


def test_a_decision_is_appealed_by_hand_after_its_bond_was_agreed_to(tmp_path: Path) -> None:
    with running(tmp_path) as place:
        asked = place.stoa("disputes", "appeal", "0707", stdin="n\n")
        for said in ("round 3 of the case", "23 arbiters", "Put down $1.15 and appeal?"):
            assert said in asked.stdout
        assert place.json("disputes", "appeal", "0707", "--yes")["bonds"] == "1950000"


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
        assert "0707070707" not in told, "who doesn't judge sits nowhere"
        assert place.json("arbiter", "enlist", "3")["balance"] == "13000000"
        assert "This node does not judge" in place.stoa("arbiter", "status").stdout
        place.node.bench = replace(place.node.bench, enabled=True)
        judging = place.stoa("arbiter", "status").stdout
        for said in ("0707070707", "not yet", "wrong result"):
            assert said in judging
        assert [each["seats"] for each in place.json("arbiter", "status")["sittings"]] == [0, 2]
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


def test_a_reader_that_stops_reading_makes_no_traceback(tmp_path: Path) -> None:
    with running(tmp_path):
        command = f"{sys.executable} -m node.cli.main --data-dir {tmp_path} status | true"
        done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, cwd=ROOT, check=False)
        assert "Traceback" not in done.stderr


def test_judge_file_refuses_what_is_no_evidence(tmp_path: Path) -> None:
    for content in (b"", b"[]", b"{}", b'{"format":"stoa-auction-evidence-1","body":"AAAA"}', b"\xff", b"[" * 100_000):
        path = tmp_path / "evidence.json"
        path.write_bytes(content)
        result = stoa("auctions", "verify", str(path))
        assert result.exit_code == ExitCode.REFUSED, content
        assert "Traceback" not in result.output
    assert judge_file.__doc__
