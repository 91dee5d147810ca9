"""What a party of a case needs beside the court and the network (`node.arbitration.ports`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from node.arbitration.ports import Papers
from protocol.channel.objects import ChannelKey, Hold
from protocol.dispute.acting import HoldSight
from protocol.dispute.messages import Dossier
from protocol.dispute.party import Brief
from protocol.identity import ContentDigest, Digest
from protocol.market.objects import Award
from protocol.units import Amount, UnixTime


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
class EscrowClaim:
    """What a provider claims, or has claimed and is disputed: `due` in all, by what the subject names."""

    subject: Subject
    due: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class EscrowSight:
    """How far an escrow is, to a court.

    Attributes:
        resolve_by: Until when it waits for a verdict; None while its claim is not disputed.
        is_over: Whether it is closed, or never was.
        paid: What its provider has been paid from it, base units.
        dispute_by: Until when its claim may be disputed; None without one, and once it is disputed.
        claim: What is claimed; None if nothing is.
    """

    resolve_by: UnixTime | None
    is_over: bool
    paid: Amount = Amount(0)
    dispute_by: UnixTime | None = None
    claim: EscrowClaim | None = None


class Escrows(Protocol):
    """The escrows that this node funded or is paid from, as the confirmed chain tells."""

    def look(self, award: Digest) -> EscrowSight:
        """Return how far an award's escrow is."""
        ...


class Holds(Protocol):
    """The holds in channels that pay this node. Each call is safe to repeat.

    Those that send raise TransientError if that takes long or can't be done now, and ProtocolError if nothing is there.
    """

    async def look(self, award: Award, award_id: Digest) -> HoldSight:
        """Return what stands for an award in its channel."""
        ...

    async def secure(self, award: Award, award_id: Digest) -> None:
        """Have the newest voucher with an award's hold count on chain."""
        ...

    async def ready(self, award: Award, award_id: Digest) -> tuple[ChannelKey, Sequence[Hold]] | None:
        """Prepare for an award's hold to be enforced; None while that would harm other work in its channel.

        Returns:
            The channel, and all holds under the voucher that counts on chain.
        """
        ...

    async def leave(self, award: Award, award_id: Digest) -> None:
        """Insist no more on what an award's hold still backs."""
        ...

    async def costs(self) -> Amount:
        """Return what it costs in gas to go through with a case over a hold, in the token."""
        ...


class Bonds(Protocol):
    """The wallet, as far as it counts bonds."""

    async def close_account(self, account: Digest) -> None:
        """Forget an account from which nothing more can be signed for."""
        ...


class Keeping(Protocol):
    """The blob store."""

    async def keep(self, digest: ContentDigest, keep_until: UnixTime) -> None:
        """Keep a blob at least until then, now or once it comes."""
        ...
