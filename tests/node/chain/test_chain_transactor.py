"""The transactor against a real anvil: races, stuck and lost transactions, restarts, reverts, caps."""

from dataclasses import replace
from itertools import pairwise

import pytest
import trio

from node.chain.abi import load_artifact
from node.chain.chain import Receipt
from node.chain.channel_events import ChannelOpened
from node.chain.errors import Reverted
from node.chain.gateway import open_gateway
from node.chain.profile import GWEI
from node.chain.rpc import Json, hexed
from node.chain.transaction_book import (
    HistoryForgotten,
    NonceLost,
    TransactionAbandoned,
    TransactionConfirmed,
    TransactionIntended,
    TransactionSigned,
)
from node.chain.transaction_request import FateUnknown, InvalidRequest, Request
from node.chain.transactor import Transactor
from protocol.identity import Address
from protocol.signing.keccak import keccak256
from protocol.spending import Cap, SpendingCapExceeded
from protocol.units import Amount
from tests.node.chain.chain_world import NO_CAPS, PATIENCE_S, PROFILE, Records, World, eventually

PAYEE = Address(b"\x55" * 20)


def transfer(world: World, amount: int, key: str | None = None) -> Request:
    """A mint: the one call whose repetition shows in a balance."""
    abi = load_artifact("TestToken").abi
    return Request(
        to=world.deployment.token, data=abi.encode_call("mint", PAYEE, amount), title=f"mint {amount}", key=key
    )


async def until_in_hand(transactor: Transactor, count: int, *, attempts: int = 1) -> None:
    """Wait until `count` transactions are on their way, each signed `attempts` times at least."""

    def reached() -> bool:
        flying = [one for one in transactor.in_hand() if one.nonce is not None]
        return len(flying) >= count and all(one.attempts >= attempts for one in flying)

    await eventually(reached)


async def test_a_call_ends_with_its_confirmed_receipt(world: World) -> None:
    records = Records()
    async with world.transactor(records) as transactor:
        receipt = await transactor.send(transfer(world, 7))
    assert receipt.succeeded
    assert await world.chain.token_balance(PAYEE) == 7
    assert [type(record).__name__ for record in records.records] == [
        "TransactionIntended",
        "TransactionSigned",
        "TransactionConfirmed",
    ]


async def test_many_callers_at_once_get_a_nonce_each(world: World) -> None:
    receipts: list[Receipt] = []
    records = Records()

    async def send(amount: int) -> None:
        receipts.append(await transactor.send(transfer(world, amount)))

    async with world.transactor(records) as transactor, trio.open_nursery() as nursery:
        for amount in range(1, 31):
            nursery.start_soon(send, amount)
    assert len({receipt.transaction for receipt in receipts}) == 30
    assert await world.chain.token_balance(PAYEE) == sum(range(1, 31))
    nonces = [record.nonce for record in records.records if isinstance(record, TransactionSigned)]
    assert sorted(nonces) == list(range(30))


async def test_the_same_key_is_sent_once_ever_and_the_same_call_without_key_once_at_a_time(world: World) -> None:
    records = Records()
    async with world.transactor(records) as transactor:
        await world.automine(False)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(transactor.send, transfer(world, 5, "gift"))
                nursery.start_soon(transactor.send, transfer(world, 5))
            await until_in_hand(transactor, 2)
            await world.automine(True)
            await world.mine()
        first = await transactor.send(transfer(world, 5, "gift"))
        assert await world.chain.token_balance(PAYEE) == 10
        await transactor.send(transfer(world, 5))
    async with world.transactor(records) as transactor:
        assert await transactor.send(transfer(world, 5, "gift")) == first
    assert await world.chain.token_balance(PAYEE) == 15


async def test_a_key_of_another_call_and_a_foreign_contract_are_refused(world: World) -> None:
    async with world.transactor() as transactor, trio.open_nursery() as nursery:
        await world.automine(False)
        nursery.start_soon(transactor.send, transfer(world, 5, "gift"))
        await until_in_hand(transactor, 1)
        with pytest.raises(InvalidRequest, match="key of another call"):
            await transactor.send(transfer(world, 6, "gift"))
        with pytest.raises(InvalidRequest, match="no contract"):
            await transactor.send(Request(to=PAYEE, data=b"", title="stray"))
        await world.mine()


async def test_a_stuck_transaction_is_replaced_with_higher_fees_until_it_is_included(world: World) -> None:
    records = Records()
    async with world.transactor(records) as transactor:
        await world.automine(False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transactor.send, transfer(world, 9))
            await until_in_hand(transactor, 1, attempts=3)
            await world.mine()
    signed = [record for record in records.records if isinstance(record, TransactionSigned)]
    assert len({record.nonce for record in signed}) == 1
    for before, after in pairwise(signed):
        assert after.max_fee * 10 > before.max_fee * 11
        assert after.priority_fee * 10 > before.priority_fee * 11
    assert await world.chain.token_balance(PAYEE) == 9


async def test_fees_are_not_raised_beyond_the_cap(world: World) -> None:
    head = await world.chain.head()
    cap = head.base_fee + GWEI + 10  # anvil asks for a tip of one gwei
    records = Records()
    async with world.transactor(records, profile=replace(PROFILE, max_fee=cap, stuck_after_s=0.05)) as transactor:
        await world.automine(False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transactor.send, transfer(world, 9))
            await until_in_hand(transactor, 1)
            await eventually(lambda: "above the cap" in transactor.in_hand()[0].waits_for)
            await world.mine()
    assert all(record.max_fee <= cap for record in records.records if isinstance(record, TransactionSigned))


async def test_gas_above_the_cap_queues_the_call_until_gas_is_cheaper(world: World) -> None:
    head = await world.chain.head()
    records = Records()
    profile = replace(PROFILE, max_fee=head.base_fee // 2 + GWEI)
    async with world.transactor(records, profile=profile) as transactor:
        with trio.move_on_after(0.3) as patience:
            await transactor.send(transfer(world, 9, "cheap"))
        assert patience.cancelled_caught
        (waiting,) = transactor.in_hand()
        assert "above the cap" in waiting.waits_for
        assert records.of(TransactionSigned) == []
        await world.rpc.call("anvil_setNextBlockBaseFeePerGas", hex(head.base_fee // 10))
        await world.mine()
        with trio.fail_after(PATIENCE_S):
            await transactor.send(transfer(world, 9, "cheap"))
    assert await world.chain.token_balance(PAYEE) == 9


async def test_a_transactor_that_ends_before_confirmation_goes_on_at_the_next_start(world: World) -> None:
    records = Records()
    await world.automine(False)
    async with world.transactor(records) as transactor, trio.open_nursery() as nursery:
        nursery.start_soon(transactor.send, transfer(world, 4, "once"))
        await until_in_hand(transactor, 1)
        nursery.cancel_scope.cancel()
    await world.rpc.call("anvil_dropAllTransactions")
    async with world.transactor(records) as transactor:
        await world.automine(True)
        with trio.fail_after(PATIENCE_S):
            await transactor.send(transfer(world, 4, "once"))
    assert await world.chain.token_balance(PAYEE) == 4
    assert len({record.nonce for record in records.records if isinstance(record, TransactionSigned)}) == 1


async def test_an_intent_that_was_never_signed_is_signed_at_the_next_start(world: World) -> None:
    records = Records()
    async with world.transactor(records) as transactor:
        await transactor.send(transfer(world, 4, "first"))
    full = list(records.records)
    records.records[:] = full[:1]  # as if the crash came right after the intent was durable
    async with world.transactor(records) as transactor:
        await eventually(lambda: not transactor.in_hand())
    assert [type(record).__name__ for record in records.records][1:] == ["TransactionSigned", "TransactionConfirmed"]


async def test_a_nonce_taken_by_another_program_is_given_up_and_the_call_made_with_a_new_one(world: World) -> None:
    records = Records()
    async with world.transactor(records) as transactor:
        await world.automine(False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transactor.send, transfer(world, 6))
            await until_in_hand(transactor, 1)
            await world.send_foreign(0, 0, fee=10**13)  # outbids ours at the same nonce
            await world.mine()
            with trio.fail_after(PATIENCE_S):
                while transactor.in_hand():
                    await world.mine()
                    await trio.sleep(0.05)
    assert len(records.of(NonceLost)) == 1
    assert await world.chain.token_balance(PAYEE) == 6


@pytest.mark.parametrize("hidden", ["eth_getTransactionReceipt", "both"])
async def test_a_receipt_that_comes_late_is_waited_for_and_the_call_is_not_made_twice(
    world: World, monkeypatch: pytest.MonkeyPatch, hidden: str
) -> None:
    """Nodes behind one address differ by some blocks: one counts the transaction, the other has never heard of it."""
    call, asked = world.rpc.call, 0
    methods = ("eth_getTransactionReceipt", "eth_getTransactionByHash") if hidden == "both" else (hidden,)

    async def call_behind(method: str, *params: Json) -> Json:
        nonlocal asked
        if method in methods and asked < 10:
            asked += 1
            return None
        return await call(method, *params)

    monkeypatch.setattr(world.rpc, "call", call_behind)
    records = Records()
    async with world.transactor(records, profile=replace(PROFILE, stuck_after_s=30.0)) as transactor:
        with trio.fail_after(PATIENCE_S):
            await transactor.send(transfer(world, 6))
    assert asked == 10
    assert records.of(NonceLost) == []
    assert await world.chain.token_balance(PAYEE) == 6


async def test_a_call_that_would_revert_is_refused_with_the_decoded_error_before_anything_is_signed(
    world: World,
) -> None:
    records = Records()
    async with world.transactor(records) as transactor:
        token = open_gateway(world.chain, transactor).token
        balance = await token.balance_of(world.address())
        with pytest.raises(Reverted) as caught:
            await token.transfer(PAYEE, Amount(balance + 1), key="too much")
    error = caught.value
    assert error.error == "ERC20InsufficientBalance"
    assert error.arguments == {"sender": world.address(), "balance": balance, "needed": balance + 1}
    assert "ERC20InsufficientBalance" in str(error)
    assert records.of(TransactionSigned) == []
    assert len(records.of(TransactionAbandoned)) == 1


async def test_a_call_that_reverts_in_its_block_is_reported_with_the_decoded_error(world: World) -> None:
    """Between estimate and inclusion the sender's tokens go: only the block finds out."""
    records = Records()
    outcomes: list[Reverted] = []
    async with world.transactor(records) as transactor:
        token = open_gateway(world.chain, transactor).token
        await world.automine(False)

        async def send() -> None:
            with pytest.raises(Reverted) as caught:
                await token.transfer(PAYEE, Amount(10), key="all")
            outcomes.append(caught.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await until_in_hand(transactor, 1)
            balance_slot = keccak256(world.address().rjust(32, b"\0") + bytes(32))
            await world.rpc.call(
                "anvil_setStorageAt", hexed(world.deployment.token), hexed(balance_slot), hexed(bytes(32))
            )
            await world.mine()
    assert [error.error for error in outcomes] == ["ERC20InsufficientBalance"]
    assert [r.succeeded for r in records.records if isinstance(r, TransactionConfirmed)] == [0]


async def test_a_call_that_depends_on_one_in_flight_waits_for_it(world: World) -> None:
    async with world.transactor() as transactor:
        gateway = open_gateway(world.chain, transactor)
        opened: list[ChannelOpened] = []

        async def open_channel() -> None:
            with trio.fail_after(PATIENCE_S):
                opened.append(
                    await gateway.channels.open(signer=world.address(), payee=PAYEE, amount=Amount(50), key="dependent")
                )

        await world.automine(False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gateway.token.approve, world.deployment.payment_channel, 50)
            await until_in_hand(transactor, 1)
            nursery.start_soon(open_channel)
            await trio.sleep(0.1)
            await world.automine(True)
            await world.mine()
    assert [event.deposit for event in opened] == [50]


async def test_a_node_without_a_pending_state_makes_the_dependent_call_wait_for_confirmation(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many nodes answer `pending` with the newest block: the approval on its way does not count yet."""
    call = world.rpc.call

    async def call_without_pending(method: str, *params: Json) -> Json:
        return await call(method, *("latest" if param == "pending" else param for param in params))

    monkeypatch.setattr(world.rpc, "call", call_without_pending)
    opened: list[ChannelOpened] = []
    async with world.transactor(profile=replace(PROFILE, stuck_after_s=60.0)) as transactor:
        gateway = open_gateway(world.chain, transactor)

        async def open_channel() -> None:
            opened.append(
                await gateway.channels.open(signer=world.address(), payee=PAYEE, amount=Amount(50), key="dependent")
            )

        await world.automine(False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gateway.token.approve, world.deployment.payment_channel, 50)
            await until_in_hand(transactor, 1)
            nursery.start_soon(open_channel)
            await eventually(lambda: any("would revert now" in one.waits_for for one in transactor.in_hand()))
            await world.mine()
            await until_in_hand(transactor, 1)
            await world.automine(True)
            with trio.fail_after(PATIENCE_S):
                while not opened:
                    await world.mine()
                    await trio.sleep(0.05)
    assert [event.deposit for event in opened] == [50]


async def test_an_empty_gas_purse_holds_the_queue_and_says_so(world: World) -> None:
    await world.rpc.call("anvil_setBalance", "0x" + world.address().hex(), hex(10))
    async with world.transactor() as transactor, trio.open_nursery() as nursery:
        nursery.start_soon(transactor.send, transfer(world, 3))
        await eventually(lambda: any("native money" in one.waits_for for one in transactor.in_hand()))
        await world.rpc.call("anvil_setBalance", "0x" + world.address().hex(), hex(10**18))
    assert await world.chain.token_balance(PAYEE) == 3


async def test_a_spending_cap_refuses_before_anything_is_signed(world: World) -> None:
    records = Records()
    caps = replace(NO_CAPS, per_hour=Amount(100))
    async with world.transactor(records, caps=caps) as transactor:
        token = open_gateway(world.chain, transactor).token
        await token.transfer(PAYEE, Amount(60), key="a")
        with pytest.raises(SpendingCapExceeded) as caught:
            await token.transfer(PAYEE, Amount(41), key="b")
        await token.transfer(PAYEE, Amount(60), key="a")
        await token.transfer(PAYEE, Amount(40), key="c")
    assert (caught.value.cap, caught.value.left) == (Cap.HOUR, 40)
    assert await world.chain.token_balance(PAYEE) == 100
    assert len(records.of(TransactionSigned)) == 2


async def test_blocks_that_the_chain_loses_are_filled_again_before_new_calls(world: World) -> None:
    """A reorganisation that drops confirmed transactions would leave a gap in the nonces that nothing could pass."""
    records = Records()
    async with world.transactor(records) as transactor:
        snapshot = await world.rpc.call("evm_snapshot")
        await transactor.send(transfer(world, 1, "lost"))
        await world.rpc.call("evm_revert", snapshot)
        assert await world.chain.token_balance(PAYEE) == 0
        with trio.fail_after(PATIENCE_S):
            await transactor.send(transfer(world, 2, "next"))
    assert await world.chain.token_balance(PAYEE) == 3


async def test_who_asks_again_for_what_the_chain_lost_gets_it_though_nothing_else_is_in_hand(world: World) -> None:
    async with world.transactor() as transactor:
        snapshot = await world.rpc.call("evm_snapshot")
        await transactor.send(transfer(world, 1, "lost"))
        await world.rpc.call("evm_revert", snapshot)
        with trio.fail_after(PATIENCE_S):
            await transactor.send(transfer(world, 1, "lost"))
    assert await world.chain.token_balance(PAYEE) == 1


async def test_what_the_chain_lost_comes_back_though_nobody_asks_for_anything(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.chain.transactor.IDLE_LOOK_S", 0.1)
    records = Records()
    async with world.transactor(records) as transactor:
        snapshot = await world.rpc.call("evm_snapshot")
        await transactor.send(transfer(world, 1))
        await world.rpc.call("evm_revert", snapshot)
    async with world.transactor(records):  # also after a restart
        with trio.fail_after(PATIENCE_S):
            while await world.chain.token_balance(PAYEE) != 1:
                await trio.sleep(0.05)


async def test_confirmation_waits_for_the_depth_that_the_profile_wants(world: World) -> None:
    async with world.transactor(profile=replace(PROFILE, confirmations=3, stuck_after_s=60.0)) as transactor:
        finished = trio.Event()

        async def send() -> None:
            await transactor.send(transfer(world, 8))
            finished.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await until_in_hand(transactor, 1)
            await trio.sleep(0.2)
            assert not finished.is_set()
            await world.mine()
            await trio.sleep(0.2)
            assert not finished.is_set()
            await world.mine()
            with trio.fail_after(PATIENCE_S):
                await finished.wait()


@pytest.mark.parametrize("known", [TransactionIntended, TransactionSigned])
async def test_after_a_restore_a_transaction_that_was_in_hand_is_not_signed_under_another_nonce(
    world: World, known: type
) -> None:
    records = Records()
    async with world.transactor(records) as transactor:
        await transactor.send(transfer(world, 7, "gift"))
    # The backup was made while it was in hand; since then it was carried out, under a nonce that another one has too.
    backup = Records([each for each in records.records if isinstance(each, TransactionIntended | known)])
    if known is TransactionSigned:
        backup.records[-1] = replace(backup.records[-1], raw=b"\x02" + b"replaced since")  # pyright: ignore[reportCallIssue]
    backup.records.append(HistoryForgotten())
    async with world.transactor(backup) as transactor:
        await eventually(lambda: not transactor.in_hand())
        assert await world.chain.token_balance(PAYEE) == 7
        assert isinstance(backup.records[-1], TransactionAbandoned)
        await transactor.send(transfer(world, 7, "gift"))  # asked for again by somebody who knows better
    assert await world.chain.token_balance(PAYEE) == 14
    async with world.transactor(backup) as transactor:
        assert not transactor.in_hand()


async def test_after_a_restore_who_still_waits_for_a_transaction_of_before_hears_that_its_fate_is_unknown(
    world: World,
) -> None:
    records = Records()
    async with world.transactor(records) as transactor:
        await transactor.send(transfer(world, 7, "gift"))
    backup = Records([*records.of(TransactionIntended), HistoryForgotten()])
    async with world.transactor(backup) as transactor:
        with pytest.raises(FateUnknown, match="may have been done meanwhile"):
            await transactor.send(transfer(world, 7, "gift"))
