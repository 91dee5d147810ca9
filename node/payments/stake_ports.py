"""What the stakes need of the chain. `node/app` hands it in; a network without stakes has none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from protocol.escrow.record import Outcome
from protocol.identity import Address, Digest
from protocol.market.evidence import Conflict
from protocol.market.objects import Award, Offer
from protocol.signing.signed import Signed
from protocol.stake.record import LockPhase, StakeRecord
from protocol.task.objects import Acceptance
from protocol.units import Amount, Seconds, Uint8, Uint32, UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class StakeSeen:
    """What the contracts said of one award after some block: where a record begins. Kept in the journal.

    Attributes:
        lock: `LockPhase`.
        locked: Locked, or what was.
        bonus: Deposited and not yet paid.
        had_bonus: Whether one was ever deposited.
        escrow: `Outcome` of its escrow, 0 while that is open or if there is none.
        claimed: What the provider claimed last in the escrow.
        claimed_part: For the parts up to this one.
        paid: What the escrow paid to the provider.
    """

    lock: Uint8 = 0
    locked: Amount = Amount(0)
    bonus: Amount = Amount(0)
    had_bonus: bool = False
    escrow: Uint8 = 0
    claimed: Amount = Amount(0)
    claimed_part: Uint32 = 0
    paid: Amount = Amount(0)

    def record(self) -> StakeRecord:
        """Return it as the machines have it."""
        outcome = Outcome(self.escrow) if self.escrow else None
        return StakeRecord(
            lock=LockPhase(self.lock),
            locked=self.locked,
            bonus=self.bonus,
            had_bonus=self.had_bonus,
            claimed=self.claimed,
            claimed_part=self.claimed_part,
            escrow=outcome,
            upheld=outcome is Outcome.JUDGED and self.paid >= self.claimed > 0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StakeFigures:
    """What one owner has in the contract, confirmed.

    Attributes:
        stake: All of it, with what is locked and what is leaving.
        locked: What answers for awards.
        leaving: A withdrawal under way; 0 if there is none.
        ready_at: After this second it may be taken.
    """

    stake: Amount
    locked: Amount
    leaving: Amount
    ready_at: UnixTime

    @property
    def free(self) -> Amount:
        """What bids and awards may count on."""
        return Amount(max(0, self.stake - self.locked - self.leaving))


@dataclass(frozen=True, slots=True, kw_only=True)
class Punished:
    """What a contradiction cost its signer, and what of that went to whoever showed it, base units."""

    amount: Amount
    bounty: Amount


class StakeChain(Protocol):
    """The reputation contract, as far as stakes go. It fails and waits as `node.payments.ports.Chain` says."""

    async def seen(self, award: Digest, block: int) -> StakeSeen:
        """Return what stood behind an award after `block`."""
        ...

    async def figures(self, owner: Address) -> StakeFigures:
        """Return what `owner` has at stake."""
        ...

    async def free_of(self, owner: Address) -> Amount:
        """Return the part of it that is neither locked nor leaving."""
        ...

    async def cooldown(self) -> Seconds:
        """Return the time from asking for stake to taking it."""
        ...

    async def add(self, amount: Amount, *, order: str) -> int:
        """Add to the wallet's stake, once for one `order`."""
        ...

    async def unstake(self, amount: Amount) -> int:
        """Ask for a part of the free stake."""
        ...

    async def withdraw(self) -> int:
        """Take out what is leaving."""
        ...

    async def lock(self, award: Award) -> int:
        """Lock the award's liability."""
        ...

    async def free(self, award: Award, acceptance: Signed[Acceptance] | None) -> int:
        """End the award there: by its last acceptance if one is given, else because it is over."""
        ...

    async def free_batch(self, ended: Sequence[tuple[Award, Signed[Acceptance] | None]]) -> int:
        """End several awards in one transaction: all of them, or it is refused and none is."""
        ...

    async def punish(self, offer: Offer, conflict: Conflict) -> Punished:
        """Show two signatures of one signer under `offer` that exclude each other (A7)."""
        ...

    async def deposit_bonus(self, award: Award) -> int:
        """Deposit the bonus for success."""
        ...
