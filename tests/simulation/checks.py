"""What must hold when a simulation is over, whatever went wrong in it: read from chain and journals, nothing else."""

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from blake3 import blake3
from sqlalchemy import Connection

from node.market.case_book import stream_of as case_stream
from node.market.delivery_run import DELIVERY, DeliveryContext
from node.market.purchase_run import PURCHASE, PurchaseContext
from node.market.task_table import list_tasks
from node.storage.journal import Journal
from node.storage.machine_log import CLOSED, MAX_RECORD_BYTES, Machine, select_open_streams
from protocol.channel.chain import ClaimConfirmed, CloseConfirmed, OpenConfirmed
from protocol.identity import ZERO_DIGEST, Address, Digest
from protocol.market.objects import Award
from protocol.market.observer_states import ObservedAuction
from protocol.market.transcript import Transcript, verify_transcript
from protocol.signing.eip712 import Domain, digest
from protocol.task import delivery, purchase
from protocol.task.audit import Finding
from protocol.task.pricing import highest_part_price
from protocol.wire.codec import decode_as
from tests.simulation.node import Node
from tests.simulation.sandbox import output_of
from tests.simulation.world import PURSE, World

OVER = frozenset(("done", "failed", "cancelled"))


@dataclass(kw_only=True)
class Books:
    """Who has which promise, by award."""

    awards: dict[Digest, Award] = field(default_factory=dict[Digest, Award])
    accepted: dict[Digest, int] = field(default_factory=dict[Digest, int])
    """What an honest requester accepted in all."""
    earned: dict[Digest, int] = field(default_factory=dict[Digest, int])
    """What an honest provider holds an acceptance for, in all."""
    refuted: list[Address] = field(default_factory=list[Address])
    """Whose receipts an honest requester refuted."""


async def check_world(world: World) -> None:
    """Check everything.

    Raises:
        AssertionError: What does not hold, and of whom.
    """
    for node in world.nodes:
        assert not node.trouble, f"{node.name}: {node.trouble!r}"
    _check_contracts(world)
    for node in world.honest:
        told = world.statements.broken.get(node.wallet)
        assert told is None, f"{node.name} {told}"
    _check_agreement(world)
    books = Books()
    for node in world.honest:
        life = node.life
        assert life is not None, f"{node.name} is not up"
        await _check_tasks_are_over(world, node)
        await _check_purchases(node, life.storage.journal, books)
        await _check_deliveries(node, life.storage.journal, books)
        _check_nobody_honest_is_accused(world, node)
    for provider in books.refuted:
        assert provider in world.liars, f"an honest receipt of {provider.hex()} was refuted"
    world.figures["refuted"] += len(books.refuted)
    _check_escrows(world, books)
    _check_channels(world, books)


def _check_contracts(world: World) -> None:
    """Every block: no token appears or goes, and each contract holds what its records say."""
    minted = sum(world.chain.blocks[0].state.tokens.values())
    assert minted % PURSE == 0
    last = None
    for block in world.chain.blocks:
        if block.state is last:
            continue
        last = block.state
        assert sum(last.tokens.values()) == minted, f"tokens at block {block.number}"
        for contract, owed in last.owed().items():
            assert last.tokens.get(contract, 0) == owed, f"contract {contract.hex()} at block {block.number}"


async def _check_tasks_are_over(world: World, node: Node) -> None:
    assert node.life is not None
    newest = partial(list_tasks, limit=1000, open_only=False)
    rows = {row.offer: row for row in await node.life.storage.read.query(newest)}
    for task in world.submitted:
        if task.requester is node:
            row = rows.get(task.offer)
            assert row is not None, f"{node.name} forgot {task.offer.hex()}"
            assert row.state in OVER, f"{node.name}: {row}"
            assert row.spent <= row.budget, f"{node.name}: {row}"
            world.ended[row.state] += 1
            expects_success = world.expects_success or task in world.afterwards
            assert not expects_success or row.state == "done", f"{node.name}: {row}"
    left = await node.life.storage.read.query(_select_unfinished)
    assert not left, f"{node.name} would take up {left} after a restart"


def _select_unfinished(connection: Connection) -> tuple[str, ...]:
    return tuple(stream for prefix in ("purchase/", "delivery/") for stream in select_open_streams(connection, prefix))


async def _check_purchases(node: Node, journal: Journal, books: Books) -> None:
    """Nothing is accepted twice, and nothing without its output here."""
    assert node.life is not None
    for stream in await journal.streams("purchase/"):
        context, events = await _story(journal, PURCHASE, stream)
        assert isinstance(context, PurchaseContext)
        parts: list[int] = []
        serving, found = Address(bytes(20)), Finding.UNDECIDED
        for event in events:
            match event:
                case purchase.WinnerChosen(award=award, award_id=award_id):
                    assert award_id not in books.awards, f"{node.name} awarded {award_id.hex()} twice"
                    serving = award.value.provider
                    books.awards[award_id] = award.value
                    books.accepted[award_id] = 0
                case purchase.PartReceived(receipt=receipt):
                    value = receipt.value
                    parts.append(value.part)
                    assert value.due >= books.accepted[value.award], f"{node.name} took back what it accepted"
                    books.accepted[value.award] = int(value.due)
                    assert await node.life.storage.blobs.has(value.output), f"{node.name} paid for nothing"
                    if found is Finding.EQUAL:
                        what, found = output_of(context.manifest, value.part), Finding.UNDECIDED
                        assert value.output == blake3(what).digest(), f"{node.name} paid for a lie"
                case purchase.AuditPassed(finding=finding):
                    found = finding
                case purchase.AuditRefuted(receipt_id=receipt_id):
                    books.refuted.append(serving)
                    assert await journal.replay(case_stream(receipt_id)), f"{node.name} kept no evidence"
                case _:
                    pass
        assert parts == list(range(len(parts))), f"{node.name} accepted parts {parts}"


async def _check_deliveries(node: Node, journal: Journal, books: Books) -> None:
    """Never more than one part unpaid (M2), each part run and paid once."""
    for stream in await journal.streams("delivery/"):
        context, events = await _story(journal, DELIVERY, stream)
        assert isinstance(context, DeliveryContext)
        award, award_id = context.job.award.value, context.job.award_id
        state: delivery.State = delivery.Offered(job=context.job)
        ran, paid = Counter[int](), Counter[int]()
        for event in events:
            state, _ = delivery.transition(state, event)
            assert delivery.exposure(state) <= highest_part_price(award), f"{node.name} is exposed beyond one part"
            match event:
                case delivery.PartRan(receipt=receipt):
                    ran[int(receipt.part)] += 1
                case delivery.PartPaid(acceptance=acceptance):
                    paid[int(acceptance.value.part)] += 1
                    books.earned[award_id] = int(acceptance.value.due)
                case _:
                    pass
            assert sum(ran.values()) - sum(paid.values()) <= 1, f"{node.name} worked ahead of its money"
        assert max(ran.values(), default=0) <= 1, f"{node.name} delivered a part twice"
        assert max(paid.values(), default=0) <= 1, f"{node.name} was paid a part twice"
        books.awards.setdefault(award_id, award)


async def _story(journal: Journal, machine: Machine[Any, Any, Any, Any], stream: str) -> tuple[object, list[Any]]:
    opened, *rest = await journal.replay(stream)
    context = cast("object", decode_as(machine.context, opened.body, max_bytes=MAX_RECORD_BYTES))
    events = [
        decode_as(machine.events, record.body, max_bytes=MAX_RECORD_BYTES) for record in rest if record.kind != CLOSED
    ]
    return context, events


def _check_nobody_honest_is_accused(world: World, node: Node) -> None:
    """No honest node has a proof against another; nor a strike, unless lines failed and it heard more (A6)."""
    assert node.life is not None
    observed = node.life.trading.gossip.observed
    honest = {each.wallet: each.name for each in world.nodes if each.wallet not in world.liars}
    for culprit in observed.proofs:
        assert culprit not in honest, f"{node.name} has a proof against {honest[culprit]}"
    struck = [honest[culprit] for culprit in observed.strikes if culprit in honest]
    if struck:
        world.ended["struck in bad weather"] += len(struck)
    assert not struck or world.network.failed, f"{node.name} holds an omission against {struck}"


def _check_escrows(world: World, books: Books) -> None:
    """Neither side is off by more than one part (M2), and a provider gets all that it holds an acceptance for.

    Off they may be: a claim that its requester could not look at in time is disputed, and split by the law (M8).
    """
    for award_id, record in world.chain.state.escrows.items():
        one_part = highest_part_price(record.award)
        accepted, earned = books.accepted.get(award_id), books.earned.get(award_id)
        told = f"escrow {award_id.hex()[:12]}: {record.paid} of {record.award.price} was paid, {accepted=}, {earned=}"
        if accepted is not None:
            assert accepted - one_part <= record.paid <= accepted + one_part, told
        if earned is not None:
            assert record.paid >= earned, told


def _check_channels(world: World, books: Books) -> None:
    """A payer pays what it accepted and no more; a payee gets all that it was promised."""
    honest = {node.wallet for node in world.honest}
    for channel, (payer, payee, paid) in _channels(world).items():
        own = [award_id for award_id, award in books.awards.items() if award.channel == channel]
        accepted = sum(books.accepted.get(award_id, 0) for award_id in own)
        earned = sum(books.earned.get(award_id, 0) for award_id in own)
        if payer in honest:
            assert paid <= accepted, f"channel {channel.hex()}: {paid=}, {accepted=}"
        if payee in honest:
            assert paid >= earned, f"channel {channel.hex()}: {paid=}, {earned=}"
        if payer in honest and payee in honest:
            assert paid == accepted, f"channel {channel.hex()}: {paid=}, {accepted=}"


def _channels(world: World) -> dict[Digest, tuple[Address, Address, int]]:
    opened: dict[Digest, tuple[Address, Address]] = {}
    ended: dict[Digest, int] = {}
    for block in world.chain.blocks:
        for subject, fact in block.facts:
            match fact:
                case OpenConfirmed(key=key):
                    opened[subject] = key.payer, key.payee
                case ClaimConfirmed(claimed=paid) | CloseConfirmed(to_payee=paid):
                    ended[subject] = int(paid)
                case _:
                    pass
    return {channel: (*parties, ended.get(channel, 0)) for channel, parties in opened.items()}


def _check_agreement(world: World) -> None:
    """Honest nodes that heard an award of an honest requester for one slot and attempt heard the same one, and whoever
    heard an auction whole finds the same winners and prices."""
    liars = world.liars
    heard: dict[tuple[Digest, int, int], Digest] = {}
    for node in world.honest:
        assert node.life is not None
        for offer_id, auction in node.life.trading.gossip.observed.auctions.items():
            if auction.offer.requester in liars:
                continue
            for award in auction.awards:
                value = award.signed.value
                assert value.channel == ZERO_DIGEST or value.price
                place = (offer_id, int(value.slot), int(value.attempt))
                known = heard.setdefault(place, Digest(award.signed.signature))
                assert known == award.signed.signature, f"{node.name} heard another award of {offer_id.hex()}"
            if _recompute(world.chain.rules.market, auction):
                world.recomputed += 1


def _recompute(domain: Domain, auction: ObservedAuction) -> bool:
    """Work an auction out again from what one node heard, if that was all of it; raise if it comes out otherwise."""
    attempts = sorted(int(award.signed.value.attempt) for award in auction.awards)
    if auction.roll is None or attempts != list(range(len(attempts))) or not attempts:
        return False
    heard = {digest(domain, bid.signed.value): bid.signed for bid in auction.bids.values()}
    if any(bid_id not in heard for award in auction.awards for bid_id in award.bid_ids):
        return False
    transcript = Transcript(
        offer=auction.signed_offer,
        roll=auction.roll,
        leaves=auction.leaves,
        bids=tuple(heard[bid_id] for bid_id in auction.awards[0].bid_ids),
        awards=tuple(award.signed for award in auction.awards),
    )
    verify_transcript(domain, transcript)
    return True
