"""The deployment's contracts in one hand."""

from collections.abc import Mapping
from dataclasses import dataclass

from node.chain.abi import Abi, load_artifact
from node.chain.bench import Bench
from node.chain.chain import Chain
from node.chain.contract import Sender
from node.chain.court import Court
from node.chain.deployment import Deployment
from node.chain.escrow import Escrow
from node.chain.events import names_of
from node.chain.payment_channel import PaymentChannel
from node.chain.reputation import Reputation
from node.chain.token import Token
from protocol.identity import Address


@dataclass(frozen=True, slots=True)
class Gateway:
    """Token, channels, escrow, stakes and court, all of one chain and, for calls that send, one account.

    `reputation` is None on a network without stakes; `court` and `bench` on one without a court.
    """

    token: Token
    channels: PaymentChannel
    escrow: Escrow
    reputation: Reputation | None
    court: Court | None
    bench: Bench | None


def open_gateway(chain: Chain, sender: Sender | None = None) -> Gateway:
    """Bind the contracts; without `sender` they can only be read."""
    has_stakes, has_court = chain.deployment.has_stakes, chain.deployment.has_court
    return Gateway(
        token=Token(chain, sender),
        channels=PaymentChannel(chain, sender),
        escrow=Escrow(chain, sender),
        reputation=Reputation(chain, sender) if has_stakes else None,
        court=Court(chain, sender) if has_court else None,
        bench=Bench(chain, sender) if has_court else None,
    )


def abis_of(deployment: Deployment) -> Mapping[Address, Abi]:
    """Return the interface at each address, as the transactor wants it."""
    names = {deployment.token: "TestToken", **names_of(deployment)}
    return {address: load_artifact(name).abi for address, name in names.items()}
