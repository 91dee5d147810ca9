from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ProtocolError
from protocol.identity import Address, Digest, PeerId
from protocol.node_record import (
    MAX_ANNOUNCEMENT_BYTES,
    MAX_RECORD_LIFETIME_S,
    BadNodeRecord,
    BadPeerId,
    NodeAnnouncement,
    NodeBody,
    announce_node,
    host_public_key,
    peer_id_of,
    verify_announcement,
)
from protocol.signing.ecdsa import BadSignature, Signature, address_of
from protocol.signing.eip712 import Domain, type_string
from protocol.task.pricing import Rates
from protocol.units import Amount
from protocol.wire.codec import decode, encode

NOW = 1_800_000_000
KEY = bytes(31) + b"\x07"
DOMAIN = Domain(chain_id=31337, verifying_contract=Address(b"\x11" * 20))
RATES = Rates(start=Amount(1), gfuel=Amount(2), mib_gfuel=Amount(3), mib_in=Amount(4), mib_out=Amount(5))
BODY = NodeBody(addresses=("/ip4/127.0.0.1/tcp/4001",), engines=(Digest(b"\x22" * 32),), rates=RATES)


def announced(*, body: NodeBody = BODY, expires: int = NOW + 600) -> NodeAnnouncement:
    wallet = address_of(KEY)
    return announce_node(KEY, DOMAIN, wallet=wallet, host_key=b"\x33" * 32, body=body, sequence=1, expires=expires)


def test_a_record_that_its_wallet_signed_passes() -> None:
    verify_announcement(DOMAIN, announced(), now=NOW)


def test_the_struct_has_the_type_that_wallets_sign() -> None:
    assert (
        type_string(type(announced().record.value))
        == "NodeRecord(address wallet,bytes32 peer,bytes32 body,uint64 sequence,uint64 expires)"
    )


def test_an_announcement_survives_the_wire_and_stays_within_its_limit() -> None:
    addresses = tuple("/dns/" + "a" * 195 for _ in range(8))
    largest = NodeBody(addresses=addresses, engines=tuple(Digest(bytes([i]) * 32) for i in range(16)), rates=RATES)
    announcement = announced(body=largest)
    data = encode(announcement)
    assert len(data) <= MAX_ANNOUNCEMENT_BYTES
    assert decode(NodeAnnouncement, data, max_bytes=MAX_ANNOUNCEMENT_BYTES) == announcement


@pytest.mark.parametrize(
    ("expires", "valid"),
    [(NOW - 1, False), (NOW, True), (NOW + MAX_RECORD_LIFETIME_S, True), (NOW + MAX_RECORD_LIFETIME_S + 1, False)],
)
def test_a_record_counts_up_to_its_last_second_and_never_for_more_than_a_day(expires: int, valid: bool) -> None:  # noqa: FBT001
    announcement = announced(expires=expires)
    if valid:
        verify_announcement(DOMAIN, announcement, now=NOW)
    else:
        with pytest.raises(BadNodeRecord):
            verify_announcement(DOMAIN, announcement, now=NOW)


def test_a_record_that_another_key_signed_is_refused() -> None:
    mine = announced()
    stolen = replace(mine.record.value, wallet=Address(b"\x44" * 20))
    forged = replace(mine, record=replace(mine.record, value=stolen))
    with pytest.raises(BadSignature):
        verify_announcement(DOMAIN, forged, now=NOW)


def test_a_record_for_another_chain_is_refused() -> None:
    with pytest.raises(BadSignature):
        verify_announcement(replace(DOMAIN, chain_id=1), announced(), now=NOW)


def test_a_body_that_was_not_signed_is_refused() -> None:
    swapped = replace(announced(), body=replace(BODY, addresses=("/ip4/203.0.113.9/tcp/1",)))
    with pytest.raises(BadNodeRecord):
        verify_announcement(DOMAIN, swapped, now=NOW)


def test_a_malformed_signature_is_refused() -> None:
    mine = announced()
    broken = replace(mine, record=replace(mine.record, signature=Signature(bytes(65))))
    with pytest.raises(ProtocolError):
        verify_announcement(DOMAIN, broken, now=NOW)


@given(st.binary(min_size=32, max_size=32) | st.sampled_from([bytes(32), b"\xff" * 32]))
def test_a_peer_id_and_its_key_name_each_other(key: bytes) -> None:
    peer = peer_id_of(key)
    assert peer.startswith("12D3Koo")
    assert host_public_key(peer) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1" * 52,
        "z" * 52,
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",  # the hash of a key
        "12D3KooW" + "0" * 44,  # no base58 digit
        peer_id_of(b"\x01" * 32)[:-1],
        peer_id_of(b"\x01" * 32) + "1",
    ],
)
def test_what_is_no_ed25519_peer_id_is_refused(text: str) -> None:
    with pytest.raises(BadPeerId):
        host_public_key(PeerId(text))
