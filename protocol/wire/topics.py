"""Gossip topics: their names, and the most that one message of each may weigh (docs/spec/auction.md, section 7).

A name carries the protocol's version, the chain and the market's contract. Nodes of different markets thus share no
topic, and a signature for another chain is somebody's fault rather than an everyday event.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from protocol.identity import format_address
from protocol.signing.eip712 import Domain

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class TopicKind:
    """What a topic carries. `max_bytes` bounds the encoded message, before anything of it is decoded."""

    label: str
    max_bytes: int


class MarketTopic(Enum):
    """The topics of the market."""

    OFFERS = TopicKind("offers", 40 * 1024)
    """An offer with its manifest (32 KiB at most)."""
    COMMITMENTS = TopicKind("commitments", 512)
    ROLLS = TopicKind("rolls", 24 * 1024)
    """A roll with up to 256 leaves."""
    BIDS = TopicKind("bids", 512)
    AWARDS = TopicKind("awards", 12 * 1024)
    """An award with up to 256 digests of bids."""
    FAULTS = TopicKind("faults", 4 * 1024)
    """Protests and proofs of faults."""

    @property
    def max_bytes(self) -> int:
        """The most that one message may weigh."""
        return self.value.max_bytes


def topic_name(domain: Domain, topic: MarketTopic) -> str:
    """Return a topic's name on the wire, `/stoa/1/<chain id>/<market contract>/offers`."""
    return f"/stoa/{VERSION}/{domain.chain_id}/{format_address(domain.verifying_contract)}/{topic.value.label}"
