"""EIP-1559 transactions, signed by eth-account (https://eips.ethereum.org/EIPS/eip-1559)."""

from dataclasses import dataclass
from typing import Final

from eth_account import Account

from protocol.identity import Address

_DYNAMIC_FEE: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A transaction before it is signed. Fees in wei per gas."""

    chain_id: int
    nonce: int
    max_priority_fee: int
    max_fee: int
    gas: int
    to: Address | None
    """None deploys a contract."""
    value: int
    data: bytes


def sign_call(private_key: bytes, call: Call) -> bytes:
    """Return the raw transaction. Its hash is the Keccak-256 of these bytes. Deterministic."""
    signed = Account.sign_transaction(
        {
            "type": _DYNAMIC_FEE,
            "chainId": call.chain_id,
            "nonce": call.nonce,
            "maxPriorityFeePerGas": call.max_priority_fee,
            "maxFeePerGas": call.max_fee,
            "gas": call.gas,
            "to": b"" if call.to is None else call.to,
            "value": call.value,
            "data": call.data,
            "accessList": (),
        },
        private_key,
    )
    return bytes(signed.raw_transaction)
