"""Each order of requester and provider at the last second that it counts, and each refusal."""

from dataclasses import replace
from typing import Any

import pytest

from protocol.escrow import provider as provider_side
from protocol.escrow import requester as requester_side
from protocol.escrow.errors import (
    EscrowError,
    NotForEscrow,
    NotFunded,
    TooLate,
    UnexpectedEvent,
    UnpaidPart,
    WrongAmount,
    WrongPart,
    WrongTotal,
)
from protocol.escrow.provider import AcceptanceReceived, ClaimRequested, ProviderState, ReceiptSigned, StartSigned
from protocol.escrow.record import (
    BlockSeen,
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
from protocol.escrow.requester import AcceptanceSigned, ClaimApproved, ClaimContested, RequesterState, StartSeen
from protocol.identity import Digest
from protocol.units import Amount, UnixTime
from tests.protocol.escrow.escrow_world import AWARD, TERMS, acceptance, receipt, start

FUNDED = FundConfirmed(amount=Amount(97))
RECEIPT = Digest(b"\5" * 32)
START_BY, DELIVER_BY, CLAIM_BY = 1100, 1200, 1250


def at(time: int) -> BlockSeen:
    return BlockSeen(time=UnixTime(time))


def claimed(due: int, dispute_by: int = 1300) -> ClaimConfirmed:
    return ClaimConfirmed(part=2, due=Amount(due), receipt=RECEIPT, dispute_by=UnixTime(dispute_by))


def disputed(resolve_by: int = 1400) -> DisputeConfirmed:
    return DisputeConfirmed(opener=AWARD.requester, resolve_by=UnixTime(resolve_by))


def accepted(part: int, due: int) -> AcceptanceSigned:
    return AcceptanceSigned(signed=acceptance(part, due))


def requester(*events: requester_side.RequesterEvent) -> RequesterState:
    state = requester_side.start_funding(TERMS)
    for event in events:
        state, _ = requester_side.transition(state, event)
    return state


def provider(*events: provider_side.ProviderEvent) -> ProviderState:
    state = provider_side.await_funds(TERMS)
    for event in events:
        state, _ = provider_side.transition(state, event)
    return state


def wants(*events: requester_side.RequesterEvent) -> list[str]:
    return [type(effect).__name__ for effect in requester_side.outstanding(requester(*events))]


def orders(*events: provider_side.ProviderEvent) -> list[str]:
    return [type(effect).__name__ for effect in provider_side.outstanding(provider(*events))]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([at(START_BY)], ["SubmitFund"]),
        ([at(START_BY + 1)], []),
        ([FUNDED, at(START_BY)], []),
        ([FUNDED, at(START_BY + 1)], ["SubmitRecall"]),
        ([FUNDED, StartSeen(), at(START_BY + 1)], []),
        ([FUNDED, accepted(2, 0), at(START_BY + 1)], []),
        ([FUNDED, StartSeen(), at(CLAIM_BY)], []),
        ([FUNDED, StartSeen(), at(CLAIM_BY + 1)], ["SubmitRefund"]),
        ([FUNDED, StartConfirmed(), at(CLAIM_BY + 1)], ["SubmitRefund"]),
        ([FUNDED, accepted(2, 5), at(CLAIM_BY + 1)], ["SubmitRelease"]),
        (
            [FUNDED, accepted(2, 5), ReleaseConfirmed(part=2, paid=Amount(5)), at(CLAIM_BY + 1)],
            ["SubmitRefund"],
        ),
        ([FUNDED, RecallConfirmed(start_proof_by=UnixTime(1150)), at(1150)], []),
        ([FUNDED, RecallConfirmed(start_proof_by=UnixTime(1150)), at(1151)], ["SubmitRefund"]),
        ([FUNDED, RecallConfirmed(start_proof_by=UnixTime(9999)), at(CLAIM_BY + 1)], ["SubmitRefund"]),
        ([FUNDED, claimed(30)], ["JudgeClaim"]),
        ([FUNDED, claimed(30), ClaimContested(receipt=RECEIPT), at(1300)], ["SubmitDispute"]),
        ([FUNDED, claimed(30), ClaimContested(receipt=RECEIPT), at(1301)], []),
        ([FUNDED, claimed(30), ClaimApproved(receipt=RECEIPT)], []),
        ([FUNDED, accepted(2, 30), claimed(30)], []),
        ([FUNDED, accepted(2, 29), claimed(30)], ["JudgeClaim"]),
        ([FUNDED, claimed(30), disputed(), at(1400)], []),
        ([FUNDED, claimed(30), disputed(), at(1401)], ["SubmitSplit"]),
    ],
)
def test_the_requester_orders_exactly_what_time_and_record_allow(events: list[Any], expected: list[str]) -> None:
    assert wants(*events) == expected


WORKED = [FUNDED, StartSigned(signed=start()), ReceiptSigned(signed=receipt(2, 30))]
ALL_PARTS = [
    *WORKED,
    AcceptanceReceived(signed=acceptance(2, 30)),
    ReceiptSigned(signed=receipt(3, 60)),
    AcceptanceReceived(signed=acceptance(3, 60)),
    ReceiptSigned(signed=receipt(4, 90)),
]
DONE = [*ALL_PARTS, AcceptanceReceived(signed=acceptance(4, 90))]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (WORKED, []),
        ([*WORKED, at(DELIVER_BY)], []),
        ([*WORKED, at(DELIVER_BY + 1)], ["SubmitClaim"]),
        ([*WORKED, ClaimRequested()], ["SubmitClaim"]),
        ([*WORKED, at(CLAIM_BY)], ["SubmitClaim"]),
        ([*WORKED, at(CLAIM_BY + 1)], []),
        ([*WORKED, AcceptanceReceived(signed=acceptance(2, 30)), at(DELIVER_BY)], []),
        ([*WORKED, AcceptanceReceived(signed=acceptance(2, 30)), at(DELIVER_BY + 1)], ["SubmitRelease"]),
        ([*WORKED, AcceptanceReceived(signed=acceptance(2, 30)), at(CLAIM_BY + 1)], ["SubmitRelease"]),
        ([*ALL_PARTS, ClaimRequested()], ["SubmitRelease"]),
        ([*ALL_PARTS, ClaimRequested(), ReleaseConfirmed(part=3, paid=Amount(60))], ["SubmitClaim"]),
        (DONE, ["SubmitRelease"]),
        ([*WORKED, RecallConfirmed(start_proof_by=UnixTime(1150)), at(1150)], ["SubmitProveStart"]),
        ([*WORKED, RecallConfirmed(start_proof_by=UnixTime(1150)), at(1151)], []),
        ([*WORKED, ClaimRequested(), RecallConfirmed(start_proof_by=UnixTime(1150))], ["SubmitProveStart"]),
        ([*ALL_PARTS[:3], ClaimRequested(), RecallConfirmed(start_proof_by=UnixTime(1150))], ["SubmitProveStart"]),
        ([*WORKED[:2], ClaimRequested(), RecallConfirmed(start_proof_by=UnixTime(1150))], []),
        ([*WORKED[:2], RecallConfirmed(start_proof_by=UnixTime(1150))], ["SubmitProveStart"]),
        ([FUNDED, RecallConfirmed(start_proof_by=UnixTime(1150))], []),
        ([*WORKED, claimed(30), at(1300)], []),
        ([*WORKED, claimed(30), at(1301)], ["SubmitPayClaim"]),
        ([*WORKED, claimed(30), AcceptanceReceived(signed=acceptance(2, 30))], ["SubmitRelease"]),
        ([*WORKED, claimed(30), disputed(), at(1400)], []),
        ([*WORKED, claimed(30), disputed(), at(1401)], ["SubmitSplit"]),
        ([*DONE, claimed(90), disputed(), ReleaseConfirmed(part=4, paid=Amount(90)), at(1400)], []),
    ],
)
def test_the_provider_orders_exactly_what_time_and_record_allow(events: list[Any], expected: list[str]) -> None:
    assert orders(*events) == expected


def test_a_start_needs_funds_and_comes_in_time_and_once() -> None:
    assert not provider_side.may_start(provider())
    assert provider_side.may_start(provider(FUNDED, at(START_BY)))
    assert not provider_side.may_start(provider(FUNDED, at(START_BY + 1)))
    assert not provider_side.may_start(provider(FUNDED, RecallConfirmed(start_proof_by=UnixTime(1))))
    for events, error in (
        ([StartSigned(signed=start())], NotFunded),
        ([FUNDED, StartSigned(signed=start(START_BY + 1))], TooLate),
        ([FUNDED, at(START_BY + 1), StartSigned(signed=start())], TooLate),
        ([FUNDED, StartSigned(signed=start()), StartSigned(signed=start(1001))], NotFunded),
    ):
        with pytest.raises(error):
            provider(*events)


def test_no_part_begins_while_an_earlier_one_is_not_accepted() -> None:
    assert not provider_side.may_begin(provider(FUNDED))
    assert provider_side.may_begin(provider(FUNDED, StartSigned(signed=start()), at(DELIVER_BY)))
    assert not provider_side.may_begin(provider(FUNDED, StartSigned(signed=start()), at(DELIVER_BY + 1)))
    assert not provider_side.may_begin(provider(*WORKED))
    assert provider_side.exposure_of(provider(*WORKED)) == 30
    answered = provider(*WORKED, AcceptanceReceived(signed=acceptance(2, 30)))
    assert provider_side.may_begin(answered)
    assert provider_side.exposure_of(answered) == 0
    assert not provider_side.may_begin(provider(*DONE))
    with pytest.raises(UnpaidPart):
        provider(*WORKED, ReceiptSigned(signed=receipt(3, 31)))
    assert provider(*WORKED, WORKED[-1]) == provider(*WORKED)


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (AcceptanceReceived(signed=acceptance(3, 60)), WrongPart),
        (AcceptanceReceived(signed=acceptance(2, 29)), WrongTotal),
        (AcceptanceReceived(signed=acceptance(2, 91)), WrongTotal),
    ],
)
def test_an_acceptance_pays_a_delivered_part_as_billed(event: Any, error: type[EscrowError]) -> None:
    with pytest.raises(error):
        provider(*WORKED, event)


def test_receipts_come_in_order_and_within_the_price() -> None:
    begun = [FUNDED, StartSigned(signed=start())]
    for wrong in (receipt(1, 5), receipt(3, 5), receipt(5, 5)):
        with pytest.raises(WrongPart):
            provider(*begun, ReceiptSigned(signed=wrong))
    with pytest.raises(WrongTotal):
        provider(*begun, ReceiptSigned(signed=receipt(2, 91)))
    with pytest.raises(WrongPart):
        provider(*DONE, ReceiptSigned(signed=receipt(5, 90)))
    with pytest.raises(UnexpectedEvent):
        provider(FUNDED, ReceiptSigned(signed=receipt(2, 30)))


def test_an_old_acceptance_changes_nothing() -> None:
    assert provider(*DONE, AcceptanceReceived(signed=acceptance(3, 60))) == provider(*DONE)


def test_what_the_requester_accepts_grows_and_stays_within_the_price() -> None:
    for events, error in (
        ([accepted(2, 1)], UnexpectedEvent),
        ([FUNDED, accepted(1, 1)], WrongPart),
        ([FUNDED, accepted(5, 1)], WrongPart),
        ([FUNDED, accepted(2, 91)], WrongTotal),
        ([FUNDED, accepted(3, 50), accepted(4, 49)], WrongTotal),
        ([FUNDED, accepted(3, 50), accepted(2, 50)], WrongPart),
        ([FUNDED, ClaimContested(receipt=RECEIPT)], UnexpectedEvent),
        ([FUNDED, claimed(5), ClaimApproved(receipt=Digest(bytes(32)))], UnexpectedEvent),
    ):
        with pytest.raises(error):
            requester(*events)


def test_a_new_claim_is_judged_anew() -> None:
    events = [
        FUNDED,
        claimed(30),
        ClaimApproved(receipt=RECEIPT),
        ReleaseConfirmed(part=2, paid=Amount(30)),
        ClaimAcceptedConfirmed(),
        claimed(60),
    ]
    assert wants(*events) == ["JudgeClaim"]


def close(to_provider: int, to_requester: int, to_arbiter: int) -> CloseConfirmed:
    return CloseConfirmed(
        outcome=Outcome.SETTLED,
        to_provider=Amount(to_provider),
        to_requester=Amount(to_requester),
        to_arbiter=Amount(to_arbiter),
    )


def test_amounts_on_chain_that_do_not_add_up_are_refused() -> None:
    paid = [FUNDED, ReleaseConfirmed(part=2, paid=Amount(30))]
    for events in (
        [FundConfirmed(amount=Amount(96))],
        [FUNDED, ReleaseConfirmed(part=2, paid=Amount(91))],
        [*paid, ReleaseConfirmed(part=2, paid=Amount(29))],
        [*paid, close(30, 66, 0)],
        [*paid, close(30, 68, 0)],
        [*paid, close(29, 68, 0)],
        [*paid, close(91, 6, 0)],
    ):
        with pytest.raises(WrongAmount):
            requester(*events)
    ended = requester(*paid, close(30, 60, 7))
    with pytest.raises(UnexpectedEvent):
        requester_side.transition(ended, FUNDED)


@pytest.mark.parametrize(
    "changes",
    [
        {"channel": Digest(b"\1" * 32)},
        {"price": Amount(0)},
        {"parts": 0},
        {"split_bps": 10_001},
        {"price": Amount(2**96 - 7)},
    ],
)
def test_an_award_that_no_escrow_can_hold_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(NotForEscrow):
        escrow_terms(replace(AWARD, **changes), TERMS.award_id)
    escrow_terms(replace(AWARD, price=Amount(2**96 - 8)), TERMS.award_id)
