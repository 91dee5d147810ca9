"""How work that takes long tells how far it is: as a generator of steps, each short enough to be stopped after."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a backup or a restore has come. `total` is 0 while it is not known."""

    stage: str
    done: int
    total: int


Steps: TypeAlias = Generator[Progress, None, None]
