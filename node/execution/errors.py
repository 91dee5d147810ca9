"""What can go wrong around a run, by who must act. A program that fails is no error: it has an outcome.

ProtocolError
├── InvalidModule      the bytes are no module that the engine runs (outcome 192)
└── InvalidJob         the caller asked for a run that no worker can be given
TransientError
├── CompileLimit       compiling took more time or memory than this node gives (unjudged)
└── WorkerUnavailable  a worker process could not be started
StorageError
└── ArtifactDamaged    a compiled module on disk is not the one that was written (it is compiled anew)
"""

from protocol.errors import ProtocolError, StorageError, TransientError


class InvalidModule(ProtocolError):
    """Bytes that are no module that the engine runs: malformed, text, unknown imports, no entry, over a cap."""


class InvalidJob(ProtocolError):
    """A run that no worker can be given: a hostile guest path, a negative limit, too many files."""


class CompileLimit(TransientError):
    """Compiling hit the time or memory that this node gives to it: a compile bomb, or a small machine."""


class WorkerUnavailable(TransientError):
    """A worker process did not start."""


class ArtifactDamaged(StorageError):
    """A compiled module whose bytes are not those that this node wrote."""
