"""Scores anchored in the real contract: once an epoch, only what is new, proved to strangers, and through crashes."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import trio

from node.app.score_chain import ContractScores
from node.app.score_tools import is_anchored
from node.chain.chain import Chain
from node.chain.deployment import save_deployment
from node.chain.errors import ChainUnreachable
from node.chain.events import decode_log
from node.chain.gateway import open_gateway
from node.chain.stake_events import ScoresAnchored
from node.config.settings import Settings
from node.operations.clock import SystemClock
from node.reputation.anchoring import (
    ANSWERS_AT_ONCE,
    Anchors,
    AnchorTerms,
    NothingToAnchor,
    TooManyQuestions,
    WrongAnswer,
)
from node.storage.machine_log import OpenStreams, select_open_streams
from node.storage.storage import open_storage
from protocol.identity import Address, Digest, PeerId
from protocol.reputation.scores import SCORE_METHOD, NoSuchScore, ScoreProof, ScoreRequest, is_score
from protocol.units import Seconds
from protocol.wire.codec import DecodeError, decode, encode
from tests.node.chain.chain_world import Records, World

ALICE, BOB, CAROL = (Address(bytes([number]) * 20) for number in (1, 2, 3))
DAY = Seconds(86_400)
Handler = Callable[[PeerId, bytes], Awaitable[bytes]]


@dataclass
class Link:
    """Requests between nodes of one process."""

    handlers: dict[Address, Handler] = field(default_factory=dict[Address, Handler])
    forge: Callable[[bytes], bytes] = lambda answer: answer

    def of(self, wallet: Address) -> "Door":
        return Door(self, wallet)


@dataclass
class Door:
    link: Link
    wallet: Address

    def serve(self, method: str, handler: Handler, *, max_request: int) -> None:
        assert (method, max_request) == (SCORE_METHOD, 64)
        self.link.handlers[self.wallet] = handler

    async def call(self, wallet: Address, method: str, body: bytes, *, max_response: int | None = None) -> bytes:
        assert method == SCORE_METHOD
        answer = self.link.forge(await self.link.handlers[wallet](PeerId("asker"), body))
        assert max_response is not None
        assert len(answer) <= max_response
        return answer


@dataclass
class Opinions:
    """What a publisher thinks."""

    scores: dict[Address, int] = field(default_factory=lambda: {ALICE: 8_400, BOB: 3})
    gas_is_cheap: bool = True
    is_chain_away: bool = False

    async def all(self, limit: int) -> Mapping[Address, int]:
        assert limit >= len(self.scores)
        return dict(self.scores)

    async def is_gas_cheap(self) -> bool:
        if self.is_chain_away:
            raise ChainUnreachable("http://127.0.0.1", "nobody answers")
        return self.gas_is_cheap


class StoppedClock(SystemClock):
    """What is used up does not come back."""

    def monotonic(self) -> float:
        return 0.0


TERMS = AnchorTerms(unasked=True, every=DAY, patience=Seconds(DAY // 2))


@asynccontextmanager
async def open_anchors(
    world: World,
    folder: Path,
    opinions: Opinions,
    link: Link | None = None,
    *,
    number: int = 0,
    records: Records | None = None,
    terms: AnchorTerms = TERMS,
    chain: Chain | None = None,
) -> AsyncGenerator[Anchors, None]:
    async with (
        open_storage(folder, clock=SystemClock(), projections=(OpenStreams(),)) as storage,
        world.transactor(records, number=number) as sender,
    ):
        gateway = open_gateway(chain or world.chain, sender)
        assert gateway.reputation is not None

        async def open_streams(prefix: str) -> tuple[str, ...]:
            return await storage.read.query(lambda connection: select_open_streams(connection, prefix))

        anchors = Anchors(
            journal=storage.journal,
            open_streams=open_streams,
            chain=ContractScores(chain or world.chain, gateway.reputation, opinions.is_gas_cheap),
            peers=(link or Link()).of(sender.address),
            wallet=sender.address,
            clock=StoppedClock(),
            terms=terms,
            opinions=opinions.all,
        )
        await anchors.start()
        yield anchors


async def pass_time(world: World, seconds: int) -> None:
    await world.rpc.call("evm_increaseTime", hex(seconds))
    await world.mine()


async def begin_epoch(world: World) -> None:
    """Whatever time it is on this machine, no epoch ends within the test."""
    await pass_time(world, DAY - (await world.chain.head()).time % DAY)


async def anchored(world: World) -> list[ScoresAnchored]:
    head = await world.chain.head()
    logs = await world.chain.logs([world.deployment.reputation], world.deployment.block, head.number)
    return [event for event in (decode_log(world.deployment, log) for log in logs) if isinstance(event, ScoresAnchored)]


async def test_scores_are_anchored_once_an_epoch_and_only_when_they_changed(world: World, tmp_path: Path) -> None:
    await begin_epoch(world)
    opinions = Opinions()
    async with open_anchors(world, tmp_path, opinions) as anchors:
        await anchors.look()
        await anchors.look()
        with pytest.raises(NothingToAnchor, match="epoch"):
            await anchors.anchor_now()
        first = anchors.views()
        assert [(each.scores, each.block is not None) for each in first] == [(2, True)]
        await pass_time(world, DAY)
        await anchors.look()
        assert anchors.views() == first, "nothing had changed"
        with pytest.raises(NothingToAnchor, match="not anchored yet"):
            await anchors.anchor_now()
        opinions.scores[CAROL] = 10_000
        await anchors.look()
        assert len(anchors.views()) == 2
        assert anchors.views()[0].epoch == first[0].epoch + DAY
    events = await anchored(world)
    assert [(event.publisher, event.epoch, event.root) for event in events] == [
        (world.address(0), each.epoch, each.root) for each in reversed(anchors.views())
    ]


async def test_a_stranger_asks_the_publisher_and_checks_with_the_chain(world: World, tmp_path: Path) -> None:
    await begin_epoch(world)
    link, opinions = Link(), Opinions()
    async with (
        open_anchors(world, tmp_path / "one", opinions, link) as publisher,
        open_anchors(world, tmp_path / "two", Opinions(scores={}), link, number=1) as stranger,
        world.transactor(number=2) as sender,
    ):
        us = world.address(0)
        with pytest.raises(NoSuchScore):
            await stranger.ask(us, ALICE)
        await publisher.look()
        proof = await stranger.ask(us, ALICE)
        assert (proof.publisher, proof.subject, proof.score) == (us, ALICE, 8_400)
        assert await stranger.is_anchored(proof)
        contract = open_gateway(world.chain, sender).reputation
        assert contract is not None
        save_deployment(tmp_path / "deployments.json", world.deployment)
        settings = Settings.model_validate({"node": {"data_dir": str(tmp_path)}, "chain": {"rpc_url": world.anvil.url}})
        for each, holds in (
            (proof, True),
            (replace(proof, score=8_401), False),
            (replace(proof, subject=BOB), False),
            (replace(proof, epoch=proof.epoch + 1), False),
            (replace(proof, publisher=world.address(1)), False),
        ):
            assert await stranger.is_anchored(each) == holds
            assert await contract.is_score(each) == holds, "the contract says the same"
            assert await is_anchored(settings, each) == holds, "and to whoever has no node"
        with pytest.raises(NoSuchScore):
            await stranger.ask(us, CAROL)
        await pass_time(world, DAY)
        opinions.scores[ALICE] = 5
        await publisher.look()
        assert (await stranger.ask(us, ALICE)).score == 5
        assert await stranger.ask(us, ALICE, proof.epoch) == proof, "what was said once stays said"

        link.forge = lambda answer: encode(replace(decode(ScoreProof, answer), subject=CAROL))
        with pytest.raises(WrongAnswer):
            await stranger.ask(us, ALICE)
        link.forge = lambda answer: answer + b"\0"
        with pytest.raises(DecodeError):
            await stranger.ask(us, ALICE)


async def test_a_publisher_answers_so_many_questions_and_refuses_garbage(world: World, tmp_path: Path) -> None:
    await begin_epoch(world)
    link = Link()
    async with open_anchors(world, tmp_path, Opinions(), link) as publisher:
        await publisher.look()
        door, peer = link.handlers[world.address(0)], PeerId("asker")
        for garbage in (b"", b"\xc1", b"\x92\x00", encode(ScoreRequest(epoch=0, subject=ALICE)) + b"\0"):
            with pytest.raises(DecodeError):
                await door(peer, garbage)
        question = encode(ScoreRequest(epoch=0, subject=ALICE))
        for _ in range(int(ANSWERS_AT_ONCE)):
            await door(peer, question)
        with pytest.raises(TooManyQuestions):
            await door(peer, question)


async def test_a_sheet_that_was_decided_before_a_crash_is_anchored_after_it(world: World, tmp_path: Path) -> None:
    await begin_epoch(world)
    opinions, records = Opinions(), Records()
    await world.automine(enabled=False)
    async with open_anchors(world, tmp_path, opinions, records=records) as anchors:
        with trio.move_on_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(anchors.look)
                while not records.records:  # decided, journaled and handed to the transactor
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
        assert [each.block for each in anchors.views()] == [None]
        with pytest.raises(NoSuchScore):
            anchors.prove(ALICE)  # nothing proves it yet
    await world.automine(enabled=True)
    opinions.scores[ALICE] = 1  # meanwhile we think otherwise; what was decided goes first
    async with open_anchors(world, tmp_path, opinions, records=records, terms=replace(TERMS, unasked=False)) as anchors:
        await anchors.look()
        assert anchors.prove(ALICE).score == 8_400
        assert await anchors.is_anchored(anchors.prove(ALICE))
    assert len(await anchored(world)) == 1
    async with open_anchors(world, tmp_path, opinions, records=records) as anchors:
        await anchors.look()
        assert len(anchors.views()) == 1, "this epoch has its root"
        assert is_score(anchors.prove(BOB), anchors.views()[0].root)


async def test_a_sheet_that_another_program_overtook_proves_nothing(world: World, tmp_path: Path) -> None:
    await begin_epoch(world)
    opinions = Opinions()
    async with world.transactor() as sender:
        contract = open_gateway(world.chain, sender).reputation
        assert contract is not None
        epoch = (await world.chain.head()).time // DAY * DAY
        await contract.anchor(epoch, Digest(b"\x09" * 32))
    async with open_anchors(world, tmp_path / "one", opinions) as anchors:
        await anchors.look()
        assert anchors.views() == (), "the epoch has its root, if not ours"
        await pass_time(world, DAY)
        await anchors.look()
        assert len(anchors.views()) == 1
    # A node without its memory finds its own root on the chain and keeps the sheet that it stands for.
    await pass_time(world, DAY)
    async with open_anchors(world, tmp_path / "two", opinions) as anchors:
        await anchors.look()
        assert anchors.views()[0].epoch == epoch + DAY
        assert await anchors.is_anchored(anchors.prove(BOB))
    assert len(await anchored(world)) == 2


async def test_unasked_it_waits_for_cheap_gas_and_a_chain_that_is_away_stops_nothing(
    world: World, tmp_path: Path
) -> None:
    await begin_epoch(world)
    opinions = Opinions(gas_is_cheap=False)
    async with open_anchors(world, tmp_path, opinions) as anchors:
        await anchors.look()
        assert anchors.views() == ()
        await pass_time(world, TERMS.patience)
        opinions.is_chain_away = True
        with pytest.raises(ChainUnreachable):
            await anchors.look()
        assert anchors.views() == ()
        opinions.is_chain_away = False
        await anchors.look()
        assert len(anchors.views()) == 1
    async with open_anchors(world, tmp_path, Opinions(), terms=replace(TERMS, unasked=False)) as anchors:
        await pass_time(world, DAY)
        await anchors.look()
        assert len(anchors.views()) == 1, "nobody asked"
