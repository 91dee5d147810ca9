"""The provider's money over both rails: what the market calls `PayeeRails`."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from node.payments.channel_payee import ChannelPayee
from node.payments.channel_view import PayeeChannelView
from node.payments.errors import BadTerms, NotFunded
from node.payments.escrow_payee import EscrowPayee
from node.payments.escrow_view import EscrowView
from node.payments.hold_desk import HoldDesk
from node.payments.payer import credits_of
from node.payments.ports import DemandUnpaid
from node.payments.room import Room
from node.payments.stakes import Stakes
from protocol.errors import ProtocolError
from protocol.identity import ZERO_DIGEST, Address, Digest
from protocol.market.objects import Award
from protocol.signing.signed import Signed
from protocol.stake.terms import BackingRefused, liability_of
from protocol.task.messages import VoucherNotice
from protocol.task.objects import Acceptance, Receipt, Start
from protocol.units import Amount

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Earnings:
    """What others owe this wallet, in channels that are open. Escrows are listed one by one.

    Attributes:
        earned: Paid by voucher.
        claimed: Of that, paid out on chain.
        unpaid: Delivered and not paid by voucher.
        credits: By contract, payouts that the token refused; they wait there.
    """

    earned: Amount
    claimed: Amount
    unpaid: Amount
    credits: Mapping[Address, Amount]

    @property
    def claimable(self) -> Amount:
        """Return what could be claimed now."""
        return Amount(self.earned - self.claimed)


class Payee:
    """Hands on to the rail that the award names."""

    def __init__(
        self,
        room: Room,
        channels: ChannelPayee,
        escrows: EscrowPayee,
        stakes: Stakes | None,
        demand: DemandUnpaid | None = None,
    ) -> None:
        self._room, self._channels, self._escrows, self._stakes = room, channels, escrows, stakes
        self._demand = demand
        self.holds: Final = HoldDesk(room, channels)

    async def receive_funding(self, award: Signed[Award], award_id: Digest, notice: VoucherNotice | None) -> None:
        """Check and keep what the requester sent to fund an award.

        Raises:
            ChannelError, BadSignature, NotFunded, BadTerms, EscrowGone: Refused, and why.
            TransientError: Our own view is behind; to be sent again.
        """
        self._check(award.value)
        if award.value.channel == ZERO_DIGEST:
            await self._escrows.receive_funding(award, award_id)
        elif notice is None:
            raise NotFunded("the award names a channel, and no voucher came with it")
        else:
            await self._channels.receive_funding(award.value, award_id, notice)

    async def wait_funded(self, award: Signed[Award], award_id: Digest) -> None:
        """Return once the award is covered by confirmed money, and taken, and our own liability for it is locked.

        The liability comes last: it binds stake, and costs a fee. The caller bounds the time.

        Raises:
            ProtocolError: It never will be (ExitPending, EscrowGone, AwardRenounced, BackingRefused, ...).
        """
        self._check(award.value)
        if award.value.channel == ZERO_DIGEST:
            await self._escrows.wait_funded(award, award_id)
        else:
            await self._channels.wait_funded(award.value, award_id)
        if liability_of(award.value):
            if self._stakes is None:
                raise BackingRefused("the award wants a liability locked, and this network has no stakes")
            await self._stakes.provider.lock(award, award_id)

    async def note_start(self, award: Signed[Award], award_id: Digest, start: Signed[Start]) -> None:
        """Keep a start before it is sent. On escrow it answers a recall; over a channel nothing needs it."""
        if award.value.channel == ZERO_DIGEST:
            with _logging_refusal("start", award_id):
                await self._escrows.note_start(award_id, start)

    async def note_receipt(self, award: Signed[Award], award_id: Digest, receipt: Signed[Receipt]) -> None:
        """Keep a receipt before it is sent: should the requester fall silent for ever, it is claimed by itself."""
        with _logging_refusal("receipt", award_id):
            if award.value.channel == ZERO_DIGEST:
                await self._escrows.note_receipt(award_id, receipt)
            else:
                await self._channels.note_receipt(award.value, award_id, receipt)

    async def receive_payment(
        self, award: Signed[Award], award_id: Digest, acceptance: Signed[Acceptance], notice: VoucherNotice | None
    ) -> None:
        """Check and keep a payment; the part counts as paid only if this returns.

        Raises:
            ChannelError, BadSignature, NotPaid, EscrowGone: It does not pay, and why.
        """
        if award.value.channel == ZERO_DIGEST:
            await self._escrows.receive_payment(award.value, award_id, acceptance)
        else:
            await self._channels.receive_payment(award.value, award_id, acceptance, notice)

    async def settle(
        self,
        award: Signed[Award],
        award_id: Digest,
        start: Signed[Start] | None,
        accepted: Signed[Acceptance] | None,
        unpaid: Signed[Receipt] | None,
    ) -> None:
        """Take what is owed under an award that is over. Harmless to repeat; the chain may be reached later."""
        if award.value.channel == ZERO_DIGEST:
            await self._escrows.settle(award_id, start, accepted, unpaid)
        elif await self._channels.settle(award.value, award_id, unpaid) and self._demand is not None:
            await self._demand(award.value, award_id)
        if self._stakes is not None:
            await self._stakes.provider.settle(award_id, accepted)

    def channels(self) -> tuple[PayeeChannelView, ...]:
        """Return the channels that pay this wallet."""
        return self._channels.views()

    def escrows(self) -> tuple[EscrowView, ...]:
        """Return the escrows that pay this wallet."""
        return self._escrows.views()

    async def earnings(self) -> Earnings:
        """Return what is earned, claimed and owed.

        Raises:
            TransientError: The chain can't be reached (credits are its to tell).
        """
        views = self._channels.views()
        return Earnings(
            earned=Amount(sum(view.earned for view in views)),
            claimed=Amount(sum(view.claimed for view in views)),
            unpaid=Amount(sum(view.unpaid for view in views)),
            credits=await credits_of(self._room),
        )

    @property
    def claims_waiting(self) -> int:
        """How many claims wait for cheaper gas, or for others to go with."""
        return self._channels.claims.desk.waiting

    async def claim(self, channel: Digest) -> None:
        """Bring on chain what a channel has paid; noted durably when this returns, done in the background."""
        await self._channels.claims.ask(channel)

    async def drain(self) -> None:
        """Bring everything on chain that can be, and return when that is confirmed. The caller bounds the time."""
        await self._channels.claims.ask_all()
        await self._channels.claims.wait_done()
        await self._escrows.wait_settled()
        if self._stakes is not None:
            await self._stakes.free()

    async def withdraw_credit(self, contract: Address, to: Address) -> None:
        """Send the wallet's credit in `contract` to an address that the token pays."""
        await self._room.chain.withdraw_credit(contract, to)

    def _check(self, award: Award) -> None:
        chain = self._room.chain
        rail = chain.escrow_contract if award.channel == ZERO_DIGEST else chain.channel_contract
        if award.token != chain.token or award.rail != rail or award.provider != self._room.wallet.address:
            raise BadTerms("the award names another token or contract than this node's, or another provider")


@contextmanager
def _logging_refusal(what: str, award_id: Digest) -> Generator[None, None, None]:
    """The rail is closed already, so nothing can be claimed with it; the market learns by not being paid."""
    try:
        yield
    except ProtocolError as error:
        log.warning("payments.not_kept", what=what, award=award_id.hex(), reason=str(error))
