"""What is looked at before a task is auctioned: what could not end well is refused here, where it costs nothing."""

from node.app.node import Node
from node.execution.errors import InvalidModule
from node.market.testing import InvalidTest, prepare_test
from node.market.wish import Wish
from protocol.errors import ProtocolError
from protocol.market.objects import Offer
from protocol.spending import Cap
from protocol.task.manifest import Blob
from protocol.task.testing import sample_test
from protocol.task.verification import ByTest, blobs_of
from protocol.units import Amount, format_amount


class BlobsMissing(ProtocolError):
    """A task whose module or inputs are not in the node's store."""


class CopiesAboveCap(ProtocolError):
    """More copies than the spending caps leave money for."""


def most_of(offer: Offer) -> Amount:
    """Return the most that may be paid for a task: each copy costs its own price, and a dispute its fee."""
    return Amount(offer.copies * (offer.budget + offer.dispute_fee))


async def find_blobs(node: Node, wish: Wish) -> tuple[Blob, ...]:
    """Return what the task needs of the node's store.

    Raises:
        BlobsMissing: Not all of it is there.
    """
    needed = (*wish.manifest.blobs(), *blobs_of(wish.verification))
    missing = [blob.digest.hex()[:16] for blob in needed if not await node.storage.blobs.has(blob.digest)]
    if missing:
        raise BlobsMissing(
            f"the node's store lacks {', '.join(missing)}", advice="use `stoa task submit`, which sends them first"
        )
    return needed


def check_caps(node: Node, offer: Offer) -> None:
    """Refuse copies whose prices together can't be promised: some would be left out, and fewer be compared.

    Raises:
        CopiesAboveCap: Naming the cap.
    """
    if offer.copies == 1:
        return  # the price may turn out lower than the budget
    left = node.signer.remaining()
    for cap, name in ((Cap.TASK, "task"), (Cap.HOUR, "hour"), (Cap.DAY, "day")):
        if cap in left and most_of(offer) > left[cap]:
            raise CopiesAboveCap(
                f"{offer.copies} copies may cost {format_amount(most_of(offer))} together; the spending cap per"
                f" {name} leaves {format_amount(left[cap])}",
                advice="lower --budget, which is for one copy, ask for fewer copies, or raise wallet.caps",
            )


async def check_modules(node: Node, wish: Wish) -> None:
    """Refuse a module or a test that no sandbox takes: it would only find out at the providers, one after the other.

    Raises:
        InvalidModule: The task's module is none, or needs more memory at its start than the task allows.
        InvalidTest: The same of the test that it is judged by.
        ProtocolError: The task asks for more than this node gives.
        TransientError: This machine can't compile them now.
    """
    sandbox, manifest, policy = node.sandbox, wish.manifest, wish.verification
    try:
        await sandbox.prepare(manifest)
        await sandbox.check_first_memory(manifest)
    except InvalidModule as error:
        advice = "Name a command for WASI preview 1 under module, and give it what it needs under [limits]."
        raise InvalidModule(f"the task's module can't be run: {error}", advice=advice) from error
    await prepare_test(sandbox, manifest, policy)
    if isinstance(policy, ByTest):
        try:
            await sandbox.check_first_memory(sample_test(manifest, policy))
        except InvalidModule as error:
            raise InvalidTest(f"the test can't be run: {error}") from error
