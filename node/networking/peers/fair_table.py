"""A bounded table in which whoever brings much displaces only what it brought itself."""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class FairTable(Generic[K, V]):
    """Entries in groups. A table that is full drops the oldest entry of its largest group.

    So a flood from one group never costs another group an entry: it would first have to be smaller. With `g` groups
    each one is sure of `max_entries // g` entries.
    """

    def __init__(self, max_entries: int, *, max_per_group: int | None = None) -> None:
        """Hold `max_entries`, of one group at most `max_per_group`."""
        self._max_entries: Final = max_entries
        self._max_per_group: Final = max_per_group or max_entries
        self._values: dict[K, tuple[Hashable, V]] = {}
        self._groups: dict[Hashable, OrderedDict[K, None]] = {}

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: K) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[K]:
        return iter(tuple(self._values))

    def get(self, key: K) -> V | None:
        """Return the value of `key`, if it is here."""
        entry = self._values.get(key)
        return None if entry is None else entry[1]

    def group_of(self, key: K) -> Hashable:
        """Return the group of an entry."""
        return self._values[key][0]

    def values(self) -> tuple[V, ...]:
        """Return all values, the least recently put first."""
        return tuple(value for _, value in self._values.values())

    def put(self, key: K, value: V, *, group: Hashable) -> tuple[V, ...]:
        """Set the newest value of `key`, in `group`; return the values that had to go, which may be this one."""
        self.pop(key)
        self._values[key] = (group, value)
        members = self._groups.setdefault(group, OrderedDict())
        members[key] = None
        dropped: list[V] = []
        if len(members) > self._max_per_group:
            dropped.append(self._drop(group))
        while len(self._values) > self._max_entries:
            dropped.append(self._drop(max(self._groups, key=lambda each: len(self._groups[each]))))
        return tuple(dropped)

    def is_smaller(self, group: Hashable, other: Hashable) -> bool:
        """Whether `group` has fewer entries than `other`."""
        return len(self._groups.get(group, ())) < len(self._groups.get(other, ()))

    def pop(self, key: K) -> V | None:
        """Remove `key`, and return the value that it had."""
        entry = self._values.pop(key, None)
        if entry is None:
            return None
        group, value = entry
        del self._groups[group][key]
        if not self._groups[group]:
            del self._groups[group]
        return value

    def _drop(self, group: Hashable) -> V:
        key = next(iter(self._groups[group]))
        value = self._values[key][1]
        self.pop(key)
        return value
