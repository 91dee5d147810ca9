"""What the databases of a soak hold when it is over, by kind of history."""

import sqlite3
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROW_BYTES: Final = 24
"""Of a record beside its texts and bytes: numbers, and what SQLite notes of a row in the table and in the index."""
QUERY: Final = f"""
SELECT substr(stream, 1, instr(stream || '/', '/') - 1), COUNT(DISTINCT stream), COUNT(*),
       SUM(LENGTH(body) + LENGTH(hash) + LENGTH(kind) + 2 * LENGTH(stream) + {ROW_BYTES})
FROM journal GROUP BY 1
"""


@dataclass(slots=True)
class Weight:
    """Of one kind of history, over all nodes."""

    streams: int = 0
    records: int = 0
    bytes: int = 0


def weigh(folder: Path) -> dict[str, Weight]:
    """Return the weight of each kind of history in the databases under `folder`, whose nodes have ended."""
    found: dict[str, Weight] = defaultdict(Weight)
    for path in sorted(folder.glob("*/stoa.sqlite3")):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            for kind, streams, records, size in connection.execute(QUERY):
                weight = found[kind]
                weight.streams += streams
                weight.records += records
                weight.bytes += size
    return dict(found)


def write_weights(found: dict[str, Weight]) -> str:
    """Return a table, heaviest first."""
    lines = ["what the journals hold, all nodes    streams  records      KiB   bytes a stream"]
    for kind, weight in sorted(found.items(), key=lambda item: -item[1].bytes):
        each = weight.bytes / weight.streams
        lines.append(f"  {kind:32s} {weight.streams:9d} {weight.records:8d} {weight.bytes / 1024:8.0f} {each:16.0f}")
    return "\n".join(lines) + "\n"
