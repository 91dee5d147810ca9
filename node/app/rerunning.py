"""The arbitration room's `Runner` over this node's sandbox."""

from node.execution.errors import InvalidModule
from node.market.auditing import rerun_of_run
from node.market.ports import Blobs, Sandbox
from node.market.testing import run_test
from protocol.identity import ZERO_DIGEST, ContentDigest, Digest
from protocol.task.audit import Rerun
from protocol.task.manifest import Blob
from protocol.task.outcome import Outcome
from protocol.task.receipt import Terms


class SandboxRunner:
    """Runs parts of other people's tasks, or their tests, as their requesters do."""

    def __init__(self, sandbox: Sandbox, blobs: Blobs) -> None:
        self._sandbox, self._blobs = sandbox, blobs

    @property
    def engine(self) -> Digest:
        """See `Runner`."""
        return self._sandbox.engine

    async def run_again(self, terms: Terms, part: int) -> Rerun:
        """See `Runner`."""
        return rerun_of_run(terms, await self._sandbox.run(terms.manifest, part, _watched_by_nobody))

    async def run_test(self, terms: Terms, part: int, output: ContentDigest) -> Rerun:
        """See `Runner`."""
        blob = Blob(digest=output, size=await self._blobs.size(output))
        try:
            return await run_test(self._sandbox, terms, part, blob)
        except InvalidModule:
            nothing = ContentDigest(ZERO_DIGEST)
            return Rerun(outcome=Outcome.INVALID_MODULE, output=nothing, fuel=0, peak_mib=0, bytes_in=0, bytes_out=0)


def _watched_by_nobody(_fuel: int, _bytes_out: int) -> None:
    """Nobody is billed for it."""
