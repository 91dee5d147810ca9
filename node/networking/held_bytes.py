"""Memory that peers make this node hold: bounded for all of them together.

Each limit of a connection is harmless, and their sum over all connections is not: 256 streams with a window each, or
frames that lack their last byte. So every connection has an account of what is held for it, and when all accounts
together are over the limit, the connection that holds most ends; what is held for
chosen peers weighs less (docs/adr/1512).
"""

from collections.abc import Callable
from typing import Final, TypeAlias

MAX_HELD_BYTES: Final = 24 * 1024 * 1024
CHOSEN_WEIGH: Final = 8
"""What is held for a peer that this node has chosen weighs one part in so many."""
STREAM_BYTES: Final = 16 * 1024
"""What an open stream costs besides its bytes: its task, its buffers, its books."""

Hold: TypeAlias = Callable[[int], None]
"""Counts so many bytes more that are held for a peer; negative gives them back."""


def hold_nothing(_size: int) -> None:
    """Count nothing."""


class HeldBytes:
    """What this node holds for all its peers."""

    def __init__(self, limit: int = MAX_HELD_BYTES) -> None:
        self._limit = limit
        self._accounts: dict[Account, None] = {}
        self.total = 0

    def open(self, *, shed: Callable[[], None], is_chosen: Callable[[], bool]) -> "Account":
        """Open an account.

        Args:
            shed: Called when this account has to give back everything, soon; it does so by `Account.close`.
            is_chosen: Whether it is the account of a peer that this node has chosen to hold on to.
        """
        account = Account(self, shed, is_chosen)
        self._accounts[account] = None
        return account

    def __contains__(self, account: "Account") -> bool:
        return account in self._accounts

    def note(self, change: int) -> None:
        """An account changed. For accounts alone."""
        self.total += change
        if change > 0 and self.total > self._limit:
            self._shed()

    def forget(self, account: "Account") -> None:
        """Drop an account, and what it held. For accounts alone."""
        if account in self._accounts:
            del self._accounts[account]
            self.total -= account.held

    def _shed(self) -> None:
        largest = max(self._accounts, key=lambda each: each.held // CHOSEN_WEIGH if each.is_chosen() else each.held)
        self.forget(largest)  # at once: what it holds is as good as given back, and nobody else has to go for it
        largest.shed()


class Account:
    """What is held for one connection."""

    __slots__ = ("_all", "held", "is_chosen", "shed")

    def __init__(self, of: HeldBytes, shed: Callable[[], None], is_chosen: Callable[[], bool]) -> None:
        self._all = of
        self.held = 0
        self.shed = shed
        self.is_chosen = is_chosen

    def hold(self, size: int) -> None:
        """Count `size` bytes more; negative: give them back."""
        if self in self._all:
            self.held += size
            self._all.note(size)

    def close(self) -> None:
        """Give everything back."""
        self._all.forget(self)
