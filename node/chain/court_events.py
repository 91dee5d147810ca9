"""What the court and its bench report of arbiters. Base units and Unix seconds."""

from dataclasses import dataclass

from protocol.identity import Address, Digest
from protocol.units import Amount, Uint8, Uint32


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatsEnded:
    """What became of the seats of a round of a case, as bits."""

    award: Digest
    round: Uint8
    paid: int
    wrong: int
    absent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Enlisted:
    """`arbiter` has ticket `index` for `engine`."""

    engine: Digest
    arbiter: Address
    index: Uint32


@dataclass(frozen=True, slots=True, kw_only=True)
class Resigned:
    """Ticket `index` of `arbiter` is drawn no more."""

    engine: Digest
    arbiter: Address
    index: Uint32


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """`arbiter` took `amount` from the bench."""

    arbiter: Address
    amount: Amount
