# pyright: reportPrivateUsage=false
import io
import json
import logging
from collections.abc import Generator
from typing import Any

import pytest
import structlog
import trio

from node.operations.logs import EVENTS_AT_ONCE, EVENTS_PER_S, Flood, LogFormat, configure_logs, logging_task
from node.operations.redaction import REDACTED, Redactor

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def unconfigured() -> Generator[None]:
    """Put logging back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def start(log_format: LogFormat = "json") -> tuple[io.StringIO, Redactor]:
    stream, redactor = io.StringIO(), Redactor()
    configure_logs(log_format=log_format, level="info", redactor=redactor, stream=stream)
    return stream, redactor


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("node.test")


async def test_lines_carry_their_task_also_from_children_and_threads() -> None:
    stream, _ = start()

    async def child() -> None:
        log.info("child.said")

    with logging_task(b"\x12\xab"):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
        await trio.to_thread.run_sync(lambda: log.info("thread.said", digest=b"\x01"))
    log.info("outside")
    child_line, thread_line, outside = lines(stream)
    assert child_line["task_id"] == thread_line["task_id"] == "0x12ab"
    assert thread_line["digest"] == "0x01"
    assert "task_id" not in outside
    assert (child_line["event"], child_line["level"], child_line["logger"]) == ("child.said", "info", "node.test")
    assert child_line["timestamp"].endswith("Z")


def test_what_is_below_the_level_or_chatter_of_a_library_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("libp2p"), "propagate", False)  # what importing it does
    stream, _ = start()
    log.debug("hidden")
    logging.getLogger("libp2p.host").info("chatter")
    logging.getLogger("libp2p.host").warning("trouble %s", "ahead")
    logging.getLogger("node.other").info("plain")
    assert [(line["event"], line["level"]) for line in lines(stream)] == [
        ("trouble ahead", "warning"),
        ("plain", "info"),
    ]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_secret_reaches_the_log_by_field_url_message_or_traceback(log_format: LogFormat) -> None:
    stream, redactor = start(log_format)
    redactor.add(PASSWORD)

    def decrypt(local_only: str) -> None:
        raise RuntimeError(f"bad password {PASSWORD!r}")

    log.info("keystore.open", password="anything", nested={"private_key": b"\x07" * 32, "api_token": "tok-123456"})
    log.info("keystore.note", text=f"it is {PASSWORD}", many=[{"secret": "s3cr3t-one"}])
    log.info("chain.connect", url="https://user:pa55word@rpc.example/v1?api_key=abcdef123&x=1")
    logging.getLogger("httpx").warning("GET https://user:pa55word@rpc.example/?token=abcdef123 %s", PASSWORD)
    try:
        decrypt("only-a-local-variable")
    except RuntimeError:
        log.exception("keystore.failed")
    text = stream.getvalue()
    for secret in (PASSWORD, "anything", "07" * 32, "\\x07", "tok-123456", "s3cr3t-one", "pa55word", "abcdef123"):
        assert secret not in text
    assert "only-a-local-variable" not in text.replace('decrypt("only-a-local-variable")', "")
    assert text.count(REDACTED) >= 9
    assert "RuntimeError" in text
    assert "rpc.example" in text


def test_names_that_only_look_secret_are_shown() -> None:
    stream, redactor = start()
    redactor.add("short")
    log.info("channel.open", token="0x1234", salt="0x99", passed=3, secretary="ann", text="a short text")
    (line,) = lines(stream)
    assert (line["token"], line["salt"], line["passed"], line["secretary"]) == ("0x1234", "0x99", 3, "ann")
    assert line["text"] == "a short text"


def test_configuring_twice_does_not_say_everything_twice() -> None:
    first, _ = start()
    second, _ = start()
    log.info("once")
    assert (len(lines(first)), len(lines(second))) == (0, 1)


def test_a_flood_of_one_event_is_cut_and_counted() -> None:
    stream, _ = start()
    log = structlog.stdlib.get_logger("test")
    for number in range(3 * int(EVENTS_AT_ONCE)):
        log.info("network.flooded", number=number)
    log.info("task.done")
    log.error("network.broken")
    events = [line["event"] for line in lines(stream)]
    flooded = events.count("network.flooded")
    assert EVENTS_AT_ONCE <= flooded < 2 * EVENTS_AT_ONCE
    assert events[-2:] == ["task.done", "network.broken"]


def test_what_was_left_out_is_told_with_the_next_of_its_kind() -> None:
    now = 0.0
    flood = Flood(lambda: now)
    for _ in range(int(EVENTS_AT_ONCE)):
        assert "left_out" not in flood(None, "info", {"event": "a"})
    for _ in range(7):
        with pytest.raises(structlog.DropEvent):
            flood(None, "info", {"event": "a"})
    assert flood(None, "info", {"event": "b"}) == {"event": "b"}
    for _ in range(1000):
        assert flood(None, "error", {"event": "a"}) == {"event": "a"}
    now = 1 / EVENTS_PER_S
    assert flood(None, "info", {"event": "a"}) == {"event": "a", "left_out": 7}
    with pytest.raises(structlog.DropEvent):
        flood(None, "info", {"event": "a"})


def test_a_flood_of_what_a_library_says_passes_in_part_however_it_fills_in_its_words() -> None:
    stream, _ = start()
    library = logging.getLogger("libp2p.pubsub")
    for number in range(3 * int(EVENTS_AT_ONCE)):
        library.warning("Peer %s exceeded its topics", number)
    library.error("Peer %s broke it", 7)
    entries = lines(stream)
    assert EVENTS_AT_ONCE <= len(entries) - 1 < 2 * EVENTS_AT_ONCE
    assert [each["event"] for each in (entries[0], entries[-1])] == ["Peer 0 exceeded its topics", "Peer 7 broke it"]


def test_what_was_left_out_of_a_library_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, _ = start()
    now = 0.0
    for each in logging.getLogger().handlers[0].filters:
        monkeypatch.setattr(each, "_clock", lambda: now)
    for _ in range(int(EVENTS_AT_ONCE) + 7):
        logging.getLogger("web3").warning("slow")
    now = 1.0
    logging.getLogger("web3").warning("slow")
    assert [each.get("left_out") for each in lines(stream)] == [None] * int(EVENTS_AT_ONCE) + [7]


def test_event_names_without_number_fill_no_memory() -> None:
    flood = Flood(lambda: 0.0)
    for number in range(10_000):
        flood(None, "info", {"event": f"{number}" * 100})
    assert len(flood._levels) <= 4097
