"""A requester contests a claim and goes to court over it in one transaction; without a court it still contests."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import trio

from node.app.disputing import LateOpening
from node.arbitration.case_files import CaseFiles, load_case_files
from node.arbitration.party import open_party
from node.arbitration.party_ports import EscrowSight
from node.arbitration.party_room import PartyRoom
from node.chain.events import AwardClaimed, AwardDisputed, decode_log
from node.payments.ports import ChallengedClaim, OpenCase
from protocol.dispute.acting import Attitude
from protocol.dispute.case import CaseOpened
from protocol.dispute.party import Brief
from protocol.errors import TransientError
from protocol.identity import ZERO_DIGEST, Digest
from protocol.market.objects import Award
from protocol.spending import SpendingCaps
from protocol.units import Amount, Seconds
from tests.node.arbitration.money_lab import COURT_TERMS, FEE, FIRST, PATIENCE_S, PRICE, RESOLVE, court_of
from tests.node.arbitration.party_lab import FakeEscrows, FakePapers, FakePeers
from tests.node.chain.court_world import ENGINE
from tests.node.payments.payments_world import (
    CLOCK,
    NO_CAPS,
    Crash,
    Party,
    World,
    open_world,
    receipt_of,
    start_of,
)

ATTITUDE: Final = Attitude(min_resolve_within=120, stagger=5)
PACE: Final = Seconds(240)
ENOUGH: Final = 40


@dataclass(kw_only=True)
class Requester:
    """Contests every claim; takes those that name the court there."""

    world: World
    brief: Brief | None = None
    files: CaseFiles | None = None
    looks: bool = True

    async def judge(self, claim: ChallengedClaim) -> bool:
        while self.files is None or not self.looks:
            await trio.sleep(0.01)
        assert self.brief is not None
        assert claim.award_id == self.brief.award_id
        await self.files.hold(self.brief)
        return False

    @asynccontextmanager
    async def open(
        self,
        *,
        attitude: Attitude = ATTITUDE,
        caps: SpendingCaps = NO_CAPS,
        crash_after: int | None = None,
        open_case: OpenCase | None = None,
    ) -> AsyncGenerator[Party, None]:
        """Run its node on its folder, as it was left."""
        late = LateOpening(self.world.deployment.court)
        async with AsyncExitStack() as stack:
            party = await stack.enter_async_context(
                self.world.party(
                    "payer", judge=self.judge, caps=caps, crash_after=crash_after, open_case=open_case or late.open
                )
            )
            self.files = await load_case_files(party.storage)
            stack.callback(self.close)
            room = PartyRoom(
                court=court_of(self.world, party),
                files=self.files,
                papers=FakePapers(),
                escrows=FakeEscrows(sight=EscrowSight(resolve_by=None, is_over=False)),
                holds=party.payments.payee.holds,
                bonds=party.signer,
                peers=FakePeers(),
                blobs=party.storage.blobs,
                cursors=party.storage.cursors,
                clock=CLOCK,
                own=party.address,
                attitude=attitude,
            )
            late.provide(room)
            await stack.enter_async_context(open_party(room))
            yield party

    def close(self) -> None:
        self.files = None


async def have_claimed(requester: Requester, payer: Party, payee: Party) -> Digest:
    """Have an award funded, worked on, and its part claimed although it was not accepted."""
    world, terms = requester.world, {"resolve_within": RESOLVE, "pace": PACE}
    offer = world.offer(
        payer.address, rail=world.deployment.escrow, arbiter=world.deployment.court, dispute_fee=FEE, engine=ENGINE
    )
    offer = replace(offer, **terms)
    award, award_id = world.award(offer, payee.address, ZERO_DIGEST, PRICE)
    receipt = payee.sign(receipt_of(award_id, 0, FIRST))
    requester.brief = Brief(award=award, award_id=award_id, offer=offer, own=payer.address, receipt=receipt)
    signed = await payer.signer.sign_award(award)
    with trio.fail_after(PATIENCE_S):
        await payer.payments.payer.fund(signed, award_id)
        await payee.payments.payee.receive_funding(signed, award_id, None)
        await payee.payments.payee.wait_funded(signed, award_id)
    start = payee.sign(start_of(award_id))
    await payee.payments.payee.note_start(signed, award_id, start)
    await payee.payments.payee.note_receipt(signed, award_id, receipt)
    await payee.payments.payee.settle(signed, award_id, start, None, receipt)
    return award_id


async def told(world: World, kind: type[AwardDisputed | CaseOpened]) -> Sequence[Digest]:
    """Return the transactions in which this was told, so far."""
    head = await world.chain.head()
    logs = await world.chain.logs((world.deployment.escrow, world.deployment.court), 0, head.number)
    return [each.transaction for each in logs if isinstance(decode_log(world.deployment, each), kind)]


async def until_told(world: World, kind: type[AwardDisputed | CaseOpened]) -> Digest:
    """Wait for one telling; there is never another."""
    with trio.fail_after(PATIENCE_S):
        while not (found := await told(world, kind)):
            await trio.sleep(0.05)
    (only,) = found
    return only


async def until_at_rest(payer: Party) -> None:
    """Wait until the claim is seen to be disputed, and nothing is left to be sent."""
    with trio.fail_after(PATIENCE_S):
        while payer.payments.payer.escrows()[0].phase != "disputed" or payer.transactor.in_hand():
            await trio.sleep(0.05)


async def test_a_claim_is_contested_and_its_case_opened_in_one_transaction(tmp_path: Path) -> None:
    async with open_world(tmp_path / "nodes", terms=COURT_TERMS, court=True) as world, world.party("payee") as payee:
        requester = Requester(world=world)
        async with requester.open() as payer:
            award_id = await have_claimed(requester, payer, payee)
            assert await until_told(world, CaseOpened) == await until_told(world, AwardDisputed)
            await until_at_rest(payer)
            assert requester.files is not None
            assert award_id in requester.files.open


async def test_a_crash_after_any_record_leaves_no_claim_undisputed_and_no_dispute_without_its_case(
    tmp_path: Path,
) -> None:
    async with open_world(tmp_path / "nodes", terms=COURT_TERMS, court=True) as world, world.party("payee") as payee:
        requester = Requester(world=world, looks=False)
        async with requester.open() as payer:
            await have_claimed(requester, payer, payee)
        requester.looks, crashes = True, 0
        while not await told(world, AwardDisputed):
            assert crashes < ENOUGH
            try:
                async with requester.open(crash_after=1):
                    with trio.move_on_after(PATIENCE_S):
                        while not await told(world, AwardDisputed):
                            await trio.sleep(0.05)
            except* Crash:
                crashes += 1
        assert crashes > 2
        assert await until_told(world, CaseOpened) == await until_told(world, AwardDisputed)
        async with requester.open() as payer:
            await until_at_rest(payer)
        assert len(await told(world, CaseOpened)) == 1


async def test_a_bond_that_the_wallet_refuses_leaves_the_claim_disputed_all_the_same(tmp_path: Path) -> None:
    async with open_world(tmp_path / "nodes", terms=COURT_TERMS, court=True) as world, world.party("payee") as payee:
        requester = Requester(world=world)
        async with requester.open(caps=replace(NO_CAPS, per_day=Amount(PRICE + FEE))) as payer:
            await have_claimed(requester, payer, payee)
            await until_told(world, AwardDisputed)
            assert not await told(world, CaseOpened)


async def test_who_opens_no_cases_disputes_and_no_more(tmp_path: Path) -> None:
    async with open_world(tmp_path / "nodes", terms=COURT_TERMS, court=True) as world, world.party("payee") as payee:
        requester = Requester(world=world)
        async with requester.open(attitude=replace(ATTITUDE, open=False)) as payer:
            await have_claimed(requester, payer, payee)
            await until_told(world, AwardDisputed)
            assert not await told(world, CaseOpened)


async def test_a_court_that_can_not_be_asked_in_time_leaves_time_for_the_dispute(tmp_path: Path) -> None:
    asked = 0

    async def away(_award: Award, _award_id: Digest) -> int | None:
        nonlocal asked
        await trio.lowlevel.checkpoint()
        asked += 1
        raise TransientError("the court can't be asked")

    async with open_world(tmp_path / "nodes", terms=COURT_TERMS, court=True) as world, world.party("payee") as payee:
        requester = Requester(world=world)
        async with requester.open(open_case=away) as payer:
            await have_claimed(requester, payer, payee)
            with trio.fail_after(PATIENCE_S):
                while asked < 2:
                    await trio.sleep(0.05)
            assert not await told(world, AwardDisputed)
        # The claim's time runs on while the node is away, to the last eighth.
        with trio.fail_after(PATIENCE_S):
            while not (found := await claims(world)):
                await trio.sleep(0.05)
        (claim,) = found
        await world.chain.rpc.call("evm_setNextBlockTimestamp", hex(claim - PACE // 8))
        await world.chain.rpc.call("anvil_mine", "0x1")
        async with requester.open(open_case=away):
            await until_told(world, AwardDisputed)


async def test_a_claim_that_nobody_could_judge_in_time_is_disputed_and_not_paid_by_silence(tmp_path: Path) -> None:
    async with open_world(tmp_path / "nodes", terms=COURT_TERMS, court=True) as world, world.party("payee") as payee:
        requester = Requester(world=world, looks=False)  # its judge never comes to an end
        async with requester.open() as payer:
            await have_claimed(requester, payer, payee)
            with trio.fail_after(PATIENCE_S):
                while not (last := await claims(world)):
                    await trio.sleep(0.05)
            await world.chain.rpc.call("evm_setNextBlockTimestamp", hex(last[0] - PACE // 8))
            await world.chain.rpc.call("anvil_mine", "0x1")
            await until_told(world, AwardDisputed)
            assert not await told(world, CaseOpened), "there is no conviction to go to court with"


async def claims(world: World) -> Sequence[int]:
    """Return until when each claim may be disputed."""
    head = await world.chain.head()
    logs = await world.chain.logs((world.deployment.escrow,), 0, head.number)
    events = [decode_log(world.deployment, each) for each in logs]
    return [each.dispute_by for each in events if isinstance(each, AwardClaimed)]
