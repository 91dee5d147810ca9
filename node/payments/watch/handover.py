"""Keeping this node's own towers up to date: each newer voucher that matters goes to every tower (WT13-WT18).

One task a tower, so that a slow one holds up nobody else. What a tower said that it holds is kept durably, and asked of
it again several times a challenge: a tower that lost its disk is told everything anew, and a tower that holds more than
we do gives back what we have lost.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog
import trio

from node.payments.channel_payee import ChannelPayee
from node.payments.room import Room
from node.payments.watch.ports import PayeeSigner
from node.payments.watch.settings import WatchSettings
from node.payments.watch.store import WatchStore
from protocol.channel.errors import BadVoucher, WrongChannel
from protocol.channel.receiving import Purse
from protocol.channel.watch import HandedMark, WatchOrder, mark_of, money_at_stake
from protocol.channel.watch_messages import (
    HAND_MAX_BYTES,
    HAND_METHOD,
    MAX_ORDERS,
    NEWEST_METHOD,
    ORDER_MAX_BYTES,
    STATE_METHOD,
    HandAnswer,
    Handed,
    HandRequest,
    KeptAnswer,
    KeptRequest,
    WatchStateAnswer,
    WatchStateRequest,
)
from protocol.errors import ProtocolError, TransientError
from protocol.identity import ZERO_DIGEST, Address, Digest, format_address
from protocol.units import Amount, UnixTime
from protocol.wire.codec import decode, encode

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

LOOK_S: Final = 2.0
"""Between two looks at what is new: all that came meanwhile goes to a tower as one request."""
CHECKS_A_CHALLENGE: Final = 16
"""How often a tower is asked what it holds. It learns by this, too, that we are there."""
REFUSED_S: Final = 300
"""Most seconds until an order that a tower refused is offered again."""
LONGEST_RETRY_S: Final = 60.0
MAX_PAGES: Final = 64
"""Of a tower's answer: more channels than anybody has."""
FRAME_BYTES: Final = 64


@dataclass(eq=False, kw_only=True)
class _Line:
    """Our dealings with one tower.

    Attributes:
        wallet: Whose node it is.
        held: What it said that it holds, by channel.
        refused: Channels that it refused: until when they are left alone, and why.
        checked_at: When it last told what it holds.
        heard_at: When it last answered at all; None if not in this run.
        least: The smallest gain for which it acts; None before it told.
        trouble: Why the last request failed; empty if it did not.
        scope: Ends it when the tower is not ours any more.
    """

    wallet: Address
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    held: dict[Digest, HandedMark] = field(default_factory=dict[Digest, HandedMark])
    refused: dict[Digest, tuple[UnixTime, str]] = field(default_factory=dict[Digest, tuple[UnixTime, str]])
    checked_at: UnixTime = UnixTime(0)
    heard_at: UnixTime | None = None
    least: Amount | None = None
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerView:
    """One of our towers, for people. `channels`: how many it says that it watches for us."""

    wallet: Address
    channels: int
    heard_at: UnixTime | None
    least: Amount | None
    trouble: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverView:
    """A channel that pays this wallet, and who watches it.

    Attributes:
        sequence: Of our newest voucher.
        at_stake: What would be lost if the payer left while this node is away, with the best of the towers.
        covered: Whether that is less than what is worth telling a tower.
        held: For each tower, the sequence that it holds; 0 for none.
        problems: For each tower that refused it, why.
    """

    channel: Digest
    payer: Address
    sequence: int
    at_stake: Amount
    covered: bool
    held: Mapping[Address, int]
    problems: Mapping[Address, str]


class Handover:
    """Hands what is new to every tower."""

    def __init__(
        self, room: Room, payee: ChannelPayee, signer: PayeeSigner, store: WatchStore, settings: WatchSettings
    ) -> None:
        self._room, self._payee, self._signer, self._store, self._settings = room, payee, signer, store, settings
        self._lines = {wallet: _Line(wallet=wallet) for wallet in settings.towers}

    async def start(self) -> None:
        """Take up what each tower holds; a tower that is not ours any more is forgotten."""
        for (wallet, channel), mark in (await self._store.marks()).items():
            line = self._lines.get(wallet)
            if line is None:
                await self._store.mark(wallet, channel, None, self._room.clock.now())
            else:
                line.held[channel] = mark
        for line in self._lines.values():
            self._room.nursery.start_soon(self._serve, line)

    def add(self, wallet: Address) -> None:
        """Have a tower watch from now on, until this node ends."""
        if wallet not in self._lines:
            self._lines[wallet] = line = _Line(wallet=wallet)
            self._room.nursery.start_soon(self._serve, line)

    async def remove(self, wallet: Address) -> None:
        """Tell a tower nothing more. What it holds it keeps, and may act on it: that can only be in our favour."""
        line = self._lines.pop(wallet, None)
        if line is None:
            return
        line.scope.cancel()
        for channel in tuple(line.held):
            await self._note(line, channel, None)

    def towers(self) -> tuple[TowerView, ...]:
        """Return our towers."""
        return tuple(
            TowerView(
                wallet=line.wallet,
                channels=len(line.held),
                heard_at=line.heard_at,
                least=line.least,
                trouble=line.trouble,
            )
            for line in self._lines.values()
        )

    def covers(self) -> tuple[CoverView, ...]:
        """Return our channels that have a voucher, and what would be lost in each."""
        return tuple(self._cover(channel, purse) for channel, purse in self._payee.purses().items() if purse.sequence)

    # ------------------------------------------------------------------------------------------------ inside

    async def _serve(self, line: _Line) -> None:
        """Keep one tower up to date until cancelled."""
        delay_s = LOOK_S
        with line.scope:
            while True:
                try:
                    await self._keep_up(line)
                except (TransientError, ProtocolError) as error:
                    if line.trouble != str(error):
                        log.warning("handover.failed", tower=format_address(line.wallet), reason=str(error))
                    line.trouble, delay_s = str(error), min(2 * delay_s, LONGEST_RETRY_S)
                else:
                    line.trouble, delay_s = "", LOOK_S
                await self._room.clock.sleep(delay_s)

    async def _keep_up(self, line: _Line) -> None:
        purses, now = self._payee.purses(), self._room.clock.now()
        for channel in [channel for channel in line.held if channel not in purses]:  # it is over
            await self._note(line, channel, None)
            line.refused.pop(channel, None)
        if now - line.checked_at >= max(1, self._room.rules.challenge // CHECKS_A_CHALLENGE):
            await self._check(line)
            line.checked_at = now
        for orders in _packed(self._due(line)):
            await self._hand(line, orders)

    def _due(self, line: _Line) -> Iterator[WatchOrder]:
        """Give the orders that the tower should have, those with most at stake first."""
        now = self._room.clock.now()
        due: list[tuple[int, Purse]] = []
        for channel, purse in self._payee.purses().items():
            until, _ = line.refused.get(channel, (UnixTime(0), ""))
            at_stake = _at_stake(purse, line.held.get(channel))
            if at_stake and at_stake >= self._settings.hand_at and until <= now:
                due.append((at_stake, purse))
        for _, purse in sorted(due, key=lambda item: -item[0]):
            assert purse.best is not None, "nothing is at stake without a voucher"
            signature = self._signer.sign_as_payee(purse.best.value, purse.key)
            yield WatchOrder(key=purse.key, voucher=purse.best, holds=purse.holds, payee_signature=signature)

    async def _hand(self, line: _Line, orders: Sequence[WatchOrder]) -> None:
        """Hand some orders over, and note durably what the tower says that it holds of them."""
        body = await self._room.peers.call(line.wallet, HAND_METHOD, encode(HandRequest(orders=tuple(orders))))
        line.heard_at = self._room.clock.now()
        answer = decode(HandAnswer, body, max_bytes=HAND_MAX_BYTES)
        if [result.channel for result in answer.results] != [order.voucher.value.channel for order in orders]:
            raise WrongChannel("the tower answered about other channels than it was asked to watch")
        for order, result in zip(orders, answer.results, strict=True):
            await self._note_result(line, order, result)

    async def _note_result(self, line: _Line, order: WatchOrder, result: Handed) -> None:
        voucher = order.voucher.value
        if result.problem:
            wait_s = max(1, min(REFUSED_S, self._room.rules.challenge // CHECKS_A_CHALLENGE))
            until = UnixTime(self._room.clock.now() + wait_s)
            line.refused[voucher.channel] = until, result.problem
            log.warning(
                "handover.refused",
                tower=format_address(line.wallet),
                channel=voucher.channel.hex(),
                reason=result.problem,
            )
        elif result.sequence == voucher.sequence:
            line.refused.pop(voucher.channel, None)
            await self._note(line, voucher.channel, mark_of(voucher))
        else:
            raise WrongChannel(f"the tower took voucher {voucher.sequence} and says that it holds {result.sequence}")

    async def _check(self, line: _Line) -> None:
        """Compare what the tower holds with what it said, and with what we hold."""
        told = await self._ask_held(line)
        for channel, mark in tuple(line.held.items()):
            if told.get(channel, 0) < mark.sequence:
                log.warning("handover.lost", tower=format_address(line.wallet), channel=channel.hex())
                await self._note(line, channel, None)
        for channel, purse in self._payee.purses().items():
            if told.get(channel, 0) > purse.sequence:
                await self._take_back(line, channel, purse)

    async def _ask_held(self, line: _Line) -> dict[Digest, int]:
        told: dict[Digest, int] = {}
        after = ZERO_DIGEST
        for _ in range(MAX_PAGES):
            request = WatchStateRequest(after=after)
            body = await self._room.peers.call(line.wallet, STATE_METHOD, encode(request))
            answer = decode(WatchStateAnswer, body, max_bytes=HAND_MAX_BYTES)
            line.heard_at, line.least = self._room.clock.now(), answer.least
            if not answer.watches:
                return told
            for entry in answer.watches:
                if entry.channel <= after:
                    raise WrongChannel("the tower's channels are not in order")
                after = entry.channel
                told[after] = entry.sequence
        raise WrongChannel("the tower names more channels than anybody has")

    async def _take_back(self, line: _Line, channel: Digest, purse: Purse) -> None:
        """Take a voucher that we have lost, as after a restore; it counts by its own signatures."""
        request = encode(KeptRequest(channel=channel))
        body = await self._room.peers.call(line.wallet, NEWEST_METHOD, request)
        order = decode(KeptAnswer, body, max_bytes=ORDER_MAX_BYTES).order
        if order is None or order.key != purse.key or order.voucher.value.sequence <= purse.sequence:
            raise WrongChannel("the tower does not show the order that it says it holds")
        try:
            await self._payee.take_back(order)  # which checks it as any voucher
        except BadVoucher as error:
            log.warning("handover.not_taken_back", channel=channel.hex(), reason=str(error))
            return
        log.warning(
            "handover.taken_back",
            tower=format_address(line.wallet),
            channel=channel.hex(),
            ours=purse.sequence,
            theirs=order.voucher.value.sequence,
        )

    async def _note(self, line: _Line, channel: Digest, mark: HandedMark | None) -> None:
        if mark is not None and line.scope.cancel_called:
            return
        await self._store.mark(line.wallet, channel, mark, self._room.clock.now())
        if mark is None:
            line.held.pop(channel, None)
        else:
            line.held[channel] = mark

    def _cover(self, channel: Digest, purse: Purse) -> CoverView:
        lines = self._lines.values()
        marks = [mark for line in lines if (mark := line.held.get(channel)) is not None]
        at_stake = min((_at_stake(purse, mark) for mark in marks), default=_at_stake(purse, None))
        return CoverView(
            channel=channel,
            payer=purse.key.payer,
            sequence=purse.sequence,
            at_stake=at_stake,
            covered=at_stake < max(1, self._settings.hand_at),
            held={line.wallet: line.held[channel].sequence if channel in line.held else 0 for line in lines},
            problems={line.wallet: line.refused[channel][1] for line in lines if channel in line.refused},
        )


def _at_stake(purse: Purse, mark: HandedMark | None) -> Amount:
    if purse.best is None:
        return Amount(0)
    return money_at_stake(purse.best.value, purse.holds, deposit=purse.deposit, claimed=purse.claimed, mark=mark)


def _packed(orders: Iterator[WatchOrder]) -> Iterator[list[WatchOrder]]:
    """Put as many orders together as one request carries."""
    pack: list[WatchOrder] = []
    size = FRAME_BYTES
    for order in orders:
        length = len(encode(order))
        if pack and (len(pack) == MAX_ORDERS or size + length > HAND_MAX_BYTES):
            yield pack
            pack, size = [], FRAME_BYTES
        pack.append(order)
        size += length
    if pack:
        yield pack
