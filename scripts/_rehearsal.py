"""A rehearsal: the same deployment on a chain that is thrown away, a copy of the real one or an empty one.

The copy is anvil's fork. Where the real chain is reached goes to anvil through its RPC, not on its command line, which
every user of the machine may read: such addresses hold access keys.
"""

import re
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import click
from web3 import HTTPProvider, Web3
from web3.types import RPCEndpoint

from node.chain.anvil import find_anvil
from protocol.errors import StoaError
from protocol.identity import Address
from scripts._ground import Ground, Sent

_RICH: Final = 10**24
"""Wei: a rehearsal must not end for want of money; who pays is asked on the real chain."""
_STOP_TIMEOUT_S: Final = 10.0
_RPC_TIMEOUT_S: Final = 120.0  # a fork fetches what it touches


@contextmanager
def open_rehearsal(chain_id: int, sender: Address, *, fork: str | None) -> Generator[Ground]:
    """Run a throw-away chain on this machine until the block ends.

    Args:
        chain_id: Its number, so that signatures' domains are those of the real one.
        sender: Who deploys there; its key is not needed.
        fork: RPC address of the chain to copy; None begins with an empty one.

    Raises:
        ClickException: anvil is not installed, does not start, or can't reach `fork`.
    """
    try:
        program = find_anvil()
    except StoaError as error:
        raise click.ClickException(f"{error}; {error.advice}") from error
    command = [str(program), "--host", "127.0.0.1", "--port", "0", "--chain-id", str(chain_id)]
    command += ["--hardfork", "prague", "--accounts", "0", "--disable-default-create2-deployer"]
    with subprocess.Popen(  # noqa: S603  our own tool, at a fixed path
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            web3 = Web3(HTTPProvider(_address(process), request_kwargs={"timeout": _RPC_TIMEOUT_S}))
            if fork is not None:
                _call(web3, "anvil_reset", {"forking": {"jsonRpcUrl": fork}})
            account = Web3.to_checksum_address(sender)
            _call(web3, "anvil_setBalance", account, hex(_RICH))
            _call(web3, "anvil_impersonateAccount", account)
            yield Ground(web3=web3, sender=sender, send=_sender(web3, sender))
        finally:
            process.terminate()
            try:
                process.communicate(timeout=_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(process: "subprocess.Popen[str]") -> str:
    """Wait until anvil listens, and return where."""
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        if found := re.search(r"Listening on (127\.0\.0\.1:\d+)", line):
            return f"http://{found[1]}"
        said.append(line)
    raise click.ClickException("the chain for the rehearsal did not start: " + " / ".join(said[-3:]).strip())


def _sender(web3: Web3, sender: Address) -> Any:
    account = Web3.to_checksum_address(sender)

    def send(to: Address, data: bytes, value: int) -> Sent:
        transaction = web3.eth.send_transaction(
            {"from": account, "to": Web3.to_checksum_address(to), "data": data, "value": Web3.to_wei(value, "wei")}
        )
        receipt = web3.eth.wait_for_transaction_receipt(transaction)
        if not receipt["status"]:
            raise click.ClickException("the rehearsal failed: a contract refused its constructor arguments")
        return Sent(int(receipt["gasUsed"]), int(receipt["blockNumber"]))

    return send


def _call(web3: Web3, method: str, *params: Any) -> Any:
    answer = web3.provider.make_request(RPCEndpoint(method), list(params))
    if "error" in answer:
        # The node's words may repeat the address that it was given, access key and all.
        raise click.ClickException(f"the chain for the rehearsal refused {method}; can the real chain be reached?")
    return answer.get("result")
