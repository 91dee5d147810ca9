"""Addresses that follow from the code: CREATE2 (EIP-1014) through the factory that is at one address on every chain.

The factory is Arachnid's deterministic deployment proxy. Its call data is a salt of 32 bytes and the creation code; it
deploys and answers the address. It came by a transaction whose signature was chosen, not made, so nobody has the key of
its sender and anybody may bring it to a chain that lacks it.
"""

from typing import Final

from protocol.identity import Address
from protocol.signing.keccak import keccak256

FACTORY: Final = Address(bytes.fromhex("4e59b44847b379578588920ca78fbf26c0b4956c"))
FACTORY_CODE: Final = bytes.fromhex(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe036016000816020823780358282"
    "34f58015156039578182fd5b8082525050506014600cf3"
)
FACTORY_SENDER: Final = Address(bytes.fromhex("3fab184622dc19b6109349b94811493bf2a45362"))
FACTORY_COST: Final = 10**16
"""Wei that the sender must have: 100,000 gas at 100 gwei, as the transaction says."""
FACTORY_TRANSACTION: Final = bytes.fromhex(
    "f8a58085174876e800830186a08080b853604580600e600039806000f350fe7fffffffffffffffffffffffffffffff"
    "ffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050"
    "506014600cf31ba02222222222222222222222222222222222222222222222222222222222222222a0222222222222"
    "2222222222222222222222222222222222222222222222222222"
)

DEFAULT_SALT: Final = bytes(keccak256(b"Stoa 1"))
"""Equal terms give equal addresses, whoever deploys; another salt gives a second set."""


def create2_address(salt: bytes, creation_code: bytes) -> Address:
    """Return where the factory puts `creation_code`, which ends with its encoded constructor arguments.

    The address commits to all of it: code that stands there came of exactly this code and these arguments (EIP-1014).
    """
    return Address(keccak256(b"\xff" + FACTORY + salt + keccak256(creation_code))[12:])
