"""The network and the nodes in it."""

import random as system_random
from contextlib import AsyncExitStack
from typing import Final

from node.app.identity import OwnRecord
from node.app.opening.base import Base
from node.app.peers import GrantedBlobs, WalletPeers
from node.app.selling import rates_of
from node.networking.directory import Directory
from node.networking.discovery import DiscoverySettings, open_discovery
from node.networking.lookup.finder import open_lookup
from node.networking.mdns.finder import open_finder
from node.networking.mdns.lan import open_lan
from node.networking.network import Network, open_network
from node.networking.peers.store import SqlPeerStore
from node.networking.relay.keeping import open_relaying
from node.networking.settings import NetworkSettings, RelayLimits
from protocol.node_record import NodeBody
from protocol.task.engine import ENGINE_DIGEST

MIB: Final = 2**20


async def open_wallet_network(stack: AsyncExitStack, base: Base) -> tuple[Network, Directory, WalletPeers]:
    """Listen, find others, and speak to them by their wallets."""
    settings, clock = base.settings.network, base.clock
    chance = system_random.Random(base.random.bytes(32))  # noqa: S311 - for the mesh, not for secrets
    network = await stack.enter_async_context(
        open_network(
            NetworkSettings(
                listen=(f"/ip4/{settings.listen_host}/tcp/{settings.listen_port}",) if settings.listen else (),
                announce=settings.advertise,
                max_connections=settings.max_peers,
                upload_bytes_per_s=settings.upload_mib_s * MIB,
                upload_bytes_per_s_per_peer=settings.upload_mib_s_per_peer * MIB,
                download_bytes_per_s=settings.download_mib_s * MIB,
                download_bytes_per_s_per_peer=settings.download_mib_s_per_peer * MIB,
                reachable=settings.reachable,
                relay=RelayLimits(bytes_per_s=settings.relay_mib_s * MIB) if settings.relay else None,
            ),
            base.host_key.seed.reveal(),
            clock=clock.unix_time,
            random=chance,
        )
    )
    sells = base.settings.provider.enabled
    own = OwnRecord(
        base.signer,
        base.host_key.public_key,
        clock,
        lambda: NodeBody(
            addresses=network.record_addresses,
            engines=(ENGINE_DIGEST,) if sells else (),
            rates=rates_of(base.settings.provider.prices) if sells else None,
        ),
    )
    directory = Directory(base.deployment.market_domain, clock.unix_time)
    discovery = await stack.enter_async_context(
        open_discovery(
            network,
            directory,
            DiscoverySettings(bootstrap=settings.bootstrap),
            own=own,
            random=chance,
            store=SqlPeerStore(base.storage),
            clock=clock.unix_time,
        )
    )
    await stack.enter_async_context(open_relaying(network, random=chance, changed=discovery.renew))
    if settings.mdns:
        lan = await stack.enter_async_context(open_lan(settings.listen_host))
        await stack.enter_async_context(open_finder(network, lan, random=chance))
    network.serve_blobs(GrantedBlobs(base.storage, directory))
    finder = await stack.enter_async_context(open_lookup(network, discovery, random=chance))
    return network, directory, WalletPeers(network, discovery, base.storage, finder=finder)
