"""Payouts that a token refused: they wait in the contract as credits (M8, docs/spec/settlement.md, section 3). Pure.

Theory. A contract pays or credits; it never lets a payout stop another one. A credit belongs to an owner in one token
and one contract. It grows with each refused payout and is withdrawn as a whole, to any address: a token that refuses
one address may take another. So the withdrawal is asked for by the user or tried on a schedule, never at once again.

    credit      event               next
    ------      -----               ----
    any         Credited            grows
    any         CreditWithdrawn     none
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeAlias, assert_never

from protocol.errors import ProtocolError
from protocol.identity import Address
from protocol.units import Amount
from protocol.wire.codec import tagged


class UnknownCredit(ProtocolError):
    """A withdrawal of another amount than what was credited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditKey:
    """In which contract, in which token."""

    contract: Address
    token: Address


@tagged(112)
@dataclass(frozen=True, slots=True, kw_only=True)
class Credited:
    """The token refused a payout of `amount`. Confirmed."""

    key: CreditKey
    amount: Amount


@tagged(113)
@dataclass(frozen=True, slots=True, kw_only=True)
class CreditWithdrawn:
    """`amount` was sent. Confirmed."""

    key: CreditKey
    amount: Amount


CreditEvent: TypeAlias = Credited | CreditWithdrawn


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawCredit:
    """Withdraw the whole credit of `key`."""

    key: CreditKey
    amount: Amount


def _none() -> Mapping[CreditKey, Amount]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Credits:
    """What waits, by contract and token; nothing of zero."""

    waiting: Mapping[CreditKey, Amount] = field(default_factory=_none)


def transition(state: Credits, event: CreditEvent) -> Credits:
    """Apply one event.

    Raises:
        UnknownCredit: More was withdrawn than waited.
    """
    waiting = state.waiting.get(event.key, 0)
    match event:
        case Credited(amount=amount):
            after = waiting + amount
        case CreditWithdrawn(amount=amount):
            if amount > waiting:
                raise UnknownCredit(f"{amount} was withdrawn, only {waiting} was credited")
            after = waiting - amount
        case _:
            assert_never(event)
    kept = {key: held for key, held in state.waiting.items() if key != event.key}
    if after:
        kept[event.key] = Amount(after)
    return replace(state, waiting=MappingProxyType(kept))


def outstanding(state: Credits) -> tuple[WithdrawCredit, ...]:
    """Return what could be withdrawn."""
    return tuple(WithdrawCredit(key=key, amount=amount) for key, amount in state.waiting.items())
