"""Two nodes that can't dial each other trade through two relays, of which the one in use is killed half-way.

Run inside the namespace in the middle: `python -m tests.system.relay_story FOLDER HOME CAFE translated|plain`.
The chain runs here too; the homes reach it through a forwarder, since it listens on the loopback alone.
"""

import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import trio

from node.api.client import open_client
from node.api.facade import NodeFacade
from node.chain.anvil import open_anvil
from node.chain.local import deploy_local, fund
from node.devnet.devnet import BLOCK_TIME_S, REQUESTER_TOKENS, TERMS, Devnet
from node.devnet.layout import NodePlace, lay_out
from node.devnet.processes import NodeProcess
from protocol.units import Amount
from tests.system.crash_lab import CHANNEL_BUDGET, check_paid_once, check_result, make_task, part_delivered
from tests.system.namespaces import FIRST, SECOND
from tests.system.system_lab import Lab

CHAIN_PORT: Final = 18_545
MEET_TIMEOUT_S: Final = 120.0


async def forward(
    port: int, *, task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED
) -> None:
    """Let the homes talk to the chain at `port` of the loopback."""

    async def pump(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        try:
            async for data in source:
                await sink.send_all(data)
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def serve(stream: trio.SocketStream) -> None:
        try:
            onward = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            return
        async with onward, trio.open_nursery() as nursery:
            nursery.start_soon(pump, stream, onward)
            nursery.start_soon(pump, onward, stream)

    await trio.serve_tcp(serve, CHAIN_PORT, host=FIRST, task_status=task_status)


def prefix_for(namespace: str | None, settings: dict[str, str]) -> tuple[str, ...]:
    """Return what starts a node in a namespace, with settings of its own."""
    inside = () if namespace is None else ("ip", "netns", "exec", namespace)
    return (*inside, "env", *(f"STOA_{name}={value}" for name, value in settings.items()))


@asynccontextmanager
async def open_story(folder: Path, home: str, cafe: str, *, translated: bool) -> AsyncGenerator[Lab, None]:
    """Start the chain and all nodes: the requester in the cafe, a seller at home, two relays here."""
    async with open_anvil(state_file=folder / "chain.json", block_time_s=BLOCK_TIME_S) as anvil:
        deployments = folder / "deployments.json"
        deployment = await deploy_local(anvil.url, terms=TERMS, path=deployments)
        overrides = {"requester.start_within_s": 60, "logging.level": "debug", "provider.credit_limit": "10"}
        places = await lay_out(
            folder,
            providers=3,
            rpc_url=f"http://{FIRST}:{CHAIN_PORT}",
            deployments=deployments,
            overrides=overrides,
        )
        requester, seller, *relays = places
        await fund(anvil.url, deployment, [requester.wallet], tokens=REQUESTER_TOKENS)
        await fund(anvil.url, deployment, [place.wallet for place in places[1:]], tokens=Amount(0))
        known = [
            f"/ip4/{host}/tcp/{relay.port}/p2p/{relay.peer}"
            for host, relay in zip((FIRST, SECOND), relays, strict=True)
        ]
        # Behind a translating router a node listens, as anybody's does, and has to find out that it is of no use.
        hidden = {"NETWORK__LISTEN_HOST": "0.0.0.0"} if translated else {"NETWORK__LISTEN": "false"}
        bootstrap = {"NETWORK__BOOTSTRAP": ",".join(known)}
        processes = {
            requester.name: NodeProcess(requester, prefix=prefix_for(cafe, hidden | bootstrap)),
            seller.name: NodeProcess(seller, prefix=prefix_for(home, hidden | bootstrap)),
        }
        for index, relay in enumerate(relays):
            settings = {
                "NETWORK__LISTEN_HOST": (FIRST, SECOND)[index],
                "NETWORK__BOOTSTRAP": known[1 - index],
                "PROVIDER__ENABLED": "false",
            }
            processes[relay.name] = NodeProcess(relay, prefix=prefix_for(None, settings))
        async with trio.open_nursery() as nursery:
            await nursery.start(forward, anvil.port)
            try:
                async with trio.open_nursery() as starting:
                    for process in processes.values():
                        starting.start_soon(process.start)
                devnet = Devnet(
                    folder=folder,
                    rpc_url=anvil.url,
                    chain_process=anvil.process,
                    deployment=deployment,
                    places=places,
                    processes=processes,
                )
                yield Lab(devnet, trio.lowlevel.current_trio_token())
            finally:
                with trio.CancelScope(shield=True):
                    for process in processes.values():
                        await process.kill()
            nursery.cancel_scope.cancel()


def count_events(place: NodePlace, event: str) -> int:
    """Return how often a node has said something."""
    lines = place.log.read_text(errors="replace").splitlines()
    return sum(json.loads(line).get("event") == event for line in lines if line.startswith("{"))


def live_circuits(place: NodePlace) -> int:
    """Return how many circuits a relay carries, as its log tells."""
    return count_events(place, "relay.circuit") - count_events(place, "relay.circuit_ended")


async def knows_both_ways(lab: Lab, asker: NodePlace, other: NodePlace) -> bool:
    """Whether `asker` knows the ways through both relays to `other`."""
    async with open_client(asker.socket) as client:
        views = await client.call(NodeFacade.peer_list)
    addresses = next((view.addresses for view in views if view.peer == other.peer), ())
    return all(any(f"/p2p/{relay.peer}/p2p-circuit" in text for text in addresses) for relay in lab.devnet.places[2:])


async def tell(folder: Path, home: str, cafe: str, *, translated: bool) -> None:
    """Live through it; what does not hold raises."""
    async with open_story(folder, home, cafe, translated=translated) as lab:
        requester, seller, *relays = lab.devnet.places
        await lab.until(
            "both know how to reach each other",
            lambda: knows_both_ways(lab, requester, seller),
            MEET_TIMEOUT_S,
        )
        before = await lab.snapshot()
        path = make_task(folder / "task", budget=CHANNEL_BUDGET, batches=32)
        task = await lab.submit(path)
        await lab.watch(requester, task, part_delivered(1))
        carrying = [relay for relay in relays if live_circuits(relay)]
        assert carrying, "no relay carries a circuit: how did the parts come?"
        killed = carrying[0]
        (other,) = [relay for relay in relays if relay is not killed]
        await lab.devnet.processes[killed.name].kill()

        detail = await lab.wait_ended(task)
        check_paid_once(detail)
        assert {part.provider for part in detail.parts} == {seller.wallet}
        assert count_events(other, "relay.circuit"), "the other relay has carried nothing"
        await check_result(lab, path, detail, folder / "out")
        await lab.settle()
        await lab.assert_books_balance(before)
        found = count_events(seller, "network.not_reachable")
        assert bool(found) is translated, f"the seller has found out {found} times that nobody can dial it"
        sys.stdout.write(f"killed {killed.name}, {other.name} went on\n")


def main() -> None:
    """Run as a program."""
    folder, home, cafe, kind = sys.argv[1:]
    trio.run(partial(tell, Path(folder), home, cafe, translated=kind == "translated"))


if __name__ == "__main__":
    main()
