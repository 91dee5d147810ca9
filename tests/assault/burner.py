"""A process that only burns CPU, until its standard input ends: what an attacker's core costs by being busy."""

import sys
import threading


def main() -> None:
    """Burn."""
    thread = threading.Thread(target=sys.stdin.read, daemon=True)
    thread.start()
    while thread.is_alive():
        sum(range(10_000))


if __name__ == "__main__":
    main()
