"""One-way payment channel, payer's side. Pure; docs/spec/channel.md, section 3.

Theory. A channel is one deposit and one growing voucher. For each award the payer keeps a *promise*: its price, its
dispute fee and what was paid of the price; the hold of an award is what of price and fee is not yet paid, and the
voucher is nothing but the sum of all that:

    cumulative = everything ever paid        held = sum over promises of price + fee - paid

A payment lifts `paid`, so it moves money from `held` to `cumulative` in one voucher and their sum stays. Only a new
promise raises the sum, and only it is measured against the deposit: hence `cumulative + held <= deposit` in every
voucher ever signed, whichever of them the payee submits, and no deposit is promised twice. The sequence grows with
every change and each sequence has one content, so signing again after a crash repeats the same bytes.

    phase     event                                       next
    -----     -----                                       ----
    Opening   OpenConfirmed                               Open
    Open      HoldRequested, PaymentDue, HoldReleased     Open        SendVoucher
    Open      TopUpRequested / TopUpConfirmed             Open        SubmitTopUp / -
    Open      ExitRequested                               Open        SubmitExit; promises nothing new
    Open      CloseRequested                              Open        SendClose; promises nothing new until it is void
    Open      ExitConfirmed                               Exiting
    Exiting   PaymentDue, HoldReleased                    Exiting     SendVoucher
    Exiting   BlockSeen after the challenge               Exiting     SubmitWithdraw; again after the hold period
    Open, Exiting   EnforceConfirmed                      the same    follows an ExitConfirmed
    any but Opening CloseConfirmed                        Settled
    Opening, Open, Exiting   Doubted                      the same, in doubt     AskOpened, AskNewest
    Open, Exiting in doubt   NewestShown                  the same, known again  SendVoucher

In `Open` and `Exiting` the chain's ClaimConfirmed, PresentConfirmed, WithdrawConfirmed and BlockSeen update
what is known; if they tell of a voucher that the ledger does not contain, the channel is in doubt by itself. In doubt
nothing is signed and nothing promised; leaving stays possible (protocol/channel/catching_up.py). Anything else raises
`UnexpectedEvent`.
"""

from dataclasses import replace
from typing import assert_never

from protocol.channel.catching_up import catch_up, chain_knows_more, require_known
from protocol.channel.chain import (
    BlockSeen,
    ClaimConfirmed,
    CloseConfirmed,
    EnforceConfirmed,
    ExitConfirmed,
    OpenConfirmed,
    PresentConfirmed,
    TopUpConfirmed,
    WithdrawConfirmed,
)
from protocol.channel.errors import (
    ClosePending,
    DepositExceeded,
    ExitPending,
    ImpossibleFact,
    UnexpectedEvent,
    WorkOutstanding,
    WrongChannel,
)
from protocol.channel.ledger import Ledger, acknowledge, pay, promise, release
from protocol.channel.objects import ChannelKey, ChannelRules, Close
from protocol.channel.paying import (
    Account,
    AskNewest,
    AskOpened,
    CloseRequested,
    Doubted,
    Exiting,
    ExitRequested,
    HoldReleased,
    HoldRequested,
    NewestShown,
    Open,
    Opening,
    PayerEffect,
    PayerEvent,
    PayerState,
    PaymentDue,
    SendClose,
    SendVoucher,
    Settled,
    SubmitExit,
    SubmitOpen,
    SubmitTopUp,
    SubmitWithdraw,
    TopUpRequested,
    VoucherAcknowledged,
)
from protocol.settlement.deadlines import is_over
from protocol.units import MAX_AMOUNT, Amount, UnixTime, format_amount

Step = tuple[PayerState, tuple[PayerEffect, ...]]


def start_opening(key: ChannelKey, amount: Amount, rules: ChannelRules) -> Opening:
    """Return the first state of a channel that `key.payer` opens with `amount`."""
    return Opening(key=key, amount=amount, rules=rules)


def free_deposit(state: Open) -> int:
    """Return how much of the confirmed deposit is neither paid nor promised."""
    return state.account.deposit - state.ledger.cumulative - state.ledger.held


def transition(state: PayerState, event: PayerEvent) -> Step:
    """Apply one event.

    Returns:
        The state after it and what must now be done.

    Raises:
        ChannelError: The event is not allowed; `state` is still what holds.
    """
    match state:
        case Opening():
            return _opening(state, event)
        case Open():
            return _open(state, event)
        case Exiting():
            return _exiting(state, event)
        case Settled():
            if isinstance(event, BlockSeen | Doubted):
                return state, ()
            raise UnexpectedEvent(state, event)
        case _:
            assert_never(state)


def outstanding(state: PayerState) -> tuple[PayerEffect, ...]:
    """Return what `state` still needs done: after a replay, or when a peer comes back."""
    if isinstance(state, Opening | Open | Exiting) and state.doubt:
        return _outstanding_in_doubt(state)
    match state:
        case Opening(key=key, amount=amount):
            return (SubmitOpen(key=key, amount=amount),)
        case Open(account=account, top_up_to=target, leaving=leaving, close=close):
            effects: list[PayerEffect] = [*_unacknowledged(account, state.ledger)]
            if target is not None:
                missing = Amount(target - account.deposit)
                effects.append(SubmitTopUp(key=account.key, amount=missing, target=target))
            if leaving:
                effects.append(SubmitExit(key=account.key))
            if close is not None:
                effects.append(SendClose(close=close))
            return tuple(effects)
        case Exiting(account=account):
            return (*_unacknowledged(account, state.ledger), *_withdrawal_of(state))
        case Settled():
            return ()
        case _:
            assert_never(state)


def _outstanding_in_doubt(state: Opening | Open | Exiting) -> tuple[PayerEffect, ...]:
    """What needs no knowledge of what was signed: to ask for it, and to leave."""
    match state:
        case Opening(key=key):
            return (AskOpened(key=key),)
        case Open(account=account, leaving=leaving):
            return (AskNewest(key=account.key), *((SubmitExit(key=account.key),) if leaving else ()))
        case Exiting(account=account):
            return (AskNewest(key=account.key), *_withdrawal_of(state))


def _opening(state: Opening, event: PayerEvent) -> Step:
    match event:
        case OpenConfirmed(key=key, deposit=deposit):
            if key != state.key:
                raise WrongChannel("another channel was opened than the one that was asked for")
            account = Account(key=key, rules=state.rules, deposit=deposit)
            return _told(Open(account=account, ledger=Ledger(), doubt=state.doubt))
        case Doubted():
            return _told(replace(state, doubt=True))
        case NewestShown() if state.doubt:  # the chain says that nothing was opened under this key
            return _told(replace(state, doubt=False))
        case BlockSeen():
            return state, ()
        case _:
            raise UnexpectedEvent(state, event)


def _open(state: Open, event: PayerEvent) -> Step:
    match event:
        case HoldRequested():
            return _promised(state, event)
        case TopUpRequested(amount=amount):
            return _topping_up(state, amount)
        case TopUpConfirmed(deposit=deposit):
            reached = state.top_up_to is None or deposit >= state.top_up_to
            account = replace(state.account, deposit=deposit)
            return replace(state, account=account, top_up_to=None if reached else state.top_up_to), ()
        case ExitRequested():
            after = replace(state, leaving=True, top_up_to=None)
            return after, (SubmitExit(key=state.account.key),)
        case CloseRequested(close_by=close_by):
            return _closing(state, close_by)
        case ExitConfirmed(exits_at=exits_at):
            exiting = Exiting(account=state.account, ledger=state.ledger, exits_at=exits_at, doubt=state.doubt)
            return exiting, outstanding(exiting)
        case BlockSeen(time=time):
            account = _at(state.account, time)
            void = state.close is not None and is_over(state.close.close_by, account.now)
            if not void and account.now == state.account.now:
                return state, ()  # asked for many times between two blocks
            return replace(state, account=account, close=None if void else state.close), ()
        case _:
            return _either(state, event)


def _exiting(state: Exiting, event: PayerEvent) -> Step:
    match event:
        case WithdrawConfirmed(amount=amount):
            account = replace(state.account, deposit=_less(state.account.deposit, amount))
            return replace(state, account=account), ()
        case BlockSeen(time=time):
            after = replace(state, account=_at(state.account, time))
            return after, _withdrawal_of(after)
        case ExitRequested():
            return state, ()
        case _:
            return _either(state, event)


def _either(state: Open | Exiting, event: PayerEvent) -> Step:
    """Apply what means the same before and during an exit."""
    account = state.account
    match event:
        case Doubted():
            return _told(replace(state, doubt=True))
        case NewestShown() if state.doubt:
            return _told(replace(state, ledger=catch_up(account, state.ledger, event), doubt=False))
        case PaymentDue(award=award, due=due):
            require_known(state)
            return _with_ledger(state, pay(state.ledger, award, due))
        case HoldReleased(award=award):
            require_known(state)
            return _with_ledger(state, release(state.ledger, award))
        case VoucherAcknowledged(sequence=sequence):
            return replace(state, ledger=acknowledge(state.ledger, sequence)), ()
        case ClaimConfirmed(claimed=claimed):
            return _seen(state, replace(account, claimed=claimed, by_voucher=claimed))
        case PresentConfirmed(sequence=sequence, cumulative=cumulative, held=held):
            reserved = Amount(cumulative + held if held else 0)
            return _seen(state, replace(account, reserved=reserved, presented=sequence))
        case EnforceConfirmed():
            return _judged(state, event)
        case CloseConfirmed(to_payee=to_payee):
            return Settled(channel=account.channel, paid=to_payee), ()
        case _:
            raise UnexpectedEvent(state, event)


def _seen(state: Open | Exiting, account: Account) -> Step:
    """Note what the chain saw; a voucher that this side can't remember puts the channel in doubt."""
    doubt = state.doubt or chain_knows_more(account, state.ledger)
    return replace(state, account=account, doubt=doubt), ()


def _told(state: PayerState) -> Step:
    return state, outstanding(state)


def _promised(state: Open, event: HoldRequested) -> Step:
    require_known(state)
    if state.leaving:
        raise ExitPending("this side is leaving the channel and promises nothing new")
    if state.close is not None:
        raise ClosePending(f"a close of this channel is proposed until {state.close.close_by}")
    after = promise(state.ledger, event.award, event.arbiter, event.price, event.dispute_fee)
    if after.cumulative + after.held > state.account.deposit:
        raise DepositExceeded(asked=event.price + event.dispute_fee, free=free_deposit(state))
    return _with_ledger(state, after)


def _topping_up(state: Open, amount: Amount) -> Step:
    require_known(state)
    if state.leaving:
        raise ExitPending("the channel takes no money while an exit is pending")
    target = (state.top_up_to or state.account.deposit) + amount
    if not amount or target > MAX_AMOUNT:
        raise DepositExceeded(asked=amount, free=MAX_AMOUNT - state.account.deposit)
    after = replace(state, top_up_to=Amount(target))
    missing = Amount(target - state.account.deposit)
    return after, (SubmitTopUp(key=state.account.key, amount=missing, target=Amount(target)),)


def _closing(state: Open, close_by: UnixTime) -> Step:
    require_known(state)
    if state.ledger.held:
        raise WorkOutstanding("tasks are in flight; close when they are paid and their holds released")
    close = Close(channel=state.account.channel, cumulative=state.ledger.cumulative, close_by=close_by)
    if state.close is not None and state.close != close:
        raise ClosePending(f"a close of this channel is proposed until {state.close.close_by}")
    return replace(state, close=close), (SendClose(close=close),)


def _with_ledger(state: Open | Exiting, ledger: Ledger) -> Step:
    after = replace(state, ledger=ledger)
    return after, _unacknowledged(state.account, ledger)


def _unacknowledged(account: Account, ledger: Ledger) -> tuple[PayerEffect, ...]:
    if ledger.acknowledged >= ledger.sequence:
        return ()
    return (SendVoucher(voucher=ledger.voucher(account.channel), holds=ledger.holds),)


def _judged(state: Open | Exiting, event: EnforceConfirmed) -> Step:
    """Note a verdict. The promise stays as it is: it applies to its hold in whichever voucher counts at last (P8)."""
    account = state.account
    deposit = _less(account.deposit, event.to_arbiter)
    claimed = Amount(account.claimed + event.to_payee)
    after = replace(state, account=replace(account, deposit=deposit, claimed=claimed, reserved=event.reserved))
    return after, _withdrawal_of(after) if isinstance(after, Exiting) else ()


def _withdrawal_of(state: Exiting) -> tuple[PayerEffect, ...]:
    """Order a withdrawal when the contract would send something, or close the channel since nothing is reserved."""
    account = state.account
    if not is_over(state.exits_at, account.now):
        return ()
    reserved_until = UnixTime(state.exits_at + account.rules.hold_period)
    reserved = 0 if is_over(reserved_until, account.now) else account.reserved
    kept = min(max(account.claimed, reserved), account.deposit)
    return (SubmitWithdraw(key=account.key),) if kept < account.deposit or kept == account.claimed else ()


def _at(account: Account, time: UnixTime) -> Account:
    return replace(account, now=max(account.now, time))


def _less(deposit: Amount, amount: Amount) -> Amount:
    if amount > deposit:  # the contract never sends more than it holds
        raise ImpossibleFact(f"{format_amount(amount)} left a channel that holds {format_amount(deposit)}")
    return Amount(deposit - amount)
