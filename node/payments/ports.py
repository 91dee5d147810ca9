"""What payments need of the other rooms. `node/app` hands these in."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

from protocol.channel import chain as channel_facts
from protocol.channel.objects import ChannelKey, ChannelRules, Close, Voucher
from protocol.escrow import record as escrow_facts
from protocol.identity import Address, Digest, PeerId
from protocol.market.objects import Award
from protocol.settlement.claiming import ClaimCosts
from protocol.signing.signed import Signed
from protocol.spending import Spend
from protocol.stake import record as stake_facts
from protocol.task.objects import Acceptance, Receipt, Start
from protocol.units import Amount, UnixTime

T = TypeVar("T")

FactEvent: TypeAlias = channel_facts.ChainEvent | escrow_facts.ChainEvent | stake_facts.StakeFact


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A confirmed fact. `subject` is the id of a channel or an award."""

    block: int
    index: int
    subject: Digest
    event: FactEvent


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


Delivery: TypeAlias = Fact | Mark | Rewound


class Facts(Protocol):
    """One reader's way through the confirmed facts."""

    async def receive(self) -> Delivery:
        """Return what comes next, waiting for it if need be; an unreachable chain only delays it."""
        ...


class Chain(Protocol):
    """The contracts, as far as payments go.

    Reading calls raise TransientError while the chain can't be reached. Calls that send return the number of the block
    in which the transaction is confirmed; they wait for as long as that takes, survive a restart if made again, and
    raise ChainRejected if the contract refuses and ProtocolError if the wallet does.
    """

    @property
    def token(self) -> Address:
        """What is paid in."""
        ...

    @property
    def channel_contract(self) -> Address:
        """The rail that awards over a channel name."""
        ...

    @property
    def escrow_contract(self) -> Address:
        """The rail that awards in escrow name."""
        ...

    def subscribe(self, place: bytes | None) -> "Facts":
        """Deliver every confirmed fact after a place: what was remembered of the last delivery, None for the first."""
        ...

    async def rules(self) -> ChannelRules:
        """Return the channel contract's constants."""
        ...

    async def next_counter(self, payer: Address) -> int:
        """Return the counter that the payer's next channel will have."""
        ...

    async def confirmed_block(self) -> int:
        """Return the number of the newest block that counts as confirmed."""
        ...

    async def token_balance(self, owner: Address) -> Amount:
        """Return the owner's confirmed tokens."""
        ...

    async def require_gas(self) -> None:
        """Check that the wallet can pay for a transaction.

        Raises:
            OutOfGas: It can't.
        """
        ...

    async def locked_for(self, award: Digest, block: int) -> Amount | None:
        """Return what the escrow held for an award after `block`; None if it was not funded by then.

        Raises:
            EscrowGone: The award was recalled, or went on otherwise: too late to take it up.
        """
        ...

    async def open_channel(self, key: ChannelKey, amount: Amount, *, order: str) -> ChannelKey:
        """Open a channel, once for one `order`; return the key that it really got."""
        ...

    async def top_up(self, key: ChannelKey, amount: Amount, *, order: str) -> int:
        """Add to a deposit, once for one `order`."""
        ...

    async def claim(self, key: ChannelKey, voucher: Signed[Voucher]) -> int:
        """Claim what a voucher pays."""
        ...

    async def claim_batch(self, claims: Sequence[tuple[ChannelKey, Signed[Voucher]]]) -> tuple[int, frozenset[Digest]]:
        """Claim from many channels at once; return the block, and the channels whose claims the contract skipped."""
        ...

    async def claim_costs(self) -> ClaimCosts:
        """Return what a claim costs at the present price of gas, in the token."""
        ...

    async def is_gas_cheap(self) -> bool:
        """Tell whether gas costs no more than it mostly did lately: what can wait need not wait any more."""
        ...

    async def present(self, key: ChannelKey, voucher: Signed[Voucher]) -> int:
        """Claim what a voucher pays, and let its holds count."""
        ...

    async def start_exit(self, key: ChannelKey) -> int:
        """Begin to leave."""
        ...

    async def withdraw(self, key: ChannelKey) -> int:
        """Take out what is free."""
        ...

    async def close(self, key: ChannelKey, close: Signed[Close]) -> int:
        """Close as the payer signed and the caller, the payee, agrees."""
        ...

    async def fund(self, award: Signed[Award]) -> int:
        """Lock price and dispute fee."""
        ...

    async def release(self, award: Award, acceptance: Signed[Acceptance]) -> int:
        """Have the provider paid what was accepted."""
        ...

    async def recall(self, award: Award) -> int:
        """Ask for the money back since no start came."""
        ...

    async def prove_start(self, award: Award, start: Signed[Start]) -> int:
        """Prove that the start came in time."""
        ...

    async def claim_award(self, award: Award, start: Signed[Start], receipt: Signed[Receipt]) -> int:
        """Claim what was delivered and not accepted."""
        ...

    async def pay_claim(self, award: Award) -> int:
        """Have a claim paid that nobody disputed."""
        ...

    async def dispute(self, award: Award) -> int:
        """Dispute a claim."""
        ...

    async def split(self, award: Award) -> int:
        """Close a dispute without a verdict."""
        ...

    async def refund(self, award: Award) -> int:
        """Have the rest sent back to the requester."""
        ...

    async def credits_of(self, owner: Address) -> Mapping[Address, Amount]:
        """Return, by contract, what `owner` may withdraw because the token refused a payout; confirmed."""
        ...

    async def withdraw_credit(self, contract: Address, to: Address) -> int:
        """Send the wallet's credit in `contract` to `to`."""
        ...


class Wallet(Protocol):
    """The signer: whatever spends has passed the caps."""

    @property
    def address(self) -> Address:
        """Whose signatures these are."""
        ...

    async def sign_voucher(
        self, voucher: Voucher, *, payee: Address, task: Digest | None, task_total: Amount
    ) -> Signed[Voucher]:
        """Sign a voucher, or raise SpendingCapExceeded."""
        ...

    async def sign_agreed(self, value: T, spend: Spend, *, channel: bool = False) -> Signed[T]:
        """Sign a close, or raise SpendingCapExceeded."""
        ...

    async def close_account(self, account: Digest) -> None:
        """Forget a channel or award that is over."""
        ...


class Peers(Protocol):
    """Other nodes, by the address of their wallet."""

    async def call(self, wallet: Address, method: str, body: bytes) -> bytes:
        """Ask a node something; TransientError if it can't be reached, ProtocolError if it refuses."""
        ...

    def serve(self, method: str, handler: Callable[[PeerId, bytes], Awaitable[bytes]], *, max_request: int) -> None:
        """Answer requests of other nodes."""
        ...

    def wallet_of(self, peer: PeerId) -> Address | None:
        """Return whose node this is, if its record is known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ChallengedClaim:
    """A provider claims `due` in all for the parts up to `part`, by a receipt that was not accepted."""

    award: Award
    award_id: Digest
    receipt: Digest
    part: int
    due: Amount
    dispute_by: UnixTime


JudgeClaim: TypeAlias = Callable[[ChallengedClaim], Awaitable[bool]]
"""Whether a claim is owed: the output is here and right. TransientError means "ask again", until `dispute_by`."""
OpenCase: TypeAlias = Callable[[Award, Digest], Awaitable[int | None]]
"""Opens a case about a contested claim, which disputes the claim in the same call. Returns the block in which that is
confirmed, None if this node takes no such claim to court; raises StoaError if it can't."""
DemandUnpaid: TypeAlias = Callable[[Award, Digest], Awaitable[None]]
"""Told of an award whose work is over, and whose payment takes a verdict: over a channel a delivered part
that its hold backs and nobody paid, on an escrow a claim that is disputed.

Repeated after a crash. What is to be demanded is durable when it returns."""
