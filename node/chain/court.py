"""The court, typed (contracts/interfaces/IDisputeArbiter.sol, docs/spec/law.md section 3)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from node.chain.abi import UndecodableLog, load_artifact
from node.chain.bench import Bench, Randomness
from node.chain.chain import Block, Chain
from node.chain.contract import Contract, Sender, Sent
from node.chain.errors import ProtocolMismatch, Reverted
from node.chain.payment_channel import PaymentChannel
from protocol.channel.holds import find_hold, hold_proof
from protocol.channel.objects import ChannelKey, Hold, channel_id
from protocol.dispute.ballot import Quorum
from protocol.dispute.bond import bond_spend
from protocol.dispute.case import Round, Stage
from protocol.dispute.objects import Vote
from protocol.identity import ZERO_DIGEST, Address, ContentDigest, Digest
from protocol.market.objects import Award, Offer
from protocol.signing.ecdsa import Signature
from protocol.signing.eip712 import digest
from protocol.signing.keccak import keccak256
from protocol.signing.signed import Signed
from protocol.spending import Spend
from protocol.task.objects import Receipt
from protocol.units import Amount, Seconds

NO_VOTE: Final = Vote(finding=0, part=0, outcome=0, output=ContentDigest(ZERO_DIGEST), fuel=0, due=Amount(0))
"""What `close` is shown for a round without a majority."""
_NOT_NOW: Final = frozenset(("DrawTooEarly", "TooLate", "AlreadyDrawn", "NoOpenCase"))
"""Why a draw gives nobody yet, or any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CourtRules:
    """What the court's constructor fixed.

    Attributes:
        seat_stake: What a ticket costs, base units.
        least_fee, greatest_fee: Bounds of an award's `dispute_fee`, base units.
        min_resolve_within: Least `resolve_within` of one.
        max_time: Seconds that a case takes at most.
    """

    seat_stake: Amount
    least_fee: Amount
    greatest_fee: Amount
    min_resolve_within: Seconds
    max_time: Seconds


class Court(Contract):
    """The deployment's court. Unlike other contracts' views, those of a case are of the newest block: its times run on.

    Every sending method returns once its transaction is confirmed and raises `Reverted` if the contract refuses, most
    often before anything was sent. Each is done once however often it is asked for, also after a crash; a transaction
    that reverted may be asked for again.
    """

    def __init__(self, chain: Chain, sender: Sender | None = None) -> None:
        super().__init__(chain, load_artifact("DisputeArbiter").abi, chain.deployment.court, sender)
        self._bench = Bench(chain)
        self._channels = PaymentChannel(chain)
        self._randomness: Randomness | None = None

    async def rules(self) -> CourtRules:
        """Return the constants of the contract and of its bench."""
        least, greatest = await self._view("feeBounds", at=None)
        return CourtRules(
            seat_stake=await self._bench.seat_stake(),
            least_fee=Amount(cast("int", least)),
            greatest_fee=Amount(cast("int", greatest)),
            min_resolve_within=Seconds(await self._view_int("minResolveWithin", at=None)),
            max_time=Seconds(await self._view_int("maxTime", at=None)),
        )

    async def case_of(self, award: Digest, *, at: Block | None = None) -> Round:
        """Return the current round of a case, by default as of the newest block; its stage is NONE if there is none."""
        return await self._round("caseOf", award, at=at)

    async def past_of(self, award: Digest, number: int, *, at: Block | None = None) -> Round:
        """Return a round that was appealed."""
        return await self._round("pastOf", award, number, at=at)

    async def head_of(self, award: Digest, number: int, *, at: Block | None = None) -> Digest:
        """Return the digest that the contract keeps of a round's committee, and of its vote once a quorum decided."""
        (head,) = await self._view("headOf", award, number, at=at or await self._chain.head())
        return Digest(cast("bytes", head))

    async def drawn_now(self, award: Digest, current: Round) -> tuple[Address, ...] | None:
        """Return whom `draw` would seat now; None if it is too early or too late, or would ask for the draw anew."""
        data = self._abi.encode_call("draw", award, await self._header(current))
        try:
            answer = await self._chain.call(self._abi, self.address, data)
            (committee,) = self._abi.decode_result("draw", answer)
        except Reverted as error:
            if error.error in _NOT_NOW:
                return None
            raise
        except UndecodableLog as error:
            raise ProtocolMismatch(self._chain.rpc.url, str(error)) from error
        return cast("tuple[Address, ...]", committee) or None

    async def draw(self, award: Digest) -> Sent:
        """Draw the committee of the current round, or ask for the draw anew."""
        current = await self.case_of(award)
        header = await self._header(current)
        title = f"draw the committee of round {current.number + 1} of case {award.hex()[:12]}"
        return await self._once(title, current.draw_block, "draw", award, header)

    async def seal(self, award: Digest, committee: Sequence[Address], seat: int, seal: Digest) -> Sent:
        """Seal the sender's vote on the chain."""
        title = f"seal the vote of seat {seat} in case {award.hex()[:12]}"
        return await self._once(title, 0, "sealVote", award, list(committee), seat, seal)

    async def open_vote(
        self, award: Digest, committee: Sequence[Address], seat: int, vote: Vote, secret: Digest
    ) -> Sent:
        """Open the vote of a seat on the chain."""
        title = f"open the vote of seat {seat} in case {award.hex()[:12]}"
        return await self._once(title, 0, "openVote", award, list(committee), seat, vote, secret)

    async def settle(
        self, award: Digest, committee: Sequence[Address], quorum: Quorum, signatures: Sequence[Signature]
    ) -> Sent:
        """Decide the current round by a quorum; draws its committee if nobody has yet."""
        try:
            return await self._settle(award, committee, quorum, signatures)
        except Reverted as error:
            if error.error != "WrongCommittee":
                raise
            # Somebody drew it meanwhile: then it has to be named instead of drawn.
            return await self._settle(award, committee, quorum, signatures)

    async def open_on_escrow(self, award: Award, offer: Offer) -> Sent:
        """Open a case about the claim on an escrow. Needs an allowance for the court; the bond counts for the caps."""
        title = f"open a case about the claim of award {self._id(award).hex()[:12]}"
        return await self._once(title, 0, "open", award, offer, spend=self._bond(award, 0))

    async def open_on_channel(self, award: Award, offer: Offer, receipt: Signed[Receipt]) -> Sent:
        """Open a case about a receipt, likewise."""
        title = f"open a case about a receipt of award {self._id(award).hex()[:12]}"
        spend = self._bond(award, 0)
        return await self._once(title, 0, "openOnChannel", award, offer, receipt.value, receipt.signature, spend=spend)

    async def appeal(self, award: Award, offer: Offer, number: int) -> Sent:
        """Ask for round `number`, likewise. The contract takes it for the next round, so look before (`case_of`)."""
        title = f"ask for round {number + 1} of case {self._id(award).hex()[:12]}"
        return await self._once(title, number, "appeal", award, offer, spend=self._bond(award, number))

    async def close(self, award: Award, committees: Sequence[Sequence[Address]], votes: Sequence[Vote | None]) -> Sent:
        """Pay everybody, and move escrow and stake.

        Args:
            award: Of the case.
            committees: Of each round; empty for one that was not drawn.
            votes: What each round decided; None for one without a majority.
        """
        title = f"close case {self._id(award).hex()[:12]}"
        shown = [NO_VOTE if vote is None else vote for vote in votes]
        return await self._once(title, 0, "close", award, [list(seats) for seats in committees], shown)

    async def enforce(self, award: Award, vote: Vote, key: ChannelKey, holds: Sequence[Hold]) -> Sent:
        """Enforce a hold as the closed case decided; `holds` are those under the voucher that was presented last.

        Once for each presented voucher: after a newer one with the same holds the same call is another act (P8).

        Raises:
            HoldMissing: None of them is the award's.
        """
        identity = self._id(award)
        proof, hold = hold_proof(holds, identity), find_hold(holds, identity)
        assert hold is not None, "there is a proof of it"
        title = f"enforce the hold of award {identity.hex()[:12]} as its case decided"
        presented = (await self._channels.state_of(channel_id(key))).sequence
        return await self._once(title, presented, "enforce", award, vote, key, hold.amount, list(proof))

    async def _settle(
        self, award: Digest, committee: Sequence[Address], quorum: Quorum, signatures: Sequence[Signature]
    ) -> Sent:
        current = await self.case_of(award)
        is_drawn = current.stage is not Stage.DRAWING
        packed = (
            list(committee) if is_drawn else [],
            b"" if is_drawn else await self._header(current),
            quorum.seats,
            list(quorum.secrets),
            b"".join(signatures),
            list(quorum.others),
        )
        title = f"settle round {current.number + 1} of case {award.hex()[:12]}"
        return await self._once(title, 0, "settleByQuorum", award, quorum.vote, packed)

    async def _round(self, function: str, *arguments: object, at: Block | None) -> Round:
        values = await self._view_struct(Round, function, *arguments, at=at or await self._chain.head())
        return replace(values, stage=Stage(values.stage))

    async def _header(self, current: Round) -> bytes:
        """Return what a draw reads its number from: the header of its block; nothing if the hash will do."""
        if self._randomness is None:
            self._randomness = await self._bench.randomness()
        if self._randomness is Randomness.BLOCK_HASH:
            return b""
        # A block that isn't there yet makes the draw come too early, whatever it is shown.
        return await self._chain.find_header(current.draw_block) or b""

    async def _once(
        self, title: str, number: int, function: str, *arguments: object, spend: Spend | None = None
    ) -> Sent:
        """Send a call that is done for good once it succeeded; `number` tells equal calls apart that aren't one act."""
        data = self._abi.encode_call(function, *arguments)
        key = f"court {number} {keccak256(self.address + data).hex()}"
        return await self._send(title, function, *arguments, spend=spend, key=key)

    def _bond(self, award: Award, number: int) -> Spend:
        assert self._sender is not None
        return bond_spend(award, self._id(award), number, wallet=self._sender.address)

    def _id(self, award: Award) -> Digest:
        return digest(self._chain.deployment.market_domain, award)
