"""What the command line changes in the offer that a task file describes."""

from dataclasses import replace
from typing import Any

from node.cli.failures import UsageMistake
from node.cli.policy import parse_policy
from node.cli.task_file import OfferSpec
from protocol.errors import ProtocolError
from protocol.identity import Address, parse_address
from protocol.units import Amount, parse_amount


def merge_offer(
    offer: OfferSpec,
    *,
    budget: str | None,
    max_eta_s: int | None,
    format_name: str | None,
    hire: str | None,
    commit_window_s: float | None,
    reveal_window_s: float | None,
    weights: str | None,
    verify: str | None = None,
) -> OfferSpec:
    """Return the file's offer with what the options say instead.

    Raises:
        UsageMistake: An option is malformed.
    """
    given: dict[str, Any] = {
        "budget": read_amount("--budget", budget) if budget is not None else None,
        "max_eta_s": max_eta_s,
        "format": format_name,
        "hire": read_address("--hire", hire) if hire is not None else None,
        "commit_window_s": commit_window_s,
        "reveal_window_s": reveal_window_s,
        "verify": parse_policy(verify) if verify is not None else None,
        "weights": _read_weights(weights) if weights is not None else None,
    }
    return replace(offer, **{name: value for name, value in given.items() if value is not None})


def read_amount(option: str, text: str) -> Amount:
    """Read dollars.

    Raises:
        UsageMistake: They are none.
    """
    try:
        return parse_amount(text)
    except ProtocolError as error:
        raise UsageMistake(f"{option}: {error}", advice="Write dollars, such as 0.40.") from error


def read_address(option: str, text: str) -> Address:
    """Read a wallet's address.

    Raises:
        UsageMistake: It is none.
    """
    try:
        return parse_address(text)
    except ProtocolError as error:
        raise UsageMistake(f"{option}: {error}", advice="Copy it from: stoa peers list") from error


def _read_weights(text: str) -> tuple[int, int, int]:
    parts = text.split(",")
    whole = len(parts) == 3 and all(part.strip().isascii() and part.strip().isdigit() for part in parts)
    if whole and sum(int(part) for part in parts) == 10_000:
        price, reputation, speed = (int(part) for part in parts)
        return price, reputation, speed
    raise UsageMistake(
        f"--weights: {text!r} is not three whole numbers that add up to 10000",
        advice="Write price, reputation and speed in basis points, such as 5000,3000,2000.",
    )
