"""The doors to the node's money: channels, escrows, earnings, wallet."""

from typing import Literal

from node.api import views
from node.api.json_codec import Wei
from node.app.doors.tasks import cap_views
from node.app.node import Node
from node.market.earning_table import EarningRow, list_earnings
from node.payments.channel_view import PayeeChannelView, PayerChannelView
from node.payments.escrow_view import EscrowView
from protocol.errors import ProtocolError
from protocol.identity import Address, Digest, did
from protocol.units import Amount, UnixTime

ALL = 1_000_000


class NoSuchChannel(ProtocolError):
    """No open channel has that id, or several begin with it."""


class OwnWallet(ProtocolError):
    """A channel to oneself: its money could only come back."""


class MoneyDoors:
    """See `NodeFacade`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def earnings_show(self, since: UnixTime, limit: int) -> views.EarningsReport:
        """See `NodeFacade`."""
        rows = await self._node.storage.read.query(lambda connection: list_earnings(connection, since=since, limit=ALL))
        unclaimed = sum(channel.earned - channel.claimed for channel in self._node.payments.payee.channels())
        escrows = {escrow.award: escrow for escrow in self._node.payments.payee.escrows()}
        unclaimed += sum(escrow.accepted - escrow.paid for escrow in escrows.values())
        return views.EarningsReport(
            since=since,
            earned=Amount(sum(row.earned for row in rows)),
            unclaimed=Amount(max(0, unclaimed)),
            awards=tuple(_earning_view(row) for row in rows[:limit]),
        )

    async def channel_list(self) -> tuple[views.ChannelView, ...]:
        """See `NodeFacade`."""
        payments = self._node.payments
        paying = [_payer_view(channel) for channel in payments.payer.channels()]
        return (*paying, *(_payee_view(channel) for channel in payments.payee.channels()))

    async def channel_open(self, provider: Address, deposit: Amount) -> views.ChannelView:
        """See `NodeFacade`."""
        if provider == self._node.signer.address:
            raise OwnWallet("this is the node's own wallet", advice="name a provider: stoa peers list")
        channel = await self._node.payments.payer.open_channel(provider, deposit)
        return await self._find_channel(channel.hex())

    async def channel_top_up(self, channel: str, amount: Amount) -> views.ChannelView:
        """See `NodeFacade`."""
        found = await self._find_channel(channel)
        await self._node.payments.payer.top_up(found.channel, amount)
        return await self._find_channel(channel)

    async def channel_close(self, channel: str) -> views.ChannelView:
        """See `NodeFacade`."""
        found = await self._find_channel(channel)
        if found.role == "payee":
            await self._node.payments.payee.claim(found.channel)
            return await self._find_channel(channel)
        await self._node.payments.payer.close_channel(found.channel)
        after = [view for view in await self.channel_list() if view.channel == found.channel]
        return after[0] if after else _closed(found)

    async def escrow_list(self) -> tuple[views.EscrowView, ...]:
        """See `NodeFacade`."""
        payments = self._node.payments
        paying = [_escrow_view(escrow, "payer") for escrow in payments.payer.escrows()]
        return (*paying, *(_escrow_view(escrow, "payee") for escrow in payments.payee.escrows()))

    async def wallet_show(self) -> views.WalletView:
        """See `NodeFacade`."""
        node = self._node
        deployment, payments = node.chain.deployment, node.payments
        return views.WalletView(
            address=node.signer.address,
            did=did(deployment.chain_id, node.signer.address),
            chain_id=deployment.chain_id,
            token=deployment.token,
            token_balance=await node.chain.token_balance(node.signer.address),
            gas_balance=Wei(await node.chain.gas_money(node.signer.address)),
            in_channels=Amount(sum(channel.deposit - channel.claimed for channel in payments.payer.channels())),
            in_escrow=Amount(sum(escrow.amount - escrow.paid for escrow in payments.payer.escrows())),
            caps=cap_views(node),
        )

    async def _find_channel(self, prefix: str) -> views.ChannelView:
        digits = prefix.lower().removeprefix("0x")
        found = [view for view in await self.channel_list() if digits and view.channel.hex().startswith(digits)]
        if len(found) != 1:
            problem = "several channels begin" if found else "no open channel begins"
            raise NoSuchChannel(f"{problem} with {digits!r}", advice="see `stoa channels list`")
        return found[0]


def _payer_view(channel: PayerChannelView) -> views.ChannelView:
    return views.ChannelView(
        channel=channel.channel,
        role="payer",
        peer=channel.payee,
        state=channel.phase,
        deposit=channel.deposit,
        paid=channel.paid,
        held=channel.held,
        free=channel.free,
        unclaimed=Amount(channel.paid - channel.claimed),
        leaves_at=channel.leaves_at,
    )


def _payee_view(channel: PayeeChannelView) -> views.ChannelView:
    return views.ChannelView(
        channel=channel.channel,
        role="payee",
        peer=channel.payer,
        state=channel.phase,
        deposit=channel.deposit,
        paid=channel.earned,
        held=channel.held,
        free=Amount(max(0, channel.deposit - channel.earned - channel.held)),
        unclaimed=Amount(max(0, channel.earned - channel.claimed)),
        leaves_at=channel.leaves_at,
    )


def _closed(view: views.ChannelView) -> views.ChannelView:
    nothing = Amount(0)
    return views.ChannelView(
        channel=Digest(view.channel),
        role=view.role,
        peer=view.peer,
        state="closed",
        deposit=nothing,
        paid=view.paid,
        held=nothing,
        free=nothing,
        unclaimed=nothing,
        leaves_at=None,
    )


def _escrow_view(escrow: EscrowView, role: Literal["payer", "payee"]) -> views.EscrowView:
    return views.EscrowView(
        award=escrow.award,
        role=role,
        peer=escrow.other,
        state=escrow.phase,
        amount=escrow.amount,
        paid=escrow.paid,
        claim_by=escrow.waits_until or None,
    )


def _earning_view(row: EarningRow) -> views.EarningView:
    return views.EarningView(
        award=row.award,
        requester=row.requester,
        task=row.task,
        taken_at=row.taken_at,
        state=row.state,
        reason=row.reason,
        price=row.price,
        earned=row.earned,
        parts=row.parts,
        paid_parts=row.paid_parts,
        rail="escrow" if row.is_escrow else "channel",
    )
