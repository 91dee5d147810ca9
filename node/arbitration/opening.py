"""How this node opens a case of its own: what it is judged by stays here, and then the court is asked."""

import structlog

from node.arbitration.party_room import PartyRoom
from protocol.dispute.acting import refusal_to_open
from protocol.dispute.party import File, Held
from protocol.errors import ProtocolError
from protocol.identity import Digest

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


async def open_case(room: PartyRoom, file: File) -> int:
    """Open a case; return the block in which that is confirmed. Safe to repeat.

    Raises:
        ProtocolError: A case over a channel without a receipt, or a spending cap is in the way.
        ChainRejected: The court says no.
        TransientError: The chain can't be reached, or this machine can't now.
    """
    brief = file.brief
    dossier = await room.dossier_of(file)
    if dossier is not None:
        await room.keep(dossier)
    if not brief.on_channel:
        return await room.court.open_on_escrow(brief.award, brief.offer)
    if brief.receipt is None:
        raise ProtocolError("a case over a channel is about a receipt, and none is here")
    return await room.court.open_on_channel(brief.award, brief.offer, brief.receipt)


async def open_contested(room: PartyRoom, award: Digest) -> int | None:
    """Open the case about a claim on an escrow that this node contests: that disputes the claim by itself.

    Returns:
        The block in which both are confirmed; None if this node doesn't go to court over it.

    Raises:
        StoaError: As `open_case`.
    """
    machine = room.files.open.get(award)
    if machine is None or not isinstance(machine.state.state, Held):
        return None
    refused = refusal_to_open(machine.state.brief, room.attitude, machine.state.state)
    if refused is not None:
        log.info("dispute.not_opened", award=award.hex(), reason=refused.reason)
        return None
    return await open_case(room, machine.state)
