"""An escrow contract with state, as contracts/Escrow.sol has it, one award, and the keys of its parties."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from protocol.escrow.record import (
    BlockSeen,
    ChainEvent,
    ClaimAcceptedConfirmed,
    ClaimConfirmed,
    CloseConfirmed,
    DisputeConfirmed,
    FundConfirmed,
    Outcome,
    RecallConfirmed,
    ReleaseConfirmed,
    StartConfirmed,
    escrow_terms,
)
from protocol.identity import ZERO_DIGEST, ContentDigest
from protocol.market.objects import Award
from protocol.signing.ecdsa import address_of
from protocol.signing.eip712 import Domain, digest
from protocol.signing.signed import Signed, sign_struct
from protocol.task.objects import Acceptance, Receipt, Start
from protocol.units import Amount, BasisPoints, Seconds, UnixTime

REQUESTER, PROVIDER, ARBITER = (bytes([n]) * 32 for n in (1, 2, 3))
DOMAIN = Domain(chain_id=31337, verifying_contract=address_of(ARBITER))
PARTS = 3
AWARD = Award(
    offer=ZERO_DIGEST,
    roll=ZERO_DIGEST,
    bids=ZERO_DIGEST,
    requester=address_of(REQUESTER),
    provider=address_of(PROVIDER),
    token=address_of(ARBITER),
    rail=DOMAIN.verifying_contract,
    channel=ZERO_DIGEST,
    arbiter=address_of(ARBITER),
    slot=0,
    attempt=0,
    first_part=2,
    parts=PARTS,
    price=Amount(90),
    liability=Amount(0),
    dispute_fee=Amount(7),
    split_bps=BasisPoints(3333),
    start_by=UnixTime(1100),
    deliver_by=UnixTime(1200),
    pace=Seconds(50),
    resolve_within=Seconds(60),
    audit_seal=ZERO_DIGEST,
)
TERMS = escrow_terms(AWARD, digest(DOMAIN, AWARD))


def start(at: int = 1000) -> Signed[Start]:
    return sign_struct(PROVIDER, DOMAIN, Start(award=TERMS.award_id, at=UnixTime(at)))


def receipt(part: int, due: int) -> Signed[Receipt]:
    content = ContentDigest(bytes(32))
    value = Receipt(
        award=TERMS.award_id,
        part=part,
        outcome=0,
        output=content,
        logs=content,
        fuel=1,
        peak_mib=1,
        bytes_in=0,
        bytes_out=0,
        due=Amount(due),
        notes=content,
    )
    return sign_struct(PROVIDER, DOMAIN, value)


def acceptance(part: int, due: int) -> Signed[Acceptance]:
    value = Acceptance(award=TERMS.award_id, part=part, receipt=ZERO_DIGEST, due=Amount(due))
    return sign_struct(REQUESTER, DOMAIN, value)


class Reverted(Exception):
    """The contract said no."""


def need(condition: Any) -> None:
    if not condition:
        raise Reverted


@dataclass
class FakeEscrow:
    """The contract's record of the one award; `tell` hands each confirmed event to both sides."""

    tell: Callable[[ChainEvent | BlockSeen], None]
    now: int = 1000
    state: str = "none"
    locked: int = 0
    paid: int = 0
    time: int = 0
    claimed: int = 0
    to_provider: int = 0
    to_requester: int = 0
    to_arbiter: int = 0
    outcome: Outcome | None = None

    def advance(self, seconds: int) -> None:
        self.now += seconds
        self.tell(BlockSeen(time=UnixTime(self.now)))

    def fund(self) -> None:
        need(self.state == "none" and self.now <= AWARD.start_by)
        self.state, self.locked = "funded", AWARD.price + AWARD.dispute_fee
        self.tell(FundConfirmed(amount=Amount(self.locked)))

    def release(self, signed: Signed[Acceptance], *, by_provider: bool) -> None:
        need(self.state not in ("none", "closed"))
        due, last = signed.value.due, signed.value.part == TERMS.last_part
        payment = max(0, due - self.paid)
        closing = (by_provider or due == AWARD.price) and self.state != "disputed" and last
        need(payment or closing)
        self.paid += payment
        if closing:
            self._close(Outcome.ACCEPTED, self.paid)
            return
        self.tell(ReleaseConfirmed(part=signed.value.part, paid=Amount(self.paid)))
        if self.state == "claimed" and due >= self.claimed:
            self.state = "started"
            self.tell(ClaimAcceptedConfirmed())
        elif self.state in ("funded", "recalled"):
            self.state = "started"

    def recall(self) -> None:
        need(self.state == "funded" and self.now > AWARD.start_by)
        self.state, self.time = "recalled", self.now + AWARD.pace
        self.tell(RecallConfirmed(start_proof_by=UnixTime(self.time)))

    def prove_start(self, signed: Signed[Start]) -> None:
        need(self.state == "funded" or (self.state == "recalled" and self.now <= self.time))
        need(signed.value.at <= AWARD.start_by)
        self.state = "started"
        self.tell(StartConfirmed())

    def claim(self, signed: Signed[Start], asked: Signed[Receipt]) -> None:
        need(self.state in ("funded", "started") or (self.state == "recalled" and self.now <= self.time))
        need(self.now <= TERMS.deadlines.claim_by and signed.value.at <= AWARD.start_by)
        need(self.paid < asked.value.due <= AWARD.price)
        self.state, self.time, self.claimed = "claimed", self.now + AWARD.pace, asked.value.due
        self.tell(
            ClaimConfirmed(
                part=asked.value.part,
                due=asked.value.due,
                receipt=digest(DOMAIN, asked.value),
                dispute_by=UnixTime(self.time),
            )
        )

    def pay_claim(self) -> None:
        need(self.state == "claimed" and self.now > self.time)
        self._close(Outcome.PAID, max(self.claimed, self.paid))

    def refund(self) -> None:
        need(self.state in ("funded", "started", "recalled"))
        by = TERMS.deadlines.claim_by
        need(self.now > (min(self.time, by) if self.state == "recalled" else by))
        self._close(Outcome.REFUNDED, self.paid)

    def dispute(self) -> None:
        need(self.state == "claimed" and self.now <= self.time)
        self.state, self.time = "disputed", self.now + AWARD.resolve_within
        self.tell(DisputeConfirmed(opener=AWARD.requester, resolve_by=UnixTime(self.time)))

    def judge(self, due: int, *, requester_lost: bool) -> None:
        need(self.state == "disputed" and self.now <= self.time)
        due = max(min(due, max(self.claimed, self.paid)), self.paid)
        self._close(Outcome.JUDGED, due, AWARD.dispute_fee if requester_lost else 0)

    def split(self) -> None:
        need(self.state == "disputed" and self.now > self.time)
        rest = max(self.claimed, self.paid) - self.paid
        self._close(Outcome.SPLIT, self.paid + rest * AWARD.split_bps // 10_000)

    def _close(self, outcome: Outcome, due: int, to_arbiter: int = 0) -> None:
        self.state, self.outcome, self.to_provider, self.to_arbiter = "closed", outcome, due, to_arbiter
        self.to_requester = self.locked - due - to_arbiter
        self.paid = due
        self.tell(
            CloseConfirmed(
                outcome=outcome,
                to_provider=Amount(due),
                to_requester=Amount(self.to_requester),
                to_arbiter=Amount(to_arbiter),
            )
        )
