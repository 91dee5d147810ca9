"""A local chain, and parties with real storage, wallets, transactions and payments, on a link of the test's own."""

import contextlib
import shutil
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar

import trio

from node.app.contract_chain import ContractChain
from node.app.stake_chain import contract_stakes
from node.app.watch_chain import ContractWatch
from node.chain.anvil import open_anvil
from node.chain.chain import Chain
from node.chain.deployment import Deployment
from node.chain.event_index import EventIndex, open_event_index
from node.chain.event_store import CHAIN_SCHEMA, SqlEventStore
from node.chain.gateway import Gateway, abis_of, open_gateway
from node.chain.local import LocalTerms, deploy_local, fund
from node.chain.opening import open_chain
from node.chain.profile import LOCAL
from node.chain.transaction_log import JournaledTransactionLog
from node.chain.transactor import Transactor, open_transactor
from node.operations.clock import SystemClock
from node.payments.flow import Flow
from node.payments.payments import Payments, open_payments
from node.payments.ports import DemandUnpaid, JudgeClaim, OpenCase
from node.payments.settings import PaymentSettings
from node.payments.watch.ports import WatchParts
from node.payments.watch.settings import WatchSettings
from node.payments.watch.store import WATCH_SCHEMA
from node.storage.chain import Entry
from node.storage.journal import Journal
from node.storage.machine_log import OpenStreams
from node.storage.storage import Storage, open_storage
from node.wallet.calls import SigningScope
from node.wallet.keystore import WalletKey
from node.wallet.secret import Secret
from node.wallet.signer import Signer, open_signer
from node.wallet.spend_ledger import JournaledSpendLedger
from protocol.errors import TransientError
from protocol.identity import ZERO_ADDRESS, ZERO_DIGEST, Address, ContentDigest, Digest, PeerId
from protocol.market.objects import Award, Offer
from protocol.settlement.deadlines import deadlines_of
from protocol.signing.ecdsa import address_of
from protocol.signing.eip712 import digest
from protocol.signing.keccak import keccak256
from protocol.signing.signed import Signed, sign_struct
from protocol.spending import SpendingCaps
from protocol.task.messages import VoucherNotice
from protocol.task.objects import Acceptance, Receipt, Start
from protocol.units import MAX_AMOUNT, ONE_TOKEN, Amount, BasisPoints, Seconds, UnixTime

T = TypeVar("T")

NO_CAPS: Final = SpendingCaps(per_task=MAX_AMOUNT, per_hour=MAX_AMOUNT, per_day=MAX_AMOUNT, per_peer=MAX_AMOUNT)
PROFILE: Final = replace(LOCAL, poll_s=0.02, stuck_after_s=5.0)
TERMS: Final = LocalTerms(challenge=Seconds(6), hold_period=Seconds(600), min_pace=Seconds(2))
STAKE: Final = Amount(1_000 * ONE_TOKEN)
SETTINGS: Final = PaymentSettings(
    channel_deposit=Amount(2 * ONE_TOKEN),
    claim_at=Amount(100 * ONE_TOKEN),
    close_within=Seconds(8),
    confirm_timeout_s=20.0,
)
PATIENCE_S: Final = 60.0
CLOCK: Final = SystemClock()


def key_of(name: str) -> bytes:
    return bytes(keccak256(b"payments test " + name.encode()))


class Unreachable(TransientError):
    """The link is cut."""


@dataclass
class Link:
    """Carries requests between parties; `cut` names methods that get lost, `twice` those that arrive twice.

    `lost` counts what got lost, by method.
    """

    handlers: dict[tuple[Address, str], Callable[[PeerId, bytes], Awaitable[bytes]]] = field(
        default_factory=dict[tuple[Address, str], Callable[[PeerId, bytes], Awaitable[bytes]]]
    )
    cut: set[str] = field(default_factory=set[str])
    twice: set[str] = field(default_factory=set[str])
    lost: Counter[str] = field(default_factory=Counter[str])

    def hang_up(self, wallet: Address) -> None:
        """Its node is gone."""
        for key in [key for key in self.handlers if key[0] == wallet]:
            del self.handlers[key]


@dataclass
class LinkPeers:
    """One party's end of the link. A peer's id is its wallet's address here."""

    link: Link
    wallet: Address

    async def call(self, wallet: Address, method: str, body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        handler = self.link.handlers.get((wallet, method))
        if method in self.link.cut or handler is None:
            self.link.lost[method] += 1
            raise Unreachable(f"{method} got lost")
        try:
            answer = await handler(PeerId(self.wallet.hex()), body)
            return await handler(PeerId(self.wallet.hex()), body) if method in self.link.twice else answer
        except Crash as error:
            raise Unreachable("the other node crashed") from error

    def serve(self, method: str, handler: Callable[[PeerId, bytes], Awaitable[bytes]], *, max_request: int) -> None:
        assert max_request > 0
        self.link.handlers[self.wallet, method] = handler

    def wallet_of(self, peer: PeerId) -> Address | None:
        return Address(bytes.fromhex(peer))


class Crash(Exception):
    """The node is gone, right after a record became durable."""


class CrashingJournal(Journal):
    """A journal whose node crashes once so many appends are durable, before anything follows from the last one."""

    def __init__(self, inner: Journal, crash_after: int) -> None:
        self._writer, self._reader, self._ledger, self._clock = (
            inner._writer,
            inner._reader,
            inner._ledger,
            inner._clock,
        )
        self._left = crash_after
        self._crashed = trio.Event()

    async def crash(self) -> None:
        """Take the whole node down with it, whoever asked for the last record."""
        await self._crashed.wait()
        raise Crash

    async def append(self, entries: Sequence[Entry], *, expected_versions: Mapping[str, int] | None = None) -> int:
        if self._left <= 0:
            raise Crash
        seq = await super().append(entries, expected_versions=expected_versions)
        self._left -= 1
        if self._left <= 0:
            self._crashed.set()
            raise Crash
        return seq


class Countdown:
    """Has a node crash at a commit: what it brought is durable, and nobody has heard of that."""

    def __init__(self, commits: int) -> None:
        self._left = commits

    def __call__(self, _seconds: float, _jobs: int) -> None:
        self._left -= 1
        if not self._left:
            raise Crash


@dataclass
class Party:
    """One node, as far as money goes."""

    name: str
    key: bytes
    storage: Storage
    signer: Signer
    transactor: Transactor
    gateway: Gateway
    payments: Payments
    chain: Chain
    flows: list[Flow]
    index: EventIndex

    @property
    def address(self) -> Address:
        return address_of(self.key)

    def sign(self, value: T) -> Signed[T]:
        return sign_struct(self.key, self.chain.deployment.market_domain, value)


@dataclass
class World:
    """The chain and the link; parties come and go."""

    anvil: trio.Process
    url: str
    deployment: Deployment
    chain: Chain
    folder: Path
    link: Link = field(default_factory=Link)
    awards: int = 0

    @asynccontextmanager
    async def party(
        self,
        name: str,
        *,
        caps: SpendingCaps = NO_CAPS,
        settings: PaymentSettings = SETTINGS,
        judge: JudgeClaim | None = None,
        crash_after: int | None = None,
        crash_at_commit: int | None = None,
        watch: WatchSettings | None = None,
        demand: DemandUnpaid | None = None,
        open_case: OpenCase | None = None,
    ) -> AsyncGenerator[Party, None]:
        """Start the node of `name` on its own folder, which it finds as it was left.

        With `crash_after` it is gone once so many records were appended, with `crash_at_commit` at that commit.
        """
        key, chain, deployment = key_of(name), self.chain, self.deployment
        async with AsyncExitStack() as stack:
            storage = await stack.enter_async_context(
                open_storage(
                    self.folder / name,
                    clock=CLOCK,
                    projections=[OpenStreams()],
                    schema_parts=[CHAIN_SCHEMA, WATCH_SCHEMA],
                    on_commit=None if crash_at_commit is None else Countdown(crash_at_commit),
                )
            )
            if crash_after is not None:
                journal = CrashingJournal(storage.journal, crash_after)
                storage = replace(storage, journal=journal)
                nursery = await stack.enter_async_context(trio.open_nursery())
                nursery.start_soon(journal.crash)
                stack.callback(nursery.cancel_scope.cancel)
            scope = SigningScope(
                chain_id=deployment.chain_id,
                token=deployment.token,
                escrow=deployment.escrow,
                payment_channel=deployment.payment_channel,
                reputation=deployment.reputation,
                court=deployment.court,
                bench=deployment.bench,
            )
            signer = await stack.enter_async_context(
                open_signer(
                    WalletKey(address_of(key), Secret(key)),
                    scope=scope,
                    caps=caps,
                    ledger=JournaledSpendLedger(storage.journal, address_of(key)),
                    now=CLOCK.now,
                )
            )
            transactions = JournaledTransactionLog(storage.journal, deployment.chain_id, address_of(key))
            transactor = await stack.enter_async_context(
                open_transactor(chain, signer, transactions, abis_of(deployment))
            )
            index = await stack.enter_async_context(open_event_index(chain, SqlEventStore(storage)))
            gateway = open_gateway(chain, transactor)
            stack.callback(self.link.hang_up, signer.address)
            flows: list[Flow] = []
            payments = await stack.enter_async_context(
                open_payments(
                    storage=storage,
                    chain=ContractChain(chain, index, gateway, signer.address),
                    wallet=signer,
                    peers=LinkPeers(self.link, signer.address),
                    clock=CLOCK,
                    settings=settings,
                    chain_id=deployment.chain_id,
                    judge=judge,
                    stake_chain=contract_stakes(chain, gateway),
                    watch=WatchParts(chain=ContractWatch(gateway), signer=signer, settings=watch or WatchSettings()),
                    on_flow=flows.append,
                    demand=demand,
                    open_case=open_case,
                )
            )
            yield Party(
                name=name,
                key=key,
                storage=storage,
                signer=signer,
                transactor=transactor,
                gateway=gateway,
                payments=payments,
                chain=chain,
                flows=flows,
                index=index,
            )

    def offer(self, requester: Address, **changes: object) -> Offer:
        self.awards += 1
        now = CLOCK.now()
        offer = Offer(
            requester=requester,
            token=self.deployment.token,
            rail=self.deployment.payment_channel,
            arbiter=ZERO_ADDRESS,
            manifest=ContentDigest(bytes(32)),
            engine=ZERO_DIGEST,
            rates=ZERO_DIGEST,
            verification=ZERO_DIGEST,
            format=0,
            parts=2,
            copies=1,
            w_price=BasisPoints(5000),
            w_reputation=BasisPoints(3000),
            w_speed=BasisPoints(2000),
            max_bidders=8,
            split_bps=BasisPoints(5000),
            budget=Amount(100 * ONE_TOKEN),
            bond=Amount(0),
            min_stake=Amount(0),
            liability=Amount(0),
            dispute_fee=Amount(0),
            max_eta=Seconds(60),
            start_within=Seconds(30),
            pace=Seconds(3),
            resolve_within=Seconds(5),
            commit_by=now,
            reveal_by=now,
            expires=UnixTime(now + 60),
            salt=Digest(keccak256(b"salt %d" % self.awards)),
        )
        return replace(offer, **changes)  # pyright: ignore[reportArgumentType] - tests name the fields

    def award(
        self, offer: Offer, provider: Address, channel: Digest, price: int, **changes: object
    ) -> tuple[Award, Digest]:
        """Return an award under an offer, signed by nobody yet, and its id."""
        now = CLOCK.now()
        award = Award(
            offer=digest(self.deployment.market_domain, offer),
            roll=ZERO_DIGEST,
            bids=ZERO_DIGEST,
            requester=offer.requester,
            provider=provider,
            token=offer.token,
            rail=offer.rail,
            channel=channel,
            arbiter=offer.arbiter,
            slot=0,
            attempt=0,
            first_part=0,
            parts=offer.parts,
            price=Amount(price),
            liability=offer.liability,
            dispute_fee=offer.dispute_fee,
            split_bps=offer.split_bps,
            start_by=UnixTime(now + offer.start_within),
            deliver_by=UnixTime(now + offer.start_within + offer.max_eta),
            pace=offer.pace,
            resolve_within=offer.resolve_within,
            audit_seal=ZERO_DIGEST,
        )
        award = replace(award, **changes)  # pyright: ignore[reportArgumentType] - tests name the fields
        assert deadlines_of(award)
        return award, digest(self.deployment.market_domain, award)

    async def balances(self, *names: str) -> Mapping[str, int]:
        """Return the token balances of parties and of the two rails."""
        chain = self.chain
        found = {name: await chain.token_balance(address_of(key_of(name))) for name in names}
        found["channels"] = await chain.token_balance(self.deployment.payment_channel)
        found["escrow"] = await chain.token_balance(self.deployment.escrow)
        return found


def acceptance_of(award_id: Digest, part: int, due: int) -> Acceptance:
    return Acceptance(award=award_id, part=part, receipt=ZERO_DIGEST, due=Amount(due))


def receipt_of(award_id: Digest, part: int, due: int) -> Receipt:
    return Receipt(
        award=award_id,
        part=part,
        outcome=1,
        output=ContentDigest(keccak256(b"output %d" % part)),
        logs=ContentDigest(bytes(32)),
        fuel=1,
        peak_mib=1,
        bytes_in=1,
        bytes_out=1,
        due=Amount(due),
        notes=ContentDigest(bytes(32)),
    )


def start_of(award_id: Digest) -> Start:
    return Start(award=award_id, at=CLOCK.now())


async def prepare(world: World, payer: Party, payee: Party, price: int, **changes: object) -> tuple[Award, Digest]:
    """Return an award over a channel that is open and has the money, signed by nobody yet."""
    offer = world.offer(payer.address, **changes)
    channel = await payer.payments.payer.prepare(payee.address, Amount(price), offer)
    return world.award(offer, payee.address, channel, price)


async def engage(
    world: World, payer: Party, payee: Party, price: int, **changes: object
) -> tuple[Signed[Award], Digest, VoucherNotice | None]:
    """Prepare, award, fund, and take the award at the payee."""
    award, award_id = await prepare(world, payer, payee, price, **changes)
    signed = await payer.signer.sign_award(award)
    notice = await payer.payments.payer.fund(signed, award_id)
    await payee.payments.payee.receive_funding(signed, award_id, notice)
    with trio.fail_after(PATIENCE_S):
        await payee.payments.payee.wait_funded(signed, award_id)
    return signed, award_id, notice


async def accept(payer: Party, signed: Signed[Award], part: int, due: int) -> Signed[Acceptance]:
    """Sign an acceptance as the payer's market would."""
    award_id = digest(payer.chain.deployment.market_domain, signed.value)
    return await payer.signer.sign_acceptance(acceptance_of(award_id, part, due), signed.value)


async def pay(
    payer: Party, payee: Party, signed: Signed[Award], part: int, due: int, *, last: bool = False
) -> Signed[Acceptance]:
    """Accept and pay a part, and have the payee take the payment."""
    acceptance = await accept(payer, signed, part, due)
    award_id = acceptance.value.award
    notice = await payer.payments.payer.pay(signed, award_id, acceptance, last=last)
    await payee.payments.payee.receive_payment(signed, award_id, acceptance, notice)
    return acceptance


async def eventually(is_true: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Wait until something that a real chain or another task causes has happened."""
    with trio.fail_after(patience_s):
        while not is_true():
            await trio.sleep(0.02)


async def _tick(chain: Chain) -> None:
    """Make a block when the chain's time falls behind the clock: a local chain makes none by itself."""
    while True:
        with contextlib.suppress(TransientError):  # a test may have stopped the chain
            if (await chain.head()).time < CLOCK.now():
                await chain.rpc.call("anvil_mine", "0x1")
        await trio.sleep(0.2)


@asynccontextmanager
async def open_world(folder: Path, *, terms: LocalTerms = TERMS, court: bool = False) -> AsyncGenerator[World, None]:
    async with open_anvil() as anvil:
        deployment = await deploy_local(anvil.url, terms=terms, court=court)
        accounts = [address_of(key_of(name)) for name in ("payer", "payee", "other")]
        await fund(anvil.url, deployment, accounts, tokens=STAKE)
        async with open_chain(PROFILE, anvil.url, deployment) as chain, trio.open_nursery() as nursery:
            nursery.start_soon(_tick, chain)
            yield World(anvil=anvil.process, url=anvil.url, deployment=deployment, chain=chain, folder=folder)
            nursery.cancel_scope.cancel()
        shutil.rmtree(folder, ignore_errors=True)
