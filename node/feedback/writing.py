"""Writing feedback about paid awards into a registry of ERC-8004, each once: docs/spec/feedback.md, FB5 to FB9.

What is to be written follows from the purchases in the journal (`paid_table.py`); what became of it is in the stream
`feedback/<award>`. Giving feedback twice would count twice, so the transaction goes out under the award's own key, and
only after the agent that it is about is durable.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import structlog
import trio
from sqlalchemy import Connection

from node.feedback.paid_table import (
    FEEDBACK,
    MAX_REASON,
    FeedbackEvent,
    FeedbackRow,
    Intended,
    Skipped,
    Written,
    list_feedback,
    list_waiting,
)
from node.operations.clock import Clock
from node.storage.chain import Entry, Record
from node.storage.errors import JournalBroken
from node.storage.restoration import latest_restoration
from protocol.errors import ChainRejected, ProtocolError, StoaError, TransientError
from protocol.identity import Address, Digest, PeerId
from protocol.reputation.feedback import (
    AGENT_MAX_BYTES,
    AGENT_METHOD,
    GIVEN_UP_AFTER,
    AgentAnswer,
    AgentRequest,
    Feedback,
    make_feedback,
)
from protocol.signing.eip712 import Domain
from protocol.units import Amount, Seconds, UnixTime
from protocol.wire.codec import decode, encode

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)
T = TypeVar("T")

LOOK_S: Final = 60.0
_AGENT_BYTES: Final = 32


class Restored(TransientError):
    """The node was restored from a backup, and the feedback may have been given since: nobody can tell by looking."""


class Registry(Protocol):
    """The registry, as far as writing goes."""

    async def is_of(self, agent: int, wallet: Address) -> bool:
        """Return whether an agent is a wallet's."""
        ...

    async def give(self, agent: int, feedback: Feedback, *, key: str) -> tuple[int, Digest]:
        """Give feedback, once for one key; return its number and transaction, confirmed.

        Raises:
            Restored: It may have been given, and it can't be known.
        """
        ...

    async def is_gas_cheap(self) -> bool:
        """Return whether gas is cheap now."""
        ...


class Peers(Protocol):
    """Other nodes, by wallet."""

    def serve(self, method: str, handler: Callable[[PeerId, bytes], Awaitable[bytes]], *, max_request: int) -> None:
        """Answer requests."""
        ...

    async def call(self, wallet: Address, method: str, body: bytes, *, max_response: int | None = None) -> bytes:
        """Ask the node of a wallet."""
        ...


class Journal(Protocol):
    """Where the fate of feedback is noted."""

    async def append(self, entries: Sequence[Entry], *, expected_versions: Mapping[str, int] | None = None) -> int:
        """Append durably."""
        ...

    async def replay(self, stream: str) -> tuple[Record, ...]:
        """Return all records of a stream, checked."""
        ...


class Reader(Protocol):
    """Queries on the node's database."""

    async def query(self, run: Callable[[Connection], T]) -> T:
        """Return `run(connection)`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackTerms:
    """What the operator chose.

    Attributes:
        registry: Address of the registry.
        write: Write feedback unasked.
        least: What an award must have brought its provider, base units.
        agent: This node's own number in the registry; None if it has none.
        patience: For how long after an award's end feedback waits for cheap gas.
    """

    registry: Address
    write: bool
    least: Amount
    agent: int | None
    patience: Seconds


class FeedbackWriter:
    """Says of providers, in public, what they were paid for. `run` writes; peers learn which agent this node is."""

    def __init__(
        self,
        *,
        domain: Domain,
        journal: Journal,
        reader: Reader,
        registry: Registry,
        peers: Peers,
        clock: Clock,
        terms: FeedbackTerms,
    ) -> None:
        """Take the rooms around this one."""
        self._domain, self._journal, self._reader = domain, journal, reader
        self._registry, self._peers, self._clock, self._terms = registry, peers, clock, terms
        peers.serve(AGENT_METHOD, self._answer, max_request=AGENT_MAX_BYTES)

    async def run(self) -> None:
        """Write what there is to write, until cancelled."""
        while self._terms.write:
            await self.look()
            await self._clock.sleep(LOOK_S)

    async def look(self) -> None:
        """Go through the awards about which nothing is said yet; what is in the way of one stops no other."""
        since = UnixTime(max(0, self._clock.now() - GIVEN_UP_AFTER))
        least = self._terms.least
        restoration = await latest_restoration(self._journal)
        restored_at = restoration.restored.at if restoration is not None else -1
        rows = await self._reader.query(lambda connection: list_waiting(connection, since=since, least=least))
        for row in rows:
            try:
                if row.began_at <= restored_at and row.fate == "waiting":
                    await self._note(row, Skipped(reason="the node was restored since: it may have been given"))
                    continue
                await self._write(row)
            except JournalBroken:
                raise
            except StoaError as error:  # the provider or the chain is away, gas too dear: the next look tries again
                log.info("feedback.not_written", award=row.paid.award.hex(), reason=str(error))

    async def rows(self, limit: int) -> tuple[FeedbackRow, ...]:
        """Return the paid awards and what became of their feedback, newest first."""
        return await self._reader.query(lambda connection: list_feedback(connection, limit))

    async def agent_of(self, provider: Address) -> int | None:
        """Ask a node which agent it is, and the registry whether that is true; None if it is none.

        Raises:
            StoaError: The node or the chain can't be reached, or the answer is no answer.
        """
        body = encode(AgentRequest(registry=self._terms.registry))
        raw = await self._peers.call(provider, AGENT_METHOD, body, max_response=AGENT_MAX_BYTES)
        answer = decode(AgentAnswer, raw, max_bytes=AGENT_MAX_BYTES)
        if answer.agent is None:
            return None
        agent = int.from_bytes(answer.agent)
        return agent if await self._registry.is_of(agent, provider) else None

    async def _write(self, row: FeedbackRow) -> None:
        feedback = make_feedback(self._domain, row.paid)
        agent = row.agent
        if agent is None:
            waits = self._clock.now() < row.paid.ended_at + self._terms.patience
            if waits and not await self._registry.is_gas_cheap():
                return
            agent = await self.agent_of(row.paid.provider)
            if agent is None:
                await self._note(row, Skipped(reason="its provider is no agent of the registry"))
                return
            await self._note(row, Intended(agent=Digest(agent.to_bytes(_AGENT_BYTES))))
        try:
            index, transaction = await self._registry.give(agent, feedback, key=f"feedback {row.paid.award.hex()}")
        except (ChainRejected, ProtocolError, Restored) as error:
            await self._note(row, Skipped(reason=str(error)[:MAX_REASON]))
            return
        await self._note(row, Written(index=index, transaction=transaction))

    async def _note(self, row: FeedbackRow, event: FeedbackEvent) -> None:
        stream = f"{FEEDBACK}{row.paid.award.hex()}"
        body = encode(event, FeedbackEvent)
        with trio.CancelScope(shield=True):
            await self._journal.append([Entry(stream=stream, kind=type(event).__name__, body=body)])
        log.info("feedback.noted", award=row.paid.award.hex(), fate=type(event).__name__.lower())

    async def _answer(self, _peer: PeerId, body: bytes) -> bytes:
        request = decode(AgentRequest, body, max_bytes=AGENT_MAX_BYTES)
        own = self._terms.agent
        is_asked = request.registry == self._terms.registry and own is not None
        return encode(AgentAnswer(agent=Digest(own.to_bytes(_AGENT_BYTES)) if is_asked and own is not None else None))
