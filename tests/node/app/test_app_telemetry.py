"""What is counted and traced of real services' work, on a virtual clock."""

from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import trio
from prometheus_client import CollectorRegistry
from trio.testing import MockClock

from node.app.telemetry.instruments import Instruments
from node.app.telemetry.spans import root_span_of
from node.app.telemetry.witness import Witness
from node.market.task_table import list_tasks
from node.operations.logs import trace_id_of
from node.operations.randomness import SeededRandomSource
from node.operations.tracing import Span
from protocol.market.messages import OfferAnnouncement
from protocol.task.verification import Audit
from protocol.units import BasisPoints
from tests.node.market.fake_bank import DOMAIN, Bank
from tests.node.market.fake_hub import Hub
from tests.node.market.market_lab import LabNode, make_wish, open_hub, open_node, wait_over

PURSE = 10_000_000


class Lab:
    """A requester and providers with a witness each."""

    def __init__(self, stack: AsyncExitStack, folder: Path, hub: Hub) -> None:
        self.stack, self.folder, self.hub, self.bank = stack, folder, hub, Bank()
        self.witnesses: dict[str, Witness] = {}
        self.spans: dict[str, list[Span]] = {}

    async def node(self, name: str, gfuel: int | None = None) -> LabNode:
        spans = self.spans[name] = list[Span]()
        witness = Witness(self.hub.clock, SeededRandomSource(name), spans.append)
        self.witnesses[name] = witness
        node = await self.stack.enter_async_context(
            open_node(self.hub, self.bank, self.folder, name, gfuel=gfuel, witness=witness)
        )
        self.bank.purses[node.wallet] = PURSE if gfuel is None else 0
        return node

    def counts(self, name: str) -> dict[str, float]:
        """Return every count of ours that is not zero."""
        return counts(self.witnesses[name].instruments.registry)


def counts(registry: CollectorRegistry) -> dict[str, float]:
    found: dict[str, float] = {}
    for family in registry.collect():
        for sample in family.samples:
            if sample.name.startswith("stoa_") and sample.name.endswith("_total") and sample.value:
                labels = ",".join(sample.labels.values())
                found[sample.name.removeprefix("stoa_").removesuffix("_total") + (f"[{labels}]" if labels else "")] = (
                    sample.value
                )
    return found


async def test_a_task_is_counted_at_both_ends(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        lab = Lab(stack, tmp_path, await stack.enter_async_context(open_hub()))
        requester = await lab.node("requester")
        cheap, dear = await lab.node("cheap", 100_000), await lab.node("dear", 120_000)
        offer_id = await requester.requester.submit(await make_wish(requester, parts=3))
        with trio.fail_after(120):
            await wait_over(requester, offer_id)
            while cheap.provider.deliveries or dear.provider.deliveries:
                await trio.sleep(0.1)
        assert lab.counts("requester") == {
            "tasks_submitted": 1,
            "tasks_ended[done]": 1,
            "auctions_held": 1,
            "commitments_received": 2,
            "bids_received": 2,
            "awards_made": 1,
            "parts_bought": 3,
        }
        won = lab.counts("cheap")
        assert won.pop("fuel") > 0
        assert won == {
            "bids_sealed": 1,
            "bids_won": 1,
            "awards_taken": 1,
            "deliveries_ended[delivered]": 1,
            "parts_run[exact]": 3,
        }
        assert lab.counts("dear") == {"bids_sealed": 1, "bids_lost[outbid]": 1}


async def test_audits_are_counted_by_what_they_found(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        lab = Lab(stack, tmp_path, await stack.enter_async_context(open_hub()))
        requester = await lab.node("requester")
        liar = await lab.node("liar", 100_000)
        await lab.node("honest", 120_000)
        liar.sandbox.fuel += 1
        wish = replace(await make_wish(requester, parts=3), verification=Audit(rate=BasisPoints(10_000)))
        offer_id = await requester.requester.submit(wish)
        with trio.fail_after(120):
            await wait_over(requester, offer_id)
        counted = lab.counts("requester")
        assert (counted["audits[different]"], counted["audits[equal]"]) == (1, 3)
        assert (counted["providers_failed"], counted["parts_bought"]) == (1, 3)


async def test_all_nodes_give_one_task_one_trace_and_its_spans_fit_into_each_other(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        lab = Lab(stack, tmp_path, await stack.enter_async_context(open_hub()))
        requester, provider = await lab.node("requester"), await lab.node("provider", 100_000)
        offer_id = await requester.requester.submit(await make_wish(requester, parts=2))
        with trio.fail_after(120):
            await wait_over(requester, offer_id)
            while provider.provider.deliveries:
                await trio.sleep(0.1)
        bought, sold = lab.spans["requester"], lab.spans["provider"]
        assert [span.name for span in bought] == ["auction", "award", "part", "part", "task"]
        assert [span.name for span in sold] == ["prepare", "part", "payment", "part", "payment", "delivery"]
        assert {span.trace for span in (*bought, *sold)} == {trace_id_of(offer_id)} == {offer_id[:16]}
        assert bought[-1].identity == root_span_of(offer_id) == sold[-1].parent
        assert bought[-1].parent == b""
        assert {span.parent for span in bought[:-1]} == {bought[-1].identity}
        assert {span.parent for span in sold[:-1]} == {sold[-1].identity}
        assert len({span.identity for span in (*bought, *sold)}) == len(bought) + len(sold)
        for inner, outer in ((bought[:-1], bought[-1]), (sold[:-1], sold[-1])):
            assert outer.start == inner[0].start
            assert [span.end for span in inner[:-1]] == [span.start for span in inner[1:]]
            assert inner[-1].end == outer.end
        assert not any(span.error for span in (*bought, *sold))
        parts = [span.attributes["stoa.part"] for span in sold if span.name == "part"]
        assert parts == [0, 1]
        (row,) = await requester.storage.read.query(lambda c: list_tasks(c, limit=2, open_only=False))
        assert bought[-2].attributes["stoa.due"] == row.spent


async def test_a_task_without_bidders_and_a_cancelled_one_end_with_their_reason(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        lab = Lab(stack, tmp_path, await stack.enter_async_context(open_hub()))
        requester = await lab.node("requester")
        for is_cancelled in (False, True):
            offer_id = await requester.requester.submit(await make_wish(requester))
            if is_cancelled:
                requester.requester.cancel(offer_id)
            with trio.fail_after(120):
                await wait_over(requester, offer_id)
        ended = Counter({name: value for name, value in lab.counts("requester").items() if "ended" in name})
        assert ended == {"tasks_ended[failed]": 1, "tasks_ended[cancelled]": 1}
        first, _, second, _ = lab.spans["requester"]
        assert (first.name, second.name, second.error) == ("auction", "auction", "cancelled")
        assert first.error != ""


async def test_an_offer_that_comes_again_is_heard_once(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        lab = Lab(stack, tmp_path, await stack.enter_async_context(open_hub()))
        requester, instruments = await lab.node("requester"), Instruments()
        announcements: list[OfferAnnouncement] = []
        for _ in range(2):
            offer_id = await requester.requester.submit(await make_wish(requester))
            announcements.append(requester.requester.tasks[offer_id].auction.announcement)
            requester.requester.cancel(offer_id)
        for announcement in announcements * 3:
            instruments.on_market_message(DOMAIN, announcement)
        assert counts(instruments.registry) == {"auctions_heard": 2, "market_messages_heard[offer]": 6}
