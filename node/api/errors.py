"""What can be wrong at the control socket, and who acts.

ConfigError     NodeNotRunning, ControlSocketInUse, ControlSocketUnusable, ForeignSocket
TransientError  ConnectionLost, TooManyClients
ProtocolError   BadRequest, RemoteProtocolError
"""

from pathlib import Path
from typing import Final

from protocol.errors import ChainRejected, ConfigError, ProtocolError, StoaError, StorageError, TransientError


class NodeNotRunning(ConfigError):
    """Nobody answers at the control socket."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"no node answers at {path}",
            advice="Start one with `stoa run`, or say where it is with --data-dir, --config or --socket.",
        )


class ControlSocketInUse(ConfigError):
    """Another node answers at the path."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"another node answers at {path}",
            advice="Stop that node first, or give this one another api.control_socket.",
        )


class ControlSocketUnusable(ConfigError):
    """The socket can't be made."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"the control socket {path} can't be used: {reason}",
            advice="Set api.control_socket to a path in a folder that only this user can write.",
        )


class ForeignSocket(ConfigError):
    """The process at the socket belongs to another user."""

    def __init__(self, path: Path, uid: int) -> None:
        super().__init__(
            f"the process at {path} belongs to user {uid}",
            advice="Run the command as the user who runs the node.",
        )


class ConnectionLost(TransientError):
    """The other end of the control socket went away in the middle."""

    advice = "See whether the node still runs: stoa status."


class TooManyClients(TransientError):
    """The node serves as many commands as it can."""

    advice = "End other stoa commands of this node (task watch, ...), then try again."


class BadRequest(ProtocolError):
    """A line that is no request, or asks for what is not there."""


class RemoteError(StoaError):
    """A refusal of the node, as it came over the socket.

    Attributes:
        kind: Name of the error's class in the node.
    """

    kind: str = ""


class RemoteRefusal(RemoteError, ProtocolError):
    """A rule of the protocol, or a bad request."""


class RemoteTransient(RemoteError, TransientError):
    """It may succeed later."""


class RemoteChainRejected(RemoteError, ChainRejected):
    """A contract said no."""


class RemoteStorage(RemoteError, StorageError):
    """The node's disk."""


class RemoteConfig(RemoteError, ConfigError):
    """The node's configuration."""


class RemoteBug(RemoteError):
    """The node met a bug; its log has the traceback."""


BUG: Final = "bug"
_FAMILIES: Final[tuple[tuple[str, type[StoaError], type[RemoteError]], ...]] = (
    ("refused", ProtocolError, RemoteRefusal),
    ("transient", TransientError, RemoteTransient),
    ("chain", ChainRejected, RemoteChainRejected),
    ("storage", StorageError, RemoteStorage),
    ("config", ConfigError, RemoteConfig),
)


def family_of(error: StoaError) -> str:
    """Return which branch of the error tree `error` is on, as the wire names it.

    What is on none, such as a wallet with too little money, was raised on purpose all the same: refused, and no bug.
    """
    return next((name for name, root, _ in _FAMILIES if isinstance(error, root)), "refused")


def rebuild(family: str, kind: str, message: str, advice: str) -> RemoteError:
    """Return the error that the node reported, on the same branch of the tree."""
    cls = next((remote for name, _, remote in _FAMILIES if name == family), RemoteBug)
    error = cls(message, advice=advice)
    error.kind = kind
    return error
