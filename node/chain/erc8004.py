"""A registry of feedback as ERC-8004 describes it, typed (docs/spec/feedback.md).

ERC-8004 "Trustless Agents", status Draft, as of its registries' version 2.0.0 (January 2026): feedback is a signed
fixed-point `value` with two tags, anybody may give it, and a summary names the clients whose feedback counts. Earlier
drafts had scores of 0 to 100 and an authorization by the agent: other functions, so a registry of that time refuses.

The registry is a stranger's contract. What it says is shown, and nothing follows from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

from node.chain.abi import Abi
from node.chain.chain import Block, Chain
from node.chain.contract import Contract, Sender
from node.chain.errors import NotDeployedYet, ProtocolMismatch, Reverted
from protocol.errors import ProtocolError
from protocol.identity import Address, Digest, format_address
from protocol.reputation.feedback import Feedback
from protocol.signing.keccak import keccak256

MAX_DECIMALS: Final = 18
_WORD: Final = 32


def _function(name: str, inputs: str, outputs: str = "") -> dict[str, object]:
    def members(text: str) -> list[dict[str, str]]:
        words = (each.split() for each in text.split(",") if each)
        return [{"type": kind, "name": name} for kind, name in words]

    return {"type": "function", "name": name, "inputs": members(inputs), "outputs": members(outputs)}


REPUTATION_ABI: Final = Abi(
    "ReputationRegistry",
    [
        _function("getIdentityRegistry", "", "address registry"),
        _function(
            "giveFeedback",
            "uint256 agentId,int128 value,uint8 valueDecimals,string tag1,string tag2,string endpoint,"
            "string feedbackURI,bytes32 feedbackHash",
        ),
        _function(
            "getSummary",
            "uint256 agentId,address[] clientAddresses,string tag1,string tag2",
            "uint64 count,int128 summaryValue,uint8 summaryValueDecimals",
        ),
        _function("getClients", "uint256 agentId", "address[] clients"),
    ],
)
IDENTITY_ABI: Final = Abi(
    "IdentityRegistry",
    [
        _function("ownerOf", "uint256 agentId", "address owner"),
        _function("getAgentWallet", "uint256 agentId", "address wallet"),
    ],
)
# By hand: a string that is indexed stands in the log as its hash, which no decoder takes for a string.
NEW_FEEDBACK: Final = keccak256(
    b"NewFeedback(uint256,address,uint64,int128,uint8,string,string,string,string,string,bytes32)"
)


class RegistryUnusable(ProtocolError):
    """What stands at the configured address does not speak ERC-8004 as this release knows it."""

    def __init__(self, address: Address, reason: str) -> None:
        super().__init__(
            f"the ERC-8004 registry at {format_address(address)} can't be used: {reason}",
            advice="check reputation.erc8004.registry: it is the address of the chain's Reputation Registry",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The mean of some feedback: `value / 10**decimals`. All zero if there is none."""

    count: int
    value: int
    decimals: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackGiven:
    """Feedback of ours that is confirmed: the registry's number of it for this agent and client, and where."""

    index: int
    transaction: Digest
    block: int


class FeedbackRegistry(Contract):
    """One registry of feedback and the registry of identities behind it. Views are of a confirmed block."""

    def __init__(self, chain: Chain, address: Address, sender: Sender | None = None) -> None:
        super().__init__(chain, REPUTATION_ABI, address, sender)
        self._identities: Address | None = None

    async def identities(self) -> Address:
        """Return the registry whose tokens are the agents.

        Raises:
            RegistryUnusable: This is no such registry.
        """
        if self._identities is None:
            (address,) = await self._ask("getIdentityRegistry")
            self._identities = cast("Address", address)
        return self._identities

    async def is_of(self, agent: int, wallet: Address) -> bool:
        """Return whether an agent is a wallet's: it is paid there, or owned by it. False for agents that don't exist.

        Raises:
            RegistryUnusable: There is no registry of identities.
        """
        registry = await self.identities()
        found: list[object] = []
        for function in ("getAgentWallet", "ownerOf"):
            try:
                found += await self._chain.view(IDENTITY_ABI, registry, function, agent)
            except Reverted:  # no such agent, or a registry without that function
                continue
            except (NotDeployedYet, ProtocolMismatch) as error:
                raise RegistryUnusable(self.address, f"its identity registry: {error}") from error
        return wallet in found

    async def clients_of(self, agent: int) -> tuple[Address, ...]:
        """Return everybody who gave feedback about an agent."""
        (clients,) = await self._ask("getClients", agent)
        return tuple(cast("Sequence[Address]", clients))

    async def summary(self, agent: int, clients: Sequence[Address], *, tag1: str = "", tag2: str = "") -> Summary:
        """Return the mean of what `clients` gave, at least one; an empty tag takes any.

        Raises:
            RegistryUnusable: It refuses, or answers nonsense.
        """
        count, value, decimals = cast("tuple[int, int, int]", await self._ask("getSummary", agent, clients, tag1, tag2))
        if decimals > MAX_DECIMALS:
            raise RegistryUnusable(self.address, f"a value of {decimals} decimals")
        return Summary(count=count, value=value, decimals=decimals)

    async def give(self, agent: int, feedback: Feedback, *, key: str) -> FeedbackGiven:
        """Give feedback, once for one `key`.

        Raises:
            Reverted: The registry refused: no such agent, or our own.
            RegistryUnusable: It took it and reported nothing.
        """
        sent = await self._send(
            f"give feedback about agent {agent}",
            "giveFeedback",
            agent,
            feedback.value,
            feedback.decimals,
            feedback.tag1,
            feedback.tag2,
            "",
            feedback.uri,
            feedback.hash,
            key=key,
        )
        for log in sent.receipt.logs:
            if log.address == self.address and log.topics[:1] == (NEW_FEEDBACK,) and len(log.data) >= _WORD:
                index = int.from_bytes(log.data[:_WORD])
                return FeedbackGiven(index=index, transaction=sent.receipt.transaction, block=sent.receipt.block)
        raise RegistryUnusable(self.address, "it took feedback and reported none")

    async def _ask(self, function: str, *arguments: object, at: Block | None = None) -> tuple[object, ...]:
        try:
            return await self._view(function, *arguments, at=at)
        except (NotDeployedYet, ProtocolMismatch, Reverted) as error:
            raise RegistryUnusable(self.address, f"{function}: {error}") from error
