"""What a payer that may have forgotten signatures goes on from. Pure; docs/spec/channel.md, section 7; docs/adr/1302.

Theory. The journal of a restored node is a true beginning of what happened, and nothing says how much is missing. But
whatever was signed and matters is with the payee, and this side's own signature proves it. So the payer asks the payee,
and goes on from the later of the two: what the payee shows, or what the journal says. What the payee hides harms only
itself: totals run, so of two vouchers it may claim the greater, never the sum. And it can't turn what it hides into
evidence that this side contradicted itself, since the next voucher skips `SEQUENCE_GAP` numbers: no sequence that may
have been signed is signed again.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from protocol.channel.errors import EvidenceTooOld, HoldsMismatch, StateInDoubt, WrongChannel
from protocol.channel.holds import verify_holds
from protocol.channel.ledger import Ledger, Promise
from protocol.channel.messages import NewestAnswer
from protocol.channel.objects import ChannelKey, Hold, Voucher, channel_id
from protocol.channel.paying import Account, Exiting, NewestShown, Open
from protocol.signing.eip712 import Domain
from protocol.signing.signed import verify_signer
from protocol.units import Amount, format_amount

SEQUENCE_GAP: Final = 2**32
"""More vouchers than a channel ever signs between two backups; a sequence has room for as many gaps."""


def verify_shown(domain: Domain, key: ChannelKey, answer: NewestAnswer) -> None:
    """Check that a payee's answer is this side's own word.

    Raises:
        WrongChannel: The voucher is of another channel.
        BadSignature: This side did not sign it.
        HoldsMismatch: The holds are not those of the voucher.
    """
    if answer.voucher is None:
        if answer.holds:
            raise HoldsMismatch("holds came without a voucher")
        return
    if answer.voucher.value.channel != channel_id(key):
        raise WrongChannel("the payee shows a voucher of another channel")
    verify_signer(domain, answer.voucher, key.signer)
    verify_holds(answer.voucher.value, answer.holds)


def require_known(state: Open | Exiting) -> None:
    """Check that this side knows what it has signed.

    Raises:
        StateInDoubt: It may have forgotten something.
    """
    if state.doubt:
        raise StateInDoubt


def chain_knows_more(account: Account, ledger: Ledger) -> bool:
    """Tell whether the chain has seen a voucher that `ledger` does not contain: proof that something is forgotten."""
    return account.by_voucher > ledger.cumulative or account.presented > ledger.sequence


def catch_up(account: Account, ledger: Ledger, shown: NewestShown) -> Ledger:
    """Return the ledger to go on from.

    Args:
        account: What the chain has seen.
        ledger: What the journal says.
        shown: What the payee shows, checked by `verify_shown`.

    Raises:
        EvidenceTooOld: The chain has seen more than journal and payee together tell.
    """
    newest = ledger
    if shown.voucher is not None and shown.voucher.sequence > ledger.sequence:
        newest = _adopt(ledger, shown.voucher, shown.holds)
    if chain_knows_more(account, newest):
        raise EvidenceTooOld(
            f"the chain has paid {format_amount(account.by_voucher)} and seen voucher {account.presented}, the payee"
            f" shows voucher {newest.sequence} over {format_amount(newest.cumulative)}",
            advice="the payee holds a later voucher and does not show it; close the channel if it goes on so",
        )
    return replace(newest, sequence=newest.sequence + SEQUENCE_GAP)


def _adopt(ledger: Ledger, voucher: Voucher, holds: Sequence[Hold]) -> Ledger:
    known = {promise.award: promise for promise in ledger.promises}
    return Ledger(
        sequence=voucher.sequence,
        cumulative=voucher.cumulative,
        promises=tuple(_promise_behind(hold, known.get(hold.award)) for hold in holds),
        acknowledged=voucher.sequence,
    )


def _promise_behind(hold: Hold, known: Promise | None) -> Promise:
    """Return the promise that a hold is the rest of. Of a forgotten one only this rest is known."""
    if known is not None and known.arbiter == hold.arbiter:
        paid = known.price + known.dispute_fee - hold.amount
        if known.paid <= paid <= known.price:
            return replace(known, paid=Amount(paid))
    return Promise(award=hold.award, arbiter=hold.arbiter, price=hold.amount, dispute_fee=Amount(0))
