# pyright: reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.networking.addresses import PeerAddress, parse_peer_address
from node.networking.errors import BadPeerAddress
from protocol.node_record import peer_id_of

PEER = peer_id_of(b"\x09" * 32)


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/127.0.0.1/tcp/4001",
        f"/ip4/192.0.2.7/tcp/0/p2p/{PEER}",
        "/ip6/::1/tcp/65535",
        f"/dns/node.stoa.example/tcp/4001/p2p/{PEER}",
        "/memory/7",
    ],
)
def test_an_address_is_written_as_it_was_read(text: str) -> None:
    assert str(parse_peer_address(text)) == text


def test_spellings_of_one_address_are_one() -> None:
    assert parse_peer_address("/ip6/0:0::1/tcp/1") == parse_peer_address("/ip6/::1/tcp/1")
    assert parse_peer_address("/dns4/A.Example/tcp/1") == parse_peer_address("/dns/a.example/tcp/1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "127.0.0.1:4001",
        "/ip4/127.0.0.1",
        "/ip4/127.0.0.1/udp/1",
        "/ip4/127.0.0.1/tcp/65536",
        "/ip4/127.0.0.1/tcp/-1",
        "/ip4/127.0.0.1/tcp/+1",
        "/ip4/127.0.0.1/tcp/1_0",
        "/ip4/127.0.0.1/tcp/\u0661",
        "/ip4/127.0.0.1/tcp/1/ws",
        "/ip4/127.1/tcp/1",
        "/ip4/0127.0.0.1/tcp/1",
        "/ip6/::1%eth0/tcp/1",
        "/dns/-x.example/tcp/1",
        "/dns//tcp/1",
        "/dns/a b/tcp/1",
        "/dns/xn--\u00e9/tcp/1",
        f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}x",
        f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}/p2p-circuit/p2p/{PEER}",
        f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}/p2p-circuit/p2p-circuit",
        "/ip4/127.0.0.1/tcp/1/p2p-circuit",
        "/ip4/127.0.0.1/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "/dns/" + "a" * 300 + "/tcp/1",
    ],
)
def test_what_is_no_address_is_refused_with_the_text(text: str) -> None:
    with pytest.raises(BadPeerAddress) as caught:
        parse_peer_address(text)
    assert "/p2p/" in caught.value.advice


@settings(max_examples=50)
@given(st.text(max_size=80) | st.lists(st.sampled_from(["ip4", "ip6", "tcp", "p2p", "1", "::1", PEER])).map("/".join))
def test_any_text_is_an_address_or_a_typed_error(text: str) -> None:
    try:
        address = parse_peer_address(text)
    except BadPeerAddress:
        return
    assert parse_peer_address(str(address)) == address


def test_a_place_can_be_told_who_is_expected_there() -> None:
    place = parse_peer_address("/memory/7")
    assert place.at(PEER) == PeerAddress(kind="memory", host="", port=7, peer=PEER)
