"""A requester with its cases on a real chain with a real court, and a provider that claims what was not accepted."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import trio

from node.app.disputing import LateOpening, PaymentEscrows
from node.arbitration.case_files import CaseFiles, load_case_files
from node.arbitration.ordering import Ordering
from node.arbitration.party import open_party
from node.arbitration.party_ports import EscrowSight
from node.arbitration.party_room import PartyRoom
from node.chain.events import AwardClaimed, AwardDisputed, decode_log
from node.payments.ports import ChallengedClaim, OpenCase
from protocol.dispute.acting import Attitude
from protocol.dispute.case import CaseOpened
from protocol.dispute.party import Brief
from protocol.identity import ZERO_DIGEST, Digest
from protocol.spending import SpendingCaps
from protocol.units import Seconds
from tests.node.arbitration.money_lab import FEE, FIRST, PATIENCE_S, PRICE, RESOLVE, court_of
from tests.node.arbitration.order_lab import NothingToShow, ordering_of
from tests.node.arbitration.party_lab import FakeEscrows, FakePeers
from tests.node.chain.court_world import ENGINE
from tests.node.payments.payments_world import (
    CLOCK,
    NO_CAPS,
    Party,
    World,
    receipt_of,
    start_of,
)

NOTHING_CLAIMED: Final = FakeEscrows(sight=EscrowSight(resolve_by=None, is_over=False))
ATTITUDE: Final = Attitude(min_resolve_within=120, stagger=5)
PACE: Final = Seconds(240)
ENOUGH: Final = 40


@dataclass(kw_only=True)
class Requester:
    """Contests every claim, unless it owes them; takes those that name the court there."""

    world: World
    brief: Brief | None = None
    files: CaseFiles | None = None
    looks: bool = True
    owes: bool = False
    ordering: Ordering | None = None
    """A user's way to court, with what the chain tells of the escrow."""

    async def judge(self, claim: ChallengedClaim) -> bool:
        while self.files is None or not self.looks:
            await trio.sleep(0.01)
        assert self.brief is not None
        assert claim.award_id == self.brief.award_id
        if self.owes:
            return True
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
        papers = NothingToShow(briefs={self.brief.award_id: self.brief} if self.brief is not None else {})
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
                papers=papers,
                escrows=PaymentEscrows(party.payments.payer.escrows) if self.owes else NOTHING_CLAIMED,
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
            self.ordering = ordering_of(room, await stack.enter_async_context(open_party(room)), papers, party)
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


async def claims(world: World) -> Sequence[int]:
    """Return until when each claim may be disputed."""
    head = await world.chain.head()
    logs = await world.chain.logs((world.deployment.escrow,), 0, head.number)
    events = [decode_log(world.deployment, each) for each in logs]
    return [each.dispute_by for each in events if isinstance(each, AwardClaimed)]
