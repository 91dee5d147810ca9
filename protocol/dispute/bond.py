"""The bonds of a case: what who asks for a round puts down, for its committee (docs/spec/law.md, CT2 and CT7)."""

from protocol.dispute.schedule import SEATS
from protocol.identity import Address, Digest
from protocol.market.objects import Award
from protocol.signing.keccak import keccak256
from protocol.spending import Spend
from protocol.units import Amount


def bond_of(dispute_fee: int, number: int) -> Amount:
    """Return the bond of round `number`, base units: the dispute fee, or for an appeal a fifth of it for each seat."""
    return Amount(dispute_fee if number == 0 else dispute_fee // SEATS[0] * SEATS[number])


def bond_account(award_id: Digest, number: int) -> Digest:
    """Return the account under which a bond counts against the spending caps: it leaves beside the price."""
    return Digest(keccak256(b"bond " + bytes([number]) + award_id))


def bond_spend(award: Award, award_id: Digest, number: int, *, wallet: Address) -> Spend:
    """Return what a wallet promises by asking for round `number`: money for the task, in trade with the other side."""
    bond = bond_of(award.dispute_fee, number)
    return Spend(
        account=bond_account(award_id, number),
        total=bond,
        peer=award.provider if wallet == award.requester else award.requester,
        task=award.offer,
        task_total=bond,
    )
