"""What can be wrong around an escrowed award. Each is a `ProtocolError`: the state did not change."""

from protocol.errors import ProtocolError


class EscrowError(ProtocolError):
    """A step that the rules of an escrowed award forbid (docs/spec/escrow.md)."""


class UnexpectedEvent(EscrowError):
    """An event that has no place in this phase."""

    def __init__(self, state: object, event: object) -> None:
        super().__init__(f"{type(event).__name__} has no place in {type(state).__name__}")


class NotForEscrow(EscrowError):
    """An award that names a channel, or terms that no escrow can hold."""


class WrongAmount(EscrowError):
    """Amounts on chain that do not add up to what the award locks."""


class WrongPart(EscrowError):
    """A receipt or acceptance for a part that is not the award's."""


class WrongTotal(EscrowError):
    """A running total that falls, or is above the price."""


class NotFunded(EscrowError):
    """No Start before the funds are confirmed (M1)."""


class TooLate(EscrowError):
    """The last second for this act is over (C7)."""


class UnpaidPart(EscrowError):
    """An earlier part of the award is not accepted (M2)."""
