"""What the typed contracts share: confirmed views, and calls that end as a confirmed receipt with its events."""

from dataclasses import dataclass
from typing import Protocol, TypeVar, cast

from node.chain.abi import Abi, build
from node.chain.chain import Block, Chain, Receipt
from node.chain.errors import ProtocolMismatch
from node.chain.events import ContractEvent, decode_log
from node.chain.transaction_request import Request
from protocol.identity import Address
from protocol.spending import Spend

E = TypeVar("E")


class Sender(Protocol):
    """A `Transactor`, as far as contracts need one."""

    @property
    def address(self) -> Address:
        """Whose transactions it sends."""
        ...

    async def send(self, request: Request) -> Receipt:
        """Make a call and wait until it is confirmed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A confirmed transaction: its receipt and what the contracts reported in it."""

    receipt: Receipt
    events: tuple[ContractEvent, ...]

    @property
    def fee(self) -> int:
        """What it cost, in wei."""
        return self.receipt.gas_used * self.receipt.gas_price

    def the(self, kind: type[E]) -> E:
        """Return the one event of this kind.

        Raises:
            ProtocolMismatch: There is none: the chain's node left it out.
        """
        for event in self.events:
            if isinstance(event, kind):
                return event
        raise ProtocolMismatch("the chain's address", f"a receipt lacks its event {kind.__name__}")


class Contract:
    """One contract of the deployment. `sender` makes the calls; who only reads passes none."""

    def __init__(self, chain: Chain, abi: Abi, address: Address, sender: Sender | None) -> None:
        self._chain, self._abi, self._sender = chain, abi, sender
        self.address = address

    async def _view(self, function: str, *arguments: object, at: Block | None) -> tuple[object, ...]:
        return await self._chain.view(self._abi, self.address, function, *arguments, at=at)

    async def _view_int(self, function: str, *arguments: object, at: Block | None) -> int:
        (value,) = await self._view(function, *arguments, at=at)
        return cast("int", value)

    async def _view_struct(self, cls: type[E], function: str, *arguments: object, at: Block | None) -> E:
        (values,) = await self._view(function, *arguments, at=at)
        return build(cls, cast("tuple[object, ...]", values))

    async def _send(
        self, title: str, function: str, *arguments: object, spend: Spend | None = None, key: str | None = None
    ) -> Sent:
        assert self._sender is not None, f"{title}: this contract was made for reading"
        data = self._abi.encode_call(function, *arguments)
        receipt = await self._sender.send(Request(to=self.address, data=data, title=title, spend=spend, key=key))
        events = [decode_log(self._chain.deployment, log) for log in receipt.logs]
        return Sent(receipt=receipt, events=tuple(event for event in events if event is not None))
