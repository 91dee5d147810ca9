"""Who owns what on the local chain, and whether it all adds up to the base unit."""

from collections.abc import Mapping
from dataclasses import dataclass

from node.chain.chain import Chain
from node.chain.rpc import hexed, quantity
from protocol.identity import Address


@dataclass(frozen=True, slots=True)
class Holding:
    """Tokens in base units, and native money in wei."""

    tokens: int
    gas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everybody's holdings at one block, and the fees that were paid up to it."""

    block: int
    holdings: Mapping[str, Holding]
    fees: Mapping[str, int]

    @property
    def tokens(self) -> int:
        """All tokens of all parties and contracts."""
        return sum(holding.tokens for holding in self.holdings.values())


async def take_snapshot(chain: Chain, parties: Mapping[str, Address], since: int = 0) -> Snapshot:
    """Read every balance at one block, and the fees of every transaction from block `since + 1` on."""
    block = await chain.head()
    holdings: dict[str, Holding] = {}
    for name, address in parties.items():
        gas = quantity(await chain.rpc.call("eth_getBalance", hexed(address), hexed(block.number)))
        holdings[name] = Holding(tokens=await chain.token_balance(address, at=block), gas=gas)
    fees = dict.fromkeys(parties, 0)
    names = {hexed(address).lower(): name for name, address in parties.items()}
    for number in range(since + 1, block.number + 1):
        receipts = await chain.rpc.call("eth_getBlockReceipts", hexed(number))
        assert isinstance(receipts, list)
        for receipt in receipts:
            assert isinstance(receipt, dict)
            name = names.get(str(receipt["from"]).lower())
            if name is not None:
                fees[name] += quantity(receipt["gasUsed"]) * quantity(receipt["effectiveGasPrice"])
    return Snapshot(block=block.number, holdings=holdings, fees=fees)


def find_discrepancies(before: Snapshot, after: Snapshot, supply: int) -> tuple[str, ...]:
    """Return what does not add up; nothing if the books are right.

    Args:
        before: Of all parties that own tokens.
        after: Of the same, later.
        supply: All tokens there are.
    """
    wrong: list[str] = []
    for label, snapshot in (("before", before), ("after", after)):
        if snapshot.tokens != supply:
            wrong.append(f"{label}: the parties hold {snapshot.tokens} base units, there are {supply}")
    for name, holding in after.holdings.items():
        spent = before.holdings[name].gas - holding.gas
        if spent != after.fees[name]:
            wrong.append(f"{name}: its gas money fell by {spent} wei, its transactions cost {after.fees[name]}")
    return tuple(wrong)
