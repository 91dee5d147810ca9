"""web3.py's way to the chain's node: JSON-RPC over HTTP on trio. Whatever goes wrong leaves here as our own error.

web3's own HTTP provider needs asyncio. This one forms requests by web3's rules and posts them with httpx. The node at
the other end is trusted for what it says of the chain (the user chose it) but not with our memory or time: answers are
bounded in bytes and seconds, and errors are translated here, before web3 sees them: it would repeat whole answers in
its errors, and fetch addresses that a contract's revert names (EIP-3668).
"""

import json
from collections.abc import Mapping
from contextlib import aclosing, suppress
from typing import Any, Final, TypeAlias, cast
from urllib.parse import urlsplit

import httpx
import trio

from node.chain.errors import ChainTimeout, ChainUnreachable, ProtocolMismatch, Reverted, RpcRefused
from node.chain.web3_library import AsyncJSONBaseProvider, RPCEndpoint, RPCResponse
from node.operations.http_body import Body

# Long enough for eth_getLogs over a full range on a public node, short enough to notice a dead one.
RPC_TIMEOUT_S: Final = 20.0
CONNECT_TIMEOUT_S: Final = 5.0
MAX_RESPONSE_BYTES: Final = 32 * 2**20
MAX_CONNECTIONS: Final = 8
_MAX_ERROR_TEXT: Final = 300
_REVERT_CODE: Final = 3  # geth and anvil: execution reverted, with data

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


class TrioProvider(AsyncJSONBaseProvider):
    """Posts to one address. The client is its owner's to close; safe to share between tasks."""

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        super().__init__()  # answers aren't cached: the chain behind an address may be changed or reorganised
        self._url: Final = url
        self._client: Final = client

    @property
    def public_url(self) -> str:
        """Address without credentials or path, which may hold an access key."""
        return public_address(self._url)

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Make one request.

        Raises:
            ChainUnreachable: Nobody answers, or the connection broke.
            ChainTimeout: No answer within `RPC_TIMEOUT_S`.
            Reverted: A contract said no; not decoded yet (see `Abi.decode_error`).
            RpcRefused: The node answered with another error.
            ProtocolMismatch: The answer is no JSON-RPC, or too long.
        """
        request = self.form_request(method, params)
        identity = request.get("id")
        try:
            with trio.fail_after(RPC_TIMEOUT_S):
                status, body = await self._post(self.encode_rpc_dict(request))
        except (trio.TooSlowError, httpx.TimeoutException) as error:
            raise ChainTimeout(self.public_url, method, RPC_TIMEOUT_S) from error
        except httpx.HTTPError as error:
            raise ChainUnreachable(self.public_url, str(error) or type(error).__name__) from error
        fields = self._parse(method, status, body)
        if fields.get("error") is not None:
            raise _translate(method, fields["error"])
        if fields.get("id") != identity or fields.get("jsonrpc") != "2.0" or "result" not in fields:
            if status >= httpx.codes.BAD_REQUEST:  # a gateway's own words, in JSON: the node behind it may come back
                raise RpcRefused(method, status, f"HTTP status {status}")
            raise ProtocolMismatch(self.public_url, f"{method} was not answered in JSON-RPC")
        # Some nodes add `"error": null`, which web3 refuses beside a result.
        return cast("RPCResponse", {"jsonrpc": "2.0", "id": identity, "result": fields["result"]})

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        headers = {"content-type": "application/json", "content-length": str(len(body))}
        request = self._client.build_request("POST", self._url, headers=headers)
        request.stream = Body(body)
        response = await self._client.send(request, stream=True)
        async with aclosing(response):
            chunks: list[bytes] = []
            size = 0
            # Raising inside the loop would leave httpx's nested generators to the garbage collector, so it ends first.
            with suppress(httpx.StreamError):
                async for chunk in response.aiter_bytes():
                    size += len(chunk)
                    if size > MAX_RESPONSE_BYTES:
                        await response.aclose()
                    else:
                        chunks.append(chunk)
            if size > MAX_RESPONSE_BYTES:
                raise ProtocolMismatch(self.public_url, f"an answer is longer than {MAX_RESPONSE_BYTES} bytes")
            return response.status_code, b"".join(chunks)

    def _parse(self, method: str, status: int, body: bytes) -> Mapping[str, Json]:
        try:
            answer: Any = json.loads(body)  # web3's own decoder repeats the whole answer in its error
        except (ValueError, RecursionError) as error:
            if status >= httpx.codes.BAD_REQUEST:  # a proxy's or rate limiter's page
                raise RpcRefused(method, status, f"HTTP status {status}") from error
            raise ProtocolMismatch(self.public_url, f"{method} was not answered in JSON") from error
        if not isinstance(answer, dict):
            raise ProtocolMismatch(self.public_url, f"{method} was not answered in JSON-RPC")
        return cast("Mapping[str, Json]", answer)


def public_address(url: str) -> str:
    """Leave out what may be secret: user, password, path and query of hosted nodes hold access keys."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else url[:80]


def _translate(method: str, error: Json) -> Reverted | RpcRefused:
    fields = error if isinstance(error, dict) else {}
    code, text, data = fields.get("code"), str(fields.get("message", ""))[:_MAX_ERROR_TEXT], fields.get("data")
    if isinstance(data, dict):  # some nodes wrap it
        data = data.get("data")
    if code == _REVERT_CODE or "revert" in text.lower():
        return Reverted("", {}, _revert_data(data))
    return RpcRefused(method, code if isinstance(code, int) else 0, text.replace("\n", " "))


def _revert_data(data: Json) -> bytes:
    if isinstance(data, str) and data.startswith("0x"):
        with suppress(ValueError):
            return bytes.fromhex(data[2:])
    return b""
