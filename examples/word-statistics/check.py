"""Compute the same report with Python's re, collections and sorted, and compare it byte for byte.

    python3 check.py report.txt

Exit status 0 only if both are equal.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).parent
TOP = 20
PERCENTS = (1, 25, 50, 75, 90, 95, 99, 100)
LINE = re.compile(
    rb"(?P<client>[^ ]*) [^ ]* [^ ]* \[(?P<minute>[^\]]{17})[^\]]*\] "
    rb'"(?P<request>(?:\\.|[^"\\])*)" (?P<status>[1-5][0-9][0-9]) (?P<bytes>-|[0-9]{1,18}) '
    rb'"(?:\\.|[^"\\])*" "(?P<agent>(?:\\.|[^"\\])*)"(?: (?P<microseconds>[0-9]{1,18}))?',
    re.DOTALL,
)


def percentiles(name: str, values: Sequence[int]) -> Iterator[bytes]:
    """The nearest-rank percentiles of `values`, and their sum."""
    yield f"\n# {name}: percentiles".encode()
    ordered = sorted(values)
    for percent in PERCENTS if ordered else ():
        yield b"p%d\t%d" % (percent, ordered[-(-len(ordered) * percent // 100) - 1])
    if ordered:
        yield b"sum\t%d" % sum(ordered)


def most_frequent(name: str, items: Sequence[bytes]) -> Iterator[bytes]:
    """The TOP most frequent items; equal counts in byte order."""
    counts = Counter(items)
    yield f"\n# {name}: {len(counts)} distinct".encode()
    for item, count in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:TOP]:
        yield b"%d\t%s" % (count, item)


def read_line(line: bytes) -> dict[str, bytes] | None:
    """The fields of a line of Apache's combined log; None if it isn't one."""
    match = LINE.fullmatch(line)
    if match is None or match["request"].count(b" ") < 2:
        return None
    fields = match.groupdict(default=b"")
    return fields | {"path": fields["request"].split(b" ")[1]}


def report(text: bytes) -> Iterator[bytes]:
    """The lines of the report."""
    words = re.findall(rb"[0-9a-z\x80-\xff]+", text.lower())
    lines = text.removesuffix(b"\n").split(b"\n") if text else []
    yield b"# text\nbytes\t%d\nlines\t%d" % (len(text), text.count(b"\n"))
    yield b"longest line\t%d\nwords\t%d" % (max(map(len, lines), default=0), len(words))
    yield from percentiles("word length", [len(word) for word in words])
    yield from most_frequent("words", words)

    requests = [entry for entry in map(read_line, lines) if entry]
    yield b"\n# log\nrequests\t%d\nmalformed\t%d" % (len(requests), len(lines) - len(requests))
    yield b"\n# status codes"
    for status, count in sorted(Counter(request["status"] for request in requests).items()):
        yield b"%s\t%d" % (status, count)
    yield from percentiles("bytes sent", [int(request["bytes"].replace(b"-", b"0")) for request in requests])
    yield from percentiles("microseconds", [int(r["microseconds"]) for r in requests if r["microseconds"]])
    for name, field in (("clients", "client"), ("paths", "path"), ("agents", "agent"), ("minutes", "minute")):
        yield from most_frequent(name, [request[field] for request in requests])


def main() -> int:
    """Compare the file named on the command line with the report computed here."""
    output = Path(sys.argv[1]).read_bytes()
    expected = b"\n".join(report((HERE / "access.log").read_bytes())) + b"\n"
    if output == expected:
        print(f"equal: {len(output)} bytes")
        return 0
    got, wanted = output.split(b"\n"), expected.split(b"\n")
    for number, (left, right) in enumerate(zip(got, wanted, strict=False), start=1):
        if left != right:
            print(f"line {number}: got {left!r}, expected {right!r}")
            return 1
    print(f"got {len(got)} lines, expected {len(wanted)}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
