"""What is asked of an account: calls to be made once, what is told of them, and whom the account needs for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from node.chain.transaction_book import TransactionRecord
from protocol.errors import ProtocolError, TransientError
from protocol.identity import Address, Digest, format_address
from protocol.signing.keccak import keccak256
from protocol.spending import Spend


class GasPurseEmpty(TransientError):
    """The account can't pay the fee; the transaction waits until somebody sends it native money."""

    def __init__(self, address: Address) -> None:
        super().__init__(
            f"{format_address(address)} has too little native money for gas",
            advice=f"send gas money to {format_address(address)}; the transaction goes out by itself then",
        )


class FateUnknown(TransientError):
    """The node was restored from a backup: this may have been done since, so it is not signed anew."""

    def __init__(self, title: str) -> None:
        super().__init__(
            f"{title}: the node was restored, and this may have been done meanwhile; ask again if it was not"
        )


class InvalidRequest(ProtocolError):
    """A request for a contract that is not known, or under the key of another call; nothing was sent."""


class TransactionSigner(Protocol):
    """The wallet, as far as transactions go."""

    @property
    def address(self) -> Address:
        """The account."""
        ...

    async def sign_transaction(
        self,
        *,
        chain_id: int,
        nonce: int,
        max_priority_fee: int,
        max_fee: int,
        gas: int,
        to: Address,
        value: int,
        data: bytes,
        spend: Spend | None,
    ) -> bytes:
        """Return the raw transaction, or raise ProtocolError if the caps or the wallet's rules forbid it."""
        ...


class TransactionLog(Protocol):
    """The account's records, kept durably."""

    async def load(self) -> Sequence[TransactionRecord]:
        """Return all records, oldest first."""
        ...

    async def append(self, record: TransactionRecord) -> None:
        """Return once `record` survives a crash."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A call to be made.

    Attributes:
        to: A contract of the deployment.
        data: Call data.
        title: What it is, for people and logs.
        spend: What it promises, if anything.
        key: Names an act that must happen once however often it is asked for, e.g. opening a certain channel. Without
            one, equal calls are one only while the first is in hand.
    """

    to: Address
    data: bytes
    title: str
    spend: Spend | None = None
    key: str | None = None

    @property
    def intent(self) -> Digest:
        """Name under which the request is journaled."""
        if self.key is not None:
            return keccak256(b"\x01" + self.key.encode())
        return keccak256(b"\x00" + self.to + self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class InHand:
    """A transaction that is not confirmed yet, for status displays.

    Attributes:
        title: What it is.
        nonce: Its nonce, None while it is queued.
        attempts: How many were signed; more than one if the fee was raised.
        max_fee: Wei per gas that the newest offers at most, 0 while it is queued.
        waits_for: Why it does not go on, empty if it does.
    """

    title: str
    nonce: int | None
    attempts: int
    max_fee: int
    waits_for: str
