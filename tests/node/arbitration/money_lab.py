"""A provider with its cases on a real chain with a real court: what the tests of who gets which money share."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import trio

from node.app.court_chain import ContractCourt
from node.arbitration.case_files import CaseFiles, load_case_files
from node.arbitration.ordering import Ordering
from node.arbitration.party import open_party
from node.arbitration.party_room import PartyRoom
from node.chain.local import POOL, LocalTerms
from protocol.dispute.acting import Attitude
from protocol.dispute.case import Stage
from protocol.dispute.objects import Finding
from protocol.dispute.party import Brief, Closed
from protocol.identity import Digest
from protocol.market.objects import Award, Offer
from protocol.signing.signed import Signed
from protocol.task.messages import VoucherNotice
from protocol.task.objects import Acceptance, Receipt
from protocol.units import ONE_TOKEN, Amount, Seconds
from tests.node.arbitration.order_lab import NothingToShow, ordering_of
from tests.node.arbitration.party_lab import FakeEscrows, FakePeers
from tests.node.chain.court_world import ENGINE, a_vote, ballots_of, quorum_of
from tests.node.payments.payments_world import (
    CLOCK,
    STAKE,
    TERMS,
    Party,
    World,
    accept,
    open_world,
    prepare,
    receipt_of,
)

PATIENCE_S: Final = 60.0
PRICE, FEE = Amount(4 * ONE_TOKEN), Amount(ONE_TOKEN)
FIRST, SECOND = Amount(ONE_TOKEN), Amount(3 * ONE_TOKEN)
"""What is due after each part."""
TICKETS: Final = 5
RESOLVE, PACE = Seconds(1_200), Seconds(300)
"""So long that no machine is too slow for them: the chain's time runs ahead where a test has to wait."""
COURT_TERMS = replace(
    TERMS, hold_period=Seconds(7_200), min_resolve_within=Seconds(120), max_time=RESOLVE, least_fee=FEE
)


@dataclass(kw_only=True)
class Work:
    """One award over a channel, whose second part was delivered and is not paid."""

    offer: Offer
    award: Signed[Award]
    award_id: Digest
    receipt: Signed[Receipt]
    accepted: Signed[Acceptance]
    paid: VoucherNotice
    """What paid the first part."""


class Demands:
    """What takes unpaid parts to court, as the node's litigant does."""

    def __init__(self) -> None:
        self.files: CaseFiles | None = None
        self.brief: Brief | None = None

    async def demand(self, _award: Award, award_id: Digest) -> None:
        assert self.files is not None
        assert self.brief is not None
        assert self.brief.award_id == award_id
        await self.files.hold(self.brief)


@dataclass(kw_only=True)
class Litigant:
    """A provider with its cases."""

    party: Party
    files: CaseFiles
    court: ContractCourt
    ordering: Ordering


@asynccontextmanager
async def open_court(folder: Path, terms: LocalTerms) -> AsyncGenerator[tuple[World, Party, Party]]:
    """A real chain with a court, a payer, and an arbiter that has all tickets; the payee is for the test to open."""
    async with (
        open_world(folder, terms=terms, court=True) as world,
        world.party("payer") as payer,
        world.party("other") as arbiter,
    ):
        await enlist(world, arbiter)
        yield world, payer, arbiter


@asynccontextmanager
async def open_provider(
    world: World, demands: Demands, *, crash_after: int | None = None
) -> AsyncGenerator[Litigant, None]:
    """Run the provider on its folder, as it was left; with `crash_after` it is gone after so many records."""
    async with AsyncExitStack() as stack:
        party = await stack.enter_async_context(world.party("payee", demand=demands.demand, crash_after=crash_after))
        files = demands.files = await load_case_files(party.storage)
        court = court_of(world, party)
        papers = NothingToShow(briefs={} if demands.brief is None else {demands.brief.award_id: demands.brief})
        room = PartyRoom(
            court=court,
            files=files,
            papers=papers,
            escrows=FakeEscrows(),
            holds=party.payments.payee.holds,
            bonds=party.signer,
            peers=FakePeers(),
            blobs=party.storage.blobs,
            cursors=party.storage.cursors,
            clock=CLOCK,
            own=party.address,
            attitude=Attitude(min_resolve_within=120, stagger=5),
        )
        ordering = ordering_of(room, await stack.enter_async_context(open_party(room)), papers, party)
        yield Litigant(party=party, files=files, court=court, ordering=ordering)


def court_of(world: World, party: Party) -> ContractCourt:
    assert party.gateway.court is not None
    return ContractCourt(world.chain, party.index, party.gateway.token, party.gateway.court, party.address)


async def enlist(world: World, arbiter: Party) -> None:
    assert arbiter.gateway.bench is not None
    await arbiter.gateway.token.ensure_allowance(world.deployment.bench, Amount(10**9))
    await arbiter.gateway.bench.enlist(ENGINE, TICKETS, key="all")


async def deliver(world: World, payer: Party, provider: Litigant, demands: Demands) -> Work:
    """Have a task of two parts taken, the first paid, the second delivered; then the requester says nothing more."""
    payee, terms = provider.party, {"arbiter": world.deployment.court, "dispute_fee": FEE, "engine": ENGINE}
    award, award_id = await prepare(
        world, payer, payee, PRICE, **terms, resolve_within=RESOLVE, pace=PACE,
        start_within=Seconds(20), max_eta=Seconds(20),
    )  # fmt: skip
    offer = replace(world.offer(payer.address), **terms)
    offer = replace(offer, resolve_within=RESOLVE, pace=PACE, start_within=Seconds(20), max_eta=Seconds(20))
    award, award_id = world.award(offer, payee.address, award.channel, PRICE)
    signed = await payer.signer.sign_award(award)
    notice = await payer.payments.payer.fund(signed, award_id)
    await payee.payments.payee.receive_funding(signed, award_id, notice)
    with trio.fail_after(PATIENCE_S):
        await payee.payments.payee.wait_funded(signed, award_id)
    await payee.payments.payee.note_receipt(signed, award_id, payee.sign(receipt_of(award_id, 0, FIRST)))
    accepted = await accept(payer, signed, 0, FIRST)
    paid = await payer.payments.payer.pay(signed, award_id, accepted, last=False)
    await payee.payments.payee.receive_payment(signed, award_id, accepted, paid)
    assert paid is not None
    receipt = payee.sign(receipt_of(award_id, 1, SECOND))
    await payee.payments.payee.note_receipt(signed, award_id, receipt)
    demands.brief = Brief(award=award, award_id=award_id, offer=offer, own=payee.address, receipt=receipt)
    await payee.payments.payee.settle(signed, award_id, None, accepted, receipt)
    return Work(offer=offer, award=signed, award_id=award_id, receipt=receipt, accepted=accepted, paid=paid)


async def pass_until(world: World, time: int) -> None:
    """Let the chain's time run ahead, to a block after this second."""
    if (await world.chain.head()).time <= time:
        await world.chain.rpc.call("evm_setNextBlockTimestamp", hex(time + 1))
        await world.chain.rpc.call("anvil_mine", "0x1")


async def until_stage(court: ContractCourt, award: Digest, stage: Stage) -> None:
    with trio.fail_after(PATIENCE_S):
        while (await court.round_of(award)).stage is not stage:
            await trio.sleep(0.05)


async def judge(world: World, arbiter: Party, award: Digest, finding: Finding, due: int) -> None:
    """Draw the committee, whose seats are all this arbiter's, and let it find this; then let the appeal's time pass."""
    court = court_of(world, arbiter)
    await world.chain.rpc.call("anvil_mine", "0x3")
    with trio.fail_after(PATIENCE_S):
        while (committee := await court.committee_of(award)) is None:
            await trio.sleep(0.05)
    assert set(committee) == {arbiter.address}
    vote = replace(a_vote(finding, due), part=1)
    quorum, signatures = quorum_of(arbiter.signer, award, 0, committee, ballots_of(vote, len(committee)))
    await court.settle(award, committee, quorum, signatures)
    await pass_until(world, (await court.round_of(award)).appeal_by)


async def settled(provider: Litigant, award: Digest) -> Closed:
    with trio.fail_after(PATIENCE_S):
        while award in provider.files.open:
            await trio.sleep(0.05)
    file = await provider.files.find(award)
    assert file is not None
    assert isinstance(file.state, Closed)
    return file.state


async def money(world: World) -> Mapping[str, int]:
    found = dict(await world.balances("payer", "payee", "other"))
    found["bench"] = await world.chain.token_balance(world.deployment.bench)
    found["court"] = await world.chain.token_balance(world.deployment.court)
    found["pool"] = await world.chain.token_balance(POOL)
    assert sum(found.values()) == 3 * STAKE
    return found


async def leave(world: World, payer: Party, channel: Digest) -> None:
    """Wait until the payer has what is left of its deposit; it leaves by itself once an arbiter was there."""
    with trio.fail_after(PATIENCE_S):
        while (await payer.gateway.channels.state_of(channel)).deposit:
            await world.chain.rpc.call("anvil_mine", "0x1")
            await trio.sleep(0.2)
