"""What it takes to be a watchtower: orders taken in a second of one core, and what a look at a channel costs.

python -m benchmarks.run --only watchtower

Taking an order is whole: the request is decoded, both signatures and the holds are checked, the row is durable before
the answer. A look is the tower's own work; the chain's node, which it waits for, answers at once here.
"""

import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Final, TypeAlias, cast

import trio
import trio.testing

from benchmarks.figures import Figure, rated
from node.operations.clock import SystemClock
from node.payments.ports import Fact
from node.payments.room import Room
from node.payments.watch import tower as doors
from node.payments.watch.settings import WatchSettings
from node.payments.watch.store import WATCH_SCHEMA, WatchStore
from node.payments.watch.tower import Tower
from node.storage.storage import open_storage
from protocol.channel.chain import BlockSeen
from protocol.channel.holds import build_voucher
from protocol.channel.objects import ChannelKey, ChannelRules, Hold, channel_id
from protocol.channel.tower import Standing
from protocol.channel.watch import WatchOrder
from protocol.channel.watch_messages import HAND_MAX_BYTES, HAND_METHOD, MAX_ORDERS, HandAnswer, HandRequest
from protocol.identity import Address, Digest, PeerId
from protocol.signing.ecdsa import address_of, sign
from protocol.signing.eip712 import Domain, digest
from protocol.signing.signed import sign_struct
from protocol.units import MAX_AMOUNT, ONE_TOKEN, Amount, Seconds, UnixTime
from protocol.wire.codec import decode, encode

Handler: TypeAlias = Callable[[PeerId, bytes], Awaitable[bytes]]

CHANNELS: Final = 256
HOLDS: Final = 8
PAYER, PAYEE = (bytes([n]) * 32 for n in (1, 2))
CLIENT: Final = address_of(PAYEE)
TOKEN: Final = Address(b"\4" * 20)
DOMAIN: Final = Domain(chain_id=31337, verifying_contract=Address(b"\3" * 20))


class Contract:
    """Channels in which nothing happens. `looks` counts questions."""

    def __init__(self) -> None:
        self.looks = 0
        self._standing = Standing(deposit=MAX_AMOUNT, claimed=Amount(0), exits_at=UnixTime(0), presented=0)

    async def standing(self, channel: Digest) -> Standing:
        """See `WatchChain`."""
        assert len(channel) == 32
        self.looks += 1
        return self._standing

    async def present(self, order: WatchOrder) -> int:
        """See `WatchChain`."""
        raise AssertionError(f"nobody leaves channel {order.key}")


class Doors:
    """The network's side: what the tower serves, and whose node every peer is."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}

    def serve(self, method: str, handler: Handler, *, max_request: int) -> None:
        """See `Peers`."""
        assert max_request
        self.handlers[method] = handler

    def wallet_of(self, peer: PeerId) -> Address:
        """See `Peers`."""
        assert peer
        return CLIENT


def order(counter: int, sequence: int) -> WatchOrder:
    """Return a good order for a channel."""
    key = ChannelKey(payer=address_of(PAYER), signer=address_of(PAYER), payee=CLIENT, token=TOKEN, counter=counter)
    holds = tuple(
        Hold(award=Digest(number.to_bytes(32)), arbiter=TOKEN, amount=Amount(number + 1)) for number in range(HOLDS)
    )
    voucher = build_voucher(channel_id(key), sequence, Amount(sequence * ONE_TOKEN), holds)
    payee_signature = sign(PAYEE, digest(DOMAIN, voucher))
    return WatchOrder(
        key=key, voucher=sign_struct(PAYER, DOMAIN, voucher), holds=holds, payee_signature=payee_signature
    )


async def work(rounds: int) -> dict[str, list[float]]:
    """Return the rates, a round each."""
    rates: dict[str, list[float]] = {"taken": [], "taken, wall": [], "looks": []}
    contract, peers = Contract(), Doors()
    room = SimpleNamespace(
        clock=SystemClock(),
        feed=SimpleNamespace(time=UnixTime(0)),
        rules=ChannelRules(challenge=Seconds(86_400), hold_period=Seconds(7 * 86_400)),
        wallet=SimpleNamespace(address=TOKEN),
        channel_domain=DOMAIN,
        chain=SimpleNamespace(token=TOKEN),
        peers=peers,
    )
    settings = WatchSettings(clients=frozenset({CLIENT}))
    setattr(doors, "REQUESTS_A_MINUTE", 10**9)  # noqa: B010 - it is what is measured around
    with tempfile.TemporaryDirectory(prefix="stoa-bench-") as folder:
        async with (
            open_storage(Path(folder) / "data", clock=SystemClock(), schema_parts=[WATCH_SCHEMA]) as storage,
            trio.open_nursery() as nursery,
        ):
            room.nursery = nursery
            tower = Tower(cast("Room", room), contract, WatchStore(storage), settings)
            await tower.start()
            for turn in range(rounds + 1):
                bodies = [
                    encode(HandRequest(orders=tuple(order(at + n, turn + 1) for n in range(MAX_ORDERS))))
                    for at in range(0, CHANNELS, MAX_ORDERS)
                ]
                wall, cpu = perf_counter(), time.process_time()
                for body in bodies:
                    answered = await peers.handlers[HAND_METHOD](PeerId("x"), body)
                    answer = decode(HandAnswer, answered, max_bytes=HAND_MAX_BYTES)
                    assert not any(each.problem for each in answer.results)
                if turn:
                    rates["taken"].append(CHANNELS / (time.process_time() - cpu))
                    rates["taken, wall"].append(CHANNELS / (perf_counter() - wall))
                await trio.testing.wait_all_tasks_blocked(0.05)
                cpu, looks = time.process_time(), contract.looks
                for _ in range(8):
                    for watched in tower.watches():
                        await tower.on_fact(
                            Fact(block=1, index=1, subject=watched.channel, event=BlockSeen(time=UnixTime(1)))
                        )
                    await trio.testing.wait_all_tasks_blocked()
                if turn:
                    rates["looks"].append((contract.looks - looks) / (time.process_time() - cpu))
            nursery.cancel_scope.cancel()
    return rates


def measure(*, quick: bool) -> list[Figure]:
    """Measure all."""
    rates = trio.run(work, 2 if quick else 7)
    return [
        rated(f"watch orders with {HOLDS} holds: decoded, verified, durable", "/s and core", rates["taken"]),
        rated("  the same, by the wall clock", "/s", rates["taken, wall"]),
        rated("looks at a watched channel, the chain's node aside", "/s and core", rates["looks"]),
    ]
