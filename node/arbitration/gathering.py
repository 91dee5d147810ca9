"""How an arbiter comes by what it judges from: both sides are asked, then its fellows (docs/spec/law.md, CJ2, CJ4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from node.arbitration.hours import LATE_UNTIL, OUTPUT_UNTIL
from node.arbitration.room import ArbiterRoom
from node.arbitration.sharing import Sharing
from protocol.dispute.evidence import Evidence, Matter, is_tested, is_whole, needed_blobs, vote_untested
from protocol.dispute.messages import DOSSIER_METHOD, Dossier, DossierRequest
from protocol.errors import StoaError
from protocol.identity import Address, ContentDigest
from protocol.task.objects import Receipt
from protocol.units import UnixTime
from protocol.wire.codec import decode, encode

log = structlog.stdlib.get_logger(__name__)

RETRY_S: Final = 1.0
DOSSIER_MAX_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Which blobs came.

    Attributes:
        has_inputs: Whether module and inputs of the part are in the store.
        has_output: Whether one of the sides served the output that the receipt names, to us or to a fellow; for a test,
            also an arbiter that computed it.
    """

    has_inputs: bool = False
    has_output: bool = False


class Gathering:
    """One case's evidence, for one arbiter."""

    def __init__(
        self,
        room: ArbiterRoom,
        matter: Matter,
        sharing: Sharing,
        shown: Mapping[Address, Dossier],
        keep_until: UnixTime,
    ) -> None:
        """Prepare to ask.

        Args:
            room: What we work with.
            matter: What the court named when it was opened.
            sharing: What all papers come to, from whomever.
            shown: What parties show unasked, by wallet; it may grow meanwhile.
            keep_until: So long a blob is kept, and served to fellows and sides.
        """
        self._room, self._matter, self._sharing, self._keep_until = room, matter, sharing, keep_until
        self._shown = shown
        self._has_shown: set[Address] = set()

    async def ask(self) -> None:
        """Ask both sides until they have shown their papers, or their time is over.

        Raises:
            DiskFull: That it is over could not be written down.
        """
        sharing, clock = self._sharing, self._room.clock
        ask_from = sharing.hours.ask_from
        asked: set[Address] = set()
        async with trio.open_nursery() as nursery:
            while not sharing.is_final and not self._is_enough():
                changed, now = sharing.changed, clock.monotonic()
                ask_until = sharing.hours.ask_until(sharing.complete_at)
                if now >= ask_until:
                    break
                if now >= ask_from:
                    for wallet, dossier in tuple(self._shown.items()):
                        self._take(wallet, dossier)
                    for wallet in self._known():
                        if wallet not in asked:
                            asked.add(wallet)
                            nursery.start_soon(self._ask, wallet)
                next_look = min(ask_from if now < ask_from else now + RETRY_S, ask_until)
                with trio.move_on_after(next_look - now):
                    await changed.wait()
            nursery.cancel_scope.cancel()
        await sharing.finish()

    def _is_enough(self) -> bool:
        evidence = self._sharing.evidence
        if evidence is None:
            return False
        return is_whole(evidence, self._matter) or self._has_shown >= set(_sides(evidence))

    def _known(self) -> list[Address]:
        evidence = self._sharing.evidence
        known = [self._matter.opener, *(_sides(evidence) if evidence is not None else ())]
        return list(dict.fromkeys(known))

    async def _ask(self, wallet: Address) -> None:
        request = encode(DossierRequest(award=self._matter.award))
        while wallet not in self._has_shown:
            try:
                answer = await self._room.peers.call(wallet, DOSSIER_METHOD, request)
                self._take(wallet, decode(Dossier, answer, max_bytes=DOSSIER_MAX_BYTES))
            except StoaError as error:
                log.info("court.not_shown", award=self._matter.award.hex(), reason=str(error))
            await self._room.clock.sleep(RETRY_S)

    def _take(self, wallet: Address, dossier: Dossier) -> None:
        """Take what a side shows. Its first word counts, or it could go on for ever."""
        if wallet in self._has_shown or wallet not in (dossier.award.requester, dossier.award.provider):
            return
        try:
            self._sharing.take(dossier)
        except StoaError as error:
            log.warning("court.wrong_dossier", award=self._matter.award.hex(), reason=str(error))
            return
        self._has_shown.add(wallet)

    async def fetch(self, evidence: Evidence, receipt: Receipt) -> Found:
        """Bring what the part is judged by, as far as that is to be had in time."""
        hours, complete_at = self._sharing.hours, self._sharing.complete_at or self._sharing.hours.started
        served_until = hours.served_until(LATE_UNTIL, complete_at)
        if not is_tested(evidence):
            has_output = await self._output(evidence, receipt, complete_at)
        elif vote_untested(evidence, has_output=True) is not None:
            return Found()
        else:  # it is what is judged, so whoever has it may give it, and it is worth all the time
            most = evidence.terms.manifest.limits.output_bytes
            has_output = await self._from_anybody(evidence, receipt.output, most, served_until)
            if not has_output:
                return Found()
        for blob in sorted(needed_blobs(evidence), key=lambda each: each.digest):
            if not await self._from_anybody(evidence, blob.digest, blob.size, served_until):
                return Found(has_output=has_output)
        return Found(has_inputs=True, has_output=has_output)

    async def _from_anybody(self, evidence: Evidence, digest: ContentDigest, size: int, served_until: float) -> bool:
        """Fetch what sides serve until one moment, and fellows until a later one."""
        fellows = self._sharing.fellows
        if await self._fetch((*_sides(evidence), *fellows), digest, size, served_until):
            return True
        return await self._fetch(fellows, digest, size, self._sharing.hours.handed_on_until(served_until))

    async def _output(self, evidence: Evidence, receipt: Receipt, complete_at: float) -> bool:
        """Fetch the output that a side has to serve; what it served to a fellow in time counts as well.

        Who comes when most fellows have asked takes their word: nobody else counts what a side serves now.
        """
        sharing, digest = self._sharing, receipt.output
        size = evidence.terms.manifest.limits.output_bytes
        served_until = sharing.hours.served_until(OUTPUT_UNTIL, complete_at)
        if sharing.has_output is None:
            is_late = self._room.clock.monotonic() >= sharing.hours.at(OUTPUT_UNTIL) and sharing.most_have_looked()
            has_it = not is_late and await self._fetch(_sides(evidence), digest, size, served_until)
            sharing.note_output(digest, has_it=has_it)
        until = sharing.hours.handed_on_until(served_until)
        while not sharing.has_output and not sharing.nobody_holds() and self._room.clock.monotonic() < until:
            changed, holders = sharing.changed, sharing.holders()
            if holders and await self._fetch(holders, digest, size, until, tries=1):
                sharing.note_output(digest, has_it=True)
                break
            with trio.move_on_after(RETRY_S):
                await changed.wait()
        return bool(sharing.has_output)

    async def _fetch(
        self, wallets: Sequence[Address], digest: ContentDigest, size: int, until: float, *, tries: int | None = None
    ) -> bool:
        """Try until a moment, so many times if `tries` is given; what came is served to fellows and sides at once."""
        room, tried = self._room, 0
        while True:
            try:
                # Who serves a byte now and then must not keep an arbiter from voting in time.
                with trio.move_on_after(max(0.0, until - room.clock.monotonic())):
                    await room.peers.fetch_from(wallets, digest, max_bytes=size, keep_until=self._keep_until)
                    await self._serve(digest)
                    return True
            except StoaError as error:
                log.info("court.not_served", digest=digest.hex(), reason=str(error))
            tried += 1
            if room.clock.monotonic() >= until or tried == tries:
                return False
            await room.clock.sleep(RETRY_S)

    async def _serve(self, digest: ContentDigest) -> None:
        evidence = self._sharing.evidence
        sides = _sides(evidence) if evidence is not None else ()
        for wallet in (*self._sharing.fellows, *sides):
            await self._room.peers.grant(digest, wallet, self._keep_until)


def _sides(evidence: Evidence) -> tuple[Address, Address]:
    return evidence.terms.award.provider, evidence.terms.award.requester
