"""Structured logs: one event name and its fields a line, for people or for machines.

Modules log through `structlog.stdlib.get_logger(__name__)`; what libraries log through `logging` takes the same way.
"""

import json
import logging
import sys
import time
from collections.abc import Callable, Generator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, Final, Literal, TextIO, TypeAlias

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import Processor

from node.operations.redaction import Redactor

TRACE_ID_BYTES: Final = 16

LogFormat: TypeAlias = Literal["console", "json"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]

EVENTS_PER_S: Final = 10.0
EVENTS_AT_ONCE: Final = 500.0
"""Of one event name: what twenty tasks at once say of themselves passes."""
_NEVER_DROPPED: Final = frozenset({"error", "exception", "critical"})
_MAX_NAMES: Final = 4096
_LONGEST_NAME: Final = 200

# What these say at INFO is about themselves.
_QUIET: Final = (
    "libp2p",
    "httpx",
    "httpcore",
    "web3",
    "alembic",
    "sqlalchemy",
    "async_service",
    "anycorn",
    "multiaddr",
)


class Flood(logging.Filter):
    """Of each event below an error so many a second; the next one tells how many were left out.

    Much of what is logged is what strangers did, as often as they like: without this they could fill the disk, and use
    up the node's time by having it told (docs/adr/1515). A structlog processor for our events; a filter of the handler
    for those of libraries, which are told apart by their texts before these are filled in.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._levels: dict[str, tuple[float, float, int]] = {}
        """By event: how many may still pass, as of when, and how many did not."""

    def __call__(self, _logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Let an event of ours pass, or drop it."""
        if method in _NEVER_DROPPED:
            return event
        dropped = self._left_out_before(str(event.get("event")))
        if dropped is None:
            raise structlog.DropEvent
        if dropped:
            event["left_out"] = dropped
        return event

    def filter(self, record: logging.LogRecord) -> bool:
        """Let a record of a library pass, or drop it; ours have been counted."""
        if isinstance(record.msg, dict) or record.levelno >= logging.ERROR:
            return True
        dropped = self._left_out_before(str(record.msg))
        if dropped:
            record.left_out = dropped
        return dropped is not None

    def _left_out_before(self, name: str) -> int | None:
        """Return how many of this name were left out since the last one; None if this one is, too."""
        name, now = name[:_LONGEST_NAME], self._clock()
        left, since, dropped = self._levels.get(name, (EVENTS_AT_ONCE, now, 0))
        left = min(EVENTS_AT_ONCE, left + (now - since) * EVENTS_PER_S)
        if left < 1:
            self._levels[name] = (left, now, dropped + 1)
            return None
        self._levels[name] = (left - 1, now, 0)
        if len(self._levels) > _MAX_NAMES:
            del self._levels[next(iter(self._levels))]
        return dropped


class _SafeFormatter(structlog.stdlib.ProcessorFormatter):
    """Formats, then hides secrets in the finished line."""

    def __init__(self, redactor: Redactor, **options: Any) -> None:
        super().__init__(**options)
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return self._redactor.clean_text(super().format(record))


def configure_logs(
    *,
    log_format: LogFormat,
    level: LogLevel,
    redactor: Redactor,
    stream: TextIO = sys.stderr,
    levels: Mapping[str, LogLevel] | None = None,
) -> None:
    """Send all logs of this process to `stream`. Call it once, early; a second call replaces the first.

    Args:
        log_format: `console` for people (coloured on a terminal), `json` for one object a line.
        level: Least level shown.
        redactor: Hides secrets.
        stream: Where to.
        levels: Other levels for loggers by name, such as `{"node.networking": "debug"}`.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redactor.clean_fields,
        _write_bytes_as_hex,
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        _SafeFormatter(
            redactor,
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(allow=["left_out"]), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(log_format, stream)],
        )
    )
    flood = Flood()
    handler.addFilter(flood)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        library = logging.getLogger(name)
        library.setLevel(max(logging.WARNING, root.level))
        # py-libp2p cuts itself off when imported; then its warnings would go out unformatted, past the redactor.
        library.propagate = True
    for name, its_level in (levels or {}).items():
        logging.getLogger(name).setLevel(its_level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            flood,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # loggers are made at import, before this
    )


@contextmanager
def logging_task(task_id: bytes) -> Generator[None]:
    """Put `task_id` and the trace of the task on every line logged in the block, in tasks started there and in threads.

    The trace id is the same on every node that deals with the task, and in its spans (docs/adr/1313): it follows from
    the id, so nothing has to travel for it.
    """
    with structlog.contextvars.bound_contextvars(task_id=f"0x{task_id.hex()}", trace_id=trace_id_of(task_id).hex()):
        yield


def trace_id_of(task_id: bytes) -> bytes:
    """Return the trace id of a task (W3C Trace Context, 16 bytes, section 3.2.2.3): the beginning of its id."""
    return task_id[:TRACE_ID_BYTES].ljust(TRACE_ID_BYTES, b"\x00")


def _rendering(log_format: LogFormat, stream: TextIO) -> list[Processor]:
    # A traceback with local variables would show keys and passwords, so neither format has them.
    match log_format:
        case "json":
            return [
                structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
                structlog.processors.JSONRenderer(serializer=json.dumps, default=str),
            ]
        case "console":
            colors = stream.isatty()
            return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)]


def _write_bytes_as_hex(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if isinstance(value, bytes):
            event[name] = f"0x{value.hex()}"
    return event
