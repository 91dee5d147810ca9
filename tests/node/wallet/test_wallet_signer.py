"""What the signer signs, and what it refuses before anything is signed."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
import trio
from eth_abi.abi import encode
from eth_account import Account
from trio.testing import MockClock

from node.wallet.calls import SigningScope
from node.wallet.errors import UndeclaredSpend
from node.wallet.keystore import WalletKey
from node.wallet.secret import Secret
from node.wallet.signer import Signer, open_signer
from protocol.channel.objects import ChannelKey, Voucher, channel_id
from protocol.errors import StorageError
from protocol.identity import ZERO_ADDRESS, ZERO_DIGEST, Address, ContentDigest, Digest
from protocol.market.objects import Award
from protocol.signing.ecdsa import address_of
from protocol.signing.eip712 import digest, type_string
from protocol.signing.keccak import keccak256
from protocol.signing.signed import Signed, signer_of
from protocol.spending import Cap, Spend, SpendingCapExceeded, SpendingCaps, SpendingEvent
from protocol.task.objects import Acceptance, Receipt
from protocol.units import Amount, BasisPoints, Seconds, UnixTime

KEY = b"\x11" * 32
ME = address_of(KEY)
SCOPE = SigningScope(
    chain_id=31337,
    token=Address(b"\x01" * 20),
    escrow=Address(b"\x02" * 20),
    payment_channel=Address(b"\x03" * 20),
)
CAPS = SpendingCaps(per_task=Amount(60), per_hour=Amount(100), per_day=Amount(200), per_peer=Amount(150))
PROVIDER = Address(b"\x0a" * 20)
NOW = UnixTime(1_800_000_000)


@dataclass
class Ledger:
    """Keeps events in memory; `slow` makes an append as slow as a disk."""

    events: list[SpendingEvent] = field(default_factory=list[SpendingEvent])
    slow: bool = False

    async def load(self) -> Sequence[SpendingEvent]:
        return tuple(self.events)

    async def append(self, event: SpendingEvent) -> None:
        if self.slow:
            await trio.sleep(1)
        self.events.append(event)


@asynccontextmanager
async def signing(ledger: Ledger | None = None, caps: SpendingCaps = CAPS) -> AsyncGenerator[Signer, None]:
    key = WalletKey(ME, Secret(KEY))
    async with open_signer(key, scope=SCOPE, caps=caps, ledger=ledger or Ledger(), now=lambda: NOW) as signer:
        yield signer


def award(price: int, *, channel: Digest = ZERO_DIGEST, offer: int = 1, fee: int = 0) -> Award:
    return Award(
        offer=Digest(bytes([offer]) * 32),
        roll=ZERO_DIGEST,
        bids=ZERO_DIGEST,
        requester=ME,
        provider=PROVIDER,
        token=SCOPE.token,
        rail=SCOPE.escrow,
        channel=channel,
        arbiter=ZERO_ADDRESS,
        slot=0,
        attempt=0,
        first_part=0,
        parts=1,
        price=Amount(price),
        liability=Amount(0),
        dispute_fee=Amount(fee),
        split_bps=BasisPoints(5000),
        start_by=UnixTime(1),
        deliver_by=UnixTime(2),
        pace=Seconds(3),
        resolve_within=Seconds(4),
        audit_seal=ZERO_DIGEST,
    )


def voucher(cumulative: int, held: int = 0, *, channel: int = 7) -> Voucher:
    return Voucher(
        channel=Digest(bytes([channel]) * 32),
        sequence=1,
        cumulative=Amount(cumulative),
        held=Amount(held),
        holds=ZERO_DIGEST,
    )


def acceptance(of: Award, due: int) -> Acceptance:
    return Acceptance(award=digest(SCOPE.market_domain, of), part=0, receipt=ZERO_DIGEST, due=Amount(due))


def receipt() -> Receipt:
    empty = ContentDigest(bytes(32))
    return Receipt(
        award=ZERO_DIGEST,
        part=0,
        outcome=0,
        output=empty,
        logs=empty,
        fuel=0,
        peak_mib=0,
        bytes_in=0,
        bytes_out=0,
        due=Amount(0),
        notes=empty,
    )


async def test_what_promises_nothing_is_signed_without_asking_a_cap() -> None:
    ledger = Ledger()
    async with signing(
        ledger, SpendingCaps(per_task=Amount(0), per_hour=Amount(0), per_day=Amount(0), per_peer=Amount(0))
    ) as signer:
        signed = signer.sign(receipt())
    assert signer_of(SCOPE.market_domain, signed) == ME
    assert ledger.events == []


async def test_what_promises_money_is_refused_by_the_plain_method() -> None:
    async with signing() as signer:
        for value in (award(1), voucher(1), acceptance(award(1), 1)):
            with pytest.raises(UndeclaredSpend, match=type(value).__name__):
                signer.sign(value)
        with pytest.raises(UndeclaredSpend):
            await signer.sign_agreed(voucher(1), Spend(account=ZERO_DIGEST, total=Amount(0), peer=PROVIDER))


async def test_a_voucher_is_signed_as_payee_only_where_that_is_no_payment() -> None:
    key = ChannelKey(payer=PROVIDER, signer=PROVIDER, payee=ME, token=SCOPE.token, counter=1)
    voucher = Voucher(channel=channel_id(key), sequence=1, cumulative=Amount(10**9), held=Amount(0), holds=ZERO_DIGEST)
    ledger = Ledger()
    async with signing(ledger) as signer:
        signature = signer.sign_as_payee(voucher, key)
        assert signer_of(SCOPE.channel_domain, Signed(voucher, signature)) == ME
        assert ledger.events == []
        for other in (
            replace(key, counter=2),
            replace(key, payee=PROVIDER),
            replace(key, signer=ME),
            replace(key, payer=ME),
        ):
            named = voucher if other.counter == 2 else replace(voucher, channel=channel_id(other))
            with pytest.raises(UndeclaredSpend):
                signer.sign_as_payee(named, other)


async def test_an_escrow_award_its_funding_and_its_acceptances_count_once() -> None:
    ledger = Ledger()
    async with signing(ledger) as signer:
        job = award(50, fee=10)
        signed = await signer.sign_award(job)
        assert signer_of(SCOPE.market_domain, signed) == ME
        await signer.sign_award(job)
        await sign_call(signer, SCOPE.escrow, fund_data(job), signer.spend_of_award(job))
        await signer.sign_acceptance(acceptance(job, 25), job)
        await signer.sign_acceptance(acceptance(job, 50), job)
        assert signer.remaining(peer=PROVIDER, task=job.offer) == {
            Cap.TASK: 0,
            Cap.HOUR: 40,
            Cap.DAY: 140,
            Cap.PEER: 90,
        }
    assert len(ledger.events) == 1


async def test_a_channel_award_and_its_acceptance_promise_nothing_beyond_the_vouchers() -> None:
    ledger = Ledger()
    async with signing(ledger) as signer:
        job = award(10**9, channel=voucher(0).channel)
        await signer.sign_award(job)
        await signer.sign_acceptance(acceptance(job, 10**9), job)
        assert ledger.events == []
        signed = await signer.sign_voucher(voucher(0, 40), payee=PROVIDER, task=job.offer, task_total=Amount(40))
        assert signer_of(SCOPE.channel_domain, signed) == ME
        await signer.sign_voucher(voucher(40, 0), payee=PROVIDER, task=job.offer, task_total=Amount(40))
    assert len(ledger.events) == 1


async def test_a_cap_in_the_way_stops_the_signature_and_leaves_no_trace() -> None:
    ledger = Ledger()
    async with signing(ledger) as signer:
        with pytest.raises(SpendingCapExceeded) as caught:
            await signer.sign_award(award(61))
        assert (caught.value.cap, caught.value.left) == (Cap.TASK, 60)
        with pytest.raises(SpendingCapExceeded):
            await signer.sign_voucher(voucher(101), payee=PROVIDER, task=None, task_total=Amount(0))
        assert ledger.events == []
        assert signer.remaining()[Cap.HOUR] == 100


async def test_a_standby_attempt_counts_against_the_same_task() -> None:
    async with signing() as signer:
        await signer.sign_award(award(40))
        with pytest.raises(SpendingCapExceeded) as caught:
            await signer.sign_award(replace(award(40), attempt=1))
        assert (caught.value.cap, caught.value.left) == (Cap.TASK, 20)
        await signer.sign_award(award(40, offer=2))


async def test_promises_survive_a_restart() -> None:
    ledger = Ledger()
    async with signing(ledger) as signer:
        await signer.sign_award(award(60))
    async with signing(ledger) as signer:
        await signer.sign_award(award(60))
        with pytest.raises(SpendingCapExceeded):
            await signer.sign_award(award(41, offer=2))
    assert len(ledger.events) == 1


async def test_two_tasks_can_not_both_take_what_only_one_may(autojump_clock: MockClock) -> None:
    ledger, outcomes = Ledger(slow=True), list[bool]()

    async def try_one(offer: int) -> None:
        try:
            await signer.sign_award(award(60, offer=offer))
            outcomes.append(True)
        except SpendingCapExceeded:
            outcomes.append(False)

    async with signing(ledger) as signer, trio.open_nursery() as nursery:
        nursery.start_soon(try_one, 1)
        nursery.start_soon(try_one, 2)
    assert sorted(outcomes) == [False, True]


async def test_a_cancelled_signature_counts_as_promised_all_the_same(autojump_clock: MockClock) -> None:
    ledger = Ledger(slow=True)
    async with signing(ledger) as signer:
        with trio.move_on_after(0.5):
            await signer.sign_award(award(60))
        assert len(ledger.events) == 1
        assert signer.remaining()[Cap.HOUR] == 40


class FullDisk(Ledger):
    async def append(self, event: SpendingEvent) -> None:
        raise StorageError("no room")


async def test_a_promise_that_can_not_be_written_is_not_signed_and_not_counted() -> None:
    ledger = FullDisk()
    async with signing(ledger) as signer:
        for _ in range(3):
            with pytest.raises(StorageError):
                await signer.sign_award(award(60))
        assert signer.remaining()[Cap.HOUR] == 100


async def test_a_closed_account_and_task_leave_only_the_window() -> None:
    ledger = Ledger()
    async with signing(ledger) as signer:
        job = award(60)
        await signer.sign_award(job)
        await signer.close_account(digest(SCOPE.market_domain, job))
        await signer.close_account(digest(SCOPE.market_domain, job))
        await signer.close_task(job.offer)
        assert signer.remaining(task=job.offer)[Cap.TASK] == 60
        assert signer.remaining()[Cap.HOUR] == 40
    assert len(ledger.events) == 3


async def test_an_acceptance_of_another_award_or_above_the_price_is_refused() -> None:
    async with signing() as signer:
        with pytest.raises(UndeclaredSpend, match="not"):
            await signer.sign_acceptance(acceptance(award(1), 1), award(2))
        with pytest.raises(UndeclaredSpend, match="price"):
            await signer.sign_acceptance(acceptance(award(2), 3), award(2))


def selector(signature: str) -> bytes:
    return keccak256(signature.encode())[:4]


def fund_data(job: Award) -> bytes:
    members = [member.split(" ")[0] for member in type_string(Award)[len("Award(") : -1].split(",")]
    kind = f"({','.join(members)})"
    values = tuple(getattr(job, name) for name in Award.__slots__)
    return selector(f"fund({kind},bytes)") + encode([kind, "bytes"], [values, b""])


def transfer_data(to: Address, amount: int) -> bytes:
    return selector("transfer(address,uint256)") + encode(["address", "uint256"], [to, amount])


async def sign_call(
    signer: Signer, to: Address, data: bytes, spend: Spend | None = None, *, value: int = 0, chain_id: int = 31337
) -> bytes:
    return await signer.sign_transaction(
        chain_id=chain_id,
        nonce=0,
        max_priority_fee=1,
        max_fee=2,
        gas=100_000,
        to=to,
        value=value,
        data=data,
        spend=spend,
    )


async def test_a_declared_transfer_is_signed_within_the_caps_and_its_fee_bump_counts_once() -> None:
    ledger = Ledger()
    async with signing(ledger) as signer:
        spend = Spend(account=Digest(b"t" * 32), total=Amount(100), peer=PROVIDER)
        raw = await sign_call(signer, SCOPE.token, transfer_data(PROVIDER, 100), spend)
        assert Account.recover_transaction(raw) == Account.from_key(KEY).address
        await sign_call(signer, SCOPE.token, transfer_data(PROVIDER, 100), spend)
        other = replace(spend, account=Digest(b"u" * 32), total=Amount(1))
        with pytest.raises(SpendingCapExceeded):
            await sign_call(signer, SCOPE.token, transfer_data(PROVIDER, 1), other)
    assert len(ledger.events) == 1


@pytest.mark.parametrize(
    ("peer", "total"), [(PROVIDER, 99), (PROVIDER, 101), (ME, 100), (None, 0)], ids=["less", "more", "whom", "none"]
)
async def test_a_transfer_other_than_declared_is_refused(peer: Address | None, total: int) -> None:
    spend = None if peer is None else Spend(account=Digest(b"t" * 32), total=Amount(total), peer=peer)
    async with signing() as signer:
        with pytest.raises(UndeclaredSpend, match="transfer of 100"):
            await sign_call(signer, SCOPE.token, transfer_data(PROVIDER, 100), spend)


async def test_funding_must_be_declared_as_its_award() -> None:
    async with signing() as signer:
        job = award(50, fee=5)
        spend = signer.spend_of_award(job)
        for wrong in (
            None,
            replace(spend, total=Amount(54), task_total=Amount(54)),
            replace(spend, peer=ME),
            signer.spend_of_award(award(50, fee=5, offer=2)),
        ):
            with pytest.raises(UndeclaredSpend, match="funding"):
                await sign_call(signer, SCOPE.escrow, fund_data(job), wrong)
        with pytest.raises(UndeclaredSpend, match="cut short"):
            await sign_call(signer, SCOPE.escrow, fund_data(job)[:100], spend)
        await sign_call(signer, SCOPE.escrow, fund_data(job), spend)


async def test_calls_outside_the_deployment_are_refused() -> None:
    approve = selector("approve(address,uint256)")
    async with signing() as signer:
        with pytest.raises(UndeclaredSpend, match="no contract of this deployment"):
            await sign_call(signer, PROVIDER, b"")
        with pytest.raises(UndeclaredSpend, match="native"):
            await sign_call(signer, SCOPE.escrow, b"", value=1)
        with pytest.raises(UndeclaredSpend, match="chain 1"):
            await sign_call(signer, SCOPE.escrow, b"", chain_id=1)
        with pytest.raises(UndeclaredSpend, match="allowance"):
            await sign_call(signer, SCOPE.token, approve + encode(["address", "uint256"], [PROVIDER, 1]))
        with pytest.raises(UndeclaredSpend, match="cut short"):
            await sign_call(signer, SCOPE.token, approve)
        with pytest.raises(UndeclaredSpend, match="may call"):
            await sign_call(signer, SCOPE.token, selector("transferFrom(address,address,uint256)"))
        await sign_call(signer, SCOPE.token, approve + encode(["address", "uint256"], [SCOPE.escrow, 2**256 - 1]))


async def test_nothing_about_the_signer_shows_the_key() -> None:
    async with signing() as signer:
        assert KEY.hex() not in repr(signer) + repr(signer.__dict__)
        assert repr(KEY) not in repr(signer.__dict__)
