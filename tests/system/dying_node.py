"""Runs `stoa`, and dies by SIGKILL at the journal commit that a file names; nodes themselves have no such switch.

    python -m tests.system.dying_node ORDER ARGUMENTS-OF-STOA...

The file ORDER says `<n> before` or `<n> after`: die at the n-th commit from now on that brings records, when they are
written and not committed, or when they are committed and nobody knows it yet, the anchor included. What was in that
commit is left in ORDER.died.
"""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlalchemy import Connection

from node.cli.main import main
from node.storage.chain import Entry
from node.storage.journal import Ledger
from protocol.units import UnixTime


class DyingLedger:
    """Counts down, on the writer's thread."""

    def __init__(self, order: Path) -> None:
        self._order = order
        self._left, self._moment = 0, ""
        self._entries: list[Entry] = []

    def note(self, entries: Sequence[Entry]) -> None:
        """Note what the next commit brings."""
        self._entries += entries

    def before_commit(self) -> None:
        """Take an order, count, and die if this is the moment."""
        if not self._entries:
            return
        if not self._left and self._order.exists():
            left, self._moment = self._order.read_text().split()
            self._left = int(left)
            self._order.unlink()
        elif self._left:
            self._left -= 1
        self._die_at("before")

    def after_commit(self) -> None:
        """Die if this is the moment."""
        if self._entries:
            self._die_at("after")
        self._entries.clear()

    def _die_at(self, moment: str) -> None:
        if self._left == 1 and self._moment == moment:
            told = " ".join(f"{entry.stream.partition('/')[0]}:{entry.kind}" for entry in self._entries)
            self._order.with_suffix(".died").write_text(f"{moment} {told}")
            os.kill(os.getpid(), signal.SIGKILL)


def arm(order: Path) -> None:
    """Put the countdown around the ledger's own hooks."""
    dying = DyingLedger(order)
    append, before_commit, after_commit = Ledger.append, Ledger.before_commit, Ledger.after_commit

    def noting_append(
        self: Ledger,
        connection: Connection,
        entries: Sequence[Entry],
        expected_versions: Mapping[str, int],
        at: UnixTime,
    ) -> int:
        seq = append(self, connection, entries, expected_versions, at)
        dying.note(entries)
        return seq

    def dying_before(self: Ledger, connection: Connection) -> None:
        before_commit(self, connection)
        dying.before_commit()

    def dying_after(self: Ledger) -> None:
        dying.after_commit()
        after_commit(self)

    Ledger.append, Ledger.before_commit, Ledger.after_commit = noting_append, dying_before, dying_after


if __name__ == "__main__":
    arm(Path(sys.argv.pop(1)))
    main()
