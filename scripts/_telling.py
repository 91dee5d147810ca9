"""States in words: what a channel, an award, a stake holds, and which second decides what. For scripts and console."""

from collections.abc import Iterable, Iterator
from typing import Any

from scripts._deployed import Deployed, PastEvent, history
from scripts._ground import connected_web3
from scripts._words import moment, money, show

# IEscrow.State: what it is called, and what its `time` waits for.
ESCROW_STATES = (
    ("never funded", ""),
    ("funded", ""),
    ("recalled: the requester saw no start", "a start may be proved until"),
    ("started", ""),
    ("claimed by the provider", "it may be disputed until"),
    ("disputed", "a verdict counts until"),
    ("closed: the last part was accepted", "since"),
    ("closed: both sides agreed", "since"),
    ("closed: refunded", "since"),
    ("closed: the claim was paid, nobody disputed it", "since"),
    ("closed: the arbiter judged", "since"),
    ("closed: split, the arbiter was silent", "since"),
)
LOCK_STATES = ("nothing is locked", "locked", "free again", "slashed")  # IReputation.LockState


def chain_time() -> int:
    """Return the newest block's second: contracts know no other clock."""
    return int(connected_web3().eth.get_block("latest").get("timestamp", 0))


def tell_channel(deployed: Deployed, identity: bytes) -> Iterator[str]:
    """Describe what a channel holds now."""
    state = deployed.channels.stateOf(identity)
    if not state.deposit:
        yield "state     closed; it holds nothing"
        return
    yield f"deposit   {money(state.deposit)}"
    yield f"claimed   {money(state.claimed)}"
    yield f"left      {money(state.deposit - state.claimed)}"
    if state.sequence:
        yield f"reserved  {money(state.held)} by voucher {state.sequence} that pays {money(state.base)}"
    if state.exitsAt:
        now = chain_time()
        begins = int(state.exitsAt) + 1
        yield f"state     the payer is leaving: it may withdraw from {moment(begins, now)} (second {begins})"
        if begins > now:
            yield "          until then the payee may claim what it is owed and present its holds"
        if state.sequence and state.held:
            reserve = begins + int(deployed.channels.holdPeriod())
            yield f"          what is reserved stays until {moment(reserve, now)}"
    else:
        yield "state     open"


def tell_escrow(deployed: Deployed, digest: bytes) -> Iterator[str]:
    """Describe what an award's escrow holds now; nothing if it was never funded."""
    record = deployed.escrow.recordOf(digest)
    if not record.state:
        return
    yield f"locked    {money(record.amount)}"
    yield f"paid      {money(record.paid)}"
    meaning, waits_for = ESCROW_STATES[int(record.state)]
    when = f" {waits_for} {moment(int(record.time), chain_time())} (second {record.time})" if waits_for else ""
    yield f"state     {meaning}" + (f";{when}" if when else "")


def tell_lock(deployed: Deployed, digest: bytes) -> Iterator[str]:
    """Describe what of the provider's stake answers for an award, and its bonus; nothing if neither ever was."""
    if deployed.reputation is None:
        return
    lock = deployed.reputation.lockOf(digest)
    if not lock.state and not lock.hadBonus:
        return
    yield f"liability {money(lock.amount)}, {LOCK_STATES[int(lock.state)]}"
    for event in history(deployed.deployment, contract="Reputation", identity=digest):
        if event.name == "LiabilityLocked" and int(lock.state) == 1:
            yield f"          its arbiter may slash it until {moment(event.fields['until'], chain_time())}"
    if lock.bonus:
        yield f"bonus     {money(lock.bonus)} waits for the award's end"
    elif lock.hadBonus:
        yield "bonus     paid"


def tell_stake(deployed: Deployed, owner: Any) -> Iterator[str]:
    """Describe what an owner staked: how much is free, locked for which awards, leaving when."""
    account, leaving = deployed.reputation.accountOf(owner), deployed.reputation.leavingOf(owner)
    yield f"stake     {money(account.stake)}"
    yield f"free      {money(deployed.reputation.freeStakeOf(owner))}"
    yield f"locked    {money(account.locked)}"
    now = chain_time()
    if leaving.amount:
        ready = int(leaving.readyAt) + 1
        yield f"leaving   {money(leaving.amount)}, to be taken from {moment(ready, now)}"
    for event in open_locks(history(deployed.deployment, contract="Reputation", identity=_word(owner), topic=2)):
        until = moment(int(event.fields["until"]), now)
        yield f"  for award 0x{bytes(event.fields['award']).hex()}  {money(event.fields['amount'])} until {until}"


def open_locks(events: Iterable[PastEvent]) -> tuple[PastEvent, ...]:
    """Return the locks that nothing has ended yet, oldest first."""
    locks: dict[bytes, PastEvent] = {}
    for event in events:
        if event.name == "LiabilityLocked":
            locks[bytes(event.fields["award"])] = event
        elif event.name in ("LiabilityFreed", "LiabilitySlashed"):
            locks.pop(bytes(event.fields["award"]), None)
    return tuple(locks.values())


def tell_events(events: Iterable[PastEvent], *, of: str) -> Iterator[str]:
    """Describe what happened, one line an event; `of` is the field that all of them share.

    People count the rounds of a case from 1, contracts from 0.
    """
    for event in events:
        rest = "  ".join(f"{key}={show(_counted(key, value))}" for key, value in event.fields.items() if key != of)
        yield f"  block {event.block:<8} {event.name:<15} {rest}"


def _counted(key: str, value: Any) -> Any:
    return int(value) + 1 if key == "round" else value


def _word(owner: Any) -> bytes:
    """Return an address as it stands in an indexed field."""
    return bytes.fromhex(str(owner)[2:]).rjust(32, b"\0")
