"""A js-libp2p client that was written from docs/spec takes part in a market of our nodes."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from blake3 import blake3

from node.api.client import open_client
from node.api.facade import NodeFacade
from protocol.signing.ecdsa import address_of
from tests.interop.stranger import Stranger, open_stranger
from tests.interop.wire_schema import methods_of_the_page
from tests.system.system_lab import EXAMPLES, Lab

WORDS = EXAMPLES / "word-statistics"
COPIES = 2
"""Of the log in the task's input: more than 2 MiB, so that a transfer has three groups, the last one not full."""
NODES = 3
STRIKES = 11
"""One more than a peer may have."""
BID = 100_000
"""Far below what the providers ask, $0.60 and $0.66."""


def make_task(folder: Path) -> Path:
    """Make a word statistics task whose input takes three groups of the blob protocol."""
    folder.mkdir()
    (folder / "access.log").write_bytes((WORDS / "access.log").read_bytes() * COPIES)
    (folder / "task.toml").write_text(
        f"""name = "words-for-strangers"
module = "{WORDS / "word_statistics.wasm"}"
args = ["--top", "20", "--log"]
stdin = "access.log"
[limits]
fuel = 6_000_000_000
memory_mib = 32
output_bytes = 65_536
[offer]
budget = "1.20"
max_eta_s = 60
"""
    )
    return folder


def blob_of(data: bytes) -> dict[str, Any]:
    """Name some bytes as a manifest does."""
    return {"digest": blake3(data).hexdigest(), "size": len(data)}


@asynccontextmanager
async def joined(lab: Lab, folder: Path, key: bytes) -> AsyncGenerator[Stranger, None]:
    """A client that was told one address, has found every node, and is in all meshes with them."""
    deployment = lab.devnet.deployment
    async with open_stranger(
        folder, chainId=deployment.chain_id, contract=deployment.escrow.hex(), key=key.hex()
    ) as stranger:
        assert stranger.wallet == address_of(key)
        found = await stranger.call("discover", address=lab.devnet.providers[0].address, nodes=NODES)
        assert sorted(found["peers"]) == sorted(place.peer for place in lab.devnet.places)
        assert {place.wallet.hex() for place in lab.devnet.places} <= set(found["wallets"])
        yield stranger


async def assert_in_good_standing(stranger: Stranger, lab: Lab) -> None:
    """Neither side found fault with the other: every message passed, and no node has ended its connection."""
    conduct = await stranger.call("conduct")
    assert conduct["judged"]["reject"] == 0, conduct
    assert set(conduct["connections"]) == {place.peer for place in lab.devnet.places}
    for place in lab.devnet.places:
        async with open_client(place.socket) as client:
            peers = await client.call(NodeFacade.peer_list)
        assert [each.wallet for each in peers if each.peer == stranger.peer and each.connected] == [stranger.wallet]


def awards_of(verified: dict[str, Any]) -> list[tuple[int, str, int]]:
    """Return attempt, provider and price of each award, as the client verified them."""
    return [(award["attempt"], award["provider"], award["price"]) for award in verified["awards"]]


async def test_it_follows_an_auction_by_gossip_and_finds_the_winner_and_the_price_itself(
    lab: Lab, tmp_path: Path
) -> None:
    async with joined(lab, tmp_path, b"1" * 32) as stranger:
        task = await lab.submit(make_task(tmp_path / "task"), commit_window_s=3, reveal_window_s=2)
        verified = await stranger.call("follow", task=task.task.hex(), awards=1)
        detail = await lab.wait_ended(task)
        assert detail.task.state == "done"
        (award,) = detail.awards
        assert award.provider is not None
        assert awards_of(verified) == [(0, award.provider.hex(), award.price)]
        bidders = [bid["bidder"] for bid in verified["ranked"]]
        assert sorted(bidders) == sorted(place.wallet.hex() for place in lab.devnet.providers)
        assert bidders[0] == award.provider.hex()
        assert verified["silent"] == []

        module = (WORDS / "word_statistics.wasm").read_bytes()  # was granted to the winner, and to nobody else
        refused = await stranger.call("fetch", peer=lab.requester.peer, **blob_of(module))
        assert refused == {"refused": "not served"}

        found = await stranger.call("doubt", task=task.task.hex())
        assert len(found) >= 6
        assert all(found.values()), f"these forgeries passed: {found}"
        await assert_in_good_standing(stranger, lab)


async def test_it_wins_an_auction_fetches_what_it_would_run_and_hands_over_to_the_standby(
    lab: Lab, tmp_path: Path
) -> None:
    async with joined(lab, tmp_path, b"2" * 32) as stranger:
        folder = make_task(tmp_path / "task")
        wanted = [blob_of(file.read_bytes()) for file in (WORDS / "word_statistics.wasm", folder / "access.log")]
        await stranger.call("sell", price=BID, eta=2)
        task = await lab.submit(folder, commit_window_s=6, reveal_window_s=4, weights="10000,0,0")
        assert (await stranger.call("wait", step="committed"))["offer"] == task.task.hex()
        revealed = await stranger.call("wait", step="revealed")
        assert revealed["bidders"] == NODES  # the two providers and the stranger stand in the roll

        awarded = await stranger.call("wait", step="awarded")
        assert awarded["ranked"][0] == stranger.wallet.hex()
        assert len(awarded["ranked"]) == NODES
        assert stranger.wallet.hex() in awarded["committed"]
        funded = await stranger.call("wait", step="funded")
        assert funded["held"] == awarded["price"]
        assert await stranger.call("wait", step="fetched") == wanted
        await stranger.call("wait", step="gaveUp")

        verified = await stranger.call("follow", task=task.task.hex(), awards=2)
        detail = await lab.wait_ended(task)
        assert detail.task.state == "done"
        assert detail.task.attempt == 1
        told = [(award.attempt, award.provider.hex(), award.price) for award in detail.awards if award.provider]
        assert awards_of(verified) == told
        (first, second) = told
        assert first == (0, stranger.wallet.hex(), awarded["price"])
        assert first[2] > BID, "second price: paid what the next best bid asks"
        assert second[1] in {place.wallet.hex() for place in lab.devnet.providers}
        assert (await stranger.call("wait", step="released"))["award"] == awarded["award"]
        assert (await stranger.call("wait", step="freed"))["held"] == 0

        async def has_its_money_back() -> bool:
            channels = await lab.channels_of(lab.requester)
            return [each.held for each in channels if each.peer == stranger.wallet] == [0]

        await lab.until("the requester's hold is free", has_its_money_back)
        for place in lab.devnet.places:  # every node of ours finds the stranger's auction sound
            ran = await lab.cli(place, "auctions", "verify", task.task.hex(), "--json")
            assert ran.code == 0, f"{place.name}: {ran.text}"
        await assert_in_good_standing(stranger, lab)


async def test_it_is_refused_in_the_words_of_the_page_and_never_banned_for_being_new(lab: Lab, tmp_path: Path) -> None:
    async with joined(lab, tmp_path, b"3" * 32) as stranger:
        for place in (lab.requester, lab.devnet.providers[0]):
            refusals = await stranger.call("probe", peer=place.peer)
            assert refusals.pop("no/such")["code"] == "UnknownMethod"
            assert {method: each["code"] for method, each in refusals.items()} == dict.fromkeys(
                methods_of_the_page(), "MessageTooLarge"
            )
            for method, (_, limit) in methods_of_the_page().items():
                assert f"at most {limit} are allowed" in refusals[method]["text"]
        for number in range(STRIKES):
            await stranger.call("novelty", text=f"message {number} of a later release")

        async def have_all_dropped_them() -> bool:
            return all(
                place.log.read_text().count("kind 8 is not known here") >= STRIKES for place in lab.devnet.places
            )

        await lab.until("every node has dropped every message of the later release", have_all_dropped_them)
        await assert_in_good_standing(stranger, lab)
