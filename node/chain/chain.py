"""A chain whose identity and contracts were checked: heads, confirmed views, receipts, logs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

from node.chain.abi import Abi, UndecodableLog, load_artifact
from node.chain.deployment import Deployment
from node.chain.errors import NotDeployedYet, ProtocolMismatch, Reverted, RpcRefused
from node.chain.header import encode_header
from node.chain.profile import ChainProfile
from node.chain.rpc import Json, Rpc, hexed, members, quantity, read_address, read_digest, unformatted
from protocol.identity import Address, Digest
from protocol.units import Amount, UnixTime


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


class Chain:
    """One chain, checked against its profile and deployment. Made by `node.chain.opening`, shared by all tasks."""

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
        """Return the logs of `addresses` in blocks `first` to `last`, in their order on the chain.

        A node that has not heard of all these blocks yet leaves out what it doesn't know, without a word: what is new
        is for `logs_of`.
        """
        return await self._logs(addresses, {"fromBlock": hexed(first), "toBlock": hexed(last)})

    async def logs_of(self, addresses: Sequence[Address], block: Block) -> tuple[RawLog, ...]:
        """Return the logs of `addresses` in this very block (EIP-234), in their order.

        Raises:
            RpcRefused: The chain's node does not know the block, or no more.
        """
        logs = await self._logs(addresses, {"blockHash": hexed(block.hash)})
        if any(each.block_hash != block.hash for each in logs):
            raise ProtocolMismatch(self.rpc.url, "eth_getLogs returned logs of another block than was asked for")
        return logs

    async def _logs(self, addresses: Sequence[Address], blocks: dict[str, Json]) -> tuple[RawLog, ...]:
        value = await self.rpc.call("eth_getLogs", {"address": [hexed(address) for address in addresses], **blocks})
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
