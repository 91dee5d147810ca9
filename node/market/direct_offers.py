"""Offers of direct hires that a provider has heard. They name nobody, so it has to remember them until an award comes.

What is forgotten, by a restart or for want of room, is told anew: a requester sends the offer ahead of the award.
"""

from collections import Counter
from typing import Final

from protocol.identity import Digest
from protocol.market.messages import OfferAnnouncement
from protocol.units import UnixTime

OFFERS_KEPT: Final = 256
"""At most 40 KiB each: 10 MiB that strangers can fill."""


class DirectOffers:
    """Remembers offers until they expire; when there is no room, whoever made most of them loses its oldest."""

    def __init__(self) -> None:
        self._offers: dict[Digest, OfferAnnouncement] = {}

    def keep(self, offer_id: Digest, announcement: OfferAnnouncement) -> None:
        """Remember an offer. What others made is not flushed out by a flood of one wallet's."""
        self._offers[offer_id] = announcement
        if len(self._offers) > OFFERS_KEPT:
            busiest, _ = Counter(each.signed.value.requester for each in self._offers.values()).most_common(1)[0]
            oldest = next(key for key, each in self._offers.items() if each.signed.value.requester == busiest)
            del self._offers[oldest]

    def get(self, offer_id: Digest) -> OfferAnnouncement | None:
        """Return an offer, if it is remembered."""
        return self._offers.get(offer_id)

    def forget_expired(self, now: UnixTime) -> None:
        """Drop what nobody can be hired by any more."""
        over = [key for key, each in self._offers.items() if now > each.signed.value.expires]
        for key in over:
            del self._offers[key]

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._offers)
