"""Manifests that nobody could run, and manifests that are too large to travel."""

from dataclasses import replace
from typing import Any

import pytest

from protocol.identity import ContentDigest
from protocol.market.messages import OfferAnnouncement, decode_message
from protocol.market.offer import check_offer, manifest_digest
from protocol.signing.signed import sign_struct
from protocol.task.manifest import (
    MANIFEST_MAX_BYTES,
    MAX_ARGS,
    MAX_CLOCK,
    MAX_FUEL,
    MAX_MEMORY_MIB,
    MAX_OUTPUT_BYTES,
    MAX_PARTS,
    Blob,
    InputFile,
    InvalidManifest,
    Limits,
    Manifest,
    Part,
)
from protocol.task.verification import encode_verification
from protocol.units import UnixTime
from protocol.wire.codec import DecodeError, TooLarge, decode, encode
from protocol.wire.topics import MarketTopic
from tests.protocol.market.market_world import DOMAIN, NOW, RATES, key, make_manifest, make_offer, policy_for

BLOB = Blob(digest=ContentDigest(bytes(32)), size=1)
CORE = Limits(fuel=1, memory_mib=1, output_bytes=0, log_bytes=0)


def manifest_of(size: int) -> Manifest:
    """A manifest whose encoding has exactly `size` bytes."""
    base = replace(make_manifest(), args=("count", *("x" * 4096 for _ in range(size // 4100))))
    missing = size - len(encode(replace(base, args=(*base.args, "y" * 300))))
    return replace(base, args=(*base.args, "y" * (300 + missing)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 2}, "version 2"),
        ({"version": 0}, "version 0"),
        ({"parts": ()}, "at least one part"),
        ({"args": ()}, "program's name"),
        ({"limits": replace(CORE, fuel=0)}, "fuel limit of 0"),
        ({"limits": replace(CORE, fuel=MAX_FUEL + 1)}, "fuel limit"),
        ({"limits": replace(CORE, memory_mib=0)}, "memory limit of 0"),
        ({"limits": replace(CORE, memory_mib=MAX_MEMORY_MIB + 1)}, "memory limit"),
        ({"limits": replace(CORE, output_bytes=MAX_OUTPUT_BYTES + 1)}, "output limit"),
        ({"args": ("a\0b",)}, "NUL"),
        ({"env": (("A=B", "c"),)}, "variable's name"),
        ({"env": (("", "c"),)}, "variable's name"),
        ({"clock": MAX_CLOCK + 1}, "clock starts"),
        ({"files": (InputFile(path="/a", blob=BLOB), InputFile(path="/a", blob=BLOB))}, "same path"),
        ({"files": (InputFile(path="relative", blob=BLOB),)}, "no absolute path"),
        ({"files": (InputFile(path="/", blob=BLOB),)}, "no absolute path"),
        ({"files": (InputFile(path="/a/../b", blob=BLOB),)}, "no absolute path"),
        ({"files": (InputFile(path="/a//b", blob=BLOB),)}, "no absolute path"),
        ({"files": (InputFile(path="/a\0b", blob=BLOB),)}, "no absolute path"),
    ],
)
def test_a_manifest_that_nobody_could_run_is_refused_with_its_reason(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidManifest, match=words):
        replace(make_manifest(), **changes)


def test_a_manifest_at_the_edge_of_its_limits_is_sound() -> None:
    limits = Limits(fuel=MAX_FUEL, memory_mib=MAX_MEMORY_MIB, output_bytes=MAX_OUTPUT_BYTES, log_bytes=2**32 - 1)
    edge = replace(make_manifest(), limits=limits, clock=UnixTime(MAX_CLOCK))
    assert decode(Manifest, encode(edge)) == edge
    assert replace(make_manifest(), limits=CORE).limits == CORE


def test_a_file_of_a_part_may_not_hide_a_common_one() -> None:
    common = InputFile(path="/a", blob=BLOB)
    with pytest.raises(InvalidManifest, match="same path"):
        replace(make_manifest(), files=(common,), parts=(Part(), Part(files=(common,))))


def test_a_manifest_of_the_greatest_size_is_read_and_one_byte_more_is_not() -> None:
    fits, over = (encode(manifest_of(size)) for size in (MANIFEST_MAX_BYTES, MANIFEST_MAX_BYTES + 1))
    assert (len(fits), len(over)) == (MANIFEST_MAX_BYTES, MANIFEST_MAX_BYTES + 1)
    assert encode(decode(Manifest, fits, max_bytes=MANIFEST_MAX_BYTES)) == fits
    with pytest.raises(TooLarge):
        decode(Manifest, over, max_bytes=MANIFEST_MAX_BYTES)


def test_an_offer_with_an_oversize_manifest_is_refused_although_it_is_signed_and_named() -> None:
    over = encode(manifest_of(MANIFEST_MAX_BYTES + 1))
    offer = make_offer(manifest=manifest_digest(over))
    with pytest.raises(TooLarge):
        check_offer(
            DOMAIN,
            sign_struct(key("alice"), DOMAIN, offer),
            manifest=over,
            rates=RATES,
            verification=encode_verification(policy_for(1)),
            now=UnixTime(NOW),
        )


def test_an_offer_too_large_for_its_topic_is_not_even_decoded() -> None:
    with pytest.raises(TooLarge):
        decode_message(MarketTopic.OFFERS, b"\x93" + bytes(MarketTopic.OFFERS.max_bytes))


def test_more_parts_or_arguments_than_allowed_are_not_read() -> None:
    most = replace(make_manifest(), parts=tuple(Part() for _ in range(MAX_PARTS)))
    data = encode(most)
    assert len(decode(Manifest, data, max_bytes=1 << 20).parts) == MAX_PARTS
    count, empty = b"\xdc" + MAX_PARTS.to_bytes(2, "big"), encode(Part())
    assert data.endswith(count + empty * MAX_PARTS)
    more = (
        data[: -len(count + empty * MAX_PARTS)] + b"\xdc" + (MAX_PARTS + 1).to_bytes(2, "big") + empty * (MAX_PARTS + 1)
    )
    with pytest.raises(DecodeError):
        decode(Manifest, more, max_bytes=1 << 20)
    with pytest.raises(AssertionError):  # our own value out of range is a bug
        encode(replace(make_manifest(), args=tuple("x" for _ in range(MAX_ARGS + 1))))


def test_the_announcement_itself_bounds_its_manifest() -> None:
    with pytest.raises(AssertionError):
        encode(
            OfferAnnouncement(
                signed=sign_struct(key("alice"), DOMAIN, make_offer()),
                manifest=bytes(MANIFEST_MAX_BYTES + 1),
                rates=RATES,
                verification=b"",
            )
        )
