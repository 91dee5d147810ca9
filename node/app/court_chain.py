"""The arbitration room's `Courthouse` over `node/chain` (docs/adr/1608)."""

from collections.abc import Sequence
from typing import Final

import structlog

from node.app.contract_chain import read_place, write_place
from node.arbitration.ports import CourtTerms, Delivery, Mark, PastRound, Rewound, Told
from node.chain.chain import Block, Chain
from node.chain.contract import Sent
from node.chain.court import Court, CourtRules
from node.chain.event_index import EventIndex
from node.chain.event_subscription import BlockConfirmed, BlocksReverted, IndexedEvent, Subscription
from node.chain.events import decode_log
from node.chain.gateway import Gateway
from node.chain.opening import CheckedBefore
from node.chain.token import Token
from protocol.channel.objects import ChannelKey, Hold
from protocol.dispute.ballot import Quorum, agreed_hash, committee_hash, vote_hash
from protocol.dispute.bond import bond_of
from protocol.dispute.case import (
    Appealed,
    CaseClosed,
    CaseFact,
    CaseOpened,
    CommitteeDrawn,
    Round,
    RoundDecided,
    Stage,
    VoteOpened,
    VoteSealed,
)
from protocol.dispute.objects import Vote
from protocol.errors import ChainRejected, TransientError
from protocol.identity import Address, Digest, format_address
from protocol.market.objects import Award, Offer
from protocol.signing.ecdsa import Signature
from protocol.signing.eip712 import Domain, digest
from protocol.signing.signed import Signed
from protocol.task.objects import Receipt
from protocol.units import UnixTime
from protocol.wire.codec import decode, encode

RULES_BYTES: Final = 256
_CASE_FACTS: Final = (CaseOpened, CommitteeDrawn, VoteSealed, VoteOpened, RoundDecided, Appealed, CaseClosed)

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


class CaseUnclear(TransientError):
    """The events of a case and its state don't fit: the chain moved while they were read, or its node lags behind."""

    def __init__(self, award: Digest) -> None:
        super().__init__(f"case {award.hex()} is told in two ways at once; ask again when the chain has settled")


class RoundAsked(ChainRejected):
    """The other side has asked for this round; an appeal now would be one of the round after it."""

    def __init__(self, number: int, appellant: Address) -> None:
        super().__init__(f"round {number + 1} of this case was asked for by {format_address(appellant)} already")


class ContractCourt:
    """The court's contract and the event index in one hand, for one wallet."""

    def __init__(
        self,
        chain: Chain,
        index: EventIndex,
        token: Token,
        court: Court,
        wallet: Address,
        notes: CheckedBefore | None = None,
    ) -> None:
        """Take the parts; `notes` remember the contract's constants for a start without the chain."""
        self._chain, self._index, self._token, self._court = chain, index, token, court
        self._wallet, self._notes = wallet, notes

    @property
    def address(self) -> Address:
        """See `Courthouse`."""
        return self._court.address

    @property
    def domain(self) -> Domain:
        """See `Courthouse`."""
        return self._chain.deployment.court_domain

    @property
    def market_domain(self) -> Domain:
        """See `Courthouse`."""
        return self._chain.deployment.market_domain

    async def terms(self) -> CourtTerms:
        """Return what the court asks for. It can't change: while the chain is away, what it told before is as good.

        Raises:
            TransientError: The chain can't be reached, and never could.
        """
        rules = await self._rules()
        return CourtTerms(
            seat_stake=rules.seat_stake,
            least_fee=rules.least_fee,
            greatest_fee=rules.greatest_fee,
            min_resolve_within=rules.min_resolve_within,
            max_time=rules.max_time,
        )

    def subscribe(self, place: bytes | None) -> "ContractCaseFacts":
        """See `Courthouse`."""
        return ContractCaseFacts(self._index.subscribe(read_place(place)))

    async def now(self) -> UnixTime:
        """See `Courthouse`."""
        return (await self._chain.head()).time

    async def round_of(self, award: Digest) -> Round:
        """See `Courthouse`."""
        return await self._court.case_of(award)

    async def committee_of(self, award: Digest) -> tuple[Address, ...] | None:
        """See `Courthouse`."""
        head = await self._chain.head()
        current = await self._court.case_of(award, at=head)
        if current.stage is Stage.NONE:
            return None
        if current.stage is Stage.DRAWING:
            return await self._court.drawn_now(award, current)
        facts = await self._facts(award, since=current.draw_block, head=head)
        return (await self._past(award, current, facts, head)).committee

    async def opening_of(self, award: Digest) -> CaseOpened | None:
        """See `Courthouse`. All that the court ever told is read through, which only an appeal asks for."""
        head = await self._chain.head()
        told = await self._facts(award, since=self._chain.deployment.block, head=head)
        return next((fact for fact in reversed(told) if isinstance(fact, CaseOpened)), None)

    async def seals_of(self, award: Digest) -> dict[int, Digest]:
        """See `Courthouse`."""
        head = await self._chain.head()
        current = await self._court.case_of(award, at=head)
        if not current.sealed_seats:
            return {}
        facts = await self._facts(award, since=current.draw_block, head=head)
        seals = {
            fact.seat: fact.seal for fact in facts if isinstance(fact, VoteSealed) and fact.round == current.number
        }
        if sum(1 << seat for seat in seals) != current.sealed_seats:
            raise CaseUnclear(award)
        return seals

    async def history_of(self, award: Digest) -> tuple[PastRound, ...]:
        """See `Courthouse`."""
        head = await self._chain.head()
        current = await self._court.case_of(award, at=head)
        if current.stage is Stage.NONE:
            return ()
        rounds = [await self._court.past_of(award, number, at=head) for number in range(current.number)]
        rounds.append(current)
        facts = await self._facts(award, since=rounds[0].draw_block, head=head)
        return tuple([await self._past(award, each, facts, head) for each in rounds])

    async def draw(self, award: Digest) -> int:
        """See `Courthouse`."""
        return _block(await self._court.draw(award))

    async def seal(self, award: Digest, committee: Sequence[Address], seat: int, seal: Digest) -> int:
        """See `Courthouse`."""
        return _block(await self._court.seal(award, committee, seat, seal))

    async def open_vote(
        self, award: Digest, committee: Sequence[Address], seat: int, vote: Vote, secret: Digest
    ) -> int:
        """See `Courthouse`."""
        return _block(await self._court.open_vote(award, committee, seat, vote, secret))

    async def settle(
        self, award: Digest, committee: Sequence[Address], quorum: Quorum, signatures: Sequence[Signature]
    ) -> int:
        """See `Courthouse`."""
        return _block(await self._court.settle(award, committee, quorum, signatures))

    async def open_on_escrow(self, award: Award, offer: Offer) -> int:
        """See `Courthouse`."""
        await self._allow(award, 0)
        return _block(await self._court.open_on_escrow(award, offer))

    async def open_on_channel(self, award: Award, offer: Offer, receipt: Signed[Receipt]) -> int:
        """See `Courthouse`."""
        await self._allow(award, 0)
        return _block(await self._court.open_on_channel(award, offer, receipt))

    async def appeal(self, award: Award, offer: Offer, number: int) -> int:
        """See `Courthouse`.

        Raises:
            RoundAsked: The other side was first; its bond pays the round.
        """
        identity = digest(self.market_domain, award)
        head = await self._chain.head()
        current = await self._court.case_of(identity, at=head)
        if current.number >= number:
            return await self._asked_before(identity, number, head)
        await self._allow(award, number)
        return _block(await self._court.appeal(award, offer, number))

    async def close(self, award: Award, rounds: Sequence[PastRound]) -> int:
        """See `Courthouse`."""
        committees, votes = [each.committee for each in rounds], [each.vote for each in rounds]
        return _block(await self._court.close(award, committees, votes))

    async def enforce(self, award: Award, vote: Vote, key: ChannelKey, holds: Sequence[Hold]) -> int:
        """See `Courthouse`."""
        return _block(await self._court.enforce(award, vote, key, holds))

    async def _rules(self) -> CourtRules:
        name = f"court.rules/{self.address.hex()}"
        try:
            rules = await self._court.rules()
        except TransientError as error:
            known = await self._notes.get(name) if self._notes is not None else None
            if known is None:
                raise
            log.warning("court.rules_from_before", reason=str(error))
            return decode(CourtRules, known, max_bytes=RULES_BYTES)
        if self._notes is not None:
            await self._notes.set(name, encode(rules))
        return rules

    async def _allow(self, award: Award, number: int) -> None:
        await self._token.ensure_allowance(self.address, bond_of(award.dispute_fee, number))

    async def _asked_before(self, award: Digest, number: int, head: Block) -> int:
        """Return the confirmed block in which this wallet asked for a round that has begun: a call made again."""
        first = await self._court.past_of(award, 0, at=head)
        for block, fact in await self._dated_facts(award, since=first.draw_block, head=head):
            if isinstance(fact, Appealed) and fact.round == number:
                if fact.appellant != self._wallet:
                    raise RoundAsked(number, fact.appellant)
                await self._index.wait_for(block)
                return block
        raise CaseUnclear(award)

    async def _past(self, award: Digest, round_: Round, facts: Sequence[CaseFact], head: Block) -> PastRound:
        """Return what became of a round, checked against the digest that the contract keeps of it.

        Raises:
            CaseUnclear: It isn't that.
        """
        drawn = [fact.committee for fact in facts if isinstance(fact, CommitteeDrawn) and fact.round == round_.number]
        decided = [fact.vote for fact in facts if isinstance(fact, RoundDecided) and fact.round == round_.number]
        past = PastRound(committee=drawn[-1] if drawn else (), vote=decided[-1] if decided else None)
        if round_.stage is Stage.DRAWING or (round_.stage is Stage.CLOSED and not drawn):
            if past.committee:
                raise CaseUnclear(award)
            return past
        committee = committee_hash(past.committee)
        expected = {committee} if past.vote is None else {committee, agreed_hash(committee, vote_hash(past.vote))}
        has_vote = round_.stage in (Stage.DECIDED, Stage.AGREED)
        fits = round_.stage is Stage.CLOSED or has_vote == (past.vote is not None)
        if not fits or await self._court.head_of(award, round_.number, at=head) not in expected:
            raise CaseUnclear(award)
        return past

    async def _facts(self, award: Digest, *, since: int, head: Block) -> tuple[CaseFact, ...]:
        return tuple([fact for _, fact in await self._dated_facts(award, since=since, head=head)])

    async def _dated_facts(self, award: Digest, *, since: int, head: Block) -> list[tuple[int, CaseFact]]:
        """Return what the court told of a case from block `since` to `head`: by the index, beyond it by the chain."""
        last = self._index.last
        known = since - 1 if last is None else min(last.number, head.number)
        logs = await self._index.store.logs_of(self.address, since, known)
        if known < head.number:
            logs += await self._chain.logs((self.address,), max(known + 1, since), head.number)
        told = [(each.block, decode_log(self._chain.deployment, each)) for each in logs]
        return [(block, fact) for block, fact in told if isinstance(fact, _CASE_FACTS) and fact.award == award]


class ContractCaseFacts:
    """A subscription of the event index, in the words of a case."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    async def receive(self) -> Delivery:
        """See `CaseFacts`."""
        while True:
            match await self._subscription.receive():
                case IndexedEvent(event=event, position=position):
                    if isinstance(event, _CASE_FACTS):
                        return Told(fact=event, block=position.block)
                case BlockConfirmed(number=number, time=time, position=position):
                    return Mark(number=number, time=time, place=write_place(position))
                case BlocksReverted(to=to, position=position):
                    return Rewound(to=to, place=write_place(position))


def _block(sent: Sent) -> int:
    return sent.receipt.block


def contract_court(
    chain: Chain, index: EventIndex, gateway: Gateway, wallet: Address, notes: CheckedBefore | None
) -> ContractCourt | None:
    """Return the court of the deployment for a wallet; None on a network without."""
    if gateway.court is None:
        return None
    return ContractCourt(chain, index, gateway.token, gateway.court, wallet, notes)
