"""The doors to what this node buys."""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Container, Iterator
from dataclasses import replace
from typing import Final, cast

import structlog
import trio

from node.api import views
from node.app.doors.disputes import dispute_view
from node.app.doors.names import FORMATS, own_format_name, rail_of
from node.app.doors.order_checks import check_caps, check_modules, find_blobs, most_of
from node.app.doors.task_history import TaskHistory, warn_of
from node.app.node import Node
from node.app.selling import rates_of
from node.config.trade import RequesterSettings
from node.market import purchase_run
from node.market.provider_desk import PartProgress
from node.market.task_table import TaskRow, find_task, list_tasks
from node.market.wish import Wish
from node.operations.logs import logging_task
from node.storage.machine_log import load_machine
from protocol.errors import ProtocolError, StoaError
from protocol.identity import ZERO_ADDRESS, ContentDigest, Digest
from protocol.market.objects import AuctionFormat, Offer
from protocol.node_record import NodeBody
from protocol.spending import Cap
from protocol.task import purchase
from protocol.task.manifest import MANIFEST_MAX_BYTES, Blob, Manifest
from protocol.task.pricing import Rates, price_at_limits
from protocol.task.testing import price_of_tests
from protocol.task.verification import Audit, ByTest, Copies, Trust, Verification, describe_policy
from protocol.units import WHOLE, Amount, BasisPoints, Seconds, UnixTime, format_amount
from protocol.wire.codec import decode

log = structlog.stdlib.get_logger(__name__)

UPLOAD_KEPT_S: Final = 3600
PROGRESS_EVERY_S: Final = 0.25
READ_BYTES: Final = 256 * 1024
LONGEST_WINDOW_S: Final = 86_400
_HEX: Final = frozenset("0123456789abcdef")
_CAP_NAMES: Final = {Cap.TASK: "per_task", Cap.HOUR: "per_hour", Cap.DAY: "per_day", Cap.PEER: "per_peer"}


class NoSuchTask(ProtocolError):
    """No task has that id, or several begin with it."""


class TaskDoors:
    """See `NodeFacade`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def blob_has(self, digest: ContentDigest) -> bool:
        """See `NodeFacade`."""
        blobs = self._node.storage.blobs
        await blobs.keep(digest, self._keep_upload())
        return await blobs.has(digest)

    async def blob_put(self, digest: ContentDigest, size: int, chunks: AsyncIterator[bytes]) -> None:
        """See `NodeFacade`."""
        async with self._node.storage.blobs.open_writer(max_bytes=size, expected=digest) as writer:
            async for chunk in chunks:
                await writer.write(chunk)
            if writer.size != size:
                raise ProtocolError(f"{writer.size} bytes came, {size} were announced")
            await writer.commit(keep_until=self._keep_upload())

    async def blob_read(self, digest: ContentDigest) -> AsyncGenerator[bytes, None]:
        """See `NodeFacade`."""
        async with self._node.storage.blobs.open_reader(digest) as reader:
            offset = 0
            while chunk := await reader.read_at(offset, READ_BYTES):
                yield chunk
                offset += len(chunk)

    async def task_plan(self, order: views.TaskOrder) -> views.TaskPlan:
        """See `NodeFacade`."""
        node, wish = self._node, self._wish(order)
        offer = node.requester.draft(wish)
        asked = self._asked_prices(wish.manifest, wish.verification)
        estimate = min(asked, default=_price(wish.rates, wish.manifest, wish.verification))
        warnings = list(_warnings(wish, offer, estimate))
        if node.requester.terms.dispute_fee and offer.arbiter == ZERO_ADDRESS:
            fee = format_amount(node.requester.terms.dispute_fee)
            warnings.append(f"no court: a part costs less than a dispute, {fee}; what is disputed is split (L4)")
        rail, reason, top_up = None, "", Amount(0)
        try:
            choice = await node.payments.payer.plan(wish.hire, offer.budget, offer)
            rail, reason, top_up = choice.rail.value, choice.reason, choice.top_up
        except StoaError as error:
            reason = str(error)
        sellers = self._sellers(wish.manifest)
        if isinstance(wish.verification, Audit | Copies) and (share := node.settings.requester.third_node_bps):
            most = format_amount(Amount(wish.budget * share // WHOLE))
            warnings.append(f"where this node can't run a part again, others are hired for it, for {most} more at most")
        if not sellers and wish.hire is None:
            warnings.append("no node that sells on this engine is known yet")
        return views.TaskPlan(
            name=wish.manifest.name,
            parts=len(wish.manifest.parts),
            format=own_format_name(wish.format) if wish.hire is None else "second-price",
            budget=wish.budget,
            estimate=estimate,
            cap=most_of(offer),
            copies=offer.copies,
            rail=rail,
            rail_reason=reason,
            top_up=top_up,
            max_eta_s=wish.max_eta,
            window_s=float(offer.reveal_by + 1 - node.clock.unix_time()),
            sellers=len(sellers),
            verification=describe_policy(wish.verification),
            caps=cap_views(node),
            warnings=tuple(warnings),
        )

    async def task_submit(self, order: views.TaskOrder) -> views.TaskView:
        """See `NodeFacade`."""
        node, wish = self._node, self._wish(order)
        needed = await find_blobs(node, wish)
        check_caps(node, node.requester.draft(wish))
        await check_modules(node, wish)
        keep = UnixTime(node.clock.now() + node.settings.storage.keep_results_h * 3600 + wish.standby_for_s)
        for blob in needed:
            await node.storage.blobs.keep(blob.digest, keep)
        offer_id = await node.requester.submit(wish)
        if warning := warn_of(wish.verification, node.requester.tasks[offer_id].purchase.context.offer.value):
            with logging_task(offer_id):
                log.warning("task.liability_does_not_deter", reason=warning)
        return await self._view_task(offer_id)

    async def task_list(self, state: views.TaskFilter, limit: int) -> tuple[views.TaskView, ...]:
        """See `NodeFacade`."""
        rows = await self._node.storage.read.query(
            lambda connection: list_tasks(connection, limit=limit, open_only=state == "open")
        )
        return tuple(_task_view(row) for row in rows)

    async def task_show(self, task: str) -> views.TaskDetail:
        """See `NodeFacade`."""
        row = await self._find_task(task)
        journal = self._node.storage.journal
        bought = await load_machine(journal, purchase_run.PURCHASE, purchase_run.stream_of(row.offer))
        history = TaskHistory(row.offer, row.copies)
        for stream in history.streams:
            for record in await journal.replay(stream):
                for _ in history.take(record):
                    pass
        manifest = bought.context.manifest
        return views.TaskDetail(
            task=_task_view(row),
            module=manifest.module.digest,
            fuel_limit=manifest.limits.fuel,
            memory_limit_mib=manifest.limits.memory_mib,
            verification=history.verification,
            warning=history.warning,
            awards=tuple(history.awards),
            parts=tuple([await self._with_sizes(part) for part in history.parts]),
            refuted=tuple(history.refuted),
            copies=history.copies,
            disputes=await self._disputes_of({each.award for each in history.awards}),
        )

    async def _disputes_of(self, awards: Container[Digest]) -> tuple[views.DisputeView, ...]:
        party = self._node.party
        cases = () if party is None else await party.views()
        return tuple(dispute_view(each) for each in cases if each.file.brief.award_id in awards)

    async def task_watch(self, task: str) -> AsyncGenerator[views.TaskEvent, None]:
        """See `NodeFacade`."""
        row = await self._find_task(task)
        history, journal = TaskHistory(row.offer, row.copies), self._node.storage.journal
        seen = journal.head.seq  # first: what is appended while the streams are replayed is followed below
        past = [record for stream in history.streams for record in await journal.replay(stream) if record.seq <= seen]
        for record in sorted(past, key=lambda each: each.seq):
            for event in history.take(record):
                yield await self._complete(event, row.offer)
        last: dict[int, PartProgress] = {}
        while not history.is_over:
            with trio.move_on_after(PROGRESS_EVERY_S):
                await journal.wait_after(seen)
            for record in await journal.read_after(seen):
                seen = record.seq
                if record.stream in history.streams:
                    for event in history.take(record):
                        yield await self._complete(event, row.offer)
            told = {} if history.is_over else dict(self._node.requester.progress.get(row.offer, {}))
            for slot, progress in told.items():
                if progress != last.get(slot):
                    yield views.PartProgress(
                        at=self._node.clock.now(),
                        provider=progress.provider,
                        part=progress.part,
                        fuel=progress.fuel,
                        fuel_limit=history.fuel_limit,
                        bytes_out=progress.bytes_out,
                    )
            last = told

    async def task_cancel_quote(self, task: str) -> views.CancelQuote:
        """See `NodeFacade`."""
        row = await self._find_task(task)
        run = self._node.requester.tasks.get(row.offer)
        if run is None:
            raise NoSuchTask(f"the task is {row.state}; there is nothing to cancel")
        released = Amount(sum(_released(each.state) for each in run.purchases))
        explanation = (
            f"{row.paid_parts} of {row.parts} parts are delivered and paid with {format_amount(row.spent)}; nothing "
            "more is paid. A part that is under way is given up."
        )
        return views.CancelQuote(task=row.offer, cost=row.spent, released=released, explanation=explanation)

    async def task_cancel(self, task: str, cost: Amount) -> views.TaskView:
        """See `NodeFacade`."""
        row = await self._find_task(task)
        if row.spent > cost:
            raise ProtocolError(
                f"meanwhile another part was delivered: cancelling now costs {format_amount(row.spent)}",
                advice="cancel again, at the new price",
            )
        self._node.requester.cancel(row.offer)
        while row.offer in self._node.requester.tasks:
            await self._node.clock.sleep(0.05)
        return await self._view_task(row.offer)

    def _wish(self, order: views.TaskOrder) -> Wish:
        settings = self._node.settings.requester
        manifest = decode(Manifest, order.manifest, max_bytes=MANIFEST_MAX_BYTES)
        price, reputation, speed = _weights(order, settings)
        commit_s = settings.commit_window_s if order.commit_window_s is None else order.commit_window_s
        reveal_s = settings.reveal_window_s if order.reveal_window_s is None else order.reveal_window_s
        for window_s in (commit_s, reveal_s):
            if not (math.isfinite(window_s) and 0 < window_s <= LONGEST_WINDOW_S):
                raise ProtocolError(f"a window of {window_s} s; allowed are above 0 and at most {LONGEST_WINDOW_S} s")
        format_ = FORMATS[order.format or settings.auction]
        return Wish(
            manifest=manifest,
            rates=rates_of(settings.rates),
            verification=_verification(order, settings),
            budget=order.budget,
            max_eta=Seconds(order.max_eta_s),
            format=AuctionFormat.DIRECT if order.hire is not None else format_,
            w_price=price,
            w_reputation=reputation,
            w_speed=speed,
            max_bidders=settings.max_bidders,
            commit_window_s=commit_s,
            reveal_window_s=reveal_s,
            start_within=Seconds(settings.start_within_s),
            standby_for_s=settings.standby_for_s,
            hire=order.hire,
        )

    def _keep_upload(self) -> UnixTime:
        return UnixTime(self._node.clock.now() + UPLOAD_KEPT_S)

    async def _find_task(self, task: str) -> TaskRow:
        prefix = task.lower().removeprefix("0x")
        if not prefix or len(prefix) > 64 or not set(prefix) <= _HEX:
            raise NoSuchTask(f"{task!r} is no task id", advice="ids are hexadecimal; see `stoa task list`")
        rows = await self._node.storage.read.query(lambda connection: find_task(connection, prefix))
        if not rows:
            raise NoSuchTask(f"no task of this node begins with {prefix}", advice="see `stoa task list`")
        first, *others = list(rows)
        if others:
            raise NoSuchTask(f"several tasks begin with {prefix}", advice="give more of its digits")
        return first

    async def _view_task(self, offer_id: Digest) -> views.TaskView:
        return _task_view(await self._find_task(offer_id.hex()))

    async def _complete(self, event: views.TaskEvent, offer_id: Digest) -> views.TaskEvent:
        """Add to an event from the journal what this node knows besides."""
        match event:
            case views.PartDelivered():
                return replace(event, part=await self._with_sizes(event.part))
            case views.TaskEnded(state="failed", sellers_heard=0):
                return replace(event, refusals=await self._likely_refusals(offer_id))
            case _:
                return event

    async def _likely_refusals(self, offer_id: Digest) -> tuple[views.CountView, ...]:
        """Say why nobody may have bid. Sellers don't tell, but their records do: engine and asked prices."""
        machine = await load_machine(
            self._node.storage.journal, purchase_run.PURCHASE, purchase_run.stream_of(offer_id)
        )
        bought = machine.context
        manifest, budget = bought.manifest, bought.offer.value.budget
        if not self._sellers(manifest):
            known = len(self._node.directory.all())
            return (views.CountView(text="known nodes sell nothing on this engine", count=known),)
        dear = [price for price in self._asked_prices(manifest, bought.policy) if price > budget]
        if not dear:
            return ()
        text = f"ask more than the budget of {format_amount(budget)}: {format_amount(min(dear))} or more at the limits"
        return (views.CountView(text=text, count=len(dear)),)

    def _sellers(self, manifest: Manifest) -> list[NodeBody]:
        return [record.body for record in self._node.directory.all() if manifest.engine in record.body.engines]

    def _asked_prices(self, manifest: Manifest, policy: Verification) -> list[Amount]:
        """Return what known sellers would ask at full limits, by the prices in their records."""
        return [_price(body.rates, manifest, policy) for body in self._sellers(manifest) if body.rates is not None]

    async def _with_sizes(self, part: views.PartView) -> views.PartView:
        blobs = self._node.storage.blobs
        sizes = [await blobs.size(each) if await blobs.has(each) else 0 for each in (part.output, part.logs)]
        return replace(part, output_bytes=sizes[0], log_bytes=sizes[1])


def _price(rates: Rates, manifest: Manifest, policy: Verification) -> Amount:
    """Return what a seller with these rates asks at full limits, its own tests included (TM9)."""
    parts = len(manifest.parts)
    return Amount(price_at_limits(rates, manifest, 0, parts) + price_of_tests(rates, policy, parts))


def cap_views(node: Node) -> tuple[views.CapView, ...]:
    """Return the spending caps and what they leave now."""
    caps = node.settings.wallet.caps
    left = node.signer.remaining()
    limits = {Cap.TASK: caps.per_task, Cap.HOUR: caps.per_hour, Cap.DAY: caps.per_day, Cap.PEER: caps.per_peer}
    return tuple(
        views.CapView(name=_CAP_NAMES[cap], limit=limit, left=left.get(cap, limit)) for cap, limit in limits.items()
    )


def _weights(order: views.TaskOrder, settings: RequesterSettings) -> tuple[BasisPoints, BasisPoints, BasisPoints]:
    price, reputation, speed = order.weight_price, order.weight_reputation, order.weight_speed
    if price is None and reputation is None and speed is None:
        price, reputation, speed = settings.weight_price, settings.weight_reputation, settings.weight_speed
    if price is None or reputation is None or speed is None:
        raise ProtocolError("give all three weights, or none of them")
    return BasisPoints(price), BasisPoints(reputation), BasisPoints(speed)


def _verification(order: views.TaskOrder, settings: RequesterSettings) -> Verification:
    match order.verification or settings.verification:
        case "trust":
            return Trust()
        case "audit":
            return Audit(rate=BasisPoints(settings.audit_rate if order.audit_rate is None else order.audit_rate))
        case "copies":
            return Copies(count=settings.copies if order.copies is None else order.copies)
        case "test":
            if order.test is None:
                raise ProtocolError("no module to test with", advice="name it under [test] in the task file")
            module = Blob(digest=order.test.module, size=order.test.module_bytes)
            return ByTest(module=module, fuel=order.test.fuel, memory_mib=order.test.memory_mib)


def _warnings(wish: Wish, offer: Offer, estimate: Amount) -> Iterator[str]:
    if estimate > wish.budget:
        asked, budget = format_amount(estimate), format_amount(wish.budget)
        yield f"at its limits the task is asked {asked} for at the least, the budget is {budget}"
    if warning := warn_of(wish.verification, offer):
        yield warning


def _released(state: purchase.State) -> int:
    """Return how much of what is promised comes back if nothing more is bought."""
    if not isinstance(state, purchase.Funding | purchase.Awaiting | purchase.Running | purchase.Auditing):
        return 0
    award, bound = state.award.value, state.running if isinstance(state, purchase.Auditing) else state
    return award.price + award.dispute_fee - (bound.due if isinstance(bound, purchase.Running) else 0)


def _task_view(row: TaskRow) -> views.TaskView:
    return views.TaskView(
        task=row.offer,
        name=row.name,
        state=cast("views.TaskState", row.state),
        reason=row.reason,
        submitted_at=row.submitted_at,
        changed_at=row.changed_at,
        budget=row.budget,
        spent=row.spent,
        parts=row.parts,
        paid_parts=row.paid_parts,
        attempt=row.attempt,
        provider=row.provider,
        rail=None if row.channel is None else rail_of(row.channel),
        copies=row.copies,
    )
