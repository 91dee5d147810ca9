"""The sheet of scores that a publisher anchors, and proofs of its lines (docs/spec/scores.md, SC1 to SC4).

A sheet is one node's opinion of those that it has dealt with, as of one epoch. Its Merkle root goes on the chain; the
sheet stays with the publisher, who shows single lines of it. Whoever holds a line and its proof can check with the
chain that the publisher gave this score then, and could give no other one later. That it is *true*, nobody can check.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Final

from protocol.errors import ProtocolError
from protocol.identity import Address, Digest, format_address
from protocol.signing.merkle import MerkleTree, leaf_hash, verify_proof
from protocol.units import WHOLE, Seconds, Uint16, Uint64, UnixTime
from protocol.wire.codec import MaxLen

SCORE_METHOD: Final = "reputation/score"
"""A `ScoreRequest`, at most `REQUEST_MAX_BYTES`; the answer is a `ScoreProof`, at most `PROOF_MAX_BYTES`."""
REQUEST_MAX_BYTES: Final = 64
PROOF_MAX_BYTES: Final = 2_048
MAX_SCORES: Final = 16_384
"""Lines of a sheet: it fits one record of the journal, and a proof has 14 siblings."""
MAX_SIBLINGS: Final = 32
"""Of a proof from others, whose sheets may be longer."""
_WORD: Final = 32


class NoSuchScore(ProtocolError):
    """The publisher gave the subject no score in that epoch, or doesn't keep the sheet any more."""


class BadSheet(ProtocolError):
    """A sheet whose lines are not in order, or a score out of range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One line: `score` is 0 to 10,000."""

    subject: Address
    score: Uint16


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """All lines of one epoch, by rising address of the subject, each subject once.

    Attributes:
        epoch: The Unix time at which the epoch began.
        scores: The lines.
    """

    epoch: Uint64
    scores: Annotated[tuple[Score, ...], MaxLen(MAX_SCORES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRequest:
    """What did you anchor about `subject`? `epoch` 0 asks for the newest."""

    epoch: Uint64
    subject: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreProof:
    """A line of a publisher's sheet, with what leads from it to the root on the chain."""

    publisher: Address
    epoch: Uint64
    subject: Address
    score: Uint16
    siblings: Annotated[tuple[Digest, ...], MaxLen(MAX_SIBLINGS)]


class ScoreTree:
    """The tree over a sheet: hashed once, it proves any line."""

    def __init__(self, sheet: Sheet) -> None:
        """Take a sheet.

        Raises:
            BadSheet: Its lines are not in order, or a score is above 10,000.
        """
        subjects = [line.subject for line in sheet.scores]
        if any(one >= other for one, other in pairwise(subjects)):
            raise BadSheet("the lines of a sheet rise by their subjects' addresses")
        if any(line.score > WHOLE for line in sheet.scores):
            raise BadSheet(f"a score is at most {WHOLE}")
        self.sheet: Final = sheet
        self._tree = MerkleTree([score_leaf(line.subject, line.score) for line in sheet.scores])
        self._places = {subject: place for place, subject in enumerate(subjects)}

    @property
    def root(self) -> Digest:
        """What is anchored; zero for an empty sheet."""
        return self._tree.root

    def prove(self, publisher: Address, subject: Address) -> ScoreProof:
        """Return the line of `subject` with its proof.

        Raises:
            NoSuchScore: There is none.
        """
        place = self._places.get(subject)
        if place is None:
            raise NoSuchScore(f"no score of {format_address(subject)} is in the sheet of epoch {self.sheet.epoch}")
        return ScoreProof(
            publisher=publisher,
            epoch=self.sheet.epoch,
            subject=subject,
            score=self.sheet.scores[place].score,
            siblings=self._tree.proof(place),
        )


def make_sheet(epoch: Uint64, opinions: Mapping[Address, int]) -> Sheet:
    """Return the sheet of some opinions, at most `MAX_SCORES`."""
    lines = tuple(Score(subject=subject, score=opinions[subject]) for subject in sorted(opinions))
    return Sheet(epoch=epoch, scores=lines)


def score_leaf(subject: Address, score: Uint16) -> Digest:
    """Return the leaf of a line (ST10): the contract hashes `abi.encode(subject, score)` twice."""
    return leaf_hash(subject.rjust(_WORD, b"\0") + score.to_bytes(_WORD))


def is_score(proof: ScoreProof, root: Digest) -> bool:
    """Return whether the line is of the sheet with this root, as `isScore` of the contract, and at most 10,000."""
    return proof.score <= WHOLE and verify_proof(root, score_leaf(proof.subject, proof.score), proof.siblings)


def epoch_at(now: UnixTime, every: Seconds) -> Uint64:
    """Return the epoch of a moment: when it began.

    A time, not a count: the contract takes epochs in rising order for ever, and a publisher may change how long its
    epochs are.
    """
    return now - now % every
