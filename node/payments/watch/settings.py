"""What an operator may choose about watching, for others and by others."""

from dataclasses import dataclass
from typing import Final

from protocol.identity import Address
from protocol.units import ONE_TOKEN, Amount

MIB: Final = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSettings:
    """Both sides of it; by default neither is on.

    Attributes:
        towers: Wallets of the nodes that watch for this one.
        hand_at: Least money at stake in a channel, beyond what a tower knows of, for which it is told again.
        clients: Wallets of the payees for whom this node watches.
        watches_per_client: Most channels of one client.
        bytes_per_client: Most bytes of all its orders.
        least: Smallest deposit that is watched, and smallest gain for which this node acts.
        acts_per_day: Most transactions for one client in any 24 hours.
    """

    towers: tuple[Address, ...] = ()
    hand_at: Amount = ONE_TOKEN
    clients: frozenset[Address] = frozenset()
    watches_per_client: int = 256
    bytes_per_client: int = 4 * MIB
    least: Amount = ONE_TOKEN
    acts_per_day: int = 48
