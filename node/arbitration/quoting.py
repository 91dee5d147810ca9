"""What a case, or an appeal, is about, costs and brings: told before a user orders it (docs/spec/parties.md, PT18)."""

from dataclasses import dataclass, replace
from typing import Final

from node.arbitration.disputable import Disputable, disputable
from node.arbitration.order_ports import Locks, Looking, OrderPapers, Purse
from node.arbitration.party_ports import EscrowSight
from node.arbitration.party_room import PartyRoom
from node.arbitration.refusals import (
    BondNotCovered,
    CaseExists,
    NoCourtNamed,
    NoSuchAward,
    NotDisputable,
    NotYet,
    TooLateForCourt,
    moment,
)
from node.arbitration.rehearsal import Rehearsed
from protocol.dispute.acting import LAST_ROUND, is_appealable
from protocol.dispute.bond import bond_of, bond_spend
from protocol.dispute.case import Round, Stage
from protocol.dispute.evidence import Matter
from protocol.dispute.objects import Finding
from protocol.dispute.party import Brief, Closed, File, GivenUp, Held, Open
from protocol.dispute.prospects import Stakes, is_gain
from protocol.identity import Digest
from protocol.settlement.deadlines import deadlines_of, is_open, is_over
from protocol.units import Amount, UnixTime, format_amount

LONGEST_LOOK_S: Final = 600.0
"""How long a user is kept waiting at most while the part is run again."""
CLEAR_OF_END: Final = 4
"""A quarter of a pace before its deadline a look ends, so that the case can still be opened."""
_KNOWN_WRONG: Final = frozenset((Finding.WRONG_RESULT, Finding.OVERBILLED, Finding.OUTPUT_MISSING))


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteParts:
    """What quotes are made of, beside the room."""

    papers: OrderPapers
    looking: Looking
    locks: Locks
    purse: Purse


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """An order before it is given.

    Attributes:
        brief: What this party goes to court with, what it found out for the quote included.
        number: The round that is asked for; 0 for a new case.
        bond: What is put down for it.
        until: The last second at which the contract takes it.
        part: What it is about.
        claimed: What the provider's receipt asks for in all; it may be paid in part.
        stakes: What can be won and lost.
        expected: What this node thinks that the court finds; None if it doesn't know.
        found: How it knows, or why it doesn't, in words.
        warning: Why there is nothing to gain, as far as this node can tell; empty if there is.
        notes: What else to know.
    """

    brief: Brief
    number: int
    bond: Amount
    until: UnixTime
    part: int
    claimed: Amount
    stakes: Stakes
    expected: Finding | None
    found: str
    warning: str
    notes: tuple[str, ...]


class Quoting:
    """Tells; nothing is written or signed here. What a run of a part told is remembered until the restart."""

    def __init__(self, room: PartyRoom, parts: QuoteParts) -> None:
        self._room, self._parts = room, parts
        self._looked: dict[Digest, Rehearsed] = {}

    async def opening(self, digits: str, *, look: bool = True) -> Quote:
        """Return what opening a case would mean.

        Args:
            digits: The award's id, or how it begins.
            look: Whether a requester that never ran the part does so first.

        Raises:
            ProtocolError: It can't be opened, one class a reason (`node.arbitration.refusals`).
            TransientError: The chain can't be reached.
        """
        brief = await self._brief_of(digits)
        await self._require_no_case(brief)
        now = await self._room.court.now()
        accepted = await self._parts.papers.accepted_of(brief.award_id)
        dispute = await disputable(self._room, brief, accepted, now)
        bond = bond_of(brief.award.dispute_fee, 0)
        if not self._is_ordered(brief.award_id):
            await self._require_cover(brief, 0, bond)
        brief, expected, found = await self._look(brief, dispute, now, look=look)
        lock = await self._parts.locks.look(brief.award_id)
        stakes = Stakes(
            is_requester=brief.is_requester,
            by_provider=not brief.is_requester,
            asked=Amount(max(0, dispute.claimed - dispute.paid)),
            fee=brief.award.dispute_fee,
            bond=bond,
            lock=lock.amount,
            max_bounty=lock.max_bounty,
            without_bps=dispute.without_bps,
            now_bps=dispute.now_bps,
        )
        return Quote(
            brief=brief,
            number=0,
            bond=bond,
            until=dispute.until,
            part=dispute.subject.part,
            claimed=dispute.claimed,
            stakes=stakes,
            expected=expected,
            found=found,
            warning=_warning(stakes, expected, found),
            notes=tuple(self._notes(brief, bond, now)),
        )

    async def appeal(self, digits: str) -> Quote:
        """Return what an appeal of this node's open case would mean.

        Raises:
            ProtocolError, TransientError: As `opening`.
        """
        award = await self._find(digits)
        file = await self._room.files.find(award)
        if file is None or not isinstance(file.state, Open):
            raise NotYet(
                f"there is nothing to appeal: {'no case is open about this award' if file is None else _words(file)}",
                advice="see `stoa disputes list`",
            )
        brief, state = file.brief, file.state
        current, now = await self._room.court.round_of(award), await self._room.court.now()
        _require_appealable(state, current, now)
        bond = bond_of(brief.award.dispute_fee, state.number + 1)
        if state.ordered != state.number + 1:
            await self._require_cover(brief, state.number + 1, bond)
        lock = await self._parts.locks.look(award)
        accepted = await self._parts.papers.accepted_of(award)
        sight = EscrowSight(resolve_by=None, is_over=True)
        if not brief.on_channel:
            sight = self._room.escrows.look(award)
        claimed = (
            sight.claim.due if sight.claim is not None else brief.receipt.value.due if brief.receipt else Amount(0)
        )
        standing = Finding(state.decision.finding) if state.decision is not None else Finding.NONE
        stakes = Stakes(
            is_requester=brief.is_requester,
            by_provider=state.opener == brief.award.provider,
            asked=Amount(max(0, claimed - max(accepted, sight.paid))),
            fee=brief.award.dispute_fee,
            bond=bond,
            lock=lock.amount,
            max_bounty=lock.max_bounty,
            without_bps=0 if brief.on_channel else brief.award.split_bps,
            appeals=True,
            standing=standing,
        )
        expected = self._conviction(brief)
        found = "this node has run the part itself" if brief.is_convinced else "this node has not run the part itself"
        return Quote(
            brief=brief,
            number=state.number + 1,
            bond=bond,
            until=current.appeal_by,
            part=state.part,
            claimed=claimed,
            stakes=stakes,
            expected=expected,
            found=found,
            warning=_warning(stakes, expected, found),
            notes=tuple(self._notes(brief, Amount(state.bonds + bond), now)),
        )

    async def _find(self, digits: str) -> Digest:
        digits = digits.lower().removeprefix("0x")
        found = await self._parts.papers.awards_of(digits) if digits else ()
        if len(found) != 1:
            problem = "several awards of this node begin" if found else "this node made and won no award that begins"
            raise NoSuchAward(
                f"{problem} with {digits!r}", advice="`stoa task show`, `stoa earnings` and `stoa escrows` name awards"
            )
        return found[0]

    async def _brief_of(self, digits: str) -> Brief:
        award = await self._find(digits)
        machine = self._room.files.open.get(award)
        brief = machine.state.brief if machine is not None else await self._parts.papers.brief_of(award)
        if brief is None:
            raise NoSuchAward("the records of this award are gone", advice="they are kept for storage.keep_history_d")
        if brief.award.arbiter != self._room.court.address or not brief.award.dispute_fee:
            raise NoCourtNamed
        return brief

    async def _require_no_case(self, brief: Brief) -> None:
        file = await self._room.files.find(brief.award_id)
        if file is not None and isinstance(file.state, Open | Closed):
            raise CaseExists(brief.award_id, _words(file))
        if file is not None and isinstance(file.state, GivenUp):
            raise NotDisputable(
                f"this node has given the matter up: {file.state.reason}", advice="nobody can open a case about it now"
            )
        if (await self._room.court.round_of(brief.award_id)).stage is not Stage.NONE:
            raise CaseExists(brief.award_id, "it was opened a moment ago")

    async def _require_cover(self, brief: Brief, number: int, bond: Amount) -> None:
        """Say before anything is signed what the wallet would refuse.

        Raises:
            BondNotCovered: It would.
        """
        spend = bond_spend(brief.award, brief.award_id, number, wallet=brief.own)
        left = self._parts.purse.remaining(peer=spend.peer, task=spend.task)
        cap, least = min(left.items(), key=lambda item: item[1])
        if least < bond:
            raise BondNotCovered(
                f"the bond is {format_amount(bond)}, and the wallet's cap {cap.value} leaves {format_amount(least)}",
                advice="raise it in [wallet.caps] and restart the node, or wait; `stoa wallet show` says what is left",
            )
        balance = await self._parts.purse.balance()
        if balance < bond:
            raise BondNotCovered(
                f"the bond is {format_amount(bond)}, and the wallet has {format_amount(balance)}",
                advice="send it money; `stoa wallet show` says where to",
            )

    async def _look(
        self, brief: Brief, dispute: Disputable, now: UnixTime, *, look: bool
    ) -> tuple[Brief, Finding | None, str]:
        """Return the brief with what is known of the result, what the court is expected to find, and how one knows."""
        if brief.is_convinced:
            own = "this node ran it itself, and signed for it"
            return brief, self._conviction(brief), brief.reason if brief.is_requester and brief.reason else own
        if not brief.is_requester:
            return brief, None, "this node has no receipt of its own for it"
        subject, award = dispute.subject, brief.award
        known = self._looked.get(subject.receipt)
        if known is None and look:
            matter = Matter(award=brief.award_id, opener=award.requester, part=subject.part, receipt=subject.receipt)
            left = float(dispute.until - award.pace // CLEAR_OF_END - now)
            known = await self._parts.looking.rehearse(matter, award.provider, within_s=min(left, LONGEST_LOOK_S))
            if known.finding is not None:
                self._looked[subject.receipt] = known
        if known is None:
            return brief, None, "this node has not run the part itself"
        is_wrong = known.finding in _KNOWN_WRONG
        rerun = known.rerun if is_wrong else None  # a run that agrees is no reason to contradict a committee later
        reason = known.reason if is_wrong else ""
        return (
            replace(brief, receipt=known.receipt or brief.receipt, rerun=rerun, reason=reason),
            known.finding,
            known.reason,
        )

    def _conviction(self, brief: Brief) -> Finding | None:
        if not brief.is_convinced:
            return None
        return Finding.WRONG_RESULT if brief.is_requester else Finding.UPHELD

    def _is_ordered(self, award: Digest) -> bool:
        machine = self._room.files.open.get(award)
        return machine is not None and isinstance(machine.state.state, Held) and machine.state.state.is_ordered

    def _notes(self, brief: Brief, bonds: Amount, now: UnixTime) -> list[str]:
        notes: list[str] = []
        most = self._room.attitude.max_bond
        if most is not None and bonds > most:
            notes.append(
                f"that is more than your node puts down by itself (disputes.max_bond, {format_amount(most)});"
                " your yes counts for this bond alone"
            )
        if self._is_ordered(brief.award_id):
            notes.append("you have ordered it already, and your node is at it")
        elif brief.is_paid_from_hold and is_open(claim_by := deadlines_of(brief.award).claim_by, now):
            notes.append(f"the requester may still pay by voucher until {moment(claim_by)}, which costs nobody a bond")
        return notes


def _require_appealable(state: Open, current: Round, now: UnixTime) -> None:
    if state.number == LAST_ROUND:
        raise NotYet("this was the last round: there are two appeals at most", advice="its decision stands")
    if current.stage is Stage.CLOSED or is_over(current.appeal_by, now):
        raise TooLateForCourt("appeal", current.appeal_by)
    if current.number != state.number:
        raise NotYet("the next round was asked for already", advice="see `stoa disputes list`")
    if not is_appealable(current, now):
        times = current.schedule
        raise NotYet(
            f"this round is not decided yet; it is at {moment(times.open_by)} at the latest",
            advice=f"then it can be appealed until {moment(times.appeal_by)}; earlier, if all vote earlier",
        )


def _warning(stakes: Stakes, expected: Finding | None, found: str) -> str:
    if not is_gain(stakes):
        why = (
            ""
            if stakes.lock or not stakes.is_requester
            else ": nothing of the provider's stake is locked for this award"
        )
        return f"whatever the court finds, you would have no more than now, and lose the bond{why}"
    if expected is not None and not is_gain(stakes, expected):
        return f"the court would find against you, as far as this node can tell ({found}), and the bond would be lost"
    return ""


def _words(file: File) -> str:
    match file.state:
        case Open(number=number):
            return f"it is open, in round {number + 1}"
        case Closed():
            return "it is over"
        case GivenUp(reason=reason):
            return reason
        case Held():
            return "nobody has opened a case about this award yet"
