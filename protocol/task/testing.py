"""Tests: what judges a part whose result differs from run to run. Pure: docs/spec/bill.md, section 6.

Theory. A task that needs true chance or the time of day can't be judged by running it again (D9), but often its output
can be judged by looking at it: a route is short enough, a factor divides, a picture shows what it should. So the
requester names a module that does the looking (L2). That module is run like any part: on the same engine, metered,
deterministic. Whoever runs it on the same bytes finds the same, so a failed test is proof as a different second run is.

    args     "test", the part's number, then the part's arguments without the program's name
    env      the task's
    stdin    the output
    files    the part's own where it found them, and its standard input at /input/stdin
    clock    the task's
    seed     keccak of the task's seed, the award, the part and the output's digest

Its exit code 0 says that the output is right; every other judged end says that it is wrong.
"""

from dataclasses import replace
from typing import Final

from protocol.identity import ZERO_DIGEST, Digest
from protocol.signing.keccak import keccak256
from protocol.task.audit import Comparison, Finding, Rerun
from protocol.task.manifest import Blob, InputFile, InvalidManifest, Limits, Manifest, Part
from protocol.task.objects import Receipt
from protocol.task.outcome import Outcome, describe, is_judged, is_success
from protocol.task.pricing import Rates, Usage, price_of
from protocol.task.receipt import Terms
from protocol.task.verification import ByTest, InvalidVerification, Verification
from protocol.units import Amount

STDIN_PATH: Final = "/input/stdin"
TEST_OUTPUT_BYTES: Final = 1 << 16
TEST_LOG_BYTES: Final = 1 << 16
"""What a test has to say fits in here; more of it ends the test (TM3)."""
_NOBODY_AT_FAULT: Final = frozenset((Outcome.HOST_FAILURE, Outcome.CANCELLED))


def derive_test(terms: Terms, part: int, output: Blob) -> Manifest:
    """Return the task of one part that tests `output` of part number `part` under the award.

    Raises:
        InvalidVerification: The policy names no test, or a file of the part stands where the test has its input.
    """
    if not isinstance(terms.policy, ByTest):
        raise InvalidVerification("the offer's policy names no test")
    return _derive(terms.manifest, terms.policy, terms.award_id, part, output)


def sample_test(manifest: Manifest, policy: ByTest) -> Manifest:
    """Return a test of some output, to find out before there is one whether the module runs."""
    return _derive(manifest, policy, ZERO_DIGEST, 0, policy.module)


def check_testable(manifest: Manifest, policy: Verification) -> None:
    """Check that a test of every part can be put together; whoever deals with the offer does.

    Raises:
        InvalidVerification: Naming the file that is in the way.
    """
    if isinstance(policy, ByTest):
        for part in range(len(manifest.parts)):
            _derive(manifest, policy, ZERO_DIGEST, part, policy.module)


def judge_by_test(receipt: Receipt, test: Rerun) -> Comparison:
    """Say what a run of the test says of a receipt, which has passed `verify_receipt`.

    Args:
        receipt: For the part whose output was tested.
        test: How the test ended; a node that has to say that the module is none says so by the outcome.

    Returns:
        EQUAL if it passed, DIFFERENT if not, UNDECIDED if how it ended can't be judged. The module being none says
        nothing against an output (TM8).

    Raises:
        UnknownOutcome: The test ended in a way that no version of the protocol knows.
    """
    ended = describe(test.outcome)
    if test.outcome == Outcome.INVALID_MODULE:
        return Comparison(finding=Finding.EQUAL, reason=f"the test itself is at fault: {ended}")
    if not is_judged(test.outcome):
        return Comparison(finding=Finding.UNDECIDED, reason=f"the test of part {receipt.part} ended with: {ended}")
    if is_success(test.outcome):
        return Comparison(finding=Finding.EQUAL, reason="the output passed the test")
    told = f"the output of part {receipt.part} failed the test, which ended with: {ended}"
    return Comparison(finding=Finding.DIFFERENT, reason=told)


def may_be_provoked(test: Rerun) -> bool:
    """Tell whether an unjudged end of a test may be the work of who chose the output.

    A machine that fails can't be; a stack or a time that runs out can, for the output is what the test walks through.
    """
    return not is_judged(test.outcome) and test.outcome not in _NOBODY_AT_FAULT


def price_of_tests(rates: Rates, policy: Verification, parts: int) -> Amount:
    """Return what a provider asks for its own runs of the test, at its limits: one a part, none without a test."""
    if not isinstance(policy, ByTest):
        return Amount(0)
    usage = Usage(fuel=policy.fuel, peak_mib=policy.memory_mib, bytes_in=0, bytes_out=0)
    return price_of(rates, usage, parts)


def _derive(manifest: Manifest, policy: ByTest, award_id: Digest, part: int, output: Blob) -> Manifest:
    own = manifest.parts[part]
    given = own.files if own.stdin is None else (*own.files, InputFile(path=STDIN_PATH, blob=own.stdin))
    try:
        return replace(
            manifest,
            name="test",
            module=policy.module,
            limits=Limits(
                fuel=policy.fuel,
                memory_mib=policy.memory_mib,
                output_bytes=TEST_OUTPUT_BYTES,
                log_bytes=TEST_LOG_BYTES,
            ),
            seed=keccak256(manifest.seed + award_id + part.to_bytes(32) + output.digest),
            args=("test", str(part), *manifest.args[1:]),
            parts=(Part(args=own.args, stdin=output, files=given),),
        )
    except InvalidManifest as error:
        raise InvalidVerification(f"part {part} can't be tested: {error}; {STDIN_PATH} is the test's") from error
