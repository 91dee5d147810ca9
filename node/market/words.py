"""Words of strangers, made fit for a log and a terminal."""

from typing import Final

WORDS_MAX: Final = 256


def printable(words: str) -> str:
    """Return a peer's words, bounded and without control characters: they may reach a terminal that obeys those."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in words[:WORDS_MAX])
