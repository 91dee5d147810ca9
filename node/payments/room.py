"""What both sides of both rails work with, and the accounts that are open."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import structlog
import trio

from node.operations.clock import Clock
from node.payments.account import Account
from node.payments.errors import NotConfirmedInTime, OldFact
from node.payments.feed import Feed
from node.payments.flow import Flow, flow_between
from node.payments.ports import Chain, Fact, Peers, Wallet
from node.payments.settings import PaymentSettings
from node.payments.tracked import Rules, Step, Tracked
from node.storage.machine_log import Machine, load_machine, open_machine, select_open_streams
from node.storage.storage import Storage
from protocol.channel.objects import ChannelRules
from protocol.errors import ProtocolError, TransientError
from protocol.identity import Digest
from protocol.signing.eip712 import Domain

C = TypeVar("C")
S = TypeVar("S")
E = TypeVar("E")

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The rooms around this one.

    Attributes:
        storage: Opened with the projection `OpenStreams`.
        nursery: Of `open_payments`: what works for accounts lives there.
        rules: Constants of the channel contract.
        on_flow: Told of money that came or went, once that is durable.
    """

    storage: Storage
    chain: Chain
    wallet: Wallet
    peers: Peers
    clock: Clock
    settings: PaymentSettings
    market_domain: Domain
    channel_domain: Domain
    rules: ChannelRules
    feed: Feed
    nursery: trio.Nursery
    on_flow: Callable[[Flow], None]

    def note_change(self, before: object, after: object) -> None:
        """Tell `on_flow` if money moved between two states of an account."""
        flow = flow_between(before, after)
        if flow is not None:
            self.on_flow(flow)

    @asynccontextmanager
    async def confirming(self, what: str) -> AsyncGenerator[None, None]:
        """Bound a wait for a confirmation.

        Raises:
            NotConfirmedInTime: It took too long; what was sent goes on.
        """
        with trio.move_on_after(self.settings.confirm_timeout_s) as scope:
            yield
        if scope.cancelled_caught:
            raise NotConfirmedInTime(
                f"{what} was not confirmed within {self.settings.confirm_timeout_s:g} s",
                advice="it goes on; check the chain and the gas money, and try again",
            )


class Ledger(Generic[C, S, E]):
    """The open accounts of one kind, by channel or award. Each has a stream `<prefix>/<id>/<attempt>`."""

    def __init__(
        self, room: Room, prefix: str, machine: Machine[C, Tracked[S], Step[E], Any], rules: Rules[S, E]
    ) -> None:
        self._room, self._prefix, self._machine, self._rules = room, prefix, machine, rules
        self.accounts: Final[dict[Digest, Account[C, S, E]]] = {}
        self._names: Final[dict[Digest, str]] = {}

    async def load(self) -> None:
        """Take up again what was open when the node stopped."""
        journal = self._room.storage.journal
        prefix = f"{self._prefix}/"
        for stream in await self._room.storage.read.query(lambda connection: select_open_streams(connection, prefix)):
            machine = await load_machine(journal, self._machine, stream)
            identity = Digest(bytes.fromhex(stream.split("/")[1]))
            self.accounts[identity] = Account(machine, self._rules, self._room.feed.now, self._room.note_change)
            self._names[identity] = stream

    async def open(self, identity: Digest, context: C) -> Account[C, S, E]:
        """Begin an account, durably."""
        journal = self._room.storage.journal
        prefix = f"{self._prefix}/{identity.hex()}/"
        stream = f"{prefix}{len(await journal.streams(prefix))}"  # an opening that failed may be tried again
        machine = await open_machine(journal, self._machine, stream, context)
        account = Account(machine, self._rules, self._room.feed.now, self._room.note_change)
        self.accounts[identity] = account
        self._names[identity] = stream
        return account

    async def last_state(self, identity: Digest) -> S | None:
        """Return where the newest account of this id stands or ended, open or not; None if there never was one."""
        journal = self._room.storage.journal
        streams = await journal.streams(f"{self._prefix}/{identity.hex()}/")
        if not streams:
            return None
        newest = max(streams, key=lambda stream: int(stream.rpartition("/")[2]))
        return (await load_machine(journal, self._machine, newest)).state.state

    def name_of(self, identity: Digest) -> str:
        """Return the name of an open account's stream, which is never used twice."""
        return self._names[identity]

    async def close(self, identity: Digest) -> None:
        """Forget an account that is over, here and in the journal."""
        account = self.accounts.pop(identity, None)
        if account is not None and account.failure is None:
            try:
                await account.end()
            except TransientError:
                self.accounts[identity] = account  # to be tried again
                raise
        self._names.pop(identity, None)

    async def deliver(self, fact: Fact, event: E) -> bool:
        """Give an account a fact about it; say whether it had one to give it to."""
        account = self.accounts.get(fact.subject)
        if account is None:
            return False
        try:
            await account.apply(event, block=fact.block, index=fact.index)
        except OldFact:
            return True
        except ProtocolError as error:
            # Confirmed and yet impossible: the contract's word stands, our record of it does not. Never stop for it.
            log.error(  # noqa: TRY400 - the machine's refusal says all
                "payments.fact_refused", account=self._prefix, id=fact.subject.hex(), reason=str(error)
            )
        return True

    def beat(self) -> None:
        """Tell every account that time has passed."""
        for account in tuple(self.accounts.values()):
            account.pulse.beat()
