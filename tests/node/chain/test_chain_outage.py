"""The chain's process goes away in the middle of things and comes back."""

from pathlib import Path

import pytest
import trio

from node.chain.abi import load_artifact
from node.chain.anvil import open_anvil
from node.chain.chain import Receipt
from node.chain.errors import AnvilFailed
from node.chain.gateway import abis_of
from node.chain.local import deploy_local, fund
from node.chain.opening import open_chain
from node.chain.rpc import open_rpc
from node.chain.transaction_book import TransactionSigned
from node.chain.transaction_request import Request
from node.chain.transactor import open_transactor
from protocol.identity import Address
from protocol.signing.ecdsa import address_of
from protocol.units import Amount
from tests.node.chain.chain_world import KEYS, PATIENCE_S, PROFILE, Records, eventually, signer_for

PAYEE = Address(b"\x55" * 20)


async def test_a_chain_that_ends_before_inclusion_and_starts_again_gets_the_same_transaction(tmp_path: Path) -> None:
    state, records, receipts = tmp_path / "state.json", Records(), list[Receipt]()
    async with open_anvil(state_file=state) as anvil:
        deployment = await deploy_local(anvil.url)
        await fund(anvil.url, deployment, [address_of(KEYS[0])], tokens=Amount(0))
        url, port = anvil.url, anvil.port
    request = Request(
        to=deployment.token,
        data=load_artifact("TestToken").abi.encode_call("mint", PAYEE, 5),
        title="mint",
        key="only one",
    )
    ready, mempool = trio.Event(), trio.Event()

    async def first_life() -> None:
        async with open_anvil(state_file=state, port=port) as anvil:
            async with open_rpc(anvil.url) as rpc:
                await rpc.call("evm_setAutomine", False)
            ready.set()
            await mempool.wait()
            anvil.process.kill()  # no farewell: the mempool is lost
            await trio.sleep_forever()

    async def outlive_first_life() -> None:
        with pytest.RaisesGroup(pytest.RaisesExc(AnvilFailed, match="status -9"), flatten_subgroups=True):
            await first_life()

    async def send() -> None:
        receipts.append(await transactor.send(request))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(outlive_first_life)
        await ready.wait()
        async with (
            open_chain(PROFILE, url, deployment) as chain,
            signer_for(deployment, 0) as signer,
            open_transactor(chain, signer, records, abis_of(deployment)) as transactor,
        ):
            nursery.start_soon(send)
            await eventually(lambda: any(one.attempts for one in transactor.in_hand()))
            mempool.set()
            await eventually(lambda: any("reached" in one.waits_for for one in transactor.in_hand()))
            async with open_anvil(state_file=state, port=port):
                with trio.fail_after(PATIENCE_S):
                    while not receipts:
                        await trio.sleep(0.02)
                assert await chain.token_balance(PAYEE) == 5
    signed = [record for record in records.records if isinstance(record, TransactionSigned)]
    assert len({record.nonce for record in signed}) == 1
    assert receipts[0].succeeded
    assert receipts[0].transaction in {record.hash for record in signed}
