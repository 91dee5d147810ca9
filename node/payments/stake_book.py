"""What a stake's stream opens with, on both sides."""

from dataclasses import dataclass

from node.payments.errors import NotSeenYet
from node.payments.stake_ports import StakeChain, StakeSeen
from protocol.identity import Digest
from protocol.market.objects import Award
from protocol.signing.signed import Signed
from protocol.units import Uint64


@dataclass(frozen=True, slots=True, kw_only=True)
class StakeContext:
    """What is known when this side begins to look after an award's stake.

    Attributes:
        award: As signed.
        award_id: Its digest.
        block: After which the contracts were looked at; facts up to it are in `seen`.
        seen: What they said.
        with_bonus: Whether this side deposits a bonus; only of the requester's.
    """

    award: Signed[Award]
    award_id: Digest
    block: Uint64
    seen: StakeSeen
    with_bonus: bool = False


async def stake_context(
    chain: StakeChain, award: Signed[Award], award_id: Digest, block: int, *, with_bonus: bool = False
) -> StakeContext:
    """Look at an award's stake as of `block`, at which the caller holds the feed still.

    The other side may have acted before this one began to look, and a restored node before its backup.

    Raises:
        NotSeenYet: The feed has come to no block yet.
        TransientError: The chain can't be reached.
    """
    if not block:
        raise NotSeenYet("no block of the chain was seen yet")
    seen = await chain.seen(award_id, block)
    return StakeContext(award=award, award_id=award_id, block=block, seen=seen, with_bonus=with_bonus)
