"""The feedback room's `Registry` over `node/chain`, and what the operator's registry must not be."""

from collections.abc import Awaitable, Callable

from node.chain.deployment import Deployment
from node.chain.erc8004 import FeedbackRegistry
from node.chain.transaction_request import FateUnknown
from node.config.settings import Settings
from node.feedback.writing import Restored
from protocol.errors import ConfigError
from protocol.identity import ZERO_ADDRESS, Address, Digest, format_address
from protocol.reputation.feedback import Feedback


class ContractFeedback:
    """A registry of ERC-8004, for one wallet."""

    def __init__(self, registry: FeedbackRegistry, is_gas_cheap: Callable[[], Awaitable[bool]]) -> None:
        self._registry, self._is_gas_cheap = registry, is_gas_cheap

    async def is_of(self, agent: int, wallet: Address) -> bool:
        """See `Registry`."""
        return await self._registry.is_of(agent, wallet)

    async def give(self, agent: int, feedback: Feedback, *, key: str) -> tuple[int, Digest]:
        """See `Registry`."""
        try:
            given = await self._registry.give(agent, feedback, key=key)
        except FateUnknown as error:
            raise Restored(str(error)) from error
        return given.index, given.transaction

    async def is_gas_cheap(self) -> bool:
        """See `Registry`."""
        return await self._is_gas_cheap()


def registry_of(settings: Settings, deployment: Deployment) -> Address:
    """Return the registry that the operator named; zero for none.

    Raises:
        ConfigError: It is one of the market's own contracts: what goes there is checked by other rules.
    """
    registry = settings.reputation.erc8004.registry
    if registry is None:
        return ZERO_ADDRESS
    ours = (deployment.token, deployment.escrow, deployment.payment_channel, deployment.reputation, deployment.arbiter)
    if registry in ours:
        raise ConfigError(
            f"reputation.erc8004.registry is {format_address(registry)}, one of the market's own contracts",
            advice="set the address of the chain's ERC-8004 Reputation Registry, or leave it out",
        )
    return registry
