"""The escrow contract, typed (contracts/interfaces/IEscrow.sol, docs/spec/contracts.md)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from node.chain.abi import load_artifact
from node.chain.chain import Block, Chain
from node.chain.contract import Contract, Sender, Sent
from node.chain.payment_channel import NO_SIGNATURE
from protocol.dispute.objects import Verdict
from protocol.identity import Address, Digest
from protocol.market.objects import Award
from protocol.signing.ecdsa import Signature
from protocol.signing.eip712 import digest
from protocol.signing.signed import Signed
from protocol.spending import Spend
from protocol.task.objects import Acceptance, Receipt, Start
from protocol.units import Amount, Seconds, Uint32, UnixTime, format_amount


class EscrowState(IntEnum):
    """Where an award stands. From ACCEPTED on it is closed, and the name says how it ended."""

    NONE = 0
    FUNDED = 1
    RECALLED = 2
    STARTED = 3
    CLAIMED = 4
    DISPUTED = 5
    ACCEPTED = 6
    SETTLED = 7
    REFUNDED = 8
    PAID = 9
    JUDGED = 10
    SPLIT = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class EscrowRecord:
    """The record of one award.

    Attributes:
        amount: Locked at funding: price and dispute fee.
        paid: To the provider so far.
        time: Last second of the act that the state waits for, 0 if the award's own times apply.
        state: Where it stands.
    """

    amount: Amount
    paid: Amount
    time: UnixTime
    state: EscrowState


@dataclass(frozen=True, slots=True, kw_only=True)
class EscrowClaim:
    """What the provider claimed last."""

    due: Amount
    part: Uint32
    receipt: Digest


class Escrow(Contract):
    """The deployment's escrow. Views are of a confirmed block unless `at` names another.

    Every sending method returns once its transaction is confirmed and raises `Reverted` if the contract refuses, most
    often before anything was sent. All may be asked for again: the contract's state machine refuses what is done.
    """

    def __init__(self, chain: Chain, sender: Sender | None = None) -> None:
        super().__init__(chain, load_artifact("Escrow").abi, chain.deployment.escrow, sender)

    async def record_of(self, award: Digest, *, at: Block | None = None) -> EscrowRecord:
        """Return the record of the award with this digest."""
        record = await self._view_struct(EscrowRecord, "recordOf", award, at=at)
        return replace(record, state=EscrowState(record.state))

    async def claim_of(self, award: Digest, *, at: Block | None = None) -> EscrowClaim:
        """Return the last claim on the award with this digest."""
        return await self._view_struct(EscrowClaim, "claimOf", award, at=at)

    async def min_pace(self) -> Seconds:
        """Return the least pace that an award may have."""
        return Seconds(await self._view_int("minPace", at=None))

    async def credit_of(self, owner: Address, *, at: Block | None = None) -> int:
        """Return what `owner` may withdraw because the token refused a payout."""
        return await self._view_int("creditOf", owner, self._chain.deployment.token, at=at)

    async def fund(self, award: Signed[Award]) -> Sent:
        """Lock price and dispute fee. Needs an allowance; counts against the caps, once with the award's signature."""
        value = award.value
        total = Amount(value.price + value.dispute_fee)
        identity = self._id(value)
        spend = Spend(account=identity, total=total, peer=value.provider, task=value.offer, task_total=total)
        title = f"fund award {identity.hex()[:12]} with {format_amount(total)}"
        return await self._send(title, "fund", value, award.signature, spend=spend)

    async def fund_many(self, awards: Sequence[Signed[Award]]) -> Sent:
        """Fund awards of the sender at once, or none; needs an allowance. It takes the least gas for one, too.

        Each has counted against the caps when the sender signed it. All are in the deployment's token.
        """
        total = Amount(sum(award.value.price + award.value.dispute_fee for award in awards))
        packed = b"".join(_pack_award(award.value, award.value.provider) for award in awards)
        title = f"fund {len(awards)} awards with {format_amount(total)}"
        return await self._send(title, "fundMany", self._chain.deployment.token + packed)

    async def release_many(self, released: Sequence[tuple[Award, Signed[Acceptance]]]) -> Sent:
        """Have the sender, the provider of all these awards, paid what was accepted, with one transfer.

        What is paid or closed already is skipped (`ReleaseSkipped`) and does not raise.
        """
        packed = b"".join(
            _pack_award(award, award.requester) + _pack_acceptance(acceptance) for award, acceptance in released
        )
        title = f"release {len(released)} awards"
        return await self._send(title, "releaseMany", self._chain.deployment.token + packed)

    async def release(self, award: Award, acceptance: Signed[Acceptance]) -> Sent:
        """Have the provider paid what the requester accepted."""
        title = f"release {format_amount(acceptance.value.due)} for award {self._short(award)}"
        return await self._send(title, "release", award, acceptance.value, acceptance.signature)

    async def settle(
        self,
        award: Award,
        *,
        due: Amount,
        settle_by: UnixTime,
        requester_signature: Signature = NO_SIGNATURE,
        provider_signature: Signature = NO_SIGNATURE,
    ) -> Sent:
        """Close as both sides signed a `Settlement(award, due, settleBy)`; the caller may leave its own out."""
        settlement = (self._id(award), due, settle_by)
        title = f"settle award {self._short(award)}"
        return await self._send(title, "settle", award, settlement, requester_signature, provider_signature)

    async def recall(self, award: Award) -> Sent:
        """Ask for the money back because no start came; the requester's call."""
        return await self._send(f"recall award {self._short(award)}", "recall", award)

    async def prove_start(self, award: Award, start: Signed[Start]) -> Sent:
        """Prove that the provider started in time."""
        title = f"prove the start of award {self._short(award)}"
        return await self._send(title, "proveStart", award, start.value, start.signature)

    async def claim(self, award: Award, start: Signed[Start], receipt: Signed[Receipt]) -> Sent:
        """Claim what the receipt says; the provider's call."""
        title = f"claim {format_amount(receipt.value.due)} for award {self._short(award)}"
        return await self._send(title, "claim", award, start.value, start.signature, receipt.value, receipt.signature)

    async def pay_claim(self, award: Award) -> Sent:
        """Pay a claim that nobody disputed in time."""
        return await self._send(f"pay the claim on award {self._short(award)}", "payClaim", award)

    async def dispute(self, award: Award) -> Sent:
        """Dispute an open claim; a party's call."""
        return await self._send(f"dispute the claim on award {self._short(award)}", "dispute", award)

    async def apply_verdict(self, award: Award, verdict: Verdict, signature: Signature = NO_SIGNATURE) -> Sent:
        """Close as the arbiter decided; `signature` is the arbiter's if somebody else calls."""
        title = f"apply the verdict on award {self._short(award)}"
        return await self._send(title, "applyVerdict", award, verdict, signature)

    async def split(self, award: Award) -> Sent:
        """Close a disputed award that got no verdict in time."""
        return await self._send(f"split award {self._short(award)}", "split", award)

    async def refund(self, award: Award) -> Sent:
        """Send the rest back to the requester."""
        return await self._send(f"refund award {self._short(award)}", "refund", award)

    async def withdraw_credit(self, to: Address) -> Sent:
        """Send the sender's credit to `to`."""
        return await self._send("withdraw a credit", "withdrawCredit", self._chain.deployment.token, to)

    def _id(self, award: Award) -> Digest:
        return digest(self._chain.deployment.market_domain, award)

    def _short(self, award: Award) -> str:
        return self._id(award).hex()[:12]


def _pack_award(award: Award, party: Address) -> bytes:
    """254 bytes, as contracts/libraries/PackedAward.sol reads them; `party` is the one that doesn't call."""
    head = (
        (award.slot, 2),
        (award.attempt, 2),
        (award.first_part, 4),
        (award.parts, 4),
        (award.price, 16),
        (award.liability, 16),
        (award.dispute_fee, 16),
        (award.split_bps, 2),
        (award.start_by, 8),
        (award.deliver_by, 8),
        (award.pace, 4),
        (award.resolve_within, 4),
    )
    numbers = b"".join(number.to_bytes(size, "big") for number, size in head)
    return award.offer + award.roll + award.bids + party + award.arbiter + numbers + award.audit_seal


def _pack_acceptance(acceptance: Signed[Acceptance]) -> bytes:
    value = acceptance.value
    return value.part.to_bytes(4, "big") + value.due.to_bytes(16, "big") + value.receipt + acceptance.signature
