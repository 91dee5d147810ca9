"""Running a node as a process: logs, signals, the control socket."""

import gc
import signal
import sys

import structlog
import trio

from node.api.server import open_control_server
from node.app.compose import open_node
from node.app.doors.facade import Doors
from node.app.garbage import set_aside
from node.config.settings import Settings
from node.operations.logs import configure_logs
from node.operations.redaction import Redactor

log = structlog.stdlib.get_logger(__name__)


def run_node(settings: Settings, password: str) -> None:
    """Run a node until it is told to end, by a signal or through its control socket.

    Raises:
        ConfigError: What the user must change.
        TransientError: The chain can't be reached, and never was.
    """
    redactor = Redactor()
    redactor.add(password)
    configure_logs(
        log_format=settings.logging.format,
        level=settings.logging.level,
        redactor=redactor,
        stream=sys.stderr,
        levels=settings.logging.levels,
    )
    gc.collect()  # of what reading the modules left, while nobody waits
    trio.run(_run, settings, password, strict_exception_groups=True)


async def _run(settings: Settings, password: str) -> None:
    stopping = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(_watch_signals, stopping)
        async with (
            open_node(settings, password, stop=stopping.set) as node,
            open_control_server(Doors(node), settings.control_socket),
        ):
            set_aside()
            log.info("node.ready", wallet=node.signer.address, addresses=node.network.addresses)
            await stopping.wait()
            log.info("node.stopping")
        nursery.cancel_scope.cancel()


async def _watch_signals(stopping: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        task_status.started()
        async for _ in received:
            stopping.set()
