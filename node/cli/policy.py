"""How results are checked, as users write it: `trust`, `audit`, `audit:10%`, `copies`, `copies:3` or `test`."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from node.api.views import VerificationName
from node.cli.failures import UsageMistake

MAX_COPIES: Final = 16
_FORM: Final = re.compile(r"(trust|audit|copies|test)(?::([0-9]{1,3}(?:\.[0-9]{1,2})?%|[0-9]{1,3}))?", re.ASCII)
_ADVICE: Final = "Write trust, audit, audit:10%, copies, copies:3 or test; see docs/guide/buying.md."


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySpec:
    """A policy; what is None follows the node's configuration.

    Attributes:
        audit_rate: Basis points.
    """

    kind: VerificationName
    audit_rate: int | None = None
    copies: int | None = None


def parse_policy(text: str) -> PolicySpec:
    """Read a policy.

    Raises:
        UsageMistake: It is none, or its number is out of range.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise UsageMistake(f"{text!r} is no way to check results", advice=_ADVICE)
    kind, number = found.groups()
    match kind:
        case "audit":
            return PolicySpec(kind="audit", audit_rate=None if number is None else _read_rate(text, number))
        case "copies":
            return PolicySpec(kind="copies", copies=None if number is None else _read_count(text, number))
        case _:
            if number is not None:
                raise UsageMistake(f"{text!r}: there is nothing to say about {kind} here", advice=_ADVICE)
            return PolicySpec(kind="test" if kind == "test" else "trust")


def _read_rate(text: str, number: str) -> int:
    rate = int(Decimal(number.rstrip("%")) * 100) if number.endswith("%") else 0
    if not 0 < rate <= 10_000:
        raise UsageMistake(f"{text!r}: a rate is 0.01% to 100%, with its sign", advice=_ADVICE)
    return rate


def _read_count(text: str, number: str) -> int:
    if not number.isdigit() or not 2 <= int(number) <= MAX_COPIES:
        raise UsageMistake(f"{text!r}: there may be 2 to {MAX_COPIES} copies", advice=_ADVICE)
    return int(number)
