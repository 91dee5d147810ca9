"""A node that starts while nobody answers for its chain: it goes on without, if these contracts were checked before."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import trio

from node.chain.anvil import open_anvil
from node.chain.errors import ChainUnreachable, ContractMissing, WrongChain
from node.chain.local import deploy_local
from node.chain.opening import CHECKED, open_chain_or_wait
from node.chain.profile import SEPOLIA
from tests.node.chain.chain_world import PROFILE, World, eventually
from tests.node.chain.test_chain_opening import free_port

LONG_S = 120.0
"""Far more than it takes; the error comes as soon as the chain is looked at."""


@dataclass
class Notes:
    """What the database remembers of a chain."""

    values: dict[str, bytes | None] = field(default_factory=dict[str, bytes | None])

    async def get(self, name: str) -> bytes | None:
        return self.values.get(name)

    async def set(self, name: str, value: bytes | None) -> None:
        self.values[name] = value


async def test_a_chain_that_was_never_seen_is_asked_for_and_its_absence_is_an_error(world: World) -> None:
    notes = Notes()
    with pytest.raises(ChainUnreachable):
        async with open_chain_or_wait(PROFILE, f"http://127.0.0.1:{free_port()}", world.deployment, notes):
            pass
    assert notes.values == {}


async def test_a_chain_that_answers_is_checked_and_remembered(world: World) -> None:
    notes = Notes()
    for _ in range(2):
        async with open_chain_or_wait(PROFILE, world.anvil.url, world.deployment, notes) as chain:
            assert chain.rpc.away_since is None
            assert (await chain.head()).number >= world.deployment.block
    assert set(notes.values) == {CHECKED}


async def test_a_known_chain_that_is_away_refuses_every_call_and_serves_them_when_it_is_back(tmp_path: Path) -> None:
    state, notes = tmp_path / "state.json", Notes()
    async with open_anvil(state_file=state) as anvil:
        deployment = await deploy_local(anvil.url)
        url, port = anvil.url, anvil.port
        async with open_chain_or_wait(PROFILE, url, deployment, notes):
            pass
    async with open_chain_or_wait(PROFILE, url, deployment, notes) as chain:
        assert chain.rpc.away_since is not None
        with pytest.raises(ChainUnreachable, match="since this node was started"):
            await chain.head()
        async with open_anvil(state_file=state, port=port):
            await eventually(lambda: chain.rpc.away_since is None)
            assert (await chain.head()).number >= deployment.block
        with pytest.raises(ChainUnreachable, match="can't be reached"):  # gone again, and noticed by the next call
            await chain.head()
        assert chain.rpc.away_since is not None
        async with open_anvil(state_file=state, port=port):
            await chain.head()
            assert chain.rpc.away_since is None


async def test_what_comes_back_as_another_chain_ends_the_node_with_what_is_wrong(tmp_path: Path) -> None:
    notes = Notes()
    async with open_anvil(state_file=tmp_path / "state.json") as anvil:
        deployment = await deploy_local(anvil.url)
        url, port = anvil.url, anvil.port
        async with open_chain_or_wait(PROFILE, url, deployment, notes):
            pass
    with pytest.RaisesGroup(ContractMissing, flatten_subgroups=True):
        async with open_chain_or_wait(PROFILE, url, deployment, notes), open_anvil(port=port):  # a new, empty chain
            await trio.sleep(LONG_S)
    with pytest.RaisesGroup(WrongChain, flatten_subgroups=True):
        async with open_chain_or_wait(PROFILE, url, deployment, notes), open_anvil(port=port, chain_id=5):
            await trio.sleep(LONG_S)


async def test_other_contracts_than_those_that_were_checked_are_not_believed(world: World) -> None:
    notes = Notes()
    async with open_chain_or_wait(PROFILE, world.anvil.url, world.deployment, notes):
        pass
    other = replace(world.deployment, escrow=world.address(1))
    with pytest.raises(ChainUnreachable):
        async with open_chain_or_wait(PROFILE, f"http://127.0.0.1:{free_port()}", other, notes):
            pass
    with pytest.raises(ContractMissing):
        async with open_chain_or_wait(PROFILE, world.anvil.url, other, notes):
            pass
    with pytest.raises(WrongChain):
        async with open_chain_or_wait(SEPOLIA, world.anvil.url, world.deployment, notes):
            pass
