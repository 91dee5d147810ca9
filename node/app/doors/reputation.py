"""The doors to what this node thinks of others."""

import trio

from node.api import views
from node.app.doors.stakes import NoStakes
from node.app.node import Node
from node.payments.errors import NotConfirmedInTime
from node.reputation.anchoring import Anchors, AnchorView
from node.reputation.conduct import Opinion, Reputations
from protocol.errors import ProtocolError
from protocol.identity import Address, format_address
from protocol.reputation.scores import ScoreProof
from protocol.units import UnixTime


class NotAnchored(ProtocolError):
    """A publisher's answer that the chain does not confirm."""


class ReputationDoors:
    """See `NodeFacade`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def reputation_show(self, limit: int) -> views.ReputationReport:
        """See `NodeFacade`."""
        node = self._node
        opinions = await Reputations(node.storage.journal, node.storage.read).all(limit)
        sheets = node.anchors.views() if node.anchors is not None else ()
        return views.ReputationReport(
            publisher=node.signer.address,
            anchors=node.anchors is not None and node.settings.reputation.anchor,
            epoch_s=int(node.settings.reputation.epoch_h * 3_600),
            sheets=tuple(map(_sheet_view, sheets)),
            opinions=tuple(map(_opinion_view, opinions)),
        )

    async def reputation_anchor(self) -> views.SheetView:
        """See `NodeFacade`."""
        anchors, within_s = self._anchors(), self._node.settings.payments.confirm_timeout_s
        with trio.move_on_after(within_s):
            return _sheet_view(await anchors.anchor_now())
        raise NotConfirmedInTime(
            f"the root was not confirmed within {within_s:g} s", advice="it goes on; see `stoa reputation show`"
        )

    async def reputation_prove(self, publisher: Address | None, subject: Address, epoch: int) -> views.ScoreView:
        """See `NodeFacade`."""
        anchors = self._anchors()
        proof = await anchors.ask(publisher or self._node.signer.address, subject, epoch)
        if not await anchors.is_anchored(proof):
            raise NotAnchored(
                f"what {format_address(proof.publisher)} showed is not what it anchored for epoch {proof.epoch}",
                advice="it lies, or the chain is not that far yet",
            )
        return _score_view(proof)

    def _anchors(self) -> Anchors:
        if self._node.anchors is None:
            raise NoStakes(
                "this network has no contract that holds scores",
                advice="its deployments file names none (reputation); `stoa reputation show` needs none",
            )
        return self._node.anchors


def _opinion_view(opinion: Opinion) -> views.OpinionView:
    record = opinion.record
    return views.OpinionView(
        provider=opinion.provider,
        reputation=opinion.reputation,
        settled=record.settled,
        failed=record.failed,
        silent=record.silent,
        refuted=record.refuted,
    )


def _sheet_view(sheet: AnchorView) -> views.SheetView:
    return views.SheetView(epoch=sheet.epoch, scores=sheet.scores, root=sheet.root, block=sheet.block)


def _score_view(proof: ScoreProof) -> views.ScoreView:
    return views.ScoreView(
        publisher=proof.publisher,
        epoch=UnixTime(proof.epoch),
        subject=proof.subject,
        score=proof.score,
        siblings=proof.siblings,
    )
