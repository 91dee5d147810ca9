"""A real anvil for each test that asks for one, with contracts deployed and accounts that have real wallets."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final

import trio
from eth_account import Account

from node.chain.anvil import Anvil, open_anvil
from node.chain.chain import Chain
from node.chain.deployment import Deployment
from node.chain.gateway import abis_of
from node.chain.local import DEFAULT_TERMS, LocalTerms, deploy_local, fund
from node.chain.opening import open_chain
from node.chain.profile import LOCAL, ChainProfile
from node.chain.rpc import Json, Rpc, members
from node.chain.transaction_book import TransactionRecord
from node.chain.transaction_request import TransactionLog
from node.chain.transactor import Transactor, open_transactor
from node.wallet.calls import SigningScope
from node.wallet.keystore import WalletKey
from node.wallet.secret import Secret
from node.wallet.signer import Signer, open_signer
from protocol.identity import ZERO_ADDRESS, Address
from protocol.signing.ecdsa import address_of
from protocol.signing.keccak import keccak256
from protocol.spending import SpendingCaps, SpendingEvent
from protocol.units import MAX_AMOUNT, Amount, UnixTime

KEYS: Final = tuple(bytes(keccak256(b"test account %d" % number)) for number in range(3))
NO_CAPS: Final = SpendingCaps(per_task=MAX_AMOUNT, per_hour=MAX_AMOUNT, per_day=MAX_AMOUNT, per_peer=MAX_AMOUNT)
PROFILE: Final = replace(LOCAL, poll_s=0.02, stuck_after_s=0.3)

PATIENCE_S: Final = 60.0


async def eventually(is_true: Callable[[], bool]) -> None:
    """Wait until something that a real chain or another task causes has happened."""
    with trio.fail_after(PATIENCE_S):
        while not is_true():
            await trio.sleep(0.01)


async def included(rpc: Rpc, transaction: Json) -> dict[str, Json]:
    """Wait for a transaction's receipt: anvil answers a transaction before it has mined it."""
    with trio.fail_after(PATIENCE_S):
        while (receipt := await rpc.call("eth_getTransactionReceipt", transaction)) is None:
            await trio.sleep(0.005)
    return members(receipt)


@dataclass
class Ledger:
    """The wallet's promises, in memory."""

    events: list[SpendingEvent] = field(default_factory=list[SpendingEvent])

    async def load(self) -> Sequence[SpendingEvent]:
        return tuple(self.events)

    async def append(self, event: SpendingEvent) -> None:
        self.events.append(event)


@dataclass
class Records:
    """A transaction log in memory: it outlives the transactor, as a disk does."""

    records: list[TransactionRecord] = field(default_factory=list[TransactionRecord])

    async def load(self) -> Sequence[TransactionRecord]:
        return tuple(self.records)

    async def append(self, record: TransactionRecord) -> None:
        self.records.append(record)

    def of(self, kind: type) -> list[TransactionRecord]:
        return [record for record in self.records if isinstance(record, kind)]


@asynccontextmanager
async def signer_for(
    deployment: Deployment, number: int, caps: SpendingCaps = NO_CAPS, feedback: Address = ZERO_ADDRESS
) -> AsyncGenerator[Signer, None]:
    scope = SigningScope(
        chain_id=deployment.chain_id,
        token=deployment.token,
        escrow=deployment.escrow,
        payment_channel=deployment.payment_channel,
        reputation=deployment.reputation,
        court=deployment.court,
        bench=deployment.bench,
        feedback=feedback,
    )
    key = WalletKey(address_of(KEYS[number]), Secret(KEYS[number]))
    async with open_signer(key, scope=scope, caps=caps, ledger=Ledger(), now=lambda: UnixTime(1)) as signer:
        yield signer


@dataclass
class World:
    """A local chain with contracts and accounts that have 1,000 tokens each."""

    anvil: Anvil
    deployment: Deployment
    rpc: Rpc
    chain: Chain

    def address(self, number: int = 0) -> Address:
        return address_of(KEYS[number])

    @asynccontextmanager
    async def signer(
        self, number: int = 0, caps: SpendingCaps = NO_CAPS, *, feedback: Address = ZERO_ADDRESS
    ) -> AsyncGenerator[Signer, None]:
        async with signer_for(self.deployment, number, caps, feedback) as signer:
            yield signer

    @asynccontextmanager
    async def transactor(
        self,
        records: TransactionLog | None = None,
        *,
        number: int = 0,
        caps: SpendingCaps = NO_CAPS,
        profile: ChainProfile | None = None,
    ) -> AsyncGenerator[Transactor, None]:
        chain = self.chain if profile is None else Chain(self.rpc, profile, self.deployment)
        async with (
            self.signer(number, caps) as signer,
            open_transactor(chain, signer, records or Records(), abis_of(self.deployment)) as transactor,
        ):
            yield transactor

    async def wait_until(self, time: int) -> None:
        """Mine a block after this second."""
        await self.rpc.call("evm_setNextBlockTimestamp", hex(time + 1))
        await self.mine()

    async def mine(self, blocks: int = 1) -> None:
        await self.rpc.call("anvil_mine", hex(blocks))

    async def automine(self, enabled: bool) -> None:  # noqa: FBT001 - as the method of anvil takes it
        await self.rpc.call("evm_setAutomine", enabled)

    async def send_foreign(self, number: int, nonce: int, *, fee: int = 10**12) -> Json:
        """Send a transaction of an account past its own transactor, as another program with the same key would."""
        raw = Account.sign_transaction(
            {
                "type": 2,
                "chainId": self.deployment.chain_id,
                "nonce": nonce,
                "maxPriorityFeePerGas": fee,
                "maxFeePerGas": fee,
                "gas": 21_000,
                "to": b"\x77" * 20,
                "value": 1,
                "data": b"",
            },
            KEYS[number],
        ).raw_transaction
        return await self.rpc.call("eth_sendRawTransaction", "0x" + bytes(raw).hex())


@asynccontextmanager
async def open_world(*, court: bool = False, terms: LocalTerms = DEFAULT_TERMS) -> AsyncGenerator[World, None]:
    async with open_anvil() as anvil:
        deployment = await deploy_local(anvil.url, court=court, terms=terms)
        accounts = [address_of(key) for key in KEYS]
        await fund(anvil.url, deployment, accounts, tokens=Amount(1_000_000_000))
        async with open_chain(PROFILE, anvil.url, deployment) as chain:
            yield World(anvil=anvil, deployment=deployment, rpc=chain.rpc, chain=chain)
