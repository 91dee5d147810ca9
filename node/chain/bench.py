"""The court's bench, typed (contracts/interfaces/IBench.sol, docs/spec/law.md section 2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from node.chain.abi import load_artifact
from node.chain.chain import Block, Chain
from node.chain.contract import Contract, Sender, Sent
from protocol.identity import Address, Digest
from protocol.units import Amount, Seconds, Uint32, UnixTime

COUNTS_FOR_EVER: Final = 2**40 - 1
"""`Ticket.until` of one that nobody has resigned."""


class Randomness(IntEnum):
    """Where the number of a draw comes from, in the numbers of the contract."""

    BLOCK_HASH = 0
    PREV_RANDAO = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A place of an engine. It counts at block b if `since <= b < until`."""

    owner: Address
    since: int
    until: int

    @property
    def counts(self) -> bool:
        """Whether its owner hasn't resigned it."""
        return self.until == COUNTS_FOR_EVER


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchAccount:
    """What one arbiter has on the bench.

    Attributes:
        balance: Stake and earnings, base units.
        tickets: Tickets that count.
        leaving: Tickets resigned, whose stake waits until `ready_at`.
        serving: Seats taken, until `serving_until`; none after that. A stake backs one of a committee, four in all.
        ready_at: Last second that the stake of `leaving` waits.
        serving_until: Last second of the last case.
    """

    balance: Amount
    tickets: Uint32
    leaving: Uint32
    serving: Uint32
    ready_at: UnixTime
    serving_until: UnixTime

    def seats_at(self, now: int) -> int:
        """Return how many seats bind a stake at a time."""
        return self.serving if now <= self.serving_until else 0

    def collectable(self, seat_stake: int, now: int) -> Amount:
        """Return what `collect` pays at a time (docs/spec/law.md, BN6), base units.

        Args:
            seat_stake: The bench's price of a ticket.
            now: Time of the block.
        """
        leaving = self.leaving if now <= self.ready_at else 0
        kept = max(self.tickets + leaving, self.seats_at(now)) * seat_stake
        return Amount(max(0, self.balance - kept))


class Bench(Contract):
    """The bench of the deployment's court. Views are of a confirmed block unless `at` names another.

    Every sending method returns once its transaction is confirmed and raises `Reverted` if the contract refuses.
    """

    def __init__(self, chain: Chain, sender: Sender | None = None) -> None:
        super().__init__(chain, load_artifact("Bench").abi, chain.deployment.bench, sender)

    async def account_of(self, arbiter: Address, *, at: Block | None = None) -> BenchAccount:
        """Return stake, earnings and seats of an arbiter."""
        return await self._view_struct(BenchAccount, "accountOf", arbiter, at=at)

    async def places_of(self, engine: Digest, *, at: Block | None = None) -> int:
        """Return the number of places for an engine, those of tickets that count no more included."""
        return await self._view_int("placesOf", engine, at=at)

    async def ticket_of(self, engine: Digest, index: int, *, at: Block | None = None) -> Ticket:
        """Return the ticket at a place; `Reverted` if the engine has no such place."""
        return await self._view_struct(Ticket, "ticketOf", engine, index, at=at)

    async def seat_stake(self) -> Amount:
        """Return what a ticket costs."""
        return Amount(await self._view_int("seatStake", at=None))

    async def cooldown(self) -> Seconds:
        """Return the seconds from resigning to taking the stake."""
        return Seconds(await self._view_int("cooldown", at=None))

    async def randomness(self) -> Randomness:
        """Return where the number of a draw comes from."""
        return Randomness(await self._view_int("randomness", at=None))

    async def credit_of(self, owner: Address, *, at: Block | None = None) -> int:
        """Return what `owner` may withdraw because the token refused a payout."""
        return await self._view_int("creditOf", owner, self._chain.deployment.token, at=at)

    async def enlist(self, engine: Digest, count: int, *, key: str) -> Sent:
        """Buy tickets, once for one `key`. Needs an allowance for the bench; the stake stays the sender's money."""
        return await self._send(f"buy {count} tickets of an arbiter", "enlist", engine, count, [], key=key)

    async def resign(self, engine: Digest, indices: Sequence[int]) -> Sent:
        """Give up tickets at these places; one resignation at a time waits for its cooldown."""
        return await self._send(f"give up {len(indices)} tickets of an arbiter", "resign", engine, list(indices))

    async def collect(self) -> Sent:
        """Take out what was earned, and the stake of tickets that left long enough ago."""
        return await self._send("take earnings and stake from the bench", "collect")
