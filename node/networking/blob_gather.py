"""One blob from several holders at once: who is asked, for what, and who has failed.

    first holder ── chaining values, last group ──▶ proven     the others wait a moment: small blobs are paid for once
    all holders  ── groups from one pool ─────────▶ store      a holder that fails gives its groups back
    idle holders ── groups that others have not begun ──▶         so that the slowest does not decide how long it takes

A holder is dropped for good when it lies (that is a strike), stalls or goes away; the transfer fails when none is left.
What came stays in the store, so the next attempt goes on there.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final, Protocol, TypeAlias

import structlog
import trio

from node.networking.blob_pool import GroupPool
from node.networking.blob_receive import STALL_TIMEOUT_S, Wanted
from node.networking.errors import (
    BaseUnfit,
    BlobCorrupt,
    BlobUnavailable,
    MessageTooLarge,
    NoHolderLeft,
    PeerBusy,
    PeerMisbehaved,
    PeerTimeout,
    PeerUnreachable,
)
from node.networking.streams import StreamClosed
from node.networking.together import run_together
from node.storage.blake3_tree import BlobTree
from protocol.errors import StoaError, TransientError
from protocol.identity import PeerId

log = structlog.get_logger(__name__)

HEAD_START_S: Final = 2.0
"""After this the next holder is asked too, though the one before has not yet proven what the blob is."""
CORRUPT_WEIGHT: Final = 5.0
"""Strikes for bytes that don't belong to the digest: twice is a ban."""


class GroupStore(Protocol):
    """Where the groups go: `node.storage.blob_partials.PartialBlob`, or a list in a test."""

    @property
    def tree(self) -> BlobTree | None:
        """What is known from an earlier attempt, proven."""
        ...

    @property
    def missing(self) -> frozenset[int]:
        """Groups that are not here; empty before `begin`."""
        ...

    async def begin(self, tree: BlobTree) -> None:
        """Take what is now known of the blob. Harmless twice."""
        ...

    async def put(self, index: int, data: bytes) -> None:
        """Take a checked group. Harmless twice."""
        ...


class Session(Protocol):
    """A stream to a holder on which groups come."""

    async def run(self) -> None:
        """Take groups until there are none for this holder."""
        ...

    def leave(self, index: int) -> None:
        """Say that a group is no longer needed."""
        ...


HOLDER_FAILED: Final = (BlobUnavailable, MessageTooLarge, PeerBusy, PeerMisbehaved, PeerTimeout, PeerUnreachable)
"""What ends the part of one holder. Anything else is about ourselves (the disk, the quota) and ends the transfer."""

OpenSession: TypeAlias = Callable[["HolderTasks"], AbstractAsyncContextManager[Session]]
"""Reaches the holder whose tasks they are, and opens a stream to it for as long as the context lasts. After `BaseUnfit`
the next one works without bases, so a holder that lies with one is found out by the next group."""
Strike: TypeAlias = Callable[[PeerId, str, float], None]


class Gathering:
    """One transfer."""

    def __init__(self, wanted: Wanted, into: GroupStore, open_session: OpenSession, strike: Strike) -> None:
        self.wanted = wanted
        self.tree = into.tree
        self._into, self._open_session, self._strike = into, open_session, strike
        self._pool = GroupPool(into.missing)
        self._sessions: dict[PeerId, Session] = {}
        self._failures: dict[PeerId, StoaError] = {}
        self._proving = trio.Lock()
        self._changed = trio.Event()
        self._scope = trio.CancelScope()

    async def run(self, holders: Sequence[PeerId]) -> None:
        """Get all groups that are missing.

        Args:
            holders: Who is asked, the most likely first.

        Raises:
            NoHolderLeft: Each has failed, and more than one has. The only one's own reason otherwise.
        """
        if not self._is_done:
            order = list(dict.fromkeys(holders))
            assert order, "somebody must be asked"
            with self._scope:
                await run_together(*(partial(self._ask, place, peer) for place, peer in enumerate(order)))
        if not self._is_done:
            reasons = list(self._failures.values())
            if len(reasons) == 1 or not any(isinstance(reason, TransientError) for reason in reasons):
                raise reasons[0]
            raise NoHolderLeft(self.wanted.digest, reasons)

    @property
    def _is_done(self) -> bool:
        return self.tree is not None and not self._into.missing

    def take(self, peer: PeerId, *, is_idle: bool) -> int | None:
        """See `HolderTasks`."""
        return self._pool.take(peer, is_idle=is_idle)

    async def prove(self, tree: BlobTree) -> None:
        """See `HolderTasks`."""
        async with self._proving:
            if self.tree is None:
                await self._into.begin(tree)
                self._pool = GroupPool(self._into.missing)
                self.tree = tree
                self._wake()

    async def put(self, index: int, data: bytes) -> None:
        """See `HolderTasks`."""
        others = self._pool.put(index)
        if others is None:
            return
        for other in others:
            if other in self._sessions:
                self._sessions[other].leave(index)
        await self._into.put(index, data)
        if self._is_done:
            self._scope.cancel()

    async def _ask(self, place: int, peer: PeerId) -> None:
        """Take what there is from one holder until all is here, or the holder fails."""
        with trio.move_on_after(place * HEAD_START_S):
            while self.tree is None and len(self._failures) < place:
                await self._changed.wait()
        while not self._is_done:
            if self.tree is not None and not self._pool.has_work_for(peer):
                await self._changed.wait()
                continue
            try:
                await self._run_session(peer)
            except BaseUnfit as error:
                log.warning("blob.base_unfit", peer=peer, base=error.base.hex(), why=str(error))
            except HOLDER_FAILED as error:
                self._failures[peer] = error
                log.info("blob.holder_failed", peer=peer, digest=self.wanted.digest.hex(), why=str(error))
                return
            finally:
                self._pool.lose(peer)
                self._wake()

    async def _run_session(self, peer: PeerId) -> None:
        try:
            async with self._open_session(HolderTasks(self, peer)) as session:
                self._sessions[peer] = session
                await session.run()
        except StreamClosed as error:
            raise PeerUnreachable(peer, f"blob transfer broke: {error}") from error
        except trio.TooSlowError as error:
            raise PeerTimeout(peer, f"blob {self.wanted.digest.hex()}", after_s=STALL_TIMEOUT_S) from error
        except PeerMisbehaved as error:
            self._strike(peer, str(error), CORRUPT_WEIGHT if isinstance(error, BlobCorrupt) else 1.0)
            raise
        finally:
            self._sessions.pop(peer, None)

    def _wake(self) -> None:
        """Something changed that a waiting holder may care about."""
        self._changed.set()
        self._changed = trio.Event()


class HolderTasks:
    """What one holder is to do: the `Tasks` of its session."""

    def __init__(self, gathering: Gathering, peer: PeerId) -> None:
        self.peer = peer
        self._gathering = gathering

    @property
    def tree(self) -> BlobTree | None:
        """Size and chaining values, once proven by anybody."""
        return self._gathering.tree

    def take(self, *, is_idle: bool) -> int | None:
        """Return the next group to ask for; `is_idle` if nothing is under way."""
        return self._gathering.take(self.peer, is_idle=is_idle)

    async def prove(self, tree: BlobTree) -> None:
        """The last group fits these chaining values: size and all are proven. Harmless twice."""
        await self._gathering.prove(tree)

    async def put(self, index: int, data: bytes) -> None:
        """A group is here and checked."""
        await self._gathering.put(index, data)
