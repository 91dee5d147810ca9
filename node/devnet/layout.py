"""The folders, keys and configurations of a network of nodes on this machine."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from node.config.render import render_default_toml
from node.operations.ports import free_ports
from node.wallet.host_key import create_host_key
from node.wallet.keystore import create_wallet
from node.wallet.keystore_v3 import ScryptCost
from protocol.identity import Address, PeerId
from protocol.node_record import peer_id_of

LIGHT: Final = ScryptCost(n=2**12)
"""Keys of a network that is thrown away need no second of scrypt each."""
PROVIDER_GFUEL: Final = ("0.10", "0.11", "0.12", "0.13", "0.14", "0.15", "0.16", "0.17")
"""What each provider asks for 10**9 units of fuel, in dollars: far above a real price, so that examples cost cents."""

FUEL_PER_S: Final = 700_000_000
"""What providers promise times by: the slowest kind of work on a slow core. Measuring it would take seconds a node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlace:
    """One node of the network: where it lives and who it is."""

    name: str
    folder: Path
    port: int
    wallet: Address
    peer: PeerId
    sells: bool
    judges: bool

    @property
    def config(self) -> Path:
        """Its configuration file."""
        return self.folder / "stoa.toml"

    @property
    def socket(self) -> Path:
        """Its control socket."""
        return self.folder / "control.sock"

    @property
    def log(self) -> Path:
        """What it says, as JSON lines."""
        return self.folder / "node.log"

    @property
    def address(self) -> str:
        """Where others reach it."""
        return f"/ip4/127.0.0.1/tcp/{self.port}/p2p/{self.peer}"


async def lay_out(
    folder: Path,
    *,
    providers: int,
    rpc_url: str,
    deployments: Path,
    watchers: int = 0,
    arbiters: int = 0,
    overrides: dict[str, Any] | None = None,
    own: Mapping[str, dict[str, Any]] | None = None,
) -> tuple[NodePlace, ...]:
    """Make a requester and so many others under `folder`, each with keys and a configuration.

    Args:
        folder: Must not hold a network yet.
        providers: At least 1. From the ninth on they ask what the first ones ask.
        rpc_url: Of the local chain.
        deployments: File with the contracts' addresses.
        watchers: Nodes that only relay what the others say.
        arbiters: Nodes that judge disputes, once they have tickets.
        overrides: Settings of every node, by dotted name.
        own: Settings of single nodes, by the node's name.
    """
    ports = free_ports(1 + providers + watchers + arbiters)
    password = folder / "password"
    await trio.to_thread.run_sync(_write_secret, password, secrets.token_hex(16))
    names = ["requester", *(f"provider-{index + 1}" for index in range(providers))]
    names += [f"watcher-{index + 1}" for index in range(watchers)]
    names += [f"arbiter-{index + 1}" for index in range(arbiters)]
    places = [
        await _make_node(
            folder, name, port, password, sells=name.startswith("provider"), judges=name.startswith("arbiter")
        )
        for name, port in zip(names, ports, strict=True)
    ]
    for index, place in enumerate(places):
        values: dict[str, Any] = {
            "node.data_dir": str(place.folder),
            "node.name": place.name,
            "network.listen_host": "127.0.0.1",
            "network.listen_port": place.port,
            "network.bootstrap": [other.address for other in places if other is not place],
            "chain.profile": "local",
            "chain.rpc_url": rpc_url,
            "chain.deployments": str(deployments),
            "wallet.password_file": str(password),
            "requester.start_within_s": 15,
            "requester.patience_s": 2.0,
            "logging.format": "json",
        }
        if place.sells:
            gfuel = PROVIDER_GFUEL[(index - 1) % len(PROVIDER_GFUEL)]
            values |= {
                "provider.enabled": True,
                "provider.cores": 1,
                "provider.fuel_per_s": FUEL_PER_S,
                "provider.prices.gfuel": gfuel,
            }
        if place.judges:
            values["arbiter.enabled"] = True
        await trio.Path(place.config).write_text(
            render_default_toml(values | (overrides or {}) | (own or {}).get(place.name, {}))
        )
    return tuple(places)


async def _make_node(
    folder: Path, name: str, port: int, password_file: Path, *, sells: bool, judges: bool
) -> NodePlace:
    home = folder / name
    await trio.Path(home).mkdir(parents=True)
    await trio.Path(home).chmod(0o700)
    password = (await trio.Path(password_file).read_text()).strip()
    wallet = await create_wallet(home / "wallet.json", password, cost=LIGHT)
    peer = peer_id_of(await create_host_key(home / "host.json", password, cost=LIGHT))
    return NodePlace(name=name, folder=home, port=port, wallet=wallet, peer=peer, sells=sells, judges=judges)


def _write_secret(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text + "\n")
