"""A new local chain: contracts deployed from the artifacts, accounts given money. For anvil alone.

anvil acts for any account that it is told to impersonate, so nothing here needs a key. No other chain has such methods.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import trio

from node.chain.abi import Artifact, load_artifact
from node.chain.bench import Randomness
from node.chain.chain import parse_receipt
from node.chain.deployment import Deployment, save_deployment
from node.chain.errors import ChainTimeout, Reverted
from node.chain.profile import LOCAL
from node.chain.rpc import Json, Rpc, hexed, open_rpc, quantity, read_digest, unformatted
from protocol.identity import ZERO_ADDRESS, Address, Digest
from protocol.signing.keccak import keccak256
from protocol.units import ONE_TOKEN, Amount, Seconds

DEPLOYER: Final = Address(keccak256(b"stoa local deployer")[12:])
"""Nobody has the key of this address, and nobody needs it."""
POOL: Final = Address(keccak256(b"stoa local pool")[12:])
"""Where slashed money of local chains goes, likewise."""

ETHER: Final = 10**18
_INCLUSION_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalTerms:
    """Immutable terms of the local contracts: short periods, so that a person can watch a dispute end."""

    challenge: Seconds = LOCAL.min_challenge
    hold_period: Seconds = LOCAL.min_hold_period
    min_pace: Seconds = LOCAL.min_pace
    cooldown: Seconds = LOCAL.min_cooldown
    max_bounty: Amount = Amount(5 * ONE_TOKEN)
    seat_stake: Amount = Amount(4 * ONE_TOKEN)
    least_fee: Amount = Amount(ONE_TOKEN)
    min_resolve_within: Seconds = LOCAL.min_case
    max_time: Seconds = Seconds(600)
    randomness: Randomness = Randomness.PREV_RANDAO


DEFAULT_TERMS: Final = LocalTerms()


async def deploy_local(
    rpc_url: str,
    *,
    arbiter: Address = ZERO_ADDRESS,
    court: bool = False,
    terms: LocalTerms = DEFAULT_TERMS,
    path: Path | None = None,
) -> Deployment:
    """Deploy test token and contracts, and write the deployments file to `path` if it is given.

    Args:
        rpc_url: A running anvil.
        arbiter: Default arbiter that requesters name; zero for none, or for the court if there is one.
        court: Whether to deploy a court. Where awards name one, providers need stake for tasks above the threshold.
        terms: Periods and amounts of the contracts.
        path: Where to write the deployments file.

    Raises:
        Reverted: A constructor refused its arguments.
        RpcRefused: The node at `rpc_url` is no anvil.
    """
    async with open_rpc(rpc_url) as rpc:
        await rpc.call("anvil_setBalance", hexed(DEPLOYER), hexed(1_000 * ETHER))
        await rpc.call("anvil_impersonateAccount", hexed(DEPLOYER))
        chain_id = quantity(await rpc.call("eth_chainId"))
        block = quantity(await rpc.call("eth_blockNumber"))
        guardian = ZERO_ADDRESS
        token = await _deploy(rpc, load_artifact("TestToken"))
        escrow = await _deploy(rpc, load_artifact("Escrow"), terms.min_pace, guardian)
        channel = await _deploy(
            rpc, load_artifact("PaymentChannel"), escrow, terms.challenge, terms.hold_period, guardian
        )
        reputation = await _deploy(
            rpc, load_artifact("Reputation"), escrow, token, POOL, terms.cooldown, terms.max_bounty, guardian
        )
        judges, bench = ZERO_ADDRESS, ZERO_ADDRESS
        if court:
            rails = (escrow, channel, reputation, token, POOL)
            judges, bench = await _deploy_court(rpc, rails, terms)
    deployment = Deployment(
        chain_id=chain_id,
        token=token,
        escrow=escrow,
        payment_channel=channel,
        reputation=reputation,
        court=judges,
        bench=bench,
        arbiter=judges if arbiter == ZERO_ADDRESS else arbiter,
        block=block + 1,
    )
    if path is not None:
        await trio.to_thread.run_sync(save_deployment, path, deployment)
    return deployment


async def fund(
    rpc_url: str, deployment: Deployment, accounts: Sequence[Address], *, tokens: Amount, gas_money: int = 10 * ETHER
) -> None:
    """Give each account test tokens (base units, added) and native money for fees (wei, set)."""
    abi = load_artifact("TestToken").abi
    async with open_rpc(rpc_url) as rpc:
        await rpc.call("anvil_impersonateAccount", hexed(DEPLOYER))
        for account in accounts:
            await rpc.call("anvil_setBalance", hexed(account), hexed(gas_money))
            if tokens:
                await _send(rpc, deployment.token, abi.encode_call("mint", account, tokens))


async def _deploy_court(rpc: Rpc, rails: tuple[Address, ...], terms: LocalTerms) -> tuple[Address, Address]:
    """Deploy a court on these rails, and return it and the bench that it creates."""
    artifact = load_artifact("DisputeArbiter")
    constants = (
        *(terms.seat_stake, terms.least_fee, terms.cooldown, terms.min_resolve_within, terms.max_time),
        terms.randomness,
    )
    court = await _deploy(rpc, artifact, rails, constants, ZERO_ADDRESS)
    call: dict[str, Json] = {"to": hexed(court), "data": hexed(artifact.abi.encode_call("bench"))}
    (bench,) = artifact.abi.decode_result("bench", unformatted(await rpc.call("eth_call", call, "latest")))
    return court, Address(cast("bytes", bench))


async def _deploy(rpc: Rpc, artifact: Artifact, *arguments: object) -> Address:
    created = await _send(rpc, None, artifact.bytecode + artifact.abi.encode_constructor(*arguments))
    assert created is not None, "a deployment's receipt names the new contract"
    return created


async def _send(rpc: Rpc, to: Address | None, data: bytes) -> Address | None:
    call: dict[str, Json] = {"from": hexed(DEPLOYER), "data": hexed(data)}
    if to is not None:
        call["to"] = hexed(to)
    transaction = read_digest(await rpc.call("eth_sendTransaction", call))
    return await _wait(rpc, transaction)


async def _wait(rpc: Rpc, transaction: Digest) -> Address | None:
    with trio.move_on_after(_INCLUSION_TIMEOUT_S):
        while True:
            value = await rpc.call("eth_getTransactionReceipt", hexed(transaction))
            if value is not None:
                break
            await trio.sleep(_POLL_S)
        receipt = parse_receipt(value)
        if not receipt.succeeded:
            raise Reverted("", {}, b"", contract="a local contract")
        return receipt.created
    raise ChainTimeout(rpc.url, "inclusion of a transaction", _INCLUSION_TIMEOUT_S)
