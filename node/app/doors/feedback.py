"""The doors to the registry of feedback."""

from collections.abc import Sequence
from typing import Final

from node.api import views
from node.app.node import Node
from node.chain.erc8004 import FeedbackRegistry
from node.feedback.paid_table import FeedbackRow, list_feedback
from protocol.errors import ProtocolError
from protocol.identity import Address, parse_address

MOST_CLIENTS: Final = 256
"""That are asked for in one call: the registry goes through all that each of them ever gave."""
_ADDRESS_CHARS: Final = 42
_MOST_DIGITS: Final = 78


class NoRegistry(ProtocolError):
    """No registry of ERC-8004 is configured."""


class NoAgent(ProtocolError):
    """What was given names no agent of the registry."""


class FeedbackDoors:
    """See `NodeFacade`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def feedback_list(self, limit: int) -> tuple[views.FeedbackView, ...]:
        """See `NodeFacade`."""
        rows = await self._node.storage.read.query(lambda connection: list_feedback(connection, limit))
        return tuple(map(_feedback_view, rows))

    async def feedback_agent(self, agent: str) -> views.AgentView:
        """See `NodeFacade`."""
        registry = self._registry()
        number = await self._number_of(agent)
        chosen = self._node.settings.reputation.erc8004.clients
        everybody = (await registry.clients_of(number))[-MOST_CLIENTS:]
        return views.AgentView(
            agent=str(number),
            registry=registry.address,
            summaries=(
                await _summary(registry, number, "this wallet", (self._node.signer.address,)),
                await _summary(registry, number, "reputation.erc8004.clients", chosen[:MOST_CLIENTS]),
                await _summary(registry, number, "anybody", everybody),
            ),
        )

    async def _number_of(self, agent: str) -> int:
        if agent.isascii() and agent.isdigit() and len(agent) <= _MOST_DIGITS:
            return int(agent)
        if len(agent) != _ADDRESS_CHARS:
            raise NoAgent(f"{agent!r} is no agent", advice="give its number, or the wallet of its node")
        assert self._node.feedback is not None
        number = await self._node.feedback.agent_of(parse_address(agent))
        if number is None:
            raise NoAgent(f"the node of {agent} is no agent of the registry")
        return number

    def _registry(self) -> FeedbackRegistry:
        if self._node.registry is None:
            raise NoRegistry(
                "no registry of ERC-8004 is configured",
                advice="set reputation.erc8004.registry to the address of the chain's Reputation Registry",
            )
        return self._node.registry


async def _summary(registry: FeedbackRegistry, agent: int, whose: str, clients: Sequence[Address]) -> views.SummaryView:
    if not clients:
        return views.SummaryView(whose=whose, clients=0, count=0, value=None)
    found = await registry.summary(agent, clients)
    value = _decimal(found.value, found.decimals) if found.count else None
    return views.SummaryView(whose=whose, clients=len(clients), count=found.count, value=value)


def _decimal(value: int, decimals: int) -> str:
    whole, rest = divmod(abs(value), 10**decimals)
    return ("-" if value < 0 else "") + (f"{whole}.{rest:0{decimals}d}" if decimals else str(whole))


def _feedback_view(row: FeedbackRow) -> views.FeedbackView:
    paid = row.paid
    return views.FeedbackView(
        award=paid.award,
        provider=paid.provider,
        parts=paid.parts,
        paid_parts=paid.paid_parts,
        due=paid.due,
        ended_at=paid.ended_at,
        fate=row.fate,
        reason=row.reason,
        agent=None if row.agent is None else str(row.agent),
        index=row.index,
        transaction=row.transaction,
    )
