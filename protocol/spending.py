"""Spending caps: how much a wallet may promise per task, hour, day and peer (DESIGN D7). Pure.

Theory. Money leaves through few *accounts*, each of which pays out at most the highest running total ever signed for it
(SPEC C6): a channel pays `cumulative + held` of its best voucher, an escrowed award its price and dispute fee, a
transfer its amount. So a signature adds to what is at risk exactly what it lifts its account's highest total by, and
signing the same total again adds nothing. The hour, day and peer caps bound the sum of these additions within a window
that slides. A task may be paid from several accounts (attempts, slots, copies); its cap bounds the sum, over accounts,
of the highest part of each account's total that was promised for the task. That part is kept apart from the account's
total: a channel's total falls when a task costs less than its hold, and the next task's promise then lifts nothing.

    state           event           next
    -----           -----           ----
    SpendingState   Spent           totals lifted, additions join the window
    SpendingState   AccountClosed   the account's totals dropped: nothing more can be signed for it
    SpendingState   TaskClosed      the task's sum dropped

`authorize` is the gate: it says which `Spent` event a signature causes, or raises and nothing changes. Append the
event durably, apply it, then sign.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType
from typing import Final, TypeAlias, assert_never

from protocol.errors import ProtocolError
from protocol.identity import Address, Digest
from protocol.units import MAX_AMOUNT, Amount, Seconds, UnixTime, format_amount
from protocol.wire.codec import tagged

HOUR: Final = Seconds(3_600)
DAY: Final = Seconds(86_400)
NOTHING: Final = Amount(0)

# Additions within one minute to one peer are one entry, dated at the minute's last second: a day's window then holds at
# most 1,441 entries a peer however many vouchers are signed, and what it counts errs by being freed up to 59 s late.
BUCKET_S: Final = 60


class Cap(Enum):
    """Which cap a spend ran into."""

    TASK = "per task"
    HOUR = "per hour"
    DAY = "per day"
    PEER = "per peer and day"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendingCaps:
    """The most that may be promised, token base units. Zero forbids, `MAX_AMOUNT` allows anything.

    Attributes:
        per_task: To one task over its life, all attempts, slots and copies together.
        per_hour: To anyone, within any 3,600 s.
        per_day: To anyone, within any 86,400 s.
        per_peer: To one peer, within any 86,400 s.
    """

    per_task: Amount
    per_hour: Amount
    per_day: Amount
    per_peer: Amount

    def __post_init__(self) -> None:
        for name in ("per_task", "per_hour", "per_day", "per_peer"):
            if not 0 <= getattr(self, name) <= MAX_AMOUNT:
                raise InvalidSpend(f"cap {name} is {getattr(self, name)}, outside 0..2**128-1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What one signature promises.

    Attributes:
        account: What pays: channel id, award digest, or the digest that names one transfer.
        total: Most that can leave the account once this is signed, token base units, over the account's life.
        peer: Who may be paid.
        task: Digest of the offer that is paid for; none for a plain transfer.
        task_total: The part of `total` that was promised for `task`, over the task's life; 0 without a task.
    """

    account: Digest
    total: Amount
    peer: Address
    task: Digest | None = None
    task_total: Amount = NOTHING

    def __post_init__(self) -> None:
        if not 0 <= self.total <= MAX_AMOUNT:
            raise InvalidSpend(f"total {self.total} is outside 0..2**128-1")
        if not 0 <= self.task_total <= self.total:
            raise InvalidSpend(f"the task's part {self.task_total} is outside 0..{self.total}, its account's total")
        if self.task is None and self.task_total:
            raise InvalidSpend(f"{self.task_total} is promised for a task that is not named")


@tagged(1)
@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """A signature that spends was authorised at `at`."""

    at: UnixTime
    spend: Spend


@tagged(2)
@dataclass(frozen=True, slots=True, kw_only=True)
class AccountClosed:
    """Nothing more can be signed for `account`: the channel settled, the award is final, the transfer confirmed."""

    account: Digest


@tagged(3)
@dataclass(frozen=True, slots=True, kw_only=True)
class TaskClosed:
    """Nothing more is promised for `task`."""

    task: Digest


SpendingEvent: TypeAlias = Spent | AccountClosed | TaskClosed


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """What was added to `peer`'s possible income in the minute that ends at `until`."""

    until: UnixTime
    peer: Address
    amount: int


def _no_totals() -> Mapping[Digest, Amount]:
    return MappingProxyType({})


def _no_parts() -> Mapping[tuple[Digest, Digest], Amount]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendingState:
    """What was promised so far.

    Attributes:
        accounts: Highest total signed for each open account.
        parts: Highest part of each open account's total promised for each task, by (account, task).
        tasks: Sum promised for each open task, its closed accounts included.
        recent: Additions of at least the last day, oldest first.
    """

    accounts: Mapping[Digest, Amount] = field(default_factory=_no_totals)
    parts: Mapping[tuple[Digest, Digest], Amount] = field(default_factory=_no_parts)
    tasks: Mapping[Digest, int] = field(default_factory=_no_totals)
    recent: tuple[Addition, ...] = ()


class InvalidSpend(ProtocolError):
    """A spend that contradicts itself."""


class SpendingCapExceeded(ProtocolError):
    """A signature would promise more than a cap allows; nothing was signed.

    Attributes:
        cap: The cap in the way.
        limit: Its value.
        asked: What the signature would add.
        left: What could be added now.
        frees_at: When enough of the window has passed for the same signature, or None if time alone never helps.
    """

    def __init__(self, *, cap: Cap, limit: int, asked: int, left: int, frees_at: UnixTime | None) -> None:
        when = "waiting does not help" if frees_at is None else f"enough is free again at unix time {frees_at}"
        super().__init__(
            f"the signature would promise {format_amount(asked)} more, but of the cap {cap.value}"
            f" ({format_amount(limit)}) only {format_amount(left)} is left; {when}",
            advice=f"raise the spending cap {cap.value} in the wallet section of the configuration"
            + ("" if frees_at is None else ", or wait"),
        )
        self.cap, self.limit, self.asked, self.left, self.frees_at = cap, limit, asked, left, frees_at


def authorize(caps: SpendingCaps, state: SpendingState, at: UnixTime, spend: Spend) -> Spent | None:
    """Decide whether `spend` may be signed at `at`.

    Returns:
        The event to append durably before signing, or None if everything in `spend` was promised before: signing it
        again risks nothing new, so no cap is asked.

    Raises:
        SpendingCapExceeded: For the first cap in the way, in the order task, hour, day, peer.
    """
    added, task_added = _additions(state, spend)
    if not added and not task_added:
        return None
    if spend.task is not None:
        left = caps.per_task - state.tasks.get(spend.task, 0)
        if task_added > max(0, left):  # caps may have been lowered below what is already promised
            raise SpendingCapExceeded(
                cap=Cap.TASK, limit=caps.per_task, asked=task_added, left=max(0, left), frees_at=None
            )
    day = [addition for addition in state.recent if addition.until + DAY > at]
    hour = [addition for addition in day if addition.until + HOUR > at]
    to_peer = [addition for addition in day if addition.peer == spend.peer]
    _check(Cap.HOUR, caps.per_hour, added, hour, HOUR)
    _check(Cap.DAY, caps.per_day, added, day, DAY)
    _check(Cap.PEER, caps.per_peer, added, to_peer, DAY)
    return Spent(at=at, spend=spend)


def remaining(
    caps: SpendingCaps, state: SpendingState, at: UnixTime, *, peer: Address | None = None, task: Digest | None = None
) -> Mapping[Cap, Amount]:
    """Return what could be added now under each cap; without `task` or `peer`, that cap in full."""
    day = [addition for addition in state.recent if addition.until + DAY > at]
    used = {
        Cap.TASK: 0 if task is None else state.tasks.get(task, 0),
        Cap.HOUR: sum(addition.amount for addition in day if addition.until + HOUR > at),
        Cap.DAY: sum(addition.amount for addition in day),
        Cap.PEER: sum(addition.amount for addition in day if addition.peer == peer),
    }
    limits = {Cap.TASK: caps.per_task, Cap.HOUR: caps.per_hour, Cap.DAY: caps.per_day, Cap.PEER: caps.per_peer}
    return {cap: Amount(max(0, limits[cap] - used[cap])) for cap in Cap}


def transition(state: SpendingState, event: SpendingEvent) -> SpendingState:
    """Apply a fact. Total: a replay of any events in their order gives a state."""
    match event:
        case Spent(at=at, spend=spend):
            return _spent(state, at, spend)
        case AccountClosed(account=account):
            return replace(
                state,
                accounts={key: total for key, total in state.accounts.items() if key != account},
                parts={key: total for key, total in state.parts.items() if key[0] != account},
            )
        case TaskClosed(task=task):
            return replace(
                state,
                parts={key: total for key, total in state.parts.items() if key[1] != task},
                tasks={key: total for key, total in state.tasks.items() if key != task},
            )
        case _:
            assert_never(event)


def _additions(state: SpendingState, spend: Spend) -> tuple[int, int]:
    """Return by how much `spend` lifts its account's total, and its task's part of it."""
    added = max(0, spend.total - state.accounts.get(spend.account, 0))
    if spend.task is None:
        return added, 0
    return added, max(0, spend.task_total - state.parts.get((spend.account, spend.task), 0))


def _check(cap: Cap, limit: Amount, added: int, counted: Sequence[Addition], window: Seconds) -> None:
    """Raise if `added`, on top of the additions `counted` (all younger than `window`), exceeds `limit`."""
    left = limit - sum(addition.amount for addition in counted)
    if added <= max(0, left):
        return
    frees_at: UnixTime | None = None
    missing = added - left
    for addition in counted:
        missing -= addition.amount
        if missing <= 0:
            frees_at = UnixTime(addition.until + window)
            break
    raise SpendingCapExceeded(cap=cap, limit=limit, asked=added, left=max(0, left), frees_at=frees_at)


def _spent(state: SpendingState, at: UnixTime, spend: Spend) -> SpendingState:
    added, task_added = _additions(state, spend)
    after = state
    if added:
        after = replace(
            after,
            accounts={**state.accounts, spend.account: spend.total},
            recent=_joined(state.recent, at, spend.peer, added),
        )
    if task_added and spend.task is not None:
        after = replace(
            after,
            parts={**state.parts, (spend.account, spend.task): spend.task_total},
            tasks={**state.tasks, spend.task: state.tasks.get(spend.task, 0) + task_added},
        )
    return after


def _joined(recent: tuple[Addition, ...], at: UnixTime, peer: Address, amount: int) -> tuple[Addition, ...]:
    """Add `amount` to the window and drop what is over a day old."""
    until = UnixTime(at - at % BUCKET_S + BUCKET_S - 1)
    if recent:
        # A clock that was set back must not put a new entry before an old one: the list stays in order, and the entry
        # is freed later, never sooner.
        until = UnixTime(max(until, recent[-1].until))
    kept = [addition for addition in recent if addition.until + DAY > at]
    for index in range(len(kept) - 1, -1, -1):
        if kept[index].until != until:
            break
        if kept[index].peer == peer:
            kept[index] = replace(kept[index], amount=kept[index].amount + amount)
            return tuple(kept)
    kept.append(Addition(until=until, peer=peer, amount=amount))
    return tuple(kept)
