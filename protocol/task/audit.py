"""What running a part again says about the receipt for it. Pure: docs/spec/bill.md, section 4.

An arbiter decides `(outcome, output, fuel, due)` (L2), so that is what an audit compares and nothing else: a receipt
that is right in these four is right. Where the second run itself can't be judged (B3), it says nothing of the first.
"""

from dataclasses import dataclass
from enum import IntEnum, unique
from typing import assert_never

from protocol.identity import ContentDigest
from protocol.task.objects import Receipt
from protocol.task.outcome import describe, is_judged, is_leaky
from protocol.task.pricing import Usage
from protocol.task.receipt import Progress, Terms, amount_due
from protocol.units import Amount, Uint8, Uint32, Uint64, format_amount


@unique
class Finding(IntEnum):
    """What came of looking at a receipt a second time."""

    EQUAL = 1
    """Another run, or another provider, found the same."""
    DIFFERENT = 2
    """It found something else, so the receipt is wrong."""
    UNDECIDED = 3
    """There was no second result that counts: nothing is held against the receipt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """A second result for a part, as evidence. `fuel` is the limit after a leaky trap, as in a receipt (BI9)."""

    outcome: Uint8
    output: ContentDigest
    fuel: Uint64
    peak_mib: Uint32
    bytes_in: Uint64
    bytes_out: Uint64

    @property
    def usage(self) -> Usage:
        """The judged units."""
        return Usage(fuel=self.fuel, peak_mib=self.peak_mib, bytes_in=self.bytes_in, bytes_out=self.bytes_out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A finding and, in words, what it rests on."""

    finding: Finding
    reason: str


def rerun_of(receipt: Receipt) -> Rerun:
    """Return what a receipt states, to be compared with another provider's."""
    return Rerun(
        outcome=receipt.outcome,
        output=receipt.output,
        fuel=receipt.fuel,
        peak_mib=receipt.peak_mib,
        bytes_in=receipt.bytes_in,
        bytes_out=receipt.bytes_out,
    )


def make_rerun(fuel_limit: Uint64, *, outcome: Uint8, output: ContentDigest, usage: Usage) -> Rerun:
    """Return a run of this node's own as its receipt would state it."""
    fuel = fuel_limit if is_judged(outcome) and is_leaky(outcome) else usage.fuel
    return Rerun(
        outcome=outcome,
        output=output,
        fuel=fuel,
        peak_mib=usage.peak_mib,
        bytes_in=usage.bytes_in,
        bytes_out=usage.bytes_out,
    )


def compare(terms: Terms, before: Amount, receipt: Receipt, rerun: Rerun) -> Comparison:
    """Judge a receipt by a second result for its part.

    Args:
        terms: The award that the receipt is under.
        before: Running total due before this part, token base units.
        receipt: It has passed `verify_receipt`, so its `due` follows from its figures.
        rerun: The second result.

    Returns:
        EQUAL, DIFFERENT with the first of the four that differs, or UNDECIDED if the second run can't be judged.

    Raises:
        UnknownOutcome: The second result has an outcome that no version of the protocol gives.
    """
    if not is_judged(rerun.outcome):
        return Comparison(finding=Finding.UNDECIDED, reason=f"run again, it ended with: {describe(rerun.outcome)}")
    progress = Progress(next_part=receipt.part, due=before)
    due = amount_due(terms, progress, outcome=rerun.outcome, usage=rerun.usage)
    if receipt.outcome != rerun.outcome:
        what = f"the outcome {describe(receipt.outcome)!r}, found was {describe(rerun.outcome)!r}"
    elif receipt.output != rerun.output:
        what = f"the output {receipt.output.hex()[:16]}, found was {rerun.output.hex()[:16]}"
    elif receipt.fuel != rerun.fuel:
        what = f"{receipt.fuel} of fuel, found were {rerun.fuel}"
    elif receipt.due != due:
        what = f"a due of {format_amount(receipt.due)}, found were {format_amount(due)}"
    else:
        return Comparison(finding=Finding.EQUAL, reason="outcome, output, fuel and due are the same")
    return Comparison(finding=Finding.DIFFERENT, reason=f"the receipt for part {receipt.part} states {what}")


def describe_finding(finding: Finding) -> str:
    """Return the word that users read."""
    match finding:
        case Finding.EQUAL:
            return "equal"
        case Finding.DIFFERENT:
            return "different"
        case Finding.UNDECIDED:
            return "undecided"
        case _:
            assert_never(finding)
