"""Appends from many tasks and prints each acknowledged record, until it is killed."""

import sys
from pathlib import Path

import trio

from node.operations.clock import SystemClock
from node.storage.chain import Entry
from node.storage.postgres.address import read_address
from node.storage.storage import Storage, open_storage

WRITERS = 8


async def append_for_ever(storage: Storage, writer: int) -> None:
    version = 0
    while True:
        version += 1
        body = f"{writer}/{version}".encode()
        entry = Entry(stream=f"writer:{writer}", kind="appended", body=body)
        seq = await storage.journal.append([entry], expected_versions={f"writer:{writer}": version - 1})
        sys.stdout.write(f"{seq} {body.decode()}\n")
        sys.stdout.flush()


async def main() -> None:
    address = read_address(sys.argv[2]) if sys.argv[2:] else None
    async with (
        open_storage(Path(sys.argv[1]), clock=SystemClock(), address=address) as storage,
        trio.open_nursery() as nursery,
    ):
        for writer in range(WRITERS):
            nursery.start_soon(append_for_ever, storage, writer)


trio.run(main)
