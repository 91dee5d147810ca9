"""Whether others can reach this node, and it them."""

import ipaddress
import random
import secrets
import socket
from typing import Final

import trio

from node.app.doctor.finding import Finding, Patient, broken, ok, warning
from node.networking.addresses import PeerAddress, parse_peer_address
from node.networking.network import open_network
from node.networking.settings import NetworkSettings
from node.operations.clock import SystemClock
from protocol.errors import StoaError

DIAL_TIMEOUT_S: Final = 10.0
_ANYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - to recognise them


async def check_port(patient: Patient) -> list[Finding]:
    """Whether the port is free, or in use by this very node."""
    network = patient.settings.network
    if not network.listen:
        return [ok("port", "the node is set to listen nowhere")]
    where = f"{network.listen_host}:{network.listen_port}"
    if patient.running is not None:
        port = network.listen_port or _port_of(patient.running.status.listening)
        target = "127.0.0.1" if network.listen_host in _ANYWHERE else network.listen_host
        try:
            with trio.fail_after(DIAL_TIMEOUT_S):
                stream = await trio.open_tcp_stream(target, port)
        except (OSError, trio.TooSlowError) as error:
            text = f"the node runs, but nothing answers on {where}: {error}"
            return [
                broken("port", text, "restart the node; if network.listen_* was changed, it still uses the old one")
            ]
        await stream.aclose()
        return [ok("port", f"{where} is open, and the node listens")]
    return await trio.to_thread.run_sync(_try_to_bind, network.listen_host, network.listen_port)


async def check_address(patient: Patient) -> list[Finding]:
    """Whether what others are told leads here from where they are."""
    network, is_local = patient.settings.network, patient.settings.chain.profile == "local"
    if patient.running is not None:
        relays = sum("/p2p-circuit" in text for text in patient.running.status.listening)
        if relays:
            return [ok("address", f"others reach this node through {relays} relay{'s' if relays > 1 else ''}")]
        if not network.listen or network.reachable == "no":
            text = "nobody can reach this node: it has no place at any relay"
            advice = "see that it has peers which relay (stoa peers list), or forward a port and set network.listen"
            return [broken("address", text, advice)]
    if not network.listen:
        return [ok("address", "the node listens nowhere, and will ask its peers to relay")]
    if not network.advertise:
        if network.listen_host in _ANYWHERE:
            text = f"others are told {network.listen_host}, which nobody can dial"
            return [warning("address", text, "set network.advertise to an address or name that leads here")]
        return [_judge_host(network.listen_host, is_local=is_local)]
    return [await _judge_place(text, is_local=is_local) for text in network.advertise]


async def check_bootstrap(patient: Patient) -> list[Finding]:
    """Dial each bootstrap peer with a key made for this, and check that it is who it should be."""
    bootstrap = patient.settings.network.bootstrap
    if not bootstrap:
        advice = "set network.bootstrap, or connect with: stoa peers connect ADDRESS"
        if patient.running is not None and patient.running.status.connected_peers:
            return [ok("bootstrap", "none set, but others have connected")]
        return [warning("bootstrap", "no peer to ask for others is set", advice)]
    found: dict[str, Finding] = {}
    async with trio.open_nursery() as nursery:
        for address in bootstrap:
            nursery.start_soon(_dial, address, found)
    findings = [found[address] for address in bootstrap]
    if any(each.state == "ok" for each in findings):
        return findings
    return [broken(each.check, each.text, each.advice) for each in findings]


async def check_peers(patient: Patient) -> list[Finding]:
    """Whether the running node has company."""
    await trio.lowlevel.checkpoint()
    if patient.running is None:
        return []
    count = patient.running.status.connected_peers
    if count:
        return [ok("peers", f"{count} connected")]
    advice = "check network.bootstrap and the firewall; see stoa peers list"
    return [broken("peers", "the node runs and no peer is connected", advice)]


async def _dial(address: str, found: dict[str, Finding]) -> None:
    """Dial from a network of its own: one that knows the peer at another address would say that it is connected."""
    reason = f"no answer within {DIAL_TIMEOUT_S:g} s"
    chance, clock = random.Random(secrets.token_bytes(16)), SystemClock()  # noqa: S311 - for a mesh that is never joined
    settings = NetworkSettings(listen=())
    async with open_network(settings, secrets.token_bytes(32), clock=clock.unix_time, random=chance) as network:
        with trio.move_on_after(DIAL_TIMEOUT_S):
            try:
                await network.connect(address)
            except StoaError as error:
                reason = str(error)
            else:
                found[address] = ok("bootstrap", f"{address} answers")
                return
    advice = "ask its operator, or take it out of network.bootstrap; check the way out of this network"
    found[address] = warning("bootstrap", reason if address in reason else f"{address}: {reason}", advice)


async def _judge_place(text: str, *, is_local: bool) -> Finding:
    place: PeerAddress = parse_peer_address(text)
    if place.kind != "dns":
        return _judge_host(place.host, is_local=is_local)
    try:
        with trio.fail_after(DIAL_TIMEOUT_S):
            answers = await trio.socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except (OSError, trio.TooSlowError) as error:
        return broken(
            "address", f"others are told {place.host}, which has no address: {error}", "correct the name in DNS"
        )
    finding = _judge_host(str(answers[0][4][0]), is_local=is_local)
    return Finding(check="address", state=finding.state, text=f"{place.host}: {finding.text}", advice=finding.advice)


def _judge_host(host: str, *, is_local: bool) -> Finding:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a name that is listened on
        return ok("address", f"others are told {host}")
    if address.is_global:
        return ok("address", f"others are told {host}; a router in between must forward the port")
    scope = "this machine" if address.is_loopback else "this network"
    text = f"others are told {host}, which leads here only from {scope}"
    if is_local:
        return ok("address", f"{text}; enough for a local chain")
    advice = "set network.advertise to the public address or name, and forward the port to this machine"
    return warning("address", text, advice)


def _try_to_bind(host: str, port: int) -> list[Finding]:
    where = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the node does
            trial.bind(address)
            trial.listen(1)
    except OSError as error:
        text = f"the node could not listen on {where}: {error.strerror or error}"
        advice = "end the program that has the port (ss -ltnp), or set another network.listen_host or listen_port"
        return [broken("port", text, advice)]
    return [ok("port", f"{where} is free")]


def _port_of(listening: tuple[str, ...]) -> int:
    return next((parse_peer_address(text).port for text in listening), 0)
