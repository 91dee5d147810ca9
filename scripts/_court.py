"""Cases and arbiters in words: rounds, committees, votes, deadlines, and the money that is at stake."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from protocol.dispute.bond import bond_of
from protocol.dispute.case import Stage
from protocol.dispute.objects import Finding
from protocol.dispute.schedule import SEATS, schedule_of
from protocol.units import WHOLE
from scripts._deployed import Deployed, PastEvent, history
from scripts._telling import chain_time
from scripts._words import moment, money

FINDINGS: Final = {
    Finding.NONE: "no majority: the time of the rails decides",
    Finding.UPHELD: "the receipt is right",
    Finding.WRONG_RESULT: "another result than the receipt's",
    Finding.OVERBILLED: "the result is right, its bill isn't",
    Finding.OUTPUT_MISSING: "the provider has no output to show",
    Finding.INPUTS_MISSING: "nobody has the inputs: the opener loses",
    Finding.NOT_JUDGED: "nobody can reproduce it",
}


def case_events(deployed: Deployed, digest: bytes) -> tuple[PastEvent, ...]:
    """Return what the court reported of a case, oldest first; nothing if there is none."""
    return tuple(history(deployed.deployment, contract="DisputeArbiter", identity=digest))


def tell_case(deployed: Deployed, digest: bytes) -> Iterator[str]:
    """Describe a case; nothing if there is none."""
    court = deployed.court
    if court is None:
        return
    current = court.caseOf(digest)
    if not current.stage:
        return
    events, now = case_events(deployed, digest), chain_time()
    opened = next(event.fields for event in events if event.name == "CaseOpened")
    by = [str(opened["opener"]), *(str(each.fields["appellant"]) for each in events if each.name == "Appealed")]
    yield f"case      part {opened['part']}, receipt 0x{bytes(opened['receipt']).hex()}"
    yield f"engine    0x{bytes(opened['engine']).hex()}"
    fee = int(current.seatFee) * SEATS[0]
    bonds = [bond_of(fee, number) for number in range(int(current.number) + 1)]
    seats = sum(len(each.fields["committee"]) for each in events if each.name == "CommitteeDrawn")
    stake = seats * int(deployed.bench.seatStake())
    at_stake = "were" if current.stage == Stage.CLOSED else "are"
    yield f"money     bonds of {money(sum(bonds))} and {money(stake)} of arbiters' stake {at_stake} behind it"
    for number in range(int(current.number) + 1):
        is_current = number == int(current.number)
        state = current if is_current else court.pastOf(digest, number)
        of_round = [each for each in events if each.fields.get("round") == number]
        yield f"round {number + 1}   {SEATS[number]} seats, asked for by {by[number]} with {money(bonds[number])}"
        yield from _tell_round(state, of_round, now, is_current=is_current)
    closed = next((each.fields for each in events if each.name == "CaseClosed"), None)
    if closed is None:
        return
    finding, severity = Finding(int(closed["finding"])), int(closed["severity"])
    yield f"closed    {FINDINGS[finding]}"
    if finding is not Finding.NONE:
        yield f"          due {money(closed['due'])}; {severity * 100 // WHOLE} % of the lock is slashed after the fee"


def tell_arbiter(deployed: Deployed, owner: Any) -> Iterator[str]:
    """Describe what an arbiter has on the bench."""
    account, now = deployed.bench.accountOf(owner), chain_time()
    stake = int(deployed.bench.seatStake())
    yield f"balance   {money(account.balance)}, stake and earnings"
    yield f"tickets   {account.tickets} at {money(stake)}"
    if account.leaving:
        ready = int(account.readyAt) + 1
        yield f"leaving   {account.leaving}, their stake is free from {moment(ready, now)}"
    serving = int(account.serving) if now <= int(account.servingUntil) else 0
    until = f" until {moment(int(account.servingUntil), now)}" if serving else ""
    yield f"seats     {serving}{until}"
    for event in history(deployed.deployment, contract="Bench", identity=_word(owner), topic=2):
        yield f"  block {event.block:<8} {event.name:<10} ticket {event.fields['index']}"


def _tell_round(state: Any, events: Sequence[PastEvent], now: int, *, is_current: bool) -> Iterator[str]:
    number, began = int(state.number), int(state.began)
    times = schedule_of(number, began, int(state.time))
    drawn = next((each.fields["committee"] for each in events if each.name == "CommitteeDrawn"), None)
    if drawn is None:
        yield f"          no committee yet; block {state.drawBlock} brings the number, and it counts until"
        yield f"          {moment(times.draw_by, now)}"
    else:
        for arbiter, seats in Counter(str(each) for each in drawn).items():
            yield f"          {arbiter} has {seats} of {len(drawn)} seats"
        sealed, voted = int(state.sealedSeats).bit_count(), int(state.openedSeats).bit_count()
        yield f"          {sealed} sealed a vote on the chain, {voted} opened one"
    decided = next((each.fields for each in events if each.name == "RoundDecided"), None)
    if decided is not None:
        finding, due = (_member(decided["vote"], *place) for place in (("finding", 0), ("due", 5)))
        how = "signed together" if state.stage == Stage.AGREED else "opened"
        votes = int(decided["seats"]).bit_count()
        yield f"          decided by {votes} votes {how}: {FINDINGS[Finding(finding)]}; due {money(due)}"
    if not is_current or state.stage == Stage.CLOSED:
        return
    end = began + int(state.endedAfter) - 1 if state.endedAfter else times.open_by
    if not state.endedAfter:
        yield f"          seals until {moment(times.seal_by, now)}"
        yield f"          openings until {moment(times.open_by, now)}"
    appeal_by = end + times.appeal_by - times.open_by
    if times.appeal_by != times.open_by:
        yield f"          an appeal until {moment(appeal_by, now)}"
    yield f"          to be closed from {moment(appeal_by + 1, now)}"


def _member(struct: Any, name: str, place: int) -> Any:
    """Return a member of an event's struct, which web3 gives by name or by place."""
    return struct[name] if hasattr(struct, "keys") else struct[place]


def _word(owner: Any) -> bytes:
    """Return an address as it stands in an indexed field."""
    return bytes.fromhex(str(owner)[2:]).rjust(32, b"\0")
