"""web3.py, imported in one place: here and nowhere else in the node.

It takes a quarter of a second and 20 MiB (docs/adr/0690-web3-under-the-chain-room.md), so only what talks to a chain
imports this.
Its own import of `websockets.legacy` warns that this is deprecated, which a strict run (`python -W error`, our tests)
would take for an error of ours.
"""

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=r"websockets\.legacy is deprecated", category=DeprecationWarning)
    from web3 import AsyncWeb3
    from web3.providers.async_base import AsyncBaseProvider, AsyncJSONBaseProvider
    from web3.types import RPCEndpoint, RPCResponse

__all__ = [
    "AsyncBaseProvider",
    "AsyncJSONBaseProvider",
    "AsyncWeb3",
    "RPCEndpoint",
    "RPCResponse",
]
