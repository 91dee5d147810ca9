"""Verify an auction, and keep what it was verified from as a file that anyone can check again, without a node.

The file is JSON: a summary for people, and under `body` the canonical bytes of `Evidence`, from which alone
`judge_file` computes the verdict anew.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Annotated, Any, Final, assert_never, cast

from node.api.views import AuctionVerdict, BidderVerdict
from protocol.errors import ProtocolError
from protocol.identity import Address, format_address
from protocol.market.errors import RuleBroken
from protocol.market.evidence import Conflict
from protocol.market.explanation import Explanation, Lost, Silent, Won, explain
from protocol.market.objects import Award, Roll
from protocol.market.transcript import (
    TRANSCRIPT_MAX_BYTES,
    Heard,
    HeardBid,
    HeardCommitment,
    Transcript,
    verify_transcript,
)
from protocol.signing.ecdsa import BadSignature
from protocol.signing.eip712 import Domain, digest
from protocol.signing.signed import Signed
from protocol.units import Uint64, format_amount
from protocol.wire.codec import DecodeError, MaxLen, decode, encode

FORMAT: Final = "stoa-auction-evidence-1"
MAX_FILE_BYTES: Final = 4 * TRANSCRIPT_MAX_BYTES
_MAX_HEARD: Final = 1024


class BadEvidence(ProtocolError):
    """A file that holds no evidence of an auction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A transcript, and what one peer heard of the auction itself. Signatures inside prove who said what.

    When something was heard is that peer's word alone: an omission is its knowledge, never a proof (SPEC A6).
    """

    chain_id: Uint64
    escrow: Address
    transcript: Transcript
    commitments: Annotated[tuple[HeardCommitment, ...], MaxLen(_MAX_HEARD)] = ()
    bids: Annotated[tuple[HeardBid, ...], MaxLen(_MAX_HEARD)] = ()
    rolls: Annotated[tuple[Signed[Roll], ...], MaxLen(_MAX_HEARD)] = ()
    awards: Annotated[tuple[Signed[Award], ...], MaxLen(_MAX_HEARD)] = ()
    conflicts: Annotated[tuple[Conflict, ...], MaxLen(_MAX_HEARD)] = ()

    @property
    def domain(self) -> Domain:
        """The market's domain."""
        return Domain(chain_id=self.chain_id, verifying_contract=self.escrow)

    @property
    def heard(self) -> Heard:
        """What the peer heard."""
        return Heard(
            commitments={each.signed.value.bidder: each for each in self.commitments},
            bids=self.bids,
            rolls=self.rolls,
            awards=self.awards,
            conflicts=self.conflicts,
        )


def judge(domain: Domain, transcript: Transcript, heard: Heard) -> AuctionVerdict:
    """Compute the auction again, and pack what that was done from."""
    evidence = Evidence(
        chain_id=domain.chain_id,
        escrow=domain.verifying_contract,
        transcript=transcript,
        commitments=tuple(heard.commitments.values()),
        bids=heard.bids,
        rolls=heard.rolls,
        awards=heard.awards,
        conflicts=heard.conflicts,
    )
    return _judge(evidence)


def judge_file(data: bytes) -> AuctionVerdict:
    """Compute the auction of an evidence file again; nothing in it is believed but signatures.

    Raises:
        BadEvidence: It is no such file.
    """
    if len(data) > MAX_FILE_BYTES:
        raise BadEvidence(f"the file has more than {MAX_FILE_BYTES} bytes")
    try:
        document: Any = json.loads(data)
        if not isinstance(document, dict) or cast("dict[str, Any]", document).get("format") != FORMAT:
            raise BadEvidence(f"the file is no {FORMAT}")
        body = base64.b64decode(str(cast("dict[str, Any]", document).get("body")), validate=True)
        evidence = decode(Evidence, body, max_bytes=MAX_FILE_BYTES)
    except (ValueError, RecursionError, binascii.Error, DecodeError) as error:
        raise BadEvidence(
            f"the file holds no evidence: {error}",
            advice="give a file that `stoa auctions verify ID --keep FILE` wrote",
        ) from error
    return _judge(evidence)


def _judge(evidence: Evidence) -> AuctionVerdict:
    rule, problem, bidders = "", "", ()
    try:
        verified = verify_transcript(evidence.domain, evidence.transcript, evidence.heard)
    except RuleBroken as error:
        rule, problem = error.rule, str(error)
    except BadSignature as error:
        rule, problem = "O1", str(error)
    else:
        offer = evidence.transcript.offer.value
        bidders = tuple(_explain(one) for one in explain(offer, verified))
    auction = digest(evidence.domain, evidence.transcript.offer.value)
    document = {
        "format": FORMAT,
        "auction": auction.hex(),
        "requester": format_address(evidence.transcript.offer.value.requester),
        "broken_rule": rule,
        "problem": problem,
        "body": base64.b64encode(encode(evidence)).decode("ascii"),
    }
    data = json.dumps(document, indent=2).encode() + b"\n"
    return AuctionVerdict(auction=auction, ok=not problem, rule=rule, problem=problem, bidders=bidders, evidence=data)


def _explain(one: Explanation) -> BidderVerdict:
    match one:
        case Won():
            when = f"after {one.attempt} had failed" if one.attempt else "at once"
            text = f"won slot {one.slot} {when}: score {one.score.total:,}, is paid {format_amount(one.price)}"
        case Lost():
            text = f"place {one.position}: score {one.score.total:,}, {one.needed:,} was needed"
            text += (
                f"; {format_amount(one.price_needed)} or less would have passed"
                if one.price_needed is not None
                else "; no price would have passed: reputation or speed were too low"
            )
        case Silent():
            text = "revealed no bid that counts: none, too late, or outside the offer"
        case _:
            assert_never(one)
    return BidderVerdict(bidder=one.bidder, won=isinstance(one, Won), text=text)
