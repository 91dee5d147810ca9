"""What a fake node has and earns: wallet, earnings, channels, escrows, and those who watch them."""

from dataclasses import dataclass, field, replace

from node.api.json_codec import Wei
from node.api.views import (
    CapView,
    ChannelView,
    CoverView,
    EarningsReport,
    EarningView,
    EscrowView,
    HeldView,
    TowerView,
    WalletView,
    WatchClientView,
    WatchedView,
    WatchReport,
)
from protocol.errors import ProtocolError
from protocol.identity import Address, Digest, did
from protocol.signing.keccak import keccak256
from protocol.units import Amount, UnixTime
from tests.node.api.fake_task import ANN, BOB, NOW, OWN

WATCH = WatchReport(
    towers=(TowerView(wallet=BOB, channels=1, heard_at=NOW, least=Amount(1_000_000), trouble=""),),
    channels=(
        CoverView(
            channel=Digest(b"\x06" * 32),
            payer=ANN,
            sequence=9,
            at_stake=Amount(2_500_000),
            covered=False,
            towers=(HeldView(tower=BOB, sequence=7, problem="TooManyWatches: no room"),),
        ),
    ),
    clients=(WatchClientView(wallet=ANN, allowed=True, watches=1, size=1_024, seen_at=NOW, acts=2),),
    watches=(
        WatchedView(
            channel=Digest(b"\x07" * 32),
            client=ANN,
            payer=BOB,
            sequence=3,
            worth=Amount(7_000_000),
            received_at=NOW,
            act_at=UnixTime(NOW + 60),
            acting=False,
            trouble="",
        ),
    ),
)


@dataclass
class FakeMoney:
    """See `NodeFacade`."""

    channels: dict[Digest, ChannelView] = field(default_factory=dict[Digest, ChannelView])
    watch: WatchReport = WATCH

    async def earnings_show(self, since: UnixTime, limit: int) -> EarningsReport:
        row = EarningView(
            award=Digest(b"\x09" * 32),
            requester=BOB,
            task="word-statistics",
            taken_at=NOW,
            state="delivered",
            reason="",
            price=Amount(400_000),
            earned=Amount(130_001),
            parts=1,
            paid_parts=1,
            rail="channel",
        )
        rows = (row,) if since <= NOW else ()
        earned = Amount(sum(each.earned for each in rows))
        return EarningsReport(since=since, earned=earned, unclaimed=Amount(30_000), awards=rows[:limit])

    async def channel_list(self) -> tuple[ChannelView, ...]:
        return tuple(self.channels.values())

    async def channel_open(self, provider: Address, deposit: Amount) -> ChannelView:
        channel = Digest(keccak256(provider))
        self.channels[channel] = ChannelView(
            channel=channel,
            role="payer",
            peer=provider,
            state="open",
            deposit=deposit,
            paid=Amount(0),
            held=Amount(0),
            free=deposit,
            unclaimed=Amount(0),
            leaves_at=None,
        )
        return self.channels[channel]

    async def channel_top_up(self, channel: str, amount: Amount) -> ChannelView:
        found = self._channel(channel)
        after = replace(found, deposit=Amount(found.deposit + amount), free=Amount(found.free + amount))
        self.channels[found.channel] = after
        return after

    async def channel_close(self, channel: str) -> ChannelView:
        after = replace(self._channel(channel), state="closed")
        self.channels[after.channel] = after
        return after

    async def escrow_list(self) -> tuple[EscrowView, ...]:
        return (
            EscrowView(
                award=Digest(b"\x05" * 32),
                role="payer",
                peer=ANN,
                state="funded",
                amount=Amount(25_000_000),
                paid=Amount(0),
                claim_by=UnixTime(NOW + 60),
            ),
        )

    async def watch_show(self) -> WatchReport:
        return self.watch

    async def watch_add(self, tower: Address) -> WatchReport:
        new = TowerView(wallet=tower, channels=0, heard_at=None, least=None, trouble="")
        self.watch = replace(self.watch, towers=(*self.watch.towers, new))
        return self.watch

    async def watch_remove(self, tower: Address) -> WatchReport:
        self.watch = replace(self.watch, towers=tuple(each for each in self.watch.towers if each.wallet != tower))
        return self.watch

    async def watch_allow(self, client: Address) -> WatchReport:
        new = WatchClientView(wallet=client, allowed=True, watches=0, size=0, seen_at=None, acts=0)
        self.watch = replace(self.watch, clients=(*self.watch.clients, new))
        return self.watch

    async def watch_disallow(self, client: Address) -> WatchReport:
        clients = [replace(each, allowed=each.allowed and each.wallet != client) for each in self.watch.clients]
        self.watch = replace(self.watch, clients=tuple(clients))
        return self.watch

    async def watch_drop(self, channel: str) -> WatchReport:
        left = tuple(each for each in self.watch.watches if not each.channel.hex().startswith(channel))
        if len(left) == len(self.watch.watches):
            raise ProtocolError(f"no watched channel begins with {channel!r}")
        self.watch = replace(self.watch, watches=left)
        return self.watch

    async def wallet_show(self) -> WalletView:
        return WalletView(
            address=OWN,
            did=did(31337, OWN),
            chain_id=31337,
            token=Address(b"\x01" * 20),
            token_balance=Amount(12_345_678),
            gas_balance=Wei(9_990_000_000_000_000_000),
            in_channels=Amount(5_000_000),
            in_escrow=Amount(0),
            caps=(CapView(name="per_day", limit=Amount(500_000_000), left=Amount(499_000_000)),),
        )

    def _channel(self, prefix: str) -> ChannelView:
        found = [view for view in self.channels.values() if view.channel.hex().startswith(prefix)]
        if len(found) != 1:
            raise ProtocolError(f"{len(found)} channels begin with {prefix!r}")
        return found[0]
