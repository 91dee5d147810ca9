"""What the market needs of the other rooms. `node/app.py` hands these in; nothing here imports another service."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from protocol.errors import TransientError
from protocol.identity import Address, ContentDigest, Digest, PeerId
from protocol.market.objects import Award, Offer
from protocol.settlement.rail import Rail, RailChoice
from protocol.signing.signed import Signed
from protocol.task.audit import Rerun
from protocol.task.manifest import Blob, Manifest
from protocol.task.messages import VoucherNotice
from protocol.task.objects import Acceptance, Receipt, Start
from protocol.task.purchase_events import AuditPassed, AuditRefuted, ReceiptContested
from protocol.task.purchase_states import Auditing, Case
from protocol.task.receipt import Terms
from protocol.units import Amount, UnixTime

T = TypeVar("T")


class NotIntroduced(TransientError):
    """A request of a node whose wallet is not known here yet. It introduces itself and sends it again."""


class Signing(Protocol):
    """The wallet: every signature that spends has passed the spending caps."""

    @property
    def address(self) -> Address:
        """Whose signatures these are."""
        ...

    def sign(self, value: T) -> Signed[T]:
        """Sign a promise that moves no money by itself, in the market's domain."""
        ...

    async def sign_award(self, award: Award) -> Signed[Award]:
        """Sign an award; its price counts against the caps.

        Raises:
            SpendingCapExceeded: Which cap, what is left, when it frees.
        """
        ...

    async def sign_acceptance(self, acceptance: Acceptance, award: Award) -> Signed[Acceptance]:
        """Sign an acceptance of work under `award`, whose price was counted when it was signed."""
        ...


class Peers(Protocol):
    """Other nodes, by the address of their wallet."""

    async def call(self, wallet: Address, method: str, body: bytes) -> bytes:
        """Ask a node something and wait for its answer.

        Raises:
            PeerUnreachable, PeerTimeout: Transient; try again or give up on it.
            RemoteRefused: It answered with a typed refusal.
        """
        ...

    def serve(self, method: str, handler: Callable[[PeerId, bytes], Awaitable[bytes]], *, max_request: int) -> None:
        """Answer requests of other nodes."""
        ...

    async def publish(self, topic: str, data: bytes) -> None:
        """Gossip a message of our own."""
        ...

    def wallet_of(self, peer: PeerId) -> Address | None:
        """Return whose node this is, if its record is known."""
        ...

    def is_reachable(self, wallet: Address) -> bool:
        """Tell whether there is a connection to the node now."""
        ...

    async def fetch(self, wallet: Address, digest: ContentDigest, *, max_bytes: int, keep_until: UnixTime) -> None:
        """Bring a blob into the store, verified as it streams; returns at once if it is here.

        Raises:
            PeerUnreachable, PeerTimeout: Transient.
            BlobNotServed: The node does not have it, or not for us.
            BlobMismatch: The bytes are not those of the digest.
        """
        ...

    async def grant(self, digest: ContentDigest, wallet: Address, until: UnixTime) -> None:
        """Let a node fetch a blob of ours."""
        ...


class Blobs(Protocol):
    """The blob store."""

    async def has(self, digest: ContentDigest) -> bool:
        """Tell whether the whole blob is here."""
        ...

    async def size(self, digest: ContentDigest) -> int:
        """Return its size in bytes, or raise BlobMissing."""
        ...

    def path(self, digest: ContentDigest) -> Path:
        """Return where it is."""
        ...

    async def read(self, digest: ContentDigest, *, max_bytes: int) -> bytes:
        """Return its bytes, checked."""
        ...

    async def put(self, data: bytes, *, keep_until: UnixTime) -> ContentDigest:
        """Store bytes."""
        ...

    async def put_file(self, source: Path, *, keep_until: UnixTime, max_bytes: int) -> ContentDigest:
        """Store a copy of a file."""
        ...

    async def keep(self, digest: ContentDigest, keep_until: UnixTime) -> None:
        """Keep the blob at least until then."""
        ...


class PayerRails(Protocol):
    """The requester's money, over channel or escrow."""

    async def plan(self, provider: Address | None, price: Amount, offer: Offer) -> RailChoice:
        """Say which rail a payment would take, and why; changes nothing. `offer.rail` is not looked at."""
        ...

    def contract_of(self, rail: Rail) -> Address:
        """Return the contract that an offer names for `rail`."""
        ...

    async def prepare(self, provider: Address, price: Amount, offer: Offer) -> Digest:
        """Return the channel for an award, opened or topped up and confirmed if need be; zero means escrow."""
        ...

    async def fund(self, award: Signed[Award], award_id: Digest) -> VoucherNotice | None:
        """Promise the award's money. Harmless to repeat."""
        ...

    async def wait_backed(self, award: Signed[Award], award_id: Digest) -> None:
        """Return once the provider's liability for a funded award is confirmed to be locked; at once if it has none.

        Raises:
            BackingRefused: It was not locked in time.
            TransientError: The chain can't be reached for too long to know.
        """
        ...

    async def pay(
        self, award: Signed[Award], award_id: Digest, acceptance: Signed[Acceptance], *, last: bool
    ) -> VoucherNotice | None:
        """Pay up to `acceptance.due`. Harmless to repeat."""
        ...

    async def close(self, award: Signed[Award], award_id: Digest) -> VoucherNotice | None:
        """Take back what the award no longer needs, now or when the law allows. Harmless to repeat."""
        ...


class Stakes(Protocol):
    """The stakes behind bids. A network may be without."""

    async def free_of(self, owner: Address) -> Amount:
        """Return the owner's confirmed stake that is neither locked nor leaving, base units.

        Raises:
            TransientError: The chain can't be reached.
        """
        ...


class PayeeRails(Protocol):
    """The provider's money, over channel or escrow."""

    async def receive_funding(self, award: Signed[Award], award_id: Digest, notice: VoucherNotice | None) -> None:
        """Check and keep what the requester sent to fund an award."""
        ...

    async def wait_funded(self, award: Signed[Award], award_id: Digest) -> None:
        """Return once confirmed money covers the award and our liability is locked. The caller bounds the time."""
        ...

    async def note_start(self, award: Signed[Award], award_id: Digest, start: Signed[Start]) -> None:
        """Keep a start before it is sent."""
        ...

    async def note_receipt(self, award: Signed[Award], award_id: Digest, receipt: Signed[Receipt]) -> None:
        """Keep a receipt before it is sent: should the requester fall silent for ever, it is claimed."""
        ...

    async def receive_payment(
        self, award: Signed[Award], award_id: Digest, acceptance: Signed[Acceptance], notice: VoucherNotice | None
    ) -> None:
        """Check and keep a payment; the part counts as paid only if this returns."""
        ...

    async def settle(
        self,
        award: Signed[Award],
        award_id: Digest,
        start: Signed[Start] | None,
        accepted: Signed[Acceptance] | None,
        unpaid: Signed[Receipt] | None,
    ) -> None:
        """Take what is owed under an award that is over. Harmless to repeat; the chain may be reached later."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRun:
    """How one part ended in the sandbox; output and logs are in the blob store."""

    outcome: int
    output: ContentDigest
    output_bytes: int
    logs: ContentDigest
    log_bytes: int
    fuel: int
    peak_mib: int
    bytes_in: int
    bytes_out: int
    cpu_s: float
    wall_s: float


class Sandbox(Protocol):
    """Running parts."""

    @property
    def engine(self) -> Digest:
        """The only engine that this node runs."""
        ...

    async def prepare(self, manifest: Manifest) -> None:
        """Compile the module, or find it in the cache.

        Raises:
            InvalidModule: It can't run under this engine.
        """
        ...

    async def run(self, manifest: Manifest, part: int, on_progress: Callable[[int, int], None]) -> PartRun:
        """Run one part; `on_progress` gets fuel and bytes out so far. Cancelling kills it."""
        ...

    def free_workers(self) -> int:
        """Return how many parts could start now."""
        ...


class Auditor(Protocol):
    """Finds second results."""

    async def look_again(self, terms: Terms, auditing: Auditing) -> AuditPassed | AuditRefuted | ReceiptContested:
        """Find a second result for the part, and say what it says of the receipt. Harmless to repeat.

        It comes to an end before the provider loses its patience; where there is no second result by then, the receipt
        passes undecided.
        """
        ...


class Referee(Protocol):
    """Says what a part really gives."""

    async def find(self, terms: Terms, part: int, *, within_s: float) -> Rerun | str:
        """Return a judged result that no provider of this task has given; in words why there is none in that time."""
        ...

    async def test(self, terms: Terms, part: int, output: Blob, *, within_s: float) -> Rerun | str:
        """Return how the offer's test of an output ended, judged or not; in words why it was not run.

        A test that runs and is not done in that time ended at the wall limit.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A node that sells, and what it asks for a task at full limits."""

    wallet: Address
    price: Amount


class Sellers(Protocol):
    """Nodes that are known to sell."""

    def of(self, manifest: Manifest) -> tuple[Asked, ...]:
        """Return who runs this task's engine and says its prices, in any order."""
        ...


class Court(Protocol):
    """Where wrong receipts are taken to."""

    async def dispute(self, case: Case, offer: Signed[Offer], manifest: Manifest) -> None:
        """Take a case; returns once it is durable, so that what the law gives is asked for from then on.

        Harmless to repeat: a case is known by its receipt's id.
        """
        ...
