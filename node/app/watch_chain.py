"""The payments room's `WatchChain` over `node/chain`."""

from node.chain.gateway import Gateway
from node.config.settings import Settings
from node.payments.watch.ports import WatchParts
from node.payments.watch.settings import MIB, WatchSettings
from node.wallet.signer import Signer
from protocol.channel.tower import Standing
from protocol.channel.watch import WatchOrder
from protocol.identity import Digest


class ContractWatch:
    """The channel contract, for one wallet that acts for others."""

    def __init__(self, gateway: Gateway) -> None:
        self._channels = gateway.channels

    async def standing(self, channel: Digest) -> Standing:
        """See `WatchChain`."""
        state = await self._channels.state_of(channel)
        return Standing(
            deposit=state.deposit,
            claimed=state.claimed,
            exits_at=state.exits_at,
            presented=state.sequence,
        )

    async def present(self, order: WatchOrder) -> int:
        """See `WatchChain`."""
        sent = await self._channels.present(order.key, order.voucher, order.payee_signature)
        return sent.receipt.block


def watch_parts(settings: Settings, gateway: Gateway, signer: Signer) -> WatchParts:
    """Return what payments need to watch and be watched, as the operator chose."""
    chosen = settings.watchtower
    return WatchParts(
        chain=ContractWatch(gateway),
        signer=signer,
        settings=WatchSettings(
            towers=chosen.towers,
            hand_at=chosen.hand_at,
            clients=frozenset(chosen.clients),
            watches_per_client=chosen.watches_per_client,
            bytes_per_client=chosen.mib_per_client * MIB,
            least=chosen.least,
            acts_per_day=chosen.acts_per_day,
        ),
    )
