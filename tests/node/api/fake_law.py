"""What a fake node answers for: stake, opinions, disputes, and the bench."""

from dataclasses import dataclass, replace

from node.api.views import (
    AccusationView,
    AgentView,
    ArbiterReport,
    DisputeEnd,
    DisputeQuote,
    DisputeView,
    FeedbackView,
    OpinionView,
    ReputationReport,
    ScoreView,
    SheetView,
    SittingView,
    StakedAwardView,
    StakeReport,
    SummaryView,
)
from protocol.errors import ProtocolError
from protocol.identity import Address, Digest
from protocol.units import Amount, Seconds, UnixTime, format_amount
from tests.node.api.fake_task import ANN, BOB, NOW, OWN

STAKE = StakeReport(
    stake=Amount(5_000_000),
    locked=Amount(5_000_000),
    leaving=Amount(0),
    free=Amount(0),
    ready_at=None,
    cooldown=Seconds(5),
    freeable=Amount(0),
    awards=(
        StakedAwardView(
            award=Digest(b"\x05" * 32),
            role="provider",
            peer=ANN,
            lock="locked",
            liability=Amount(5_000_000),
            until=UnixTime(NOW + 60),
            bonus=Amount(1_250_000),
            freeable=Amount(0),
        ),
    ),
)


DISPUTE = DisputeView(
    award=Digest(b"\x07" * 32),
    role="requester",
    peer=BOB,
    state="open",
    opened_by_us=True,
    ordered=False,
    part=3,
    round=1,
    stage="appeal",
    seats=11,
    votes=7,
    deadline=UnixTime(NOW + 60),
    finding="wrong result",
    due=Amount(1_500_000),
    claimed=Amount(1_900_000),
    price=Amount(2_000_000),
    liability=Amount(400_000),
    fee=Amount(250_000),
    bonds=Amount(800_000),
    reason="the receipt for part 3 states another output",
    next="the other side may appeal; else the case is closed",
    next_by=UnixTime(NOW + 60),
    problem="the cap per day is reached",
)


QUOTE = DisputeQuote(
    award=Digest(b"\x08" * 32),
    role="requester",
    peer=BOB,
    rail="escrow",
    round=0,
    seats=5,
    part=3,
    claimed=Amount(1_500_000),
    bond=Amount(250_000),
    until=UnixTime(NOW + 60),
    liability=Amount(400_000),
    expected="wrong result",
    found="this node ran it itself: wrong result",
    warning="",
    notes=("that is more than your node puts down by itself (disputes.max_bond, 0.10)",),
    otherwise=DisputeEnd(finding="", to_provider=Amount(1_500_000), from_stake=Amount(0), own=-1_500_000),
    ends=(
        DisputeEnd(finding="upheld", to_provider=Amount(1_500_000), from_stake=Amount(0), own=-1_750_000),
        DisputeEnd(finding="wrong result", to_provider=Amount(0), from_stake=Amount(400_000), own=150_000),
    ),
)
"""Of a case that can be opened. One about award 0x09... can be opened too, to no gain."""


BENCH = ArbiterReport(
    enabled=False,
    court=BOB,
    seat_stake=Amount(4_000_000),
    tickets=0,
    leaving=0,
    ready_at=None,
    seats=0,
    serving_until=None,
    balance=Amount(1_000_000),
    collectable=Amount(1_000_000),
    cooldown=Seconds(5),
    cases=7,
    sittings=(
        SittingView(award=DISPUTE.award, round=0, part=3, seats=0, vote="", vote_by=None),
        SittingView(award=DISPUTE.award, round=1, part=3, seats=2, vote="wrong result", vote_by=UnixTime(NOW + 60)),
    ),
)


SHEET = SheetView(epoch=UnixTime(NOW), scores=1, root=Digest(b"\x07" * 32), block=42)


FEEDBACK = FeedbackView(
    award=Digest(b"\x05" * 32),
    provider=ANN,
    parts=4,
    paid_parts=3,
    due=Amount(15_000_000),
    ended_at=UnixTime(NOW),
    fate="written",
    reason="",
    agent="22",
    index=1,
    transaction=Digest(b"\x06" * 32),
)


REPUTATION = ReputationReport(
    publisher=OWN,
    anchors=False,
    epoch_s=86_400,
    sheets=(),
    opinions=(OpinionView(provider=ANN, reputation=8_400, settled=10, failed=0, silent=0, refuted=0),),
)


@dataclass
class FakeLaw:
    """See `NodeFacade`."""

    stake: StakeReport = STAKE
    reputation: ReputationReport = REPUTATION
    bench: ArbiterReport = BENCH
    disputes: tuple[DisputeView, ...] = (DISPUTE,)

    async def dispute_list(self) -> tuple[DisputeView, ...]:
        return self.disputes

    async def dispute_show(self, award: str) -> DisputeView:
        for each in self.disputes:
            if each.award.hex().startswith(award):
                return each
        raise ProtocolError(f"no case is about {award}")

    async def dispute_open_quote(self, award: str, *, look: bool) -> DisputeQuote:
        if not look:
            return replace(
                await self.dispute_open_quote(award, look=True), found="this node has not run the part itself"
            )
        if award.startswith("09"):
            return replace(QUOTE, award=Digest(b"\x09" * 32), expected="upheld", warning="the bond would be lost")
        if not QUOTE.award.hex().startswith(award):
            raise ProtocolError(
                f"this node made and won no award that begins with {award!r}", advice="see `stoa escrows`"
            )
        return QUOTE

    async def dispute_open(self, award: str, bond: Amount, *, anyway: bool) -> DisputeView:
        quote = await self.dispute_open_quote(award, look=not anyway)
        if quote.bond > bond or (quote.warning and not anyway):
            raise ProtocolError("this was not agreed to")
        opened = replace(DISPUTE, award=quote.award, bonds=bond, round=0, stage="drawing", seats=5, votes=0, problem="")
        self.disputes = (*self.disputes, opened)
        return opened

    async def dispute_appeal_quote(self, award: str) -> DisputeQuote:
        shown = await self.dispute_show(award)
        return replace(QUOTE, award=shown.award, round=2, seats=23, bond=Amount(1_150_000))

    async def dispute_appeal(self, award: str, bond: Amount, *, anyway: bool) -> DisputeView:
        quote = await self.dispute_appeal_quote(award)
        if quote.bond > bond:
            raise ProtocolError("this was not agreed to")
        shown = await self.dispute_show(award)
        self.disputes = (replace(shown, round=2, bonds=Amount(shown.bonds + bond)),)
        return self.disputes[0]

    async def auction_accuse(self, auction: str) -> tuple[AccusationView, ...]:
        if auction != "c0ffee":
            return ()
        return (
            AccusationView(culprit=ANN, taken=Amount(8_000_000), bounty=Amount(4_000_000), problem=""),
            AccusationView(culprit=BOB, taken=Amount(0), bounty=Amount(0), problem="NothingToSlash"),
        )

    async def stake_show(self) -> StakeReport:
        return self.stake

    async def stake_add(self, amount: Amount) -> StakeReport:
        self.stake = replace(self.stake, stake=Amount(self.stake.stake + amount), free=Amount(self.stake.free + amount))
        return self.stake

    async def stake_withdraw(self, amount: Amount) -> StakeReport:
        if amount > self.stake.free:
            raise ProtocolError(f"only {format_amount(self.stake.free)} is free")
        left = Amount(self.stake.free - amount)
        self.stake = replace(self.stake, free=left, leaving=amount, ready_at=UnixTime(NOW + 5))
        return self.stake

    async def stake_collect(self) -> StakeReport:
        gone = self.stake.leaving
        self.stake = replace(self.stake, stake=Amount(self.stake.stake - gone), leaving=Amount(0), ready_at=None)
        return self.stake

    async def arbiter_show(self) -> ArbiterReport:
        return self.bench

    async def arbiter_enlist(self, count: int) -> ArbiterReport:
        bench = self.bench
        balance = Amount(bench.balance + count * bench.seat_stake)
        self.bench = replace(bench, tickets=bench.tickets + count, balance=balance)
        return self.bench

    async def arbiter_resign(self, count: int | None) -> ArbiterReport:
        wanted = self.bench.tickets if count is None else count
        if wanted > self.bench.tickets:
            raise ProtocolError(f"this wallet has {self.bench.tickets}")
        self.bench = replace(
            self.bench, tickets=self.bench.tickets - wanted, leaving=wanted, ready_at=UnixTime(NOW + 5)
        )
        return self.bench

    async def arbiter_collect(self) -> ArbiterReport:
        left = Amount(self.bench.balance - self.bench.collectable)
        self.bench = replace(self.bench, balance=left, collectable=Amount(0))
        return self.bench

    async def stake_free(self) -> StakeReport:
        self.stake = replace(self.stake, locked=Amount(0), free=Amount(self.stake.free + self.stake.locked), awards=())
        return self.stake

    async def reputation_show(self, limit: int) -> ReputationReport:
        return replace(self.reputation, opinions=self.reputation.opinions[:limit])

    async def reputation_anchor(self) -> SheetView:
        if self.reputation.sheets:
            raise ProtocolError("this epoch has its root already", advice="an epoch takes one")
        self.reputation = replace(self.reputation, sheets=(SHEET,))
        return SHEET

    async def reputation_prove(self, publisher: Address | None, subject: Address, epoch: int) -> ScoreView:
        if subject not in [each.provider for each in self.reputation.opinions] or epoch not in (0, SHEET.epoch):
            raise ProtocolError("no score of it is in that sheet")
        return ScoreView(
            publisher=publisher or OWN, epoch=SHEET.epoch, subject=subject, score=8_400, siblings=(Digest(bytes(32)),)
        )

    async def feedback_list(self, limit: int) -> tuple[FeedbackView, ...]:
        return (FEEDBACK,)[:limit]

    async def feedback_agent(self, agent: str) -> AgentView:
        if agent != "22":
            raise ProtocolError(f"{agent!r} is no agent", advice="give its number, or the wallet of its node")
        mean = SummaryView(whose="this wallet", clients=1, count=2, value="75.00")
        return AgentView(agent=agent, registry=BOB, summaries=(mean,))
