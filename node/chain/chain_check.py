"""Whether what answers is the chain that is meant, with the contracts that this version of Stoa was built against."""

from typing import cast

from node.chain.abi import Abi, load_artifact
from node.chain.chain import Block, Chain
from node.chain.deployment import Deployment
from node.chain.errors import CodeMismatch, ContractMissing, WrongChain
from node.chain.profile import ChainProfile
from node.chain.rpc import hexed, quantity, unformatted
from protocol.errors import ConfigError
from protocol.identity import Address, format_address
from protocol.signing.eip712 import domain_separator
from protocol.signing.keccak import keccak256


class TermsTooShort(ConfigError):
    """A contract's immutable periods are shorter than the profile of its chain calls safe."""


def compute_fingerprint(profile: ChainProfile, deployment: Deployment) -> bytes:
    """Return a digest of all that `verify_chain` compares the chain with."""
    names = ("Escrow", "PaymentChannel", "Reputation", "TestToken", "DisputeArbiter", "Bench")
    hashes = [load_artifact(name).code_hash for name in names]
    least = (
        *(profile.chain_id, profile.min_challenge, profile.min_hold_period, profile.min_pace, profile.min_cooldown),
        profile.min_case,
    )
    addresses = (
        *(deployment.escrow, deployment.payment_channel, deployment.reputation, deployment.token),
        *(deployment.court, deployment.bench),
    )
    return keccak256(b"".join((*addresses, *hashes, *(number.to_bytes(8, "big") for number in least))))


def verify_profile(profile: ChainProfile, deployment: Deployment) -> None:
    """Check that the deployment is of the chain that the profile describes.

    Raises:
        WrongChain: It is of another.
    """
    if deployment.chain_id != profile.chain_id:
        raise WrongChain("the deployments file", expected=profile.chain_id, actual=deployment.chain_id)


async def verify_chain(chain: Chain) -> None:
    """Check the chain's number, then every contract of the deployment: its code, its periods, and what it names.

    Raises:
        ConfigError: As `node.chain.opening.open_chain`.
        TransientError: The chain can't be asked now.
    """
    actual = quantity(await chain.rpc.call("eth_chainId"))
    if actual != chain.profile.chain_id:
        raise WrongChain(chain.rpc.url, expected=chain.profile.chain_id, actual=actual)
    await _verify_contracts(chain)


async def _verify_contracts(chain: Chain) -> None:
    deployment = chain.deployment
    await _verify_code(chain, "Escrow", deployment.escrow)
    await _verify_code(chain, "PaymentChannel", deployment.payment_channel)
    if chain.profile.is_local:
        await _verify_code(chain, "TestToken", deployment.token)
    elif not await _code(chain, deployment.token):
        raise ContractMissing("the token", deployment.token)
    # The hash leaves immutables out, and they are what ties the two contracts together and gives parties time to react.
    head = await chain.head()
    channel, escrow = load_artifact("PaymentChannel").abi, load_artifact("Escrow").abi
    (named,) = await chain.view(channel, deployment.payment_channel, "escrow", at=head)
    (separator,) = await chain.view(channel, deployment.payment_channel, "marketDomainSeparator", at=head)
    if named != deployment.escrow or separator != domain_separator(deployment.market_domain):
        raise ConfigError(
            f"PaymentChannel at {format_address(deployment.payment_channel)} belongs to another Escrow than"
            f" {format_address(deployment.escrow)}",
            advice="check chain.deployments: both addresses must be of one deployment",
        )
    periods = [
        (channel, deployment.payment_channel, "challenge", chain.profile.min_challenge),
        (channel, deployment.payment_channel, "holdPeriod", chain.profile.min_hold_period),
        (escrow, deployment.escrow, "minPace", chain.profile.min_pace),
    ]
    if deployment.has_stakes:
        reputation = await _verify_stakes(chain, head)
        periods.append((reputation, deployment.reputation, "cooldown", chain.profile.min_cooldown))
    if deployment.has_court:
        court = await _verify_court(chain, head)
        periods += [(court, deployment.court, name, chain.profile.min_case) for name in ("minResolveWithin", "maxTime")]
    for abi, address, name, least in periods:
        (seconds,) = await chain.view(abi, address, name, at=head)
        if cast("int", seconds) < least:
            raise TermsTooShort(
                f"{abi.name} at {format_address(address)} has a {name} of {seconds} s, the profile"
                f" {chain.profile.name} wants {least} s at least",
                advice="use another deployment",
            )


async def _verify_stakes(chain: Chain, head: Block) -> Abi:
    """Check that the stakes are of this token and answer for this market's awards; return the contract's interface."""
    deployment = chain.deployment
    await _verify_code(chain, "Reputation", deployment.reputation)
    abi = load_artifact("Reputation").abi
    (escrow,) = await chain.view(abi, deployment.reputation, "escrow", at=head)
    (token,) = await chain.view(abi, deployment.reputation, "token", at=head)
    if escrow != deployment.escrow or token != deployment.token:
        raise ConfigError(
            f"Reputation at {format_address(deployment.reputation)} belongs to another Escrow or token than the"
            " deployment's",
            advice="check chain.deployments: all addresses must be of one deployment",
        )
    return abi


async def _verify_court(chain: Chain, head: Block) -> Abi:
    """Check that the court moves these rails, stakes and token, and that the bench is its own; return its interface."""
    deployment = chain.deployment
    await _verify_code(chain, "DisputeArbiter", deployment.court)
    await _verify_code(chain, "Bench", deployment.bench)
    abi = load_artifact("DisputeArbiter").abi
    named = {
        "escrow": deployment.escrow,
        "channels": deployment.payment_channel,
        "reputation": deployment.reputation,
        "token": deployment.token,
        "bench": deployment.bench,  # which the court has created, with itself as its court
    }
    for name, expected in named.items():
        (actual,) = await chain.view(abi, deployment.court, name, at=head)
        if actual != expected:
            raise ConfigError(
                f"DisputeArbiter at {format_address(deployment.court)} belongs to another {name} than the deployment's",
                advice="check chain.deployments: all addresses must be of one deployment",
            )
    return abi


async def _verify_code(chain: Chain, name: str, address: Address) -> None:
    code, artifact = await _code(chain, address), load_artifact(name)
    if not code:
        raise ContractMissing(name, address)
    actual = artifact.masked_hash(code)
    if actual != artifact.code_hash:
        raise CodeMismatch(name, address, expected=artifact.code_hash, actual=actual)


async def _code(chain: Chain, address: Address) -> bytes:
    return unformatted(await chain.rpc.call("eth_getCode", hexed(address), "latest"))
