"""What an arbiter works with, and the durable part of one seat."""

from dataclasses import dataclass
from typing import Any, Final

from node.arbitration.ports import ArbiterCourt, Peers, Runner, Signing
from node.operations.clock import Clock
from node.operations.randomness import RandomSource
from node.storage.machine_log import Machine, MachineLog
from protocol.dispute import seat
from protocol.dispute.case import Round
from protocol.errors import TransientError

SeatLog = MachineLog[seat.Summons, seat.State, seat.Event, Any]

SEAT: Final = Machine[seat.Summons, seat.State, seat.Event, Any](
    context=seat.Summons, events=seat.Event, begin=lambda _summons: seat.State(), transition=seat.transition
)


class NotSeatedYet(TransientError):
    """This node does not sit in the round, or has not come so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArbiterRoom:
    """What every sitting works with; `block_time_s` is the chain's usual one."""

    court: ArbiterCourt
    peers: Peers
    signing: Signing
    runner: Runner
    clock: Clock
    random: RandomSource
    block_time_s: float

    @property
    def look_s(self) -> float:
        """How often to look at the chain while there is something to do."""
        return self.block_time_s / 2

    @property
    def tell_s(self) -> float:
        """After how long something is told again, at first."""
        return min(1.0, self.look_s)


def after(held: Round, twelfths: int) -> int:
    """Return the time when so many twelfths of a round are over."""
    open_by = held.schedule.open_by  # ten of them
    return held.began + (open_by - held.began) * twelfths // 10
