"""One award at its provider, driven to its end: the shell of `protocol.task.delivery`.

A part that a crash interrupted is simply run again, with the same output and fuel (D9). Under a test the second run's
output may be another; only the one whose receipt is in the journal is ever signed.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import structlog
import trio

from node.market.driver import Interrupt, drive
from node.market.ports import Blobs, PartRun, PayeeRails, Peers, Sandbox, Signing
from node.market.testing import prepare_test, run_test
from node.operations.clock import Clock
from node.operations.randomness import RandomSource
from node.storage.machine_log import Machine, MachineLog
from protocol.errors import ProtocolError, StoaError, TransientError
from protocol.identity import ZERO_DIGEST, ContentDigest, Digest
from protocol.market.objects import Offer
from protocol.settlement.deadlines import deadlines_of
from protocol.signing.eip712 import Domain, digest
from protocol.signing.signed import Signed
from protocol.task import delivery
from protocol.task.manifest import Blob, Manifest
from protocol.task.messages import (
    FAILURE_METHOD,
    PROGRESS_METHOD,
    REASON_MAX,
    RECEIPT_METHOD,
    START_METHOD,
    FailureNotice,
    Notes,
    PaymentNotice,
    ProgressNotice,
    ReceiptNotice,
    SealNotice,
    StartNotice,
)
from protocol.task.objects import Receipt, Start
from protocol.task.outcome import classify, describe, is_judged, is_leaky, is_success
from protocol.task.pricing import Rates, Usage
from protocol.task.receipt import Progress, Terms, amount_due, verify_acceptance
from protocol.task.verification import ByTest, Verification, blobs_of
from protocol.units import Amount, UnixTime
from protocol.wire.codec import decode, encode

log = structlog.stdlib.get_logger(__name__)

RESEND_S: Final = 2.0
"""How long to wait for an answer before a start or a receipt is sent again."""
PROGRESS_EVERY_S: Final = 0.25
RETRY_S: Final = 0.5
RESUME_PATIENCE_S: Final = 3.0
"""How long a provider that came back asks a silent requester before it goes on with the next part anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryContext:
    """What a delivery begins with; the first record of its stream."""

    job: delivery.Job
    offer: Offer
    manifest: Manifest
    rates: Rates
    policy: Verification

    @property
    def terms(self) -> Terms:
        """What receipts are computed from."""
        return Terms(
            award=self.job.award.value,
            award_id=self.job.award_id,
            manifest=self.manifest,
            rates=self.rates,
            policy=self.policy,
        )


DeliveryLog = MachineLog[DeliveryContext, delivery.State, delivery.Event, delivery.Effect]

DELIVERY: Final[Machine[DeliveryContext, delivery.State, delivery.Event, delivery.Effect]] = Machine(
    context=DeliveryContext,
    events=delivery.Event,
    begin=lambda context: delivery.Offered(job=context.job),
    transition=delivery.transition,
)


def stream_of(award_id: Digest) -> str:
    """Return the journal stream of a delivery."""
    return f"delivery/{award_id.hex()}"


def _unobserved(_context: DeliveryContext) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRoom:
    """What every delivery of this node works with.

    Attributes:
        random: What a guest's chance comes from where a test judges its output.
        host: What receipts' notes call this machine.
        on_event: Told of every event once it is durable.
        on_opened: Told of every award that is taken, not of those that a restart takes up again.
    """

    domain: Domain
    signing: Signing
    peers: Peers
    blobs: Blobs
    rails: PayeeRails
    sandbox: Sandbox
    clock: Clock
    random: RandomSource
    host: str
    on_event: Callable[[DeliveryContext, delivery.Event], None]
    on_opened: Callable[[DeliveryContext], None] = _unobserved


class DeliveryRun:
    """The loop over one delivery. `run` ends when nothing is left to do."""

    def __init__(self, room: ProviderRoom, machine: DeliveryLog) -> None:
        self._room, self._machine = room, machine
        self.context: Final = machine.context
        self._award = machine.context.job.award.value
        self._deadlines = deadlines_of(self._award)
        self._interrupt = Interrupt[delivery.Event]()
        self._left_over = machine.state.receipt if isinstance(machine.state, delivery.Unpaid) else None
        self._start_told_at = room.clock.monotonic()
        self._pay, self._payments = trio.open_memory_channel[PaymentNotice](1)

    @property
    def state(self) -> delivery.State:
        """Where the delivery stands."""
        return self._machine.state

    @property
    def needs_worker(self) -> bool:
        """Whether a part has still to run. While the last one only waits for its payment, another task may."""
        state = self._machine.state
        match state:
            case delivery.Unpaid():
                return state.receipt.part < self._award.first_part + self._award.parts - 1
            case delivery.Delivered() | delivery.Dropped():
                return False
            case _:
                return True

    def withdraw(self, reason: str) -> None:
        """Stop as soon as possible; what is delivered stays owed."""
        self._interrupt.raise_event(delivery.Withdrawn(reason=reason[:REASON_MAX]))

    async def say_started_again(self) -> None:
        """Tell the start once more, if there is one: the requester funds anew, so it has not kept what it heard.

        It answers a start before it keeps it, and may die in between. A notice that crossed the start says nothing.
        """
        state, now = self._machine.state, self._room.clock.monotonic()
        if isinstance(state, delivery.Working | delivery.Unpaid) and now - self._start_told_at >= RETRY_S:
            self._start_told_at = now
            await self._try_tell(START_METHOD, encode(StartNotice(start=self._room.signing.sign(state.start))))

    async def receive_payment(self, notice: PaymentNotice) -> None:
        """Take a payment: returns only once it is checked and kept.

        Raises:
            ProtocolError: It does not pay what the receipt in question asks for.
        """
        state = self._machine.state
        match state:
            case delivery.Unpaid():
                receipt_id = digest(self._room.domain, state.receipt)
                verify_acceptance(self._room.domain, self.context.terms, receipt_id, state.receipt, notice.acceptance)
                if state.receipt == self._left_over:
                    # Who pays has received it: it is evidence now, without which an escrow takes no acceptance.
                    await self._keep(self._room.signing.sign(state.receipt))
                await self._room.rails.receive_payment(
                    self.context.job.award, self.context.job.award_id, notice.acceptance, notice.voucher
                )
                with contextlib.suppress(trio.WouldBlock):  # the same payment, sent twice
                    self._pay.send_nowait(notice)
            case delivery.Working(accepted=accepted) | delivery.Delivered(accepted=accepted) if (
                accepted == notice.acceptance
            ):
                return  # sent again
            case _:
                raise ProtocolError(f"no receipt of this award waits for a payment ({type(state).__name__})")

    async def receive_seal(self, notice: SealNotice) -> None:
        """Keep what opens the award's seal, told once the last receipt is in the requester's hands.

        Raises:
            SealMismatch: Another secret than the sealed one.
            ProtocolError: No receipt waits for its payment, or it is not the last.
        """
        state = self._machine.state
        if not isinstance(state, delivery.Unpaid) or state.receipt.part != self.context.terms.last_part:
            raise ProtocolError("the seal of this award can't be opened now")
        if state.secret != notice.secret:
            await self._machine.apply(delivery.SecretHeard(secret=notice.secret))

    async def run(self) -> None:
        """Drive the delivery to its end."""
        await drive(
            self._machine,
            outstanding=delivery.outstanding,
            perform=self._perform,
            is_interruptible=lambda effect: not isinstance(effect, delivery.SettleRail | delivery.TellFailed),
            interrupt=self._interrupt,
            on_event=lambda event: self._room.on_event(self.context, event),
        )

    async def _perform(self, effect: delivery.Effect) -> delivery.Event | None:
        match effect:
            case delivery.AwaitRail():
                return await self._await_rail()
            case delivery.FetchInputs():
                return await self._fetch_inputs()
            case delivery.SendStart(start=start):
                return await self._send_start(start)
            case delivery.RunPart(part=part, paid=paid):
                return await self._run_part(part, paid)
            case delivery.SendReceipt(receipt=receipt):
                return await self._send_receipt(receipt)
            case delivery.TellFailed(reason=reason):
                await self._tell_failed(reason)
                return None
            case delivery.SettleRail():
                await self._settle(effect)
                return None

    async def _await_rail(self) -> delivery.Event:
        job, why = self.context.job, "the award was not funded before its start_by"
        reason = why
        with trio.move_on_after(self._seconds_until(self._deadlines.start_by)):
            while True:
                try:
                    await self._room.rails.wait_funded(job.award, job.award_id)
                except TransientError as error:
                    reason = f"{why}: {error}"
                    await self._room.clock.sleep(RETRY_S)
                except ProtocolError as error:
                    return delivery.Withdrawn(reason=str(error)[:REASON_MAX])
                else:
                    return delivery.RailConfirmed()
        return delivery.Withdrawn(reason=reason[:REASON_MAX])

    async def _fetch_inputs(self) -> delivery.Event:
        """Bring everything, trying again until there is no time left to start."""
        reason = "the inputs did not arrive before start_by"
        with trio.move_on_after(self._seconds_until(self._deadlines.start_by)):
            while True:
                try:
                    await self._fetch_once()
                except TransientError as error:
                    reason = f"the inputs did not arrive before start_by: {error}"
                    await self._room.clock.sleep(RETRY_S)
                except StoaError as error:  # also of our own disk: nothing binds yet, and a standby may do better
                    return delivery.Withdrawn(reason=str(error)[:REASON_MAX])
                else:
                    at = self._room.clock.now()
                    if at > self._deadlines.start_by:  # the clock was set, or what took so long could not be cancelled
                        break
                    return delivery.InputsHeld(at=at)
        return delivery.Withdrawn(reason=reason[:REASON_MAX])

    async def _fetch_once(self) -> None:
        manifest, until = self.context.manifest, self._deadlines.latest_resolve_by
        wanted = {manifest.module, *blobs_of(self.context.policy)}
        for part in range(self._award.first_part, self._award.first_part + self._award.parts):
            wanted.update(manifest.inputs_of(part))
        for blob in sorted(wanted, key=lambda each: each.size):
            await self._room.peers.fetch(self._award.requester, blob.digest, max_bytes=blob.size, keep_until=until)
        await self._room.sandbox.prepare(manifest)
        await prepare_test(self._room.sandbox, manifest, self.context.policy)  # a test that is none binds nobody

    async def _send_start(self, start: Start) -> delivery.Event | None:
        """Send until it is heard. Sent again after a restart, it asks whether the award is still in force."""
        signed = self._room.signing.sign(start)
        await self._room.rails.note_start(self.context.job.award, self.context.job.award_id, signed)
        body, state = encode(StartNotice(start=signed)), self._machine.state
        if isinstance(state, delivery.Unpaid):  # the receipt must not wait for this, and hears the same answer
            await self._try_tell(START_METHOD, body)
            return None
        was_heard = isinstance(state, delivery.Working) and state.accepted is not None
        patience_s = RESUME_PATIENCE_S if was_heard else self._seconds_until(self._deadlines.deliver_by)
        with trio.move_on_after(patience_s):
            while True:
                try:
                    await self._room.peers.call(self._award.requester, START_METHOD, body)
                except TransientError as error:
                    log.info("delivery.not_told", method=START_METHOD, reason=str(error))
                    await self._room.clock.sleep(RETRY_S)
                except ProtocolError as error:  # it has moved on: what was paid stays ours, nothing more is wanted
                    return delivery.Withdrawn(reason=f"the requester refused the start: {error}"[:REASON_MAX])
                else:
                    self._start_told_at = self._room.clock.monotonic()
                    return None
        return None

    async def _run_part(self, part: int, paid: Amount) -> delivery.Event:
        send, receive = trio.open_memory_channel[tuple[int, int]](1)

        def on_progress(fuel: int, bytes_out: int) -> None:
            with contextlib.suppress(trio.WouldBlock):  # the next one says more
                send.send_nowait((fuel, bytes_out))

        limit_s = self._seconds_until(self._deadlines.deliver_by)
        run: PartRun | None = None
        failure = "it was not done by deliver_by"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._report_progress, part, receive)
            with trio.move_on_after(limit_s):
                try:
                    run = await self._room.sandbox.run(self._as_run(), part, on_progress)
                    failure = await self._why_worthless(part, run)
                except StoaError as error:
                    failure = str(error)
            nursery.cancel_scope.cancel()
        if run is None or failure:
            return delivery.PartFailed(reason=f"part {part}: {failure}"[:REASON_MAX])
        return delivery.PartRan(receipt=await self._make_receipt(part, paid, run))

    def _as_run(self) -> Manifest:
        """Return the task as the guest sees it: where a test judges the output, with true chance and time (TM4)."""
        manifest = self.context.manifest
        if not isinstance(self.context.policy, ByTest):
            return manifest
        return replace(manifest, clock=self._room.clock.now(), seed=Digest(self._room.random.bytes(len(manifest.seed))))

    async def _why_worthless(self, part: int, run: PartRun) -> str:
        """Say why a run is no ground for a receipt: who signs an output that fails its test has lied (TM5)."""
        if not is_judged(run.outcome):
            return describe(run.outcome)
        if not isinstance(self.context.policy, ByTest):
            return ""
        if not is_success(run.outcome):
            return f"{describe(run.outcome)}; under a test nothing is due for that"
        terms, output = self.context.terms, Blob(digest=run.output, size=run.output_bytes)
        test = await run_test(self._room.sandbox, terms, part, output)
        if is_success(test.outcome):
            return ""
        ended = "its output fails the test" if is_judged(test.outcome) else "the test of its output can't be judged"
        return f"{ended}: {describe(test.outcome)}"

    async def _make_receipt(self, part: int, paid: Amount, run: PartRun) -> Receipt:
        terms, award = self.context.terms, self._award
        limits = self.context.manifest.limits
        fuel = limits.fuel if is_leaky(run.outcome) else run.fuel
        usage = Usage(fuel=fuel, peak_mib=run.peak_mib, bytes_in=run.bytes_in, bytes_out=run.bytes_out)
        due = amount_due(terms, Progress(next_part=part, due=paid), outcome=run.outcome, usage=usage)
        notes = Notes(wall_ms=int(run.wall_s * 1000), cpu_ms=int(run.cpu_s * 1000), host=self._room.host)
        notes_digest = await self._room.blobs.put(encode(notes), keep_until=self._deadlines.latest_resolve_by)
        for blob in (run.output, run.logs):
            await self._room.blobs.keep(blob, self._deadlines.latest_resolve_by)
            await self._room.peers.grant(blob, award.requester, self._deadlines.latest_resolve_by)
        log.info("part.ran", part=part, outcome=classify(run.outcome).value, fuel=run.fuel, due=due)
        return Receipt(
            award=terms.award_id,
            part=part,
            outcome=run.outcome,
            output=run.output,
            logs=run.logs,
            fuel=fuel,
            peak_mib=run.peak_mib,
            bytes_in=run.bytes_in,
            bytes_out=run.bytes_out,
            due=due,
            notes=notes_digest,
        )

    async def _report_progress(self, part: int, receive: trio.MemoryReceiveChannel[tuple[int, int]]) -> None:
        async for fuel, bytes_out in receive:
            notice = ProgressNotice(award=self.context.job.award_id, part=part, fuel=fuel, bytes_out=bytes_out)
            await self._try_tell(PROGRESS_METHOD, encode(notice))
            await self._room.clock.sleep(PROGRESS_EVERY_S)

    async def _send_receipt(self, receipt: Receipt) -> delivery.Event:
        """Send until it is paid; the requester may be restarting, so silence is not yet a refusal."""
        signed = self._room.signing.sign(receipt)
        body = encode(await self._describe(receipt, signed))
        # What a crash left over may never have been sent, and somebody else be hired: it is shown before it is kept.
        is_kept = receipt != self._left_over
        if is_kept and not await self._keep(signed):
            return delivery.PaymentOverdue()
        with trio.move_on_after(float(self._award.pace)):
            while True:
                try:
                    await self._room.peers.call(self._award.requester, RECEIPT_METHOD, body)
                except TransientError as error:
                    log.info("delivery.not_told", method=RECEIPT_METHOD, reason=str(error))
                except ProtocolError as error:
                    # It will not pay, whatever its reason: what the law gives is claimed on the evidence (M8).
                    return delivery.Withdrawn(reason=f"the receipt was refused: {error}"[:REASON_MAX])
                with trio.move_on_after(RESEND_S):
                    payment = await self._payments.receive()
                    if payment.acceptance.value.part == receipt.part:
                        self._note_seal(receipt)
                        return delivery.PartPaid(acceptance=payment.acceptance)
                if not is_kept and not await self._keep(signed):
                    break
                is_kept = True
        if not is_kept:  # a pace shorter than one wait
            await self._keep(signed)
        return delivery.PaymentOverdue()

    def _note_seal(self, receipt: Receipt) -> None:
        state, sealed = self._machine.state, self._award.audit_seal != ZERO_DIGEST
        if sealed and receipt.part == self.context.terms.last_part and getattr(state, "secret", None) is None:
            log.warning("requester.seal_not_opened", award=self.context.job.award_id.hex())

    async def _keep(self, signed: Signed[Receipt]) -> bool:
        """Keep a receipt as evidence; tell whether its money still stands."""
        try:
            await self._room.rails.note_receipt(self.context.job.award, self.context.job.award_id, signed)
        except ProtocolError as error:  # its channel was closed, or its hold let go of after the last deadline
            log.warning("receipt.not_backed", award=self.context.job.award_id.hex(), reason=str(error))
            return False
        return True

    async def _describe(self, receipt: Receipt, signed: Signed[Receipt]) -> ReceiptNotice:
        blobs = self._room.blobs
        return ReceiptNotice(
            receipt=signed,
            output_bytes=await blobs.size(receipt.output),
            log_bytes=await blobs.size(receipt.logs),
            notes=decode(Notes, await blobs.read(receipt.notes, max_bytes=1024)),
        )

    async def _tell_failed(self, reason: str) -> None:
        state = self._machine.state
        part = state.accepted.value.part + 1 if isinstance(state, delivery.Dropped) and state.accepted else 0
        notice = FailureNotice(
            award=self.context.job.award_id,
            part=max(part, self._award.first_part),
            outcome=0,
            logs=ContentDigest(bytes(32)),
            reason=reason[:REASON_MAX],
        )
        await self._try_tell(FAILURE_METHOD, encode(notice))

    async def _settle(self, effect: delivery.SettleRail) -> None:
        job = self.context.job
        start = self._room.signing.sign(effect.start) if effect.start else None
        unpaid = self._room.signing.sign(effect.unpaid) if effect.unpaid else None
        await self._room.rails.settle(job.award, job.award_id, start, effect.accepted, unpaid)

    async def _try_tell(self, method: str, body: bytes) -> bool:
        try:
            await self._room.peers.call(self._award.requester, method, body)
        except (TransientError, ProtocolError) as error:
            log.info("delivery.not_told", method=method, reason=str(error))
            return False
        return True

    def _seconds_until(self, by: UnixTime) -> float:
        """Return how long acts due `by` still count (C7: to the end of that second)."""
        return max(0.0, by + 1 - self._room.clock.unix_time())
