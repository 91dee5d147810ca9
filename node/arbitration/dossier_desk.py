"""What this node shows those who judge its awards, when they ask (docs/spec/parties.md, PT5; SPEC L1)."""

from typing import Final

import structlog

from node.arbitration.arbiter import NotIntroduced
from node.arbitration.party_room import PartyRoom
from protocol.dispute.messages import DOSSIER_METHOD, Dossier, DossierRequest
from protocol.dispute.party import Closed, GivenUp
from protocol.errors import ProtocolError, TransientError
from protocol.identity import Address, Digest, PeerId, format_address
from protocol.wire.codec import decode, encode

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

REQUEST_MAX_BYTES: Final = 64


class NoCaseOfOurs(ProtocolError):
    """A dossier of an award that is another's, or whose case is over."""


class NotInCommittee(ProtocolError):
    """Somebody asks who neither is the other party nor sits in the current round."""


class NoCaseYet(TransientError):
    """The confirmed chain doesn't tell of a case here yet."""


class NotDrawnYet(TransientError):
    """Who sits in this round isn't known yet."""


class DossierDesk:
    """Answers `DOSSIER_METHOD`."""

    def __init__(self, room: PartyRoom) -> None:
        self._room = room
        room.peers.serve(DOSSIER_METHOD, self._on_request, max_request=REQUEST_MAX_BYTES)

    async def _on_request(self, peer: PeerId, body: bytes) -> bytes:
        """Show the dossier, and grant the blobs that it leads to, to whom the case entitles to it.

        What is asked first costs nothing: of strangers' awards this node knows nothing.
        """
        request = decode(DossierRequest, body, max_bytes=REQUEST_MAX_BYTES)
        wallet = self._room.peers.wallet_of(peer)
        if wallet is None:
            raise NotIntroduced("this node does not know yet whose node that is")
        dossier = await self._dossier_of(request.award, wallet)
        await self._require_entitled(wallet, request.award, dossier)
        await self._room.grant(dossier, wallet)
        log.info("dispute.dossier_shown", award=request.award.hex(), to=format_address(wallet))
        return encode(dossier)

    async def _dossier_of(self, award: Digest, wallet: Address) -> Dossier:
        files, papers = self._room.files, self._room.papers
        machine = files.open.get(award)
        dossier = await self._room.dossier_of(machine.state) if machine is not None else None
        if dossier is not None:
            return dossier
        file = await files.find(award)
        if file is not None and isinstance(file.state, Closed | GivenUp):
            raise NoCaseOfOurs("that case is over")
        dossier = await papers.dossier_of(award)
        if dossier is None:
            raise NoCaseOfOurs("that award is neither made nor won by this node")
        if wallet in (dossier.award.requester, dossier.award.provider):
            return dossier  # whoever sees first what a court would see needs none (PT16)
        raise NoCaseYet("the confirmed chain does not tell of that case here yet")

    async def _require_entitled(self, wallet: Address, award: Digest, dossier: Dossier) -> None:
        if wallet in (dossier.award.requester, dossier.award.provider):
            return
        committee = await self._room.court.committee_of(award)
        if committee is None:
            raise NotDrawnYet("who sits in this round is not known here yet")
        if wallet not in committee:
            raise NotInCommittee("only the other party and the committee of the current round are shown anything")
