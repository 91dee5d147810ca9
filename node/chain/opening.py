"""Connecting to a chain: only to the one that is meant, or to wait for it while it is away."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, Protocol

import structlog
import trio

from node.chain.chain import Chain
from node.chain.chain_check import compute_fingerprint, verify_chain, verify_profile
from node.chain.deployment import Deployment
from node.chain.profile import ChainProfile
from node.chain.rpc import Rpc, open_rpc
from protocol.errors import TransientError

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

FIRST_LOOK_S: Final = 10.0
"""How long a start waits for a chain that was checked before."""

LOOK_AGAIN_MOST_S: Final = 15.0


@asynccontextmanager
async def open_chain(profile: ChainProfile, rpc_url: str, deployment: Deployment) -> AsyncGenerator[Chain, None]:
    """Connect to a chain and check that it is the one that is meant.

    Raises:
        WrongChain: The node at `rpc_url`, or the deployment, is of another chain than `profile`.
        ContractMissing: A contract of the deployment has no code.
        CodeMismatch: It has other code than this version of Stoa was built against.
        TermsTooShort: Its challenge, hold period or pace is shorter than the profile allows.
        ChainUnreachable: Nobody answers at `rpc_url`.
        ChainTimeout: Somebody accepts the connection and does not answer.
    """
    verify_profile(profile, deployment)
    async with open_rpc(rpc_url) as rpc:
        chain = Chain(rpc, profile, deployment)
        await verify_chain(chain)
        yield chain


class CheckedBefore(Protocol):
    """Remembers, over restarts, that a chain was checked."""

    async def get(self, name: str) -> bytes | None:
        """Return what was set."""
        ...

    async def set(self, name: str, value: bytes | None) -> None:
        """Set a value durably."""
        ...


CHECKED: Final = "chain.checked"


@asynccontextmanager
async def open_chain_or_wait(
    profile: ChainProfile, rpc_url: str, deployment: Deployment, checked: CheckedBefore
) -> AsyncGenerator[Chain, None]:
    """Connect as `open_chain` does; if nobody answers, and these contracts were checked before, go on without.

    What was checked can't change: contracts have no owner who could exchange their code. So a chain that is away at a
    start is as one that goes away later: every call fails with `ChainUnreachable`, until somebody answers and is
    checked all over. The block ends with a ConfigError if what answers then is not what was meant.

    Raises:
        ConfigError: As `open_chain`, at once or while the block runs.
        ChainUnreachable, ChainTimeout: Nobody answers, and no start before this one has seen these contracts.
    """
    verify_profile(profile, deployment)
    fingerprint = compute_fingerprint(profile, deployment)
    async with open_rpc(rpc_url) as rpc:
        behind = Chain(rpc.bar(), profile, deployment)
        if await checked.get(CHECKED) != fingerprint:
            await verify_chain(behind)
            await checked.set(CHECKED, fingerprint)
            rpc.unbar()
        else:
            failure = "it is slow to answer"
            with trio.move_on_after(FIRST_LOOK_S):
                try:
                    await verify_chain(behind)
                    rpc.unbar()
                except TransientError as error:
                    failure = str(error)
            if rpc.away_since is not None:
                log.warning("chain.away_at_start", reason=failure)
        async with trio.open_nursery() as nursery:
            if rpc.away_since is not None:
                nursery.start_soon(_wait_for, behind, rpc)
            yield Chain(rpc, profile, deployment)
            nursery.cancel_scope.cancel()


async def _wait_for(behind: Chain, rpc: Rpc) -> None:
    """Look until the chain answers; check it, and let everybody speak to it."""
    failures = 0
    while True:
        await trio.sleep(min(behind.profile.poll_s * 2 ** min(failures, 8), LOOK_AGAIN_MOST_S))
        try:
            await verify_chain(behind)
        except TransientError as error:
            failures += 1
            log.debug("chain.still_away", reason=str(error))
        else:
            log.info("chain.back", away_since=rpc.away_since)
            rpc.unbar()
            return
