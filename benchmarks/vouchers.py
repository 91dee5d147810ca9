"""How many vouchers two nodes sign, check and keep in a second of one core.

python -m benchmarks.run --only vouchers

Whole: the payer's book pays, its machine's event is durable, the voucher is signed and encoded; the payee decodes it,
checks it in full and has it durable before it would say so. Everything that a node does but the network between: the
same machines, accounts and journal, two rows in the journal for each voucher. Rates are for a second of CPU time of all
threads (`per core`); the rate of the wall clock stands beside them.
"""

import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import trio

from benchmarks.figures import Figure, Goal, Of, rated
from node.operations.clock import SystemClock
from node.payments import payee_book, payer_book
from node.payments.account import Account
from node.payments.payee_book import PayeeBook, PayeeContext
from node.payments.payer_book import PayerBook, PayerContext, Promised
from node.payments.tracked import Step, Tracked, track
from node.storage.machine_log import Machine, open_machine
from node.storage.storage import Storage, open_storage
from protocol.channel.chain import OpenConfirmed
from protocol.channel.holds import build_voucher
from protocol.channel.objects import ChannelKey, ChannelRules, Hold, Voucher, channel_id
from protocol.channel.paying import PaymentDue
from protocol.channel.receiving import VoucherReceived
from protocol.identity import Address, Digest
from protocol.signing.ecdsa import address_of, forget_signers
from protocol.signing.eip712 import Domain
from protocol.signing.signed import Signed, sign_struct, verify_signer
from protocol.units import MAX_AMOUNT, Amount, Seconds, UnixTime
from protocol.wire.codec import decode, encode

CHANNELS: Final = 64
"""With as many payments under way at once, so that they share commits as they do in a node."""
HOLDS: Final = 8
PAYER, PAYEE = (bytes([n]) * 32 for n in (1, 2))
DOMAIN: Final = Domain(chain_id=31337, verifying_contract=Address(b"\3" * 20))
RULES: Final = ChannelRules(challenge=Seconds(3600), hold_period=Seconds(86_400))
TOKEN: Final = Address(b"\4" * 20)
NOW: Final = UnixTime(1)


def award(number: int) -> Digest:
    """Return a made-up award digest."""
    return Digest(number.to_bytes(32))


def key(counter: int) -> ChannelKey:
    """Return the name of a channel."""
    return ChannelKey(
        payer=address_of(PAYER), signer=address_of(PAYER), payee=address_of(PAYEE), token=TOKEN, counter=counter
    )


class Channel:
    """One channel at both of its ends. Holds stand for tasks in flight; the first is the one that is paid."""

    def __init__(
        self, payer: Account[PayerContext, PayerBook, Any], payee: Account[PayeeContext, PayeeBook, Any]
    ) -> None:
        self._payer, self._payee, self._due = payer, payee, count(1)
        self._id = channel_id(payer.context.key)

    async def pay(self) -> None:
        """Carry one payment through, durably at both ends."""
        await self._payer.apply(PaymentDue(award=award(0), due=Amount(next(self._due))))
        ledger = self._payer.state.ledger
        assert ledger is not None
        signed = sign_struct(PAYER, DOMAIN, ledger.voucher(self._id))
        await self._take(encode(VoucherReceived(signed=signed, holds=ledger.holds)))

    def sign(self, holds: tuple[Hold, ...]) -> bytes:
        """Return the next voucher, signed, without a book of the payer's."""
        due = next(self._due)
        first = Hold(award=holds[0].award, arbiter=holds[0].arbiter, amount=Amount(holds[0].amount - due))
        left = (first, *holds[1:])
        voucher = build_voucher(self._id, due, Amount(due), left)
        return encode(VoucherReceived(signed=sign_struct(PAYER, DOMAIN, voucher), holds=left))

    async def receive(self, holds: tuple[Hold, ...]) -> None:
        """Sign a voucher and take it, durably at the payee."""
        await self._take(self.sign(holds))

    async def _take(self, data: bytes) -> None:
        await self._payee.apply(decode(VoucherReceived, data))
        assert self._payee.state.purse is not None
        assert self._payee.state.purse.sequence


async def open_channel(storage: Storage, number: int) -> Channel:
    """Open a channel at both ends, with its holds promised."""
    context = PayerContext(key=key(number), amount=MAX_AMOUNT, rules=RULES)
    payer_machine = Machine[PayerContext, Tracked[PayerBook], Step[Any], Any](
        context=PayerContext,
        events=Step[payer_book.BookEvent],
        begin=lambda opened: Tracked(state=payer_book.begin(opened)),
        transition=track(payer_book.RULES),
    )
    payee_machine = Machine[PayeeContext, Tracked[PayeeBook], Step[Any], Any](
        context=PayeeContext,
        events=Step[payee_book.BookEvent],
        begin=lambda opened: Tracked(state=payee_book.begin(opened, domain=DOMAIN, claim_at=MAX_AMOUNT)),
        transition=track(payee_book.RULES),
    )
    paying = await open_machine(storage.journal, payer_machine, f"payer/{number}", context)
    payer = Account(paying, payer_book.RULES, lambda: NOW)
    await payer.apply(OpenConfirmed(key=context.key, deposit=MAX_AMOUNT), block=1)
    for each in range(HOLDS):
        await payer.apply(
            Promised(
                award=award(each),
                offer=award(each),
                arbiter=TOKEN,
                price=Amount(10**12),
                dispute_fee=Amount(1),
                reserved_until=UnixTime(2**40),
            )
        )
    opened = PayeeContext(key=context.key, deposit=MAX_AMOUNT, rules=RULES)
    earning = await open_machine(storage.journal, payee_machine, f"payee/{number}", opened)
    return Channel(payer, Account(earning, payee_book.RULES, lambda: NOW))


async def durable(rounds: int, each: int) -> dict[str, list[float]]:
    """Return rates: of the payee's side and of both, for a second of CPU and of the wall clock."""
    rates: dict[str, list[float]] = {"taken": [], "taken, wall": [], "both": [], "both, wall": []}
    holds = tuple(Hold(award=award(n), arbiter=TOKEN, amount=Amount(10**12)) for n in range(HOLDS))
    with tempfile.TemporaryDirectory(prefix="stoa-bench-") as folder:
        async with open_storage(Path(folder) / "data", clock=SystemClock()) as storage:
            # A channel that was paid by one way could not go on by the other.
            opened = {"taken": range(CHANNELS), "both": range(CHANNELS, 2 * CHANNELS)}
            channels = {name: await open_channels(storage, numbers) for name, numbers in opened.items()}
            for turn in range(rounds + 1):
                for name, using in channels.items():
                    wall, cpu = perf_counter(), time.process_time()
                    async with trio.open_nursery() as nursery:
                        for channel in using:
                            nursery.start_soon(repeat, channel, holds if name == "taken" else None, each)
                    if turn:
                        rates[name].append(CHANNELS * each / (time.process_time() - cpu))
                        rates[f"{name}, wall"].append(CHANNELS * each / (perf_counter() - wall))
    return rates


async def open_channels(storage: Storage, numbers: Iterable[int]) -> list[Channel]:
    """Open channels side by side, so that they share commits here too."""
    channels: list[Channel] = []

    async def one(number: int) -> None:
        channels.append(await open_channel(storage, number))

    async with trio.open_nursery() as nursery:
        for number in numbers:
            nursery.start_soon(one, number)
    return channels


async def repeat(channel: Channel, holds: tuple[Hold, ...] | None, times: int) -> None:
    """Pay through one channel, one payment after the other."""
    for _ in range(times):
        await (channel.receive(holds) if holds is not None else channel.pay())


def rate(step: Callable[[], object], rounds: int, seconds: float = 0.2) -> list[float]:
    """Return how often `step` runs in a second, for each round."""
    rates: list[float] = []
    for _ in range(rounds):
        done, began = 0, time.process_time()
        while (elapsed := time.process_time() - began) < seconds:
            for _ in range(20):
                step()
            done += 20
        rates.append(done / elapsed)
    return rates


def verify_anew(signed: Signed[Voucher], payer: Address) -> None:
    """Verify a signature that was not met before."""
    forget_signers()
    verify_signer(DOMAIN, signed, payer)


def measure(*, quick: bool) -> list[Figure]:
    """Measure all."""
    rounds = 2 if quick else 5
    holds = tuple(Hold(award=award(n), arbiter=TOKEN, amount=Amount(n + 1)) for n in range(HOLDS))
    voucher = build_voucher(channel_id(key(1)), 1, Amount(5), holds)
    signed = sign_struct(PAYER, DOMAIN, voucher)
    payer = address_of(PAYER)
    rates = trio.run(durable, rounds, 10 if quick else 20)
    unit, goal = "/s and core", Goal(of=Of.VALUE, least=3000)
    return [
        rated(f"vouchers with {HOLDS} holds: signed, verified, durable at the payee", unit, rates["taken"], goal=goal),
        rated("  the same, by the wall clock", "/s", rates["taken, wall"]),
        rated("vouchers: durable at payer and payee", unit, rates["both"]),
        rated("  the same, by the wall clock", "/s", rates["both, wall"]),
        rated("sign a voucher", unit, rate(lambda: sign_struct(PAYER, DOMAIN, voucher), rounds)),
        rated("verify the signature of a voucher", unit, rate(lambda: verify_anew(signed, payer), rounds)),
    ]
