"""What arbiters ask of the parties, and say to each other (docs/spec/wire-messages.md, section 7).

Each is the body of one request over the framed stream between two nodes, as in `protocol.task.messages`.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from protocol.dispute.objects import Vote
from protocol.dispute.schedule import SEATS
from protocol.identity import Digest
from protocol.market.objects import Award, Offer
from protocol.signing.ecdsa import Signature
from protocol.signing.signed import Signed
from protocol.task.manifest import MANIFEST_MAX_BYTES
from protocol.task.objects import Acceptance, Receipt
from protocol.task.pricing import Rates
from protocol.task.verification import VERIFICATION_MAX_BYTES
from protocol.units import Uint8
from protocol.wire.codec import MaxLen

MOST_SEATS: Final = SEATS[-1]

DOSSIER_METHOD: Final = "court/dossier"
"""An arbiter asks a party: `DossierRequest`, answered by a `Dossier`."""
EVIDENCE_METHOD: Final = "court/evidence"
"""A party shows its `Dossier` unasked: who opened a case and then keeps silent must not be the only one to be heard."""
PAPERS_METHOD: Final = "court/papers"
"""An arbiter tells a fellow of its committee what it was shown: `PapersNotice`, answered by the fellow's own."""
SEALS_METHOD: Final = "court/seals"
OPENINGS_METHOD: Final = "court/openings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """What a case is judged by, as one side shows it. The digest of the award leads to everything but the receipt.

    Attributes:
        award: The award of the case.
        offer: Its offer.
        manifest: The offer's, as it was announced.
        rates: The offer's.
        verification: The offer's policy, as it was announced: it may name a test.
        receipt: The receipt in dispute; None if this side never got it.
        before: The requester's acceptance of the part before; None for the award's first part, or if there was none.
    """

    award: Award
    offer: Offer
    manifest: Annotated[bytes, MaxLen(MANIFEST_MAX_BYTES)]
    rates: Rates
    verification: Annotated[bytes, MaxLen(VERIFICATION_MAX_BYTES)]
    receipt: Signed[Receipt] | None = None
    before: Signed[Acceptance] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DossierRequest:
    """An arbiter, or a party, asks for what the other shows the court; the answer grants it the blobs too."""

    award: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Papers:
    """All that one arbiter knows of a case, from whomever it has it: each piece proves itself.

    Attributes:
        dossier: The latest part that was shown, with the greatest acceptance of the part before.
        contrary: Another receipt of the same later part that states something else (CJ11); None if there is none.
    """

    dossier: Dossier
    contrary: Signed[Receipt] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PapersNotice:
    """What one arbiter of a round judges from; the answer is the other's, likewise.

    Attributes:
        gist: What a vote depends on (`protocol.dispute.papers.gist_of`); zero for nothing.
        is_final: Whether it takes nothing more from the sides themselves.
        has_output: Whether it holds the output that the receipt names, from a side; None while it asks for it.
        papers: What the gist is of; None if the other is known to have the same, or there is nothing.
    """

    award: Digest
    round: Uint8
    gist: Digest
    is_final: bool
    has_output: bool | None
    papers: Papers | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatSeal:
    """The seal of one seat."""

    seat: Uint8
    seal: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class SealsNotice:
    """The seals of all seats of one arbiter; the answer is the other's, none if it isn't done."""

    award: Digest
    round: Uint8
    seals: Annotated[tuple[SeatSeal, ...], MaxLen(MOST_SEATS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatOpening:
    """What one seat sealed its vote with, and its signature over `Opening`."""

    seat: Uint8
    secret: Digest
    signature: Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class OpeningsNotice:
    """The vote of all seats of one arbiter, opened under the seals of all; the answer is the other's, likewise.

    Attributes:
        seals: Of every seat, in order; zero for one that sent none.
        vote: What the sender found.
        openings: Of its seats; none if it has not opened under these seals.
    """

    award: Digest
    round: Uint8
    seals: Annotated[tuple[Digest, ...], MaxLen(MOST_SEATS)]
    vote: Vote | None
    openings: Annotated[tuple[SeatOpening, ...], MaxLen(MOST_SEATS)]
