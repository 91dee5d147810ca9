"""What everybody works with who represents this node in its own cases."""

from collections.abc import Iterable
from dataclasses import dataclass

from node.arbitration.case_files import CaseFiles
from node.arbitration.party_ports import Bonds, Escrows, Holds, Keeping, PartyPapers, Subject
from node.arbitration.ports import Cursors, PartyCourt, Peers
from node.operations.clock import Clock
from protocol.dispute.acting import Attitude
from protocol.dispute.messages import Dossier
from protocol.dispute.party import File, Open
from protocol.errors import ProtocolError
from protocol.identity import Address, ContentDigest
from protocol.settlement.deadlines import deadlines_of
from protocol.task import verification
from protocol.task.manifest import Manifest
from protocol.wire.codec import decode


@dataclass(frozen=True, slots=True, kw_only=True)
class PartyRoom:
    """The parts.

    Attributes:
        own: The wallet.
        attitude: How far it goes.
    """

    court: PartyCourt
    files: CaseFiles
    papers: PartyPapers
    escrows: Escrows
    holds: Holds
    bonds: Bonds
    peers: Peers
    blobs: Keeping
    cursors: Cursors
    clock: Clock
    own: Address
    attitude: Attitude

    async def dossier_of(self, file: File) -> Dossier | None:
        """Return what this node shows about a case; None if its records are gone.

        Over a channel that is the newest part, if the one before it was accepted (CJ11).
        """
        state, award = file.state, file.brief.award_id
        if not isinstance(state, Open):
            return await self.papers.dossier_of(award)
        if file.brief.on_channel:
            newest = await self.papers.dossier_of(award)
            if newest is not None and _is_later(newest, state.part):
                return newest
        return await self.papers.dossier_of(award, Subject(part=state.part, receipt=state.receipt))

    async def keep(self, dossier: Dossier) -> None:
        """Keep what a case is judged by for as long as it can be judged (L1)."""
        until = deadlines_of(dossier.award).latest_resolve_by
        for digest in blobs_of(dossier):
            await self.blobs.keep(digest, until)

    async def grant(self, dossier: Dossier, wallet: Address) -> None:
        """Let a node fetch what a dossier leads to."""
        until = deadlines_of(dossier.award).latest_resolve_by
        for digest in blobs_of(dossier):
            await self.peers.grant(digest, wallet, until)


def _is_later(dossier: Dossier, part: int) -> bool:
    """Tell whether it shows a part after this one, and the acceptance of what went before it."""
    return dossier.receipt is not None and dossier.before is not None and dossier.receipt.value.part > part


def blobs_of(dossier: Dossier) -> tuple[ContentDigest, ...]:
    """Return module, test, inputs of the disputed part (of all parts of the award if it isn't known), output and logs.

    Raises:
        ProtocolError: The dossier names a part that its manifest doesn't have.
    """
    manifest, award, receipt = decode(Manifest, dossier.manifest), dossier.award, dossier.receipt
    parts: Iterable[int] = range(award.first_part, award.first_part + award.parts)
    if receipt is not None:
        parts = (receipt.value.part,)
    if max(parts) >= len(manifest.parts):
        raise ProtocolError("the award covers parts that its manifest doesn't have")
    inputs = [blob.digest for part in parts for blob in manifest.inputs_of(part)]
    policy = verification.decode_verification(dossier.verification, dossier.offer.verification)
    judges = [blob.digest for blob in verification.blobs_of(policy)]
    results = [] if receipt is None else [receipt.value.output, receipt.value.logs]
    return tuple(dict.fromkeys([manifest.module.digest, *judges, *inputs, *results]))
