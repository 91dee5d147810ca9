"""Tasks between real processes on a real local chain: results, money, auctions and their verification."""

import base64
import json
from dataclasses import replace
from pathlib import Path

from node.api.client import open_client
from node.api.evidence import MAX_FILE_BYTES, Evidence
from node.api.facade import NodeFacade
from node.api.views import AuctionView, TaskView
from protocol.identity import format_address
from protocol.units import Amount
from protocol.wire.codec import decode, encode
from tests.system.system_lab import EXAMPLES, Lab, check_output, files_of, make_monte_carlo, run_cli

OVERRIDES = {"provider.credit_limit": "10"}
WORDS = EXAMPLES / "word-statistics"


def make_words(folder: Path) -> Path:
    """Make a tiny word statistics task: what matters is how it is sold."""
    folder.mkdir()
    (folder / "access.log").write_bytes(b"".join((WORDS / "access.log").read_bytes().splitlines(keepends=True)[:200]))
    module = WORDS / "word_statistics.wasm"
    (folder / "task.toml").write_text(
        f"""name = "few-words"
module = "{module}"
args = ["--top", "20", "--log"]
stdin = "access.log"
[limits]
fuel = 100_000_000
memory_mib = 16
output_bytes = 65_536
[offer]
budget = "0.40"
max_eta_s = 60
"""
    )
    return folder


async def wait_awarded(lab: Lab, task: TaskView) -> None:
    """Wait until every node has heard the award of a task's auction."""

    async def have_all() -> bool:
        return all([(await auction_at(lab, index, task)).winner is not None for index in range(4)])

    await lab.until("every node heard the award", have_all)


async def auction_at(lab: Lab, index: int, task: TaskView) -> AuctionView:
    """Return an auction as the node of this number knows it."""
    async with open_client(lab.devnet.places[index].socket) as client:
        for auction in await client.call(NodeFacade.auction_list, limit=1000):
            if auction.auction == task.task:
                return auction
    raise AssertionError(f"node {index} never heard of auction {task.task.hex()}")


async def test_word_statistics_over_a_channel_is_right_and_paid_to_the_base_unit(lab: Lab, tmp_path: Path) -> None:
    before = await lab.snapshot()
    ran = await lab.cli(lab.requester, "task", "submit", WORDS, "--output", f"{tmp_path}/out/", "--json")
    assert ran.code == 0, ran.text
    ended = ran.documents()[-2]
    assert (ended["kind"], ended["state"], ended["paid_parts"]) == ("task-ended", "done", 1)
    checked = check_output(WORDS, tmp_path / "out" / "report.txt")
    assert checked.returncode == 0, checked.stdout + checked.stderr

    (channel,) = [each for each in await lab.channels_of(lab.requester) if each.state == "open"]
    spent = int(ended["spent"])
    assert channel.paid == spent

    async def is_free() -> bool:  # the payee is asked once the task is over (docs/adr/1003)
        return [each.held for each in await lab.channels_of(lab.requester) if each.channel == channel.channel] == [0]

    await lab.until("the hold came free by the payee's word", is_free)
    await lab.settle()
    income = lab.income(before, await lab.assert_books_balance(before))
    winner = lab.place_of(channel.peer).name
    assert {name: change for name, change in income.items() if change} == {"requester": -spent, winner: spent}


async def test_parts_in_escrow_are_right_and_paid_to_the_base_unit(lab: Lab, tmp_path: Path) -> None:
    await lab.settle()  # what earlier tasks still owe
    small = make_monte_carlo(tmp_path / "task", parts=3, batches=8, paths=400, budget="12")
    before = await lab.snapshot()
    ran = await lab.cli(lab.requester, "task", "submit", small, "--output", f"{tmp_path}/out/")
    assert ran.code == 0, ran.text
    outputs = files_of(tmp_path / "out")
    assert len(outputs) == 3
    checked = check_output(small, *outputs)
    assert checked.returncode == 0, checked.stdout + checked.stderr

    async with open_client(lab.requester.socket) as client:
        (task, *_) = await client.call(NodeFacade.task_list, state="all", limit=1)
    detail = await lab.detail(task)
    assert detail.task.rail == "escrow"
    assert detail.task.spent == sum(part.cost for part in detail.parts) <= detail.awards[0].price
    await lab.settle()
    income = lab.income(before, await lab.assert_books_balance(before))
    winner = lab.place_of(detail.task.provider).name
    assert {name: change for name, change in income.items() if change} == {
        "requester": -detail.task.spent,
        winner: detail.task.spent,
    }


async def test_first_price_pays_the_winner_its_own_bid_and_every_node_verifies_it(lab: Lab, tmp_path: Path) -> None:
    task = await lab.submit(make_words(tmp_path / "task"), format_name="first-price", budget="0.2")
    detail = await lab.wait_ended(task)
    assert detail.task.state == "done"
    await wait_awarded(lab, task)
    winner = next(index for index, place in enumerate(lab.devnet.places) if place.wallet == detail.task.provider)
    auction = await auction_at(lab, winner, task)
    assert auction.own_price == auction.price == detail.awards[0].price
    for place in lab.devnet.places:
        ran = await lab.cli(place, "auctions", "verify", task.task.hex(), "--json")
        assert ran.code == 0, f"{place.name}: {ran.text}"


async def test_second_price_pays_the_winner_no_less_than_its_bid(lab: Lab, tmp_path: Path) -> None:
    task = await lab.submit(make_words(tmp_path / "task"), budget="0.2")
    detail = await lab.wait_ended(task)
    assert detail.task.state == "done"
    await wait_awarded(lab, task)
    winner = next(index for index, place in enumerate(lab.devnet.places) if place.wallet == detail.task.provider)
    auction = await auction_at(lab, winner, task)
    assert auction.price is not None
    assert auction.own_price is not None
    assert auction.own_price < auction.price <= 200_000


async def test_open_auction_ends_in_a_result_and_verifies(lab: Lab, tmp_path: Path) -> None:
    task = await lab.submit(make_words(tmp_path / "task"), format_name="open", budget="0.2")
    detail = await lab.wait_ended(task)
    assert detail.task.state == "done"
    await wait_awarded(lab, task)
    assert (await auction_at(lab, 0, task)).format == "open"
    ran = await lab.cli(lab.requester, "auctions", "verify", task.task.hex(), "--json")
    assert ran.code == 0, ran.text


async def test_a_hired_provider_is_paid_within_the_budget_without_an_auction(lab: Lab, tmp_path: Path) -> None:
    chosen = lab.devnet.providers[2]  # the dearest: no auction would choose it
    folder = make_words(tmp_path / "task")
    ran = await lab.cli(
        lab.requester, "task", "submit", folder, "--hire", format_address(chosen.wallet), "--budget", "0.3", "--json"
    )
    assert ran.code == 0, ran.text
    events = ran.documents()
    (award,) = [event for event in events if event.get("kind") == "winner-chosen"]
    assert award["provider"].lower() == format_address(chosen.wallet).lower()
    assert not [event for event in events if event.get("kind") in ("bidder-committed", "bid-revealed")]
    (ended,) = [event for event in events if event.get("kind") == "task-ended"]
    assert 0 < int(ended["spent"]) <= 300_000


async def test_a_loser_learns_why_and_an_evidence_file_is_judged_without_a_node(lab: Lab, tmp_path: Path) -> None:
    task = await lab.submit(make_words(tmp_path / "task"), budget="0.2")
    detail = await lab.wait_ended(task)
    await wait_awarded(lab, task)
    loser = next(place for place in lab.devnet.providers if place.wallet != detail.task.provider)
    evidence = tmp_path / "evidence.json"

    ran = await lab.cli(loser, "auctions", "verify", task.task.hex(), "--keep", evidence, "--json")
    assert ran.code == 0, ran.text
    (verdict,) = ran.documents()
    (own,) = [each for each in verdict["bidders"] if each["bidder"] == format_address(loser.wallet)]
    assert not own["won"]
    assert "was needed" in own["text"]

    nowhere = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "STOA_NODE__DATA_DIR": str(tmp_path / "none")}
    offline = await run_cli("auctions", "verify", evidence, env=nowhere)
    assert offline.code == 0, offline.text


async def test_a_tampered_evidence_file_is_found_wrong_and_the_broken_rule_is_named(lab: Lab, tmp_path: Path) -> None:
    task = await lab.submit(make_words(tmp_path / "task"), budget="0.2")
    await lab.wait_ended(task)
    await wait_awarded(lab, task)
    async with open_client(lab.requester.socket) as client:
        verdict = await client.call(NodeFacade.auction_verify, auction=task.task.hex())
    assert verdict.ok, verdict.problem
    document = json.loads(verdict.evidence)
    evidence = decode(Evidence, base64.b64decode(document["body"]), max_bytes=MAX_FILE_BYTES)
    transcript = evidence.transcript
    award = transcript.awards[0]
    dearer = replace(award, value=replace(award.value, price=Amount(award.value.price + 1)))
    forgeries = {
        "O1": replace(transcript, awards=(dearer,)),  # pays the winner more than the requester signed
        "A6": replace(transcript, bids=transcript.bids[1:]),  # leaves out a bid that this node heard
    }
    for rule, forged in forgeries.items():
        body = encode(replace(evidence, transcript=forged))
        file = tmp_path / f"{rule}.json"
        file.write_text(json.dumps({**document, "body": base64.b64encode(body).decode("ascii")}))
        ran = await run_cli("auctions", "verify", file, "--json")
        assert ran.code == 1, ran.text
        assert ran.documents()[0]["rule"] == rule, ran.text


async def test_a_budget_too_low_fails_with_the_providers_reasons_and_what_to_change(lab: Lab, tmp_path: Path) -> None:
    await lab.settle()  # what earlier tasks still owe
    before = await lab.snapshot()
    ran = await lab.cli(lab.requester, "task", "submit", make_words(tmp_path / "task"), "--budget", "0.000100")
    assert ran.code == 5, ran.text
    assert "budget" in ran.text.lower(), ran.text
    assert "Traceback" not in ran.text
    after = await lab.assert_books_balance(before)
    assert not any(lab.income(before, after).values())
