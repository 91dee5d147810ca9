"""What a chain, the way to it, or what was asked of it can do wrong.

TransientError
├── ChainUnreachable      nobody answers at the address, or the connection broke
├── ChainTimeout          somebody accepted the request and did not answer in time
├── RpcRefused            the node answered with an error that is no revert (rate limit, pruned state, ...)
├── NotDeployedYet        a contract is there, but was not at the confirmed block that was asked
└── GasPriceAboveCap      the chain asks for more per gas than the user allows; waits in the queue
ChainRejected
└── Reverted              a contract said no: decoded error and arguments
ConfigError
├── WrongChain            the address leads to another chain than the profile
├── ContractMissing       no code where the deployment says that a contract is
├── CodeMismatch          other code than what this version of Stoa was built against
├── DeploymentInvalid     the deployments file is missing or contradicts itself
├── ProtocolMismatch      what answers does not speak Ethereum JSON-RPC
└── AnvilMissing          the local chain's program is not installed
"""

from pathlib import Path

from node.chain.reasons import advice_of
from protocol.errors import ChainRejected, ConfigError, TransientError
from protocol.identity import Address, Digest, format_address


class ChainUnreachable(TransientError):
    """Nobody answers at the RPC address."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"the chain at {url} can't be reached: {reason}", advice="check chain.rpc_url and that it runs"
        )


class ChainTimeout(TransientError):
    """The chain's node did not answer in time."""

    def __init__(self, url: str, method: str, seconds: float) -> None:
        super().__init__(
            f"the chain at {url} did not answer {method} within {seconds:g} s",
            advice="try again; if it stays so, see that its node is well, or point chain.rpc_url to another",
        )


class RpcRefused(TransientError):
    """The chain's node answered with an error that is no revert.

    Attributes:
        code: JSON-RPC error code.
        text: The node's own words, cut to a line.
    """

    def __init__(self, method: str, code: int, text: str) -> None:
        super().__init__(f"the chain's node refused {method}: {text} (code {code})")
        self.method, self.code, self.text = method, code, text


class NotDeployedYet(TransientError):
    """There is no contract yet in the state of a confirmed block, as right after a deployment."""

    def __init__(self, name: str, address: Address, block: int) -> None:
        super().__init__(
            f"contract {name} at {format_address(address)} is not there yet at the newest confirmed block, {block}",
            advice="wait for the confirmations of its deployment",
        )


class ProtocolMismatch(ConfigError):
    """What answers at the address does not speak Ethereum JSON-RPC."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"what answers at {url} is no Ethereum node: {reason}", advice="check chain.rpc_url")


class GasPriceAboveCap(TransientError):
    """The chain asks for more per gas than the user allows.

    Attributes:
        asked: Wei per gas that inclusion costs now.
        cap: Wei per gas that the profile or the user allows.
    """

    def __init__(self, *, asked: int, cap: int) -> None:
        super().__init__(
            f"gas costs {asked / 1e9:.3f} gwei now, above the cap of {cap / 1e9:.3f} gwei; waiting until it is cheaper",
            advice="raise chain.max_fee_gwei if it can't wait",
        )
        self.asked, self.cap = asked, cap


class Reverted(ChainRejected):
    """A contract reverted.

    Attributes:
        error: Name of the custom error; "Error" or "Panic" for Solidity's own; empty if it can't be known.
        arguments: Its decoded arguments by name, in order.
        data: The raw revert data.
    """

    def __init__(self, error: str, arguments: dict[str, object], data: bytes, *, contract: str = "") -> None:
        shown = ", ".join(f"{name}={_shown(value)}" for name, value in arguments.items())
        what = f"{error}({shown})" if error else f"unknown error 0x{data[:36].hex()}" if data else "no reason given"
        super().__init__(f"{contract or 'the contract'} reverted: {what}", advice=advice_of(error, arguments))
        self.error, self.arguments, self.data = error, arguments, data


class WrongChain(ConfigError):
    """The RPC address leads to another chain than the profile."""

    def __init__(self, url: str, *, expected: int, actual: int) -> None:
        super().__init__(
            f"{url} is chain {actual}, the configuration names chain {expected}",
            advice="change chain.rpc_url or chain.profile so that both name the same chain",
        )
        self.expected, self.actual = expected, actual


class ContractMissing(ConfigError):
    """There is no code at a contract's address."""

    def __init__(self, name: str, address: Address) -> None:
        super().__init__(
            f"there is no contract {name} at {format_address(address)}",
            advice="check chain.deployments; a local chain that lost its state needs a new deployment",
        )


class CodeMismatch(ConfigError):
    """The code at a contract's address is not what this version of Stoa was built against."""

    def __init__(self, name: str, address: Address, *, expected: Digest, actual: Digest) -> None:
        super().__init__(
            f"the code of {name} at {format_address(address)} has hash {actual.hex()}, expected {expected.hex()}",
            advice="this address is not the contract, or of another version of Stoa; don't use it with money",
        )
        self.expected, self.actual = expected, actual


class DeploymentInvalid(ConfigError):
    """The deployments file is missing or contradicts itself."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path}: {reason}",
            advice="name the network's file in chain.deployments; a chain of your own makes one: stoa chain start",
        )


class AnvilMissing(ConfigError):
    """The local chain's program is not installed."""

    def __init__(self) -> None:
        super().__init__("anvil is not installed, so there is no local chain", advice="run: make setup")


class AnvilFailed(TransientError):
    """The local chain's program ended or never became ready."""


def _shown(value: object) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)
