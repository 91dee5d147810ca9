"""Which groups of a blob are missing, and who was asked for them. Pure: no I/O, no waiting."""

from collections import deque
from collections.abc import Iterable

from protocol.identity import PeerId

MAX_ASKED = 2
"""Holders that are asked for one group. More would only be paid for more often."""


class GroupPool:
    """The groups that a transfer still needs.

    Each is asked of one holder. When all are, a holder that has nothing left to do is asked for what another was asked
    for
    last: that one gets to it last, and may be told to leave it before it begins.
    """

    def __init__(self, missing: Iterable[int]) -> None:
        self._free = deque(sorted(missing))
        self._asked: dict[int, list[PeerId]] = {}

    def has_work_for(self, peer: PeerId) -> bool:
        """Whether `take` would give an idle `peer` something."""
        return bool(self._free) or any(_may_help(asked, peer) for asked in self._asked.values())

    def take(self, peer: PeerId, *, is_idle: bool) -> int | None:
        """Return a group to ask `peer` for.

        Args:
            peer: A holder.
            is_idle: Whether it has nothing else to do, so that it may help with the last groups.
        """
        if self._free:
            index = self._free.popleft()
            self._asked[index] = [peer]
            return index
        if not is_idle:
            return None
        for index in reversed(self._asked):
            asked = self._asked[index]
            if _may_help(asked, peer):
                asked.append(peer)
                return index
        return None

    def put(self, index: int) -> tuple[PeerId, ...] | None:
        """A group is here; return who was asked for it and may leave it, or None if it has come before."""
        asked = self._asked.pop(index, None)
        if asked is not None:
            return tuple(asked)
        if index in self._free:
            self._free.remove(index)
            return ()
        return None

    def lose(self, peer: PeerId) -> None:
        """A holder is gone: what only it was asked for is free again."""
        for index, asked in list(self._asked.items()):
            if peer in asked:
                asked.remove(peer)
                if not asked:
                    del self._asked[index]
                    self._free.appendleft(index)


def _may_help(asked: list[PeerId], peer: PeerId) -> bool:
    return len(asked) < MAX_ASKED and peer not in asked
