"""The messages of circuits: every value survives, every other input is refused, and a voucher binds what it says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.relay.circuit_v2.pb import circuit_pb2

from node.networking.addresses import parse_peer_address
from node.networking.libp2p.circuit_codec import (
    binary_address,
    decode_hop,
    decode_stop,
    encode_hop,
    encode_stop,
    frame,
    make_voucher,
    peer_bytes,
    read_frame,
    verify_voucher,
)
from node.networking.libp2p.secure import Identity
from node.networking.relay.messages import (
    MAX_MESSAGE_BYTES,
    BadCircuitMessage,
    HopKind,
    HopMessage,
    Limit,
    Reservation,
    Status,
    StopKind,
    StopMessage,
)
from protocol.node_record import peer_id_of

RELAY, OTHER = Identity(b"\x01" * 32), Identity(b"\x02" * 32)
PEERS = st.binary(min_size=32, max_size=32).filter(any).map(peer_id_of)
LIMITS = st.builds(Limit, duration_s=st.integers(0, 2**32 - 1), data_bytes=st.integers(0, 2**64 - 1))
RESERVATIONS = st.builds(
    Reservation,
    expires=st.integers(0, 2**64 - 1),
    addresses=st.lists(st.binary(max_size=40), max_size=4).map(tuple),
    voucher=st.binary(max_size=40),
)
HOPS = st.builds(
    HopMessage,
    kind=st.sampled_from(HopKind),
    peer=st.none() | PEERS,
    reservation=st.none() | RESERVATIONS,
    limit=st.none() | LIMITS,
    status=st.sampled_from(Status),
)
STOPS = st.builds(
    StopMessage,
    kind=st.sampled_from(StopKind),
    peer=st.none() | PEERS,
    limit=st.none() | LIMITS,
    status=st.sampled_from(Status),
)


class Bytes:
    """A source of some bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read_exactly(self, size: int) -> bytes:
        out, self._data = self._data[:size], self._data[size:]
        assert len(out) == size
        return out


@given(message=HOPS)
def test_a_hop_message_survives(message: HopMessage) -> None:
    assert decode_hop(encode_hop(message)) == message


@given(message=STOPS)
def test_a_stop_message_survives(message: StopMessage) -> None:
    assert decode_stop(encode_stop(message)) == message


@given(data=st.binary(max_size=200))
def test_garbage_is_a_message_or_a_typed_error(data: bytes) -> None:
    for decode in (decode_hop, decode_stop):
        try:
            decode(data)
        except BadCircuitMessage:
            continue


@given(message=HOPS, cut=st.integers(0, 300), flipped=st.integers(0, 300), bit=st.integers(0, 7))
def test_a_damaged_message_is_another_one_or_a_typed_error(
    message: HopMessage, cut: int, flipped: int, bit: int
) -> None:
    data = bytearray(encode_hop(message))
    data[flipped % len(data)] ^= 1 << bit
    try:
        decode_hop(bytes(data[: max(1, len(data) - cut)]))
    except BadCircuitMessage:
        return


def test_a_status_that_nobody_knows_is_no_success() -> None:
    raw = b"\x08\x02\x28\xe7\x07"  # type STATUS, status 999
    assert decode_hop(raw).status is Status.UNUSED


@pytest.mark.parametrize("raw", [b"", b"\x08\x03", b"\x12\x00", b"\x08\x01\x12\x02\x0a\x00"])
def test_a_message_without_a_type_or_with_a_peer_of_no_key_is_refused(raw: bytes) -> None:
    with pytest.raises(BadCircuitMessage):
        decode_hop(raw)


def test_a_peer_of_another_kind_of_key_is_refused() -> None:
    message = circuit_pb2.HopMessage(type=circuit_pb2.HopMessage.CONNECT)
    message.peer.id = b"\x12\x20" + b"\x07" * 32  # a hash, as RSA keys have
    with pytest.raises(BadCircuitMessage, match="Ed25519"):
        decode_hop(message.SerializeToString())


async def test_a_frame_is_read_to_its_end_and_no_further() -> None:
    for size in (0, 1, 127, 128, MAX_MESSAGE_BYTES):
        stream = Bytes(frame(bytes(size)) + b"rest")
        assert await read_frame(stream) == bytes(size)
        assert await stream.read_exactly(4) == b"rest"


@pytest.mark.parametrize("head", [b"\x81\x20", b"\xff\x7f", b"\xff\xff\x01", b"\xff\xff\xff\xff\xff\x01"])
async def test_a_frame_that_is_too_long_is_refused_before_it_is_read(head: bytes) -> None:
    with pytest.raises(BadCircuitMessage, match="more than 4096"):
        await read_frame(Bytes(head))


def test_a_voucher_binds_relay_peer_and_time() -> None:
    sign = RELAY.key_pair.private_key.sign
    voucher = make_voucher(sign, RELAY.peer, OTHER.peer, 1_800_000_000)
    verify_voucher(voucher, RELAY.peer, OTHER.peer, 1_800_000_000)
    for relay, peer, expires in (
        (OTHER.peer, OTHER.peer, 1_800_000_000),
        (RELAY.peer, RELAY.peer, 1_800_000_000),
        (RELAY.peer, OTHER.peer, 1_800_000_001),
    ):
        with pytest.raises(BadCircuitMessage):
            verify_voucher(voucher, relay, peer, expires)
    forged = make_voucher(OTHER.key_pair.private_key.sign, RELAY.peer, OTHER.peer, 1_800_000_000)
    with pytest.raises(BadCircuitMessage, match="did not sign"):
        verify_voucher(forged, RELAY.peer, OTHER.peer, 1_800_000_000)


def test_every_flipped_bit_of_a_voucher_is_noticed() -> None:
    voucher = make_voucher(RELAY.key_pair.private_key.sign, RELAY.peer, OTHER.peer, 1_800_000_000)
    accepted: list[int] = []
    for position in range(len(voucher) * 8):
        broken = bytearray(voucher)
        broken[position // 8] ^= 1 << position % 8
        try:
            verify_voucher(bytes(broken), RELAY.peer, OTHER.peer, 1_800_000_000)
        except BadCircuitMessage:
            continue
        accepted.append(position)
    assert accepted == []


def test_addresses_are_written_as_other_implementations_do() -> None:
    place = parse_peer_address("/ip4/1.2.3.4/tcp/5").at(RELAY.peer)
    assert binary_address(place) == bytes.fromhex("0401020304060005a50326") + peer_bytes(RELAY.peer)
