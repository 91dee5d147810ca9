"""How a run of a part ended: the `outcome` of a receipt, one byte (docs/spec/execution.md, section 2).

The byte says which rule of the bill applies (SPEC B3), so the ranges are part of the protocol:

    0          ok
    1 … 125    the guest's own exit code
    126        an exit code that does not fit
    128 … 159  exact traps and limits: fuel and output are equal on any honest node
    160 … 191  leaky traps: output is equal everywhere, but the engine loses fuel that was spent since its last check
    192 … 223  the module is invalid and never ran
    224 … 255  unjudged: another node need not see the same
"""

from enum import Enum, IntEnum, unique
from typing import Final

from protocol.errors import ProtocolError
from protocol.units import Uint8

EXIT_CODE_MAX: Final = 125


@unique
class Outcome(IntEnum):
    """The outcomes that have a name. 1 … 125 are exit codes and have none."""

    OK = 0
    EXIT_CODE_TOO_LARGE = 126

    UNREACHABLE = 128
    OUT_OF_FUEL = 129
    MEMORY_LIMIT = 130
    OUTPUT_LIMIT = 131
    LOG_LIMIT = 132
    INDIRECT_CALL_TO_NULL = 133
    INDIRECT_CALL_SIGNATURE = 134

    DIVISION_BY_ZERO = 160
    INTEGER_OVERFLOW = 161
    BAD_CONVERSION = 162
    MEMORY_OUT_OF_BOUNDS = 163
    TABLE_OUT_OF_BOUNDS = 164

    INVALID_MODULE = 192

    STACK_OVERFLOW = 224
    CPU_LIMIT = 225
    WALL_LIMIT = 226
    HOST_FAILURE = 227
    CANCELLED = 228


@unique
class OutcomeClass(Enum):
    """Which rule of the bill an outcome falls under (SPEC B3)."""

    EXACT = "exact"
    """Billed by what was used (B2)."""
    LEAKY = "leaky"
    """Billed the full part price, since the fuel is not known."""
    INVALID = "invalid"
    """Billed the start rate."""
    UNJUDGED = "unjudged"
    """Not billed, not slashed."""


class UnknownOutcome(ProtocolError):
    """A byte that names no outcome of this protocol version."""


_TEXTS: Final[dict[int, str]] = {
    Outcome.OK: "ok",
    Outcome.EXIT_CODE_TOO_LARGE: f"exit code above {EXIT_CODE_MAX}",
    Outcome.UNREACHABLE: "the program aborted (unreachable)",
    Outcome.OUT_OF_FUEL: "out of fuel",
    Outcome.MEMORY_LIMIT: "the module needs more memory at its start than the task allows",
    Outcome.OUTPUT_LIMIT: "wrote more output than the task allows",
    Outcome.LOG_LIMIT: "wrote more log than the task allows",
    Outcome.INDIRECT_CALL_TO_NULL: "called through a null function pointer",
    Outcome.INDIRECT_CALL_SIGNATURE: "called a function pointer with the wrong signature",
    Outcome.DIVISION_BY_ZERO: "divided an integer by zero",
    Outcome.INTEGER_OVERFLOW: "integer overflow in a division or conversion",
    Outcome.BAD_CONVERSION: "converted a float that is not a number to an integer",
    Outcome.MEMORY_OUT_OF_BOUNDS: "accessed memory out of bounds",
    Outcome.TABLE_OUT_OF_BOUNDS: "accessed a table out of bounds",
    Outcome.INVALID_MODULE: "the module is invalid",
    Outcome.STACK_OVERFLOW: "stack overflow",
    Outcome.CPU_LIMIT: "stopped at the CPU time limit",
    Outcome.WALL_LIMIT: "stopped at the wall time limit",
    Outcome.HOST_FAILURE: "the provider's machine failed",
    Outcome.CANCELLED: "cancelled",
}


def outcome_of_exit(code: int) -> Uint8:
    """Return the outcome of a program that exited with `code` (any unsigned 32-bit value)."""
    return code if code <= EXIT_CODE_MAX else int(Outcome.EXIT_CODE_TOO_LARGE)


def classify(outcome: Uint8) -> OutcomeClass:
    """Return the billing class of an outcome.

    Raises:
        UnknownOutcome: The byte is neither an exit code nor named in `Outcome`.
    """
    if outcome not in _TEXTS and not 1 <= outcome <= EXIT_CODE_MAX:
        raise UnknownOutcome(f"{outcome} is no outcome that this version knows")
    if outcome < 160:
        return OutcomeClass.EXACT
    if outcome < 192:
        return OutcomeClass.LEAKY
    return OutcomeClass.INVALID if outcome < 224 else OutcomeClass.UNJUDGED


def is_exact(outcome: Uint8) -> bool:
    """Tell whether the bill follows what was used."""
    return classify(outcome) is OutcomeClass.EXACT


def is_leaky(outcome: Uint8) -> bool:
    """Tell whether the run ended in a trap that loses fuel. Its receipt states the fuel limit as the fuel."""
    return classify(outcome) is OutcomeClass.LEAKY


def is_judged(outcome: Uint8) -> bool:
    """Tell whether an arbiter that runs the part again must find the same outcome and output."""
    return classify(outcome) is not OutcomeClass.UNJUDGED


def is_success(outcome: Uint8) -> bool:
    """Tell whether the program ended by itself with exit code 0."""
    return outcome == Outcome.OK


def describe(outcome: Uint8) -> str:
    """Say in words how the run ended.

    Raises:
        UnknownOutcome: As in `classify`.
    """
    classify(outcome)
    return _TEXTS.get(outcome, f"exit code {outcome}")
