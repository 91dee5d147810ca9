"""A market with one node that cheats, and what must hold whatever it did.

Mallory is a real node whose messages are bent on their way, or a hand that sends with Mallory's key what no honest node
would. `check_books` then follows the money and the work of everybody else, from what they journaled.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import trio
from blake3 import blake3

from node.market.drafting import MarketTerms
from node.market.ports import Sellers
from node.market.task_table import TaskRow, list_tasks
from protocol.identity import Address, ContentDigest, Digest
from protocol.market.messages import MarketMessage, encode_message, topic_of
from protocol.signing.eip712 import digest
from protocol.signing.keccak import keccak256
from protocol.signing.signed import Signed, sign_struct
from protocol.task import delivery, purchase
from protocol.task.pricing import highest_part_price
from protocol.wire.codec import decode, decode_as, encode
from protocol.wire.topics import topic_name
from tests.node.market.fake_bank import DOMAIN, Bank, FakePayerRails
from tests.node.market.fake_hub import Hub
from tests.node.market.fake_sandbox import ENGINE, output_of
from tests.node.market.market_lab import LabNode, make_wish, open_hub, open_node, wait_over

T = TypeVar("T")
PURSE = 10_000_000
LIMIT_S = 300.0
"""Virtual seconds within which every story must end."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The network, its money and its honest nodes. Nodes that join later end with the stage."""

    hub: Hub
    bank: Bank
    folder: Path
    stack: AsyncExitStack
    honest: list[LabNode] = field(default_factory=list[LabNode])

    async def join(
        self,
        name: str,
        *,
        gfuel: int | None = None,
        purse: int = 0,
        payer: FakePayerRails | None = None,
        sellers: Sellers | None = None,
        terms: MarketTerms | None = None,
    ) -> LabNode:
        """Run a node until the stage ends."""
        node = await self.stack.enter_async_context(
            open_node(self.hub, self.bank, self.folder, name, gfuel=gfuel, payer=payer, sellers=sellers, terms=terms)
        )
        self.bank.purses[node.wallet] += purse
        return node


@asynccontextmanager
async def open_stage(folder: Path, *, prices: tuple[int, ...] = (), buys: bool = True) -> AsyncGenerator[Stage, None]:
    """A network with an honest requester, if it `buys`, and one honest provider a price."""
    async with AsyncExitStack() as stack:
        hub, bank = await stack.enter_async_context(open_hub()), Bank()
        stage = Stage(hub=hub, bank=bank, folder=folder, stack=stack)
        if buys:
            stage.honest.append(await stage.join("requester", purse=PURSE))
        for index, price in enumerate(prices):
            stage.honest.append(await stage.join(f"provider-{index}", gfuel=price))
        yield stage


async def run_for_a_while(
    stage: Stage,
    name: str,
    gfuel: int | None,
    sellers: Sellers | None = None,
    engine: Digest = ENGINE,
    terms: MarketTerms | None = None,
    *,
    task_status: trio.TaskStatus[tuple[LabNode, trio.CancelScope]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a node until its scope, which is handed out with it, is cancelled: a crash."""
    with trio.CancelScope() as scope:
        async with open_node(
            stage.hub, stage.bank, stage.folder, name, gfuel=gfuel, sellers=sellers, engine=engine, terms=terms
        ) as node:
            task_status.started((node, scope))
            await trio.sleep_forever()


def key_of(name: str) -> bytes:
    """The wallet key of the node with that name."""
    return keccak256(name.encode())


def signed_by(name: str, value: T) -> Signed[T]:
    return sign_struct(key_of(name), DOMAIN, value)


def bend(stage: Stage, mallory: LabNode, what: str, change: Callable[[Any], Any], *, kind: Any) -> list[int]:
    """Let `change` replace every message `what` of Mallory's on its way; count them in the list that is returned."""
    count = [0]
    before = stage.hub.twist

    def twist(source: Address, method: str, data: bytes) -> bytes:
        data = before(source, method, data)
        if source != mallory.wallet or not method.endswith(what):
            return data
        count[0] += 1
        return encode(change(decode(kind, data)))

    stage.hub.twist = twist
    return count


def bend_gossip(stage: Stage, mallory: LabNode, kind: type, change: Callable[[Any], MarketMessage]) -> list[int]:
    """Likewise for messages of the auction, by whichever way they travel."""
    count = [0]
    before = stage.hub.twist
    union: Any = MarketMessage

    def twist(source: Address, method: str, data: bytes) -> bytes:
        data = before(source, method, data)
        if source != mallory.wallet or method.startswith("task/"):
            return data
        message = decode_as(union, data, max_bytes=1 << 20)
        if not isinstance(message, kind):
            return data
        count[0] += 1
        return encode_message(change(message))

    stage.hub.twist = twist
    return count


def lose(stage: Stage, source: LabNode, *whats: str, target: LabNode | None = None) -> None:
    """Lose every message of `source` whose name ends so."""
    before = stage.hub.is_lost

    def is_lost(sender: Address, receiver: Address | None, what: str) -> bool:
        mine = sender == source.wallet and (target is None or receiver == target.wallet)
        return (mine and what.endswith(whats)) or before(sender, receiver, what)

    stage.hub.is_lost = is_lost


async def shout(node: LabNode, message: MarketMessage) -> None:
    """Gossip a message that the node's own services would not."""
    await node.peers.publish(topic_name(DOMAIN, topic_of(message)), encode_message(message))


async def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for something that must come."""
    with trio.fail_after(LIMIT_S):
        while not is_so():
            await trio.sleep(0.02)


async def finish(node: LabNode, offer_id: Digest) -> TaskRow:
    """Wait until a task is over, and return how it ended."""
    with trio.fail_after(LIMIT_S):
        await wait_over(node, offer_id)
    return await row_of(node, offer_id)


async def row_of(node: LabNode, offer_id: Digest) -> TaskRow:
    rows = await node.storage.read.query(lambda connection: list_tasks(connection, limit=100, open_only=False))
    return next(row for row in rows if row.offer == offer_id)


async def wait_idle(stage: Stage) -> None:
    """Wait until no honest provider works on anything."""
    await wait_until(lambda: not any(node.provider.deliveries for node in stage.honest))


async def check_books(stage: Stage) -> None:
    """Check what must hold whatever Mallory did. Every honest node is still up, or its stack would have raised."""
    assert stage.bank.total() == PURSE * sum(node.requester is not None for node in stage.honest[:1])
    honest = {node.wallet: node for node in stage.honest}
    for events in stage.hub.purchases.values():
        await _check_purchase(stage, honest, events)
    for award_id, events in stage.hub.deliveries.items():
        _check_delivery(stage, honest, award_id, events)


async def _check_purchase(stage: Stage, honest: dict[Address, LabNode], events: list[purchase.Event]) -> None:
    """The requester paid exactly for the parts that it received, and holds what it paid for."""
    owed: dict[Digest, int] = {}
    requester: LabNode | None = None
    budget_of_awards: list[int] = []
    for event in events:
        if isinstance(event, purchase.WinnerChosen):
            requester = honest.get(event.award.value.requester)
            owed[event.award_id] = 0
            budget_of_awards.append(event.award.value.price)
        elif isinstance(event, purchase.PartReceived):
            receipt = event.receipt.value
            owed[receipt.award] = receipt.due
            if requester is not None:
                assert await requester.storage.blobs.has(receipt.output)
    if requester is not None:
        for award_id, due in owed.items():
            assert stage.bank.paid.get(award_id, 0) == due


def _check_delivery(
    stage: Stage, honest: dict[Address, LabNode], award_id: Digest, events: list[delivery.Event]
) -> None:
    """The provider never had more than one part unpaid, and what it took for paid was."""
    job = stage.hub.jobs[award_id]
    if job.award.value.provider not in honest:
        return
    state: delivery.State = delivery.Offered(job=job)
    unpaid = 0
    for event in events:
        state, _ = delivery.transition(state, event)
        unpaid += isinstance(event, delivery.PartRan)
        unpaid -= isinstance(event, delivery.PartPaid)
        assert unpaid <= 1
        assert delivery.exposure(state) <= highest_part_price(job.award.value)
    paid = getattr(state, "paid", 0)
    assert stage.bank.paid.get(award_id, 0) >= paid


async def trade_honestly(stage: Stage) -> None:
    """Run one honest task after all that: Mallory has left no trace in those who did nothing wrong."""
    stage.hub.is_lost = lambda _source, _target, _what: False
    stage.hub.twist = lambda _source, _what, data: data
    stage.hub.serve = lambda _source, data: data
    requester = stage.honest[0]
    offer_id = await requester.requester.submit(await make_wish(requester, parts=2))
    row = await finish(requester, offer_id)
    assert (row.state, row.paid_parts) == ("done", 2), row
    await wait_idle(stage)
    await check_books(stage)


async def holds_outputs(node: LabNode, parts: int) -> bool:
    """Whether the node holds what the honest program writes, for every part."""
    held = [await node.storage.blobs.has(blob_of(output_of(part))) for part in range(parts)]
    return all(held)


def blob_of(data: bytes) -> ContentDigest:
    return ContentDigest(blake3(data).digest())


def award_in_force(node: LabNode, offer_id: Digest) -> Signed[Any]:
    """The award of a task that is under way."""
    state = node.requester.tasks[offer_id].purchase.state
    assert isinstance(state, purchase.Funding | purchase.Awaiting | purchase.Running)
    return state.award


def resigned(name: str, signed: Signed[T], **changes: Any) -> Signed[T]:
    """The same promise with other figures, in the same hand."""
    value: Any = signed.value
    return signed_by(name, replace(value, **changes))


def id_of(value: object) -> Digest:
    return digest(DOMAIN, value)
