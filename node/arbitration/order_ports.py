"""What it takes to tell a user beforehand what a case is about, and what it may cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from node.arbitration.party_ports import PartyPapers
from node.arbitration.rehearsal import Rehearsed
from protocol.dispute.evidence import Matter
from protocol.identity import Address, Digest
from protocol.spending import Cap
from protocol.units import Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class LockSight:
    """What of the provider's stake answers for an award, and the most that its requester gets of it beyond the fee."""

    amount: Amount = Amount(0)
    max_bounty: Amount = Amount(0)


class OrderPapers(PartyPapers, Protocol):
    """What this node holds of its own awards."""

    async def awards_of(self, digits: str) -> tuple[Digest, ...]:
        """Return the awards that this node made or won whose ids begin with these hexadecimal digits."""
        ...

    async def accepted_of(self, award: Digest) -> Amount:
        """Return what was accepted in all of an award's parts."""
        ...


class Locks(Protocol):
    """The contract of stakes, newest block; on a network without one nothing is ever locked."""

    async def look(self, award: Digest) -> LockSight:
        """Return what is locked.

        Raises:
            TransientError: The chain can't be reached.
        """
        ...


class Purse(Protocol):
    """The wallet, before it signs."""

    def remaining(self, *, peer: Address | None = None, task: Digest | None = None) -> Mapping[Cap, Amount]:
        """Return what each cap leaves now."""
        ...

    async def balance(self) -> Amount:
        """Return the tokens that it has.

        Raises:
            TransientError: The chain can't be reached.
        """
        ...


class Looking(Protocol):
    """Finds out what a court would find (PT16)."""

    async def rehearse(self, matter: Matter, provider: Address, *, within_s: float) -> Rehearsed:
        """See `Rehearsal`."""
        ...
