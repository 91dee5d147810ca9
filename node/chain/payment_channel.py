"""The payment channel contract, typed (contracts/interfaces/IPaymentChannel.sol, docs/spec/contracts.md)."""

from collections.abc import Sequence
from dataclasses import dataclass

from node.chain.abi import load_artifact
from node.chain.chain import Block, Chain
from node.chain.channel_events import ChannelOpened
from node.chain.contract import Contract, Sender, Sent
from protocol.channel.objects import ChannelKey, ChannelRules, Close, Voucher, channel_id
from protocol.dispute.objects import Verdict
from protocol.identity import Address, Digest, format_address
from protocol.market.objects import Award
from protocol.signing.ecdsa import Signature
from protocol.signing.signed import Signed
from protocol.units import Amount, Seconds, Uint64, UnixTime, format_amount

NO_SIGNATURE = Signature(b"")
"""For a party that calls itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelState:
    """What the contract knows of a channel. All zero: never opened, or closed.

    Attributes:
        deposit: Deposited, less what went back to the payer and to arbiters.
        claimed: Paid to the payee so far.
        exits_at: Last second of the challenge; 0 while no exit has begun.
        sequence: Of the voucher presented last; 0 if none.
        held: Of that voucher, not enforced on it.
        base: That voucher's `cumulative`, plus what verdicts on its holds gave the payee.
        holds: Its Merkle root.
    """

    deposit: Amount
    claimed: Amount
    exits_at: UnixTime
    sequence: Uint64
    held: Amount
    base: Amount
    holds: Digest


class PaymentChannel(Contract):
    """The deployment's channel contract. Views are of a confirmed block unless `at` names another.

    Every sending method returns once its transaction is confirmed and raises `Reverted` if the contract refuses, most
    often before anything was sent. Claims and exits may be repeated: the contract pays the difference or refuses.
    """

    def __init__(self, chain: Chain, sender: Sender | None = None) -> None:
        super().__init__(chain, load_artifact("PaymentChannel").abi, chain.deployment.payment_channel, sender)

    async def state_of(self, channel: Digest, *, at: Block | None = None) -> ChannelState:
        """Return what the contract knows of a channel."""
        return await self._view_struct(ChannelState, "stateOf", channel, at=at)

    async def counter_of(self, payer: Address, *, at: Block | None = None) -> int:
        """Return the counter of the payer's last channel, 0 if it has none; the next one has one more."""
        return await self._view_int("counterOf", payer, at=at)

    async def is_enforced(self, channel: Digest, award: Digest, *, at: Block | None = None) -> bool:
        """Whether the hold of `award` was enforced on the voucher presented last or, in a closed channel, on any."""
        return bool(await self._view_int("isEnforced", channel, award, at=at))

    async def rules(self) -> ChannelRules:
        """Return the contract's challenge and hold periods, which never change."""
        return ChannelRules(
            challenge=Seconds(await self._view_int("challenge", at=None)),
            hold_period=Seconds(await self._view_int("holdPeriod", at=None)),
        )

    async def credit_of(self, owner: Address, *, at: Block | None = None) -> int:
        """Return what `owner` may withdraw because the token refused a payout."""
        return await self._view_int("creditOf", owner, self._chain.deployment.token, at=at)

    async def open(self, *, signer: Address, payee: Address, amount: Amount, key: str) -> ChannelOpened:
        """Open a channel and deposit into it. Needs an allowance (`Token.ensure_allowance`).

        Args:
            signer: Plain key that signs vouchers; usually the sender itself.
            payee: Who is paid.
            amount: Deposit, base units.
            key: Names this opening: asked for again, the same channel is returned.
        """
        title = f"open a channel to {format_address(payee)} with {format_amount(amount)}"
        token = self._chain.deployment.token
        sent = await self._send(title, "open", signer, payee, token, amount, key=f"open {key}")
        return sent.the(ChannelOpened)

    async def top_up(self, channel: ChannelKey, amount: Amount, *, key: str) -> Sent:
        """Add to a channel's deposit; `key` names this top-up, so that it is made once."""
        title = f"top up channel {_short(channel)} by {format_amount(amount)}"
        return await self._send(title, "topUp", channel, amount, key=f"top-up {key}")

    async def claim(self, channel: ChannelKey, voucher: Signed[Voucher]) -> Sent:
        """Have the payee paid what `voucher` owes beyond what it was paid."""
        title = f"claim {format_amount(voucher.value.cumulative)} in channel {_short(channel)}"
        return await self._send(title, "claim", channel, voucher.value, voucher.signature)

    async def claim_batch(
        self, payee: Address, token: Address, claims: Sequence[tuple[ChannelKey, Signed[Voucher]]]
    ) -> Sent:
        """Claim from many channels of one payee and token with one transfer; claims that fail are skipped."""
        packed = b"".join(_pack_claim(channel, voucher) for channel, voucher in claims)
        return await self._send(f"claim from {len(claims)} channels", "claimMany", payee, token, packed)

    async def present(
        self, channel: ChannelKey, voucher: Signed[Voucher], payee_signature: Signature = NO_SIGNATURE
    ) -> Sent:
        """Claim `voucher` and let its holds count; by the payee, or with the payee's signature over the voucher."""
        title = f"present voucher {voucher.value.sequence} of channel {_short(channel)}"
        return await self._send(title, "present", channel, voucher.value, voucher.signature, payee_signature)

    async def start_exit(self, channel: ChannelKey) -> Sent:
        """Begin the payer's exit."""
        return await self._send(f"start to leave channel {_short(channel)}", "startExit", channel)

    async def withdraw(self, channel: ChannelKey) -> Sent:
        """Send the payer what is free."""
        return await self._send(f"withdraw from channel {_short(channel)}", "withdraw", channel)

    async def close(
        self, channel: ChannelKey, agreed: Close, signer_signature: Signature, payee_signature: Signature
    ) -> Sent:
        """End a channel as both sides signed; a party that calls may leave its own signature empty."""
        title = f"close channel {_short(channel)}"
        return await self._send(title, "close", channel, agreed, signer_signature, payee_signature)

    async def enforce(
        self,
        channel: ChannelKey,
        award: Award,
        amount: Amount,
        proof: Sequence[Digest],
        verdict: Verdict,
        signature: Signature = NO_SIGNATURE,
    ) -> Sent:
        """Enforce the hold of `award` as its arbiter decided; `signature` is the arbiter's if somebody else calls."""
        title = f"enforce a hold of {format_amount(amount)} in channel {_short(channel)}"
        return await self._send(title, "enforce", channel, award, amount, list(proof), verdict, signature)

    async def withdraw_credit(self, to: Address) -> Sent:
        """Send the sender's credit to `to`."""
        return await self._send("withdraw a credit", "withdrawCredit", self._chain.deployment.token, to)


def _pack_claim(channel: ChannelKey, voucher: Signed[Voucher]) -> bytes:
    """185 bytes, as contracts/libraries/PackedClaim.sol reads them."""
    value = voucher.value
    numbers = ((channel.counter, 8), (value.sequence, 8), (value.cumulative, 16), (value.held, 16))
    packed = b"".join(number.to_bytes(size, "big") for number, size in numbers)
    return channel.payer + channel.signer + packed + value.holds + voucher.signature


def _short(channel: ChannelKey) -> str:
    return channel_id(channel).hex()[:12]
