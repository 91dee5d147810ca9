"""A node behind the doors that keeps state but buys and sells nothing: what it tells of each task is a script.

The script is in `fake_task.py`.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace

import trio

from node.api.json_codec import Wei
from node.api.views import (
    BackupProgress,
    CalibrationView,
    CountView,
    HealthView,
    KernelView,
    NodeStatus,
    PeerView,
    PricesView,
    ProvideOrder,
    ProvideView,
    TransactionView,
)
from protocol.errors import ProtocolError
from protocol.identity import PeerId, did
from protocol.units import Amount, UnixTime
from tests.node.api.fake_buying import FakeBuying
from tests.node.api.fake_law import FakeLaw
from tests.node.api.fake_money import FakeMoney
from tests.node.api.fake_task import ANN, NOW, OWN

PRICES = PricesView(
    start=Amount(1_000), gfuel=Amount(2_000), mib_gfuel=Amount(2), mib_in=Amount(100), mib_out=Amount(200)
)


SELLING_NOTHING = ProvideView(
    enabled=False,
    draining=False,
    workers=2,
    busy=0,
    memory_mib=1024,
    fuel_per_s=0,
    prices=PRICES,
    refusals=(CountView(text="the task wants another engine", count=3),),
)


def _peer(address: str) -> PeerView:
    return PeerView(
        peer=PeerId("12D3KooWOther"),
        wallet=ANN,
        addresses=(address,),
        connected=True,
        sells=True,
        gfuel=Amount(100_000),
        record_expires=UnixTime(NOW + 600),
    )


@dataclass
class FakeNode(FakeBuying, FakeMoney, FakeLaw):
    """Tasks end as `ending` says; "held" leaves them running until `release` is set."""

    selling: ProvideView = field(default_factory=lambda: SELLING_NOTHING)
    stopped: bool = False
    backups: list[tuple[str, str, bool]] = field(default_factory=list[tuple[str, str, bool]])

    async def node_status(self) -> NodeStatus:
        return NodeStatus(
            version="0.1.0",
            name="fake",
            wallet=OWN,
            did=did(31337, OWN),
            peer=PeerId("12D3KooWFake"),
            listening=("/ip4/127.0.0.1/tcp/4600/p2p/12D3KooWFake",),
            connected_peers=3,
            chain_id=31337,
            chain_reachable=True,
            chain_away_since=None,
            confirmed_block=42,
            confirmed_at=NOW,
            token_balance=Amount(12_345_678),
            gas_balance=Wei(9_990_000_000_000_000_000),
            started_at=NOW,
            open_tasks=sum(task.view.state not in ("done", "failed", "cancelled") for task in self.tasks.values()),
            open_deliveries=0,
            selling=self.selling,
            transactions=(
                TransactionView(title="claim of channel 1", nonce=7, attempts=2, max_fee=Wei(3), waits_for=""),
                TransactionView(
                    title="claim of channel 2", nonce=None, attempts=0, max_fee=Wei(0), waits_for="gas is too dear"
                ),
            ),
            health=(HealthView(name="storage", ok=True, detail=""),),
            warnings=("no gas money, and 2 claims are due",),
        )

    async def node_stop(self) -> None:
        self.stopped = True

    async def node_backup(self, path: str, config: str, *, blobs: bool) -> AsyncGenerator[BackupProgress, None]:
        self.backups.append((path, config, blobs))
        for done in (0, 5):
            yield BackupProgress(stage="files", done=done, total=10)
        await trio.Path(path).write_bytes(b"0123456789")
        yield BackupProgress(stage="done", done=10, total=10)

    async def peer_list(self) -> tuple[PeerView, ...]:
        return (_peer("/ip4/127.0.0.1/tcp/4601"),)

    async def peer_connect(self, address: str) -> PeerView:
        if "/p2p/" not in address:
            raise ProtocolError(f"{address!r} names no peer", advice="end it in /p2p/<peer id>")
        return _peer(address)

    async def provide_show(self) -> ProvideView:
        return self.selling

    async def provide_set(self, order: ProvideOrder) -> ProvideView:
        self.selling = replace(
            self.selling,
            enabled=self.selling.enabled if order.enabled is None else order.enabled,
            prices=order.prices or self.selling.prices,
            fuel_per_s=order.fuel_per_s or self.selling.fuel_per_s,
        )
        return self.selling

    async def provide_calibrate(self) -> CalibrationView:
        kernels = (
            KernelView(name="integers", fuel_per_s=4 * 10**9),
            KernelView(name="host calls", fuel_per_s=10**9),
        )
        return CalibrationView(kernels=kernels, fuel_per_s=2 * 10**9, slowest_fuel_per_s=10**9)

    async def provide_drain(self) -> ProvideView:
        self.selling = replace(self.selling, enabled=False, draining=True)
        return self.selling
