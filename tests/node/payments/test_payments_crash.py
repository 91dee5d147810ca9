"""Nodes that crash and a chain that stops answering: nothing is opened or paid twice, nothing is forgotten."""

import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import trio

from node.chain.deployment import save_deployment
from protocol.identity import ZERO_DIGEST, Digest
from protocol.market.objects import Award
from protocol.signing.ecdsa import address_of
from protocol.signing.eip712 import digest
from protocol.signing.signed import Signed
from protocol.task.messages import VoucherNotice
from protocol.units import ONE_TOKEN, Amount
from protocol.wire.codec import decode, decode_as
from tests.node.payments.payments_world import (
    PATIENCE_S,
    STAKE,
    Crash,
    Party,
    World,
    accept,
    engage,
    eventually,
    key_of,
    pay,
    prepare,
    receipt_of,
    start_of,
)

CHILD = Path(__file__).parent / "paying_child.py"
ROOT = Path(__file__).parents[3]
PRICE = 400_000
DEPOSIT = 2 * ONE_TOKEN
ENOUGH = 80


class Market:
    """What the market remembers of one award across crashes: which steps are done. A step that failed is done again."""

    def __init__(self, world: World) -> None:
        self.world, self.done, self.crashes = world, 0, 0
        self.award: tuple[Award, Digest] | None = None
        self.notice: VoucherNotice | None = None

    async def go_on(self, payer: Party, payee: Party) -> None:
        """Do what is left of prepare, fund, take, pay, close and settle."""
        steps = (self._prepare, self._fund, self._take, self._pay_first, self._pay_last, self._close, self._finish)
        while self.done < len(steps):
            await steps[self.done](payer, payee)
            self.done += 1

    async def _prepare(self, payer: Party, payee: Party) -> None:
        self.award = await prepare(self.world, payer, payee, PRICE)

    def _signed(self, payer: Party) -> tuple[Signed[Award], Digest]:
        assert self.award is not None
        return payer.sign(self.award[0]), self.award[1]

    async def _fund(self, payer: Party, payee: Party) -> None:
        del payee
        self.notice = await payer.payments.payer.fund(*self._signed(payer))

    async def _take(self, payer: Party, payee: Party) -> None:
        await eventually(lambda: bool(payee.payments.payee.channels()))
        await payee.payments.payee.receive_funding(*self._signed(payer), self.notice)
        await payee.payments.payee.wait_funded(*self._signed(payer))

    async def _pay_first(self, payer: Party, payee: Party) -> None:
        await pay(payer, payee, self._signed(payer)[0], 0, 100)

    async def _pay_last(self, payer: Party, payee: Party) -> None:
        await pay(payer, payee, self._signed(payer)[0], 1, 300, last=True)

    async def _close(self, payer: Party, payee: Party) -> None:
        await payer.payments.payer.close(*self._signed(payer))
        await payee.payments.payee.settle(*self._signed(payer), None, None, None)

    async def _finish(self, payer: Party, payee: Party) -> None:
        rails = payer.payments.payer
        await eventually(lambda: not rails.channels()[0].held and rails.channels()[0].acknowledged)
        await payee.payments.payee.drain()


async def test_a_payer_that_crashes_after_every_record_opens_one_channel_and_pays_once(world: World) -> None:
    market, crashes = Market(world), 0
    async with world.party("payee") as payee:
        for _ in range(ENOUGH):
            try:
                async with world.party("payer", crash_after=1) as payer:
                    await market.go_on(payer, payee)
                    break
            except* Crash:
                crashes += 1
        async with world.party("payer") as payer:
            (view,) = payer.payments.payer.channels()
            assert (view.paid, view.held, view.deposit) == (300, 0, DEPOSIT)
            assert await payer.gateway.channels.counter_of(payer.address) == 1
        balances = await world.balances("payer", "payee")
    assert 10 < crashes < ENOUGH
    assert balances == {
        "payer": STAKE - DEPOSIT,
        "payee": STAKE + 300,
        "channels": DEPOSIT - 300,
        "escrow": 0,
    }


async def test_a_payee_that_crashes_after_every_record_keeps_what_it_was_paid(world: World) -> None:
    market, crashes = Market(world), 0
    async with world.party("payer") as payer:
        await payer.payments.payer.open_channel(address_of(key_of("payee")), Amount(DEPOSIT))
        for _ in range(ENOUGH):
            try:
                async with world.party("payee", crash_after=1) as payee:
                    await market.go_on(payer, payee)
                    break
            except* Crash:
                crashes += 1
        async with world.party("payee") as payee:
            (view,) = payee.payments.payee.channels()
            assert (view.earned, view.claimed, view.held, view.unpaid) == (300, 300, 0, 0)
            assert await payer.payments.payer.close_channel(view.channel) == "closed"
        balances = await world.balances("payer", "payee")
    assert 8 < crashes < ENOUGH
    assert balances == {"payer": STAKE - 300, "payee": STAKE + 300, "channels": 0, "escrow": 0}


async def test_both_sides_of_an_escrow_crash_after_every_record_and_it_ends_as_agreed(world: World) -> None:
    crashes = [0, 0]
    award: tuple[Award, Digest] | None = None
    price = 25 * ONE_TOKEN
    for turn in range(ENOUGH):
        try:
            async with (
                world.party("payer", crash_after=1 if turn % 2 else 1_000) as payer,
                world.party("payee", crash_after=1_000 if turn % 2 else 1) as payee,
            ):
                if award is None:
                    offer = world.offer(payer.address, rail=world.deployment.escrow)
                    award = world.award(offer, payee.address, ZERO_DIGEST, price)
                await _run_escrow(payer, payee, *award)
                break
        except* Crash:
            crashes[turn % 2] += 1
    balances = await world.balances("payer", "payee")
    assert all(crashes)  # how often depends on what the other side had done by then
    assert balances == {"payer": STAKE - 11, "payee": STAKE + 11, "channels": 0, "escrow": 0}


async def _run_escrow(payer: Party, payee: Party, award: Award, award_id: Digest) -> None:
    """Go through a whole award; what a crash interrupted is simply done again, as the market does."""
    rails, paying = payee.payments.payee, payer.payments.payer
    signed = payer.sign(award)
    if (await payer.gateway.escrow.record_of(award_id)).state < 6:  # not closed yet
        await paying.fund(signed, award_id)
        await rails.receive_funding(signed, award_id, None)
        await rails.wait_funded(signed, award_id)
        start = payee.sign(start_of(award_id))
        await rails.note_start(signed, award_id, start)
        await rails.note_receipt(signed, award_id, payee.sign(receipt_of(award_id, 1, 11)))
        acceptance = await accept(payer, signed, 1, 11)
        await paying.pay(signed, award_id, acceptance, last=True)
        await rails.receive_payment(signed, award_id, acceptance, None)
        await paying.close(signed, award_id)
        await rails.settle(signed, award_id, start, acceptance, None)
    await eventually(lambda: paying.escrows() == () and rails.escrows() == ())


async def test_no_voucher_that_was_shown_is_lost_when_the_process_is_killed(world: World, tmp_path: Path) -> None:
    deployments = tmp_path / "deployments.json"
    save_deployment(deployments, world.deployment)
    shown = await trio.to_thread.run_sync(run_until_killed, world, deployments, 5)
    last, signed = shown[-1]
    award_id = digest(world.deployment.market_domain, signed.value)
    async with world.party("payer") as payer, world.party("payee") as payee:
        (view,) = payer.payments.payer.channels()
        assert view.deposit == DEPOSIT
        assert view.paid >= last.voucher.value.cumulative
        again = await payer.payments.payer.fund(signed, award_id)  # the newest voucher, signed again
        assert again is not None
        assert again.voucher.value.sequence >= last.voucher.value.sequence
        if again.voucher.value.sequence == last.voucher.value.sequence:
            assert again == last
        await payee.payments.payee.receive_funding(signed, award_id, last)
        await payee.payments.payee.receive_funding(signed, award_id, again)
        await payee.payments.payee.drain()
        balances = await world.balances("payer", "payee")
    assert balances["payee"] == STAKE + again.voucher.value.cumulative
    assert balances["payer"] == STAKE - DEPOSIT
    assert balances["payer"] + balances["payee"] + balances["channels"] == 2 * STAKE


def run_until_killed(world: World, deployments: Path, lines: int) -> list[tuple[VoucherNotice, Signed[Award]]]:
    """Run the child, kill it with SIGKILL after it has shown so many vouchers, and return all that it showed."""
    command = [sys.executable, str(CHILD), world.url, str(deployments), str(world.folder)]
    env = {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=env, text=True) as child:
        assert child.stdout is not None
        # Its log goes to stdout too; vouchers are the lines of two words of hexadecimal digits.
        shown: list[str] = []
        while len(shown) < lines:
            line = child.stdout.readline()
            assert line, "the child ended by itself"
            if _is_voucher(line):
                shown.append(line)
        child.send_signal(signal.SIGKILL)
        shown += [line for line in child.stdout.readlines() if line.endswith("\n") and _is_voucher(line)]
    pairs = [line.split() for line in shown]
    return [
        (
            decode(VoucherNotice, bytes.fromhex(notice)),
            decode_as(Signed[Award], bytes.fromhex(award), max_bytes=4096),
        )
        for notice, award in pairs
    ]


def _is_voucher(line: str) -> bool:
    words = line.split()
    return len(words) == 2 and all(set(word) <= set("0123456789abcdef") and len(word) > 64 for word in words)


@contextmanager
def stopped(process: trio.Process) -> Generator[None, None, None]:
    """Have the chain answer nobody."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


async def test_while_the_chain_is_silent_tasks_in_hand_go_on_and_what_is_owed_waits(world: World) -> None:
    async with world.party("payer") as payer, world.party("payee") as payee:
        signed, _, _ = await engage(world, payer, payee, PRICE)
        rails = payee.payments.payee
        offer = world.offer(payer.address)
        other, other_id = world.award(offer, payee.address, signed.value.channel, PRICE)
        with stopped(world.anvil):
            await pay(payer, payee, signed, 0, 100)
            await rails.claim(signed.value.channel)  # noted, and done when it can be
            notice = await payer.payments.payer.fund(payer.sign(other), other_id)
            await rails.receive_funding(payer.sign(other), other_id, notice)
            await trio.sleep(3)  # over a quarter of the challenge (M6)
            with trio.move_on_after(0.5) as waiting:
                await rails.wait_funded(payer.sign(other), other_id)
            assert waiting.cancelled_caught
            await pay(payer, payee, signed, 1, PRICE)
            assert rails.channels()[0].claimed == 0
        with trio.fail_after(PATIENCE_S):
            await rails.wait_funded(payer.sign(other), other_id)
        await eventually(lambda: rails.channels()[0].claimed == PRICE or rails.channels()[0].claimed == 100)
        await rails.drain()
        assert rails.channels()[0].claimed == PRICE
        balances = await world.balances("payer", "payee")
    assert balances["payee"] == STAKE + PRICE
    assert balances["payer"] + balances["channels"] == STAKE - PRICE
