"""What a soak is told: how long, how big, how busy, how unkind."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One soak.

    Attributes:
        folder: Of the network: keys, databases, logs. New or empty.
        seed: Of what is bought when, and of who dies when. What comes of it depends on the machine all the same.
        duration_s: Of trade; settling comes after it.
        nodes: 2 or more. The first buys, all others sell, and the first `buyers - 1` of these buy as well.
        buyers: 1 or more.
        auctions_per_hour: All of them. Beyond the tasks, auctions are such that find no taker or are cancelled.
        tasks_per_hour: Of these, the auctions of tasks that are meant to be done.
        kill_every_s: A SIGKILL, or a trouble of the chain, so often.
        escrow_share: Which share of the tasks is paid from escrow.
        chain_share: Which share of the mishaps the chain gets.
        sample_every_s: How often processes and files are looked at.
        confirmations: Blocks after which nodes believe the chain. With more than one, it can be killed and reorganised.
        overrides: Settings of every node, by dotted name.
    """

    folder: Path
    seed: int
    duration_s: float
    nodes: int = 10
    buyers: int = 3
    auctions_per_hour: float = 1000
    tasks_per_hour: float = 500
    kill_every_s: float = 60
    escrow_share: float = 0.1
    chain_share: float = 0.15
    sample_every_s: float = 10
    confirmations: int = 1
    overrides: Mapping[str, Any] = field(default_factory=dict[str, Any])
