"""Holds: the list behind a voucher's Merkle root (docs/spec/channel.md, section 2).

The list is sorted by award and each award stands in it once, so equal promises have one root. A hold of nothing is left
out. The leaf is `keccak(keccak(abi.encode(award, arbiter, amount)))`, as OpenZeppelin's MerkleProof wants it.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Final, TypeAlias

from protocol.channel.errors import HoldMissing, HoldsMismatch
from protocol.channel.objects import Hold, Voucher
from protocol.identity import Digest
from protocol.signing.eip712 import encode_words
from protocol.signing.merkle import leaf_hash, merkle_proof, merkle_root
from protocol.units import Amount
from protocol.wire.codec import MaxLen

MAX_HOLDS: Final = 256
"""Tasks in flight in one channel: 22 KiB of holds with a voucher, 0.5 ms of hashing."""

Holds: TypeAlias = Annotated[tuple[Hold, ...], MaxLen(MAX_HOLDS)]


@lru_cache(maxsize=4 * MAX_HOLDS)
def hold_leaf(hold: Hold) -> Digest:
    """Return the Merkle leaf of a hold. Remembered: from one voucher to the next one hold changes, if any."""
    return leaf_hash(encode_words(hold))


def holds_root(holds: Sequence[Hold]) -> Digest:
    """Return the root over `holds`, which are sorted; zero for none."""
    return merkle_root([hold_leaf(hold) for hold in holds])


def held_total(holds: Sequence[Hold]) -> int:
    """Return the sum of the holds, token base units. Holds from a stranger can add up to more than a uint128."""
    return sum(hold.amount for hold in holds)


def find_hold(holds: Sequence[Hold], award: Digest) -> Hold | None:
    """Return the hold of `award`, or None."""
    return next((hold for hold in holds if hold.award == award), None)


def hold_proof(holds: Sequence[Hold], award: Digest) -> tuple[Digest, ...]:
    """Return the Merkle proof of the hold of `award`, for the arbiter's entry.

    Raises:
        HoldMissing: No such hold.
    """
    for index, hold in enumerate(holds):
        if hold.award == award:
            return merkle_proof([hold_leaf(each) for each in holds], index)
    raise HoldMissing(f"there is no hold for award {award.hex()}")


def verify_holds(voucher: Voucher, holds: Sequence[Hold]) -> None:
    """Check that `holds` are exactly what `voucher` names.

    Raises:
        HoldsMismatch: Too many, unsorted, repeated, empty, of another sum, or under another root.
    """
    if len(holds) > MAX_HOLDS:
        raise HoldsMismatch(f"{len(holds)} holds, at most {MAX_HOLDS} are allowed")
    if any(before.award >= after.award for before, after in pairwise(holds)):
        raise HoldsMismatch("holds must be sorted by award, one for each")
    if not all(hold.amount for hold in holds):
        raise HoldsMismatch("a hold of nothing must be left out")
    if held_total(holds) != voucher.held:
        raise HoldsMismatch(f"the holds add up to {held_total(holds)}, the voucher says {voucher.held}")
    if holds_root(holds) != voucher.holds:
        raise HoldsMismatch("the holds have another Merkle root than the voucher")


def build_voucher(channel: Digest, sequence: int, cumulative: Amount, holds: Sequence[Hold]) -> Voucher:
    """Return the voucher over `holds`, which must be sorted and without empty ones."""
    return Voucher(
        channel=channel,
        sequence=sequence,
        cumulative=cumulative,
        held=Amount(held_total(holds)),
        holds=holds_root(holds),
    )
