// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @dev A condition that is computed without a jump. `a && b` makes the prover follow two paths, and each `assert` of each path asks
/// the solver once more; of facts, one question a path asks all.
type Fact is bool;

using {both as &, either as |, negated as ~} for Fact global;

function both(Fact one, Fact other) pure returns (Fact result) {
    assembly ("memory-safe") {
        result := and(one, other)
    }
}

function either(Fact one, Fact other) pure returns (Fact result) {
    assembly ("memory-safe") {
        result := or(one, other)
    }
}

function negated(Fact one) pure returns (Fact result) {
    assembly ("memory-safe") {
        result := iszero(one)
    }
}

function fact(bool condition) pure returns (Fact) {
    return Fact.wrap(condition);
}

function requireFact(Fact condition) pure {
    assert(Fact.unwrap(condition));
}
