// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @dev Of the cheat codes, what proofs need: see `../forge/Vm.sol`.
interface Vm {
    function assume(bool condition) external pure;
    function prank(address sender) external;
    function warp(uint256 timestamp) external;
    function roll(uint256 number) external;
    function store(address target, bytes32 slot, bytes32 value) external;
    function load(address target, bytes32 slot) external view returns (bytes32);
}

/// @dev What halmos makes up for us: values that stand for all values of their type.
interface Svm {
    function createUint(uint256 bits, string calldata name) external returns (uint256);
    function createAddress(string calldata name) external view returns (address);
    function createBytes(uint256 length, string calldata name) external returns (bytes memory);
    function enableSymbolicStorage(address target) external;
}

/// @dev A token that only counts, modulo 2^256, and never refuses. So an entry that pays out what it doesn't have isn't saved by
/// the token's revert: it shows in the balances. What a refusing token does is the fuzz tests' part (credits).
contract Ledger {
    mapping(address owner => uint256 amount) public balanceOf;

    function mint(address to, uint256 amount) external {
        unchecked {
            balanceOf[to] += amount;
        }
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        _move(msg.sender, to, amount);
        return true;
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        _move(from, to, amount);
        return true;
    }

    function _move(address from, address to, uint256 amount) private {
        unchecked {
            balanceOf[from] -= amount;
            balanceOf[to] += amount;
        }
    }
}

/// @dev Parties, a token, and a world in which any signature may be anybody's: `ecrecover` is a function of which halmos knows
/// nothing, so every property also holds if a party signs whatever suits an attacker.
abstract contract Symbolic {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    Svm internal constant svm = Svm(address(uint160(uint256(keccak256("svm cheat code")))));

    address internal constant REQUESTER = address(0xA11CE);
    address internal constant PROVIDER = address(0xB0B);
    address internal constant ARBITER = address(0xCA5E);
    address internal constant GUARDIAN = address(0x6A4D);

    Ledger internal token;

    function setUp() public virtual {
        token = new Ledger();
    }

    /// @dev What `who` has got since it had nothing.
    function _got(address who) internal view returns (uint256) {
        return token.balanceOf(who);
    }

    function _any128(string memory name) internal returns (uint128) {
        return uint128(svm.createUint(128, name));
    }

    function _signature() internal returns (bytes memory) {
        return svm.createBytes(65, "signature");
    }

    /// @dev Now: any second that fits what the contracts keep.
    function _anyTime() internal {
        uint256 time = svm.createUint(40, "time");
        vm.assume(time > 0 && time < 1 << 39);
        vm.warp(time);
    }

    /// @dev Anybody, the parties included, calls `target`. False if it reverted.
    function _anybodyCalls(address target, bytes memory data) internal returns (bool success) {
        vm.prank(svm.createAddress("caller"));
        (success,) = target.call(data);
    }

    /// @dev `caller` calls `target`. False if it reverted.
    function _calls(address caller, address target, bytes memory data) internal returns (bool success) {
        vm.prank(caller);
        (success,) = target.call(data);
    }

    /// @dev Who signed `digest` with these 65 bytes, as far as `ecrecover` tells.
    function _signer(bytes32 digest, bytes memory signature) internal pure returns (address) {
        (bytes32 r, bytes32 s, uint8 v) = (0, 0, 0);
        assembly ("memory-safe") {
            r := mload(add(signature, 0x20))
            s := mload(add(signature, 0x40))
            v := byte(0, mload(add(signature, 0x60)))
        }
        return ecrecover(digest, v, r, s);
    }

    /// @dev The place of `key` in the mapping at `slot`.
    function _place(bytes32 key, uint256 slot) internal pure returns (bytes32) {
        return keccak256(abi.encode(key, slot));
    }
}
