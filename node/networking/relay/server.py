"""Passing on for others: places for peers that nobody can dial, and circuits to them (docs/spec/networking.md, N7).

What a relay gives away is its line, so everything that a stranger can ask for is counted: places, circuits, bytes,
seconds and attempts, each also by network, since identities cost nothing. It dials nobody: a circuit leads only to a
peer that is connected and has asked for a place on that very connection.
"""

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import structlog
import trio

from node.networking.addresses import PeerAddress
from node.networking.bandwidth import MAX_PIECE_BYTES, FairGate
from node.networking.errors import PeerUnreachable
from node.networking.libp2p.circuit_codec import (
    binary_address,
    decode_hop,
    decode_stop,
    encode_hop,
    encode_stop,
    frame,
    make_voucher,
    read_frame,
)
from node.networking.libp2p.connection import ProtocolStream
from node.networking.libp2p.switch import Switch
from node.networking.limits import Buckets, Rate
from node.networking.peers.groups import network_group
from node.networking.relay.circuit import splice
from node.networking.relay.messages import (
    HOP,
    STOP,
    BadCircuitMessage,
    HopKind,
    HopMessage,
    Limit,
    Reservation,
    Status,
    StopKind,
    StopMessage,
)
from node.networking.settings import RelayLimits
from node.networking.streams import StreamClosed
from protocol.identity import PeerId

log = structlog.get_logger(__name__)

MESSAGE_TIMEOUT_S: Final = 10.0
"""To say what is wanted, and for the target to answer."""
CONNECT_RATE: Final = Rate(per_s=1, burst=20)
"""Circuits that one network, or one peer of none, may ask for: each costs the target a stream."""


class _Refused(Exception):
    """A request that gets a status instead of what it wants."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


@dataclass(slots=True, kw_only=True)
class _Place:
    """What one peer has reserved.

    Attributes:
        group: Its network, or itself.
        until: On trio's clock.
    """

    group: str
    until: float


@dataclass(slots=True)
class RelayFigures:
    """What this relay has done, for metrics and tests."""

    reservations: int = 0
    circuits: int = 0
    refused: int = 0
    bytes_moved: int = 0


@dataclass(slots=True)
class _Circuits:
    """How many there are, counted by everything that is limited."""

    by_dialler: Counter[str] = field(default_factory=Counter[str])
    by_target: Counter[str] = field(default_factory=Counter[str])
    by_group: Counter[str] = field(default_factory=Counter[str])

    @contextmanager
    def one_more(self, dialler: PeerId, target: PeerId, group: str) -> Generator[None, None, None]:
        keys = ((self.by_dialler, dialler), (self.by_target, target), (self.by_group, group))
        for counter, key in keys:
            counter[key] += 1
        try:
            yield
        finally:
            for counter, key in keys:
                counter[key] -= 1
                if not counter[key]:
                    del counter[key]


class RelayServer:
    """The relay that this node is to others, while `is_reachable` says that others can dial it."""

    def __init__(
        self,
        switch: Switch,
        limits: RelayLimits,
        *,
        clock: Callable[[], float],
        is_reachable: Callable[[], bool],
        places: Callable[[], list[PeerAddress]],
    ) -> None:
        """Serve on `switch`.

        Args:
            switch: Whose peers may ask.
            limits: How much is given.
            clock: Unix seconds, for what is told others; what is kept runs on trio's clock.
            is_reachable: Asked at each reservation.
            places: Where this node is.
        """
        self.figures = RelayFigures()
        self._switch = switch
        self._limits = limits
        self._clock = clock
        self._is_reachable = is_reachable
        self._places = places
        self._reserved: dict[PeerId, _Place] = {}
        self._circuits = _Circuits()
        self._connects: Buckets[str] = Buckets(CONNECT_RATE)
        rate = limits.bytes_per_s
        self._gate = FairGate[str](Rate(per_s=rate, burst=max(MAX_PIECE_BYTES, rate / 10))) if rate else None
        switch.handle(HOP, self._serve)
        switch.on_disconnected.append(self._forget)

    @property
    def reserved(self) -> tuple[PeerId, ...]:
        """Who has a place now."""
        self._expire()
        return tuple(self._reserved)

    @property
    def open_circuits(self) -> int:
        """Circuits that carry bytes now, or are being set up."""
        return self._circuits.by_target.total()

    async def _serve(self, stream: ProtocolStream) -> None:
        try:
            with trio.fail_after(MESSAGE_TIMEOUT_S):
                message = decode_hop(await read_frame(stream))
        except BadCircuitMessage as error:
            self._switch.strike(stream.peer, str(error))
            await _answer(stream, HopMessage(kind=HopKind.STATUS, status=Status.MALFORMED_MESSAGE))
            return
        try:
            await self._do(stream, message)
        except _Refused as refused:
            self.figures.refused += 1
            log.debug("relay.refused", peer=stream.peer, status=refused.status.name)
            await _answer(stream, HopMessage(kind=HopKind.STATUS, status=refused.status))

    async def _do(self, stream: ProtocolStream, message: HopMessage) -> None:
        if stream.connection.relay is not None:  # relays over relays would multiply the work of others
            raise _Refused(Status.PERMISSION_DENIED)
        match message.kind:
            case HopKind.RESERVE:
                await _answer(stream, self._reserve(stream))
            case HopKind.CONNECT if message.peer is not None:
                await self._connect(stream, message.peer)
            case HopKind.CONNECT:
                raise _Refused(Status.MALFORMED_MESSAGE)
            case HopKind.STATUS:
                raise _Refused(Status.UNEXPECTED_MESSAGE)

    # Places

    def _reserve(self, stream: ProtocolStream) -> HopMessage:
        self._expire()
        peer, limits = stream.peer, self._limits
        group = network_group(stream.connection.host) or peer
        others = [place for holder, place in self._reserved.items() if holder != peer]
        if (
            not self._is_reachable()
            or len(others) >= limits.reservations
            or sum(place.group == group for place in others) >= limits.reservations_per_network
        ):
            raise _Refused(Status.RESERVATION_REFUSED)
        self._reserved[peer] = _Place(group=group, until=trio.current_time() + limits.reservation_s)
        self.figures.reservations += 1
        log.info("relay.reserved", peer=peer, host=stream.connection.host, places=len(self._reserved))
        relay, expires = self._switch.identity.peer, int(self._clock() + limits.reservation_s)
        return HopMessage(
            kind=HopKind.STATUS,
            status=Status.OK,
            reservation=Reservation(
                expires=expires,
                addresses=tuple(binary_address(place.at(relay)) for place in self._places() if place.kind != "memory"),
                voucher=make_voucher(self._switch.identity.key_pair.private_key.sign, relay, peer, expires),
            ),
            limit=self._limit,
        )

    def _expire(self) -> None:
        now = trio.current_time()
        for peer in [peer for peer, place in self._reserved.items() if place.until <= now]:
            del self._reserved[peer]

    def _forget(self, peer: PeerId) -> None:
        self._reserved.pop(peer, None)

    # Circuits

    @property
    def _limit(self) -> Limit:
        return Limit(duration_s=self._limits.circuit_s, data_bytes=self._limits.circuit_bytes)

    async def _connect(self, stream: ProtocolStream, target: PeerId) -> None:
        self._expire()
        dialler, limits, count = stream.peer, self._limits, self._circuits
        group = network_group(stream.connection.host) or dialler
        if target not in self._reserved or target == dialler:
            raise _Refused(Status.NO_RESERVATION)
        if (
            not self._connects.take(group)
            or self.open_circuits >= limits.circuits
            or count.by_dialler[dialler] >= limits.circuits_per_dialler
            or count.by_target[target] >= limits.circuits_per_target
            or count.by_group[group] >= limits.circuits_per_network
        ):
            raise _Refused(Status.RESOURCE_LIMIT_EXCEEDED)
        with count.one_more(dialler, target, group):
            onward = await self._call(dialler, target)
            try:
                await _answer(stream, HopMessage(kind=HopKind.STATUS, status=Status.OK, limit=self._limit))
                self.figures.circuits += 1
                log.info("relay.circuit", dialler=dialler, target=target)

                async def pace(size: int) -> None:
                    self.figures.bytes_moved += size
                    if self._gate is not None:
                        await self._gate.take(group, size)

                why = await splice(stream, onward, limit=self._limit, pace=pace)
                log.info("relay.circuit_ended", dialler=dialler, target=target, why=why)
            finally:
                onward.reset()

    async def _call(self, dialler: PeerId, target: PeerId) -> ProtocolStream:
        """Ask `target` whether it takes a circuit from `dialler`, and return the stream for it."""
        onward: ProtocolStream | None = None
        try:
            with trio.fail_after(MESSAGE_TIMEOUT_S):
                onward = await self._switch.open_stream(target, [STOP])
                request = StopMessage(kind=StopKind.CONNECT, peer=dialler, limit=self._limit)
                await onward.write(frame(encode_stop(request)))
                answer = decode_stop(await read_frame(onward))
            if answer.kind is StopKind.STATUS and answer.status is Status.OK:
                taken, onward = onward, None
                return taken
        except (PeerUnreachable, StreamClosed, BadCircuitMessage, trio.TooSlowError) as error:
            log.debug("relay.target_fails", target=target, why=str(error))
        finally:
            if onward is not None:
                onward.reset()
        raise _Refused(Status.CONNECTION_FAILED)


async def _answer(stream: ProtocolStream, message: HopMessage) -> None:
    with trio.fail_after(MESSAGE_TIMEOUT_S):
        await stream.write(frame(encode_hop(message)))
