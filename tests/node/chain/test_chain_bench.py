"""The bench through the gateway, on a real chain: tickets that are bought, given up and paid back."""

from dataclasses import replace
from pathlib import Path

import pytest

from node.app.bench_desk import NoTickets, bench_desk
from node.chain.errors import Reverted
from node.chain.local import DEFAULT_TERMS
from protocol.signing.eip712 import digest
from protocol.task.engine import ENGINE_DIGEST
from protocol.units import Amount
from tests.node.chain.chain_world import open_world
from tests.node.chain.court_world import EACH, ENGINE, SEATS, an_offer, bench_of, claimed, enlist, indexing, side


async def test_tickets_are_bought_given_up_and_paid_back_after_the_cooldown(tmp_path: Path) -> None:
    async with (
        open_world(court=True) as world,
        indexing(world, tmp_path) as index,
        side(world, index, 2) as arbiter,
    ):
        bench = bench_of(arbiter)
        await enlist(world, arbiter, 3)
        await enlist(world, arbiter, 3)  # the same order
        assert await bench.places_of(ENGINE) == 3
        ticket = await bench.ticket_of(ENGINE, 1)
        assert (ticket.owner, ticket.counts) == (world.address(2), True)
        stake = await bench.seat_stake()
        await bench.resign(ENGINE, [0, 2])
        assert not (await bench.ticket_of(ENGINE, 2)).counts
        with pytest.raises(Reverted) as caught:
            await bench.collect()
        assert caught.value.error == "NothingToCollect"
        account = await bench.account_of(world.address(2))
        assert (account.tickets, account.leaving, account.balance) == (1, 2, 3 * stake)
        assert account.collectable(stake, account.ready_at) == 0
        assert account.collectable(stake, account.ready_at + 1) == 2 * stake
        await world.wait_until(account.ready_at)
        await bench.collect()
        assert (await bench.account_of(world.address(2))).balance == stake
        assert await world.chain.token_balance(world.address(2)) == EACH - stake


async def test_an_operator_buys_gives_up_and_collects_at_the_desk(tmp_path: Path) -> None:
    async with (
        open_world(court=True) as world,
        indexing(world, tmp_path) as index,
        side(world, index, 0) as requester,
        side(world, index, 1) as provider,
        side(world, index, 2) as arbiter,
    ):
        desk = bench_desk(world.chain, index, arbiter.gateway, world.address(2), timeout_s=60.0)
        assert desk is not None
        for count in (0, 101):
            with pytest.raises(NoTickets, match="can't be bought"):
                await desk.enlist(count, order="none")
        stake = DEFAULT_TERMS.seat_stake
        await arbiter.gateway.token.transfer(world.address(0), Amount(EACH - 9 * stake), key="away")
        with pytest.raises(NoTickets, match="the wallet has"):
            await desk.enlist(10, order="too dear")
        await enlist(world, arbiter, 1)  # for another engine
        other = bench_desk(world.chain, index, requester.gateway, world.address(0), timeout_s=60.0)
        assert other is not None
        await other.enlist(2, order="first")
        await other.resign(None)
        await desk.enlist(3, order="first")
        await desk.enlist(3, order="first")  # the same order
        await desk.enlist(4, order="second")
        assert await desk.tickets() == tuple(range(2, 9))
        with pytest.raises(NoTickets, match="this wallet has 7"):
            await desk.resign(8)
        await desk.resign(2)
        assert await desk.tickets() == tuple(range(2, 7))
        figures = await desk.figures()
        assert (figures.seat_stake, figures.cases) == (stake, 0)
        assert (figures.account.tickets, figures.account.leaving) == (6, 2)
        with pytest.raises(Reverted) as caught:
            await desk.resign(None)
        assert caught.value.error == "AlreadyLeaving"
        await world.wait_until(figures.account.ready_at)
        await desk.collect()
        assert (await desk.figures()).account.balance == 6 * stake

        offer = replace(await an_offer(world), engine=ENGINE_DIGEST)
        award = await claimed(world, requester, provider, offer)
        await requester.court.open_on_escrow(award, offer)
        await world.mine(3)
        await index.wait_for(await requester.court.draw(digest(world.deployment.market_domain, award)))
        figures = await desk.figures()
        assert (figures.cases, figures.account.seats_at(figures.now)) == (1, SEATS)
        await desk.resign(None)
        assert await desk.tickets() == ()
        account = (await desk.figures()).account
        assert account.collectable(stake, account.ready_at + 1) == stake  # five serve yet
        assert account.collectable(stake, account.serving_until + 1) == 5 * stake
