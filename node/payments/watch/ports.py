"""What watching needs of the other rooms beyond what payments do. `node/app` hands it in."""

from dataclasses import dataclass
from typing import Protocol

from node.payments.watch.settings import WatchSettings
from protocol.channel.objects import ChannelKey, Voucher
from protocol.channel.tower import Standing
from protocol.channel.watch import WatchOrder
from protocol.identity import Digest
from protocol.signing.ecdsa import Signature


class WatchChain(Protocol):
    """The channel contract, for the channels of others. It fails and waits as `node.payments.ports.Chain` says."""

    async def standing(self, channel: Digest) -> Standing:
        """Return where a channel stands at the newest confirmed block."""
        ...

    async def present(self, order: WatchOrder) -> int:
        """Present an order's voucher by its payee's signature; return the block in which that is confirmed."""
        ...


class PayeeSigner(Protocol):
    """The wallet, as far as it lets towers act for it."""

    def sign_as_payee(self, voucher: Voucher, key: ChannelKey) -> Signature:
        """Sign a voucher that pays this wallet."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchParts:
    """What `open_payments` needs to watch and be watched."""

    chain: WatchChain
    signer: PayeeSigner
    settings: WatchSettings
