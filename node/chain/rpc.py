"""Requests to the chain's node, through web3.py on trio, and readers for what it answers.

Answers are parsed, not believed to be well-formed: web3's formatters pass on values that they don't understand, so its
raw results are read here, by the type that is wanted, or refused.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, cast
from urllib.parse import urlsplit

import httpx

from node.chain.errors import ChainTimeout, ChainUnreachable, ProtocolMismatch, RpcRefused
from node.chain.trio_provider import (
    CONNECT_TIMEOUT_S,
    MAX_CONNECTIONS,
    RPC_TIMEOUT_S,
    Json,
    TrioProvider,
    public_address,
)
from node.chain.web3_library import AsyncWeb3, RPCEndpoint
from node.operations.clock import SystemClock
from protocol.errors import ConfigError
from protocol.identity import Address, Digest
from protocol.units import UnixTime

__all__ = [
    "Json",
    "Rpc",
    "hexed",
    "members",
    "open_rpc",
    "quantity",
    "read_address",
    "read_digest",
    "unformatted",
]


_SERVER_ERRORS: Final = range(500, 600)
"""HTTP. The codes of JSON-RPC are negative."""


class Rpc:
    """One chain's node. Made by `open_rpc`; safe to share between tasks."""

    def __init__(self, provider: TrioProvider) -> None:
        # No middleware: the stock ones need asyncio, send requests of their own or resolve names that we never use.
        self._web3: Final = AsyncWeb3(provider, middleware=[])
        self._provider: Final = provider
        self._now: Final = SystemClock().now
        self._is_barred = False
        self.away_since: UnixTime | None = None
        """Since when no request was answered, None while they are."""

    @property
    def url(self) -> str:
        """Address without credentials or path, which may hold an access key."""
        return self._provider.public_url

    def bar(self) -> "Rpc":
        """Refuse all calls until `unbar`, as if nobody answered; return another door to the same node, which is open.

        Nothing that an unknown chain says may be acted on: who checks it goes through the other door.
        """
        self._is_barred = True
        self._note_silence()
        return Rpc(self._provider)

    def unbar(self) -> None:
        """Let calls through."""
        self._is_barred, self.away_since = False, None

    async def call(self, method: str, *params: Json) -> Json:
        """Call `method` and return its result.

        Raises:
            ChainUnreachable: Nobody answers, the connection broke, or calls are barred.
            ChainTimeout: No answer within `RPC_TIMEOUT_S`.
            Reverted: A contract said no; not decoded yet (see `Abi.decode_error`).
            RpcRefused: The node answered with another error.
            ProtocolMismatch: The answer is no JSON-RPC, or too long.
        """
        if self._is_barred:
            raise ChainUnreachable(self.url, "it has not answered since this node was started")
        try:
            result = await self._web3.manager.coro_request(RPCEndpoint(method), list(params))
        except (ChainUnreachable, ChainTimeout):
            self._note_silence()
            raise
        except RpcRefused as error:
            if error.code in _SERVER_ERRORS:  # what stands before the node answers, the node does not
                self._note_silence()
            else:
                self.away_since = None
            raise
        self.away_since = None
        return cast("Json", result)

    def _note_silence(self) -> None:
        if self.away_since is None:
            self.away_since = self._now()


@asynccontextmanager
async def open_rpc(url: str) -> AsyncGenerator[Rpc, None]:
    """Open connections to the chain's node at `url`; nothing is sent yet.

    Raises:
        ConfigError: `url` is no HTTP address.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{public_address(url)!r} is no http:// or https:// address", advice="check chain.rpc_url")
    loopback = parts.hostname in ("localhost", "127.0.0.1", "::1")
    async with httpx.AsyncClient(
        timeout=httpx.Timeout(RPC_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
        limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
        follow_redirects=False,
        trust_env=not loopback,  # a proxy from the environment can't reach this machine's own chain
    ) as client:
        yield Rpc(TrioProvider(url, client))


def quantity(value: Json) -> int:
    """Read a JSON-RPC quantity: 0x and hexadecimal digits.

    Raises:
        ProtocolMismatch: It is none.
    """
    if isinstance(value, str) and value.startswith("0x") and len(value) <= 2 + 64:
        try:
            return int(value, 16)
        except ValueError:
            pass
    raise ProtocolMismatch("the chain's address", f"{str(value)[:80]!r} is no number")


def unformatted(value: Json) -> bytes:
    """Read JSON-RPC data: 0x and an even number of hexadecimal digits.

    Raises:
        ProtocolMismatch: It is none.
    """
    if isinstance(value, str) and value.startswith("0x"):
        try:
            return bytes.fromhex(value[2:])
        except ValueError:
            pass
    raise ProtocolMismatch("the chain's address", f"{str(value)[:80]!r} are no data")


def read_digest(value: Json) -> Digest:
    """Read 32 bytes.

    Raises:
        ProtocolMismatch: They are none.
    """
    data = unformatted(value)
    if len(data) != 32:
        raise ProtocolMismatch("the chain's address", f"{data.hex()[:80]!r} is no hash")
    return Digest(data)


def read_address(value: Json) -> Address:
    """Read 20 bytes.

    Raises:
        ProtocolMismatch: They are none.
    """
    data = unformatted(value)
    if len(data) != 20:
        raise ProtocolMismatch("the chain's address", f"{data.hex()[:80]!r} is no address")
    return Address(data)


def members(value: Json) -> dict[str, Json]:
    """Read a JSON object.

    Raises:
        ProtocolMismatch: It is none.
    """
    if not isinstance(value, dict):
        raise ProtocolMismatch("the chain's address", f"{str(value)[:80]!r} is no object")
    return value


def hexed(value: bytes | int) -> str:
    """Write data or a quantity as JSON-RPC does."""
    return "0x" + value.hex() if isinstance(value, bytes) else hex(value)
