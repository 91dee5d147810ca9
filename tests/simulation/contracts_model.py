"""Escrow, payment channels and token as one pure machine: a call goes in, facts come out, or it is refused.

It is the contracts' meaning without their bytes: what nodes read are the facts that `node/app/contract_chain.py` makes
of events. `test_simulation_contracts.py` holds it against the real contracts, call by call. Without arbiters, as in the
nodes today. Records are immutable, so a block's state is a shallow copy and a reorganisation takes an old one up again.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Final, TypeAlias, TypeVar

from node.payments.ports import FactEvent
from protocol.channel import chain as channel_facts
from protocol.channel.objects import ChannelKey, Close, Voucher, channel_id
from protocol.errors import ChainRejected, ProtocolError
from protocol.escrow import record as escrow_facts
from protocol.identity import Address, Digest
from protocol.market.objects import Award
from protocol.signing.eip712 import Domain, digest
from protocol.signing.signed import Signed, verify_signer
from protocol.task.objects import Acceptance, Receipt, Start
from protocol.units import Amount, Seconds, UnixTime

Told: TypeAlias = tuple[Digest, FactEvent]
T = TypeVar("T")
BASIS_POINTS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the contracts were deployed with, and where."""

    market: Domain
    channels: Domain
    challenge: Seconds
    hold_period: Seconds
    min_pace: Seconds

    @property
    def escrow(self) -> Address:
        """Where the escrow's tokens lie."""
        return self.market.verifying_contract

    @property
    def channel(self) -> Address:
        """Where the channels' tokens lie."""
        return self.channels.verifying_contract


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRecord:
    """One open channel."""

    key: ChannelKey
    deposit: int
    claimed: int = 0
    exits_at: int = 0
    sequence: int = 0
    held: int = 0
    base: int = 0


class EscrowState(IntEnum):
    """The contract's numbers."""

    FUNDED = 1
    RECALLED = 2
    STARTED = 3
    CLAIMED = 4
    DISPUTED = 5
    CLOSED = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class EscrowRecord:
    """One award's money."""

    award: Award
    state: EscrowState
    amount: int
    paid: int = 0
    time: int = 0
    due: int = 0


@dataclass(kw_only=True)
class Contracts:
    """The state after a block."""

    rules: Rules
    tokens: dict[Address, int] = field(default_factory=dict[Address, int])
    counters: dict[Address, int] = field(default_factory=dict[Address, int])
    channels: dict[Digest, ChannelRecord] = field(default_factory=dict[Digest, ChannelRecord])
    escrows: dict[Digest, EscrowRecord] = field(default_factory=dict[Digest, EscrowRecord])

    def copy(self) -> "Contracts":
        """Return a state of its own with the same records."""
        return Contracts(
            rules=self.rules,
            tokens=dict(self.tokens),
            counters=dict(self.counters),
            channels=dict(self.channels),
            escrows=dict(self.escrows),
        )

    def owed(self) -> dict[Address, int]:
        """Return what each contract must hold by its records."""
        channels = sum(each.deposit - each.claimed for each in self.channels.values())
        locked = (each.amount - each.paid for each in self.escrows.values() if each.state is not EscrowState.CLOSED)
        return {self.rules.channel: channels, self.rules.escrow: sum(locked)}

    def move(self, source: Address, target: Address, amount: int) -> None:
        """Move tokens, or refuse."""
        if self.tokens.get(source, 0) < amount:
            raise ChainRejected(f"{source.hex()} has no {amount} tokens")
        self.tokens[source] = self.tokens.get(source, 0) - amount
        self.tokens[target] = self.tokens.get(target, 0) + amount


Call: TypeAlias = Callable[[Contracts, Address, int], list[Told]]
"""Applied to the state by a sender in a block of this time. Raises ChainRejected and may leave the state half changed:
whoever applies it works on a copy."""


# ------------------------------------------------------------------------------------------------------------ channels


def open_channel(signer: Address, payee: Address, token: Address, amount: int) -> Call:
    """Open the sender's next channel."""

    def run(state: Contracts, sender: Address, _now: int) -> list[Told]:
        counter = state.counters[sender] = state.counters.get(sender, 0) + 1
        key = ChannelKey(payer=sender, signer=signer, payee=payee, token=token, counter=counter)
        _require(amount > 0, "ZeroAmount")
        state.move(sender, state.rules.channel, amount)
        state.channels[channel_id(key)] = ChannelRecord(key=key, deposit=amount)
        return [(channel_id(key), channel_facts.OpenConfirmed(key=key, deposit=Amount(amount)))]

    return run


def top_up(channel: Digest, amount: int) -> Call:
    """Add to a deposit."""

    def run(state: Contracts, sender: Address, _now: int) -> list[Told]:
        record = _channel(state, channel)
        _require(not record.exits_at, "ExitPending")
        _require(amount > 0, "ZeroAmount")
        state.move(sender, state.rules.channel, amount)
        state.channels[channel] = record = replace(record, deposit=record.deposit + amount)
        return [(channel, channel_facts.TopUpConfirmed(deposit=Amount(record.deposit)))]

    return run


def claim(channel: Digest, voucher: Signed[Voucher]) -> Call:
    """Pay out what a voucher says."""

    def run(state: Contracts, _sender: Address, _now: int) -> list[Told]:
        _check_voucher(state, channel, voucher)
        told = _claim(state, channel, voucher.value.cumulative)
        _require(bool(told), "NothingToClaim")
        return told

    return run


def claim_batch(claims: Sequence[tuple[Digest, Signed[Voucher]]]) -> Call:
    """Pay out what several vouchers say; those that pay nothing are left out."""

    def run(state: Contracts, sender: Address, now: int) -> list[Told]:
        told: list[Told] = []
        for channel, voucher in claims:
            with contextlib.suppress(ChainRejected):
                told += claim(channel, voucher)(state, sender, now)
        return told

    return run


def present(channel: Digest, voucher: Signed[Voucher]) -> Call:
    """Pay out what a voucher says and reserve its holds; the sender is the payee."""

    def run(state: Contracts, sender: Address, _now: int) -> list[Told]:
        record, value = _channel(state, channel), voucher.value
        _require(value.sequence > record.sequence, "StaleVoucher")
        _check_voucher(state, channel, voucher)
        _require(sender == record.key.payee, "BadSignature")
        state.channels[channel] = replace(
            record, sequence=value.sequence, held=int(value.held), base=int(value.cumulative)
        )
        presented = channel_facts.PresentConfirmed(
            sequence=value.sequence, cumulative=value.cumulative, held=value.held
        )
        return [(channel, presented), *_claim(state, channel, value.cumulative)]

    return run


def start_exit(channel: Digest) -> Call:
    """Begin to leave; the sender is the payer."""

    def run(state: Contracts, sender: Address, now: int) -> list[Told]:
        record = _channel(state, channel)
        _require(sender == record.key.payer, "NotPayer")
        _require(not record.exits_at, "ExitPending")
        exits_at = now + state.rules.challenge
        state.channels[channel] = replace(record, exits_at=exits_at)
        return [(channel, channel_facts.ExitConfirmed(exits_at=UnixTime(exits_at)))]

    return run


def withdraw(channel: Digest) -> Call:
    """Send the payer what is free."""

    def run(state: Contracts, _sender: Address, now: int) -> list[Told]:
        record, rules = _channel(state, channel), state.rules
        _require(bool(record.exits_at) and now > record.exits_at, "ExitNotOver")
        held = 0 if now > record.exits_at + rules.hold_period else record.held
        reserve = max(record.base + held, record.claimed) if held else record.claimed
        kept = min(reserve, record.deposit)
        amount = record.deposit - kept
        _require(amount > 0 or kept == record.claimed, "ExitNotOver")
        told: list[Told] = [(channel, channel_facts.WithdrawConfirmed(amount=Amount(amount)))]
        if kept == record.claimed:
            told += _end(state, channel, record.claimed)
        else:
            state.channels[channel] = replace(record, deposit=kept)
        state.move(rules.channel, record.key.payer, amount)
        return told

    return run


def close_channel(channel: Digest, agreed: Signed[Close]) -> Call:
    """End a channel as its signer signed; the sender is the payee."""

    def run(state: Contracts, sender: Address, now: int) -> list[Told]:
        record, value = _channel(state, channel), agreed.value
        _require(value.channel == channel, "WrongChannel")
        _require(now <= value.close_by, "CloseExpired")
        _require(record.claimed <= value.cumulative <= record.deposit, "CloseOutOfRange")
        _check_signed(record.key.signer, state.rules.channels, agreed)
        _require(sender == record.key.payee, "BadSignature")
        told = _end(state, channel, int(value.cumulative))
        state.move(state.rules.channel, record.key.payee, value.cumulative - record.claimed)
        state.move(state.rules.channel, record.key.payer, record.deposit - value.cumulative)
        return told

    return run


def _claim(state: Contracts, channel: Digest, cumulative: int) -> list[Told]:
    record = state.channels[channel]
    total = min(cumulative, record.deposit)
    if total <= record.claimed:
        return []
    state.move(state.rules.channel, record.key.payee, total - record.claimed)
    state.channels[channel] = replace(record, claimed=total)
    return [(channel, channel_facts.ClaimConfirmed(claimed=Amount(total)))]


def _end(state: Contracts, channel: Digest, to_payee: int) -> list[Told]:
    del state.channels[channel]
    return [(channel, channel_facts.CloseConfirmed(to_payee=Amount(to_payee)))]


def _channel(state: Contracts, channel: Digest) -> ChannelRecord:
    record = state.channels.get(channel)
    if record is None:
        raise ChainRejected("ChannelUnknown")
    return record


def _check_voucher(state: Contracts, channel: Digest, voucher: Signed[Voucher]) -> None:
    record = _channel(state, channel)
    _require(voucher.value.channel == channel, "WrongChannel")
    _check_signed(record.key.signer, state.rules.channels, voucher)


# -------------------------------------------------------------------------------------------------------------- escrow


def fund(award: Signed[Award]) -> Call:
    """Lock an award's price and fee."""

    def run(state: Contracts, sender: Address, now: int) -> list[Told]:
        value, rules = award.value, state.rules
        award_id = digest(rules.market, value)
        _require(award_id not in state.escrows, "WrongState")
        _require(value.rail == rules.escrow and not any(value.channel), "NotForEscrow")
        sound = value.price and value.parts and value.start_by < value.deliver_by and value.pace >= rules.min_pace
        _require(bool(sound), "BadTerms")
        _require(now <= value.start_by, "TooLate")
        _check_signed(value.requester, rules.market, award)
        amount = value.price + value.dispute_fee
        state.move(sender, rules.escrow, amount)
        state.escrows[award_id] = EscrowRecord(award=value, state=EscrowState.FUNDED, amount=amount)
        return [(award_id, escrow_facts.FundConfirmed(amount=Amount(amount)))]

    return run


def release(award: Award, acceptance: Signed[Acceptance]) -> Call:
    """Pay what was accepted."""

    def run(state: Contracts, sender: Address, _now: int) -> list[Told]:
        award_id, record = _escrow(state, award)
        _require(record.state is not EscrowState.CLOSED, "WrongState")
        value = acceptance.value
        last = award.first_part + award.parts - 1
        _require(value.award == award_id and award.first_part <= value.part <= last, "PartOutOfRange")
        _require(value.due <= award.price, "DueOutOfRange")
        if sender != award.requester:
            _check_signed(award.requester, state.rules.market, acceptance)
        payment = max(0, value.due - record.paid)
        trusted = sender == award.provider or value.due == award.price
        closing = trusted and record.state is not EscrowState.DISPUTED and value.part == last
        _require(payment > 0 or closing, "NothingDue")
        if closing:
            return _close(state, award_id, record, escrow_facts.Outcome.ACCEPTED, record.paid + payment)
        state.move(state.rules.escrow, award.provider, payment)
        record = replace(record, paid=record.paid + payment)
        told: list[Told] = [(award_id, escrow_facts.ReleaseConfirmed(part=value.part, paid=Amount(record.paid)))]
        if record.state is EscrowState.CLAIMED and value.due >= record.due:
            told.append((award_id, escrow_facts.ClaimAcceptedConfirmed()))
            record = replace(record, state=EscrowState.STARTED, time=0)
        elif record.state in (EscrowState.FUNDED, EscrowState.RECALLED):
            record = replace(record, state=EscrowState.STARTED, time=0)
        state.escrows[award_id] = record
        return told

    return run


def recall(award: Award) -> Call:
    """Say that no start came."""

    def run(state: Contracts, sender: Address, now: int) -> list[Told]:
        award_id, record = _escrow(state, award)
        _require(record.state is EscrowState.FUNDED, "WrongState")
        _require(sender == award.requester, "NotParty")
        _require(now > award.start_by, "TooEarly")
        state.escrows[award_id] = replace(record, state=EscrowState.RECALLED, time=now + award.pace)
        return [(award_id, escrow_facts.RecallConfirmed(start_proof_by=UnixTime(now + award.pace)))]

    return run


def prove_start(award: Award, start: Signed[Start]) -> Call:
    """Show the start that the requester says it has not seen."""

    def run(state: Contracts, _sender: Address, now: int) -> list[Told]:
        award_id, record = _escrow(state, award)
        _require(record.state is EscrowState.FUNDED or _is_recalled_in_time(record, now), "WrongState")
        _check_start(state, award_id, award, start)
        state.escrows[award_id] = replace(record, state=EscrowState.STARTED, time=0)
        return [(award_id, escrow_facts.StartConfirmed())]

    return run


def claim_award(award: Award, start: Signed[Start], receipt: Signed[Receipt]) -> Call:
    """Claim what was delivered and not accepted."""

    def run(state: Contracts, sender: Address, now: int) -> list[Told]:
        award_id, record = _escrow(state, award)
        is_open = record.state in (EscrowState.FUNDED, EscrowState.STARTED) or _is_recalled_in_time(record, now)
        _require(is_open, "WrongState")
        _require(sender == award.provider, "NotParty")
        _require(now <= award.deliver_by + award.pace, "TooLate")
        _check_start(state, award_id, award, start)
        value = receipt.value
        _require(value.award == award_id, "WrongAward")
        _require(award.first_part <= value.part < award.first_part + award.parts, "PartOutOfRange")
        _check_signed(award.provider, state.rules.market, receipt)
        _require(record.paid < value.due <= award.price, "DueOutOfRange")
        dispute_by = now + award.pace
        state.escrows[award_id] = replace(record, state=EscrowState.CLAIMED, time=dispute_by, due=int(value.due))
        claimed = escrow_facts.ClaimConfirmed(
            part=value.part,
            due=value.due,
            receipt=digest(state.rules.market, value),
            dispute_by=UnixTime(dispute_by),
        )
        return [(award_id, claimed)]

    return run


def pay_claim(award: Award) -> Call:
    """Pay a claim that nobody disputed."""

    def run(state: Contracts, _sender: Address, now: int) -> list[Told]:
        award_id, record = _escrow(state, award)
        _require(record.state is EscrowState.CLAIMED and now > record.time, "WrongState")
        return _close(state, award_id, record, escrow_facts.Outcome.PAID, max(record.due, record.paid))

    return run


def dispute(award: Award) -> Call:
    """Dispute a claim; nobody judges it here."""

    def run(state: Contracts, sender: Address, now: int) -> list[Told]:
        award_id, record = _escrow(state, award)
        _require(record.state is EscrowState.CLAIMED and now <= record.time, "WrongState")
        _require(sender in (award.requester, award.provider), "NotParty")
        wait = award.resolve_within if any(award.arbiter) else 0
        state.escrows[award_id] = replace(record, state=EscrowState.DISPUTED, time=now + wait)
        return [(award_id, escrow_facts.DisputeConfirmed(opener=sender, resolve_by=UnixTime(now + wait)))]

    return run


def split(award: Award) -> Call:
    """Close a dispute that nobody judged."""

    def run(state: Contracts, _sender: Address, now: int) -> list[Told]:
        award_id, record = _escrow(state, award)
        _require(record.state is EscrowState.DISPUTED and now > record.time, "WrongState")
        rest = max(record.due, record.paid) - record.paid
        due = record.paid + rest * award.split_bps // BASIS_POINTS
        return _close(state, award_id, record, escrow_facts.Outcome.SPLIT, due)

    return run


def refund(award: Award) -> Call:
    """Send the rest back to the requester."""

    def run(state: Contracts, _sender: Address, now: int) -> list[Told]:
        award_id, record = _escrow(state, award)
        deadline = award.deliver_by + award.pace
        if record.state is EscrowState.RECALLED:
            deadline = min(deadline, record.time)
        else:
            _require(record.state in (EscrowState.FUNDED, EscrowState.STARTED), "WrongState")
        _require(now > deadline, "TooEarly")
        return _close(state, award_id, record, escrow_facts.Outcome.REFUNDED, record.paid)

    return run


def _close(
    state: Contracts, award_id: Digest, record: EscrowRecord, outcome: escrow_facts.Outcome, due: int
) -> list[Told]:
    award = record.award
    to_requester = record.amount - due
    state.move(state.rules.escrow, award.provider, due - record.paid)
    state.move(state.rules.escrow, award.requester, to_requester)
    state.escrows[award_id] = replace(record, state=EscrowState.CLOSED, paid=due)
    closed = escrow_facts.CloseConfirmed(
        outcome=outcome, to_provider=Amount(due), to_requester=Amount(to_requester), to_arbiter=Amount(0)
    )
    return [(award_id, closed)]


def _escrow(state: Contracts, award: Award) -> tuple[Digest, EscrowRecord]:
    award_id = digest(state.rules.market, award)
    record = state.escrows.get(award_id)
    if record is None:
        raise ChainRejected("WrongState")
    return award_id, record


def _is_recalled_in_time(record: EscrowRecord, now: int) -> bool:
    return record.state is EscrowState.RECALLED and now <= record.time


def _check_start(state: Contracts, award_id: Digest, award: Award, start: Signed[Start]) -> None:
    _require(start.value.award == award_id, "WrongAward")
    _require(start.value.at <= award.start_by, "StartedTooLate")
    _check_signed(award.provider, state.rules.market, start)


def _check_signed(party: Address, domain: Domain, signed: Signed[T]) -> None:
    try:
        verify_signer(domain, signed, party)
    except ProtocolError as error:
        raise ChainRejected("BadSignature") from error


def _require(holds: bool, reason: str) -> None:  # noqa: FBT001 - reads like Solidity's require
    if not holds:
        raise ChainRejected(reason)
