"""What an arbiter's operator does on the court's bench: buy tickets, give them up, take out what is free (law.md)."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import trio

from node.chain.bench import Bench, BenchAccount
from node.chain.chain import Chain
from node.chain.contract import Sent
from node.chain.court_events import Enlisted, Resigned
from node.chain.event_index import EventIndex
from node.chain.events import ContractEvent, decode_log
from node.chain.gateway import Gateway
from node.chain.token import Token
from protocol.dispute.case import CommitteeDrawn
from protocol.errors import ProtocolError, TransientError
from protocol.identity import Address, Digest
from protocol.task.engine import ENGINE_DIGEST
from protocol.units import Amount, Seconds, UnixTime, format_amount

MOST_TICKETS: Final = 100
"""In one transaction, at 25,000 gas each."""


class NoTickets(ProtocolError):
    """Nothing to give up, or nothing that one transaction could buy."""


class BenchNotInTime(TransientError):
    """A transaction wasn't confirmed while the caller waited; it goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchFigures:
    """What this wallet has on the bench, confirmed.

    Attributes:
        account: As the contract keeps it.
        seat_stake: What a ticket costs, base units.
        cooldown: From giving a ticket up to taking its stake.
        now: Time of the confirmed block that all this is of.
        cases: Committees that it was ever drawn for.
    """

    account: BenchAccount
    seat_stake: Amount
    cooldown: Seconds
    now: UnixTime
    cases: int


class BenchDesk:
    """The bench for one wallet and the engine that this release runs."""

    def __init__(
        self, chain: Chain, index: EventIndex, token: Token, bench: Bench, wallet: Address, *, timeout_s: float
    ) -> None:
        self._chain, self._index, self._token, self._bench = chain, index, token, bench
        self._wallet, self._timeout_s = wallet, timeout_s

    async def figures(self) -> BenchFigures:
        """Return what this wallet has on the bench.

        Raises:
            TransientError: The chain can't be reached.
        """
        at = await self._chain.confirmed()
        committees = [event.committee for event in await self._events(self._court) if isinstance(event, CommitteeDrawn)]
        return BenchFigures(
            account=await self._bench.account_of(self._wallet, at=at),
            seat_stake=await self._bench.seat_stake(),
            cooldown=await self._bench.cooldown(),
            now=at.time,
            cases=sum(self._wallet in committee for committee in committees),
        )

    async def enlist(self, count: int, *, order: str) -> None:
        """Buy tickets; returns once they are confirmed.

        Args:
            count: How many.
            order: Names this purchase: asked for again, it is not made again.

        Raises:
            NoTickets: `count` is none, or too many for one transaction.
            ChainRejected: The contract or the token refused, e.g. for want of money.
            BenchNotInTime: It takes too long.
        """
        if not 1 <= count <= MOST_TICKETS:
            raise NoTickets(f"{count} tickets can't be bought at once", advice=f"buy 1 to {MOST_TICKETS} at a time")
        cost = Amount(count * await self._bench.seat_stake())
        balance = await self._token.balance_of(self._wallet)
        if balance < cost:
            raise NoTickets(
                f"{format_amount(cost)} is what {_tickets(count)} would cost, the wallet has {format_amount(balance)}",
                advice="buy fewer, or add money to the wallet",
            )
        async with self._confirming("the purchase"):
            await self._token.ensure_allowance(self._bench.address, cost)
            await self._wait_for(await self._bench.enlist(ENGINE_DIGEST, count, key=f"enlist {order}"))

    async def resign(self, count: int | None) -> None:
        """Give up tickets, the newest first; returns once that is confirmed.

        Args:
            count: How many; None for all.

        Raises:
            NoTickets: There aren't so many.
            ChainRejected: The contract refused: others are leaving already.
            BenchNotInTime: It takes too long.
        """
        own = await self.tickets()
        wanted = len(own) if count is None else count
        if not own:
            raise NoTickets("this wallet has no ticket to give up", advice="see: stoa arbiter status")
        if not 1 <= wanted <= len(own):
            raise NoTickets(
                f"{_tickets(wanted)} can't be given up: this wallet has {len(own)}",
                advice="see: stoa arbiter status",
            )
        async with self._confirming("the resignation"):
            await self._wait_for(await self._bench.resign(ENGINE_DIGEST, own[-wanted:]))

    async def collect(self) -> None:
        """Take out what is neither stake of tickets nor of seats; returns once that is confirmed.

        Raises:
            ChainRejected: There is nothing to collect now.
            BenchNotInTime: It takes too long.
        """
        async with self._confirming("the payment"):
            await self._wait_for(await self._bench.collect())

    async def tickets(self) -> tuple[int, ...]:
        """Return the places of the tickets that this wallet has and that count, in order."""
        places: dict[tuple[Digest, int], Address] = {}
        for event in await self._events(self._bench.address):
            match event:
                case Enlisted(engine=engine, arbiter=arbiter, index=index):
                    places[engine, index] = arbiter
                case Resigned(engine=engine, index=index):
                    places.pop((engine, index), None)
                case _:
                    pass
        mine = (index for (engine, index), owner in places.items() if (engine, owner) == (ENGINE_DIGEST, self._wallet))
        return tuple(sorted(mine))

    @property
    def _court(self) -> Address:
        return self._chain.deployment.court

    async def _events(self, contract: Address) -> list[ContractEvent]:
        deployment, last = self._chain.deployment, self._index.last
        if last is None:
            return []
        logs = await self._index.store.logs_of(contract, deployment.block, last.number)
        events = [decode_log(deployment, each) for each in logs]
        return [event for event in events if event is not None]

    async def _wait_for(self, sent: Sent) -> None:
        await self._index.wait_for(sent.receipt.block)

    @asynccontextmanager
    async def _confirming(self, what: str) -> AsyncGenerator[None, None]:
        with trio.move_on_after(self._timeout_s) as scope:
            yield
        if scope.cancelled_caught:
            raise BenchNotInTime(
                f"{what} was not confirmed within {self._timeout_s:g} s",
                advice="it goes on; check the chain and the gas money, then: stoa arbiter status",
            )


def bench_desk(
    chain: Chain, index: EventIndex, gateway: Gateway, wallet: Address, *, timeout_s: float
) -> BenchDesk | None:
    """Return the bench for a wallet; None on a network without a court."""
    if gateway.bench is None:
        return None
    return BenchDesk(chain, index, gateway.token, gateway.bench, wallet, timeout_s=timeout_s)


def _tickets(count: int) -> str:
    return "1 ticket" if count == 1 else f"{count} tickets"
