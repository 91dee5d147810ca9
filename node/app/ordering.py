"""What a user is told by before going to court: wallet and contract of stakes, in the arbitration room's words."""

from collections.abc import Mapping

from node.app.disputing import Advocacy
from node.arbitration.order_ports import LockSight
from node.arbitration.ordering import Ordering
from node.arbitration.party import Party
from node.arbitration.party_room import PartyRoom
from node.arbitration.quoting import QuoteParts
from node.arbitration.rehearsal import Rehearsal
from node.chain.gateway import Gateway
from node.chain.reputation import LockState, Reputation
from node.chain.token import Token
from node.wallet.signer import Signer
from protocol.identity import Address, Digest
from protocol.spending import Cap
from protocol.units import Amount


class TokenPurse:
    """The arbitration room's `Purse`."""

    def __init__(self, signer: Signer, token: Token) -> None:
        self._signer, self._token = signer, token

    def remaining(self, *, peer: Address | None = None, task: Digest | None = None) -> Mapping[Cap, Amount]:
        """See `Purse`."""
        return self._signer.remaining(peer=peer, task=task)

    async def balance(self) -> Amount:
        """See `Purse`."""
        return await self._token.balance_of(self._signer.address)


class ChainLocks:
    """The arbitration room's `Locks`."""

    def __init__(self, reputation: Reputation | None) -> None:
        self._reputation = reputation

    async def look(self, award: Digest) -> LockSight:
        """See `Locks`."""
        if self._reputation is None:
            return LockSight()
        lock = await self._reputation.lock_of(award)
        if lock.state is not LockState.LOCKED:
            return LockSight()
        return LockSight(amount=lock.amount, max_bounty=await self._reputation.max_bounty())


def make_ordering(
    advocacy: Advocacy, room: PartyRoom, party: Party, rehearsal: Rehearsal, gateway: Gateway
) -> Ordering:
    """Return what takes a user's orders to court."""
    parts = QuoteParts(
        papers=advocacy.papers,
        looking=rehearsal,
        locks=ChainLocks(gateway.reputation),
        purse=TokenPurse(advocacy.signer, gateway.token),
    )
    return Ordering(room, party, parts)
