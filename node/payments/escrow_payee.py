"""The provider's side of all escrowed awards: the shell around escrow_books.py."""

from functools import partial
from typing import Any, Final

import structlog
import trio

from node.payments import escrow_books
from node.payments.account import FACT_INDEX_MOST, Account, keep, write_down
from node.payments.errors import BadTerms, EscrowGone, NotPaid, NotSeenYet
from node.payments.escrow_books import EscrowContext, Evidence, ProviderBook, ProviderEvent
from node.payments.escrow_view import EscrowView, view_of
from node.payments.ports import DemandUnpaid, Fact
from node.payments.room import Ledger, Room
from node.payments.tracked import Step, Tracked, track
from node.storage.machine_log import Machine
from protocol.errors import StoaError
from protocol.escrow import provider as machine_of
from protocol.escrow import record
from protocol.escrow.provider import (
    ClaimRequested,
    ProviderEffect,
    SubmitClaim,
    SubmitPayClaim,
    SubmitProveStart,
    SubmitRelease,
    SubmitSplit,
)
from protocol.escrow.record import Closed, Disputed, Funded, Started, Unfunded, escrow_terms
from protocol.identity import Digest, format_address
from protocol.market.objects import Award
from protocol.signing.signed import Signed, verify_signer
from protocol.task.objects import Acceptance, Receipt, Start

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

PREFIX: Final = "escrow-provider"

ProviderAccount = Account[EscrowContext, ProviderBook, ProviderEvent]


class EscrowPayee:
    """Waits for the money, keeps the evidence, brings it on chain in time."""

    def __init__(self, room: Room, demand: DemandUnpaid | None = None) -> None:
        """Prepare; `demand` goes to court for a claim that is disputed."""
        self._room, self._demand = room, demand
        machine = Machine[EscrowContext, Tracked[ProviderBook], Step[ProviderEvent], Any](
            context=EscrowContext,
            events=Step[ProviderEvent],
            begin=lambda context: Tracked(
                state=escrow_books.begin_provider(context),
                block=context.funded_at,
                index=FACT_INDEX_MOST if context.funded_at else 0,
            ),
            transition=track(escrow_books.PROVIDER_RULES),
        )
        self._ledger = Ledger(room, PREFIX, machine, escrow_books.PROVIDER_RULES)
        self._lock = trio.Lock()

    async def start(self) -> None:
        """Take up what was open."""
        await self._ledger.load()
        for award_id, account in tuple(self._ledger.accounts.items()):
            self._serve(award_id, account)

    async def receive_funding(self, award: Signed[Award], award_id: Digest) -> None:
        """Begin to watch an award's escrow.

        Raises:
            BadTerms, BadSignature, EscrowError: The award is not one that our escrow pays this provider for.
            EscrowGone: It was recalled, or is over.
            TransientError: The chain can't be reached.
        """
        async with self._lock:
            known = self._ledger.accounts.get(award_id)
            if known is None:
                await self._begin(award, award_id)
            elif known.context.award.value != award.value:
                raise BadTerms("the award has another digest than the one it came under")

    async def wait_funded(self, award: Signed[Award], award_id: Digest) -> None:
        """Return once the escrow is confirmed to be funded, with exactly this award's terms, and not recalled.

        Raises:
            EscrowGone: It never will be.
        """
        await self.receive_funding(award, award_id)
        account = self._find(award_id)
        await account.wait_until(
            lambda book: (
                machine_of.may_start(book.escrow)
                or not isinstance(book.escrow.phase, Unfunded)
                or escrow_books.is_provider_over(book)
            )
        )
        if not machine_of.may_start(account.state.escrow) and account.state.escrow.start is None:
            raise EscrowGone(f"the escrow of award {award_id.hex()} was recalled, or its start_by is over")

    async def note_start(self, award_id: Digest, start: Signed[Start]) -> None:
        """Keep the start before it is sent: it answers a recall."""
        await self._find(award_id).apply(Evidence(start=start))

    async def note_receipt(self, award_id: Digest, receipt: Signed[Receipt]) -> None:
        """Keep a receipt before it is sent: it can be claimed."""
        await self._find(award_id).apply(Evidence(receipt=receipt))

    async def receive_payment(self, award: Award, award_id: Digest, acceptance: Signed[Acceptance]) -> None:
        """Keep an acceptance: it is as good as money while the escrow is open.

        Raises:
            BadSignature: It is not the requester's, or for another chain.
            NotPaid: It is about another award.
            EscrowGone: The escrow has nothing left for it.
        """
        if acceptance.value.award != award_id:
            raise NotPaid("the acceptance is of another award")
        verify_signer(self._room.market_domain, acceptance, award.requester)
        account = self._ledger.accounts.get(award_id)
        if account is None or account.is_over:
            raise EscrowGone(f"the escrow of award {award_id.hex()} is closed")
        phase = account.state.escrow.phase
        if isinstance(phase, Unfunded | Closed) or not (
            isinstance(phase, Funded | Started) or account.state.escrow.start is not None
        ):
            raise EscrowGone(f"the escrow of award {award_id.hex()} is {type(phase).__name__.lower()}")
        known = account.state.escrow.acceptance
        if known is None or known.value.part < acceptance.value.part:
            await account.apply(Evidence(acceptance=acceptance))
        elif known.value.part == acceptance.value.part and known.value.due > acceptance.value.due:
            raise NotPaid(f"{acceptance.value.due} is accepted where {known.value.due} was before")

    async def settle(
        self,
        award_id: Digest,
        start: Signed[Start] | None,
        accepted: Signed[Acceptance] | None,
        unpaid: Signed[Receipt] | None,
    ) -> None:
        """Work under the award is over: bring on chain what was accepted, and claim what was delivered and was not.

        What ran and was never sent is written off: the requester has had that part from somebody else, and would pay
        for it twice (docs/adr/1572).
        """
        account = self._ledger.accounts.get(award_id)
        if account is None or account.is_over:
            return
        sent = account.state.escrow.receipt
        if unpaid is not None and (sent is None or sent.value != unpaid.value):
            log.warning("escrow.part_written_off", award=award_id.hex(), due=unpaid.value.due)
        if start is not None or accepted is not None:
            await account.apply(Evidence(start=start, acceptance=accepted))
        if not isinstance(account.state.escrow.phase, Unfunded) and not account.state.escrow.claiming:
            await account.apply(ClaimRequested())

    async def wait_settled(self) -> None:
        """Return once nothing more can be brought on chain now."""
        for account in tuple(self._ledger.accounts.values()):
            await account.wait_until(lambda book: not escrow_books.outstanding_provider(book))

    def views(self) -> tuple[EscrowView, ...]:
        """Return all escrows that are not over."""
        return tuple(
            view_of(award_id, account.state.escrow, "provider", account.context.award.value.requester)
            for award_id, account in self._ledger.accounts.items()
        )

    async def on_fact(self, fact: Fact) -> bool:
        """Take a fact about an escrow that pays us."""
        if not isinstance(fact.event, record.ChainEvent):
            return False
        return await self._ledger.deliver(fact, fact.event)

    def on_block(self) -> None:
        """Let time pass."""
        self._ledger.beat()

    def _find(self, award_id: Digest) -> ProviderAccount:
        account = self._ledger.accounts.get(award_id)
        if account is None or account.is_over:
            raise EscrowGone(f"the escrow of award {award_id.hex()} is not watched here, or is closed")
        return account

    async def _begin(self, award: Signed[Award], award_id: Digest) -> None:
        value, room = award.value, self._room
        if value.provider != room.wallet.address:
            raise BadTerms(f"award {award_id.hex()} is for {format_address(value.provider)}, not for this provider")
        if value.token != room.chain.token or value.rail != room.chain.escrow_contract:
            raise BadTerms("the award names another token or escrow than this node's")
        if verify_signer(room.market_domain, award, value.requester) != award_id:
            raise BadTerms("the award has another digest than the one it came under")
        if await room.storage.journal.streams(f"{PREFIX}/{award_id.hex()}/"):
            raise EscrowGone(f"the escrow of award {award_id.hex()} is over")
        async with room.feed.paused() as block:
            # The money may have been confirmed before we were asked to look for it.
            if not block:
                raise NotSeenYet("no block of the chain was seen yet")
            locked = await room.chain.locked_for(award_id, block)
            funded_at = 0 if locked is None else block
            context = EscrowContext(award=award, award_id=award_id, funded_at=funded_at)
            if locked is not None and locked != escrow_terms(value, award_id).amount:
                raise BadTerms(f"{locked} is locked for award {award_id.hex()}, its terms say otherwise")
            account = await self._ledger.open(award_id, context)
        self._serve(award_id, account)

    def _serve(self, award_id: Digest, account: ProviderAccount) -> None:
        self._room.nursery.start_soon(self._keep, award_id, account)
        self._room.nursery.start_soon(self._defend, award_id, account)

    async def _defend(self, award_id: Digest, account: ProviderAccount) -> None:
        """Have a disputed claim taken to court, also one that was disputed before a restart."""
        demand, award = self._demand, account.context.award.value
        if demand is None:
            return
        try:
            await account.wait_until(
                lambda book: isinstance(book.escrow.phase, Disputed) or escrow_books.is_provider_over(book)
            )
        except StoaError:
            return  # the account was given up, and whoever keeps it says so
        if isinstance(account.state.escrow.phase, Disputed):
            name = f"{PREFIX}/{award_id.hex()[:12]}"
            await write_down(lambda: demand(award, award_id), self._room.clock, name)

    async def _keep(self, award_id: Digest, account: ProviderAccount) -> None:
        await self._room.feed.wait_reached(1)  # what was done before a restart is known then
        clock, name = self._room.clock, f"{PREFIX}/{award_id.hex()[:12]}"
        await keep(
            account,
            outstanding=escrow_books.outstanding_provider,
            perform=partial(self._perform, account),
            clock=clock,
            name=name,
        )
        log.info("escrow.over", award=award_id.hex(), phase=type(account.state.escrow.phase).__name__)
        await write_down(lambda: self._ledger.close(award_id), clock, name)

    async def _perform(self, account: ProviderAccount, effect: ProviderEffect) -> None:
        chain, feed, award = self._room.chain, self._room.feed, account.context.award.value
        match effect:
            case SubmitProveStart(start=start):
                await feed.wait_reached(await chain.prove_start(award, start))
            case SubmitRelease(acceptance=acceptance):
                await feed.wait_reached(await chain.release(award, acceptance))
            case SubmitClaim(start=start, receipt=receipt):
                await feed.wait_reached(await chain.claim_award(award, start, receipt))
            case SubmitPayClaim():
                await feed.wait_reached(await chain.pay_claim(award))
            case SubmitSplit():
                await feed.wait_reached(await chain.split(award))
