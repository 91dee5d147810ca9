"""What of an award can be disputed now, and until when the court takes it (docs/spec/law.md, CT1 and CT2)."""

from dataclasses import dataclass

from node.arbitration.party_ports import Subject
from node.arbitration.party_room import PartyRoom
from node.arbitration.refusals import NoReceipt, NotDisputable, TooLateForCourt, moment
from protocol.dispute.acting import NO_HOLD, PAID
from protocol.dispute.party import Brief
from protocol.settlement.deadlines import deadlines_of, is_over
from protocol.signing.eip712 import digest
from protocol.units import WHOLE, Amount, UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Disputable:
    """What a case would be about.

    Attributes:
        subject: The part, and its receipt.
        claimed: What the receipt asks for in all.
        paid: What of it is accepted or paid, whatever the court finds.
        until: The last second at which a case can be opened.
        now_bps: Which share of the rest the provider gets if nobody opens one.
        without_bps: Which share it gets if the court comes to no decision.
    """

    subject: Subject
    claimed: Amount
    paid: Amount
    until: UnixTime
    now_bps: int
    without_bps: int


async def disputable(room: PartyRoom, brief: Brief, accepted: Amount, now: UnixTime) -> Disputable:
    """Return what this party can dispute at `now`, the newest block's time; `accepted` in all is what it can't.

    Raises:
        NotDisputable, NoReceipt, TooLateForCourt: Nothing, and why.
    """
    if brief.on_channel:
        return await _on_channel(room, brief, accepted, now)
    return _on_escrow(room, brief, accepted, now)


async def _on_channel(room: PartyRoom, brief: Brief, accepted: Amount, now: UnixTime) -> Disputable:
    until = deadlines_of(brief.award).latest_dispute_by
    if is_over(until, now):
        raise TooLateForCourt("open a case", until)
    if brief.receipt is None:
        raise NoReceipt
    receipt = brief.receipt.value
    if brief.is_paid_from_hold:
        hold = await room.holds.look(brief.award, brief.award_id)
        if not hold.unpaid or not hold.held:
            raise NotDisputable(
                f"there is nothing to go to court for: {NO_HOLD if hold.unpaid else PAID}",
                advice="only what a voucher holds for the award can be paid by a verdict",
            )
        accepted = Amount(max(0, receipt.due - hold.unpaid))
    return Disputable(
        subject=Subject(part=receipt.part, receipt=digest(room.court.market_domain, receipt)),
        claimed=receipt.due,
        paid=accepted,
        until=until,
        now_bps=0,
        without_bps=0,
    )


def _on_escrow(room: PartyRoom, brief: Brief, accepted: Amount, now: UnixTime) -> Disputable:
    sight, split = room.escrows.look(brief.award_id), brief.award.split_bps
    if sight.is_over:
        raise NotDisputable(
            "the escrow of this award is closed: what was in it is paid out",
            advice="after that no verdict moves it; look before you accept (--verify audit:100%)",
        )
    claim = sight.claim
    if claim is None:
        raise NotDisputable(
            "nothing is claimed on the escrow of this award, so nothing can be disputed",
            advice="what is locked there comes back by itself if nobody claims it; your node looks at each claim",
        )
    if sight.resolve_by is not None:
        until, now_bps = UnixTime(sight.resolve_by - room.attitude.min_resolve_within), split
    elif brief.is_requester and sight.dispute_by is not None:
        until, now_bps = sight.dispute_by, WHOLE
    else:
        raise NotDisputable(
            f"the requester may dispute your claim until {moment(sight.dispute_by or UnixTime(0))}, and has not",
            advice="a claim that nobody disputes is paid after that; there is nothing to go to court for",
        )
    if is_over(until, now):
        raise TooLateForCourt("open a case", until)
    return Disputable(
        subject=claim.subject,
        claimed=claim.due,
        paid=max(accepted, sight.paid),
        until=until,
        now_bps=now_bps,
        without_bps=split,
    )
