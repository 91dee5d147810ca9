"""What the wallet has at stake, and for what."""

from dataclasses import dataclass
from typing import Literal

from protocol.identity import Address, Digest
from protocol.units import Amount, Seconds, UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class StakedAwardView:
    """An award that stake stands behind.

    Attributes:
        lock: none, locked, freed or slashed.
        until: Last second for which the lock can hold; most are free long before.
        bonus: Deposited for success and not yet paid.
        freeable: What freeing it now would bring.
    """

    award: Digest
    role: Literal["provider", "requester"]
    peer: Address
    lock: str
    liability: Amount
    until: UnixTime
    bonus: Amount
    freeable: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class AccusationView:
    """What became of one proved contradiction that was shown to the contract.

    Attributes:
        culprit: Who signed both.
        taken: What it lost; 0 if the contract refused.
        bounty: Our part of that.
        problem: Why the contract refused; empty if it did not.
    """

    culprit: Address
    taken: Amount
    bounty: Amount
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StakeReport:
    """The wallet's stake, confirmed: `stake = locked + leaving + free`.

    Attributes:
        ready_at: When what is leaving may be collected; None if nothing is.
        cooldown: From asking for stake to collecting it.
        freeable: What freeing locks that are over would bring now, bonuses included.
        awards: On either side.
    """

    stake: Amount
    locked: Amount
    leaving: Amount
    free: Amount
    ready_at: UnixTime | None
    cooldown: Seconds
    freeable: Amount
    awards: tuple[StakedAwardView, ...]
