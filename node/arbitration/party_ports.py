"""What a party of a case needs beside the court and the network (`node.arbitration.ports`)."""

from dataclasses import dataclass
from typing import Protocol

from node.arbitration.ports import Papers
from protocol.dispute.messages import Dossier
from protocol.dispute.party import Brief
from protocol.identity import ContentDigest, Digest
from protocol.units import UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a case is about, as the court tells: a part, and the digest of its receipt."""

    part: int
    receipt: Digest


class PartyPapers(Papers, Protocol):
    """What this node holds of its own awards, and what it would go to court with."""

    async def dossier_of(self, award: Digest, subject: Subject | None = None) -> Dossier | None:
        """Return what this node shows the court, or None if the award isn't its own.

        Without a subject it is about the receipt of the last part.
        """
        ...

    async def brief_of(self, award: Digest) -> Brief | None:
        """Return what this node knows of an award that it made or won; None if it is another's."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EscrowSight:
    """How far an escrow is, to a court.

    Attributes:
        resolve_by: Until when it waits for a verdict; None while its claim is not disputed.
        is_over: Whether it is closed, or never was.
    """

    resolve_by: UnixTime | None
    is_over: bool


class Escrows(Protocol):
    """The escrows that this node has funded, as the confirmed chain tells."""

    def look(self, award: Digest) -> EscrowSight:
        """Return how far an award's escrow is."""
        ...


class Keeping(Protocol):
    """The blob store."""

    async def keep(self, digest: ContentDigest, keep_until: UnixTime) -> None:
        """Keep a blob at least until then, now or once it comes."""
        ...
