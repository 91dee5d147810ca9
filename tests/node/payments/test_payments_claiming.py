"""The desk for claims: together, in time, when gas is cheap; never behind an exit."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from node.operations.clock import TrioClock
from node.payments import claiming
from node.payments.claiming import GAS_LOOK_S, GATHER_S, LOOK_S, MAX_CLAIMS, ClaimDesk
from node.payments.errors import ClaimLeftOut
from node.payments.ports import Chain
from protocol.channel.objects import ChannelKey, Voucher, channel_id
from protocol.errors import TransientError
from protocol.identity import ZERO_DIGEST, Address, Digest
from protocol.settlement.claiming import BILLION, ClaimCosts
from protocol.signing.ecdsa import Signature
from protocol.signing.signed import Signed
from protocol.units import Amount, Seconds, UnixTime

HOUR = Seconds(3_600)
BEGUN = 1_000_000


def key_of(counter: int) -> ChannelKey:
    payer, payee = Address(b"\x01" * 20), Address(b"\x02" * 20)
    return ChannelKey(payer=payer, signer=payer, payee=payee, token=Address(b"\x03" * 20), counter=counter)


KEYS = sorted((key_of(counter) for counter in range(1, 1 + 2 * MAX_CLAIMS + 1)), key=channel_id)


def voucher(key: ChannelKey, cumulative: int) -> Signed[Voucher]:
    value = Voucher(
        channel=channel_id(key), sequence=1, cumulative=Amount(cumulative), held=Amount(0), holds=ZERO_DIGEST
    )
    return Signed(value, Signature(bytes(65)))


Pairs = Sequence[tuple[ChannelKey, Signed[Voucher]]]


@dataclass
class FakeChain:
    """Takes claims at once, and can be dear, away or unwilling."""

    cheap: bool = True
    away: bool = False
    skips: frozenset[Digest] = frozenset()
    sent: list[tuple[float, list[tuple[Digest, int]]]] = field(
        default_factory=list[tuple[float, list[tuple[Digest, int]]]]
    )
    costs: ClaimCosts = field(default_factory=lambda: ClaimCosts(base=Amount(100), each=Amount(10)))

    async def claim(self, key: ChannelKey, signed: Signed[Voucher]) -> int:
        return (await self.claim_batch([(key, signed)]))[0]

    async def claim_batch(self, claims: Pairs) -> tuple[int, frozenset[Digest]]:
        await trio.lowlevel.checkpoint()
        told = [(channel_id(key), int(signed.value.cumulative)) for key, signed in claims]
        self.sent.append((trio.current_time(), told))
        return len(self.sent), self.skips

    async def claim_costs(self) -> ClaimCosts:
        await trio.lowlevel.checkpoint()
        return self.costs

    async def is_gas_cheap(self) -> bool:
        await trio.lowlevel.checkpoint()
        if self.away:
            raise TransientError("the chain is away")
        return self.cheap


@dataclass
class Shop:
    """A desk, its chain, and what channels could claim."""

    chain: FakeChain
    desk: ClaimDesk
    payable: dict[Digest, Amount]
    asked: list[tuple[float, Digest]]


@asynccontextmanager
async def open_shop(*, patience: int = 0, hazard: int = 0) -> AsyncGenerator[Shop, None]:
    chain, payable, asked = FakeChain(), dict[Digest, Amount](), list[tuple[float, Digest]]()

    async def request(channel: Digest) -> None:
        await trio.lowlevel.checkpoint()
        asked.append((trio.current_time(), channel))

    desk = ClaimDesk(
        cast("Chain", chain),
        TrioClock.starting_at(UnixTime(BEGUN)),
        patience=Seconds(patience),
        hazard=hazard,
        payable=lambda: payable,
        request=request,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.run)
        yield Shop(chain, desk, payable, asked)
        nursery.cancel_scope.cancel()


async def claim_all(shop: Shop, keys: Sequence[ChannelKey], *, hurried: bool = False) -> None:
    async with trio.open_nursery() as nursery:
        for key in keys:

            async def one(key: ChannelKey = key) -> None:
                await shop.desk.claim(key, lambda: voucher(key, 7), since=None, hurried=hurried)

            nursery.start_soon(one)


async def test_claims_of_one_moment_are_one_transaction_sorted_by_channel(autojump_clock: MockClock) -> None:
    async with open_shop() as shop:
        await claim_all(shop, list(reversed(KEYS[:5])))
        assert [told for _, told in shop.chain.sent] == [[(channel_id(key), 7) for key in KEYS[:5]]]
        assert trio.current_time() == GATHER_S


async def test_so_many_that_one_transaction_could_not_carry_them_are_several(autojump_clock: MockClock) -> None:
    async with open_shop() as shop:
        await claim_all(shop, KEYS)
        assert sorted(len(told) for _, told in shop.chain.sent) == [1, MAX_CLAIMS, MAX_CLAIMS]


async def test_a_claim_waits_for_cheap_gas(autojump_clock: MockClock) -> None:
    async with open_shop(patience=HOUR) as shop, trio.open_nursery() as nursery:
        shop.chain.cheap = False
        nursery.start_soon(claim_all, shop, KEYS[:2])
        await trio.sleep(600)
        assert (shop.chain.sent, shop.desk.waiting) == ([], 2)
        shop.chain.cheap = True
        await trio.sleep(GAS_LOOK_S + 1)
        assert [len(told) for _, told in shop.chain.sent] == [2]


@pytest.mark.parametrize("away", [False, True])
async def test_its_patience_ends_at_last(*, away: bool, autojump_clock: MockClock) -> None:
    async with open_shop(patience=HOUR) as shop:
        shop.chain.cheap, shop.chain.away = False, away
        await claim_all(shop, KEYS[:1])
        assert HOUR <= trio.current_time() <= HOUR + GAS_LOOK_S + 1


@pytest.mark.parametrize(("since", "waits"), [(BEGUN - 1_000, HOUR - 1_000), (BEGUN - 2 * HOUR, 0), (BEGUN + 9, HOUR)])
async def test_what_was_waited_before_a_restart_counts(autojump_clock: MockClock, since: int, waits: int) -> None:
    async with open_shop(patience=HOUR) as shop:
        shop.chain.cheap = False
        await shop.desk.claim(KEYS[0], lambda: voucher(KEYS[0], 7), since=UnixTime(since), hurried=False)
        assert waits <= trio.current_time() <= waits + GAS_LOOK_S + 1


async def test_one_in_a_hurry_takes_the_patient_along(autojump_clock: MockClock) -> None:
    async with open_shop(patience=HOUR) as shop, trio.open_nursery() as nursery:
        shop.chain.cheap = False
        nursery.start_soon(claim_all, shop, KEYS[:2])
        await trio.sleep(100)
        await claim_all(shop, KEYS[2:3], hurried=True)
        assert [len(told) for _, told in shop.chain.sent] == [3]
        assert trio.current_time() < 102


async def test_a_claim_that_waits_can_be_hurried(autojump_clock: MockClock) -> None:
    async with open_shop(patience=HOUR) as shop, trio.open_nursery() as nursery:
        shop.chain.cheap = False
        nursery.start_soon(claim_all, shop, KEYS[:2])
        await trio.sleep(100)
        shop.desk.hurry(channel_id(KEYS[5]))  # nobody that waits
        await trio.sleep(10)
        assert shop.chain.sent == []
        shop.desk.hurry(channel_id(KEYS[1]))
        await trio.sleep(1)
        assert [len(told) for _, told in shop.chain.sent] == [2]


async def test_the_newest_voucher_at_the_time_of_sending_is_claimed(autojump_clock: MockClock) -> None:
    async with open_shop(patience=HOUR) as shop:
        shop.chain.cheap = False
        await shop.desk.claim(KEYS[0], lambda: voucher(KEYS[0], int(trio.current_time())), since=None, hurried=False)
        ((at, told),) = shop.chain.sent
        assert told == [(channel_id(KEYS[0]), int(at))]


async def test_who_stops_waiting_is_not_claimed_for(autojump_clock: MockClock) -> None:
    async with open_shop(patience=HOUR) as shop:
        shop.chain.cheap = False
        with trio.move_on_after(10):
            await claim_all(shop, KEYS[:1])
        await claim_all(shop, KEYS[1:2])
        assert [told for _, told in shop.chain.sent] == [[(channel_id(KEYS[1]), 7)]]


async def test_who_was_skipped_is_told_and_the_others_are_not(autojump_clock: MockClock) -> None:
    async with open_shop() as shop, trio.open_nursery() as nursery:
        shop.chain.skips = frozenset({channel_id(KEYS[0])})
        nursery.start_soon(claim_all, shop, KEYS[1:3])
        with pytest.raises(ClaimLeftOut):
            await shop.desk.claim(KEYS[0], lambda: voucher(KEYS[0], 7), since=None, hurried=False)


async def test_what_is_due_is_asked_for_once_it_has_cost_as_much_as_the_claim(autojump_clock: MockClock) -> None:
    # All is lost within a day: 86,400 base units lose one a second, and a claim costs 110.
    async with open_shop(hazard=BILLION) as shop:
        shop.payable[channel_id(KEYS[0])] = Amount(86_400)
        await trio.sleep(LOOK_S * 2.5)
        assert shop.asked == []
        await trio.sleep(LOOK_S)
        assert shop.asked == [(3 * LOOK_S, channel_id(KEYS[0]))]


async def test_ripe_channels_ride_along_with_a_transaction_that_goes_anyway(autojump_clock: MockClock) -> None:
    async with open_shop(hazard=BILLION) as shop:
        shop.payable[channel_id(KEYS[0])] = Amount(86_400)
        shop.payable[channel_id(KEYS[1])] = Amount(864)
        await trio.sleep(LOOK_S * 2.5)  # the first has lost 60, the second less than its place costs
        await claim_all(shop, KEYS[2:3])
        assert [channel for _, channel in shop.asked] == [channel_id(KEYS[0])]


async def test_nothing_is_asked_for_while_costs_are_unknown(autojump_clock: MockClock) -> None:
    async with open_shop(hazard=BILLION) as shop:
        shop.payable[channel_id(KEYS[0])] = Amount(10**9)
        costs = shop.chain.claim_costs

        async def away() -> ClaimCosts:
            raise TransientError("the chain is away")

        shop.chain.claim_costs = away  # type: ignore[method-assign]
        await trio.sleep(LOOK_S * 9.5)
        assert shop.asked == []
        shop.chain.claim_costs = costs  # type: ignore[method-assign]
        await trio.sleep(LOOK_S)
        assert len(shop.asked) == 1


def test_the_gas_that_pieces_are_cut_by_fits_into_the_limit() -> None:
    assert claiming.BASE_GAS + MAX_CLAIMS * claiming.CLAIM_GAS <= claiming.GAS_LIMIT
