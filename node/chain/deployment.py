"""Where Stoa's contracts stand on one chain, as a JSON file that the deployment script or the local chain writes."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from node.chain.errors import DeploymentInvalid
from protocol.errors import ProtocolError
from protocol.identity import ZERO_ADDRESS, Address, format_address, parse_address
from protocol.signing.eip712 import Domain

MAX_FILE_BYTES: Final = 65_536
_CONTRACTS: Final = ("token", "escrow", "payment_channel")
_OPTIONAL: Final = ("reputation", "court", "bench", "arbiter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Contracts of one deployment.

    Attributes:
        chain_id: The chain they stand on.
        token: The stablecoin (a test token on local chains).
        escrow: `Escrow`, whose address is in the market's EIP-712 domain.
        payment_channel: `PaymentChannel`.
        reputation: `Reputation`; zero on a network without stakes (and in files older than the contract).
        court: `DisputeArbiter`; zero on a network without a court (and in files older than the contract).
        bench: The court's `Bench`; zero without a court.
        arbiter: The arbiter that requesters name by default; zero if there is none. A file that doesn't say means the
            court.
        block: The block of the first of them: no event of theirs is older.
    """

    chain_id: int
    token: Address
    escrow: Address
    payment_channel: Address
    reputation: Address = ZERO_ADDRESS
    court: Address = ZERO_ADDRESS
    bench: Address = ZERO_ADDRESS
    arbiter: Address = ZERO_ADDRESS
    block: int

    @property
    def has_stakes(self) -> bool:
        """Whether providers can stake here: only then may offers ask for stake, bond or liability."""
        return self.reputation != ZERO_ADDRESS

    @property
    def has_court(self) -> bool:
        """Whether committees decide disputes here: only then may awards name the court."""
        return self.court != ZERO_ADDRESS

    @property
    def market_domain(self) -> Domain:
        """Domain of everything but vouchers and closes (SPEC C2)."""
        return Domain(chain_id=self.chain_id, verifying_contract=self.escrow)

    @property
    def channel_domain(self) -> Domain:
        """Domain of vouchers and closes."""
        return Domain(chain_id=self.chain_id, verifying_contract=self.payment_channel)

    @property
    def court_domain(self) -> Domain:
        """Domain of what arbiters sign."""
        return Domain(chain_id=self.chain_id, verifying_contract=self.court)


def load_deployment(path: Path) -> Deployment:
    """Read a deployments file.

    Raises:
        DeploymentInvalid: It is missing, no such JSON, or contradicts itself.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise DeploymentInvalid(path, f"longer than {MAX_FILE_BYTES} bytes")
        document: Any = json.loads(data)
    except OSError as error:
        raise DeploymentInvalid(path, error.strerror or "unreadable") from error
    except (ValueError, RecursionError) as error:
        raise DeploymentInvalid(path, "no JSON") from error
    if not isinstance(document, dict):
        raise DeploymentInvalid(path, "no JSON object")
    return _checked(path, cast("dict[str, object]", document))


def save_deployment(path: Path, deployment: Deployment) -> None:
    """Write a deployments file: after a crash there is the old one or the new one."""
    document = {
        "chain_id": deployment.chain_id,
        "token": format_address(deployment.token),
        "escrow": format_address(deployment.escrow),
        "payment_channel": format_address(deployment.payment_channel),
        "reputation": format_address(deployment.reputation),
        "court": format_address(deployment.court),
        "bench": format_address(deployment.bench),
        "arbiter": format_address(deployment.arbiter),
        "block": deployment.block,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(document, indent=2) + "\n")
    temporary.replace(path)


def _checked(path: Path, document: dict[str, object]) -> Deployment:
    numbers: dict[str, int] = {}
    for name in ("chain_id", "block"):
        value = document.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**64:
            raise DeploymentInvalid(path, f"{name} is {value!r}, not a block or chain number")
        numbers[name] = value
    addresses: dict[str, Address] = {}
    nobody = format_address(ZERO_ADDRESS)
    for name in (*_CONTRACTS, *_OPTIONAL):
        unsaid = document.get("court", nobody) if name == "arbiter" else nobody if name in _OPTIONAL else None
        value = document.get(name, unsaid)
        try:
            addresses[name] = parse_address(str(value))
        except ProtocolError as error:
            raise DeploymentInvalid(path, f"{name}: {error}") from error
    contracts = [addresses[name] for name in _CONTRACTS]
    if ZERO_ADDRESS in contracts or len(set(contracts)) != len(contracts):
        raise DeploymentInvalid(path, f"{', '.join(_CONTRACTS)} must be three different addresses, none of them zero")
    if addresses["reputation"] in contracts:
        raise DeploymentInvalid(path, "reputation must be another address than the other contracts, or zero for none")
    _check_court(path, addresses)
    return Deployment(
        chain_id=numbers["chain_id"],
        token=addresses["token"],
        escrow=addresses["escrow"],
        payment_channel=addresses["payment_channel"],
        reputation=addresses["reputation"],
        court=addresses["court"],
        bench=addresses["bench"],
        arbiter=addresses["arbiter"],
        block=numbers["block"],
    )


def _check_court(path: Path, addresses: dict[str, Address]) -> None:
    court, bench = addresses["court"], addresses["bench"]
    if court == bench == ZERO_ADDRESS:
        return
    if addresses["reputation"] == ZERO_ADDRESS:
        raise DeploymentInvalid(path, "a court needs reputation: without stakes there is nothing that it could slash")
    others = {addresses[name] for name in (*_CONTRACTS, "reputation")}
    if ZERO_ADDRESS in (court, bench) or court == bench or others & {court, bench}:
        raise DeploymentInvalid(path, "court and bench must be two further addresses, or both zero for none")
