"""The whole examination, in the order in which things are mended: what comes first is what the rest stands on."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import trio

from node.api.client import open_client
from node.api.errors import NodeNotRunning
from node.api.facade import NodeFacade
from node.app.doctor.chain import check_chain, check_peers_clocks
from node.app.doctor.database import check_database
from node.app.doctor.finding import Check, Finding, Patient, Running, broken, look, ok
from node.app.doctor.keys import check_keys, check_password_file
from node.app.doctor.machine import (
    check_descriptors,
    check_disk_speed,
    check_folder,
    check_python,
    check_sandbox,
)
from node.app.doctor.reach import check_address, check_bootstrap, check_peers, check_port
from node.app.doctor.watch import check_towers
from node.config.settings import Settings
from protocol.errors import StoaError

ASK_TIMEOUT_S: Final = 15.0

CHECKS: Final[tuple[tuple[str, Check], ...]] = (
    ("engine", check_python),
    ("data folder", check_folder),
    ("disk speed", check_disk_speed),
    ("database", check_database),
    ("descriptors", check_descriptors),
    ("password file", check_password_file),
    ("keys", check_keys),
    ("port", check_port),
    ("address", check_address),
    ("bootstrap", check_bootstrap),
    ("peers", check_peers),
    ("chain", check_chain),
    ("clock and peers", check_peers_clocks),
    ("watchtowers", check_towers),
    ("sandbox", check_sandbox),
)


async def examine(settings: Settings, password: str | None) -> list[Finding]:
    """Make every check, one after the other so that none disturbs another, and return what was found, in order.

    Args:
        settings: As the node would read them.
        password: Of the key files; None leaves them unopened.
    """
    running, found = await _meet(settings.control_socket)
    patient = Patient(settings=settings, password=password, running=running)
    for name, check in CHECKS:
        found += await look(name, check, patient)
    return found


async def _meet(socket: Path) -> tuple[Running | None, list[Finding]]:
    """Ask the node whether it runs, and how it is."""
    try:
        with trio.fail_after(ASK_TIMEOUT_S):
            async with AsyncExitStack() as stack:
                client = await stack.enter_async_context(open_client(socket))
                status = await client.call(NodeFacade.node_status)
                peers = await client.call(NodeFacade.peer_list)
                watch = await client.call(NodeFacade.watch_show)
    except NodeNotRunning:
        return None, [ok("node", "not running; what follows is what it would find")]
    except trio.TooSlowError:
        advice = "it hangs: look at its log, then restart it"
        return None, [broken("node", f"something listens on {socket} and does not answer", advice)]
    except StoaError as error:
        return None, [broken("node", str(error), error.advice)]
    found = [ok("node", f"running, release {status.version}")]
    found += [
        broken("health", f"{each.name}: {each.detail}", "see the node's log") for each in status.health if not each.ok
    ]
    return Running(status=status, peers=peers, watch=watch), found
