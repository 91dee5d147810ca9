"""A node's own clock: it may be off, run too fast or too slow, and be set while the node runs."""

import trio

from node.operations.clock import TrioClock
from protocol.units import UnixTime
from tests.simulation.network import Network


class NodeClock:
    """`Clock` of one node. Only Unix time goes wrong: what a machine counts its sleep with does not jump."""

    def __init__(self, true: TrioClock, network: Network) -> None:
        self._true, self._network = true, network
        self._offset_s, self._drift, self._since = 0.0, 0.0, true.unix_time()

    def set_wrong(self, *, offset_s: float, drift: float = 0.0) -> None:
        """Be off by `offset_s` from now on, and by `drift` more for each second that passes."""
        self._offset_s, self._drift, self._since = offset_s, drift, self._true.unix_time()
        self._network.failed += 1  # who reads another clock may have heard in time what was late for others

    def set_right(self) -> None:
        """Show the true time."""
        self._offset_s = self._drift = 0.0

    def now(self) -> UnixTime:
        """See `Clock`."""
        return UnixTime(int(self.unix_time()))

    def unix_time(self) -> float:
        """See `Clock`."""
        true = self._true.unix_time()
        return true + self._offset_s + self._drift * (true - self._since)

    def monotonic(self) -> float:
        """See `Clock`."""
        return self._true.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        await trio.sleep(max(0.0, seconds))
