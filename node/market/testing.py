"""The requester's test of an output, run in this node's sandbox: by its provider, its requester and every arbiter."""

from collections.abc import Callable

from node.market.ports import PartRun, Sandbox
from protocol.errors import ProtocolError
from protocol.task.audit import Rerun, make_rerun
from protocol.task.manifest import Blob, Manifest
from protocol.task.pricing import Usage
from protocol.task.receipt import Terms
from protocol.task.testing import derive_test, sample_test
from protocol.task.verification import ByTest, Verification


class InvalidTest(ProtocolError):
    """A test that can't be run under this engine or on this node: its requester's to mend (TM8)."""

    advice = (
        "Mend the table [test] of the task file, or the module that it names; docs/guide/buying.md says what it gets."
    )


def _watched_by_nobody(_fuel: int, _bytes_out: int) -> None:
    """Nobody is billed for it."""


async def prepare_test(sandbox: Sandbox, manifest: Manifest, policy: Verification) -> None:
    """Compile the test that the policy names, or find it in the cache; return at once if it names none.

    Raises:
        InvalidTest: It is no module that the engine runs, or asks for more than this node gives; it says which.
        InvalidVerification: It can't be put together with the part's files.
        TransientError: This machine can't compile it now.
    """
    if not isinstance(policy, ByTest):
        return
    sample = sample_test(manifest, policy)
    try:
        await sandbox.prepare(sample)
    except ProtocolError as error:
        raise InvalidTest(f"the test can't be run: {error}") from error


async def run_test(
    sandbox: Sandbox,
    terms: Terms,
    part: int,
    output: Blob,
    on_progress: Callable[[int, int], None] = _watched_by_nobody,
) -> Rerun:
    """Return how the test of a part's output ended. The output, the test and the part's inputs are in the store.

    Raises:
        TransientError: This machine can't now.
        InvalidModule: The test is no module that the engine runs.
        StoaError: This machine can't at all.
    """
    manifest = derive_test(terms, part, output)
    run = await sandbox.run(manifest, 0, on_progress)
    fuel = manifest.limits.fuel
    return make_rerun(fuel, outcome=run.outcome, output=run.output, usage=usage_of_run(run))


def usage_of_run(run: PartRun) -> Usage:
    """Return what a run used."""
    return Usage(fuel=run.fuel, peak_mib=run.peak_mib, bytes_in=run.bytes_in, bytes_out=run.bytes_out)
