"""Nodes that cheat: real ones, whose messages are bent on their way out, or that leave when it suits them."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any, TypeAlias, TypeVar

import trio
from blake3 import blake3

from node.market.ports import PartRun
from protocol.errors import ProtocolError, StoaError
from protocol.identity import Address, ContentDigest
from protocol.market.messages import (
    AwardAnnouncement,
    BidAnnouncement,
    CommitmentAnnouncement,
    MarketMessage,
    RollAnnouncement,
    encode_message,
    read_message,
)
from protocol.signing.signed import Signed, sign_struct
from protocol.task.messages import PAYMENT_METHOD, START_METHOD
from protocol.units import Amount
from tests.simulation.network import Bend
from tests.simulation.node import Node
from tests.simulation.sandbox import FORGED
from tests.simulation.world import World

T = TypeVar("T")
Lie: TypeAlias = "Callable[[World, Node], Bend]"
SPAM_EVERY_S = 0.5
SPAM_BYTES = 200


def lie(world: World, node: Node, bend: Bend) -> None:
    """Bend all that a node sends from now on."""
    world.liars.add(node.wallet)
    world.network.bends[node.wallet] = bend


def equivocating(world: World, node: Node) -> Bend:
    """Sign one thing for some and another for the others: commitments, bids, rolls and awards."""
    del world

    def bend(target: Address | None, what: str, data: bytes) -> Sequence[bytes]:
        message = _market_message(what, data)
        if message is None or target is None or target[0] % 2:
            return (data,)
        return (_encoded(_other(node, message), data),)

    return bend


def withholding(*kinds: type, from_odd_only: bool = False) -> Callable[[World, Node], Bend]:
    """Never send messages of these kinds, or not to every other node."""

    def make(_world: World, _node: Node) -> Bend:
        def bend(target: Address | None, what: str, data: bytes) -> Sequence[bytes]:
            message = _market_message(what, data)
            spared = from_odd_only and target is not None and target[0] % 2 == 0
            return () if isinstance(message, kinds) and not spared else (data,)

        return bend

    return make


def silent_about(*methods: str) -> Callable[[World, Node], Bend]:
    """Never send these requests: no payment, no release."""

    def make(_world: World, _node: Node) -> Bend:
        def bend(_target: Address | None, what: str, data: bytes) -> Sequence[bytes]:
            return () if what in methods else (data,)

        return bend

    return make


def replaying(world: World, node: Node) -> Bend:
    """Send old messages again beside the new ones."""
    chance, kept = Random(f"{world.seed}/replay"), dict[str, list[bytes]]()
    del node

    def bend(_target: Address | None, what: str, data: bytes) -> Sequence[bytes]:
        old = kept.setdefault(what, [])
        old.append(data)
        return (chance.choice(old), data, chance.choice(old))

    return bend


def forging(world: World, node: Node) -> Bend:
    """Flip bytes in every third message."""
    chance = Random(f"{world.seed}/forge")
    del node

    def bend(_target: Address | None, _what: str, data: bytes) -> Sequence[bytes]:
        if not data or chance.random() > 1 / 3:
            return (data,)
        spoilt = bytearray(data)
        for _ in range(chance.randint(1, 3)):
            spoilt[chance.randrange(len(spoilt))] ^= chance.randint(1, 255)
        return (bytes(spoilt),)

    return bend


def combined(*lies: Lie) -> Lie:
    """Tell all of these lies at once, each bending what the last has left."""

    def make(world: World, node: Node) -> Bend:
        bends = [each(world, node) for each in lies]

        def bend(target: Address | None, what: str, data: bytes) -> Sequence[bytes]:
            sent: Sequence[bytes] = (data,)
            for each in bends:
                sent = [bent for message in sent for bent in each(target, what, message)]
            return sent

        return bend

    return make


def forge_output(run: PartRun) -> PartRun:
    """Sign another output than the part gave."""
    size = len(FORGED)
    return replace(
        run,
        output=ContentDigest(blake3(FORGED).digest()),
        output_bytes=size,
        bytes_out=run.bytes_out - run.output_bytes + size,
    )


def forge_fuel(run: PartRun) -> PartRun:
    """Bill one unit of fuel more than the part took."""
    return replace(run, fuel=run.fuel + 1)


async def spam(world: World, node: Node, topics: Sequence[str]) -> None:
    """Gossip garbage and ask nonsense, for ever."""
    chance = Random(f"{world.seed}/spam")
    world.liars.add(node.wallet)
    while True:
        life = await node.alive()
        for _ in range(10):
            await life.endpoint.publish(chance.choice(topics), chance.randbytes(chance.randint(0, SPAM_BYTES)))
        target = chance.choice(world.nodes)
        with contextlib.suppress(StoaError):
            await life.endpoint.call(target.wallet, chance.choice((START_METHOD, PAYMENT_METHOD)), chance.randbytes(64))
        await trio.sleep(SPAM_EVERY_S)


async def vanish(world: World, node: Node, when: Callable[[], bool]) -> None:
    """Be gone for ever as soon as something is so; stay, if it has not come to that when the faults end."""
    while not when():
        if world.is_settling:
            return
        await trio.sleep(0.1)
    world.note(f"{node.name} vanishes")
    node.is_banished = True
    node.kill()


def _market_message(what: str, data: bytes) -> MarketMessage | None:
    if not (what.startswith("/stoa/") or what == "market/message"):
        return None
    with contextlib.suppress(ProtocolError):  # another lie may have spoilt it already
        return read_message(data)
    return None


def _encoded(message: MarketMessage | None, data: bytes) -> bytes:
    return data if message is None else encode_message(message)


def _other(node: Node, message: MarketMessage) -> MarketMessage | None:
    """Return what contradicts a message of the node's own, signed as well; None for somebody else's message."""
    match message:
        case CommitmentAnnouncement(signed=signed) if signed.value.bidder == node.wallet:
            hashed = bytes(byte ^ 1 for byte in signed.value.hash)
            return CommitmentAnnouncement(signed=_signed(node, signed, hash=hashed))
        case BidAnnouncement(signed=signed) if signed.value.bidder == node.wallet:
            return BidAnnouncement(signed=_signed(node, signed, price=Amount(signed.value.price + 1)))
        case RollAnnouncement(signed=signed, leaves=leaves):
            return RollAnnouncement(
                signed=_signed(node, signed, root=bytes(byte ^ 1 for byte in signed.value.root)), leaves=leaves
            )
        case AwardAnnouncement(signed=signed, bid_ids=bid_ids) if signed.value.requester == node.wallet:
            dearer = _signed(node, signed, price=Amount(signed.value.price + 1))
            return AwardAnnouncement(signed=dearer, bid_ids=bid_ids)
        case _:
            return None


def _signed(node: Node, signed: Signed[T], **changes: Any) -> Signed[T]:
    value: Any = signed.value
    return sign_struct(node.key, node.chain.rules.market, replace(value, **changes))
