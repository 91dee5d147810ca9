"""What docs/spec tells another implementation is what the code does: schemas, types, limits, names, examples."""

import re

import pytest

from node.networking.frames import MAX_FRAME_BYTES
from node.networking.libp2p import connection, gossip, negotiation, pubsub_parts, router, switch, yamux
from node.networking.limits import BAN_S, STRIKES, STRIKES_FORGIVEN_PER_S, Rate
from node.networking.relay.circuit import IDLE_S
from node.networking.settings import NetworkSettings, RelayLimits
from protocol.wire.topics import VERSION, MarketTopic
from tests.interop.stranger import ask_checker
from tests.interop.wire_examples import EXAMPLES, GROUPS, examples_of_the_page
from tests.interop.wire_schema import (
    ROOT,
    WIRE,
    answers_of_the_page,
    methods_of_the_code,
    schema_of_the_code,
    schema_of_the_page,
    stream_protocols_of_the_code,
    stream_protocols_of_the_page,
    type_strings_of_the_code,
    type_strings_of_the_page,
)

CODE, PAGE = schema_of_the_code(), schema_of_the_page()
SHOWN = examples_of_the_page()
TEXT = WIRE.read_text()


@pytest.mark.parametrize("name", sorted({*CODE, *PAGE}))
def test_a_struct_on_the_page_is_the_one_in_the_code(name: str) -> None:
    assert PAGE.get(name) == CODE.get(name)


@pytest.mark.parametrize(("name", "spelled"), sorted(type_strings_of_the_code().items()))
def test_a_type_string_on_the_page_is_the_one_that_is_hashed(name: str, spelled: str) -> None:
    assert type_strings_of_the_page()[name] == spelled


@pytest.mark.parametrize("name", sorted({*EXAMPLES, *SHOWN}))
def test_the_bytes_on_the_page_are_those_that_the_code_makes(name: str) -> None:
    assert SHOWN[name].hex() == EXAMPLES[name]().hex()


def test_the_strangers_codec_reads_the_examples_and_writes_the_same_bytes() -> None:
    typed = {name: name.split()[0] for name in SHOWN if name.split()[0] in {*PAGE, "Commitment", "MarketMessage"}}
    assert len(typed) >= 8
    answers = ask_checker([{"type": kind, "bytes": SHOWN[name].hex()} for name, kind in typed.items()])
    assert [answer.get("ok") for answer in answers] == [{"bytes": SHOWN[name].hex()} for name in typed], answers


def test_the_strangers_codec_refuses_every_other_encoding_of_the_examples() -> None:
    commitment = SHOWN["Commitment"].hex()
    others = {
        "a longer array head": "dc0003" + commitment[2:],
        "a longer bin head": commitment.replace("c420", "c50020", 1),
        "a byte more": commitment + "00",
        "a byte less": commitment[:-2],
    }
    answers = ask_checker([{"type": "Commitment", "bytes": each} for each in others.values()])
    assert all("error" in answer for answer in answers), dict(zip(others, answers, strict=True))


def test_the_strangers_tree_gives_the_chaining_values_of_the_page() -> None:
    (answer,) = ask_checker([{"groups": b"".join(GROUPS).hex()}])
    assert "".join(answer["ok"]["cvs"]) == SHOWN["chaining values"].hex()
    assert answer["ok"]["root"] == SHOWN["blob of two groups"].hex()


def test_every_method_of_the_code_is_on_the_page_and_no_other() -> None:
    assert set(answers_of_the_page()) == set(methods_of_the_code())


def test_what_the_methods_carry_is_told_on_the_page_of_messages() -> None:
    told = {*PAGE, "MarketMessage", "empty"}
    assert [each for each in answers_of_the_page().items() if not {*each[1]} <= told] == []


def test_whatever_is_served_is_named_where_the_page_is_held_to_it() -> None:
    served = {
        name: str(path)
        for path in (ROOT / "node").rglob("*.py")
        for name in re.findall(r"peers\.serve\((\S+),|network\.serve\((\S+),", path.read_text())
    }
    assert served
    assert {name: path for name, path in served.items() if not re.fullmatch(r"\w*METHOD|method", "".join(name))} == {}


def test_every_stream_protocol_of_the_code_is_on_the_page_and_no_other() -> None:
    assert stream_protocols_of_the_page() == set(stream_protocols_of_the_code())


def test_the_topics_on_the_page_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `\w+`(?:, `\w+`)? \| ([\d,]+) \|", TEXT, flags=re.MULTILINE)
    assert {label: int(most.replace(",", "")) for label, most in rows} == {
        topic.value.label: topic.max_bytes for topic in MarketTopic
    }
    assert f"`/stoa/{VERSION}/<chain id>/<address of the Escrow, EIP-55>/<label>`" in TEXT


def test_the_limits_on_the_page_are_those_of_the_code() -> None:
    settings, relay = NetworkSettings(), RelayLimits()
    kib, mib = 1024, 1024 * 1024

    def rate(each: Rate) -> str:
        return f"{each.per_s:,.0f} a second ({each.burst:,.0f} at once)"

    streams = connection.STREAM_RATE
    expected = {
        "connections of a peer, of a host": f"{settings.max_connections_per_peer}, {settings.max_connections_per_host}",
        "unfinished handshakes of all": f"{settings.max_handshakes}",
        "time for a handshake, for agreeing on a stream's protocol": (
            f"{switch.HANDSHAKE_TIMEOUT_S:.0f} s, {switch.NEGOTIATION_TIMEOUT_S:.0f} s"
        ),
        "streams at once, new ones a second (at once)": (
            f"{yamux.MAX_INBOUND_STREAMS}, {streams.per_s:.0f} ({streams.burst:.0f}); above: a tenth of a strike each"
        ),
        "proposals in one negotiation, bytes of each": f"{negotiation.MAX_TOKENS}, {negotiation.MAX_TOKEN_BYTES}",
        "window of a stream, unread bytes of a connection": (
            f"{yamux.WINDOW_BYTES // kib} KiB, {yamux.MAX_BUFFERED_BYTES // mib} MiB; above: the connection ends"
        ),
        "silence, and a wire that takes no byte": f"{yamux.SILENCE_S:.0f} s, {yamux.WRITE_TIMEOUT_S:.0f} s",
        "gossip forwarded, on each topic": f"{rate(settings.gossip_rate)}; above: a hundredth of a strike each",
        "gossip written by one author, on each topic": rate(settings.author_rate),
        "requests, running at once": (
            f"{rate(settings.request_rate)}, {settings.max_requests_per_peer}; above: `Busy`"
        ),
        "a frame of requests": f"2^{MAX_FRAME_BYTES.bit_length() - 1} bytes",
        "blobs served at once to a peer, to all": (
            f"{settings.max_blob_streams_per_peer}, {settings.max_blob_streams}; above: status 2"
        ),
        "places kept for others, of one network": (
            f"{relay.reservations}, {relay.reservations_per_network}; above: `RESERVATION_REFUSED`"
        ),
        "circuits, of one dialler, of one network, to one target": (
            f"{relay.circuits}, {relay.circuits_per_dialler}, {relay.circuits_per_network}, "
            f"{relay.circuits_per_target}; above: `RESOURCE_LIMIT_EXCEEDED`"
        ),
        "a circuit": (
            f"{relay.circuit_s} s, {relay.circuit_bytes // mib} MiB in each direction, {IDLE_S:.0f} s of silence"
        ),
        "all circuits": f"{relay.bytes_per_s / mib:.0f} MiB a second",
    }
    section = TEXT.split("## 7.")[1].split("## 8.")[0]
    rows = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", section, flags=re.MULTILINE))
    assert {name: value for name, value in rows.items() if name not in ("limit", "---")} == expected
    assert (STRIKES, BAN_S, round(1 / STRIKES_FORGIVEN_PER_S)) == (10, 600, 60)
    assert MAX_FRAME_BYTES == 2**20


def test_the_limits_of_gossip_in_the_text_are_those_of_the_code() -> None:
    section = TEXT.split("## 3.")[1].split("## 4.")[0]
    assert pubsub_parts.MAX_RPC_BYTES == 2**20
    assert (
        f"at most {gossip.MAX_SUBSCRIPTIONS_PER_RPC} subscriptions and {router.MAX_CONTROL_ENTRIES} grafts" in section
    )
    assert f"the first {router.MAX_IDS} are looked at" in section
    assert f"at most {gossip.MAX_SUBSCRIPTIONS_PER_PEER} topics" in section


def test_every_refusal_on_the_page_is_an_error_of_the_code() -> None:
    section = TEXT.split("## 8.")[1].split("## 9.")[0]
    codes = set(re.findall(r"`([A-Z]\w+)`", section))
    assert len(codes) > 20
    sources = "\n".join(path.read_text() for room in ("node", "protocol") for path in (ROOT / room).rglob("*.py"))
    told = {code for code in codes if re.search(rf'^class {code}\b|"{code}"', sources, re.MULTILINE)}
    assert told == codes
