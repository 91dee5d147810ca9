"""What the market tells the network of a message: relay it, drop it, or blame whoever sent it."""

from collections.abc import Awaitable, Callable

import pytest

from node.market.gossip import MarketGossip
from node.operations.clock import SystemClock
from protocol.errors import ProtocolError
from protocol.identity import Address, PeerId
from protocol.signing.eip712 import Domain
from protocol.wire.topics import MarketTopic, topic_name

DOMAIN = Domain(chain_id=31337, verifying_contract=Address(b"\xe5" * 20))
UNKNOWN_MEMBER = bytes.fromhex("9208a46e657773")
"""`[8, "news"]`: a union of this release ends at 7."""


class Listening:
    """Peers that only remember who judges which topic."""

    def __init__(self) -> None:
        self.judges: dict[str, Callable[[bytes], bool]] = {}

    async def publish(self, topic: str, data: bytes) -> None:
        raise NotImplementedError

    def subscribe(
        self, topic: str, *, judge: Callable[[bytes], bool], deliver: Callable[[bytes], Awaitable[None]]
    ) -> None:
        self.judges[topic] = judge

    def serve(self, method: str, handler: Callable[[PeerId, bytes], Awaitable[bytes]], *, max_request: int) -> None:
        assert max_request

    async def call(self, wallet: Address, method: str, body: bytes) -> bytes:
        raise NotImplementedError


@pytest.fixture
def judges() -> dict[str, Callable[[bytes], bool]]:
    peers = Listening()
    MarketGossip(DOMAIN, Address(bytes(20)), peers, SystemClock()).join()
    return {topic.value.label: peers.judges[topic_name(DOMAIN, topic)] for topic in MarketTopic}


@pytest.mark.parametrize("label", [topic.value.label for topic in MarketTopic])
def test_a_member_that_only_a_newer_release_knows_is_dropped_and_nobody_is_blamed(
    judges: dict[str, Callable[[bytes], bool]], label: str
) -> None:
    assert judges[label](UNKNOWN_MEMBER) is False


@pytest.mark.parametrize("label", [topic.value.label for topic in MarketTopic])
def test_bytes_that_no_release_could_mean_are_the_forwarders_fault(
    judges: dict[str, Callable[[bytes], bool]], label: str
) -> None:
    for garbage in (b"", b"\xc1", UNKNOWN_MEMBER + b"\0", b"\x93\x01\x02\x03", b"\x80"):
        with pytest.raises(ProtocolError):
            judges[label](garbage)
