"""Requests and answers over one long-lived stream per peer and direction (docs/spec/networking.md, section 3).

A new stream costs a round trip of negotiation, so each side keeps one for its requests, and tells them apart by number:
answers come in any order. What is bounded: the size of a frame, the requests of a peer that run at once, their rate,
the time of each, the streams of a peer (the newest), the bytes that are held for it. A peer that doesn't read its
answers is not read from, and after a while given up.

Whose fault is what:
- a handler that raises `ProtocolError`: the caller's; it gets the error's name and text;
- one that raises `TransientError`, or takes too long, or no room for the request: nobody's; the caller may try again;
- one that raises anything else: ours; it is logged with its traceback, and the caller gets "InternalError".
In every case the stream, the peer's other requests and the node go on.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import structlog
import trio

from node.networking.errors import (
    MessageTooLarge,
    PeerBusy,
    PeerMisbehaved,
    PeerTimeout,
    PeerUnreachable,
    RemoteRefused,
)
from node.networking.frames import (
    MAX_CODE_CHARS,
    MAX_FRAME_BYTES,
    MAX_METHOD_CHARS,
    MAX_TEXT_CHARS,
    Frame,
    Kind,
    decode_named,
    encode_frame,
    encode_named,
    frame_bytes,
    printable,
    read_frame,
)
from node.networking.limits import Buckets
from node.networking.outgoing import Outgoing
from node.networking.settings import NetworkSettings
from node.networking.streams import Stream, StreamClosed, Streams
from node.networking.turns import PER_REQUEST
from protocol.errors import ProtocolError, TransientError
from protocol.identity import PeerId

log = structlog.get_logger(__name__)

PROTOCOL: Final = "/stoa/requests/1"
CALL_TIMEOUT_S: Final = 30.0
HANDLER_TIMEOUT_S: Final = 25.0
"""Less than a caller waits, so that it learns why."""
BUSY: Final = "Busy"
INTERNAL: Final = "InternalError"

Handler: TypeAlias = Callable[[PeerId, bytes], Awaitable[bytes]]


Work: TypeAlias = Callable[[], float]
"""Returns what a request will cause now, in the units of turns.py, beyond `PER_REQUEST`."""


def no_more_work() -> float:
    """Say that handling a request takes no more than any does."""
    return 0.0


@dataclass(frozen=True, slots=True)
class _Method:
    handler: Handler
    max_request: int
    work: Work


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request of ours without an answer yet."""

    done: trio.Event = field(default_factory=trio.Event)
    frame: Frame | None = None


@dataclass(slots=True, eq=False)
class _Session:
    """Our stream to one peer, while it lasts."""

    outgoing: Outgoing
    waiting: dict[int, _Waiting] = field(default_factory=dict[int, _Waiting])
    last_number: int = 0
    ended: bool = False


@dataclass(slots=True, eq=False)
class _Peer:
    slots: trio.CapacityLimiter
    opening: trio.Lock = field(default_factory=trio.Lock)
    session: _Session | None = None


class Requests:
    """Both sides of the request protocol of one node."""

    def __init__(self, streams: Streams, settings: NetworkSettings, nursery: trio.Nursery) -> None:
        self._streams = streams
        self._settings = settings
        self._nursery = nursery
        self._methods: dict[str, _Method] = {}
        self._peers: dict[PeerId, _Peer] = {}
        self._running: Counter[PeerId] = Counter()
        self._rate: Buckets[PeerId] = Buckets(settings.request_rate)
        self._inbound: dict[PeerId, Stream] = {}
        streams.handle(PROTOCOL, self._serve_stream)

    def serve(self, method: str, handler: Handler, *, max_request: int, work: Work = no_more_work) -> None:
        """Answer requests for `method` of at most `max_request` bytes with what `handler` returns."""
        assert method.isascii()
        assert 1 <= len(method) <= MAX_METHOD_CHARS
        assert method not in self._methods, f"{method} is served already"
        self._methods[method] = _Method(handler, max_request, work)

    def forget(self, peer: PeerId) -> None:
        """Drop what is kept about a peer that has disconnected."""
        self._peers.pop(peer, None)

    async def call(self, peer: PeerId, method: str, body: bytes, *, max_response: int | None = None) -> bytes:
        """Send a request to a connected peer and return its answer.

        Raises:
            PeerUnreachable: Not connected, or the connection ended first.
            PeerTimeout: No answer within `CALL_TIMEOUT_S`.
            PeerBusy: The peer has no room for it now.
            RemoteRefused: The peer's handler refused.
            MessageTooLarge: `body`, or the answer, is over the limit.
        """
        rest = encode_named(method, body)
        if frame_bytes(len(rest)) > MAX_FRAME_BYTES:
            raise MessageTooLarge(f"the request {method}", size=len(body), limit=MAX_FRAME_BYTES - 128)
        limit = self._settings.max_response_bytes if max_response is None else max_response
        frame: Frame | None = None
        with trio.move_on_after(CALL_TIMEOUT_S):
            state = self._peers.get(peer)
            if state is None:
                state = self._peers[peer] = _Peer(trio.CapacityLimiter(self._settings.max_requests_per_peer))
            try:
                try:
                    state.slots.acquire_nowait()  # a turn of the scheduler is taken only if there is none free
                except trio.WouldBlock:
                    await state.slots.acquire()
                try:
                    frame = await self._ask(await self._session_of(peer, state), peer, rest)
                finally:
                    state.slots.release()
            finally:
                if state.session is None or state.session.ended:
                    self.forget(peer)  # whoever still waits for a slot of it goes on with the old one
        if frame is None:
            raise PeerTimeout(peer, method, after_s=CALL_TIMEOUT_S)
        if frame.kind is Kind.REFUSAL:
            code, text = decode_named(frame.rest, MAX_CODE_CHARS)
            if code == BUSY:
                raise PeerBusy(f"{peer} has no room for {method} now: {printable(text)}")
            raise RemoteRefused(peer, method, code, printable(text))
        if len(frame.rest) > limit:
            raise MessageTooLarge(f"the answer of {peer} to {method}", size=len(frame.rest), limit=limit)
        return frame.rest

    async def _session_of(self, peer: PeerId, state: _Peer) -> _Session:
        if state.session is not None and not state.session.ended:
            return state.session
        async with state.opening:
            if state.session is None or state.session.ended:
                stream = await self._streams.open_stream(peer, [PROTOCOL])
                state.session = _Session(Outgoing(stream))
                self._nursery.start_soon(self._run_session, stream, state.session)
            return state.session

    async def _ask(self, session: _Session, peer: PeerId, rest: bytes) -> Frame:
        session.last_number = (session.last_number + 1) % 2**32
        number, waiting = session.last_number, _Waiting()
        session.waiting[number] = waiting
        try:
            await session.outgoing.send(encode_frame(Kind.REQUEST, number, rest))
            await waiting.done.wait()
        except trio.BrokenResourceError as error:
            raise PeerUnreachable(peer, "the connection ended") from error
        except trio.Cancelled:
            # Best effort: the peer may stop working on what nobody waits for.
            with suppress(trio.WouldBlock, trio.BrokenResourceError):
                session.outgoing.send_nowait(encode_frame(Kind.CANCEL, number))
            raise
        finally:
            session.waiting.pop(number, None)
        if waiting.frame is None:
            raise PeerUnreachable(peer, "the connection ended before the answer")
        return waiting.frame

    async def _run_session(self, stream: Stream, session: _Session) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(session.outgoing.run, nursery.cancel_scope)
                try:
                    while True:
                        frame = await read_frame(stream)
                        waiting = session.waiting.get(frame.number)
                        if waiting is not None:  # else it was given up
                            waiting.frame = frame
                            waiting.done.set()
                except StreamClosed:
                    pass
                except PeerMisbehaved as error:
                    self._streams.strike(stream.peer, str(error))
                nursery.cancel_scope.cancel()
        finally:
            session.ended = True
            stream.reset()
            session.outgoing.close()
            for waiting in session.waiting.values():
                waiting.done.set()

    async def _serve_stream(self, stream: Stream) -> None:
        """Answer the requests on one stream until it ends; one a peer, the newest is the one that it uses."""
        previous = self._inbound.get(stream.peer)
        if previous is not None:
            previous.reset()
        self._inbound[stream.peer] = stream
        try:
            await self._answer_requests(stream)
        finally:
            if self._inbound.get(stream.peer) is stream:
                del self._inbound[stream.peer]

    async def _answer_requests(self, stream: Stream) -> None:
        failures: list[PeerMisbehaved] = []
        outgoing = Outgoing(stream, 0)  # what waits is counted where it waits
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outgoing.run, nursery.cancel_scope)
            try:
                await self._read_requests(stream, outgoing, nursery)
            except (StreamClosed, trio.BrokenResourceError):  # the second while a refusal waited to go out
                pass
            except PeerMisbehaved as error:
                failures.append(error)  # raised below: from in here it would come out inside a group
            nursery.cancel_scope.cancel()
        for failure in failures:
            raise failure

    async def _read_requests(self, stream: Stream, outgoing: Outgoing, nursery: trio.Nursery) -> None:
        scopes: dict[int, trio.CancelScope] = {}
        while True:
            frame = await read_frame(stream)
            if frame.kind is Kind.REQUEST:
                await stream.spend(PER_REQUEST)
                await self._begin(frame, stream, outgoing, scopes, nursery)
            elif frame.kind is Kind.CANCEL and frame.number in scopes:
                scopes[frame.number].cancel()

    async def _begin(
        self,
        frame: Frame,
        stream: Stream,
        outgoing: Outgoing,
        scopes: dict[int, trio.CancelScope],
        nursery: trio.Nursery,
    ) -> None:
        peer = stream.peer
        name, body = decode_named(frame.rest, MAX_METHOD_CHARS)
        method = self._methods.get(name)
        if frame.number in scopes:
            raise PeerMisbehaved(f"{peer} used the number of a request that runs")
        if method is None:
            await outgoing.send(_refusal(frame.number, "UnknownMethod", f"{name} is not served here"))
        elif len(body) > method.max_request:
            why = f"{len(body)} bytes, at most {method.max_request} are allowed"
            await outgoing.send(_refusal(frame.number, "MessageTooLarge", why))
        elif self._running[peer] >= self._settings.max_requests_per_peer or not self._rate.take(peer):
            await outgoing.send(_refusal(frame.number, BUSY, "too many requests"))
        else:
            await stream.spend(method.work())
            scopes[frame.number] = scope = trio.CancelScope()
            self._running[peer] += 1
            nursery.start_soon(self._run_handler, frame.number, method, stream, body, outgoing, scopes, scope)

    async def _run_handler(
        self,
        number: int,
        method: _Method,
        stream: Stream,
        body: bytes,
        outgoing: Outgoing,
        scopes: dict[int, trio.CancelScope],
        scope: trio.CancelScope,
    ) -> None:
        peer, held = stream.peer, len(body)
        stream.hold(held)
        try:
            with scope:
                answer = await _answer(number, method, peer, body)
                stream.hold(len(answer))
                held += len(answer)
                await outgoing.send(answer)
        except trio.BrokenResourceError:
            pass  # the stream ended meanwhile
        finally:
            stream.hold(-held)
            del scopes[number]
            self._running[peer] -= 1
            if not self._running[peer]:
                del self._running[peer]


async def _answer(number: int, method: _Method, peer: PeerId, body: bytes) -> bytes:
    try:
        with trio.fail_after(HANDLER_TIMEOUT_S):
            answer = await method.handler(peer, body)
    except ProtocolError as error:
        return _refusal(number, type(error).__name__, str(error))
    except (TransientError, trio.TooSlowError) as error:
        return _refusal(number, BUSY, type(error).__name__)
    except Exception:
        # The connection handler of STYLE section 5: a request that finds a bug costs the peer this request.
        log.exception("network.handler_crashed", peer=peer)
        return _refusal(number, INTERNAL, "the peer's own fault")
    if frame_bytes(len(answer)) > MAX_FRAME_BYTES:
        log.error("network.answer_too_large", peer=peer, size=len(answer))
        return _refusal(number, INTERNAL, "the answer is too large to send")
    return encode_frame(Kind.ANSWER, number, answer)


def _refusal(number: int, code: str, text: str) -> bytes:
    return encode_frame(Kind.REFUSAL, number, encode_named(code[:MAX_CODE_CHARS], text[:MAX_TEXT_CHARS].encode()))
