"""The one place where the wallet key signs; whatever spends passes the spending caps first (DESIGN D7).

An award on escrow, the acceptance of it, a voucher, a channel's close, a settlement and a transaction that moves tokens
each promise money. The signer works out from the object itself which account (channel or award) pays and up to which
total, asks `protocol.spending` whether the caps allow it, makes the decision durable and only then signs. Signing the
same object again, after a crash or on a retry, promises nothing new and is always allowed.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol, TypeVar

import trio

from node.wallet.calls import SigningScope, check_call
from node.wallet.envelope import Call, sign_call
from node.wallet.errors import UndeclaredSpend
from node.wallet.keystore import WalletKey
from protocol.channel.objects import ChannelKey, Voucher, channel_id
from protocol.dispute.objects import Opening
from protocol.identity import ZERO_ADDRESS, ZERO_DIGEST, Address, Digest
from protocol.market.objects import Award
from protocol.signing.ecdsa import Signature
from protocol.signing.eip712 import Domain, digest
from protocol.signing.signed import Signed, sign_struct
from protocol.spending import (
    AccountClosed,
    Cap,
    Spend,
    SpendingCaps,
    SpendingEvent,
    SpendingState,
    TaskClosed,
    authorize,
    remaining,
    transition,
)
from protocol.task.objects import Acceptance
from protocol.units import Amount, UnixTime

T = TypeVar("T")

# By name, so that a struct which spends can't slip through because this module has not met its class.
SPENDING_STRUCTS: Final = frozenset({"Award", "Acceptance", "Voucher", "Close", "Settlement"})


class SpendLedger(Protocol):
    """What was promised, kept durably by whoever builds the signer."""

    async def load(self) -> Sequence[SpendingEvent]:
        """Return all events, oldest first."""
        ...

    async def append(self, event: SpendingEvent) -> None:
        """Return once `event` survives a crash."""
        ...


class Signer:
    """Signs with one wallet key for one deployment. Made by `open_signer`; safe to share between tasks."""

    def __init__(
        self,
        key: WalletKey,
        scope: SigningScope,
        caps: SpendingCaps,
        ledger: SpendLedger,
        now: Callable[[], UnixTime],
        state: SpendingState,
    ) -> None:
        self._key: Final = key
        self._scope: Final = scope
        self._caps: Final = caps
        self._ledger: Final = ledger
        self._now: Final = now
        self._state = state
        self._lock: Final = trio.Lock()  # from the decision until it is durable and applied

    @property
    def address(self) -> Address:
        """Whose signatures these are."""
        return self._key.address

    @property
    def scope(self) -> SigningScope:
        """The chain and contracts that are signed for."""
        return self._scope

    def sign(self, value: T, *, channel: bool = False) -> Signed[T]:
        """Sign a struct that promises no money, in the market's domain or, with `channel`, in the channel contract's.

        Raises:
            UndeclaredSpend: The struct does promise money; use its own method.
        """
        if type(value).__name__ in SPENDING_STRUCTS:
            raise UndeclaredSpend(f"{type(value).__name__} promises money; sign it with the method made for it")
        return self._signed(self._scope.channel_domain if channel else self._scope.market_domain, value)

    async def sign_award(self, award: Award) -> Signed[Award]:
        """Sign an award. On escrow it promises price and dispute fee; on a channel its voucher does.

        Raises:
            SpendingCapExceeded: A cap is in the way; nothing was signed.
        """
        if award.channel == ZERO_DIGEST:
            await self._authorize(self.spend_of_award(award))
        return self._signed(self._scope.market_domain, award)

    async def sign_acceptance(self, acceptance: Acceptance, award: Award) -> Signed[Acceptance]:
        """Accept receipts of `award`. On escrow this releases `due`, which the award has promised before.

        Raises:
            UndeclaredSpend: The acceptance is of another award, or `due` is above its price.
            SpendingCapExceeded: A cap is in the way; nothing was signed.
        """
        promised = self.spend_of_award(award)
        if acceptance.award != promised.account:
            raise UndeclaredSpend(f"the acceptance is of award {acceptance.award.hex()}, not {promised.account.hex()}")
        if acceptance.due > award.price:
            raise UndeclaredSpend(f"the acceptance owes {acceptance.due}, more than the price {award.price}")
        if award.channel == ZERO_DIGEST:
            await self._authorize(promised)
        return self._signed(self._scope.market_domain, acceptance)

    async def sign_voucher(
        self, voucher: Voucher, *, payee: Address, task: Digest | None, task_total: Amount
    ) -> Signed[Voucher]:
        """Sign a voucher of a channel that this wallet pays from.

        Args:
            voucher: All that is owed and held in the channel.
            payee: The channel's payee.
            task: Digest of the offer for which the voucher promises more than the one before; None if for none.
            task_total: The most that the channel's vouchers have promised for that task, this one included.

        Raises:
            SpendingCapExceeded: A cap is in the way; nothing was signed.
            InvalidSpend: `task_total` is more than the voucher promises in all.
        """
        total = Amount(voucher.cumulative + voucher.held)
        await self._authorize(Spend(account=voucher.channel, total=total, peer=payee, task=task, task_total=task_total))
        return self._signed(self._scope.channel_domain, voucher)

    def sign_as_payee(self, voucher: Voucher, key: ChannelKey) -> Signature:
        """Sign a voucher that pays this wallet, so that a watchtower may present it (M4). It promises nothing of ours.

        Raises:
            UndeclaredSpend: The voucher is of another channel than `key`, which pays somebody else, or for whose payer
                this wallet signs: there the same signature would be a payment.
        """
        if voucher.channel != channel_id(key) or key.payee != self.address or self.address in (key.signer, key.payer):
            raise UndeclaredSpend(f"channel {voucher.channel.hex()} is not one that pays this wallet")
        return self._signed(self._scope.channel_domain, voucher).signature

    async def sign_agreed(self, value: T, spend: Spend, *, channel: bool = False) -> Signed[T]:
        """Sign another struct that promises money: a channel's close or an award's settlement, as the paying side.

        Args:
            value: The struct.
            spend: Account and total that it promises; the account is the channel's id or the award's digest.
            channel: Sign in the channel contract's domain instead of the market's.

        Raises:
            SpendingCapExceeded: A cap is in the way; nothing was signed.
        """
        if isinstance(value, Award | Acceptance | Voucher):
            raise UndeclaredSpend(f"sign {type(value).__name__} with the method made for it")
        await self._authorize(spend)
        return self._signed(self._scope.channel_domain if channel else self._scope.market_domain, value)

    def sign_opening(self, opening: Opening) -> Signed[Opening]:
        """Sign what opens a seat's vote, in the court's domain. It promises no money.

        Raises:
            UndeclaredSpend: This network has no court.
        """
        if self._scope.court == ZERO_ADDRESS:
            raise UndeclaredSpend("this network has no court that could read an opening")
        return self._signed(self._scope.court_domain, opening)

    async def sign_transaction(
        self,
        *,
        chain_id: int,
        nonce: int,
        max_priority_fee: int,
        max_fee: int,
        gas: int,
        to: Address,
        value: int,
        data: bytes,
        spend: Spend | None,
    ) -> bytes:
        """Sign a call of a contract of this deployment and return the raw transaction. Fees in wei per gas.

        Raises:
            UndeclaredSpend: Another chain or contract, native money, or tokens moved other than `spend` says.
            SpendingCapExceeded: A cap is in the way; nothing was signed.
        """
        if chain_id != self._scope.chain_id:
            raise UndeclaredSpend(f"the transaction is for chain {chain_id}, this wallet for {self._scope.chain_id}")
        check_call(self._scope, self.address, to, value, data, spend)
        if spend is not None:
            await self._authorize(spend)
        call = Call(
            chain_id=chain_id,
            nonce=nonce,
            max_priority_fee=max_priority_fee,
            max_fee=max_fee,
            gas=gas,
            to=to,
            value=value,
            data=data,
        )
        return sign_call(self._key.private_key.reveal(), call)

    def spend_of_award(self, award: Award) -> Spend:
        """Return what an award on escrow promises: price and dispute fee, for its offer, to its provider."""
        total = Amount(award.price + award.dispute_fee)
        return Spend(
            account=digest(self._scope.market_domain, award),
            total=total,
            peer=award.provider,
            task=award.offer,
            task_total=total,
        )

    def remaining(self, *, peer: Address | None = None, task: Digest | None = None) -> Mapping[Cap, Amount]:
        """Return what each cap leaves now; the peer's only with `peer`, the task's cap in full without `task`."""
        return remaining(self._caps, self._state, self._now(), peer=peer, task=task)

    async def close_account(self, account: Digest) -> None:
        """Forget an account: the channel is closed or the award's escrow is, so its signatures are worth nothing."""
        await self._record(AccountClosed(account=account))

    async def close_task(self, task: Digest) -> None:
        """Forget a task: nothing more will be promised for it."""
        await self._record(TaskClosed(task=task))

    def _signed(self, domain: Domain, value: T) -> Signed[T]:
        return sign_struct(self._key.private_key.reveal(), domain, value)

    async def _authorize(self, spend: Spend) -> None:
        async with self._lock:
            event = authorize(self._caps, self._state, self._now(), spend)
            if event is not None:
                await self._append(event)

    async def _record(self, event: SpendingEvent) -> None:
        async with self._lock:
            if transition(self._state, event) != self._state:
                await self._append(event)

    async def _append(self, event: SpendingEvent) -> None:
        # Once handed over, the event may become durable even if we are cancelled: state and ledger must not part.
        with trio.CancelScope(shield=True):
            await self._ledger.append(event)
            self._state = transition(self._state, event)


@asynccontextmanager
async def open_signer(
    key: WalletKey,
    *,
    scope: SigningScope,
    caps: SpendingCaps,
    ledger: SpendLedger,
    now: Callable[[], UnixTime],
) -> AsyncGenerator[Signer, None]:
    """Replay what was promised and give a signer.

    Args:
        key: The opened wallet.
        scope: The deployment that is signed for.
        caps: As configured; lowering them binds at once, whatever was promised stays promised.
        ledger: Durable record of promises; one signer at a time may use it.
        now: Wall clock.
    """
    state = SpendingState()
    for event in await ledger.load():
        state = transition(state, event)
    yield Signer(key, scope, caps, ledger, now, state)
