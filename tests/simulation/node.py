"""One participant of a simulation: the real services on what simulates the rest, through any number of lives."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Final

import trio

from node.app.judging import make_judge
from node.app.trading import Trading, TradingParts, open_trading, projections
from node.market.drafting import MarketTerms
from node.market.ports import PartRun
from node.market.quoting import SellingTerms
from node.operations.clock import TrioClock
from node.operations.randomness import SeededRandomSource
from node.payments.payments import Payments, open_payments
from node.payments.settings import PaymentSettings
from node.storage.storage import Storage, open_storage
from node.storage.writer import WriterClosed
from node.wallet.calls import SigningScope
from node.wallet.keystore import WalletKey
from node.wallet.secret import Secret
from node.wallet.signer import open_signer
from node.wallet.spend_ledger import JournaledSpendLedger
from protocol.errors import TransientError
from protocol.identity import ZERO_ADDRESS, Address
from protocol.market.offer import OfferTaste
from protocol.settlement.claiming import Habits
from protocol.signing.ecdsa import address_of
from protocol.signing.keccak import keccak256
from protocol.spending import SpendingCaps
from protocol.task.pricing import Rates
from protocol.units import MAX_AMOUNT, ONE_TOKEN, Amount, BasisPoints, Seconds, UnixTime
from tests.simulation.chain import SimulatedChain, WalletChain
from tests.simulation.disk import Crash, Disk
from tests.simulation.network import Endpoint, Network
from tests.simulation.sandbox import Sandbox
from tests.simulation.skew import NodeClock

NO_CAPS: Final = SpendingCaps(per_task=MAX_AMOUNT, per_hour=MAX_AMOUNT, per_day=MAX_AMOUNT, per_peer=MAX_AMOUNT)
TOKEN: Final = Address(b"\x70" * 20)
PACE_S: Final = Seconds(40)
RESOLVE_S: Final = Seconds(30)
PATIENCE_S: Final = 5.0
CREDIT_LIMIT: Final = Amount(5 * ONE_TOKEN)
FUEL_PER_S: Final = 100_000_000
SETTINGS: Final = PaymentSettings(
    credit_limit=CREDIT_LIMIT,
    channel_deposit=Amount(5 * ONE_TOKEN),
    claim_at=Amount(3 * ONE_TOKEN),
    claim_patience=Seconds(40),
    habits=Habits(losses_per_day=1.0),
    close_within=Seconds(60),
    confirm_timeout_s=120.0,
)
KEEP_S: Final = 10**7


@dataclass(kw_only=True)
class Life:
    """What a node is made of between two crashes."""

    endpoint: Endpoint
    storage: Storage
    payments: Payments
    trading: Trading
    sandbox: Sandbox


@dataclass(kw_only=True)
class Node:
    """One wallet and its folder, alive or not.

    Attributes:
        asks: What it asks for 10**9 units of fuel; None sells nothing.
        crashes: At which commit of which life it dies, and whether that commit is lost.
        is_away_from_chain: Its way to the chain is cut.
        is_banished: Never comes back.
        disk_slow_s, disk_is_full: How its disk does.
        failing: How likely a worker dies on a part.
        lies: What it signs instead of what a part gave.
    """

    name: str
    folder: Path
    network: Network
    chain: SimulatedChain
    clock: NodeClock
    chance: Random
    asks: int | None = None
    crashes: dict[int, tuple[int, bool]] = field(default_factory=dict[int, tuple[int, bool]])
    down_s: float = 5.0
    part_s: float = 2.0
    failing: float = 0.0
    lies: Callable[[PartRun], PartRun] | None = None
    is_away_from_chain: bool = False
    is_banished: bool = False
    disk_slow_s: float = 0.0
    disk_is_full: bool = False
    life: Life | None = None
    lives: int = 0
    trouble: list[BaseException] = field(default_factory=list[BaseException])
    """What went wrong that was not a crash: any of it is a bug."""
    _disk: Disk | None = None
    _born: trio.Event = field(default_factory=trio.Event)

    @cached_property
    def key(self) -> bytes:
        """Its wallet's key."""
        return bytes(keccak256(f"simulated wallet {self.name}".encode()))

    @cached_property
    def wallet(self) -> Address:
        """Who it is."""
        return address_of(self.key)

    async def alive(self) -> Life:
        """Wait until it is up, and return its life."""
        while self.life is None:
            await self._born.wait()
        return self.life

    def kill(self) -> None:
        """SIGKILL, if it lives."""
        if self._disk is not None:
            self._disk.die()

    async def live(self) -> None:
        """Live, die and live again, for ever."""
        while not self.is_banished:
            self.lives += 1
            try:
                with trio.CancelScope() as scope:
                    await self._live_once(scope)
            except BaseExceptionGroup as group:
                _, rest = group.split((Crash, WriterClosed))
                if rest is not None:
                    self.trouble.append(rest)
                    return
            except (Crash, WriterClosed):
                pass
            except TransientError:  # the chain was away at the start; a supervisor tries again
                pass
            finally:
                self.life, self._disk = None, None
            await trio.sleep(self.down_s)

    def spare(self) -> None:
        """No more crashes, and a good disk."""
        self.crashes.clear()
        self.set_disk()
        if self._disk is not None:
            self._disk.crash_at = 0

    def die_at_commit(self, commits: int, *, loses_it: bool) -> None:
        """Die at the commit that is so many from now, or just before it."""
        if self._disk is not None:
            self._disk.crash_at, self._disk.loses_it = self._disk.commits + commits, loses_it

    def set_disk(self, *, slow_s: float = 0.0, is_full: bool = False) -> None:
        """Change how the disk does, from now on."""
        self.disk_slow_s, self.disk_is_full = slow_s, is_full
        if self._disk is not None:
            self._disk.slow_s, self._disk.is_full = slow_s, is_full

    async def _live_once(self, scope: trio.CancelScope) -> None:
        async with AsyncExitStack() as stack:
            nursery = await stack.enter_async_context(trio.open_nursery())
            endpoint = Endpoint(self.network, self.wallet, nursery)

            def end() -> None:
                endpoint.leave()
                self.life = None
                scope.cancel()

            crash_at, loses_it = self.crashes.get(self.lives, (0, False))
            disk = self._disk = Disk(
                on_death=end,
                crash_at=crash_at,
                loses_it=loses_it,
                slow_s=self.disk_slow_s,
                is_full=self.disk_is_full,
            )
            stack.callback(end)
            storage = await stack.enter_async_context(
                open_storage(self.folder, clock=self.clock, projections=projections(), run_blocking=disk)
            )
            self.life = await self._open(stack, storage, endpoint)
            self.network.enter(endpoint)
            born, self._born = self._born, trio.Event()
            born.set()
            await trio.sleep_forever()

    async def _open(self, stack: AsyncExitStack, storage: Storage, endpoint: Endpoint) -> Life:
        rules, wallet = self.chain.rules, self.wallet
        random = SeededRandomSource(f"{self.name}/{self.lives}/{self.chance.random()}")
        scope = SigningScope(
            chain_id=rules.market.chain_id, token=TOKEN, escrow=rules.escrow, payment_channel=rules.channel
        )
        signer = await stack.enter_async_context(
            open_signer(
                WalletKey(wallet, Secret(self.key)),
                scope=scope,
                caps=NO_CAPS,
                ledger=JournaledSpendLedger(storage.journal, wallet),
                now=self.clock.now,
            )
        )
        endpoint.keep_blobs_in(storage)
        payments = await stack.enter_async_context(
            open_payments(
                storage=storage,
                chain=WalletChain(self.chain, wallet, TOKEN, lambda: self.is_away_from_chain),
                wallet=signer,
                peers=endpoint,
                clock=self.clock,
                settings=SETTINGS,
                chain_id=rules.market.chain_id,
                judge=make_judge(storage, self.clock),
            )
        )
        keep_until = UnixTime(self.clock.now() + KEEP_S)
        sandbox = Sandbox(storage, keep_until, self.chance, part_s=self.part_s, failing=lambda: self.failing)
        sandbox.lies = self.lies
        trading = await stack.enter_async_context(
            open_trading(
                TradingParts(
                    domain=rules.market,
                    storage=storage,
                    signing=signer,
                    peers=endpoint,
                    payer=payments.payer,
                    payee=payments.payee,
                    sandbox=sandbox,
                    clock=self.clock,
                    random=random,
                    terms=market_terms(),
                    taste=offer_taste(rules.escrow, rules.channel),
                    selling=None if self.asks is None else selling_terms(self.asks),
                    workers=1,
                    channel_rail=rules.channel,
                    patience_s=PATIENCE_S,
                    host=self.name,
                    on_purchase=_hear,
                    on_delivery=_hear,
                )
            )
        )
        return Life(endpoint=endpoint, storage=storage, payments=payments, trading=trading, sandbox=sandbox)


def _hear(_context: object, _event: object) -> None:
    """What is durable is read from the journals at the end: a crash may come before anyone hears of it."""


def market_terms() -> MarketTerms:
    """Return what every offer says."""
    return MarketTerms(
        token=TOKEN,
        arbiter=ZERO_ADDRESS,
        liability_bps=BasisPoints(2_000),
        dispute_fee=Amount(0),
        split_bps=BasisPoints(5_000),
        pace=PACE_S,
        resolve_within=RESOLVE_S,
    )


def offer_taste(escrow: Address, channel: Address) -> OfferTaste:
    """Return which offers are read."""
    return OfferTaste(
        tokens=frozenset((TOKEN,)),
        rails=frozenset((escrow, channel)),
        arbiters=frozenset((ZERO_ADDRESS,)),
        min_pace=Seconds(10),
        max_life=Seconds(86_400),
        max_eta=Seconds(3_600),
    )


def selling_terms(gfuel: int) -> SellingTerms:
    """Return what a provider sells at this price for 10**9 units of fuel."""
    rates = Rates(start=Amount(1_000), gfuel=Amount(gfuel), mib_gfuel=Amount(0), mib_in=Amount(0), mib_out=Amount(0))
    return SellingTerms(
        rates=rates,
        memory_mib=1024,
        input_mib=64,
        output_mib=16,
        max_eta_s=3_600,
        fuel_per_s=FUEL_PER_S,
        credit_limit=CREDIT_LIMIT,
    )


async def make_template(folder: Path, clock: TrioClock) -> None:
    """Make an empty data folder, to be copied: migrations cost more than a whole simulated task."""
    async with open_storage(folder, clock=clock, projections=projections(), run_blocking=Disk(on_death=lambda: None)):
        pass
