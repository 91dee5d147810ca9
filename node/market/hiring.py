"""Second results from a third node, hired where this one can't run a part itself (docs/spec/bill.md, BI26 to BI28).

The part is a task of its own, hired directly, under *trust*: what comes out is compared, so nothing else need check it.
Nothing in it says that it is an audit, or of whom. Who was hired for what is durable before the offer is signed, in one
stream a task: after a crash the same hire is waited for, and what all of them may cost together is kept to.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

import structlog
import trio

from node.market.ports import Asked, Sellers
from node.market.wish import Wish
from node.storage.machine_log import Journal, Machine, MachineLog, load_machine, open_machine
from protocol.errors import StoaError
from protocol.identity import Address, Digest
from protocol.market.objects import AuctionFormat, Offer
from protocol.task.audit import Rerun, rerun_of
from protocol.task.objects import Receipt
from protocol.task.pricing import award_part_price
from protocol.task.receipt import Terms
from protocol.task.verification import Trust
from protocol.units import WHOLE, Amount, BasisPoints, Uint32, format_amount
from protocol.wire.codec import tagged

log = structlog.stdlib.get_logger(__name__)

PREFIX: Final = "hired/"
TRIES: Final = 2
"""Sellers asked for one part: the second if the first refuses, or gives nothing."""
WINDOW_S: Final = 0.5
"""A hire has nothing to wait for but the second in which its offer is read (O4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HiredContext:
    """What the hires of a task begin with; the first record of their stream."""

    offer_id: Digest


@tagged(1)
@dataclass(frozen=True, slots=True, kw_only=True)
class Hired:
    """A part is to be run by a third node.

    Attributes:
        award: The award whose receipt is looked at.
        part: Its part.
        offer_id: The task that is given to the third node.
        provider: The third node.
        price: The most that it costs.
    """

    award: Digest
    part: Uint32
    offer_id: Digest
    provider: Address
    price: Amount


Hires = tuple[Hired, ...]
HiredLog = MachineLog[HiredContext, Hires, Hired, tuple[()]]

HIRED: Final = Machine[HiredContext, Hires, Hired, tuple[()]](
    context=HiredContext, events=Hired, begin=lambda _context: (), transition=lambda state, event: ((*state, event), ())
)


def stream_of(offer_id: Digest) -> str:
    """Return the journal stream of a task's hires."""
    return f"{PREFIX}{offer_id.hex()}"


class Buyer(Protocol):
    """What is needed of the requester."""

    def offer_of(self, offer_id: Digest) -> Offer | None:
        """Return the offer of an open task."""
        ...

    def involved(self, offer_id: Digest) -> frozenset[Address]:
        """Return whoever had an award of the task, and this node."""
        ...

    async def make_offer(self, wish: Wish) -> Offer:
        """Return the offer that would be signed now."""
        ...

    async def submit(self, wish: Wish, offer: Offer | None = None) -> Digest:
        """Sign and publish it, and see the task to its end."""
        ...

    async def receipts_of(self, offer_id: Digest) -> tuple[Receipt, ...] | None:
        """Wait until a task is over, and return what was accepted; None if it never began."""
        ...

    def id_of(self, offer: Offer) -> Digest:
        """Return the id of a task."""
        ...

    def give_up(self, offer_id: Digest) -> None:
        """Cancel a task if it is still open."""
        ...


class ThirdNode:
    """See `Third`."""

    def __init__(
        self,
        buyer: Buyer,
        sellers: Sellers,
        journal: Journal,
        open_streams: Callable[[str], Awaitable[tuple[str, ...]]],
        reputations: Callable[[Iterable[Address]], Awaitable[Mapping[Address, int]]],
        share_bps: BasisPoints,
    ) -> None:
        """Hire for at most `share_bps` of a task's budget."""
        self._buyer, self._sellers, self._journal = buyer, sellers, journal
        self._open_streams, self._reputations, self._share_bps = open_streams, reputations, share_bps

    async def find(self, terms: Terms, part: int, *, within_s: float) -> Rerun | str:
        """See `Third`."""
        under_way: list[Digest] = []
        found: Rerun | str = "there was no time for a third node to run it"
        with trio.move_on_after(max(0.0, within_s)):
            try:
                found = await self._find(terms, part, under_way)
            except StoaError as error:
                found = f"no third node could be hired: {error}"
        for offer_id in under_way:
            self._buyer.give_up(offer_id)
        return found

    async def close(self, offer_id: Digest) -> None:
        """Note that a task is over, and needs no hire any more."""
        stream = stream_of(offer_id)
        if stream in await self._open_streams(stream):
            await (await load_machine(self._journal, HIRED, stream)).close()

    async def _find(self, terms: Terms, part: int, under_way: list[Digest]) -> Rerun | str:
        offer_id = terms.award.offer
        hires = await self._hires_of(offer_id)
        mine = [each for each in hires.state if each.part == part and self._is_for(each, terms)]
        works_on_it = self._buyer.involved(offer_id)
        for each in mine:  # a restart may have come in between, or a later copy
            if each.provider in works_on_it:
                continue  # it stood by, and was called meanwhile: nobody has two voices
            found = await self._wait(each, under_way)
            if found is not None:
                return found
        wish = self._wish(terms, part)
        if wish is None:
            return "the task is over"
        tried = {each.provider for each in mine}
        for seller in await self._choose(terms, part, wish, tried):
            if len(tried) >= TRIES:
                break
            spent = [each.price for each in hires.state if await self._buyer.receipts_of(each.offer_id)]
            if sum(spent) + seller.price > self._most(offer_id):
                return "what may be spent on third nodes for this task does not suffice"
            tried.add(seller.wallet)
            chosen = replace(wish, budget=seller.price, hire=seller.wallet)
            offer = await self._buyer.make_offer(chosen)
            hired = Hired(
                award=terms.award_id,
                part=part,
                offer_id=self._buyer.id_of(offer),
                provider=seller.wallet,
                price=seller.price,
            )
            await hires.apply(hired)
            await self._buyer.submit(chosen, offer)
            log.info("third.hired", task=hired.offer_id.hex(), part=part, price=seller.price)
            found = await self._wait(hired, under_way)
            if found is not None:
                return found
        return f"no third node ran it ({len(tried)} were asked)"

    def _is_for(self, hired: Hired, terms: Terms) -> bool:
        """Whether a hire answers a question under this award; what copies of a part are held against is one thing."""
        offer = self._buyer.offer_of(terms.award.offer)
        return hired.award == terms.award_id or (offer is not None and offer.copies > 1)

    async def _wait(self, hired: Hired, under_way: list[Digest]) -> Rerun | None:
        under_way.append(hired.offer_id)
        receipts = await self._buyer.receipts_of(hired.offer_id)
        under_way.remove(hired.offer_id)
        return rerun_of(receipts[0]) if receipts else None

    async def _hires_of(self, offer_id: Digest) -> HiredLog:
        stream = stream_of(offer_id)
        if stream in await self._open_streams(stream):
            return await load_machine(self._journal, HIRED, stream)
        return await open_machine(self._journal, HIRED, stream, HiredContext(offer_id=offer_id))

    def _most(self, offer_id: Digest) -> int:
        offer = self._buyer.offer_of(offer_id)
        return 0 if offer is None else offer.budget * self._share_bps // WHOLE

    def _wish(self, terms: Terms, part: int) -> Wish | None:
        """The part as a task of one; the same bytes in, so the same result out (TK2)."""
        offer = self._buyer.offer_of(terms.award.offer)
        if offer is None:
            return None
        return Wish(
            manifest=replace(terms.manifest, parts=(terms.manifest.parts[part],)),
            rates=terms.rates,
            verification=Trust(),
            budget=award_part_price(terms.award, part),
            max_eta=offer.max_eta,
            format=AuctionFormat.DIRECT,
            w_price=BasisPoints(offer.w_price),
            w_reputation=BasisPoints(offer.w_reputation),
            w_speed=BasisPoints(offer.w_speed),
            max_bidders=1,
            commit_window_s=WINDOW_S,
            reveal_window_s=WINDOW_S,
            start_within=offer.start_within,
            standby_for_s=offer.start_within,
        )

    async def _choose(self, terms: Terms, part: int, wish: Wish, tried: set[Address]) -> list[Asked]:
        """Return who may be asked: the best reputation first, then the lowest price."""
        most = award_part_price(terms.award, part)
        away = self._buyer.involved(terms.award.offer) | tried
        found = [each for each in self._sellers.of(wish.manifest) if each.wallet not in away and 0 < each.price <= most]
        if not found:
            log.info("third.nobody_to_hire", part=part, most=format_amount(most))
        opinions = await self._reputations(each.wallet for each in found)
        return sorted(found, key=lambda each: (-opinions[each.wallet], each.price, each.wallet))
