"""A chain that a deployment is carried out on: the connected one, through an Ape account, or a rehearsal's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import ape as _ape
import click
from web3 import Web3
from web3.exceptions import Web3Exception
from web3.types import RPCEndpoint

from node.chain.abi import load_artifact
from node.chain.profile import PROFILES, ChainProfile
from protocol.identity import Address, format_address
from scripts._blocks import check_chain
from scripts._create2 import FACTORY, FACTORY_CODE, FACTORY_COST, FACTORY_SENDER, FACTORY_TRANSACTION

# Ape loads its managers on access, which no type checker can follow.
ape: Any = _ape

INCLUSION_TIMEOUT_S: Final = 600.0
GAS_MONEY: Final = 10 * 10**18


@dataclass(frozen=True, slots=True)
class Sent:
    """An included transaction: what it used, and where."""

    gas: int
    block: int


Send = Callable[[Address, bytes, int], Sent]
"""Send `data` and wei to an address, and wait until it is included. Raises ClickException if it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a deployment needs of a chain.

    Attributes:
        web3: For reading.
        sender: Who pays.
        send: See `Send`.
    """

    web3: Web3
    sender: Address
    send: Send

    def code(self, address: Address, block: int | None = None) -> bytes:
        """Return the code at an address, now or after a block."""
        at = "latest" if block is None else block
        return bytes(self.web3.eth.get_code(Web3.to_checksum_address(address), at))

    def view(self, contract: str, address: Address, function: str) -> object:
        """Call a view function without arguments that returns one value."""
        abi = load_artifact(contract).abi
        answer = self.web3.eth.call({"to": Web3.to_checksum_address(address), "data": _hex(abi.encode_call(function))})
        (value,) = abi.decode_result(function, bytes(answer))
        return value

    def balance(self, address: Address) -> int:
        """Return native money, in wei."""
        return int(self.web3.eth.get_balance(Web3.to_checksum_address(address)))

    def gas_price(self) -> int:
        """Return what inclusion costs now, wei per gas: base fee and tip, as the chain's node suggests."""
        return int(self.web3.eth.gas_price)


def connected_web3() -> Web3:
    """Return a way to the connected network.

    Raises:
        ClickException: Nobody answered at the address of a local chain.
    """
    provider = ape.networks.provider
    check_chain(provider)
    web3: Web3 = provider.web3
    return web3


def ape_ground(account: Any) -> Ground:
    """Return the connected network, paid for by an Ape account: Ape shows each transaction and asks before it signs."""
    ecosystem = ape.networks.provider.network.ecosystem

    def send(to: Address, data: bytes, value: int) -> Sent:
        transaction = ecosystem.create_transaction(
            sender=account.address,
            receiver=format_address(to),
            data=data,
            value=value,
            required_confirmations=0,  # a block that is lost later is mended by a second run
        )
        receipt = account.call(transaction)
        return Sent(int(receipt.gas_used), int(receipt.block_number))

    sender = Address(bytes.fromhex(str(account.address)[2:]))
    return Ground(web3=connected_web3(), sender=sender, send=send)


def load_account(profile: ChainProfile, name: str | None) -> Any:
    """Return the account that pays: Ape's of this name, TEST::N on a local chain, there by default the first.

    Raises:
        UsageError: A real network needs a name.
        ClickException: Ape has no such account.
    """
    if profile.is_local and (name is None or name.startswith("TEST::")):
        account = _test_account("0" if name is None else name.removeprefix("TEST::"))
        enrich(str(account.address))
        return account
    if name is None:
        raise click.UsageError("name the account that pays: --account NAME (ape accounts list)")
    try:
        return ape.accounts.load(name)
    except KeyError as error:
        raise click.ClickException(f"Ape has no account {name!r}; make one: ape accounts generate {name}") from error


def _test_account(number: str) -> Any:
    accounts = ape.accounts.test_accounts
    if not number.isdecimal() or int(number) >= len(accounts):
        raise click.ClickException(f"TEST::{number} is no test account; there are TEST::0 to TEST::{len(accounts) - 1}")
    return accounts[int(number)]


def enrich(account: str) -> None:
    """Give a test account money for fees: a local chain of ours begins without rich accounts."""
    web3 = connected_web3()
    if web3.eth.get_balance(web3.to_checksum_address(account)) < GAS_MONEY:
        web3.provider.make_request(RPCEndpoint("anvil_setBalance"), [account, hex(GAS_MONEY)])


def profile_of(web3: Web3) -> ChainProfile:
    """Return what Stoa knows of a chain.

    Raises:
        ClickException: Nothing: there is no profile for its chain id.
    """
    chain_id = int(web3.eth.chain_id)
    for profile in PROFILES.values():
        if profile.chain_id == chain_id:
            return profile
    raise click.ClickException(f"chain {chain_id} has no profile; Stoa runs on {', '.join(PROFILES)}")


def ensure_factory(ground: Ground) -> int:
    """Bring the factory to a chain that lacks it. Returns the gas that it took, 0 if it is there.

    Raises:
        ClickException: Other code stands there, or the chain refuses the factory's transaction.
    """
    code = ground.code(FACTORY)
    if code == FACTORY_CODE:
        return 0
    if code:
        raise click.ClickException(f"what stands at {format_address(FACTORY)} is not the CREATE2 factory; don't use it")
    missing = FACTORY_COST - ground.balance(FACTORY_SENDER)
    if missing > 0:
        ground.send(FACTORY_SENDER, b"", missing)
    try:
        transaction = ground.web3.eth.send_raw_transaction(FACTORY_TRANSACTION)
        receipt = ground.web3.eth.wait_for_transaction_receipt(transaction, timeout=INCLUSION_TIMEOUT_S)
    except Web3Exception as error:
        raise click.ClickException(
            f"this chain refuses the transaction of the CREATE2 factory ({error}): it names no chain id, or offers too"
            f" little for gas; have the chain's operators place the factory at {format_address(FACTORY)}"
        ) from error
    if ground.code(FACTORY) != FACTORY_CODE:
        raise click.ClickException(f"the factory did not come to stand at {format_address(FACTORY)}")
    return int(receipt["gasUsed"])


def _hex(data: bytes) -> Any:
    return "0x" + data.hex()
