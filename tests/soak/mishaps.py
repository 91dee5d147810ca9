"""What goes wrong during a soak: a node killed every so often, and now and then a chain that is away."""

from collections.abc import Callable
from random import Random
from typing import Final

import trio

from node.devnet.layout import NodePlace
from node.devnet.processes import NodeNotReady
from tests.soak.plan import Plan
from tests.soak.town import Town

DEAD_S: Final = (1.0, 6.0)
"""How long a killed node stays dead."""
AWAY_S: Final = (3.0, 15.0)
"""How long the chain is away."""
BOTH_SHARE: Final = 0.5
"""How often a node is killed, and started again, while the chain is away."""


class Mishaps:
    """Kills, starts again, and keeps count."""

    def __init__(self, plan: Plan, town: Town, tell: Callable[[str], None]) -> None:
        self._plan, self._town, self._tell = plan, town, tell
        self._random = Random(f"{plan.seed}/mishaps")
        self.kills = 0
        self.chain_outages = 0
        self.failed_starts: list[str] = []

    async def run(self) -> None:
        """Have a mishap every `kill_every_s`, one after the other, until cancelled."""
        while True:
            await trio.sleep(self._plan.kill_every_s)
            if self._random.random() < self._plan.chain_share:
                await self._chain_away()
            else:
                await self._die(self._random.choice(self._town.places))

    async def _die(self, place: NodePlace) -> None:
        dead_s = self._random.uniform(*DEAD_S)
        self._tell(f"{place.name} is killed, for {dead_s:.1f} s")
        self.kills += 1
        with trio.CancelScope(shield=True):  # the end of the soak wants everybody alive
            await self._town.kill(place)
            await trio.sleep(dead_s)
            try:
                await self._town.start(place)
            except NodeNotReady as error:
                self._tell(f"{place.name} does not start: {error}")
                self.failed_starts.append(f"{place.name}: {error}")

    async def _chain_away(self) -> None:
        away_s = self._random.uniform(*AWAY_S)
        hangs, also_dies = self._random.random() < 0.5, self._random.random() < BOTH_SHARE
        place = self._random.choice(self._town.places)
        chain = self._town.chain
        self._tell(f"the chain {'hangs' if hangs else 'is gone'} for {away_s:.1f} s")
        self.chain_outages += 1
        with trio.CancelScope(shield=True):
            if hangs:
                chain.hang()
            else:
                await chain.stop()
            async with trio.open_nursery() as nursery:
                if also_dies:
                    nursery.start_soon(self._die, place)
                await trio.sleep(away_s)
                if hangs:
                    chain.go_on()
                else:
                    await chain.start()
