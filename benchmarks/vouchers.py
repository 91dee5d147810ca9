"""How many vouchers a node signs, checks and takes in a second, on one core. Prints medians.

.venv/bin/python benchmarks/vouchers.py [--seconds 1.0] [--holds 8]
"""

import argparse
from collections.abc import Callable
from itertools import count
from statistics import median
from time import perf_counter

from protocol.channel.chain import OpenConfirmed
from protocol.channel.holds import build_voucher
from protocol.channel.objects import ChannelKey, ChannelRules, Hold, channel_id
from protocol.channel.payee import start_receiving
from protocol.channel.payee import transition as payee_transition
from protocol.channel.payer import start_opening
from protocol.channel.payer import transition as payer_transition
from protocol.channel.paying import HoldRequested, PayerState, PaymentDue, SendVoucher, VoucherAcknowledged
from protocol.channel.receiving import PayeeState, VoucherReceived
from protocol.identity import Address, Digest
from protocol.signing.ecdsa import address_of
from protocol.signing.eip712 import Domain
from protocol.signing.signed import Signed, sign_struct, verify_signer
from protocol.units import MAX_AMOUNT, Amount, Seconds
from protocol.wire.codec import decode, encode

ROUNDS = 5
PAYER, PAYEE = (bytes([n]) * 32 for n in (1, 2))
DOMAIN = Domain(chain_id=31337, verifying_contract=Address(b"\3" * 20))
RULES = ChannelRules(challenge=Seconds(3600), hold_period=Seconds(86_400))
KEY = ChannelKey(
    payer=address_of(PAYER), signer=address_of(PAYER), payee=address_of(PAYEE), token=Address(b"\4" * 20), counter=1
)


def rate(step: Callable[[], object], seconds: float) -> float:
    """Return how often `step` runs in a second: the median of some rounds, `seconds` in all."""
    rates: list[float] = []
    for _ in range(ROUNDS):
        done, begun = 0, perf_counter()
        while (elapsed := perf_counter() - begun) < seconds / ROUNDS:
            for _ in range(20):
                step()
            done += 20
        rates.append(done / elapsed)
    return median(rates)


def award(number: int) -> Digest:
    """Return a made-up award digest."""
    return Digest(number.to_bytes(32))


def payments(holds: int) -> tuple[Callable[[], Signed[object]], Callable[[], object]]:
    """Return the payer's step (a payment, signed) and a payment carried through to the payee's acknowledgement."""
    payer: PayerState = start_opening(KEY, MAX_AMOUNT, RULES)
    opened = OpenConfirmed(key=KEY, deposit=MAX_AMOUNT)
    payer, _ = payer_transition(payer, opened)
    payee: PayeeState = start_receiving(opened, rules=RULES, domain=DOMAIN, claim_at=MAX_AMOUNT)
    for number in range(holds):
        request = HoldRequested(award=award(number), arbiter=KEY.token, price=Amount(10**12), dispute_fee=Amount(1))
        payer, _ = payer_transition(payer, request)
    total = count(1)

    def pay() -> VoucherReceived:
        nonlocal payer
        payer, effects = payer_transition(payer, PaymentDue(award=award(0), due=Amount(next(total))))
        (effect,) = effects
        assert isinstance(effect, SendVoucher)
        return VoucherReceived(signed=sign_struct(PAYER, DOMAIN, effect.voucher), holds=effect.holds)

    def whole() -> None:
        nonlocal payer, payee
        received = decode(VoucherReceived, encode(pay()))
        payee, _ = payee_transition(payee, received)
        payer, _ = payer_transition(payer, VoucherAcknowledged(sequence=received.signed.value.sequence))

    return lambda: pay().signed, whole  # pyright: ignore[reportReturnType] - Signed is invariant in its value


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each figure")
    parser.add_argument("--holds", type=int, default=8, help="tasks in flight in the channel")
    arguments = parser.parse_args()
    seconds, number = arguments.seconds, arguments.holds
    holds = tuple(Hold(award=award(n), arbiter=KEY.token, amount=Amount(n + 1)) for n in range(number))
    voucher = build_voucher(channel_id(KEY), 1, Amount(5), holds)
    signed = sign_struct(PAYER, DOMAIN, voucher)
    pay, whole = payments(number)
    figures = {
        "sign one voucher": rate(lambda: sign_struct(PAYER, DOMAIN, voucher), seconds),
        "verify one signature": rate(lambda: verify_signer(DOMAIN, signed, KEY.signer), seconds),
        f"payer: pay against a hold, build and sign ({number} holds)": rate(pay, seconds),
        f"both: pay, encode, decode, check in full, acknowledge ({number} holds)": rate(whole, seconds),
    }
    for name, value in figures.items():
        print(f"{value:>10,.0f} /s  {name}")


if __name__ == "__main__":
    main()
