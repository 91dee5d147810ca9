"""The watchtower that this node is for others: what it takes from whom, and what it tells (docs/spec/watchtower.md)."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Final

import structlog
import trio

from node.payments.errors import ChannelUnknown
from node.payments.ports import Fact
from node.payments.room import Room
from node.payments.watch.errors import NotAClient, NotYourChannel, TooOften, TooSmall
from node.payments.watch.keeper import Keeper, Watch
from node.payments.watch.ports import WatchChain
from node.payments.watch.settings import WatchSettings
from node.payments.watch.store import DAY_S, StoredWatch, WatchStore
from protocol.channel.errors import ConflictingVoucher, CumulativeFell, StaleVoucher
from protocol.channel.objects import Voucher, channel_id
from protocol.channel.tower import Act
from protocol.channel.watch import WatchOrder, verify_watch_order
from protocol.channel.watch_messages import (
    HAND_MAX_BYTES,
    HAND_METHOD,
    MAX_PROBLEM_CHARS,
    NEWEST_METHOD,
    SMALL_MAX_BYTES,
    STATE_ENTRIES,
    STATE_METHOD,
    HandAnswer,
    Handed,
    HandRequest,
    KeptAnswer,
    KeptRequest,
    WatchEntry,
    WatchStateAnswer,
    WatchStateRequest,
)
from protocol.errors import ProtocolError
from protocol.identity import Address, Digest, PeerId, format_address
from protocol.units import Amount, UnixTime, format_amount
from protocol.wire.codec import decode, encode

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

REQUESTS_A_MINUTE: Final = 120
"""Of one client. Its node asks a few times a challenge, and hands what is new every few seconds at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchView:
    """A channel that is watched, for people.

    Attributes:
        sequence: Of the order that is held.
        worth: What the order says that the payee has: paid and held.
        act_at: When this node acts, as things stand; None if there is nothing to do.
        trouble: Why an act failed, or waits.
    """

    channel: Digest
    client: Address
    payer: Address
    sequence: int
    worth: Amount
    received_at: UnixTime
    act_at: UnixTime | None
    acting: bool
    trouble: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientView:
    """Somebody for whom this node watches.

    Attributes:
        allowed: Whether new orders are taken; false for one that was taken off the list and is still watched for.
        size: Bytes of its orders.
        seen_at: When it was heard of last, in this run; None if it was not.
        acts: Transactions for it in the last 24 hours.
    """

    wallet: Address
    allowed: bool
    watches: int
    size: int
    seen_at: UnixTime | None
    acts: int


class Tower:
    """Takes orders from clients, keeps them, and has a `Keeper` look after them."""

    def __init__(self, room: Room, chain: WatchChain, store: WatchStore, settings: WatchSettings) -> None:
        self._room, self._chain, self._store, self._settings = room, chain, store, settings
        self._keeper = Keeper(room, chain, store, settings)
        self._clients = set(settings.clients)
        self._heard: dict[Address, UnixTime] = {}
        self._minute = 0
        self._asked: Counter[Address] = Counter()
        self._lock = trio.Lock()
        """From the comparison with what is held to when it is replaced."""

    async def start(self) -> None:
        """Take up what was watched, and answer clients."""
        for stored in await self._store.load():
            self._keeper.keep(_light(stored))
        peers = self._room.peers
        peers.serve(HAND_METHOD, self._on_hand, max_request=HAND_MAX_BYTES)
        peers.serve(STATE_METHOD, self._on_state, max_request=SMALL_MAX_BYTES)
        peers.serve(NEWEST_METHOD, self._on_newest, max_request=SMALL_MAX_BYTES)
        self._room.nursery.start_soon(self._keeper.run)

    async def on_fact(self, fact: Fact) -> bool:
        """Look at a watched channel of which something was confirmed."""
        self._keeper.look_at(fact.subject)
        return False  # asked of the contract again after a restart, so no place need be noted for it

    def on_block(self) -> None:
        """Let time pass."""
        self._keeper.wake()

    # ------------------------------------------------------------------------------------------------ the operator

    def watches(self) -> tuple[WatchView, ...]:
        """Return all channels that are watched."""
        return tuple(_view(watch) for watch in self._keeper.watches.values())

    async def clients(self) -> tuple[ClientView, ...]:
        """Return those on the list, and those who are not on it any more and have channels here."""
        acts = Counter(act.client for act in await self._store.acts(UnixTime(self._room.clock.now() - DAY_S + 1)))
        watches = [watch.stored for watch in self._keeper.watches.values()]
        wallets = sorted({*self._clients, *(stored.client for stored in watches)})
        return tuple(
            ClientView(
                wallet=wallet,
                allowed=wallet in self._clients,
                watches=sum(stored.client == wallet for stored in watches),
                size=sum(stored.size for stored in watches if stored.client == wallet),
                seen_at=self._heard.get(wallet),
                acts=acts[wallet],
            )
            for wallet in wallets
        )

    def allow(self, client: Address) -> None:
        """Watch for a client, until this node ends."""
        self._clients.add(client)

    def disallow(self, client: Address) -> None:
        """Take nothing more from a client; what is watched for it is watched to its end (WT11)."""
        self._clients.discard(client)

    async def drop(self, channel: Digest) -> None:
        """Watch a channel no more.

        Raises:
            ChannelUnknown: It is not watched.
        """
        if channel not in self._keeper.watches:
            raise ChannelUnknown(f"channel {channel.hex()} is not watched here")
        await self._keeper.forget(channel)

    # ------------------------------------------------------------------------------------------------ the clients

    async def _on_hand(self, peer: PeerId, body: bytes) -> bytes:
        """Take orders, and say of each what is now held."""
        client = self._admit(peer)
        request = decode(HandRequest, body, max_bytes=HAND_MAX_BYTES)
        results = [await self._answer(client, order) for order in request.orders]
        return encode(HandAnswer(results=tuple(results)))

    async def _on_state(self, peer: PeerId, body: bytes) -> bytes:
        """Say what is held for a client."""
        client = self._admit(peer)
        request = decode(WatchStateRequest, body, max_bytes=SMALL_MAX_BYTES)
        mine = sorted(
            (channel, watch.stored.order.voucher.value.sequence)
            for channel, watch in self._keeper.watches.items()
            if watch.stored.client == client and channel > request.after
        )
        watches = tuple(WatchEntry(channel=channel, sequence=sequence) for channel, sequence in mine[:STATE_ENTRIES])
        return encode(WatchStateAnswer(least=self._settings.least, watches=watches))

    async def _on_newest(self, peer: PeerId, body: bytes) -> bytes:
        """Give a client back what it has lost."""
        client = self._admit(peer)
        request = decode(KeptRequest, body, max_bytes=SMALL_MAX_BYTES)
        watch = self._keeper.watches.get(request.channel)
        is_mine = watch is not None and watch.stored.client == client
        return encode(KeptAnswer(order=await self._store.find(request.channel) if is_mine else None))

    def _admit(self, peer: PeerId) -> Address:
        """Return whose node asks, before anything of what it says is looked at.

        Raises:
            NotAClient: It is not on the list.
            TooOften: It has asked enough for this minute.
        """
        client = self._room.peers.wallet_of(peer)
        if client is None or client not in self._clients:
            raise NotAClient(client)
        now = self._room.clock.now()
        if now // 60 != self._minute:
            self._minute = now // 60
            self._asked.clear()
        self._asked[client] += 1
        if self._asked[client] > REQUESTS_A_MINUTE:
            raise TooOften(f"{format_address(client)} asked more than {REQUESTS_A_MINUTE} times within a minute")
        self._heard[client] = self._keeper.seen[client] = now
        return client

    async def _answer(self, client: Address, order: WatchOrder) -> Handed:
        """Take one order; what is wrong with it is said, and does not spoil the others.

        Raises:
            TransientError: The chain or the disk does not answer: all may come again.
        """
        channel, problem = channel_id(order.key), ""
        try:
            await self._take(client, channel, order)
        except ProtocolError as error:
            problem = f"{type(error).__name__}: {error}"[:MAX_PROBLEM_CHARS]
            log.info("tower.order_refused", client=format_address(client), channel=channel.hex(), reason=problem)
        watch = self._keeper.watches.get(channel)
        is_mine = watch is not None and watch.stored.client == client
        sequence = watch.stored.order.voucher.value.sequence if watch is not None and is_mine else 0
        return Handed(channel=channel, sequence=sequence, problem=problem)

    async def _take(self, client: Address, channel: Digest, order: WatchOrder) -> None:
        """Check an order, the cheap things first, and keep it durably.

        Raises:
            NotYourChannel, ChannelUnknown, TooSmall, TooManyWatches: It is not watched here.
            StaleVoucher, ConflictingVoucher, CumulativeFell: A better one is held.
            WrongChannel, BadSignature, HoldsMismatch: The chain would not take it.
        """
        if order.key.payee != client or order.key.token != self._room.chain.token:
            raise NotYourChannel("the channel does not pay who asks, or is of another token")
        voucher, held = order.voucher.value, self._held(channel)
        if voucher == held:
            return
        _require_newer(voucher, held)
        verify_watch_order(self._room.channel_domain, order)
        if held is None:
            await self._require_worth(channel)
        body = encode(order)
        stored = StoredWatch(
            channel=channel, client=client, size=len(body), received_at=self._room.clock.now(), order=order
        )
        async with self._lock:
            held = self._held(channel)  # another request may have brought a newer one meanwhile
            _require_newer(voucher, held)
            if held is not None and voucher.sequence == held.sequence and voucher != held:
                raise ConflictingVoucher(f"two vouchers with sequence {voucher.sequence} were signed")
            if held is not None and voucher.cumulative < held.cumulative:
                raise CumulativeFell(f"an order that pays {format_amount(held.cumulative)} is held")
            with trio.CancelScope(shield=True):  # what is on disk must be what is looked after
                await self._store.put(stored, self._settings)
                self._keeper.keep(_light(stored))

    def _held(self, channel: Digest) -> Voucher | None:
        watch = self._keeper.watches.get(channel)
        return watch.stored.order.voucher.value if watch is not None else None

    async def _require_worth(self, channel: Digest) -> None:
        """Check on chain that a channel is there and worth a transaction.

        Raises:
            ChannelUnknown: It is not open, as far as is confirmed.
            TooSmall: It is not worth it.
            TransientError: The chain does not answer.
        """
        standing = await self._chain.standing(channel)
        if not standing.deposit:
            raise ChannelUnknown(f"channel {channel.hex()} is not open, as far as is confirmed here")
        if standing.deposit < self._settings.least:
            raise TooSmall(deposit=standing.deposit, least=self._settings.least)


def _require_newer(voucher: Voucher, held: Voucher | None) -> None:
    if not voucher.sequence or (held is not None and voucher.sequence < held.sequence):
        raise StaleVoucher(offered=voucher.sequence, held=held.sequence if held is not None else 0)


def _light(stored: StoredWatch) -> StoredWatch:
    """Leave out the holds, which no transaction of ours carries, from what stays in memory."""
    return replace(stored, order=replace(stored.order, holds=()))


def _view(watch: Watch) -> WatchView:
    stored, plan = watch.stored, watch.plan
    voucher = stored.order.voucher.value
    return WatchView(
        channel=stored.channel,
        client=stored.client,
        payer=stored.order.key.payer,
        sequence=voucher.sequence,
        worth=Amount(voucher.cumulative + voucher.held),
        received_at=stored.received_at,
        act_at=plan.at if isinstance(plan, Act) else None,
        acting=watch.acting,
        trouble=watch.trouble,
    )
