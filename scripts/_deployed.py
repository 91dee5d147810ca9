"""The contracts of the connected network, for the Ape scripts and the console: deployments/<network>.json."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ape as _ape
import click
from eth_utils.abi import event_abi_to_log_topic

from node.chain.deployment import Deployment, load_deployment
from node.chain.profile import PROFILES, ChainProfile
from protocol.errors import StoaError
from protocol.identity import Address, format_address

# Ape loads its managers on access, which no type checker can follow.
ape: Any = _ape

ROOT = Path(__file__).resolve().parents[1]
ARTIFACTS = ROOT / "node/chain/artifacts"
LOG_RANGE = 1_000  # what public nodes commonly allow


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """A deployment with Ape's contract instances."""

    deployment: Deployment
    token: Any
    escrow: Any
    channels: Any
    reputation: Any
    """None on a network without stakes."""


def connected_profile() -> ChainProfile:
    """Return what Stoa knows of the connected chain.

    Raises:
        ClickException: Stoa has no profile for its chain id.
    """
    chain_id = int(ape.networks.provider.web3.eth.chain_id)
    for profile in PROFILES.values():
        if profile.chain_id == chain_id:
            return profile
    raise click.ClickException(f"chain {chain_id} has no profile; Stoa runs on {', '.join(PROFILES)}")


def deployment_path(profile: ChainProfile) -> Path:
    """Return where the deployments file of a network stands."""
    return ROOT / "deployments" / f"{profile.name}.json"


def connect(path: Path | None = None) -> Deployed:
    """Return the contracts that a deployments file names, by default that of the connected network.

    Raises:
        ClickException: There is no such file, it is wrong, or it is for another chain.
    """
    profile = connected_profile()
    try:
        deployment = load_deployment(path or deployment_path(profile))
    except StoaError as error:
        raise click.ClickException(f"{error}. Deploy first: ape run deploy") from error
    if deployment.chain_id != profile.chain_id:
        raise click.ClickException(f"the deployments file is for chain {deployment.chain_id}, not {profile.chain_id}")
    return Deployed(
        deployment=deployment,
        token=_at("TestToken", deployment.token),
        escrow=_at("Escrow", deployment.escrow),
        channels=_at("PaymentChannel", deployment.payment_channel),
        reputation=_at("Reputation", deployment.reputation) if deployment.has_stakes else None,
    )


def history(contract: Any, name: str, identity: bytes, since: int) -> list[tuple[str, dict[str, Any], int]]:
    """Return every event of `contract` about one id as (event, fields, block), oldest first.

    Args:
        contract: Ape's instance.
        name: The contract's name, for its ABI.
        identity: The indexed first topic: a channel id or an award digest.
        since: First block to look at, usually the deployment's.
    """
    web3 = ape.networks.provider.web3
    abi = json.loads((ARTIFACTS / f"{name}.json").read_text())["abi"]
    decoder = web3.eth.contract(address=contract.address, abi=abi)
    by_topic = {bytes(event_abi_to_log_topic(event.abi)): event for event in decoder.events}
    found: list[tuple[str, dict[str, Any], int]] = []
    head = int(web3.eth.block_number)
    for first in range(since, head + 1, LOG_RANGE):
        query = {
            "address": contract.address,
            "topics": [None, "0x" + identity.hex()],
            "fromBlock": first,
            "toBlock": min(first + LOG_RANGE - 1, head),
        }
        for log in web3.eth.get_logs(query):
            event = by_topic.get(bytes(log["topics"][0]))
            if event is not None:
                decoded = event().process_log(log)
                found.append((decoded["event"], dict(decoded["args"]), int(decoded["blockNumber"])))
    return found


def read_identity(text: str) -> bytes:
    """Return the 32 bytes of a channel id or award digest as the user writes it.

    Raises:
        ClickException: It is no 32 bytes in hexadecimal.
    """
    try:
        value = bytes.fromhex(text.removeprefix("0x"))
    except ValueError as error:
        raise click.ClickException(f"{text!r} is no hexadecimal number") from error
    if len(value) != 32:
        raise click.ClickException(f"an id has 32 bytes (64 hexadecimal digits), this has {len(value)} bytes")
    return value


def show(value: object) -> str:
    """Write a field of an event or a state for people: bytes in hexadecimal."""
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)


def _at(name: str, address: Address) -> Any:
    return getattr(ape.project, name).at(format_address(address))
