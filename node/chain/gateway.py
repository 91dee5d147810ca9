"""The deployment's contracts in one hand."""

from collections.abc import Mapping
from dataclasses import dataclass

from node.chain.abi import Abi, load_artifact
from node.chain.chain import Chain
from node.chain.contract import Sender
from node.chain.deployment import Deployment
from node.chain.escrow import Escrow
from node.chain.payment_channel import PaymentChannel
from node.chain.token import Token
from protocol.identity import Address


@dataclass(frozen=True, slots=True)
class Gateway:
    """Token, channels and escrow, all of one chain and, for calls that send, one account."""

    token: Token
    channels: PaymentChannel
    escrow: Escrow


def open_gateway(chain: Chain, sender: Sender | None = None) -> Gateway:
    """Bind the contracts; without `sender` they can only be read."""
    return Gateway(Token(chain, sender), PaymentChannel(chain, sender), Escrow(chain, sender))


def abis_of(deployment: Deployment) -> Mapping[Address, Abi]:
    """Return the interface at each address, as the transactor wants it."""
    return {
        deployment.token: load_artifact("TestToken").abi,
        deployment.payment_channel: load_artifact("PaymentChannel").abi,
        deployment.escrow: load_artifact("Escrow").abi,
    }
