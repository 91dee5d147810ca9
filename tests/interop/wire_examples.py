"""The bytes that docs/spec/wire-examples.md shows: made by the code here, read from the page there.

`python -m tests.interop.wire_examples` prints what the page has to say when the code has changed on purpose.
"""

import re
from collections.abc import Callable
from typing import Final

from blake3 import blake3
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.validators import PUBSUB_SIGNING_PREFIX

from node.networking.addresses import parse_peer_address
from node.networking.discovery import PeersExchange
from node.networking.frames import Kind, encode_frame, encode_named
from node.networking.libp2p.circuit_codec import binary_address, encode_hop, encode_stop, frame, make_voucher
from node.networking.libp2p.negotiation import HEADER, encode_varint
from node.networking.libp2p.secure import NOISE, Identity
from node.networking.relay.messages import (
    HopKind,
    HopMessage,
    Limit,
    Reservation,
    Status,
    StopKind,
    StopMessage,
)
from node.networking.relay.reach import ReachAnswer, ReachQuestion
from node.networking.settings import RelayLimits
from node.storage.blake3_tree import group_cv
from protocol.market.messages import (
    BidAnnouncement,
    CommitmentAnnouncement,
    RollAnnouncement,
    encode_message,
)
from protocol.market.objects import RollLeaf, SealedBid
from protocol.market.roll import make_roll
from protocol.market.sealing import bid_for, commitment_of, seal
from protocol.node_record import NodeBody, announce_node, host_public_key
from protocol.signing.eip712 import digest, domain_separator, encode_words, struct_hash, type_string
from protocol.signing.keccak import Digest, keccak256
from protocol.signing.merkle import leaf_hash
from protocol.signing.signed import sign_struct
from protocol.task.verification import Audit, Trust, Verification
from protocol.units import Amount, BasisPoints, Seconds
from protocol.wire.codec import encode
from protocol.wire.topics import MarketTopic, topic_name
from tests.interop.wire_schema import SPEC
from tests.vectors.generate import MARKET, NOW, address_for, key_of

PAGE: Final = SPEC / "wire-examples.md"
HOST_SEED: Final = b"\x01" * 32
SEQUENCE: Final = NOW << 32
CONTENT: Final = b"hello"
GROUPS: Final = (bytes(2**20), b"\1")
BODY: Final = NodeBody(addresses=("/ip4/192.0.2.7/tcp/4600",))

TARGET: Final = Identity(b"\x02" * 32).peer
"""The host behind the relay."""
CIRCUIT_LIMIT: Final = Limit(duration_s=RelayLimits().circuit_s, data_bytes=RelayLimits().circuit_bytes)

_OFFER: Final = Digest(b"\x11" * 32)
_SEALED: Final = SealedBid(
    offer=_OFFER, bidder=address_for("bob"), price=Amount(300_000), eta=Seconds(6), salt=Digest(b"\x55" * 32)
)


def _roll() -> RollAnnouncement:
    leaf = RollLeaf(
        commitment=digest(MARKET, commitment_of(_SEALED)), bidder=address_for("bob"), reputation=BasisPoints(2113)
    )
    roll = make_roll(_OFFER, (leaf,))
    return RollAnnouncement(signed=sign_struct(key_of("alice"), MARKET, roll), leaves=(leaf,))


def _commitment() -> CommitmentAnnouncement:
    return CommitmentAnnouncement(signed=sign_struct(key_of("bob"), MARKET, commitment_of(_SEALED)))


def _bid() -> BidAnnouncement:
    roll_id = digest(MARKET, _roll().signed.value)
    return BidAnnouncement(signed=sign_struct(key_of("bob"), MARKET, bid_for(_SEALED, roll_id)))


def _peers() -> PeersExchange:
    own = announce_node(
        key_of("bob"),
        MARKET,
        wallet=address_for("bob"),
        host_key=host_public_key(Identity(HOST_SEED).peer),
        body=BODY,
        sequence=NOW,
        expires=NOW + 3600,
    )
    return PeersExchange(own=own, wanted=32)


def _gossip_message() -> rpc_pb2.Message:
    identity = Identity(HOST_SEED)
    message = rpc_pb2.Message(
        data=encode_message(_commitment()),
        topicIDs=[topic_name(MARKET, MarketTopic.COMMITMENTS)],
        from_id=identity.id.to_bytes(),
        seqno=SEQUENCE.to_bytes(8),
    )
    message.signature = identity.key_pair.private_key.sign(PUBSUB_SIGNING_PREFIX.encode() + message.SerializeToString())
    return message


def _reserved() -> bytes:
    relay = Identity(HOST_SEED)
    expires = NOW + RelayLimits().reservation_s
    place = parse_peer_address(BODY.addresses[0]).at(relay.peer)
    voucher = make_voucher(relay.key_pair.private_key.sign, relay.peer, TARGET, expires)
    reservation = Reservation(expires=expires, addresses=(binary_address(place),), voucher=voucher)
    return frame(
        encode_hop(HopMessage(kind=HopKind.STATUS, status=Status.OK, reservation=reservation, limit=CIRCUIT_LIMIT))
    )


def _rpc(rpc: rpc_pb2.RPC) -> bytes:
    body = rpc.SerializeToString()
    return encode_varint(len(body)) + body


def _token(text: str) -> bytes:
    return encode_varint(len(text) + 1) + text.encode() + b"\n"


def _subscription() -> bytes:
    topic = topic_name(MARKET, MarketTopic.COMMITMENTS)
    return _rpc(rpc_pb2.RPC(subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid=topic)]))


_COMMITMENT: Final = commitment_of(_SEALED)
EXAMPLES: Final[dict[str, Callable[[], bytes]]] = {
    "negotiation": lambda: _token(HEADER) + _token(NOISE),
    "sealed words": lambda: encode_words(_SEALED),
    "sealed hash": lambda: seal(_SEALED),
    "Commitment": lambda: encode(_COMMITMENT),
    "domain separator": lambda: domain_separator(MARKET),
    "type hash": lambda: keccak256(type_string(type(_COMMITMENT)).encode()),
    "struct hash": lambda: struct_hash(_COMMITMENT),
    "digest": lambda: digest(MARKET, _COMMITMENT),
    "signature": lambda: _commitment().signed.signature,
    "MarketMessage commitment": lambda: encode_message(_commitment()),
    "leaf words": lambda: encode_words(_roll().leaves[0]),
    "leaf": lambda: leaf_hash(encode_words(_roll().leaves[0])),
    "MarketMessage roll": lambda: encode_message(_roll()),
    "roll digest": lambda: digest(MARKET, _roll().signed.value),
    "MarketMessage bid": lambda: encode_message(_bid()),
    "Trust": lambda: encode(Trust(), Verification),
    "Audit": lambda: encode(Audit(rate=BasisPoints(500)), Verification),
    "NodeBody": lambda: encode(BODY),
    "PeersExchange": lambda: encode(_peers()),
    "request": lambda: encode_frame(Kind.REQUEST, 1, encode_named("peers", encode(PeersExchange(own=None, wanted=32)))),
    "answer": lambda: encode_frame(Kind.ANSWER, 1, encode(PeersExchange(own=None))),
    "refusal": lambda: encode_frame(Kind.REFUSAL, 2, encode_named("UnknownMethod", b"no/such is not served here")),
    "cancel": lambda: encode_frame(Kind.CANCEL, 2),
    "blob request": lambda: blake3(CONTENT).digest() + (0).to_bytes(8),
    "blob answer": lambda: b"\0" + len(CONTENT).to_bytes(8) + CONTENT,
    "chaining values": lambda: b"".join(group_cv(each, index) for index, each in enumerate(GROUPS)),
    "blob of two groups": lambda: blake3(b"".join(GROUPS)).digest(),
    "subscription": _subscription,
    "gossip": lambda: _rpc(rpc_pb2.RPC(publish=[_gossip_message()])),
    "hop reserve": lambda: frame(encode_hop(HopMessage(kind=HopKind.RESERVE))),
    "hop reserved": _reserved,
    "hop connect": lambda: frame(encode_hop(HopMessage(kind=HopKind.CONNECT, peer=TARGET))),
    "stop connect": lambda: frame(
        encode_stop(StopMessage(kind=StopKind.CONNECT, peer=Identity(HOST_SEED).peer, limit=CIRCUIT_LIMIT))
    ),
    "stop status": lambda: frame(encode_stop(StopMessage(kind=StopKind.STATUS, status=Status.OK))),
    "hop no reservation": lambda: frame(encode_hop(HopMessage(kind=HopKind.STATUS, status=Status.NO_RESERVATION))),
    "ReachQuestion": lambda: encode(ReachQuestion(port=4600)),
    "ReachAnswer": lambda: encode(ReachAnswer(host="192.0.2.7", reached=True)),
}
"""What each block of the page must contain, by its name there."""


def examples_of_the_page() -> dict[str, bytes]:
    """Read the blocks of the page: lines of hexadecimal digits, each with a note behind a `#`."""
    found: dict[str, bytes] = {}
    for name, block in re.findall(r"^```hex (.+)\n((?:.*\n)*?)```$", PAGE.read_text(), flags=re.MULTILINE):
        assert name not in found, f"{name} is shown twice"
        found[name] = bytes.fromhex(" ".join(line.partition("#")[0] for line in block.splitlines()))
    return found


if __name__ == "__main__":
    for example_name, make in EXAMPLES.items():
        print(f"```hex {example_name}\n{make().hex()}\n```")  # noqa: T201
