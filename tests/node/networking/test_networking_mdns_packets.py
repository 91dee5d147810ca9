# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from zeroconf._dns import DNSPointer, DNSQuestion, DNSText
from zeroconf._protocol.incoming import DNSIncoming
from zeroconf._protocol.outgoing import DNSOutgoing

from node.networking.mdns.packets import (
    MAX_ADDRESSES,
    MAX_PACKET_BYTES,
    BadPacket,
    decode_packet,
    encode_answer,
    encode_query,
)

SERVICE = "_p2p._udp.local."
NAME = f"abc.{SERVICE}"
ADDRESSES = ("/ip4/192.168.1.7/tcp/4600/p2p/12D3KooWx", "/ip6/fe80::1/tcp/4600/p2p/12D3KooWx")
HEADER = struct.Struct("!6H")


def test_what_we_write_we_read() -> None:
    query = decode_packet(encode_query())
    assert query.asks
    assert query.addresses == ()
    answer = decode_packet(encode_answer("abc", ADDRESSES))
    assert not answer.asks
    assert answer.addresses == ADDRESSES


def test_another_implementation_reads_what_we_write() -> None:
    query = DNSIncoming(encode_query())
    assert query.valid
    assert [(each.name, each.type) for each in query.questions] == [(SERVICE, 12)]
    answer = DNSIncoming(encode_answer("abc", ADDRESSES))
    pointer, text = answer.answers()
    assert isinstance(pointer, DNSPointer)
    assert isinstance(text, DNSText)
    assert (pointer.name, pointer.alias, text.name) == (SERVICE, NAME, NAME)
    assert text.text == b"".join(bytes([8 + len(each)]) + b"dnsaddr=" + each.encode() for each in ADDRESSES)


@pytest.mark.parametrize("flush", [0x0001, 0x8001])
def test_we_read_what_another_implementation_writes_with_compressed_names(flush: int) -> None:
    out = DNSOutgoing(0x8400)
    out.add_answer_at_time(DNSPointer("_http._tcp.local.", 12, 1, 120, "x._http._tcp.local."), 0)
    out.add_answer_at_time(DNSPointer(SERVICE, 12, 1, 120, NAME), 0)
    texts = b"".join(bytes([8 + len(each)]) + b"dnsaddr=" + each.encode() for each in ADDRESSES)
    out.add_additional_answer(DNSText(NAME.upper(), 16, flush, 120, b"\x05other" + texts))
    (packet,) = out.packets()
    assert b"\xc0" in packet
    assert decode_packet(packet).addresses == ADDRESSES
    question = DNSOutgoing(0)
    question.add_question(DNSQuestion(SERVICE, 12, flush))
    assert decode_packet(question.packets()[0]).asks


def test_other_services_and_answers_that_nobody_sent_as_answers_say_nothing() -> None:
    question = DNSOutgoing(0)
    question.add_question(DNSQuestion("_http._tcp.local.", 12, 1))
    assert not decode_packet(question.packets()[0]).asks
    as_query = b"\0\0\0\0" + encode_answer("abc", ADDRESSES)[4:]
    assert decode_packet(as_query).addresses == ()


def test_addresses_are_bounded() -> None:
    assert len(decode_packet(encode_answer("abc", [f"/ip4/10.0.0.{n}/tcp/1" for n in range(99)])).addresses) == 8
    assert decode_packet(encode_answer("abc", ["/dns/" + "x" * 300, "/ip4/10.0.0.1/tcp/1"])).addresses == (
        "/ip4/10.0.0.1/tcp/1",
    )
    many = encode_answer("abc", [])[:-2] + struct.pack("!H", 11 * 100) + b"\x0adnsaddr=/x" * 100
    assert len(decode_packet(many).addresses) == MAX_ADDRESSES


LOOP = HEADER.pack(0, 0, 1, 0, 0, 0) + b"\xc0\x0c" + b"\0\x0c\0\1"
FORWARD = HEADER.pack(0, 0, 1, 0, 0, 0) + b"\xc0\x20" + b"\0\x0c\0\1" + bytes(40)
CHAIN = (
    HEADER.pack(0, 0, 20, 0, 0, 0)
    + b"\0\0\x0c\0\1"
    + b"".join(struct.pack("!H", 0xC000 | (12 if n == 0 else 17 + 6 * (n - 1))) + b"\0\x0c\0\1" for n in range(19))
)
LONG = HEADER.pack(0, 0, 1, 0, 0, 0) + (b"\x3f" + b"a" * 63) * 5 + b"\0\0\x0c\0\1"
LABEL = HEADER.pack(0, 0, 1, 0, 0, 0) + b"\x7f" + b"a" * 127 + b"\0\0\x0c\0\1"
MANY = HEADER.pack(0, 0, 0xFFFF, 0, 0, 0) + b"\0\0\x0c\0\1" * 1000


@pytest.mark.parametrize(
    "packet", [b"", b"\0" * 11, LOOP, FORWARD, CHAIN, LONG, LABEL, MANY, bytes(MAX_PACKET_BYTES + 1)]
)
def test_what_is_cut_loops_or_is_over_a_bound_is_a_typed_error(packet: bytes) -> None:
    with pytest.raises(BadPacket):
        decode_packet(packet)


VALID = encode_answer("abc", ADDRESSES)


@example(LOOP)
@given(
    st.binary(max_size=600)
    | st.binary(max_size=600).map(lambda tail: HEADER.pack(0, 0x8400, 0, 2, 2, 2) + tail)
    | st.integers(0, len(VALID)).map(lambda size: VALID[:size])
    | st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), max_size=6).map(
        lambda changes: bytes(dict(changes).get(index, byte) for index, byte in enumerate(VALID))
    )
)
def test_any_packet_is_read_or_refused(packet: bytes) -> None:
    try:
        heard = decode_packet(packet)
    except BadPacket:
        return
    assert len(heard.addresses) <= MAX_ADDRESSES
    assert all(text.isascii() and text.isprintable() and len(text) <= 255 for text in heard.addresses)
