"""Being behind a relay, and reaching peers that are (docs/spec/networking.md, N7).

A place at a relay lasts as long as the connection to it, and at most until it expires. What comes in through a relay
counts with the relay's host and network: whoever owns the relay can make up as many peers as he wants behind it, so
they share what one network may have (ADR 1532).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from node.networking.addresses import PeerAddress
from node.networking.errors import PeerUnreachable
from node.networking.libp2p.circuit_codec import (
    decode_hop,
    decode_stop,
    encode_hop,
    encode_stop,
    frame,
    read_frame,
    verify_voucher,
)
from node.networking.libp2p.connection import ProtocolStream
from node.networking.libp2p.switch import Switch
from node.networking.relay.circuit import CircuitStream
from node.networking.relay.messages import (
    HOP,
    STOP,
    BadCircuitMessage,
    HopKind,
    HopMessage,
    Status,
    StopKind,
    StopMessage,
)
from node.networking.streams import StreamClosed
from protocol.errors import TransientError
from protocol.identity import PeerId

log = structlog.get_logger(__name__)

RESERVE_TIMEOUT_S: Final = 10.0
LONGEST_RESERVATION_S: Final = 24 * 3600.0
"""A relay may promise more; we ask it again before."""


class ReservationRefused(TransientError):
    """A peer keeps no place for us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPlace:
    """A place that a relay keeps for this node.

    Attributes:
        relay: Who keeps it.
        place: Where the relay answered when we dialled it.
        until: On trio's clock.
        renew_at: When it is asked for again.
    """

    relay: PeerId
    place: PeerAddress
    until: float
    renew_at: float


class RelayClient:
    """Places at relays, and circuits in both directions."""

    def __init__(self, switch: Switch, *, clock: Callable[[], float]) -> None:
        """Use `switch`; `clock` gives unix seconds, in which relays say how long a place lasts."""
        self.held: dict[PeerId, HeldPlace] = {}
        self._switch = switch
        self._clock = clock
        switch.handle(STOP, self._serve)
        switch.dial_relayed = self._dial

    def candidates(self) -> dict[PeerId, tuple[PeerAddress, str]]:
        """Return the peers that may be asked for a place: such as we have dialled ourselves, where, and their hosts.

        Only of those do we know an address at which others can reach them too.
        """
        found: dict[PeerId, tuple[PeerAddress, str]] = {}
        for peer, connections in self._switch.connections.items():
            for connection in connections:
                if connection.relay is None and connection.place is not None:
                    found[peer] = connection.place.at(peer), connection.host
        return found

    async def reserve(self, relay: PeerId) -> HeldPlace:
        """Ask `relay`, which we have dialled, for a place, or for more time with the one we have.

        Raises:
            ReservationRefused: It gives none.
            PeerUnreachable: It is not connected, is no relay, or does not answer.
            PeerMisbehaved: What it answers makes no sense.
        """
        found = self.candidates().get(relay)
        if found is None:
            raise PeerUnreachable(relay, "it is not dialled directly")
        stream = await self._switch.open_stream(relay, [HOP])
        try:
            with trio.fail_after(RESERVE_TIMEOUT_S):
                await stream.write(frame(encode_hop(HopMessage(kind=HopKind.RESERVE))))
                answer = decode_hop(await read_frame(stream))
            self._check(answer, relay)
        except (StreamClosed, trio.TooSlowError) as error:
            raise PeerUnreachable(relay, f"no answer to a reservation: {error}") from error
        finally:
            stream.reset()
        assert answer.reservation is not None
        now = trio.current_time()
        lasts_s = min(answer.reservation.expires - self._clock(), LONGEST_RESERVATION_S)
        held = HeldPlace(relay=relay, place=found[0], until=now + lasts_s, renew_at=now + lasts_s * 3 / 4)
        self.held[relay] = held
        return held

    def _check(self, answer: HopMessage, relay: PeerId) -> None:
        if answer.kind is not HopKind.STATUS or answer.status is Status.UNUSED:
            raise BadCircuitMessage("a relay answers a reservation with something else")
        reservation = answer.reservation
        if answer.status is not Status.OK:
            raise ReservationRefused(f"{relay} keeps no place for us: {answer.status.name}")
        if reservation is None:
            raise BadCircuitMessage("a relay grants a reservation and does not say which")
        if reservation.voucher:
            verify_voucher(reservation.voucher, relay, self._switch.identity.peer, reservation.expires)
        if reservation.expires <= self._clock():
            raise ReservationRefused(f"{relay} keeps a place that is over already")

    def drop(self, relay: PeerId) -> None:
        """Forget a place."""
        self.held.pop(relay, None)

    # Others to us

    async def _serve(self, stream: ProtocolStream) -> None:
        with trio.fail_after(RESERVE_TIMEOUT_S):
            message = decode_stop(await read_frame(stream))
        held, connection = self.held.get(stream.peer), stream.connection
        if message.kind is not StopKind.CONNECT or message.peer is None:
            status = Status.UNEXPECTED_MESSAGE if message.kind is StopKind.STATUS else Status.MALFORMED_MESSAGE
        elif held is None or held.until <= trio.current_time() or connection.relay is not None:
            status = Status.PERMISSION_DENIED  # we asked for nothing: else anybody could claim to bring us peers
        else:
            status = Status.OK
        await stream.write(frame(encode_stop(StopMessage(kind=StopKind.STATUS, status=status))))
        if status is Status.OK:
            # Who is really there, the handshake tells; `message.peer` is the relay's word.
            await self._switch.serve_relayed(CircuitStream(stream), connection.host, stream.peer)
            stream.reset()

    # We to others

    async def _dial(self, place: PeerAddress) -> tuple[trio.abc.Stream, str]:
        """Open a circuit. Raises `OSError`, as a transport does."""
        target, relay = place.peer, place.relay
        if target is None or relay is None or relay in (target, self._switch.identity.peer):
            raise OSError("that is no way through a relay")
        stream: ProtocolStream | None = None
        done = False
        try:
            connection = await self._switch.connect([place.of_relay], is_direct=True)
            stream = await self._switch.open_stream(relay, [HOP])
            await stream.write(frame(encode_hop(HopMessage(kind=HopKind.CONNECT, peer=target))))
            answer = decode_hop(await read_frame(stream))
            if answer.kind is not HopKind.STATUS or answer.status is not Status.OK:
                raise OSError(f"the relay answers {answer.status.name}")
            done = True
            return CircuitStream(stream), connection.host
        except (PeerUnreachable, StreamClosed, BadCircuitMessage) as error:
            raise OSError(f"no way through the relay: {error}") from error
        finally:
            if stream is not None and not done:
                stream.reset()
