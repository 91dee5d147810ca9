"""The two small protocols that other libp2p implementations expect of any peer: identify and ping.

We answer both and ask neither. What other peers would tell about themselves by identify is unsigned hearsay; here
addresses come from records that a wallet signed.
"""

from typing import Final

from libp2p.identity.identify.pb.identify_pb2 import Identify
from multiaddr import Multiaddr

from node.networking.libp2p.connection import ProtocolStream
from node.networking.libp2p.negotiation import encode_varint
from node.networking.libp2p.switch import Switch

IDENTIFY: Final = "/ipfs/id/1.0.0"
PING: Final = "/ipfs/ping/1.0.0"
PING_BYTES: Final = 32
MAX_PINGS: Final = 1000
"""On one stream; an honest peer opens another one after these."""


def answer_identify_and_ping(switch: Switch, protocols: tuple[str, ...]) -> None:
    """Register both handlers; `protocols` is what identify says that we speak."""

    async def identify(stream: ProtocolStream) -> None:
        message = Identify(
            protocol_version="stoa/1",
            agent_version="stoa",
            public_key=switch.identity.key_pair.public_key.serialize(),
            listen_addrs=[
                Multiaddr(str(address)).to_bytes() for address in switch.listening if address.kind != "memory"
            ],
            protocols=[*protocols, IDENTIFY, PING],
        ).SerializeToString()
        await stream.write(encode_varint(len(message)) + message)

    async def ping(stream: ProtocolStream) -> None:
        for _ in range(MAX_PINGS):
            await stream.write(await stream.read_exactly(PING_BYTES))

    switch.handle(IDENTIFY, identify)
    switch.handle(PING, ping)
