"""A chain whose identity and contracts were checked: heads, confirmed views, receipts, logs."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol, cast

import structlog
import trio

from node.chain.abi import Abi, UndecodableLog, load_artifact
from node.chain.deployment import Deployment
from node.chain.errors import (
    CodeMismatch,
    ContractMissing,
    NotDeployedYet,
    ProtocolMismatch,
    Reverted,
    RpcRefused,
    WrongChain,
)
from node.chain.header import encode_header
from node.chain.profile import ChainProfile
from node.chain.rpc import Json, Rpc, hexed, members, open_rpc, quantity, read_address, read_digest, unformatted
from protocol.errors import ConfigError, TransientError
from protocol.identity import Address, Digest, format_address
from protocol.signing.eip712 import domain_separator
from protocol.signing.keccak import keccak256
from protocol.units import Amount, UnixTime

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

FIRST_LOOK_S: Final = 10.0
"""How long a start waits for a chain that was checked before."""
LOOK_AGAIN_MOST_S: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block's header, as far as we use it. `base_fee` in wei per gas."""

    number: int
    hash: Digest
    parent: Digest
    time: UnixTime
    base_fee: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RawLog:
    """An event log as the chain keeps it."""

    block: int
    block_hash: Digest
    transaction: Digest
    index: int
    address: Address
    topics: tuple[Digest, ...]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of an included transaction. `gas_price` is wei per gas, as paid."""

    transaction: Digest
    block: int
    block_hash: Digest
    succeeded: bool
    gas_used: int
    gas_price: int
    created: Address | None
    logs: tuple[RawLog, ...]


class TermsTooShort(ConfigError):
    """A contract's immutable periods are shorter than the profile of its chain calls safe."""


class Chain:
    """One chain, checked against its profile and deployment. Made by `open_chain`; safe to share between tasks."""

    def __init__(self, rpc: Rpc, profile: ChainProfile, deployment: Deployment) -> None:
        self.rpc: Final = rpc
        self.profile: Final = profile
        self.deployment: Final = deployment

    async def head(self) -> Block:
        """Return the newest block. It may yet vanish."""
        return self._present(await self._find("latest"), "latest")

    async def confirmed(self, head: Block | None = None) -> Block:
        """Return the newest block that the profile calls confirmed; the first block while the chain is short.

        Args:
            head: The newest block, if it was just asked for.
        """
        if head is None:
            head = await self.head()
        number = max(0, head.number - (self.profile.confirmations - 1))
        return head if number == head.number else await self.block(number)

    async def block(self, number: int) -> Block:
        """Return the block of this number.

        Raises:
            RpcRefused: The chain is not that long.
        """
        return self._present(await self.find_block(number), str(number))

    async def find_block(self, number: int) -> Block | None:
        """Return the block of this number; None if the chain, as its node knows it, is not that long."""
        return await self._find(hexed(number))

    async def find_header(self, number: int) -> bytes | None:
        """Return the RLP of a block's header, whose keccak is the block's hash; None if there is no such block.

        Raises:
            HeaderUnreadable: What the node tells of it doesn't have that hash.
        """
        value = await self.rpc.call("eth_getBlockByNumber", hexed(number), False)
        return None if value is None else encode_header(members(value))

    async def view(
        self, abi: Abi, address: Address, function: str, *arguments: object, at: Block | None = None
    ) -> tuple[object, ...]:
        """Call a view function in the state after block `at`, by default the newest confirmed one.

        Raises:
            Reverted: The contract said no.
            NotDeployedYet: After `at` there was no contract at `address`.
            ProtocolMismatch: The answer is not what the function returns.
        """
        block = at or await self.confirmed()
        data = await self.call(abi, address, abi.encode_call(function, *arguments), block=_pin(block))
        if not data:  # what an address without code answers, and no function that returns something
            raise NotDeployedYet(abi.name, address, block.number)
        try:
            return abi.decode_result(function, data)
        except UndecodableLog as error:
            raise ProtocolMismatch(self.rpc.url, str(error)) from error

    async def call(
        self, abi: Abi, address: Address, data: bytes, *, sender: Address | None = None, block: Json = "latest"
    ) -> bytes:
        """Execute a call without sending it, and return what it returns.

        Raises:
            Reverted: The contract said no, decoded by `abi`.
        """
        fields: dict[str, Json] = {"to": hexed(address), "data": hexed(data)}
        if sender is not None:
            fields["from"] = hexed(sender)
        try:
            return unformatted(await self.rpc.call("eth_call", fields, block))
        except Reverted as error:
            raise abi.decode_error(error.data) from error

    async def base_fees(self, blocks: int) -> tuple[int, ...]:
        """Return the base fees of at most `blocks` of the newest blocks and of the one that comes next, wei per gas.

        Raises:
            RpcRefused: The node has no `eth_feeHistory`.
        """
        value = await self.rpc.call("eth_feeHistory", hexed(blocks), "latest", [])
        fees = members(value).get("baseFeePerGas")
        if not isinstance(fees, list) or not 1 <= len(fees) <= blocks + 1:
            raise ProtocolMismatch(self.rpc.url, "eth_feeHistory returned no fees")
        return tuple(quantity(fee) for fee in fees)

    async def gas_money(self, address: Address) -> int:
        """Return the native balance of `address` in the newest block, in wei: what it can pay fees with."""
        return quantity(await self.rpc.call("eth_getBalance", hexed(address), "latest"))

    async def token_balance(self, address: Address, *, at: Block | None = None) -> Amount:
        """Return the token balance of `address` at a confirmed block, in base units."""
        (balance,) = await self.view(load_artifact("TestToken").abi, self.deployment.token, "balanceOf", address, at=at)
        return Amount(cast("int", balance))

    async def receipt(self, transaction: Digest) -> Receipt | None:
        """Return what became of a transaction; None while it is in no block of the current chain."""
        value = await self.rpc.call("eth_getTransactionReceipt", hexed(transaction))
        return None if value is None else parse_receipt(value)

    async def logs(self, addresses: Sequence[Address], first: int, last: int) -> tuple[RawLog, ...]:
        """Return the logs of `addresses` in blocks `first` to `last`, in their order on the chain."""
        query: dict[str, Json] = {
            "address": [hexed(address) for address in addresses],
            "fromBlock": hexed(first),
            "toBlock": hexed(last),
        }
        value = await self.rpc.call("eth_getLogs", query)
        if not isinstance(value, list):
            raise ProtocolMismatch(self.rpc.url, "eth_getLogs returned no list")
        return tuple(sorted((_log(members(item)) for item in value), key=lambda log: (log.block, log.index)))

    def _present(self, block: Block | None, name: str) -> Block:
        if block is None:
            raise RpcRefused("eth_getBlockByNumber", 0, f"there is no block {name}")
        return block

    async def _find(self, tag: str) -> Block | None:
        value = await self.rpc.call("eth_getBlockByNumber", tag, False)
        if value is None:
            return None
        fields = members(value)
        return Block(
            number=quantity(fields.get("number")),
            hash=read_digest(fields.get("hash")),
            parent=read_digest(fields.get("parentHash")),
            time=UnixTime(quantity(fields.get("timestamp"))),
            base_fee=quantity(fields.get("baseFeePerGas", "0x0")),
        )


@asynccontextmanager
async def open_chain(profile: ChainProfile, rpc_url: str, deployment: Deployment) -> AsyncGenerator[Chain, None]:
    """Connect to a chain and check that it is the one that is meant.

    Raises:
        WrongChain: The node at `rpc_url`, or the deployment, is of another chain than `profile`.
        ContractMissing: A contract of the deployment has no code.
        CodeMismatch: It has other code than this version of Stoa was built against.
        TermsTooShort: Its challenge, hold period or pace is shorter than the profile allows.
        ChainUnreachable: Nobody answers at `rpc_url`.
        ChainTimeout: Somebody accepts the connection and does not answer.
    """
    _verify_profile(profile, deployment)
    async with open_rpc(rpc_url) as rpc:
        chain = Chain(rpc, profile, deployment)
        await _verify(chain)
        yield chain


class CheckedBefore(Protocol):
    """Remembers, over restarts, that a chain was checked."""

    async def get(self, name: str) -> bytes | None:
        """Return what was set."""
        ...

    async def set(self, name: str, value: bytes | None) -> None:
        """Set a value durably."""
        ...


CHECKED: Final = "chain.checked"


@asynccontextmanager
async def open_chain_or_wait(
    profile: ChainProfile, rpc_url: str, deployment: Deployment, checked: CheckedBefore
) -> AsyncGenerator[Chain, None]:
    """Connect as `open_chain` does; if nobody answers, and these contracts were checked before, go on without.

    What was checked can't change: contracts have no owner who could exchange their code. So a chain that is away at a
    start is as one that goes away later: every call fails with `ChainUnreachable`, until somebody answers and is
    checked all over. The block ends with a ConfigError if what answers then is not what was meant.

    Raises:
        ConfigError: As `open_chain`, at once or while the block runs.
        ChainUnreachable, ChainTimeout: Nobody answers, and no start before this one has seen these contracts.
    """
    _verify_profile(profile, deployment)
    fingerprint = _fingerprint(profile, deployment)
    async with open_rpc(rpc_url) as rpc:
        behind = Chain(rpc.bar(), profile, deployment)
        if await checked.get(CHECKED) != fingerprint:
            await _verify(behind)
            await checked.set(CHECKED, fingerprint)
            rpc.unbar()
        else:
            failure = "it is slow to answer"
            with trio.move_on_after(FIRST_LOOK_S):
                try:
                    await _verify(behind)
                    rpc.unbar()
                except TransientError as error:
                    failure = str(error)
            if rpc.away_since is not None:
                log.warning("chain.away_at_start", reason=failure)
        async with trio.open_nursery() as nursery:
            if rpc.away_since is not None:
                nursery.start_soon(_wait_for, behind, rpc)
            yield Chain(rpc, profile, deployment)
            nursery.cancel_scope.cancel()


async def _wait_for(behind: Chain, rpc: Rpc) -> None:
    """Look until the chain answers; check it, and let everybody speak to it."""
    failures = 0
    while True:
        await trio.sleep(min(behind.profile.poll_s * 2 ** min(failures, 8), LOOK_AGAIN_MOST_S))
        try:
            await _verify(behind)
        except TransientError as error:
            failures += 1
            log.debug("chain.still_away", reason=str(error))
        else:
            log.info("chain.back", away_since=rpc.away_since)
            rpc.unbar()
            return


def _fingerprint(profile: ChainProfile, deployment: Deployment) -> bytes:
    """Return a digest of all that `_verify` compares the chain with."""
    names = ("Escrow", "PaymentChannel", "Reputation", "TestToken", "DisputeArbiter", "Bench")
    hashes = [load_artifact(name).code_hash for name in names]
    least = (
        *(profile.chain_id, profile.min_challenge, profile.min_hold_period, profile.min_pace, profile.min_cooldown),
        profile.min_case,
    )
    addresses = (
        *(deployment.escrow, deployment.payment_channel, deployment.reputation, deployment.token),
        *(deployment.court, deployment.bench),
    )
    return keccak256(b"".join((*addresses, *hashes, *(number.to_bytes(8, "big") for number in least))))


def _verify_profile(profile: ChainProfile, deployment: Deployment) -> None:
    if deployment.chain_id != profile.chain_id:
        raise WrongChain("the deployments file", expected=profile.chain_id, actual=deployment.chain_id)


async def _verify(chain: Chain) -> None:
    actual = quantity(await chain.rpc.call("eth_chainId"))
    if actual != chain.profile.chain_id:
        raise WrongChain(chain.rpc.url, expected=chain.profile.chain_id, actual=actual)
    await _verify_contracts(chain)


async def _verify_contracts(chain: Chain) -> None:
    deployment = chain.deployment
    await _verify_code(chain, "Escrow", deployment.escrow)
    await _verify_code(chain, "PaymentChannel", deployment.payment_channel)
    if chain.profile.is_local:
        await _verify_code(chain, "TestToken", deployment.token)
    elif not await _code(chain, deployment.token):
        raise ContractMissing("the token", deployment.token)
    # The hash leaves immutables out, and they are what ties the two contracts together and gives parties time to react.
    head = await chain.head()
    channel, escrow = load_artifact("PaymentChannel").abi, load_artifact("Escrow").abi
    (named,) = await chain.view(channel, deployment.payment_channel, "escrow", at=head)
    (separator,) = await chain.view(channel, deployment.payment_channel, "marketDomainSeparator", at=head)
    if named != deployment.escrow or separator != domain_separator(deployment.market_domain):
        raise ConfigError(
            f"PaymentChannel at {format_address(deployment.payment_channel)} belongs to another Escrow than"
            f" {format_address(deployment.escrow)}",
            advice="check chain.deployments: both addresses must be of one deployment",
        )
    periods = [
        (channel, deployment.payment_channel, "challenge", chain.profile.min_challenge),
        (channel, deployment.payment_channel, "holdPeriod", chain.profile.min_hold_period),
        (escrow, deployment.escrow, "minPace", chain.profile.min_pace),
    ]
    if deployment.has_stakes:
        reputation = await _verify_stakes(chain, head)
        periods.append((reputation, deployment.reputation, "cooldown", chain.profile.min_cooldown))
    if deployment.has_court:
        court = await _verify_court(chain, head)
        periods += [(court, deployment.court, name, chain.profile.min_case) for name in ("minResolveWithin", "maxTime")]
    for abi, address, name, least in periods:
        (seconds,) = await chain.view(abi, address, name, at=head)
        if cast("int", seconds) < least:
            raise TermsTooShort(
                f"{abi.name} at {format_address(address)} has a {name} of {seconds} s, the profile"
                f" {chain.profile.name} wants {least} s at least",
                advice="use another deployment",
            )


async def _verify_stakes(chain: Chain, head: Block) -> Abi:
    """Check that the stakes are of this token and answer for this market's awards; return the contract's interface."""
    deployment = chain.deployment
    await _verify_code(chain, "Reputation", deployment.reputation)
    abi = load_artifact("Reputation").abi
    (escrow,) = await chain.view(abi, deployment.reputation, "escrow", at=head)
    (token,) = await chain.view(abi, deployment.reputation, "token", at=head)
    if escrow != deployment.escrow or token != deployment.token:
        raise ConfigError(
            f"Reputation at {format_address(deployment.reputation)} belongs to another Escrow or token than the"
            " deployment's",
            advice="check chain.deployments: all addresses must be of one deployment",
        )
    return abi


async def _verify_court(chain: Chain, head: Block) -> Abi:
    """Check that the court moves these rails, stakes and token, and that the bench is its own; return its interface."""
    deployment = chain.deployment
    await _verify_code(chain, "DisputeArbiter", deployment.court)
    await _verify_code(chain, "Bench", deployment.bench)
    abi = load_artifact("DisputeArbiter").abi
    named = {
        "escrow": deployment.escrow,
        "channels": deployment.payment_channel,
        "reputation": deployment.reputation,
        "token": deployment.token,
        "bench": deployment.bench,  # which the court has created, with itself as its court
    }
    for name, expected in named.items():
        (actual,) = await chain.view(abi, deployment.court, name, at=head)
        if actual != expected:
            raise ConfigError(
                f"DisputeArbiter at {format_address(deployment.court)} belongs to another {name} than the deployment's",
                advice="check chain.deployments: all addresses must be of one deployment",
            )
    return abi


async def _verify_code(chain: Chain, name: str, address: Address) -> None:
    code, artifact = await _code(chain, address), load_artifact(name)
    if not code:
        raise ContractMissing(name, address)
    actual = artifact.masked_hash(code)
    if actual != artifact.code_hash:
        raise CodeMismatch(name, address, expected=artifact.code_hash, actual=actual)


async def _code(chain: Chain, address: Address) -> bytes:
    return unformatted(await chain.rpc.call("eth_getCode", hexed(address), "latest"))


def _pin(block: Block) -> Json:
    """Name a block by hash (EIP-1898): if it has left the chain, the node says so instead of reading another one."""
    return {"blockHash": hexed(block.hash), "requireCanonical": True}


def parse_receipt(value: Json) -> Receipt:
    """Read a receipt as the node gives it."""
    fields = members(value)
    created, logs = fields.get("contractAddress"), fields.get("logs")
    if not isinstance(logs, list):
        raise ProtocolMismatch("the chain's address", "a receipt has no logs")
    return Receipt(
        transaction=read_digest(fields.get("transactionHash")),
        block=quantity(fields.get("blockNumber")),
        block_hash=read_digest(fields.get("blockHash")),
        succeeded=quantity(fields.get("status")) == 1,
        gas_used=quantity(fields.get("gasUsed")),
        gas_price=quantity(fields.get("effectiveGasPrice")),
        created=None if created is None else read_address(created),
        logs=tuple(_log(members(item)) for item in logs),
    )


def _log(fields: dict[str, Json]) -> RawLog:
    topics = fields.get("topics")
    if not isinstance(topics, list) or fields.get("removed"):
        raise ProtocolMismatch("the chain's address", "a log is removed or has no topics")
    return RawLog(
        block=quantity(fields.get("blockNumber")),
        block_hash=read_digest(fields.get("blockHash")),
        transaction=read_digest(fields.get("transactionHash")),
        index=quantity(fields.get("logIndex")),
        address=read_address(fields.get("address")),
        topics=tuple(read_digest(topic) for topic in topics),
        data=unformatted(fields.get("data")),
    )
