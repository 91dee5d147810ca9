"""Bugs planted on purpose, each found by a story: a check that never fails checks nothing."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from node.market import delivery_run
from node.payments.feed import Feed
from node.payments.ports import Fact
from protocol.identity import Address
from protocol.task import delivery
from tests.simulation.contracts_model import Contracts
from tests.simulation.simulate import Violation, simulate


def found(name: str, *, seeds: int = 6) -> str:
    """Return what one of the first seeds of a scenario finds."""
    for seed in range(seeds):
        try:
            simulate(name, str(seed))
        except Violation as violation:
            return str(violation)
    return "nothing"


def test_a_token_that_gets_lost_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    move = Contracts.move

    def leaking(self: Contracts, source: Address, target: Address, amount: int) -> None:
        move(self, source, target, amount)
        self.tokens[target] -= target not in (self.rules.escrow, self.rules.channel) and amount > 1000

    monkeypatch.setattr(Contracts, "move", leaking)
    assert "tokens at block" in found("calm")


def test_a_full_disk_that_ends_a_node_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def once(_self: Feed, fact: Fact, deliver: Callable[[Fact], Awaitable[bool]]) -> bool:
        return await deliver(fact)

    monkeypatch.setattr(Feed, "_hand_on", once)
    told = found("full-disk")
    assert "ended by itself" in told
    assert "DiskFull" in told


def test_a_provider_that_runs_a_part_before_the_last_is_paid_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def trusting(state: Any, event: Any) -> Any:
        after, effects = delivery.transition(state, event)
        match after:
            case delivery.Unpaid(job=job, receipt=receipt) if receipt.part + 1 < job.award.value.parts:
                part, due = receipt.part + 1, receipt.due
                working = delivery.Working(job=job, start=after.start, part=part, paid=due)
                return working, (delivery.RunPart(job=job, part=part, paid=due),)
            case _:
                return after, effects

    machine = replace(delivery_run.DELIVERY, transition=trusting)
    monkeypatch.setattr("node.market.provider.DELIVERY", machine)
    assert "UnexpectedEvent" in found("slow-node")  # the journal does not replay under the rules


def test_a_requester_that_forgets_its_tasks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_is_open(_connection: object, _prefix: str) -> tuple[str, ...]:
        return ()

    monkeypatch.setattr("node.app.trading.select_open_streams", nothing_is_open)
    assert "TaskRow" in found("blackout")
