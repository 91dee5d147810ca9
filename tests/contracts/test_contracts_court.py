"""The court: one case from deposit to the last cent, with the protocol's own votes. docs/spec/law.md, sections 2 and 3.

Every rule and every deadline is under forge (Court*.t.sol, Bench.t.sol); here Python and Solidity have to agree.
"""

from dataclasses import dataclass
from typing import Any

import pytest
from contracts_desk import DOLLAR, RESOLVE_WITHIN, Desk, Party, reverts, words

from protocol.dispute.ballot import Ballot, Quorum, find_quorum, seal_of, seals_digest, vote_hash
from protocol.dispute.objects import Finding, Opening, Vote
from protocol.dispute.schedule import schedule_of
from protocol.identity import Address, ContentDigest, Digest, parse_address
from protocol.market.objects import Award, Offer
from protocol.signing.eip712 import Domain, digest
from protocol.signing.keccak import keccak256
from protocol.signing.signed import sign_struct
from protocol.units import Amount, BasisPoints, Seconds, UnixTime

PRICE = 25 * DOLLAR
FEE = 5 * DOLLAR
LIABILITY = 40 * DOLLAR
SEAT_STAKE = 4 * DOLLAR
BOUNTY = 2 * DOLLAR
ENGINE = Digest(keccak256(b"engine"))
POOL = "0x00000000000000000000000000000000000900D1"
DRAWING, VOTING, AGREED = 1, 2, 4


@dataclass(kw_only=True)
class Court:
    """The desk, a court, and arbiters that have bought a ticket each."""

    desk: Desk
    court: Any
    bench: Any
    reputation: Any
    arbiters: dict[Address, Party]
    offer: Offer

    @property
    def domain(self) -> Domain:
        return Domain(chain_id=self.desk.chain.chain_id, verifying_contract=parse_address(self.court.address))

    def claimed(self) -> Award:
        """An award that names this court, with its liability locked, funded and claimed to the full."""
        award = self.desk.award(
            offer=digest(self.desk.market, self.offer),
            arbiter=parse_address(self.court.address),
            liability=Amount(LIABILITY),
            dispute_fee=Amount(FEE),
        )
        provider = self.desk.provider.account
        self.reputation.lock(words(award), words(self.desk.start(award)), b"", sender=provider)
        self.desk.fund(award)
        self.desk.claim_escrow(award, 3, PRICE)
        return award

    def drawn(self, award_id: Digest) -> list[Address]:
        """Wait for the number and tell who will sit; nothing is sent."""
        self.desk.chain.mine(3)
        return [parse_address(seat) for seat in self.court.draw.call(award_id, b"")]

    def signatures(self, award_id: Digest, committee: list[Address], quorum: Quorum, seals: dict[int, Digest]) -> bytes:
        everybody = [seals.get(seat, Digest(bytes(32))) for seat in range(len(committee))]
        opening = Opening(award=award_id, round=0, vote=vote_hash(quorum.vote), seals=seals_digest(everybody))
        return b"".join(
            sign_struct(self.arbiters[arbiter].key, self.domain, opening).signature
            for seat, arbiter in enumerate(committee)
            if quorum.seats >> seat & 1
        )

    def money(self) -> dict[str, int]:
        held = self.desk.balances()
        held.pop("escrow")
        held["pool"] = self.desk.token.balanceOf(POOL)
        held["stake"] = self.reputation.accountOf(self.desk.provider.account).stake
        held["bench"] = self.desk.token.balanceOf(self.bench)
        return held


@pytest.fixture
def court(desk: Desk, compiled: Any, accounts: Any) -> Court:
    deployer = desk.guardian.account
    reputation = deployer.deploy(compiled.Reputation, desk.escrow, desk.token, POOL, 5000, BOUNTY, deployer)
    contract = deployer.deploy(
        compiled.DisputeArbiter,
        (desk.escrow, desk.channels, reputation, desk.token, POOL),
        (SEAT_STAKE, DOLLAR, 5000, 60, RESOLVE_WITHIN, 0),
        deployer,
    )
    bench = compiled.Bench.at(contract.bench())
    arbiters = [Party(account=account, key=bytes.fromhex(account.private_key[2:])) for account in accounts[5:10]]
    for party, spender in [(desk.requester, contract), (desk.provider, reputation), *((a, bench) for a in arbiters)]:
        desk.token.mint(party.account, 100 * DOLLAR, sender=party.account)
        desk.token.approve(spender, 2**256 - 1, sender=party.account)
    for arbiter in arbiters:
        bench.enlist(ENGINE, 3, [], sender=arbiter.account)
    reputation.stake(desk.provider.account, LIABILITY, sender=desk.provider.account)
    return Court(
        desk=desk,
        court=contract,
        bench=bench,
        reputation=reputation,
        arbiters={arbiter.raw: arbiter for arbiter in arbiters},
        offer=offer_of(desk),
    )


def offer_of(desk: Desk) -> Offer:
    zero = Digest(bytes(32))
    return Offer(
        requester=desk.requester.raw,
        token=parse_address(desk.token.address),
        rail=parse_address(desk.escrow.address),
        arbiter=desk.arbiter.raw,
        manifest=ContentDigest(zero),
        engine=ENGINE,
        rates=zero,
        verification=zero,
        format=0,
        parts=4,
        copies=1,
        w_price=BasisPoints(5000),
        w_reputation=BasisPoints(3000),
        w_speed=BasisPoints(2000),
        max_bidders=16,
        split_bps=BasisPoints(5000),
        budget=Amount(PRICE),
        bond=Amount(0),
        min_stake=Amount(0),
        liability=Amount(LIABILITY),
        dispute_fee=Amount(FEE),
        max_eta=Seconds(60),
        start_within=Seconds(30),
        pace=Seconds(60),
        resolve_within=Seconds(RESOLVE_WITHIN),
        commit_by=UnixTime(1),
        reveal_by=UnixTime(2),
        expires=UnixTime(3),
        salt=zero,
    )


def vote_of(finding: Finding, due: int) -> Vote:
    output = ContentDigest(keccak256(b"what five arbiters found"))
    return Vote(finding=finding, part=3, outcome=0, output=output, fuel=12, due=Amount(due))


def test_votes_seals_and_times_are_the_contracts_own(court: Court) -> None:
    vote, secret = vote_of(Finding.OVERBILLED, 7), Digest(keccak256(b"secret"))
    (arbiter, *_) = court.arbiters
    assert court.court.sealOf(vote_hash(vote), arbiter, secret) == seal_of(vote_hash(vote), arbiter, secret)

    award = court.claimed()
    court.court.open(words(award), words(court.offer), sender=court.desk.requester.account)
    award_id = court.desk.award_id(award)
    case = court.court.caseOf(award_id)
    times = schedule_of(0, case.began, case.time)
    court.drawn(award_id)
    court.desk.wait_until(times.draw_by)
    court.court.draw(award_id, b"", sender=court.desk.stranger.account)
    assert court.court.caseOf(award_id).stage == VOTING
    court.desk.wait_until(times.appeal_by)
    with reverts(court.court.TooEarly):
        court.court.close(words(award), [[]], [words(vote)], sender=court.desk.stranger.account)


def test_a_cheat_is_slashed_and_its_requester_refunded_by_three_honest_arbiters_of_five(court: Court) -> None:
    desk = court.desk
    before = court.money()
    award = court.claimed()
    award_id = desk.award_id(award)
    court.court.open(words(award), words(court.offer), sender=desk.requester.account)
    assert court.court.caseOf(award_id).stage == DRAWING
    committee = court.drawn(award_id)
    assert len(committee) == 5

    truth, lie = vote_of(Finding.WRONG_RESULT, 0), vote_of(Finding.UPHELD, PRICE)
    ballots = {
        seat: Ballot(vote=truth if seat < 3 else lie, secret=Digest(keccak256(b"%d" % seat))) for seat in range(5)
    }
    seals = {seat: seal_of(vote_hash(one.vote), committee[seat], one.secret) for seat, one in ballots.items()}
    quorum = find_quorum(committee, seals, ballots)
    assert quorum is not None
    assert quorum.vote == truth
    signatures = court.signatures(award_id, committee, quorum, seals)
    packed: tuple[Any, ...] = ([], b"", quorum.seats, quorum.secrets, signatures, quorum.others)
    court.court.settleByQuorum(award_id, words(truth), packed, sender=desk.stranger.account)
    case = court.court.caseOf(award_id)
    assert case.stage == AGREED
    desk.wait_until(case.began + case.endedAfter - 1 + RESOLVE_WITHIN // 12 + 1)
    court.court.close(words(award), [committee], [words(truth)], sender=desk.stranger.account)

    assert desk.state(award) == "Judged"
    change = {name: after - before[name] for name, after in court.money().items()}
    penalty = LIABILITY - FEE - BOUNTY
    assert change == {
        "requester": BOUNTY,
        "provider": 0,
        "arbiter": 0,
        "guardian": 0,
        "stranger": 0,
        "channels": 0,
        "pool": penalty + 2 * FEE // 5,
        "stake": -LIABILITY,
        "bench": 3 * FEE // 5,
    }
    assert sum(change.values()) == 0
