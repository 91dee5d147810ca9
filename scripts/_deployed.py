"""The contracts of the connected network, for the scripts and the console: deployments/<network>.json."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from eth_utils.abi import event_abi_to_log_topic
from ethpm_types import ContractType

from node.chain.deployment import Deployment, load_deployment
from node.chain.events import names_of
from node.chain.profile import ChainProfile
from protocol.errors import StoaError
from protocol.identity import ZERO_ADDRESS, Address, format_address
from scripts._ground import ape, connected_web3, profile_of

ROOT = Path(__file__).resolve().parents[1]
ARTIFACTS = ROOT / "node/chain/artifacts"
LOG_RANGE = 1_000  # what public nodes commonly allow

NOBODY: Final = format_address(ZERO_ADDRESS)


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """A deployment with Ape's contract instances.

    Attributes:
        reputation: None on a network without stakes.
        court: None on a network without a court.
        bench: Likewise.
        guardian: The place that its holder may hand on; None without a guardian, or if a plain account is it.
    """

    deployment: Deployment
    token: Any
    escrow: Any
    channels: Any
    reputation: Any
    court: Any
    bench: Any
    guardian: Any

    @property
    def paused_by_guardian(self) -> Mapping[str, Any]:
        """The contracts whose new business a guardian may pause, by name."""
        contracts = {
            "Escrow": self.escrow,
            "PaymentChannel": self.channels,
            "Reputation": self.reputation,
            "DisputeArbiter": self.court,
            "Bench": self.bench,
        }
        return {name: contract for name, contract in contracts.items() if contract is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class PastEvent:
    """Something that a contract reported."""

    contract: str
    name: str
    fields: dict[str, Any]
    block: int
    index: int
    transaction: str


def connected_profile() -> ChainProfile:
    """Return what Stoa knows of the connected chain.

    Raises:
        ClickException: Stoa has no profile for its chain id.
    """
    return profile_of(connected_web3())


def deployment_path(profile: ChainProfile) -> Path:
    """Return where a network's deployments file is: what STOA_DEPLOYMENTS names, else deployments/<network>.json.

    The console takes no options of ours, so it needs a variable.
    """
    named = os.environ.get("STOA_DEPLOYMENTS")
    return Path(named) if named else ROOT / "deployments" / f"{profile.name}.json"


def connect(path: Path | None = None) -> Deployed:
    """Return the contracts that a deployments file names, by default that of the connected network.

    Raises:
        ClickException: There is no such file, it is wrong or for another chain, or this chain lacks the contracts.
    """
    profile = connected_profile()
    try:
        deployment = load_deployment(path or deployment_path(profile))
    except StoaError as error:
        raise click.ClickException(f"{error}. Deploy first: ape run deploy") from error
    if deployment.chain_id != profile.chain_id:
        raise click.ClickException(f"the deployments file is for chain {deployment.chain_id}, not {profile.chain_id}")
    escrow = contract_at("Escrow", deployment.escrow)
    if not has_code(deployment.escrow):
        raise click.ClickException(
            f"there is no Escrow at {escrow.address}: another chain? Deploy anew: ape run deploy"
        )
    return Deployed(
        deployment=deployment,
        token=contract_at("TestToken", deployment.token),
        escrow=escrow,
        channels=contract_at("PaymentChannel", deployment.payment_channel),
        reputation=contract_at("Reputation", deployment.reputation) if deployment.has_stakes else None,
        court=contract_at("DisputeArbiter", deployment.court) if deployment.has_court else None,
        bench=contract_at("Bench", deployment.bench) if deployment.has_court else None,
        guardian=_guardian(str(escrow.guardian())),
    )


def contract_at(name: str, address: Address) -> Any:
    """Return Ape's instance of one of our contracts, by this release's interface: nothing is compiled for it."""
    document: Any = json.loads((ARTIFACTS / f"{name}.json").read_text())
    kind = ContractType.model_validate({"contractName": name, "abi": document["abi"]})
    return ape.chain.contracts.instance_at(format_address(address), contract_type=kind, detect_proxy=False)


def has_code(address: Address) -> bool:
    """Say whether a contract stands there."""
    web3 = connected_web3()
    return bool(web3.eth.get_code(web3.to_checksum_address(address)))


def history(
    deployment: Deployment, *, contract: str | None = None, identity: bytes | None = None, topic: int = 1
) -> Iterator[PastEvent]:
    """Give what the contracts reported since their deployment, oldest first.

    Args:
        deployment: Which contracts, and since when.
        contract: One of them alone, by name.
        identity: An indexed field must be this (a channel id, an award digest, an address padded to 32 bytes).
        topic: Which indexed field, counted from 1.
    """
    web3 = connected_web3()
    names = {address: name for address, name in names_of(deployment).items() if contract in (None, name)}
    decoders = {address: _decoder(name) for address, name in names.items()}
    topics: list[str | None] = [] if identity is None else [*[None] * topic, "0x" + identity.hex()]
    head = int(web3.eth.block_number)
    for first in range(deployment.block, head + 1, LOG_RANGE):
        query: Any = {
            "address": [format_address(address) for address in names],
            "topics": topics,
            "fromBlock": first,
            "toBlock": min(first + LOG_RANGE - 1, head),
        }
        for log in web3.eth.get_logs(query):
            address = Address(bytes.fromhex(log["address"][2:]))
            event = decoders[address].get(bytes(log["topics"][0]))
            if event is not None:
                decoded = event().process_log(log)
                yield PastEvent(
                    contract=names[address],
                    name=decoded["event"],
                    fields=dict(decoded["args"]),
                    block=int(decoded["blockNumber"]),
                    index=int(decoded["logIndex"]),
                    transaction="0x" + bytes(log["transactionHash"]).hex(),
                )


def _decoder(name: str) -> dict[bytes, Any]:
    abi = json.loads((ARTIFACTS / f"{name}.json").read_text())["abi"]
    contract: Any = connected_web3().eth.contract(abi=abi)
    return {bytes(event_abi_to_log_topic(event.abi)): event for event in contract.events}


def _guardian(address: str) -> Any:
    """Return the guardian's place, if the guardian is one: a plain account, or another contract, can't be handed on."""
    raw = Address(bytes.fromhex(address[2:]))
    if raw == ZERO_ADDRESS or not has_code(raw):
        return None
    place = contract_at("Guardian", raw)
    try:
        place.holder()
    except Exception:  # noqa: BLE001 - whatever Ape makes of a foreign contract's answer: it is no place of ours
        return None
    return place
