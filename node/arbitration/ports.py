"""What arbitration needs of the other rooms. `node/app` hands these in; nothing here imports another service."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from protocol.channel.objects import ChannelKey, Hold
from protocol.dispute.ballot import Quorum
from protocol.dispute.case import CaseFact, CaseOpened, Round
from protocol.dispute.messages import Dossier
from protocol.dispute.objects import Opening, Vote
from protocol.identity import Address, ContentDigest, Digest, PeerId
from protocol.market.objects import Award, Offer
from protocol.signing.ecdsa import Signature
from protocol.signing.eip712 import Domain
from protocol.signing.signed import Signed
from protocol.task.audit import Rerun
from protocol.task.objects import Receipt
from protocol.task.receipt import Terms
from protocol.units import Amount, UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A confirmed fact of some case."""

    fact: CaseFact
    block: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A confirmed block: every fact up to it was delivered. `place` is what to remember."""

    number: int
    time: UnixTime
    place: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewound:
    """Blocks above `to` left the chain, although they counted as confirmed. `place` is what to go on from."""

    to: int
    place: bytes


Delivery: TypeAlias = Told | Mark | Rewound


class CaseFacts(Protocol):
    """One reader's way through the confirmed facts of all cases."""

    async def receive(self) -> Delivery:
        """Return what comes next, waiting for it if need be; an unreachable chain only delays it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRound:
    """How a round of a case went: its committee, empty if none was drawn; its vote, None without a majority."""

    committee: tuple[Address, ...]
    vote: Vote | None


class Courthouse(Protocol):
    """The court's contract, for one wallet: what arbiters and parties both ask of it.

    Reading calls raise TransientError while the chain can't be reached. Calls that send return the block in which the
    transaction is confirmed; they survive a restart if made again, and raise ChainRejected if the contract refuses.
    """

    @property
    def address(self) -> Address:
        """Whom awards name as their arbiter."""
        ...

    @property
    def domain(self) -> Domain:
        """Domain of openings."""
        ...

    @property
    def market_domain(self) -> Domain:
        """Domain of awards, receipts and acceptances."""
        ...

    def subscribe(self, place: bytes | None) -> CaseFacts:
        """Deliver every confirmed fact after a place: what was remembered of the last mark, None for the first."""
        ...

    async def now(self) -> UnixTime:
        """Return the time of the newest block, confirmed or not: what the next transaction is measured by."""
        ...

    async def opening_of(self, award: Digest) -> CaseOpened | None:
        """Return what the case was opened about, if there is one."""
        ...

    async def round_of(self, award: Digest) -> Round:
        """Return the current round as of the newest block."""
        ...

    async def committee_of(self, award: Digest) -> tuple[Address, ...] | None:
        """Return who sits in the current round: drawn on the chain, or as a draw would give it now.

        None if the number isn't known yet, or the draw has to be asked for anew.
        """
        ...


class PartyCourt(Courthouse, Protocol):
    """The same, and what a party asks of it."""

    async def history_of(self, award: Digest) -> tuple[PastRound, ...]:
        """Return all rounds of a case, the current one last: what `close` has to be shown."""
        ...

    async def open_on_escrow(self, award: Award, offer: Offer) -> int:
        """Open a case about the claim on an escrow, with the bond."""
        ...

    async def open_on_channel(self, award: Award, offer: Offer, receipt: Signed[Receipt]) -> int:
        """Open a case about a receipt, with the bond."""
        ...

    async def appeal(self, award: Award, offer: Offer, number: int) -> int:
        """Ask for round `number`, with its bond.

        The number is for a call that is made again: the contract takes every appeal for one of the next round.
        """
        ...

    async def close(self, award: Award, rounds: Sequence[PastRound]) -> int:
        """Pay everybody, and move escrow and stake."""
        ...

    async def enforce(self, award: Award, vote: Vote, key: ChannelKey, holds: Sequence[Hold]) -> int:
        """Enforce a hold as the closed case decided; `holds` are those under the voucher that was presented."""
        ...


class ArbiterCourt(Courthouse, Protocol):
    """The same, and what an arbiter asks of it."""

    async def seals_of(self, award: Digest) -> dict[int, Digest]:
        """Return the seals on the chain of the current round, by seat."""
        ...

    async def draw(self, award: Digest) -> int:
        """Draw the committee on the chain, or ask for the draw anew."""
        ...

    async def seal(self, award: Digest, committee: Sequence[Address], seat: int, seal: Digest) -> int:
        """Seal a vote on the chain."""
        ...

    async def open_vote(
        self, award: Digest, committee: Sequence[Address], seat: int, vote: Vote, secret: Digest
    ) -> int:
        """Open a vote on the chain."""
        ...

    async def settle(
        self, award: Digest, committee: Sequence[Address], quorum: Quorum, signatures: Sequence[Signature]
    ) -> int:
        """Decide the round by a quorum; draws its committee if nobody has yet."""
        ...


class Peers(Protocol):
    """Other nodes, by the address of their wallet."""

    async def call(self, wallet: Address, method: str, body: bytes) -> bytes:
        """Ask a node something and wait for its answer.

        Raises:
            PeerUnreachable, PeerTimeout: Transient.
            RemoteRefused: It answered with a typed refusal.
        """
        ...

    def serve(self, method: str, handler: Callable[[PeerId, bytes], Awaitable[bytes]], *, max_request: int) -> None:
        """Answer requests of other nodes."""
        ...

    def wallet_of(self, peer: PeerId) -> Address | None:
        """Return whose node this is, if its record is known."""
        ...

    async def fetch_from(
        self, wallets: Sequence[Address], digest: ContentDigest, *, max_bytes: int, keep_until: UnixTime
    ) -> None:
        """Bring a blob into the store from any of these nodes, verified as it streams; at once if it is here."""
        ...

    async def grant(self, digest: ContentDigest, wallet: Address, until: UnixTime) -> None:
        """Let a node fetch a blob of ours."""
        ...


class Signing(Protocol):
    """The wallet."""

    @property
    def address(self) -> Address:
        """Whose signatures these are."""
        ...

    def sign_opening(self, opening: Opening) -> Signed[Opening]:
        """Sign in the court's domain."""
        ...


class Runner(Protocol):
    """Runs a part of somebody else's task again."""

    @property
    def engine(self) -> Digest:
        """The only engine that this node runs."""
        ...

    async def run_again(self, terms: Terms, part: int) -> Rerun:
        """Run one part as its receipt would state it; its blobs are in the store.

        Raises:
            TransientError: This machine can't now.
            StoaError: It never can: the module is invalid here.
        """
        ...

    async def run_test(self, terms: Terms, part: int, output: ContentDigest) -> Rerun:
        """Run the test that the offer names on an output of a part; all its blobs are in the store.

        It ended with INVALID_MODULE if the test is none under this engine.

        Raises:
            TransientError: This machine can't now.
            StoaError: It never can.
        """
        ...


class Papers(Protocol):
    """What this node holds of the awards that it made or won."""

    async def dossier_of(self, award: Digest) -> Dossier | None:
        """Return what this node shows the court, or None if the award isn't its own."""
        ...


class Cursors(Protocol):
    """Small named values, kept durably."""

    async def get(self, name: str) -> bytes | None:
        """Return a value, None if it was never set."""
        ...

    async def set(self, name: str, value: bytes | None) -> None:
        """Set a value durably."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CourtTerms:
    """What the court asks for: constants of the contract.

    Attributes:
        seat_stake: What a ticket costs, base units.
        least_fee, greatest_fee: Bounds of `disputeFee`.
        min_resolve_within: Least `resolveWithin`, seconds.
        max_time: Seconds that a case takes at most.
    """

    seat_stake: Amount
    least_fee: Amount
    greatest_fee: Amount
    min_resolve_within: int
    max_time: int
