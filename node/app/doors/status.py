"""The doors to the node itself: its state, its peers, and what it sells."""

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final

import trio

from node.api import views
from node.api.json_codec import Wei
from node.app.doors.names import prices_view, rates_from
from node.app.node import Node
from node.app.selling import measure, with_speed
from node.operations.health import Status
from protocol.errors import TransientError
from protocol.identity import PeerId, did
from protocol.units import Amount, UnixTime, format_amount

LOW_GAS_WEI: Final = 10**16
"""A hundredth of a coin: some dozens of our calls at common prices."""
SHOWN_TRANSACTIONS: Final = 100
CHAIN_LOOK_S: Final = 3.0
CLAIM_TIMEOUT_S: Final = 120.0


class StatusDoors:
    """See `NodeFacade`."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._draining = False

    async def node_status(self) -> views.NodeStatus:
        """See `NodeFacade`."""
        node = self._node
        deployment, feed = node.chain.deployment, node.payments.feed
        balances: tuple[Amount, Wei] | None = None
        with trio.move_on_after(CHAIN_LOOK_S), suppress(TransientError):
            tokens = await node.chain.token_balance(node.signer.address)
            balances = tokens, Wei(await node.chain.gas_money(node.signer.address))
        selling = await self.provide_show()
        reports = await node.health.examine()
        return views.NodeStatus(
            version=version("stoa"),
            name=node.settings.node.name,
            wallet=node.signer.address,
            did=did(deployment.chain_id, node.signer.address),
            peer=node.network.peer_id,
            listening=node.network.addresses,
            connected_peers=len(node.network.peers()),
            chain_id=deployment.chain_id,
            chain_reachable=balances is not None,
            chain_away_since=node.chain.rpc.away_since,
            confirmed_block=feed.number,
            confirmed_at=feed.time,
            token_balance=balances[0] if balances else None,
            gas_balance=balances[1] if balances else None,
            started_at=node.started_at,
            open_tasks=len(node.requester.tasks),
            open_deliveries=len(node.provider.deliveries),
            selling=selling,
            transactions=tuple(
                views.TransactionView(
                    title=each.title,
                    nonce=each.nonce,
                    attempts=each.attempts,
                    max_fee=Wei(each.max_fee),
                    waits_for=each.waits_for,
                )
                for each in node.transactor.in_hand()[:SHOWN_TRANSACTIONS]
            ),
            health=tuple(
                views.HealthView(name=name, ok=report.status is Status.OK, detail=report.reason)
                for name, report in sorted(reports.items())
            ),
            warnings=tuple(self._warnings(balances)),
        )

    async def node_stop(self) -> None:
        """See `NodeFacade`."""
        await trio.lowlevel.checkpoint()
        self._node.stop()

    async def peer_list(self) -> tuple[views.PeerView, ...]:
        """See `NodeFacade`."""
        await trio.lowlevel.checkpoint()
        node = self._node
        known = {record.peer: record for record in node.directory.all()}
        connected = {info.peer for info in node.network.peers()}
        peers = sorted({*known, *connected}, key=lambda peer: (peer not in connected, peer))
        return tuple(self._peer_view(peer, connected=peer in connected) for peer in peers)

    async def peer_connect(self, address: str) -> views.PeerView:
        """See `NodeFacade`."""
        return self._peer_view(await self._node.network.connect(address), connected=True)

    async def provide_show(self) -> views.ProvideView:
        """See `NodeFacade`."""
        await trio.lowlevel.checkpoint()
        node, terms = self._node, self._node.provider.terms
        shown = terms or node.seller.terms
        status = node.pool.status()
        return views.ProvideView(
            enabled=terms is not None,
            draining=self._draining,
            workers=node.settings.provider.worker_count,
            busy=status.running,
            memory_mib=shown.memory_mib,
            fuel_per_s=shown.fuel_per_s,
            prices=prices_view(shown.rates),
            refusals=tuple(
                views.CountView(text=text, count=count)
                for text, count in sorted(node.provider.reasons.items(), key=lambda item: -item[1])[:20]
            ),
        )

    async def provide_set(self, order: views.ProvideOrder) -> views.ProvideView:
        """See `NodeFacade`."""
        provider = self._node.provider
        terms = provider.terms or self._node.seller.terms
        if order.prices is not None:
            terms = replace(terms, rates=rates_from(order.prices))
        if order.fuel_per_s is not None:
            terms = with_speed(terms, order.fuel_per_s)
        enabled = provider.terms is not None if order.enabled is None else order.enabled
        if enabled and not terms.fuel_per_s:
            calibration = await measure(self._node.settings, self._node.pool)
            terms = with_speed(terms, calibration.slowest_fuel_per_s)
        provider.terms = terms if enabled else None
        self._draining = False
        return await self.provide_show()

    async def provide_calibrate(self) -> views.CalibrationView:
        """See `NodeFacade`."""
        calibration = await measure(self._node.settings, self._node.pool)
        return views.CalibrationView(
            kernels=tuple(
                views.KernelView(name=kernel.name, fuel_per_s=kernel.fuel_per_s) for kernel in calibration.kernels
            ),
            fuel_per_s=calibration.fuel_per_s,
            slowest_fuel_per_s=calibration.slowest_fuel_per_s,
        )

    async def provide_drain(self) -> views.ProvideView:
        """See `NodeFacade`."""
        self._draining = True
        await self._node.provider.drain()
        with trio.move_on_after(CLAIM_TIMEOUT_S):
            await self._node.payments.payee.drain()
        return await self.provide_show()

    def _peer_view(self, peer: PeerId, *, connected: bool) -> views.PeerView:
        record = next((each for each in self._node.directory.all() if each.peer == peer), None)
        if record is None:
            return views.PeerView(
                peer=peer,
                wallet=None,
                addresses=(),
                connected=connected,
                sells=False,
                gfuel=None,
                record_expires=None,
            )
        rates = record.body.rates
        return views.PeerView(
            peer=record.peer,
            wallet=record.wallet,
            addresses=record.body.addresses,
            connected=connected,
            sells=bool(record.body.engines),
            gfuel=rates.gfuel if rates else None,
            record_expires=UnixTime(record.record.value.expires),
        )

    def _warnings(self, balances: tuple[Amount, Wei] | None) -> list[str]:
        node = self._node
        warnings: list[str] = []
        if balances is None:
            warnings.append(_told_away(node))
        due = sum(channel.earned - channel.claimed for channel in node.payments.payee.channels())
        if balances is not None and balances[1] < LOW_GAS_WEI:
            claims = ", and there are payments to claim" if due > 0 else ""
            warnings.append(
                f"the wallet has {balances[1] / 10**18:.6f} of gas money{claims}: send some to {_hex(node)}"
            )
        warnings += [
            f"the payer of channel {channel.channel.hex()[:12]} leaves, and what it owes is not on chain yet: that"
            f" counts until {_clock_time(channel.answer_by)}, so see what the transactions wait for"
            for channel in node.payments.payee.channels()
            if channel.answer_by
        ]
        waiting = node.payments.payee.claims_waiting
        if waiting:
            warnings.append(
                f"{waiting} claims wait for cheaper gas, for payments.claim_patience_h at most; `stoa channels close`"
                " or `stoa provide --drain` send them now"
            )
        warnings += _uncovered(node)
        if not node.network.peers():
            warnings.append("no peer is connected: set network.bootstrap, or use `stoa peers connect`")
        return warnings


def _uncovered(node: Node) -> list[str]:
    """Name what no tower holds, in a node that has towers."""
    handover = node.payments.handover
    if handover is None or not handover.towers():
        return []
    bare = [cover for cover in handover.covers() if not cover.covered]
    if not bare:
        return []
    names = ", ".join(cover.channel.hex()[:12] for cover in bare[:3]) + (", ..." if len(bare) > 3 else "")
    total = format_amount(sum(cover.at_stake for cover in bare))
    what = f"no watchtower holds the newest of {len(bare)} channels ({names})"
    return [f"{what}: {total} would be lost if the payers left while this node is away; `stoa watch list` says why"]


def _told_away(node: Node) -> str:
    since = node.chain.rpc.away_since
    told = "" if since is None else f" since {_clock_time(since)}"
    seen = node.payments.feed.time
    view = f"the last confirmed view is of {_clock_time(seen)}" if seen else "no block was seen yet"
    return (
        f"the chain has not answered{told}, and {view}: what is open off-chain goes on within the caps, new work is"
        " taken while that view is fresh, and what needs the chain waits and is done when it is back"
    )


def _clock_time(at: UnixTime) -> str:
    return datetime.fromtimestamp(at, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _hex(node: Node) -> str:
    return f"0x{node.signer.address.hex()}"
