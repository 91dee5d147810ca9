"""Anchoring this node's opinions, and proving them to whoever asks: the shell around protocol/reputation/anchoring.py.

A sheet is in the journal before its root is sent, so a root that stands on the chain can always be proved. One stream
an epoch; what was sent before a crash is asked for again, and the contract takes each epoch once.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import structlog
import trio

from node.operations.clock import Clock
from node.operations.pace import TokenBucket
from node.storage.errors import JournalBroken
from node.storage.machine_log import Journal, Machine, MachineLog, load_machine, open_machine
from protocol.errors import ChainRejected, ProtocolError, StoaError, TransientError
from protocol.identity import ZERO_DIGEST, Address, Digest, PeerId, format_address
from protocol.reputation import anchoring as machine_of
from protocol.reputation.anchoring import (
    Anchored,
    Event,
    Intended,
    OnChain,
    Overtaken,
    Standing,
    State,
    find_due,
    may_go,
)
from protocol.reputation.scores import (
    MAX_SCORES,
    PROOF_MAX_BYTES,
    REQUEST_MAX_BYTES,
    SCORE_METHOD,
    NoSuchScore,
    ScoreProof,
    ScoreRequest,
    ScoreTree,
    Sheet,
    is_score,
    make_sheet,
)
from protocol.units import Seconds, Uint64, UnixTime
from protocol.wire.codec import decode, encode

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

PREFIX: Final = "scores/"
LOOK_S: Final = 60.0
KEPT: Final = 32
"""Sheets that can be proved: older ones are closed, and pruned like any history that is over."""
ANSWERS_PER_S: Final = 50.0
ANSWERS_AT_ONCE: Final = 200.0
"""For all peers together; what one of them may ask is the network's business."""

MACHINE: Final = Machine[Sheet, State, Event, Any](
    context=Sheet, events=Event, begin=machine_of.begin, transition=machine_of.transition
)
SheetLog: TypeAlias = MachineLog[Sheet, State, Event, Any]


class NothingToAnchor(ProtocolError):
    """No opinion yet, the same ones as are anchored, or an epoch that has its root."""


class WrongAnswer(ProtocolError):
    """A peer's proof is about something else than was asked for."""


class TooManyQuestions(TransientError):
    """More proofs are asked for than this node answers."""


class ScoreChain(Protocol):
    """The contract that holds the roots. Views are of confirmed blocks; failures are those of `node/chain`."""

    async def now(self) -> UnixTime:
        """Return the time of the newest confirmed block."""
        ...

    async def newest(self, publisher: Address) -> OnChain:
        """Return a publisher's last epoch and its root."""
        ...

    async def root_of(self, publisher: Address, epoch: Uint64) -> Digest:
        """Return the root of a publisher's epoch; zero if there is none."""
        ...

    async def confirmed_block(self) -> int:
        """Return the number of the newest confirmed block."""
        ...

    async def is_gas_cheap(self) -> bool:
        """Return whether gas is cheap now, as routine transactions wait for."""
        ...

    async def anchor(self, epoch: Uint64, root: Digest) -> int:
        """Anchor a root of this wallet; return the block in which that is confirmed."""
        ...


class Peers(Protocol):
    """Other nodes, by wallet."""

    def serve(self, method: str, handler: Callable[[PeerId, bytes], Awaitable[bytes]], *, max_request: int) -> None:
        """Answer requests."""
        ...

    async def call(self, wallet: Address, method: str, body: bytes, *, max_response: int | None = None) -> bytes:
        """Ask the node of a wallet."""
        ...


class OpenStreamsOf(Protocol):
    """Which streams with a prefix are open."""

    async def __call__(self, prefix: str) -> tuple[str, ...]:
        """Return their names."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorTerms:
    """What the operator chose.

    Attributes:
        unasked: Anchor by itself, once an epoch.
        every: Length of an epoch.
        patience: For how long in an epoch a routine anchor waits for cheap gas.
    """

    unasked: bool
    every: Seconds
    patience: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorView:
    """A sheet of ours. `block` is None while its root is not confirmed."""

    epoch: UnixTime
    scores: int
    root: Digest
    block: int | None


@dataclass(slots=True)
class _Kept:
    log: SheetLog
    tree: ScoreTree


class Anchors:
    """This node's sheets. `run` keeps them; any task may ask."""

    def __init__(
        self,
        *,
        journal: Journal,
        open_streams: OpenStreamsOf,
        chain: ScoreChain,
        peers: Peers,
        wallet: Address,
        clock: Clock,
        terms: AnchorTerms,
        opinions: Callable[[int], Awaitable[Mapping[Address, int]]],
    ) -> None:
        """Take the rooms around this one; `opinions` gives the scores of at most so many subjects."""
        self._journal, self._open_streams, self._chain, self._peers = journal, open_streams, chain, peers
        self._wallet, self._clock, self._terms, self._opinions = wallet, clock, terms, opinions
        self._kept: dict[int, _Kept] = {}
        self._lock = trio.Lock()  # from the decision to anchor until its fate is known
        self._answers = TokenBucket(per_second=ANSWERS_PER_S, burst=ANSWERS_AT_ONCE, clock=clock)

    async def start(self) -> None:
        """Take up the sheets that are kept, and answer peers."""
        for stream in await self._open_streams(PREFIX):
            machine = await load_machine(self._journal, MACHINE, stream)
            self._kept[machine.context.epoch] = _Kept(machine, ScoreTree(machine.context))
        self._peers.serve(SCORE_METHOD, self._answer, max_request=REQUEST_MAX_BYTES)

    async def run(self) -> None:
        """Finish what was begun, and anchor once an epoch if the operator wants it, until cancelled."""
        while True:
            try:
                await self.look()
            except JournalBroken:  # found on the way: it stops the node, wherever it is found
                raise
            except StoaError as error:  # the chain is away, gas too dear, the disk full: the next look tries again
                log.info("scores.not_anchored", reason=str(error))
            await self._clock.sleep(LOOK_S)

    async def look(self) -> None:
        """Do what is to be done now.

        Raises:
            StoaError: What is in the way; nothing is lost.
        """
        async with self._lock:
            await self._finish()
            if not self._terms.unasked:
                return
            epoch = await self._due()
            if epoch is None or not may_go(
                now=await self._chain.now(),
                epoch=epoch,
                patience=self._terms.patience,
                is_gas_cheap=await self._chain.is_gas_cheap(),
            ):
                return
            if await self._begin(epoch):
                await self._finish()

    async def anchor_now(self) -> AnchorView:
        """Anchor the present opinions without waiting for cheap gas; return once that is confirmed.

        Raises:
            NothingToAnchor: There is nothing new to say, or this epoch has its root.
            ChainRejected, TransientError: The contract refused, or the chain can't be reached.
        """
        async with self._lock:
            await self._finish()
            epoch = await self._due()
            if epoch is None:
                raise NothingToAnchor(
                    "this epoch has its root already", advice="an epoch takes one; see reputation.epoch_h"
                )
            if not await self._begin(epoch):
                raise NothingToAnchor("there is nothing that is not anchored yet", advice="see `stoa reputation show`")
            await self._finish()
            return self.views()[0]

    def views(self) -> tuple[AnchorView, ...]:
        """Return the sheets that are kept, newest first."""
        return tuple(_view(self._kept[epoch]) for epoch in sorted(self._kept, reverse=True))

    def prove(self, subject: Address, epoch: Uint64 = 0) -> ScoreProof:
        """Return this node's own line about `subject`; `epoch` 0 is the newest that is confirmed.

        Raises:
            NoSuchScore: There is none.
        """
        standing = [number for number, kept in self._kept.items() if isinstance(kept.log.state, Standing)]
        wanted = epoch or max(standing, default=0)
        if wanted not in standing:
            raise NoSuchScore(f"no confirmed sheet of epoch {epoch} is kept here" if epoch else "nothing is anchored")
        return self._kept[wanted].tree.prove(self._wallet, subject)

    async def ask(self, publisher: Address, subject: Address, epoch: Uint64 = 0) -> ScoreProof:
        """Ask a publisher for its line about `subject`. What comes back is not checked with the chain yet.

        Raises:
            WrongAnswer: It is about something else.
            StoaError: The publisher can't be reached, or refuses.
        """
        if publisher == self._wallet:
            return self.prove(subject, epoch)
        body = encode(ScoreRequest(epoch=epoch, subject=subject))
        answer = await self._peers.call(publisher, SCORE_METHOD, body, max_response=PROOF_MAX_BYTES)
        proof = decode(ScoreProof, answer, max_bytes=PROOF_MAX_BYTES)
        if (proof.publisher, proof.subject) != (publisher, subject) or epoch not in (0, proof.epoch):
            raise WrongAnswer(f"{format_address(publisher)} answered about something else")
        return proof

    async def is_anchored(self, proof: ScoreProof) -> bool:
        """Return whether the chain holds the root that a line leads to."""
        root = await self._chain.root_of(proof.publisher, proof.epoch)
        return root != ZERO_DIGEST and is_score(proof, root)

    async def _answer(self, _peer: PeerId, body: bytes) -> bytes:
        request = decode(ScoreRequest, body, max_bytes=REQUEST_MAX_BYTES)
        if not self._answers.try_take():
            raise TooManyQuestions("too many proofs are asked for now")
        return encode(self.prove(request.subject, request.epoch))

    async def _due(self) -> Uint64 | None:
        newest = await self._chain.newest(self._wallet)
        return find_due(now=await self._chain.now(), every=self._terms.every, on_chain=newest)

    async def _begin(self, epoch: Uint64) -> bool:
        """Write a sheet down if there is something new in it; say whether it is to be anchored."""
        sheet = make_sheet(epoch, await self._opinions(MAX_SCORES))
        tree = ScoreTree(sheet)
        if not sheet.scores or epoch in self._kept:
            return False
        newest = await self._chain.newest(self._wallet)
        if tree.root != newest.root:
            await self._keep(sheet)
            log.info("scores.decided", epoch=epoch, scores=len(sheet.scores), root=tree.root.hex())
            return True
        if newest.epoch not in self._kept:  # our memory of it was lost; the root says that it was this very sheet
            await self._keep(make_sheet(newest.epoch, {line.subject: line.score for line in sheet.scores}))
            await self._finish()
        return False

    async def _keep(self, sheet: Sheet) -> None:
        machine = await open_machine(self._journal, MACHINE, f"{PREFIX}{sheet.epoch}", sheet)
        self._kept[sheet.epoch] = _Kept(machine, ScoreTree(sheet))

    async def _finish(self) -> None:
        """Bring what was decided to its end."""
        for epoch, kept in sorted(self._kept.items()):
            if isinstance(kept.log.state, Intended):
                await self._bring(epoch, kept)
        standing = [epoch for epoch in sorted(self._kept) if isinstance(self._kept[epoch].log.state, Standing)]
        for epoch in tuple(self._kept):
            if epoch not in standing[-KEPT:] and not isinstance(self._kept[epoch].log.state, Intended):
                await self._kept[epoch].log.close()
                del self._kept[epoch]

    async def _bring(self, epoch: Uint64, kept: _Kept) -> None:
        root = kept.tree.root
        fate = await self._fate(epoch, root)
        if fate is None:
            try:
                fate = Anchored(block=await self._chain.anchor(epoch, root))
            except ChainRejected:  # somebody with this key was faster, or it was done before a crash
                fate = await self._fate(epoch, root)
                if fate is None:
                    raise
        await kept.log.apply(fate)
        log.info("scores.anchored" if isinstance(fate, Anchored) else "scores.overtaken", epoch=epoch, root=root.hex())

    async def _fate(self, epoch: Uint64, root: Digest) -> Event | None:
        if await self._chain.root_of(self._wallet, epoch) == root:
            return Anchored(block=await self._chain.confirmed_block())
        newest = await self._chain.newest(self._wallet)
        return Overtaken() if newest.epoch >= epoch else None


def _view(kept: _Kept) -> AnchorView:
    state = kept.log.state
    return AnchorView(
        epoch=UnixTime(state.sheet.epoch),
        scores=len(state.sheet.scores),
        root=kept.tree.root,
        block=state.block if isinstance(state, Standing) else None,
    )
