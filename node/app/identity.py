"""What this node tells others of itself: its signed record, renewed before it expires."""

from collections.abc import Callable
from typing import Final

from node.operations.clock import Clock
from node.wallet.signer import Signer
from protocol.identity import Digest
from protocol.node_record import NodeAnnouncement, NodeBody, NodeRecord
from protocol.signing.keccak import keccak256
from protocol.units import UnixTime
from protocol.wire.codec import encode

LIFETIME_S: Final = 6 * 3600
RENEW_S: Final = 3600


class OwnRecord:
    """Signs the record anew when it is old, or when what it says has changed."""

    def __init__(self, signer: Signer, host_public_key: bytes, clock: Clock, body: Callable[[], NodeBody]) -> None:
        self._signer, self._host, self._clock, self._body = signer, host_public_key, clock, body
        self._current: NodeAnnouncement | None = None
        self._signed_at = 0

    def __call__(self) -> NodeAnnouncement:
        """Return the announcement that holds now."""
        now, body = self._clock.now(), self._body()
        current = self._current
        if current is None or current.body != body or now >= self._signed_at + RENEW_S:
            record = NodeRecord(
                wallet=self._signer.address,
                peer=Digest(self._host),
                body=keccak256(encode(body)),
                # Seconds grow across restarts too; the newest sequence of a wallet wins.
                sequence=max(now, self._signed_at + 1),
                expires=UnixTime(now + LIFETIME_S),
            )
            current = NodeAnnouncement(record=self._signer.sign(record), body=body)
            self._current, self._signed_at = current, max(now, self._signed_at + 1)
        return current
