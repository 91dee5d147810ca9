"""What the results of several copies say of each other. Pure: docs/spec/bill.md, section 5.

Theory. Copies of one part are runs of one program on one input, so honest ones are equal (D9). All equal: each is right
as far as anybody here can tell. Different: a *referee*, this node's own second run, says which; without one, the
majority, in which a third node that was hired for it has a voice; without a majority nobody knows, and nobody is paid.
A result that stays alone, because the time of the others is over, is judged by the referee too, and passes if nothing
speaks against it.

What is found is a fact of the task and not of a slot, so it is durable before any slot acts on it, and every later copy
of the part is held against it. An agreement can still be contradicted by who comes late: then it is looked at anew.

    event               what follows for a receipt of this part
    PartSettled         equal to `result`: paid; different: refuted, or contested if the third node's voice decided
    ResultPassed        paid, undecided: it was alone
    ResultsContested    not paid, not refuted: the law's share is all there is
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, unique
from types import MappingProxyType
from typing import Annotated, Final, TypeAlias

from protocol.errors import UnexpectedEvent
from protocol.identity import Digest
from protocol.market.objects import Award
from protocol.task.audit import Rerun
from protocol.task.outcome import is_exact
from protocol.task.pricing import Rates, compute_cost
from protocol.task.purchase_events import Reason
from protocol.units import Uint16, Uint32
from protocol.wire.codec import MaxLen, tagged

MOST_RESULTS: Final = 512
"""Of one part: no auction has more bidders to give one, and each gives one at most."""
WAIT_SHARE: Final = 0.5
"""Of `pace`: how long a result waits for the others. The referee has a quarter more; then the provider gives up."""


@unique
class Basis(IntEnum):
    """What a settled part rests on."""

    AGREEMENT = 1
    """All results that were there are equal, two at least."""
    REFEREE = 2
    """This node ran the part itself."""
    MAJORITY = 3
    """More than half of all results, and of the copies asked for, are equal; no referee could tell."""
    THIRD = 4
    """Likewise, but only with the voice of a third node: what differs is not proved wrong."""


@tagged(1)
@dataclass(frozen=True, slots=True, kw_only=True)
class PartSettled:
    """What the part really gives.

    Attributes:
        part: Number of the part in the task.
        result: The right result.
        basis: How it was found.
        agreeing: How many copies stated it by then.
        reason: In words.
    """

    part: Uint32
    result: Rerun
    basis: Basis
    agreeing: Uint16
    reason: Reason


@tagged(2)
@dataclass(frozen=True, slots=True, kw_only=True)
class ResultPassed:
    """A result without any other, in its time, and without a referee."""

    part: Uint32
    receipt_id: Digest
    result: Rerun
    reason: Reason


@tagged(3)
@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsContested:
    """Results that differ, with neither referee nor majority.

    Attributes:
        part: Number of the part in the task.
        receipts: The receipts that stated `results`, in this order.
        results: What each stated.
        others: What receipts stated that were passed or contested earlier, and a third node if one was asked.
        reason: In words.
    """

    part: Uint32
    receipts: Annotated[tuple[Digest, ...], MaxLen(MOST_RESULTS)]
    results: Annotated[tuple[Rerun, ...], MaxLen(MOST_RESULTS)]
    others: Annotated[tuple[Rerun, ...], MaxLen(MOST_RESULTS)]
    reason: Reason


Event: TypeAlias = PartSettled | ResultPassed | ResultsContested


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A receipt that waits for a finding, and what it states."""

    receipt_id: Digest
    result: Rerun


def _none() -> Mapping[int, PartSettled]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparing:
    """Everything found so far, by part where a part can have one finding only."""

    settled: Mapping[int, PartSettled] = field(default_factory=_none)
    single: tuple[ResultPassed | ResultsContested, ...] = ()


def transition(state: Comparing, event: Event) -> tuple[Comparing, tuple[()]]:
    """Keep a finding.

    Raises:
        UnexpectedEvent: The part is settled for good, or the receipt has a finding of its own.
    """
    known = state.settled.get(event.part)
    if known is not None and (known.basis is not Basis.AGREEMENT or isinstance(event, ResultPassed)):
        raise UnexpectedEvent(f"part {event.part} is settled")
    if isinstance(event, PartSettled):
        if known is not None and event.basis is Basis.AGREEMENT:
            raise UnexpectedEvent(f"part {event.part} is settled by agreement already")
        return replace(state, settled=MappingProxyType({**state.settled, event.part: event})), ()
    receipts = event.receipts if isinstance(event, ResultsContested) else (event.receipt_id,)
    if not receipts or any(own_finding(state, receipt) is not None for receipt in receipts):
        raise UnexpectedEvent("no receipt, or one that has a finding of its own")
    return replace(state, single=(*state.single, event)), ()


def own_finding(state: Comparing, receipt_id: Digest) -> ResultPassed | ResultsContested | None:
    """Return what was found of one receipt, apart from what its part really gives."""
    for event in state.single:
        if receipt_id in (event.receipts if isinstance(event, ResultsContested) else (event.receipt_id,)):
            return event
    return None


def finding_on(state: Comparing, rates: Rates, part: int, held: Held) -> Event | None:
    """Return what a receipt is to be judged by; None if that has still to be found out."""
    own = own_finding(state, held.receipt_id)
    if own is not None:
        return own
    settled = state.settled.get(part)
    if settled is None or (settled.basis is Basis.AGREEMENT and not is_same(rates, settled.result, held.result)):
        return None
    return settled


def decide(
    state: Comparing,
    rates: Rates,
    copies: int,
    part: int,
    held: Sequence[Held],
    found: Rerun | str | None,
    third: Rerun | None = None,
) -> Event | None:
    """Return what the results of a part say.

    Args:
        state: What was found before.
        rates: The offer's: results that cost the same at them may differ in what costs nothing.
        copies: How many the offer asks for.
        part: Number of the part in the task.
        held: Receipts of this part without a finding, one at least.
        found: What the referee found; in words, why it found nothing; None if it was not asked yet.
        third: What a third node found that was hired because the referee found nothing: one voice more.

    Returns:
        The finding; None if the referee has to be asked first.
    """
    assert held
    results = [each.result for each in held]
    others = _known_before(state, part)
    known = [*results, *others]
    if part not in state.settled and len(known) > 1 and all(is_same(rates, known[0], each) for each in known):
        reason = f"{len(known)} copies are equal"
        return PartSettled(part=part, result=known[0], basis=Basis.AGREEMENT, agreeing=len(known), reason=reason)
    if found is None:
        return None
    if isinstance(found, Rerun):
        agreeing = sum(is_same(rates, found, each) for each in known)
        reason = f"this node ran the part too; {agreeing} of {len(known)} copies found the same"
        return PartSettled(part=part, result=found, basis=Basis.REFEREE, agreeing=agreeing, reason=reason)
    settled = _find_majority(rates, copies, part, known, third, found)
    if settled is not None:
        return settled
    if len(known) == 1 and (third is None or is_same(rates, known[0], third)):
        reason = f"no other copy was there in time; {found}"[:512]
        return ResultPassed(part=part, receipt_id=held[0].receipt_id, result=held[0].result, reason=reason)
    return ResultsContested(
        part=part,
        receipts=tuple(each.receipt_id for each in held),
        results=tuple(results),
        others=tuple(others) if third is None else (*others, third),
        reason=f"{_differ(len(known))}, and nobody can say which is right: {found}"[:512],
    )


def _find_majority(
    rates: Rates, copies: int, part: int, known: Sequence[Rerun], third: Rerun | None, found: str
) -> PartSettled | None:
    """Return what more than half of all voices say, if more than one copy or a third node is among them.

    The voice of a third node counts like a copy's, whether it helps or hurts, since it is a stranger's like theirs.
    """
    if len(known) == 1:
        return None
    voices = known if third is None else [*known, third]
    for each in known:
        backing = sum(is_same(rates, each, other) for other in voices)
        if backing > 1 and 2 * backing > max(copies, len(voices)):
            agreeing = sum(is_same(rates, each, other) for other in known)
            is_by_copies = agreeing > 1 and 2 * agreeing > max(copies, len(known))
            also = ", and a third node's" if backing > agreeing else ""
            return PartSettled(
                part=part,
                result=each,
                basis=Basis.MAJORITY if is_by_copies else Basis.THIRD,
                agreeing=agreeing,
                reason=f"{agreeing} of {len(known)} copies are equal{also}; {found}"[:512],
            )
    return None


def _differ(copies: int) -> str:
    return f"{copies} copies differ" if copies > 1 else "the copy and a third node differ"


def contradiction_of(event: ResultsContested, rates: Rates, receipt_id: Digest) -> Rerun:
    """Return a result that differs from what a contested receipt states."""
    own = event.results[event.receipts.index(receipt_id)]
    return next(each for each in (*event.others, *event.results) if not is_same(rates, own, each))


def is_same(rates: Rates, one: Rerun, other: Rerun) -> bool:
    """Tell whether two results are the same in what an arbiter decides: outcome, output, fuel and due (L2).

    What is due depends on each award's own price; at equal cost it is the same share of it. Where the bill does not
    follow from the usage (BI7), neither does the comparison.
    """
    if (one.outcome, one.output, one.fuel) != (other.outcome, other.output, other.fuel):
        return False
    return not is_exact(one.outcome) or compute_cost(rates, one.usage) == compute_cost(rates, other.usage)


def wait_for_others_s(award: Award, part: int) -> float:
    """Return how long a receipt under `award` waits for the other copies, seconds.

    Half of `pace`, since its provider waits `pace` for its pay (TK16). While parts are still to come, the wait is also
    at the cost of the time promised for them, which has room for two more runs of each (TK21).
    """
    longest = WAIT_SHARE * award.pace
    if part == award.first_part + award.parts - 1:
        return longest
    return min(longest, (award.deliver_by - award.start_by) / (3 * award.parts))


def _known_before(state: Comparing, part: int) -> list[Rerun]:
    known: list[Rerun] = []
    for event in state.single:
        if event.part == part:
            known += event.results if isinstance(event, ResultsContested) else (event.result,)
    settled = state.settled.get(part)
    # Those of an agreement may have been among the single ones: an agreement is of all that is known.
    return known if settled is None else [settled.result] * settled.agreeing
