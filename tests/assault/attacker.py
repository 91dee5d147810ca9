"""One process of attackers: `python -m tests.assault.attacker NAMES SEED HOST PORT PEER CHAIN CONTRACT DOOR`.

Attacks until its standard input ends, then prints how much it did, as JSON.
"""

import json
import sys

import trio

from tests.assault.aim import Aim, make_aim
from tests.assault.arsenal import ARSENAL


async def attack(names: list[str], aim: Aim) -> None:
    """Run the named attacks beside each other until standard input ends."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(ARSENAL[name], aim)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


def main(arguments: list[str]) -> None:
    """Read the command line, attack, report."""
    names, seed, host, port, peer, chain_id, contract, door = arguments
    aim = make_aim(host, int(port), peer, int(chain_id), contract, int(door), seed)
    trio.run(attack, names.split(","), aim)
    sys.stdout.write(json.dumps(dict(aim.done)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
