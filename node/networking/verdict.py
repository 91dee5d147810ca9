"""What a validator says of a gossip message before it is relayed."""

from enum import Enum


class Verdict(Enum):
    """The three answers of GossipSub 1.1."""

    ACCEPT = "accept"
    """Deliver here and relay."""
    IGNORE = "ignore"
    """Neither, and nobody is to blame: late, of no interest, already known."""
    REJECT = "reject"
    """Neither, and whoever forwarded it should have known: a strike against it."""
