"""The stake behind one award, as an operator sees it."""

from dataclasses import dataclass
from typing import Literal

from protocol.identity import Address, Digest
from protocol.stake.provider import ProviderStake, freeable
from protocol.stake.requester import RequesterStake
from protocol.units import Amount, UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class StakeView:
    """One award with liability, base units.

    Attributes:
        award: Its digest.
        role: Whose side this wallet is on.
        other: The other side's wallet.
        lock: Where the lock stands: none, locked, freed, slashed.
        liability: What is, or is to be, locked.
        until: Last second for which the lock can hold.
        bonus: Deposited for success and not yet paid.
        freeable: What freeing it now would bring to this wallet; 0 on the requester's side.
    """

    award: Digest
    role: Literal["provider", "requester"]
    other: Address
    lock: str
    liability: Amount
    until: UnixTime
    bonus: Amount
    freeable: Amount


def provider_view(award_id: Digest, state: ProviderStake) -> StakeView:
    """Return the provider's view."""
    return StakeView(
        award=award_id,
        role="provider",
        other=state.terms.award.requester,
        lock=state.record.lock.name.lower(),
        liability=state.terms.award.liability,
        until=state.terms.deadlines.latest_resolve_by,
        bonus=state.record.bonus,
        freeable=freeable(state),
    )


def requester_view(award_id: Digest, state: RequesterStake) -> StakeView:
    """Return the requester's view."""
    return StakeView(
        award=award_id,
        role="requester",
        other=state.terms.award.provider,
        lock=state.record.lock.name.lower(),
        liability=state.terms.award.liability,
        until=state.terms.deadlines.latest_resolve_by,
        bonus=state.record.bonus,
        freeable=Amount(0),
    )
