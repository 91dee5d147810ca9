"""The payments room's `StakeChain` over `node/chain`."""

from collections.abc import Sequence

from node.chain import stake_events
from node.chain.chain import Chain
from node.chain.contract import Sent
from node.chain.escrow import Escrow, EscrowState
from node.chain.events import ContractEvent
from node.chain.gateway import Gateway
from node.chain.reputation import Reputation
from node.chain.token import Token
from node.payments.stake_ports import Punished, StakeFigures, StakeSeen
from protocol.identity import Address, Digest
from protocol.market.evidence import Conflict, TwoAwards, TwoCommitments, TwoRolls
from protocol.market.objects import Award, Offer
from protocol.signing.signed import Signed
from protocol.stake import record as stake_facts
from protocol.stake.terms import bonus_of
from protocol.task.objects import Acceptance
from protocol.units import Amount, Seconds


class ContractStakes:
    """The reputation contract for one wallet. Made by `contract_stakes`."""

    def __init__(self, chain: Chain, token: Token, escrow: Escrow, reputation: Reputation) -> None:
        self._chain, self._token, self._escrow, self._reputation = chain, token, escrow, reputation

    async def seen(self, award: Digest, block: int) -> StakeSeen:
        """See `StakeChain`."""
        at = await self._chain.block(block)
        lock = await self._reputation.lock_of(award, at=at)
        record = await self._escrow.record_of(award, at=at)
        claim = await self._escrow.claim_of(award, at=at)
        return StakeSeen(
            lock=int(lock.state),
            locked=lock.amount,
            bonus=lock.bonus,
            had_bonus=lock.had_bonus,
            escrow=int(record.state) if record.state >= EscrowState.ACCEPTED else 0,
            claimed=claim.due,
            claimed_part=claim.part,
            paid=record.paid,
        )

    async def figures(self, owner: Address) -> StakeFigures:
        """See `StakeChain`."""
        at = await self._chain.confirmed()
        account = await self._reputation.account_of(owner, at=at)
        leaving = await self._reputation.leaving_of(owner, at=at)
        return StakeFigures(
            stake=account.stake, locked=account.locked, leaving=leaving.amount, ready_at=leaving.ready_at
        )

    async def free_of(self, owner: Address) -> Amount:
        """See `StakeChain`."""
        return await self._reputation.free_stake_of(owner)

    async def cooldown(self) -> Seconds:
        """See `StakeChain`."""
        return await self._reputation.cooldown()

    async def add(self, amount: Amount, *, order: str) -> int:
        """See `StakeChain`."""
        await self._token.ensure_allowance(self._reputation.address, amount)
        return _block(await self._reputation.stake(amount, key=f"stake {order}"))

    async def unstake(self, amount: Amount) -> int:
        """See `StakeChain`."""
        return _block(await self._reputation.unstake(amount))

    async def withdraw(self) -> int:
        """See `StakeChain`."""
        return _block(await self._reputation.withdraw())

    async def lock(self, award: Award) -> int:
        """See `StakeChain`."""
        return _block(await self._reputation.lock(award))

    async def free(self, award: Award, acceptance: Signed[Acceptance] | None) -> int:
        """See `StakeChain`."""
        if acceptance is None:
            return _block(await self._reputation.free(award))
        return _block(await self._reputation.free_accepted(award, acceptance))

    async def free_batch(self, ended: Sequence[tuple[Award, Signed[Acceptance] | None]]) -> int:
        """See `StakeChain`."""
        return _block(await self._reputation.free_many(ended))

    async def punish(self, offer: Offer, conflict: Conflict) -> Punished:
        """See `StakeChain`."""
        contract = self._reputation
        match conflict:
            case TwoCommitments(first=first, second=second):
                sent = await contract.punish_commitments(offer, first, second)
            case TwoRolls(first=first, second=second):
                sent = await contract.punish_rolls(offer, first, second)
            case TwoAwards(first=first, second=second):
                sent = await contract.punish_awards(offer, first, second)
        event = sent.the(stake_events.ContradictionPunished)
        return Punished(amount=event.amount, bounty=event.bounty)

    async def deposit_bonus(self, award: Award) -> int:
        """See `StakeChain`."""
        await self._token.ensure_allowance(self._reputation.address, bonus_of(award.price))
        return _block(await self._reputation.deposit_bonus(award))


def contract_stakes(chain: Chain, gateway: Gateway) -> ContractStakes | None:
    """Return the stakes of the deployment; None on a network without."""
    if gateway.reputation is None:
        return None
    return ContractStakes(chain, gateway.token, gateway.escrow, gateway.reputation)


def stake_fact(event: ContractEvent) -> tuple[Digest, stake_facts.StakeFact] | None:
    """Return the award that an event is about and what it says of the stake behind it, or None."""
    match event:
        case stake_events.LiabilityLocked(award=award, amount=amount):
            return award, stake_facts.LockConfirmed(amount=amount)
        case stake_events.LiabilityFreed(award=award):
            return award, stake_facts.FreeConfirmed()
        case stake_events.LiabilitySlashed(award=award):
            return award, stake_facts.SlashConfirmed(lost=Amount(event.fee + event.bounty + event.penalty))
        case stake_events.BonusDeposited(award=award, amount=amount):
            return award, stake_facts.BonusConfirmed(amount=amount)
        case stake_events.BonusPaid(award=award, amount=amount, earned=earned):
            return award, stake_facts.BonusPaidConfirmed(amount=amount, earned=earned)
        case _:
            return None


def _block(sent: Sent) -> int:
    return sent.receipt.block
