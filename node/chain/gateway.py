"""The deployment's contracts in one hand."""

from collections.abc import Mapping
from dataclasses import dataclass

from node.chain.abi import Abi, load_artifact
from node.chain.chain import Chain
from node.chain.contract import Sender
from node.chain.deployment import Deployment
from node.chain.escrow import Escrow
from node.chain.events import names_of
from node.chain.payment_channel import PaymentChannel
from node.chain.reputation import Reputation
from node.chain.token import Token
from protocol.identity import Address


@dataclass(frozen=True, slots=True)
class Gateway:
    """Token, channels, escrow and stakes, all of one chain and, for calls that send, one account.

    `reputation` is None on a network without stakes.
    """

    token: Token
    channels: PaymentChannel
    escrow: Escrow
    reputation: Reputation | None


def open_gateway(chain: Chain, sender: Sender | None = None) -> Gateway:
    """Bind the contracts; without `sender` they can only be read."""
    reputation = Reputation(chain, sender) if chain.deployment.has_stakes else None
    return Gateway(Token(chain, sender), PaymentChannel(chain, sender), Escrow(chain, sender), reputation)


def abis_of(deployment: Deployment) -> Mapping[Address, Abi]:
    """Return the interface at each address, as the transactor wants it."""
    names = {deployment.token: "TestToken", **names_of(deployment)}
    return {address: load_artifact(name).abi for address, name in names.items()}
