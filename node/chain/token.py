"""The stablecoin (ERC-20, six decimals), and what only the test token of local chains can do."""

from typing import Final

from node.chain.abi import load_artifact
from node.chain.chain import Block, Chain
from node.chain.contract import Contract, Sender, Sent
from protocol.identity import Address, Digest, format_address
from protocol.signing.keccak import keccak256
from protocol.spending import Spend
from protocol.units import Amount, format_amount

UNLIMITED: Final = 2**256 - 1


class Token(Contract):
    """The token of the deployment. Views are of a confirmed block unless `at` names another."""

    def __init__(self, chain: Chain, sender: Sender | None = None) -> None:
        super().__init__(chain, load_artifact("TestToken").abi, chain.deployment.token, sender)

    async def balance_of(self, owner: Address, *, at: Block | None = None) -> Amount:
        """Return the balance of `owner`."""
        return Amount(await self._view_int("balanceOf", owner, at=at))

    async def allowance(self, owner: Address, spender: Address, *, at: Block | None = None) -> int:
        """Return how much `spender` may take from `owner`; may be above uint128."""
        return await self._view_int("allowance", owner, spender, at=at)

    async def transfer(self, to: Address, amount: Amount, *, key: str) -> Sent:
        """Send tokens, counted against the spending caps.

        Args:
            to: Whom.
            amount: Base units.
            key: Names this transfer: asked for again, it is not made again.

        Raises:
            Reverted: The token refused, e.g. `ERC20InsufficientBalance`.
            SpendingCapExceeded: A spending cap is in the way; nothing was sent.
        """
        title = f"transfer {format_amount(amount)} to {format_address(to)}"
        spend = Spend(account=transfer_account(key), total=amount, peer=to)
        return await self._send(title, "transfer", to, amount, spend=spend, key=f"transfer {key}")

    async def approve(self, spender: Address, amount: int) -> Sent:
        """Let a contract of the deployment take up to `amount` base units."""
        return await self._send(f"approve {format_address(spender)}", "approve", spender, amount)

    async def ensure_allowance(self, spender: Address, amount: Amount) -> None:
        """Approve `spender` without limit unless it may take `amount` already.

        The spender is one of two contracts whose code was checked at start, which take only from their caller; with
        exact approvals each deposit would cost a second transaction (docs/adr/0604-unlimited-allowance.md).
        """
        assert self._sender is not None
        if await self.allowance(self._sender.address, spender) < amount:
            await self.approve(spender, UNLIMITED)

    async def mint(self, to: Address, amount: Amount) -> Sent:
        """Create test tokens. Only the test token of local chains has this."""
        return await self._send(f"mint {format_amount(amount)}", "mint", to, amount)


def transfer_account(key: str) -> Digest:
    """Return the account under which a transfer counts against the spending caps."""
    return keccak256(b"transfer " + key.encode())
