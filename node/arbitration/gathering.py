"""How an arbiter comes by what it judges from: both sides are asked, for a quarter of the case's time (SPEC L1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from node.arbitration.ports import Peers
from node.operations.clock import Clock
from protocol.dispute.evidence import (
    Evidence,
    Matter,
    is_tested,
    is_whole,
    needed_blobs,
    put_together,
    read_dossier,
    vote_untested,
)
from protocol.dispute.messages import DOSSIER_METHOD, Dossier, DossierRequest
from protocol.errors import StoaError
from protocol.identity import Address, ContentDigest
from protocol.signing.eip712 import Domain
from protocol.units import UnixTime
from protocol.wire.codec import decode, encode

log = structlog.stdlib.get_logger(__name__)

RETRY_S: Final = 1.0
DOSSIER_MAX_BYTES: Final = 1 << 16
ENOUGH_SHARE: Final = 0.25
"""Of the time for evidence: so long one side's dossier waits for what the other side may add, and so long an output is
asked for. After that the part is run with what there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of asking.

    Attributes:
        evidence: None if neither side showed the award and what it leads to.
        has_inputs: Whether module and inputs of the part are in the store.
        has_output: Whether one of the sides served the output that the receipt names; for a test, also another arbiter.
    """

    evidence: Evidence | None
    has_inputs: bool = False
    has_output: bool = False


class Gathering:
    """One case's evidence."""

    def __init__(
        self,
        peers: Peers,
        clock: Clock,
        domain: Domain,
        matter: Matter,
        shown: Mapping[Address, Dossier],
        fellows: Sequence[Address],
    ) -> None:
        """Prepare to ask.

        Args:
            peers: The network.
            clock: Measures the time that is left.
            domain: The market's.
            matter: What the court named when it was opened.
            shown: What parties show unasked, by wallet; it may grow meanwhile.
            fellows: The other arbiters, who may have a blob already.
        """
        self._peers, self._clock, self._domain, self._matter = peers, clock, domain, matter
        self._shown, self._fellows = shown, fellows
        self._read: dict[Address, Evidence] = {}

    async def gather(self, *, within_s: float, keep_until: UnixTime) -> Found:
        """Ask until everything is here or the time is over."""
        began = self._clock.monotonic()
        until, enough = began + within_s, began + within_s * ENOUGH_SHARE
        evidence = await self._evidence(until, enough)
        if evidence is None or evidence.receipt is None:
            return Found(evidence=evidence)
        if is_tested(evidence) and vote_untested(evidence, has_output=True) is not None:
            return Found(evidence=evidence)
        limits, receipt = evidence.terms.manifest.limits, evidence.receipt
        enough = min(until, self._clock.monotonic() + within_s * ENOUGH_SHARE)
        fellows: Sequence[Address] = ()
        if is_tested(evidence):  # it is what is judged, so it is worth all the time, and whoever has it may give it
            enough, fellows = until, self._fellows
        has_output = await self._fetch(evidence, receipt.output, limits.output_bytes, enough, keep_until, fellows)
        if is_tested(evidence) and not has_output:
            return Found(evidence=evidence)
        for blob in needed_blobs(evidence):
            if not await self._fetch(evidence, blob.digest, blob.size, until, keep_until, fellows=self._fellows):
                return Found(evidence=evidence, has_output=has_output)
        return Found(evidence=evidence, has_inputs=True, has_output=has_output)

    async def _evidence(self, until: float, enough: float) -> Evidence | None:
        while True:
            for wallet, dossier in tuple(self._shown.items()):
                self._take(wallet, dossier)
            for wallet in self._to_ask():
                await self._ask(wallet)
            now = self._clock.monotonic()
            evidence = self._joined()
            if evidence is not None:
                is_enough = is_whole(evidence, self._matter) or self._read.keys() >= set(_sides(evidence))
                if is_enough or (now >= enough and evidence.receipt is not None):
                    return evidence
            if now >= until:
                return evidence
            await self._clock.sleep(RETRY_S)

    def _joined(self) -> Evidence | None:
        if not self._read:
            return None
        requester = next(iter(self._read.values())).terms.award.requester
        return put_together([self._read[wallet] for wallet in sorted(self._read, key=lambda each: each != requester)])

    def _to_ask(self) -> list[Address]:
        known = [self._matter.opener]
        for evidence in self._read.values():
            known += _sides(evidence)
        return [wallet for wallet in dict.fromkeys(known) if wallet not in self._read]

    async def _ask(self, wallet: Address) -> None:
        request = encode(DossierRequest(award=self._matter.award))
        try:
            answer = await self._peers.call(wallet, DOSSIER_METHOD, request)
            self._take(wallet, decode(Dossier, answer, max_bytes=DOSSIER_MAX_BYTES))
        except StoaError as error:
            log.info("court.not_shown", award=self._matter.award.hex(), reason=str(error))

    def _take(self, wallet: Address, dossier: Dossier) -> None:
        if wallet in self._read:
            return
        try:
            evidence = read_dossier(self._domain, self._matter, dossier)
        except StoaError as error:
            log.warning("court.wrong_dossier", award=self._matter.award.hex(), reason=str(error))
            return
        if wallet in _sides(evidence):
            self._read[wallet] = evidence

    async def _fetch(
        self,
        evidence: Evidence,
        digest: ContentDigest,
        max_bytes: int,
        until: float,
        keep_until: UnixTime,
        fellows: Sequence[Address],
    ) -> bool:
        wallets = [*_sides(evidence), *fellows]
        while True:
            try:
                # Who serves a byte now and then must not keep an arbiter from voting in time.
                with trio.move_on_after(max(0.0, until - self._clock.monotonic())):
                    await self._peers.fetch_from(wallets, digest, max_bytes=max_bytes, keep_until=keep_until)
                    return True
            except StoaError as error:
                log.info("court.not_served", digest=digest.hex(), reason=str(error))
            if self._clock.monotonic() >= until:
                return False
            await self._clock.sleep(RETRY_S)


def _sides(evidence: Evidence) -> tuple[Address, Address]:
    return evidence.terms.award.provider, evidence.terms.award.requester
