"""The error tree. It answers one question: who acts?

    StoaError
    ├── ProtocolError    a peer or a caller broke a rule of docs/spec: reject, perhaps score down
    ├── TransientError   the world is not ready: wait and try again
    ├── ChainRejected    a contract said no, and why
    ├── StorageError     the disk or what stands on it: the operator must look
    └── ConfigError      the user must change something before the node can start

Bugs are none of these and are never caught.
"""


class StoaError(Exception):
    """Anything that Stoa raises on purpose.

    Attributes:
        advice: What the reader can do next; may be empty.
    """

    advice: str = ""

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        if advice:
            self.advice = advice


class ProtocolError(StoaError):
    """A peer or a caller broke a rule of docs/spec; no state changed."""


class UnexpectedEvent(ProtocolError):
    """An event for which a state machine's present state has no row."""


class TransientError(StoaError):
    """What failed may well succeed later, unchanged."""


class ChainRejected(StoaError):
    """A contract reverted."""


class StorageError(StoaError):
    """Data on disk is not what it must be, or can't be written."""


class ConfigError(StoaError):
    """The node can't start or go on with what the user gave it."""
