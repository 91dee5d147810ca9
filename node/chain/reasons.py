"""What a person can do when a contract says no: advice by the name of the error (docs/spec/contracts.md, law.md).

An error says what the contract found, in base units and seconds since 1970. What follows from it for whoever gave the
command is said here, in dollars and dates.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, TypeAlias, cast

from protocol.units import Amount, format_amount

Arguments: TypeAlias = Mapping[str, object]


def advice_of(error: str, arguments: Arguments) -> str:
    """Return what to do about a revert, or nothing: most errors name a fault of a node or a race, not of a person.

    Args:
        error: The custom error's name.
        arguments: Its decoded arguments by name; a foreign contract may have chosen them, so none is taken for granted.
    """
    say = _ADVICE.get(error)
    if say is None:
        return ""
    try:
        return say(arguments)
    except (KeyError, TypeError):
        return ""  # an error of this name that has other arguments: not one of ours


def _money(arguments: Arguments, name: str) -> str:
    return format_amount(Amount(_whole(arguments, name)))


def _whole(arguments: Arguments, name: str) -> int:
    value = arguments[name]
    if not isinstance(value, int):
        raise TypeError(name)
    return value


def _second(arguments: Arguments, name: str) -> str:
    try:
        return datetime.fromtimestamp(_whole(arguments, name), tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, OSError, ValueError):
        return f"second {_whole(arguments, name)}"


def _not_ready(arguments: Arguments) -> str:
    if not _whole(arguments, "readyAt"):
        return "nothing has been asked back; do that first: stoa stake withdraw"
    return f"its cooldown lasts until {_second(arguments, 'readyAt')}; try again after that"


def _leaving(arguments: Arguments) -> str:
    kind = "stake" if "owner" in arguments else "arbiter"
    return f"one at a time: what is leaving is free after {_second(arguments, 'readyAt')}; then: stoa {kind} collect"


def _poor(arguments: Arguments) -> str:
    balance, needed = _money(arguments, "balance"), _money(arguments, "needed")
    return f"{needed} is needed, the wallet has {balance}: send tokens to it, or give a smaller amount"


def _small(arguments: Arguments) -> str:
    free, needed = _money(arguments, "free"), _money(arguments, "needed")
    return f"{needed} is needed, {free} is neither locked nor leaving: stoa stake status"


def _always(text: str) -> Callable[[Arguments], str]:
    return lambda _: text


_ADVICE: Final = cast(
    "Mapping[str, Callable[[Arguments], str]]",
    {
        "AlreadyLeaving": _leaving,
        "ERC20InsufficientBalance": _poor,
        "NewBusinessPaused": _always(
            "the network's guardian has paused new business; what is open goes on, and can be ended"
        ),
        "NotReady": _not_ready,
        "NothingToCollect": _always("nothing is earned, and no stake is free yet: stoa arbiter status"),
        "NothingToSlash": _always("the culprit has no stake that isn't locked; nothing can be taken"),
        "StakeTooSmall": _small,
        "ZeroAddress": _always("name an account; this address is nobody's"),
        "ZeroAmount": _always("give an amount above zero"),
    },
)
ADVISED: Final = frozenset(_ADVICE)
"""Names of the errors that have advice."""
