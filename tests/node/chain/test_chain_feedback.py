"""Feedback in a registry of ERC-8004: about paid awards alone, each once, proved by what was signed; and read back."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import trio
from eth_abi.abi import decode as decode_abi

from node.app.feedback_chain import ContractFeedback, registry_of
from node.chain.deployment import Deployment
from node.chain.erc8004 import REPUTATION_ABI, FeedbackRegistry, RegistryUnusable, Summary
from node.chain.errors import ChainUnreachable, Reverted
from node.chain.gateway import abis_of
from node.chain.transaction_request import FateUnknown
from node.chain.transactor import Transactor, open_transactor
from node.config.settings import Settings
from node.feedback.paid_table import PaidAwards
from node.feedback.writing import FeedbackTerms, FeedbackWriter
from node.operations.clock import SystemClock
from node.storage.chain import Entry
from node.storage.restoration import Restored, entry_of
from node.storage.storage import Storage, open_storage
from node.wallet.errors import UndeclaredSpend
from protocol.errors import ConfigError
from protocol.identity import ZERO_DIGEST, Address, ContentDigest, Digest, PeerId
from protocol.market.objects import Award
from protocol.reputation.feedback import AGENT_METHOD, GIVEN_UP_AFTER, Feedback
from protocol.signing.ecdsa import Signature
from protocol.signing.eip712 import digest
from protocol.signing.signed import Signed
from protocol.task import purchase
from protocol.task.objects import Acceptance, Receipt
from protocol.task.purchase_events import PartReceived, ProviderFailed, WinnerChosen
from protocol.units import ONE_TOKEN, Amount, Seconds, UnixTime
from protocol.wire.codec import DecodeError, encode
from tests.node.chain.chain_world import Records, World
from tests.node.chain.erc8004_lab import Registries, compiled, deploy_registries
from tests.node.chain.test_chain_reputation import award as make_award

NO_SIGNATURE = Signature(bytes(65))
Handler = Callable[[PeerId, bytes], Awaitable[bytes]]


class LaterClock(SystemClock):
    """Runs ahead as far as a test says."""

    ahead = 0

    def now(self) -> UnixTime:
        return UnixTime(super().now() + self.ahead)


@dataclass
class Hub:
    """The nodes' requests, and what each wallet answers about itself."""

    handlers: dict[Address, Handler] = field(default_factory=dict[Address, Handler])
    asked: int = 0

    def of(self, wallet: Address) -> "Door":
        return Door(self, wallet)


@dataclass
class Door:
    hub: Hub
    wallet: Address

    def serve(self, method: str, handler: Handler, *, max_request: int) -> None:
        assert (method, max_request) == (AGENT_METHOD, 64)
        self.hub.handlers[self.wallet] = handler

    async def call(self, wallet: Address, method: str, body: bytes, *, max_response: int | None = None) -> bytes:
        assert method == AGENT_METHOD
        self.hub.asked += 1
        if wallet not in self.hub.handlers:
            raise ChainUnreachable("a peer", "nobody is there")
        return await self.hub.handlers[wallet](PeerId("asker"), body)


@dataclass
class Buyer:
    """The one who pays and says so: wallet 0."""

    storage: Storage
    writer: FeedbackWriter
    clock: LaterClock
    hub: Hub
    registries: Registries
    market: Deployment

    async def buys(self, award: Award, *, paid_parts: int, name: str = "a", fails: bool = False) -> Digest:
        """Note a purchase as the market does; return the award's digest."""
        award_id = digest(self.market.market_domain, award)
        events: list[purchase.Event] = [WinnerChosen(award=Signed(award, NO_SIGNATURE), award_id=award_id)]
        for part in range(paid_parts):
            receipt = receipt_of(award_id, part, due=Amount(award.price * (part + 1) // award.parts))
            name_of_it = digest(self.market.market_domain, receipt)
            events.append(PartReceived(receipt=Signed(receipt, NO_SIGNATURE), receipt_id=name_of_it))
        if fails:
            events.append(ProviderFailed(award_id=award_id, reason="silent"))
        stream = f"purchase/{name}"
        await self.storage.journal.append(
            [Entry(stream=stream, kind=type(each).__name__, body=encode(each, purchase.Event)) for each in events]
        )
        return award_id

    async def fates(self) -> list[tuple[str, str]]:
        return [(row.fate, row.reason) for row in await self.writer.rows(100)]


def receipt_of(award_id: Digest, part: int, *, due: Amount) -> Receipt:
    nothing = ContentDigest(bytes(32))
    return Receipt(
        award=award_id,
        part=part,
        outcome=0,
        output=nothing,
        logs=nothing,
        fuel=1,
        peak_mib=1,
        bytes_in=0,
        bytes_out=0,
        due=due,
        notes=nothing,
    )


@asynccontextmanager
async def sender_for(world: World, registry: Address, records: Records) -> AsyncGenerator[Transactor, None]:
    async with (
        world.signer(feedback=registry) as signer,
        open_transactor(
            world.chain, signer, records, {**abis_of(world.deployment), registry: REPUTATION_ABI}
        ) as transactor,
    ):
        yield transactor


@asynccontextmanager
async def open_buyer(
    world: World,
    folder: Path,
    registries: Registries,
    *,
    hub: Hub | None = None,
    records: Records | None = None,
    least: int = 0,
    gas_is_cheap: bool = True,
) -> AsyncGenerator[Buyer, None]:
    hub, clock = hub or Hub(), LaterClock()

    async def is_gas_cheap() -> bool:
        return gas_is_cheap

    async with (
        open_storage(folder, clock=clock, projections=(PaidAwards(),)) as storage,
        sender_for(world, registries.feedbacks, records or Records()) as sender,
    ):
        registry = FeedbackRegistry(world.chain, registries.feedbacks, sender)
        writer = FeedbackWriter(
            domain=world.deployment.market_domain,
            journal=storage.journal,
            reader=storage.read,
            registry=ContractFeedback(registry, is_gas_cheap),
            peers=hub.of(sender.address),
            clock=clock,
            terms=terms_of(registries, least=least),
        )
        yield Buyer(storage, writer, clock, hub, registries, world.deployment)


def terms_of(registries: Registries, *, agent: int | None = None, least: int = 0) -> FeedbackTerms:
    return FeedbackTerms(
        registry=registries.feedbacks, write=True, least=Amount(least), agent=agent, patience=Seconds(3_600)
    )


def stand_in(world: World, buyer: Buyer, number: int, agent: int | None) -> None:
    """Let wallet `number` answer that it is this agent."""
    FeedbackWriter(
        domain=world.deployment.market_domain,
        journal=buyer.storage.journal,
        reader=buyer.storage.read,
        registry=ContractFeedback(FeedbackRegistry(world.chain, buyer.registries.feedbacks), never),
        peers=buyer.hub.of(world.address(number)),
        clock=buyer.clock,
        terms=terms_of(buyer.registries, agent=agent),
    )


async def never() -> bool:
    return False


async def test_a_paid_award_is_told_once_with_what_was_signed(world: World, tmp_path: Path) -> None:
    registries, records = await deploy_registries(world), Records()
    agent = await registries.register(world.address(1))
    hub = Hub()
    async with open_buyer(world, tmp_path, registries, hub=hub, records=records) as buyer:
        stand_in(world, buyer, 1, agent)
        terms = replace(await make_award(world), parts=4)
        award_id = await buyer.buys(terms, paid_parts=3, fails=True)
        await buyer.writer.look()
        await buyer.writer.look()
        (row,) = await buyer.writer.rows(10)
        assert (row.fate, row.agent, row.index, row.paid.award) == ("written", agent, 1, award_id)
        assert row.transaction is not None
        receipt = await world.chain.receipt(row.transaction)
        assert receipt is not None
        (log,) = receipt.logs
        kinds = ["uint64", "int128", "uint8", "string", "string", "string", "string", "bytes32"]
        _, value, decimals, tag1, tag2, _, uri, evidence = decode_abi(kinds, log.data)
        assert (value, decimals, tag1, tag2) == (7_500, 2, "successRate", "stoa")
        due = Amount(terms.price * 3 // 4)
        last = digest(world.deployment.market_domain, receipt_of(award_id, 2, due=due))
        accepted = Acceptance(award=award_id, part=2, receipt=last, due=due)
        assert evidence == digest(world.deployment.market_domain, accepted)
        assert award_id.hex() in uri
        assert last.hex() in uri
    async with open_buyer(world, tmp_path, registries, hub=hub, records=records) as again:
        await again.writer.look()
        registry = FeedbackRegistry(world.chain, registries.feedbacks)
        told = await registry.summary(agent, [world.address(0)], tag1="successRate", tag2="stoa")
        assert told == Summary(count=1, value=7_500, decimals=2)
        assert await registry.clients_of(agent) == (world.address(0),)


async def test_nothing_is_told_of_what_was_not_paid_is_too_small_still_runs_or_is_long_over(
    world: World, tmp_path: Path
) -> None:
    registries = await deploy_registries(world)
    agent = await registries.register(world.address(1))
    async with open_buyer(world, tmp_path, registries, least=5 * ONE_TOKEN) as buyer:
        stand_in(world, buyer, 1, agent)
        terms = replace(await make_award(world), parts=4)
        await buyer.buys(replace(terms, slot=1), paid_parts=0, fails=True, name="unpaid")
        await buyer.buys(replace(terms, slot=2, price=Amount(4 * ONE_TOKEN)), paid_parts=4, name="small")
        await buyer.buys(replace(terms, slot=3), paid_parts=3, name="runs")
        await buyer.writer.look()
        assert buyer.hub.asked == 0
        await buyer.buys(replace(terms, slot=4), paid_parts=4, name="old")
        buyer.clock.ahead = GIVEN_UP_AFTER + 60
        await buyer.writer.look()
        assert buyer.hub.asked == 0
        assert await buyer.fates() == [("waiting", "")] * 2
        assert await FeedbackRegistry(world.chain, registries.feedbacks).clients_of(agent) == ()


async def test_an_agent_counts_only_if_the_registry_says_that_it_is_the_providers(world: World, tmp_path: Path) -> None:
    registries = await deploy_registries(world)
    other, ours = await registries.register(world.address(2)), await registries.register(world.address(0))
    sold = await registries.register(world.address(2))
    await registries.set_wallet(world.address(2), sold, world.address(1))
    terms = await make_award(world)
    async with open_buyer(world, tmp_path, registries) as buyer:
        for number, (agent, fate) in enumerate(
            (
                (other, ("skipped", "its provider is no agent of the registry")),
                (999, ("skipped", "its provider is no agent of the registry")),
                (None, ("skipped", "its provider is no agent of the registry")),
                (sold, ("written", "")),  # it is paid there
            )
        ):
            stand_in(world, buyer, 1, agent)
            await buyer.buys(replace(terms, slot=number), paid_parts=1, name=f"{number}")
            await buyer.writer.look()
            assert fate in await buyer.fates()
        stand_in(world, buyer, 0, ours)
        award = replace(terms, slot=9, provider=world.address(0))
        await buyer.buys(award, paid_parts=1, name="ourselves")
        await buyer.writer.look()
        assert any("Self-feedback" in reason for _, reason in await buyer.fates())
        assert await FeedbackRegistry(world.chain, registries.feedbacks).clients_of(ours) == ()


async def test_what_is_in_the_way_of_one_award_stops_no_other_and_it_is_tried_again(
    world: World, tmp_path: Path
) -> None:
    registries = await deploy_registries(world)
    agent = await registries.register(world.address(1))
    terms = await make_award(world)
    async with open_buyer(world, tmp_path, registries) as buyer:
        stand_in(world, buyer, 1, agent)

        async def garbage(_peer: PeerId, _body: bytes) -> bytes:
            return b"\xc1"

        buyer.hub.handlers[world.address(2)] = garbage
        await buyer.buys(replace(terms, provider=world.address(2)), paid_parts=1, name="a")
        await buyer.buys(replace(terms, provider=Address(b"\x77" * 20)), paid_parts=1, name="b")
        await buyer.buys(terms, paid_parts=1, name="c")
        await buyer.writer.look()
        assert sorted(await buyer.fates()) == [("waiting", ""), ("waiting", ""), ("written", "")]
        for question in (b"", b"\x91\x00", b"\x00" * 64):
            with pytest.raises(DecodeError):
                await buyer.hub.handlers[world.address(1)](PeerId("asker"), question)


async def test_feedback_waits_for_cheap_gas_and_not_for_ever(world: World, tmp_path: Path) -> None:
    registries = await deploy_registries(world)
    agent = await registries.register(world.address(1))
    async with open_buyer(world, tmp_path, registries, gas_is_cheap=False) as buyer:
        stand_in(world, buyer, 1, agent)
        await buyer.buys(await make_award(world), paid_parts=1)
        await buyer.writer.look()
        assert await buyer.fates() == [("waiting", "")]
        buyer.clock.ahead = 3_601
        await buyer.writer.look()
        assert await buyer.fates() == [("written", "")]


async def test_feedback_that_was_on_its_way_in_a_crash_is_given_once(world: World, tmp_path: Path) -> None:
    registries, records, hub = await deploy_registries(world), Records(), Hub()
    agent = await registries.register(world.address(1))
    await world.automine(enabled=False)
    async with open_buyer(world, tmp_path, registries, records=records, hub=hub) as buyer:
        stand_in(world, buyer, 1, agent)
        await buyer.buys(await make_award(world), paid_parts=1)
        with trio.move_on_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(buyer.writer.look)
                while len(records.records) < 2:  # signed, at least
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
        assert await buyer.fates() == [("intended", "")]
    await world.automine(enabled=True)
    async with open_buyer(world, tmp_path, registries, records=records, hub=hub) as buyer:
        await buyer.writer.look()
        assert await buyer.fates() == [("written", "")]
    registry = FeedbackRegistry(world.chain, registries.feedbacks)
    assert (await registry.summary(agent, [world.address(0)])).count == 1


async def test_a_restored_node_does_not_tell_a_second_time(world: World, tmp_path: Path) -> None:
    registries, agent = await deploy_registries(world), 1

    class Forgotten(FeedbackRegistry):
        async def give(self, agent: int, feedback: Feedback, *, key: str) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - never returns
            raise FateUnknown(f"{key} about {agent}: {feedback.value}")

    await registries.register(world.address(1))
    async with open_buyer(world, tmp_path, registries) as buyer:
        stand_in(world, buyer, 1, agent)
        writer = FeedbackWriter(
            domain=world.deployment.market_domain,
            journal=buyer.storage.journal,
            reader=buyer.storage.read,
            registry=ContractFeedback(Forgotten(world.chain, registries.feedbacks), never),
            peers=Hub(handlers=buyer.hub.handlers).of(world.address(2)),
            clock=buyer.clock,
            terms=replace(terms_of(registries), patience=Seconds(0)),
        )
        await buyer.buys(await make_award(world), paid_parts=1)
        await writer.look()
        ((fate, reason),) = await buyer.fates()
        assert fate == "skipped"
        assert "restored" in reason


async def test_of_what_began_before_a_backup_a_restored_node_says_nothing(world: World, tmp_path: Path) -> None:
    registries = await deploy_registries(world)
    agent = await registries.register(world.address(1))
    terms = await make_award(world)
    async with open_buyer(world, tmp_path, registries) as buyer:
        stand_in(world, buyer, 1, agent)
        now = buyer.clock.now()
        await buyer.buys(terms, paid_parts=1, name="before")
        await buyer.storage.journal.append([entry_of(Restored(at=UnixTime(now + 600), made_at=now, last=0))])
        buyer.clock.ahead = 1_200
        await buyer.buys(replace(terms, slot=1), paid_parts=1, name="after")
        await buyer.writer.look()
        assert sorted(fate for fate, _ in await buyer.fates()) == ["skipped", "written"]


async def test_what_others_gave_is_read_and_what_is_no_registry_is_named(world: World) -> None:
    registries = await deploy_registries(world)
    agent = await registries.register(world.address(1))
    registry = FeedbackRegistry(world.chain, registries.feedbacks)
    await registries.give(world.address(0), agent, 9_000, 2)
    await registries.give(world.address(2), agent, -3_000, 2, "tradingYield")
    both = [world.address(0), world.address(2)]
    assert await registry.identities() == registries.identities
    assert await registry.summary(agent, both) == Summary(count=2, value=3_000, decimals=2)
    assert await registry.summary(agent, both, tag1="tradingYield") == Summary(count=1, value=-3_000, decimals=2)
    assert await registry.summary(agent, [world.address(1)]) == Summary(count=0, value=0, decimals=0)
    assert await registry.clients_of(agent) == tuple(both)
    with pytest.raises(RegistryUnusable, match="clientAddresses required"):
        await registry.summary(agent, [])
    for address in (Address(b"\x55" * 20), world.deployment.escrow, registries.identities):
        with pytest.raises(RegistryUnusable):
            await FeedbackRegistry(world.chain, address).identities()
        with pytest.raises(RegistryUnusable):
            await FeedbackRegistry(world.chain, address).is_of(agent, world.address(1))
    assert not await registry.is_of(999, world.address(1))


async def test_the_wallet_gives_feedback_there_and_does_nothing_else(world: World) -> None:
    registries = await deploy_registries(world)
    agent = await registries.register(world.address(0))
    deployment, settings = (
        world.deployment,
        {"reputation": {"erc8004": {"registry": "0x" + registries.feedbacks.hex()}}},
    )
    assert registry_of(Settings.model_validate(settings), deployment) == registries.feedbacks
    with pytest.raises(ConfigError, match="market's own"):
        registry_of(Settings.model_validate(settings), replace(deployment, arbiter=registries.feedbacks))
    async with sender_for(world, registries.feedbacks, Records()) as sender:
        registry = FeedbackRegistry(world.chain, registries.feedbacks, sender)
        feedback = Feedback(value=1, decimals=0, tag1="a", tag2="b", uri="c", hash=ZERO_DIGEST)
        with pytest.raises(Reverted, match="Self-feedback"):
            await registry.give(agent, feedback, key="one")
    async with world.signer(feedback=registries.feedbacks) as signer:
        for to, why in ((registries.feedbacks, "registry of feedback"), (registries.identities, "no contract")):
            with pytest.raises(UndeclaredSpend, match=why):
                await signer.sign_transaction(
                    chain_id=deployment.chain_id,
                    nonce=0,
                    max_priority_fee=1,
                    max_fee=1,
                    gas=1,
                    to=to,
                    value=0,
                    data=compiled()["Identities"][0].encode_call("register"),
                    spend=None,
                )


def test_our_words_are_the_standards() -> None:
    """The selectors of the registries' version 2.0.0, and of the registry that the tests run against."""
    known = {
        "giveFeedback": "3c036a7e",
        "getSummary": "81bbba58",
        "getClients": "42dd519c",
        "getIdentityRegistry": "bc4d861b",
    }
    theirs = compiled()["Feedbacks"][0].functions
    for name, selector in known.items():
        assert REPUTATION_ABI.functions[name].hash[:4].hex() == selector, name
        assert theirs[name].hash == REPUTATION_ABI.functions[name].hash
        assert theirs[name].outputs == REPUTATION_ABI.functions[name].outputs
