"""A published score and the chain, without a node: for whoever was handed one."""

import trio

from node.app.terms import chain_profile
from node.chain.deployment import load_deployment
from node.chain.opening import open_chain
from node.chain.reputation import Reputation
from node.config.settings import Settings
from protocol.errors import ConfigError
from protocol.reputation.scores import ScoreProof


async def is_anchored(settings: Settings, proof: ScoreProof) -> bool:
    """Return whether the contract finds a line proved.

    Raises:
        ConfigError: The network has no such contract, or deployment and chain don't fit.
        TransientError: The chain can't be reached.
    """
    path = settings.chain.deployments or settings.node.data_dir / "deployments.json"
    deployment = await trio.to_thread.run_sync(load_deployment, path)
    if not deployment.has_stakes:
        raise ConfigError(
            "this network has no contract that holds scores", advice=f"{path} names none under reputation"
        )
    async with open_chain(chain_profile(settings), settings.chain.endpoint, deployment) as chain:
        return await Reputation(chain).is_score(proof)
