"""Bugs planted on purpose, each found by a story: a check that never fails checks nothing."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from node.market import delivery_run
from node.market.gossip import MarketGossip
from node.market.provider import Provider
from node.payments.feed import Feed
from node.payments.ports import Fact
from node.storage.machine_log import MachineLog
from node.wallet.signer import Signer
from protocol.identity import Address, ContentDigest, Digest
from protocol.market import scoring
from protocol.task import delivery
from protocol.task.objects import Receipt
from protocol.units import UnixTime
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


def test_streams_that_are_never_closed_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def leave_open(_self: object) -> None: ...

    monkeypatch.setattr(MachineLog, "close", leave_open)
    assert "would take up" in found("calm")


def test_a_receipt_that_differs_when_it_is_sent_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    sign, signed = Signer.sign, set[tuple[Digest, int]]()

    def forgetful(self: Signer, value: Any, *, channel: bool = False) -> Any:
        if isinstance(value, Receipt):
            if (value.award, value.part) in signed:
                value = replace(value, notes=ContentDigest(bytes(32)))
            signed.add((value.award, value.part))
        return sign(self, value, channel=channel)

    monkeypatch.setattr(Signer, "sign", forgetful)
    assert "signed and sent another Receipt" in found("provider-dies-at-a-commit")


def test_a_worker_that_is_never_free_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    load, spawn, taken = Provider._load, Provider._spawn, Counter[int]()  # pyright: ignore[reportPrivateUsage]

    def counting(self: Provider, run: Any) -> None:
        taken[id(self)] += 1
        spawn(self, run)

    def leaking(self: Provider) -> int:
        return load(self) + taken[id(self)]

    monkeypatch.setattr(Provider, "_spawn", counting)
    monkeypatch.setattr(Provider, "_load", leaking)
    assert "every worker is held" in found("calm")


def test_an_award_to_the_wrong_bidder_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def backwards(roll_id: Digest, candidates: Any) -> Any:
        return tuple(reversed(scoring.rank(roll_id, candidates)))

    monkeypatch.setattr("protocol.market.auction_closing.rank", backwards)
    assert "WrongWinner" in found("lossy")


def test_strikes_that_never_fade_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def for_ever(struck_at: Iterable[UnixTime], _now: UnixTime) -> bool:
        return bool(tuple(struck_at))

    monkeypatch.setattr("protocol.reputation.strikes.is_refused", for_ever)
    assert "forgiven" in found("struck-in-bad-weather", seeds=1)


def test_a_commitment_that_is_forgotten_since_it_overtook_its_offer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(_self: MarketGossip, _topic: object, _data: bytes) -> None: ...

    monkeypatch.setattr(MarketGossip, "_keep_early", forget)
    assert "whoever heard the commitment in time" in found("struck-in-bad-weather", seeds=1)
