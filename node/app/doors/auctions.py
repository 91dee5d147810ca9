"""The doors to auctions: those that this node held, took part in, or heard."""

from typing import Final, Literal

from node.api import views
from node.api.evidence import judge
from node.app.doors.names import format_name, rail_of
from node.app.node import Node
from node.market.auction_run import NoWinnerLeft, auction_machine
from node.market.auction_run import stream_of as auction_stream
from node.storage.machine_log import load_machine
from protocol.errors import ProtocolError
from protocol.market.auction import make_transcript
from protocol.market.auction_states import Decided, Failed
from protocol.market.errors import RuleBroken
from protocol.market.objects import Award, Roll
from protocol.market.observer_states import ObservedAuction
from protocol.market.scoring import Candidate, candidate_of, rank
from protocol.market.transcript import Transcript
from protocol.signing.eip712 import digest

_HEX: Final = frozenset("0123456789abcdef")


class NoSuchAuction(ProtocolError):
    """No auction that this node follows has that id, or several begin with it."""


class AuctionDoors:
    """See `NodeFacade`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def auction_list(self, limit: int) -> tuple[views.AuctionView, ...]:
        """See `NodeFacade`."""
        heard = self._node.gossip.observed.auctions.values()
        newest = sorted(heard, key=lambda auction: auction.offer.commit_by, reverse=True)[:limit]
        return tuple(self._view_auction(auction) for auction in newest)

    async def auction_show(self, auction: str) -> views.AuctionDetail:
        """See `NodeFacade`."""
        heard = find_auction(self._node, auction)
        offer, awards = heard.offer, [each.signed.value for each in heard.awards]
        winners = {award.provider for award in awards}
        bids = tuple(
            views.BidView(
                bidder=each.bid.bidder,
                position=position,
                price=each.bid.price,
                eta_s=each.bid.eta,
                reputation=each.reputation,
                score=each.score.total,
                price_score=each.score.price,
                reputation_score=each.score.reputation,
                speed_score=each.score.speed,
                won=each.bid.bidder in winners,
            )
            for position, each in enumerate(self._ranked(heard), 1)
        )
        return views.AuctionDetail(
            auction=self._view_auction(heard),
            weight_price=offer.w_price,
            weight_reputation=offer.w_reputation,
            weight_speed=offer.w_speed,
            max_eta_s=offer.max_eta,
            bids=bids,
            awards=tuple(self._award_view(award) for award in awards),
        )

    async def auction_verify(self, auction: str) -> views.AuctionVerdict:
        """See `NodeFacade`."""
        heard = find_auction(self._node, auction)
        transcript = await self._transcript(heard)
        return judge(self._node.domain, transcript, await self._node.gossip.heard_against(transcript))

    async def _transcript(self, heard: ObservedAuction) -> Transcript:
        """Return the requester's own transcript if that is this node, else what can be put together from gossip."""
        if heard.offer.requester == self._node.signer.address:
            machine = await load_machine(
                self._node.storage.journal, auction_machine(self._node.domain), auction_stream(heard.offer_id)
            )
            state = machine.state
            if not isinstance(state, Decided | Failed) or not state.awards:
                raise NoWinnerLeft("nothing was awarded in this auction, so there is nothing to verify")
            signer = self._node.signer
            return make_transcript(
                state,
                offer=machine.context.signed,
                roll=signer.sign(state.revealing.roll) if state.revealing else None,
                awards=tuple([await signer.sign_award(award) for award in state.awards]),
            )
        if not heard.awards:
            raise NoWinnerLeft("no award of this auction was heard, so there is nothing to verify")
        named = set(heard.awards[0].bid_ids)
        return Transcript(
            offer=heard.signed_offer,
            roll=heard.roll,
            leaves=heard.leaves,
            commitments=tuple(each.signed for each in heard.commitments.values()),
            bids=tuple(
                each.signed for each in heard.bids.values() if digest(self._node.domain, each.signed.value) in named
            ),
            awards=tuple(each.signed for each in heard.awards),
        )

    def _ranked(self, heard: ObservedAuction) -> tuple[Candidate, ...]:
        reputations = {leaf.bidder: leaf.reputation for leaf in heard.leaves}
        candidates: list[Candidate] = []
        for each in heard.bids.values():
            bid = each.signed.value
            try:
                candidates.append(candidate_of(heard.offer, bid, reputations.get(bid.bidder, 0)))
            except RuleBroken:
                continue  # outside the offer: it does not count
        roll: Roll | None = heard.roll.value if heard.roll else None
        return rank(digest(self._node.domain, roll), candidates) if roll else tuple(candidates)

    def _view_auction(self, heard: ObservedAuction) -> views.AuctionView:
        offer, node = heard.offer, self._node
        own = heard.bids.get(node.signer.address)
        role: Literal["requester", "bidder", "observer"] = "observer"
        if offer.requester == node.signer.address:
            role = "requester"
        elif heard.offer_id in node.provider.bids:
            role = "bidder"
        latest = max((each.signed.value for each in heard.awards), key=lambda award: award.attempt, default=None)
        return views.AuctionView(
            auction=heard.offer_id,
            requester=offer.requester,
            role=role,
            state=_state_of(heard, node.clock.now()),
            format=format_name(offer.format),
            budget=offer.budget,
            parts=offer.parts,
            commit_by=offer.commit_by,
            reveal_by=offer.reveal_by,
            bidders=len(heard.commitments) or len(heard.bids),
            bids=len(heard.bids),
            winner=latest.provider if latest else None,
            price=latest.price if latest else None,
            own_price=own.signed.value.price if own else None,
        )

    def _award_view(self, award: Award) -> views.AwardView:
        return views.AwardView(
            award=digest(self._node.domain, award),
            provider=award.provider,
            attempt=award.attempt,
            first_part=award.first_part,
            parts=award.parts,
            price=award.price,
            rail=rail_of(award.channel),
            deliver_by=award.deliver_by,
        )


def find_auction(node: Node, prefix: str) -> ObservedAuction:
    """Return the one auction that is followed here whose id begins so.

    Raises:
        NoSuchAuction: There is none, or several.
    """
    digits = prefix.lower().removeprefix("0x")
    if not digits or not set(digits) <= _HEX:
        raise NoSuchAuction(f"{prefix!r} is no auction id", advice="see `stoa auctions list`")
    found = [each for each in node.gossip.observed.auctions.values() if each.offer_id.hex().startswith(digits)]
    if len(found) != 1:
        problem = "several auctions begin" if found else "no auction that is followed here begins"
        raise NoSuchAuction(f"{problem} with {digits}", advice="see `stoa auctions list`")
    return found[0]


def _state_of(heard: ObservedAuction, now: int) -> str:
    if heard.awards:
        return "awarded"
    if now <= heard.offer.commit_by:
        return "open"
    if now <= heard.offer.reveal_by:
        return "revealing"
    return "ended" if now > heard.offer.expires else "no award heard"
