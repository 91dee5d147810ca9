"""A registry of ERC-8004 on a test's chain: our own small one, compiled here from solidity/Erc8004.sol."""

import json
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from node.chain.abi import Abi
from node.chain.rpc import Json, hexed, read_address
from protocol.identity import Address
from tests.node.chain.chain_world import World, included

ROOT: Final = Path(__file__).resolve().parents[3]
SOLC: Final = ROOT / ".cache/solcx/solc-v0.8.37"
SOURCE: Final = ROOT / "tests/node/chain/solidity/Erc8004.sol"


@cache
def compiled() -> dict[str, tuple[Abi, str]]:
    """Return ABI and creation code of each contract, by name."""
    command = [str(SOLC), "--optimize", "--via-ir", "--combined-json", "abi,bin", str(SOURCE)]
    output: Any = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    return {
        name.rpartition(":")[2]: (Abi(name.rpartition(":")[2], contract["abi"]), "0x" + contract["bin"])
        for name, contract in output["contracts"].items()
    }


@dataclass
class Registries:
    """Both registries, deployed; transactions go out as any account that a test likes."""

    world: World
    identities: Address
    feedbacks: Address

    async def register(self, owner: Address) -> int:
        """Make an agent of `owner`."""
        receipt = await send(self.world, owner, self.identities, compiled()["Identities"][0].encode_call("register"))
        assert receipt["status"] == "0x1"
        (last,) = await self.world.chain.view(compiled()["Identities"][0], self.identities, "last")
        assert isinstance(last, int)
        return last

    async def set_wallet(self, owner: Address, agent: int, wallet: Address) -> None:
        """Let an agent be paid elsewhere."""
        data = compiled()["Identities"][0].encode_call("setWallet", agent, wallet)
        assert (await send(self.world, owner, self.identities, data))["status"] == "0x1"

    async def give(self, client: Address, agent: int, value: int, decimals: int, tag1: str = "") -> None:
        """Give feedback as anybody."""
        abi = compiled()["Feedbacks"][0]
        data = abi.encode_call("giveFeedback", agent, value, decimals, tag1, "", "", "", bytes(32))
        assert (await send(self.world, client, self.feedbacks, data))["status"] == "0x1"


async def deploy_registries(world: World) -> Registries:
    """Deploy both."""
    identities = await _create(world, compiled()["Identities"][1])
    return Registries(
        world=world,
        identities=identities,
        feedbacks=await _create(world, compiled()["Feedbacks"][1] + identities.rjust(32, b"\0").hex()),
    )


async def send(world: World, sender: Address, to: Address | None, data: bytes) -> dict[str, Json]:
    """Send a transaction as `sender`, whoever that is, and return its receipt."""
    await world.rpc.call("anvil_impersonateAccount", hexed(sender))
    await world.rpc.call("anvil_setBalance", hexed(sender), hex(10**20))
    call: dict[str, Json] = {"from": hexed(sender), "data": hexed(data), "gas": hex(3_000_000)}
    transaction = await world.rpc.call("eth_sendTransaction", call if to is None else call | {"to": hexed(to)})
    return await included(world.rpc, transaction)


async def _create(world: World, code: str) -> Address:
    receipt = await send(world, Address(b"\x0d" * 20), None, bytes.fromhex(code.removeprefix("0x")))
    return read_address(receipt["contractAddress"])
