"""What a node has to know of its court before it relies on it: the deployment, its terms, and headers."""

from dataclasses import replace
from pathlib import Path

import pytest

from node.app.court_chain import ContractCourt
from node.arbitration.ports import CourtTerms
from node.chain.chain import Chain
from node.chain.chain_check import TermsTooShort
from node.chain.deployment import load_deployment, save_deployment
from node.chain.errors import ChainUnreachable, DeploymentInvalid
from node.chain.gateway import open_gateway
from node.chain.header import HeaderUnreadable, encode_header
from node.chain.local import DEFAULT_TERMS, deploy_local
from node.chain.opening import open_chain
from node.chain.rpc import members, open_rpc
from protocol.errors import ConfigError
from protocol.identity import ZERO_ADDRESS
from protocol.signing.keccak import keccak256
from protocol.units import Amount, Seconds
from tests.node.chain.chain_world import PROFILE, World, open_world
from tests.node.chain.court_world import indexing

NOBODY = 1  # a port on which nothing listens


async def test_the_courts_terms_are_remembered_for_a_start_without_the_chain(tmp_path: Path) -> None:
    notes = Notes()
    async with open_world(court=True) as world, indexing(world, tmp_path) as index:

        def court_on(chain: Chain) -> ContractCourt:
            gateway = open_gateway(chain)
            assert gateway.court is not None
            return ContractCourt(chain, index, gateway.token, gateway.court, world.address(0), notes)

        terms = await court_on(world.chain).terms()
        seat_stake = DEFAULT_TERMS.seat_stake
        assert terms == CourtTerms(
            seat_stake=seat_stake,
            least_fee=DEFAULT_TERMS.least_fee,
            greatest_fee=Amount(seat_stake * 5 // 4),
            min_resolve_within=DEFAULT_TERMS.min_resolve_within,
            max_time=DEFAULT_TERMS.max_time,
        )
        async with open_rpc(f"http://127.0.0.1:{NOBODY}") as rpc:
            away = court_on(Chain(rpc, PROFILE, world.deployment))
            assert await away.terms() == terms
            notes.known.clear()
            with pytest.raises(ChainUnreachable):
                await away.terms()


async def test_a_deployment_names_a_court_and_its_bench_or_neither(tmp_path: Path) -> None:
    path = tmp_path / "deployments.json"
    async with open_world(court=True) as world:
        deployment = world.deployment
        assert deployment.arbiter == deployment.court != ZERO_ADDRESS
        save_deployment(path, deployment)
        assert load_deployment(path) == deployment
        path.write_text(path.read_text().replace('"arbiter"', '"of_another_time"'))
        assert load_deployment(path) == deployment  # where there is a court, it is the arbiter
        for wrong in (
            replace(deployment, bench=ZERO_ADDRESS),
            replace(deployment, bench=deployment.court),
            replace(deployment, court=deployment.escrow),
            replace(deployment, reputation=ZERO_ADDRESS),
        ):
            save_deployment(path, wrong)
            with pytest.raises(DeploymentInvalid):
                load_deployment(path)

        other = await deploy_local(world.anvil.url, court=True)
        for mixed in (replace(deployment, court=other.court), replace(deployment, bench=other.bench)):
            with pytest.raises(ConfigError, match="belongs to another"):
                async with open_chain(PROFILE, world.anvil.url, mixed):
                    pass
        async with open_chain(PROFILE, world.anvil.url, other):
            pass
        with pytest.raises(TermsTooShort, match="minResolveWithin"):
            async with open_chain(replace(PROFILE, min_case=Seconds(25)), world.anvil.url, other):
                pass


async def test_a_header_that_does_not_make_its_hash_is_not_sent(world: World) -> None:
    await world.mine(2)
    number = (await world.chain.head()).number
    fields = members(await world.rpc.call("eth_getBlockByNumber", hex(number), False))
    header = encode_header(fields)
    assert keccak256(header) == (await world.chain.block(number)).hash
    assert await world.chain.find_header(number) == header
    assert await world.chain.find_header(number + 10) is None
    for name, value in (("gasUsed", "0x1234567"), ("mixHash", "0x" + "11" * 32), ("requestsHash", None)):
        with pytest.raises(HeaderUnreadable, match=f"block {number}"):
            encode_header({**fields, name: value})


class Notes:
    """What a node remembers over restarts."""

    def __init__(self) -> None:
        self.known: dict[str, bytes] = {}

    async def get(self, name: str) -> bytes | None:
        return self.known.get(name)

    async def set(self, name: str, value: bytes | None) -> None:
        assert value is not None
        self.known[name] = value
