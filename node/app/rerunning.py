"""The arbitration room's `Runner` over this node's sandbox."""

from node.market.auditing import rerun_of_run
from node.market.ports import Sandbox
from protocol.identity import Digest
from protocol.task.audit import Rerun
from protocol.task.receipt import Terms


class SandboxRunner:
    """Runs parts of other people's tasks, as an audit does."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    @property
    def engine(self) -> Digest:
        """See `Runner`."""
        return self._sandbox.engine

    async def run_again(self, terms: Terms, part: int) -> Rerun:
        """See `Runner`."""
        return rerun_of_run(terms, await self._sandbox.run(terms.manifest, part, _watched_by_nobody))


def _watched_by_nobody(_fuel: int, _bytes_out: int) -> None:
    """Nobody is billed for it."""
