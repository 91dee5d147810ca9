"""What can go wrong between two nodes.

TransientError
├── PeerUnreachable    no connection, and none can be made now
├── PeerTimeout        the peer took longer than the deadline
├── PeerBusy           the peer has no room for this request now
├── BlobUnavailable    the peer doesn't have the blob, or not for us
├── BaseUnfit          what the peer packed against an earlier blob is wrong, or our copy of that is
└── NoHolderLeft       several peers were asked for a blob, and each failed in its way
ProtocolError
├── RemoteRefused      the peer's handler said no, and why
├── PeerMisbehaved     the peer broke the wire protocol
│   └── BlobCorrupt    bytes that do not belong to the digest
├── MessageTooLarge    what we, or the peer, wanted to send is over the limit
└── BadPeerAddress     a text that is no address of a peer
ConfigError
└── PortInUse          another program listens there already

Whoever catches one knows from its root who must act (protocol/errors.py).
"""

from collections.abc import Sequence

from protocol.errors import ConfigError, ProtocolError, StoaError, TransientError
from protocol.identity import ContentDigest, PeerId


class PeerUnreachable(TransientError):
    """No connection to the peer, and none of its known addresses answers."""

    def __init__(self, peer: PeerId | str, reason: str) -> None:
        super().__init__(f"{peer} can't be reached: {reason}")
        self.peer = peer


class PeerTimeout(TransientError):
    """The peer did not answer within the deadline."""

    def __init__(self, peer: PeerId | str, what: str, *, after_s: float) -> None:
        super().__init__(f"{peer} did not answer {what} within {after_s:g} s")
        self.peer = peer


class PeerBusy(TransientError):
    """The peer refused for lack of room; the same request may pass later."""


class BlobUnavailable(TransientError):
    """The peer doesn't serve this blob: it may not hold it, or not serve it to us. It won't say which."""

    def __init__(self, peer: PeerId, digest: ContentDigest) -> None:
        super().__init__(f"{peer} does not serve blob {digest.hex()}")
        self.peer, self.digest = peer, digest


class BaseUnfit(TransientError):
    """A group that was packed against a base does not come out right: the peer lies, or our copy of the base is bad."""

    def __init__(self, peer: PeerId, base: ContentDigest) -> None:
        super().__init__(f"what {peer} packed against blob {base.hex()} does not unpack to what it should")
        self.peer, self.base = peer, base


class NoHolderLeft(TransientError):
    """Every peer that was asked for a blob has failed, not all for the same reason.

    Attributes:
        reasons: One for each.
    """

    def __init__(self, digest: ContentDigest, reasons: Sequence[StoaError]) -> None:
        super().__init__(f"nobody is left to get blob {digest.hex()} from: {'; '.join(map(str, reasons))}")
        self.digest, self.reasons = digest, tuple(reasons)


class RemoteRefused(ProtocolError):
    """A peer's handler refused the request.

    Attributes:
        code: Name of the error at the peer, at most 64 ASCII characters. The peer chose it: never act on it alone.
        text: The peer's words, at most 1,000 printable characters.
    """

    def __init__(self, peer: PeerId, method: str, code: str, text: str) -> None:
        super().__init__(f"{peer} refused {method}: {code}: {text}")
        self.peer, self.method, self.code, self.text = peer, method, code, text


class PeerMisbehaved(ProtocolError):
    """A peer sent what no honest peer sends."""


class BlobCorrupt(PeerMisbehaved):
    """A peer sent bytes that do not belong to the digest asked for."""


class MessageTooLarge(ProtocolError):
    """A message is over the limit of its kind."""

    def __init__(self, what: str, *, size: int, limit: int) -> None:
        super().__init__(f"{what} has {size} bytes, at most {limit} are allowed")
        self.size, self.limit = size, limit


class BadPeerAddress(ProtocolError):
    """A text that is no address of a peer."""

    def __init__(self, text: str, why: str) -> None:
        super().__init__(
            f"{text!r} is no address of a peer: {why}",
            advice="Write it like /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW...",
        )


class PortInUse(ConfigError):
    """Another program listens on the port that the node was told to use."""

    def __init__(self, address: str, port: int) -> None:
        super().__init__(
            f"port {port} is in use: the node can't listen on {address}",
            advice=f"Stop the program that holds port {port}, or set another port (0 picks a free one).",
        )
        self.port = port
