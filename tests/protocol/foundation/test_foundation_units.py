"""Amounts, addresses and errors as people read and write them."""

import pytest
from eth_utils.address import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ChainRejected, ConfigError, ProtocolError, StoaError, StorageError, TransientError
from protocol.identity import Address, InvalidAddress, did, format_address, parse_address
from protocol.units import MAX_AMOUNT, InvalidAmount, format_amount, parse_amount


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("0", 0),
        ("0.40", 400_000),
        ("$25", 25_000_000),
        (" 1000.000001 ", 1_000_000_001),
        (".5", 500_000),
        ("5.", 5_000_000),
        ("1_000", 1_000_000_000),
        ("0.0000010", 1),
        ("340282366920938463463374607431768.211455", MAX_AMOUNT),
    ],
)
def test_amounts_are_read_as_people_write_them(text: str, units: int) -> None:
    assert parse_amount(text) == units


@pytest.mark.parametrize(
    "text",
    [
        "",
        "$",
        ".",
        "-1",
        "+1",
        "1e3",
        "1,5",
        "1.2.3",
        "NaN",
        "Infinity",
        "0x10",
        "\u0661",
        "0.0000001",
        "340282366920938463463374607431768.211456",
        "9" * 5000,
        "0." + "0" * 5000 + "1",
    ],
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(InvalidAmount):
        parse_amount(text)


@given(st.sampled_from([0, 1, 999_999, 1_000_000, MAX_AMOUNT]) | st.integers(0, MAX_AMOUNT))
def test_an_amount_survives_being_printed(units: int) -> None:
    assert parse_amount(format_amount(units).replace(",", "")) == units


def test_amounts_are_printed_with_cents_and_more_only_where_needed() -> None:
    printed = [format_amount(units) for units in (0, 1, 400_000, 1_234_567_890, -5_100_000)]
    assert printed == ["$0.00", "$0.000001", "$0.40", "$1,234.56789", "-$5.10"]


@given(st.binary(min_size=20, max_size=20))
def test_addresses_are_printed_as_eip_55_says(raw: bytes) -> None:
    text = format_address(raw)
    assert text == to_checksum_address(raw)
    for spelling in (text, text.lower(), "0x" + text[2:].upper()):
        assert parse_address(spelling) == raw


GOOD = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        GOOD[:-1],
        GOOD + "0",
        GOOD.replace("a", "A", 1),
        "0x" + " " * 40,
        "0x" + "g" * 40,
        "0x" + "00 " * 13 + "0",
    ],
)
def test_a_mistyped_address_is_refused(text: str) -> None:
    assert parse_address(GOOD)
    with pytest.raises(InvalidAddress):
        parse_address(text)


def test_a_public_name_names_the_chain_and_the_wallet() -> None:
    assert did(137, Address(bytes.fromhex(GOOD[2:]))) == f"did:pkh:eip155:137:{GOOD}"


def test_every_error_says_who_acts_and_may_advise() -> None:
    for kind in (ProtocolError, TransientError, ChainRejected, StorageError, ConfigError):
        assert issubclass(kind, StoaError)
        assert kind("wrong", advice="do this").advice == "do this"
        assert kind("wrong").advice == ""
