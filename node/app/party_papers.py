"""What this node's journal holds of the awards that it made or won: what it goes to court with, and shows there.

An award that is long over is told by its purchase's or delivery's records as well as one in force, until they are
pruned.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from node.arbitration.party_ports import Subject
from node.market import delivery_run
from node.market.delivery_run import DeliveryContext
from node.market.purchase_run import PurchaseContext
from node.market.task_table import find_awards, find_purchase_of_award
from node.storage.machine_log import CLOSED
from node.storage.storage import Storage
from protocol.dispute.messages import Dossier
from protocol.dispute.party import Brief
from protocol.identity import Address, Digest
from protocol.market.objects import Award, Offer
from protocol.signing.eip712 import Domain, digest
from protocol.signing.signed import Signed
from protocol.task import delivery, purchase
from protocol.task.audit import Rerun
from protocol.task.manifest import Manifest
from protocol.task.objects import Acceptance, Receipt
from protocol.task.pricing import Rates
from protocol.task.verification import Verification, encode_verification
from protocol.units import Amount
from protocol.wire.codec import decode_as, encode

T = TypeVar("T")

MAX_RECORD_BYTES: Final = 1 << 20


class Signing(Protocol):
    """The wallet."""

    @property
    def address(self) -> Address:
        """Whose signatures these are."""
        ...

    def sign(self, value: T) -> Signed[T]:
        """Sign a promise that moves no money by itself, in the market's domain."""
        ...

    async def sign_acceptance(self, acceptance: Acceptance, award: Award) -> Signed[Acceptance]:
        """Sign an acceptance of work under an award."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """All that one side's records say of one award.

    Attributes:
        receipts: Of its parts, as signed, in order.
        accepted: What the requester accepted; the provider has it signed, the requester signs it anew.
        rerun, reason: What the requester found instead of the last receipt, if it ran the part again.
    """

    award: Award
    award_id: Digest
    offer: Offer
    manifest: Manifest
    rates: Rates
    policy: Verification
    receipts: tuple[Signed[Receipt], ...]
    accepted: tuple[Signed[Acceptance] | Acceptance, ...]
    rerun: Rerun | None = None
    reason: str = ""


class JournalPapers:
    """The arbitration room's `PartyPapers`."""

    def __init__(self, storage: Storage, signing: Signing, domain: Domain) -> None:
        self._storage, self._signing, self._domain = storage, signing, domain

    async def brief_of(self, award: Digest) -> Brief | None:
        """See `PartyPapers`."""
        bundle = await self._bundle_of(award)
        if bundle is None:
            return None
        return Brief(
            award=bundle.award,
            award_id=award,
            offer=bundle.offer,
            own=self._signing.address,
            receipt=bundle.receipts[-1] if bundle.receipts else None,
            rerun=bundle.rerun,
            reason=bundle.reason,
        )

    async def awards_of(self, digits: str) -> tuple[Digest, ...]:
        """See `OrderPapers`."""
        bought = await self._storage.read.query(lambda connection: find_awards(connection, digits))
        prefix = delivery_run.stream_of(Digest(b""))
        sold = await self._storage.journal.streams(f"{prefix}{digits}")
        return tuple(dict.fromkeys((*bought, *(Digest(bytes.fromhex(each.removeprefix(prefix))) for each in sold))))

    async def accepted_of(self, award: Digest) -> Amount:
        """See `OrderPapers`."""
        bundle = await self._bundle_of(award)
        if bundle is None:
            return Amount(0)
        values = [each if isinstance(each, Acceptance) else each.value for each in bundle.accepted]
        return Amount(max((each.due for each in values), default=0))

    async def dossier_of(self, award: Digest, subject: Subject | None = None) -> Dossier | None:
        """See `PartyPapers`."""
        bundle = await self._bundle_of(award)
        if bundle is None:
            return None
        receipt = self._receipt_in(bundle, subject)
        part = subject.part if subject is not None else receipt.value.part if receipt is not None else None
        return Dossier(
            award=bundle.award,
            offer=bundle.offer,
            manifest=encode(bundle.manifest),
            rates=bundle.rates,
            verification=encode_verification(bundle.policy),
            receipt=receipt,
            before=None if part is None else await self._acceptance_before(bundle, part),
        )

    def _receipt_in(self, bundle: Bundle, subject: Subject | None) -> Signed[Receipt] | None:
        receipts = bundle.receipts
        if subject is not None:
            receipts = tuple(each for each in receipts if digest(self._domain, each.value) == subject.receipt)
        return receipts[-1] if receipts else None

    async def _acceptance_before(self, bundle: Bundle, part: int) -> Signed[Acceptance] | None:
        for each in bundle.accepted:
            if isinstance(each, Acceptance):
                if each.part == part - 1:
                    return await self._signing.sign_acceptance(each, bundle.award)
            elif each.value.part == part - 1:
                return each
        return None

    async def _bundle_of(self, award: Digest) -> Bundle | None:
        context, events = await self._read(delivery_run.stream_of(award), DeliveryContext, delivery.Event)
        if context is not None:
            return self._delivered(context, events)
        stream = await self._storage.read.query(lambda connection: find_purchase_of_award(connection, award))
        if stream is None:
            return None
        context, events = await self._read(stream, PurchaseContext, purchase.Event)
        return None if context is None else _bought(context, events, award)

    async def _read(self, stream: str, context: Any, event: Any) -> tuple[Any, Sequence[Any]]:
        """Return what a stream opens with, and its events; None and nothing if it isn't kept."""
        records = await self._storage.journal.replay(stream)
        if not records:
            return None, ()
        first, *rest = records
        events = [decode_as(event, each.body, max_bytes=MAX_RECORD_BYTES) for each in rest if each.kind != CLOSED]
        return decode_as(context, first.body, max_bytes=MAX_RECORD_BYTES), events

    def _delivered(self, context: DeliveryContext, events: Iterable[delivery.Event]) -> Bundle:
        events = tuple(events)
        return Bundle(
            award=context.job.award.value,
            award_id=context.job.award_id,
            offer=context.offer,
            manifest=context.manifest,
            rates=context.rates,
            policy=context.policy,
            receipts=tuple(self._signing.sign(each.receipt) for each in events if isinstance(each, delivery.PartRan)),
            accepted=tuple(each.acceptance for each in events if isinstance(each, delivery.PartPaid)),
        )


def _bought(context: PurchaseContext, events: Sequence[purchase.Event], award_id: Digest) -> Bundle | None:
    award: Award | None = None
    receipts: dict[Digest, Signed[Receipt]] = {}
    accepted: list[Acceptance] = []
    rerun: Rerun | None = None
    reason = ""
    for event in events:
        match event:
            case purchase.WinnerChosen() if event.award_id == award_id:
                award = event.award.value
            case purchase.AuditDrawn(receipt=receipt) if receipt.value.award == award_id:
                receipts[event.receipt_id] = receipt
            case purchase.PartReceived(receipt=receipt) if receipt.value.award == award_id:
                receipts[event.receipt_id] = receipt
                value = receipt.value
                accepted.append(Acceptance(award=award_id, part=value.part, receipt=event.receipt_id, due=value.due))
            case purchase.AuditRefuted() | purchase.ReceiptContested() if event.receipt_id in receipts:
                rerun, reason = event.rerun, event.reason
            case _:
                pass
    if award is None:
        return None
    return Bundle(
        award=award,
        award_id=award_id,
        offer=context.offer.value,
        manifest=context.manifest,
        rates=context.rates,
        policy=context.policy,
        receipts=tuple(receipts.values()),
        accepted=tuple(accepted),
        rerun=rerun,
        reason=reason,
    )
