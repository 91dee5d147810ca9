"""Disputes between real processes: a provider lies, five arbiters run the part again, the cheat is slashed.

The windows are those of the blocks: nothing here warps time. What each dispute took is printed (`pytest -s`).
"""

import signal
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from node.api.client import open_client
from node.api.errors import RemoteRefusal
from node.api.facade import NodeFacade
from node.chain.abi import load_artifact
from node.chain.chain import Chain
from node.chain.court import Court
from node.chain.local import LocalTerms, fund
from node.chain.opening import open_chain
from node.chain.profile import LOCAL
from node.chain.rpc import hexed, quantity
from node.devnet.balances import Snapshot
from node.devnet.layout import NodePlace
from protocol.dispute.case import Round, Stage
from protocol.identity import Digest
from protocol.units import ONE_TOKEN, Amount, Seconds
from tests.system.liars import lying
from tests.system.system_lab import Lab, make_monte_carlo

PROVIDERS, WATCHERS = 1, 5
COURT = True
CASE_S = 90
"""So long that a busy machine finds its quorum long before the chain is asked for more."""
OVERRIDES = {"provider.credit_limit": "20", "requester.pace_s": 20, "requester.resolve_within_s": CASE_S}
OWN: dict[str, dict[str, bool]] = {f"watcher-{number}": {"arbiter.enabled": True} for number in range(1, WATCHERS + 1)}
OWN["provider-1"] = {
    "disputes.open": False
}  # so that the case which a user opens is not opened by the other side before
TERMS = LocalTerms(
    challenge=Seconds(60), hold_period=Seconds(3_600), min_resolve_within=Seconds(CASE_S // 2), max_time=Seconds(CASE_S)
)
BUDGET = 12 * ONE_TOKEN
LIABILITY = BUDGET // 5


def arbiters_of(lab: Lab) -> tuple[NodePlace, ...]:
    return tuple(place for place in lab.devnet.places if place.name.startswith("watcher"))


@asynccontextmanager
async def court_of(lab: Lab) -> AsyncGenerator[tuple[Chain, Court], None]:
    async with open_chain(LOCAL, lab.devnet.rpc_url, lab.devnet.deployment) as chain:
        yield chain, Court(chain)


async def endow(lab: Lab) -> None:
    """Give the provider a new stake, and each arbiter a ticket more: the others may still stand for earlier cases."""
    devnet, (provider,) = lab.devnet, lab.devnet.providers
    for place, amount in ((provider, LIABILITY), *((each, TERMS.seat_stake) for each in arbiters_of(lab))):
        await fund(devnet.rpc_url, devnet.deployment, [place.wallet], tokens=Amount(amount))
        lab.supply += amount
    staked = await lab.cli(provider, "stake", "add", "2.4")
    assert staked.code == 0, staked.text
    for place in arbiters_of(lab):
        enlisted = await lab.cli(place, "arbiter", "enlist", "1")
        assert enlisted.code == 0, enlisted.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a dispute took."""

    award: Digest
    wall_s: float
    gas: dict[str, int]
    last: Round

    @property
    def earning(self) -> int:
        """How many seats voted as was decided."""
        return self.last.opened_seats.bit_count()


@asynccontextmanager
async def leaving_cases_to_its_user(lab: Lab) -> AsyncGenerator[None, None]:
    """Run the requester with disputes.open = false until the block ends; `lab` starts it as it was before."""
    place = lab.requester
    before = place.config.read_text()
    assert before.count("[disputes]\n") == 1
    await lab.kill(place)
    place.config.write_text(before.replace("[disputes]\n", "[disputes]\nopen = false\n"))
    try:
        await lab.start(place)
        yield
        await lab.kill(place)
    finally:
        place.config.write_text(before)


async def open_by_hand(lab: Lab, award: Digest) -> None:
    """Be a user who opens the case as soon as the provider claims."""

    async def can_be_opened() -> bool:
        async with open_client(lab.requester.socket) as client:
            try:
                quote = await client.call(NodeFacade.dispute_open_quote, award=award.hex(), look=True)
            except RemoteRefusal:  # nothing is claimed yet
                return False
        assert (quote.expected, quote.warning, quote.bond) == ("wrong result", "", TERMS.least_fee)
        return True

    await lab.until("a claim can be taken to court", can_be_opened)
    ran = await lab.cli(lab.requester, "disputes", "open", award.hex()[:8], "--yes", "--json")
    assert ran.code == 0, ran.text
    (opened,) = ran.documents()
    assert (opened["award"], opened["state"], opened["opened_by_us"]) == (award.hex(), "open", True), ran.text


async def have_dispute(lab: Lab, folder: Path, *, pause_chain_s: float = 0, by_hand: bool = False) -> Told:
    """Let the lying provider win a task, and wait until the court has closed the case about it."""
    task = await lab.submit(make_monte_carlo(folder, parts=1, batches=4, paths=200, budget="12"), verify="audit:100%")
    detail = await lab.wait_ended(task)
    assert (detail.task.state, detail.task.spent) == ("failed", 0)
    (award,) = detail.awards
    assert award.rail == "escrow"
    began = time.monotonic()
    async with court_of(lab) as (chain, court):
        first = await chain.head()

        async def is_open() -> bool:
            return (await court.case_of(award.award)).stage is not Stage.NONE

        async def is_closed() -> bool:
            return (await court.case_of(award.award)).stage is Stage.CLOSED

        if by_hand:
            await open_by_hand(lab, award.award)
        await lab.until("the case is open", is_open)
        opened = time.monotonic()
        if pause_chain_s:
            lab.devnet.chain_process.send_signal(signal.SIGSTOP)
            await trio.sleep(pause_chain_s)
            lab.devnet.chain_process.send_signal(signal.SIGCONT)
        await lab.until("the case is closed", is_closed)
        told = Told(
            award=award.award,
            wall_s=time.monotonic() - opened,
            gas=await gas_since(chain, lab, first.number),
            last=await court.case_of(award.award),
        )
    print_told(told, time.monotonic() - began)
    return told


async def gas_since(chain: Chain, lab: Lab, block: int) -> dict[str, int]:
    """Return what was spent on calls of the court since a block, by function."""
    names = {entry.hash[:4]: name for name, entry in load_artifact("DisputeArbiter").abi.functions.items()}
    spent: dict[str, int] = {}
    head = await chain.head()
    for number in range(block + 1, head.number + 1):
        content = await chain.rpc.call("eth_getBlockByNumber", hexed(number), True)
        assert isinstance(content, dict)
        transactions = content["transactions"]
        assert isinstance(transactions, list)
        for each in transactions:
            assert isinstance(each, dict)
            if each["to"] is None or str(each["to"]).lower() != hexed(lab.devnet.deployment.court):
                continue
            receipt = await chain.rpc.call("eth_getTransactionReceipt", each["hash"])
            assert isinstance(receipt, dict)
            name = names[bytes.fromhex(str(each["input"])[2:10])]
            spent[name] = spent.get(name, 0) + quantity(receipt["gasUsed"])
    return spent


def print_told(told: Told, total_s: float) -> None:
    case, times = told.last, told.last.schedule
    lines = [
        f"windows of a case of {case.time} s: drawn within {times.draw_by - case.began} s",
        f"    sealed {times.seal_by - case.began} s, opened {times.open_by - case.began} s, appeal {case.time // 12} s",
        f"wall time: open to closed {told.wall_s:.1f} s; since the task ended {total_s:.1f} s",
        *(f"gas of {name}: {amount:,}" for name, amount in told.gas.items()),
        f"gas in all: {sum(told.gas.values()):,}",
    ]
    print("", *lines, sep="\n")  # noqa: T201


async def assert_cheat_pays(lab: Lab, told: Told, before: Snapshot) -> None:
    """The lock is lost, the requester refunded with a bounty, and the seats that agreed share the fee."""
    assert told.last.number == 0
    await lab.settle()
    income = lab.income(before, await lab.assert_books_balance(before))
    assert told.earning >= 3
    fees = TERMS.least_fee * told.earning // 5
    assert {name: change for name, change in income.items() if change} == {
        name: change
        for name, change in {
            "requester": LIABILITY - TERMS.least_fee,
            "stakes": -LIABILITY,
            "bench": fees,
            "pool": TERMS.least_fee - fees,
        }.items()
        if change
    }, lab.last_words()
    shown = await lab.cli(lab.requester, "disputes", "show", told.award.hex())
    assert shown.code == 0, shown.text
    assert "wrong result" in shown.out.lower(), shown.text


async def test_two_lying_arbiters_of_five_change_nothing(lab: Lab, tmp_path: Path) -> None:
    await endow(lab)  # on a new bench: each holds exactly one seat
    before = await lab.snapshot()
    async with AsyncExitStack() as stack:
        for place in (lab.devnet.places[1], *arbiters_of(lab)[:2]):
            await stack.enter_async_context(lying(lab, place, "output"))
        told = await have_dispute(lab, tmp_path / "task")
        await assert_cheat_pays(lab, told, before)
    assert told.earning == 3


async def test_five_arbiters_run_a_forged_part_again_and_the_cheat_is_slashed(lab: Lab, tmp_path: Path) -> None:
    await endow(lab)
    before = await lab.snapshot()
    async with lying(lab, lab.devnet.places[1], "output"):
        told = await have_dispute(lab, tmp_path / "task")
        await assert_cheat_pays(lab, told, before)
    assert {"open", "settleByQuorum", "close"} <= set(told.gas)


async def test_a_chain_that_stops_half_way_only_delays_the_case(lab: Lab, tmp_path: Path) -> None:
    """And it is one that its user opened, for the requester's node leaves it alone."""
    await endow(lab)
    before = await lab.snapshot()
    async with lying(lab, lab.devnet.places[1], "output"), leaving_cases_to_its_user(lab):
        told = await have_dispute(lab, tmp_path / "task", pause_chain_s=6, by_hand=True)
        await assert_cheat_pays(lab, told, before)
