"""The reputation contract, typed (contracts/interfaces/IReputation.sol, docs/spec/law.md section 1)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import cast

from node.chain.abi import load_artifact
from node.chain.chain import Block, Chain
from node.chain.contract import Contract, Sender, Sent
from node.chain.payment_channel import NO_SIGNATURE
from protocol.identity import ZERO_DIGEST, Address, Digest
from protocol.market.objects import Award, Commitment, Offer, Roll
from protocol.reputation.scores import ScoreProof
from protocol.signing.eip712 import digest
from protocol.signing.signed import Signed
from protocol.spending import Spend
from protocol.stake.terms import bonus_account, bonus_of
from protocol.task.objects import Acceptance, Start
from protocol.units import Amount, Seconds, Uint64, UnixTime, format_amount

NO_START = Start(award=ZERO_DIGEST, at=UnixTime(0))
"""For a provider that locks by its own call."""


class LockState(IntEnum):
    """Where the lock of an award stands."""

    NONE = 0
    LOCKED = 1
    FREED = 2
    SLASHED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class StakeAccount:
    """What an owner has at stake: all of it, and what of it is locked."""

    stake: Amount
    locked: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class StakeLeaving:
    """A withdrawal under way; zero `amount`: none."""

    amount: Amount
    ready_at: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class StakeLock:
    """What stands behind one award.

    Attributes:
        amount: Locked, or what was.
        bonus: Deposited for success and not yet paid.
        state: Where the lock stands.
        had_bonus: Whether a bonus was ever deposited.
    """

    amount: Amount
    bonus: Amount
    state: LockState
    had_bonus: bool


class Reputation(Contract):
    """The deployment's stakes. Views are of a confirmed block unless `at` names another.

    Every sending method returns once its transaction is confirmed and raises `Reverted` if the contract refuses, most
    often before anything was sent. But for `stake`, all may be asked for again: the contract refuses what is done.
    """

    def __init__(self, chain: Chain, sender: Sender | None = None) -> None:
        super().__init__(chain, load_artifact("Reputation").abi, chain.deployment.reputation, sender)

    async def account_of(self, owner: Address, *, at: Block | None = None) -> StakeAccount:
        """Return stake and locks of `owner`."""
        return await self._view_struct(StakeAccount, "accountOf", owner, at=at)

    async def free_stake_of(self, owner: Address, *, at: Block | None = None) -> Amount:
        """Return what of the owner's stake is neither locked nor leaving."""
        return Amount(await self._view_int("freeStakeOf", owner, at=at))

    async def leaving_of(self, owner: Address, *, at: Block | None = None) -> StakeLeaving:
        """Return the owner's withdrawal that is under way."""
        return await self._view_struct(StakeLeaving, "leavingOf", owner, at=at)

    async def lock_of(self, award: Digest, *, at: Block | None = None) -> StakeLock:
        """Return lock and bonus of the award with this digest."""
        lock = await self._view_struct(StakeLock, "lockOf", award, at=at)
        return replace(lock, state=LockState(lock.state))

    async def cooldown(self) -> Seconds:
        """Return the seconds from asking for stake to taking it."""
        return Seconds(await self._view_int("cooldown", at=None))

    async def max_bounty(self) -> Amount:
        """Return the most that an accuser gets."""
        return Amount(await self._view_int("maxBounty", at=None))

    async def epoch_of(self, publisher: Address, *, at: Block | None = None) -> Uint64:
        """Return the last epoch that a publisher anchored; 0 before the first."""
        return await self._view_int("epochOf", publisher, at=at)

    async def root_of(self, publisher: Address, epoch: Uint64, *, at: Block | None = None) -> Digest:
        """Return the root that a publisher anchored for an epoch; zero if none."""
        (root,) = await self._view("rootOf", publisher, epoch, at=at)
        return cast("Digest", root)

    async def is_score(self, proof: ScoreProof, *, at: Block | None = None) -> bool:
        """Return whether the contract finds a line of a publisher's sheet proved (ST10)."""
        (answer,) = await self._view(
            "isScore", proof.publisher, proof.epoch, proof.subject, proof.score, proof.siblings, at=at
        )
        return bool(answer)

    async def credit_of(self, owner: Address, *, at: Block | None = None) -> int:
        """Return what `owner` may withdraw because the token refused a payout."""
        return await self._view_int("creditOf", owner, self._chain.deployment.token, at=at)

    async def stake(self, amount: Amount, *, key: str) -> Sent:
        """Add to the sender's own stake, once for one `key`. Needs an allowance; it stays the sender's money."""
        assert self._sender is not None
        return await self._send(f"stake {format_amount(amount)}", "stake", self._sender.address, amount, key=key)

    async def unstake(self, amount: Amount) -> Sent:
        """Ask for a part of the free stake; the contract refuses a second withdrawal beside one under way."""
        return await self._send(f"ask for {format_amount(amount)} of the stake", "unstake", amount)

    async def withdraw(self) -> Sent:
        """Take out what is leaving, after its cooldown."""
        return await self._send("take stake out", "withdraw")

    async def lock(self, award: Award, start: Signed[Start] | None = None) -> Sent:
        """Lock the award's liability out of its provider's stake; with its start if somebody else calls."""
        value, signature = (NO_START, NO_SIGNATURE) if start is None else (start.value, start.signature)
        title = f"lock {format_amount(award.liability)} of stake for award {self._short(award)}"
        return await self._send(title, "lock", award, value, signature)

    async def free(self, award: Award) -> Sent:
        """Free the lock, and send the bonus where it belongs, because the award is over."""
        return await self._send(f"free the stake behind award {self._short(award)}", "free", award)

    async def free_accepted(self, award: Award, acceptance: Signed[Acceptance]) -> Sent:
        """The same, because the last part is accepted."""
        title = f"free the stake behind award {self._short(award)}, whose last part is accepted"
        return await self._send(title, "freeAccepted", award, acceptance.value, acceptance.signature)

    async def free_many(self, ended: Sequence[tuple[Award, Signed[Acceptance] | None]]) -> Sent:
        """End several awards in one transaction: by their last acceptance, or because they are over. All or none."""
        calls = [
            self._abi.encode_call("free", award)
            if accepted is None
            else self._abi.encode_call("freeAccepted", award, accepted.value, accepted.signature)
            for award, accepted in ended
        ]
        return await self._send(f"free the stake behind {len(calls)} awards", "multicall", calls)

    async def deposit_bonus(self, award: Award) -> Sent:
        """Deposit the bonus. Needs an allowance; counts against the caps beside the award's price."""
        amount, identity = bonus_of(award.price), self._id(award)
        spend = Spend(
            account=bonus_account(identity), total=amount, peer=award.provider, task=award.offer, task_total=amount
        )
        title = f"deposit the bonus of {format_amount(amount)} for award {self._short(award)}"
        return await self._send(title, "depositBonus", award, spend=spend)

    async def punish_commitments(self, offer: Offer, one: Signed[Commitment], other: Signed[Commitment]) -> Sent:
        """Show two commitments of one bidder to one offer (A7)."""
        return await self._punish("punishCommitments", offer, one, other)

    async def punish_rolls(self, offer: Offer, one: Signed[Roll], other: Signed[Roll]) -> Sent:
        """Show two rolls of one offer."""
        return await self._punish("punishRolls", offer, one, other)

    async def punish_awards(self, offer: Offer, one: Signed[Award], other: Signed[Award]) -> Sent:
        """Show two awards of one offer, slot and attempt."""
        return await self._punish("punishAwards", offer, one, other)

    async def anchor(self, epoch: Uint64, root: Digest) -> Sent:
        """Anchor the root of the sender's scores for an epoch later than its last."""
        return await self._send(f"anchor the scores of epoch {epoch}", "anchor", epoch, root)

    async def withdraw_credit(self, to: Address) -> Sent:
        """Send the sender's credit to `to`."""
        return await self._send("withdraw a credit", "withdrawCredit", self._chain.deployment.token, to)

    async def _punish(
        self,
        function: str,
        offer: Offer,
        one: Signed[Commitment] | Signed[Roll] | Signed[Award],
        other: Signed[Commitment] | Signed[Roll] | Signed[Award],
    ) -> Sent:
        title = f"show a contradiction under offer {digest(self._chain.deployment.market_domain, offer).hex()[:12]}"
        return await self._send(title, function, offer, one.value, one.signature, other.value, other.signature)

    def _id(self, award: Award) -> Digest:
        return digest(self._chain.deployment.market_domain, award)

    def _short(self, award: Award) -> str:
        return self._id(award).hex()[:12]
