"""A tower through a real network's challenge of a day, on a virtual clock: when it looks and acts, what it survives."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from node.operations.clock import TrioClock
from node.payments.room import Room
from node.payments.watch.keeper import RETRY_S, SWEEPS_A_CHALLENGE, Keeper
from node.payments.watch.settings import WatchSettings
from node.payments.watch.store import WATCH_SCHEMA, StoredWatch, WatchStore
from node.storage.blocking import in_line
from protocol.channel.holds import build_voucher
from protocol.channel.objects import ChannelKey, ChannelRules, Hold, channel_id
from protocol.channel.tower import TURNS, Standing, turn_of
from protocol.channel.watch import WatchOrder
from protocol.errors import ChainRejected, ProtocolError, StoaError, TransientError
from protocol.identity import Address, Digest
from protocol.signing.ecdsa import Signature
from protocol.signing.eip712 import Domain
from protocol.signing.signed import Signed
from protocol.units import ONE_TOKEN, Amount, Seconds, UnixTime
from tests.stores import Store

HOUR = 3_600
DAY = 24 * HOUR
NOW = UnixTime(1_800_000_000)
TOWER, CLIENT, ARBITER = (Address(bytes([number]) * 20) for number in (1, 2, 3))
OPEN = Standing(deposit=Amount(50 * ONE_TOKEN), claimed=Amount(0), exits_at=UnixTime(0), presented=0)


@dataclass
class FakeContract:
    """The channels of others. `fails` may raise for a channel that is asked about or acted for."""

    clock: TrioClock
    channels: dict[Digest, Standing] = field(default_factory=dict[Digest, Standing])
    looks: int = 0
    acts: list[tuple[UnixTime, int]] = field(default_factory=list[tuple[UnixTime, int]])
    fails: Callable[[str, Digest], None] = lambda _what, _channel: None

    async def standing(self, channel: Digest) -> Standing:
        await trio.lowlevel.checkpoint()
        self.looks += 1
        self.fails("look", channel)
        return self.channels[channel]

    async def present(self, order: WatchOrder) -> int:
        await trio.lowlevel.checkpoint()
        voucher = order.voucher.value
        self.acts.append((self.clock.now(), order.key.counter))
        self.fails("act", voucher.channel)
        self.channels[voucher.channel] = replace(
            self.channels[voucher.channel], claimed=voucher.cumulative, presented=voucher.sequence
        )
        return 1

    def leave(self, channel: Digest) -> UnixTime:
        """Begin an exit; return its first second."""
        now = self.clock.now()
        self.channels[channel] = replace(self.channels[channel], exits_at=UnixTime(now + DAY))
        return now


@dataclass
class Stage:
    """A keeper at work, and what it looks after."""

    clock: TrioClock
    contract: FakeContract
    keeper: Keeper
    channels: list[Digest]

    def moment(self, channel: Digest) -> int:
        """Return when in a challenge this tower acts for a channel."""
        return DAY // 8 + DAY // 8 * turn_of(TOWER, channel) // TURNS


def watch_of(counter: int) -> StoredWatch:
    key = ChannelKey(payer=ARBITER, signer=ARBITER, payee=CLIENT, token=TOWER, counter=counter)
    hold = Hold(award=Digest(bytes([9]) * 32), arbiter=ARBITER, amount=Amount(ONE_TOKEN))
    voucher = build_voucher(channel_id(key), 4, Amount(7 * ONE_TOKEN), (hold,))
    order = WatchOrder(
        key=key,
        voucher=Signed(voucher, Signature(bytes(65))),
        holds=(),
        payee_signature=Signature(bytes(65)),
    )
    return StoredWatch(channel=voucher.channel, client=CLIENT, size=500, received_at=NOW, order=order)


@asynccontextmanager
async def open_stage(folder: Path, channels: int = 1) -> AsyncGenerator[Stage, None]:
    clock = TrioClock.starting_at(NOW)
    contract = FakeContract(clock)
    room = SimpleNamespace(
        clock=clock,
        feed=SimpleNamespace(time=UnixTime(0)),
        rules=ChannelRules(challenge=Seconds(DAY), hold_period=Seconds(7 * DAY)),
        wallet=SimpleNamespace(address=TOWER),
        channel_domain=Domain(chain_id=1, verifying_contract=TOWER),
        chain=contract,
    )
    settings = WatchSettings(clients=frozenset({CLIENT}))
    async with Store(None).open(folder, clock=clock, schema_parts=[WATCH_SCHEMA], run_blocking=in_line) as storage:
        store = WatchStore(storage)
        keeper = Keeper(cast("Room", room), contract, store, settings)
        watches = [watch_of(counter) for counter in range(1, channels + 1)]
        for watch in watches:
            contract.channels[watch.channel] = OPEN
            await store.put(watch, settings)
            keeper.keep(watch)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.run)
            await clock.sleep(60)
            yield Stage(clock, contract, keeper, [watch.channel for watch in watches])
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("is_told", [True, False], ids=["told", "missed"])
async def test_it_acts_in_its_own_moment_with_18_hours_to_spare_whether_it_was_told_of_the_exit_or_not(
    tmp_path: Path, autojump_clock: MockClock, *, is_told: bool
) -> None:
    del autojump_clock
    async with open_stage(tmp_path, channels=3) as stage:
        contract = stage.contract
        began = {channel: contract.leave(channel) for channel in stage.channels[:2]}
        if is_told:
            for channel in began:
                stage.keeper.look_at(channel)
        before = contract.looks
        await stage.clock.sleep(DAY)
        due = sorted((began[channel] + stage.moment(channel), at) for at, channel in enumerate(began, 1))
        assert [counter for _, counter in contract.acts] == [at for _, at in due]
        for (acted_at, _), (due_at, _) in zip(contract.acts, due, strict=True):
            assert 0 <= acted_at - due_at <= 2
            assert NOW + 60 + DAY - acted_at >= 18 * HOUR - 2
        # 16 looks a channel and challenge, one at the exit, one before and one after each act
        assert contract.looks - before <= 3 * (SWEEPS_A_CHALLENGE + 1) + 2 * 3


async def test_after_an_outage_of_hours_it_acts_at_once(tmp_path: Path, autojump_clock: MockClock) -> None:
    del autojump_clock

    def away(_what: str, _channel: Digest) -> None:
        if stage.clock.now() < NOW + 60 + 10 * HOUR:
            raise TransientError("the chain is away")

    async with open_stage(tmp_path, channels=5) as stage:
        stage.contract.fails = away
        for channel in stage.channels:
            stage.contract.leave(channel)
        await stage.clock.sleep(11 * HOUR)
        assert len(stage.contract.acts) == 5
        assert all(0 <= at - (NOW + 60 + 10 * HOUR) <= RETRY_S + 10 for at, _ in stage.contract.acts)


@pytest.mark.parametrize("error", [TransientError("no answer"), ProtocolError("no sense"), ChainRejected("no")])
async def test_one_channel_that_can_not_be_asked_about_holds_up_no_other(
    tmp_path: Path, autojump_clock: MockClock, *, error: StoaError
) -> None:
    del autojump_clock
    async with open_stage(tmp_path, channels=4) as stage:
        poisoned = stage.channels[0]

        def fail(_what: str, channel: Digest) -> None:
            if channel == poisoned:
                raise error

        stage.contract.fails = fail
        for channel in stage.channels:
            stage.contract.leave(channel)
        await stage.clock.sleep(DAY // 4 + 2)
        assert sorted(counter for _, counter in stage.contract.acts) == [2, 3, 4]
        stage.contract.fails = lambda _what, _channel: None
        await stage.clock.sleep(RETRY_S + 10)
        assert len(stage.contract.acts) == 4


async def test_an_act_that_is_refused_is_tried_again_after_a_while_until_it_is_not_needed(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    del autojump_clock
    async with open_stage(tmp_path) as stage:
        (channel,) = stage.channels

        def fail(what: str, _channel: Digest) -> None:
            if what == "act":
                raise ChainRejected("StaleVoucher")

        stage.contract.fails = fail
        began = stage.contract.leave(channel)
        await stage.clock.sleep(stage.moment(channel) + 10 * RETRY_S)
        times = [at for at, _ in stage.contract.acts]
        assert times[0] - began - stage.moment(channel) <= 2
        assert 8 <= len(times) <= 11
        assert all(later - earlier >= RETRY_S for earlier, later in pairwise(times))
        assert stage.keeper.watches[channel].trouble == "StaleVoucher"
        # Another tower, or the payee itself, was faster.
        stage.contract.channels[channel] = replace(
            stage.contract.channels[channel], claimed=Amount(7 * ONE_TOKEN), presented=4
        )
        await stage.clock.sleep(DAY // 4)
        assert len(stage.contract.acts) <= len(times) + 1
        assert (stage.keeper.watches[channel].trouble, stage.keeper.watches[channel].plan) == ("", None)


async def test_a_payee_that_is_there_answers_an_older_presentation_itself(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    del autojump_clock
    async with open_stage(tmp_path) as stage:
        (channel,) = stage.channels
        stage.contract.channels[channel] = replace(OPEN, presented=3)
        stage.keeper.look_at(channel)
        for _ in range(10):  # it asks what the tower holds
            await stage.clock.sleep(DAY / 16)
            stage.keeper.seen[CLIENT] = stage.clock.now()
        assert stage.contract.acts == []
        await stage.clock.sleep(DAY / 4 + DAY / 16)
        assert [counter for _, counter in stage.contract.acts] == [1]


async def test_a_channel_is_forgotten_when_it_is_over_for_good_and_not_when_a_node_of_the_chain_lags(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    del autojump_clock
    async with open_stage(tmp_path, channels=2) as stage:
        lagging, closed = stage.channels
        gone = replace(OPEN, deposit=Amount(0))
        stage.contract.channels |= {lagging: gone, closed: gone}
        stage.keeper.look_at(lagging)
        stage.keeper.look_at(closed)
        await stage.clock.sleep(60)
        stage.contract.channels[lagging] = OPEN
        await stage.clock.sleep(DAY / 8)
        assert list(stage.keeper.watches) == [lagging]
        stage.contract.channels[lagging] = gone
        stage.keeper.look_at(lagging)
        await stage.clock.sleep(60)
        assert list(stage.keeper.watches) == [lagging]
        await stage.clock.sleep(DAY / 8)
        assert stage.keeper.watches == {}
