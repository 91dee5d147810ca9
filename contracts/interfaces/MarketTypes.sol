// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// The signed objects that a contract reads (SPEC section 2, docs/spec/contracts.md section 2). Field order is part of the
// protocol: it is the order of the EIP-712 type strings in `StructHash`.
//
// Conventions (SPEC section 1). Amounts are base units of `token` (6 decimals for the market's stablecoin). Times are
// Unix seconds; a time `xBy` is the last second at which the act counts. `due` and `cumulative` are running totals.

/// @notice What a requester wants, on which terms. Signed by the requester.
/// @dev Contracts read `requester` and `bond`; the rest is in the digest. `auctionFormat` is `format` in the type
/// string.
struct Offer {
    address requester;
    address token;
    address rail;
    address arbiter;
    bytes32 manifest;
    bytes32 engine;
    bytes32 rates;
    bytes32 verification;
    uint8 auctionFormat;
    uint32 parts;
    uint16 copies;
    uint16 wPrice;
    uint16 wReputation;
    uint16 wSpeed;
    uint16 maxBidders;
    uint16 splitBps;
    uint128 budget;
    uint128 bond;
    uint128 minStake;
    uint128 liability;
    uint128 disputeFee;
    uint32 maxEta;
    uint32 startWithin;
    uint32 pace;
    uint32 resolveWithin;
    uint64 commitBy;
    uint64 revealBy;
    uint64 expires;
    bytes32 salt;
}

/// @notice A sealed bid. Signed by the bidder.
/// @dev `seal` is `hash` in the type string: that word is taken by `StructHash`.
struct Commitment {
    bytes32 offer;
    address bidder;
    bytes32 seal;
}

/// @notice Who takes part, under a Merkle root. Signed by the requester before any price is known.
struct Roll {
    bytes32 offer;
    bytes32 root;
    uint16 count;
}

/// @notice Who does which parts of a task for how much. Signed by the requester.
/// @dev `parts` counts the parts of this award alone: the last one has the index `firstPart + parts - 1`.
struct Award {
    bytes32 offer;
    bytes32 roll;
    bytes32 bids;
    address requester;
    address provider;
    address token;
    address rail;
    bytes32 channel;
    address arbiter;
    uint16 slot;
    uint16 attempt;
    uint32 firstPart;
    uint32 parts;
    uint128 price;
    uint128 liability;
    uint128 disputeFee;
    uint16 splitBps;
    uint64 startBy;
    uint64 deliverBy;
    uint32 pace;
    uint32 resolveWithin;
    bytes32 auditSeal;
}

/// @notice Funds confirmed, all inputs held, bound from here. Signed by the provider.
/// @dev `startedAt` is `at` in the EIP-712 type string: Solidity is about to reserve that word.
struct Start {
    bytes32 award;
    uint64 startedAt;
}

/// @notice What one part did, and what is due for all parts of the award so far. Signed by the provider.
struct Receipt {
    bytes32 award;
    uint32 part;
    uint8 outcome;
    bytes32 output;
    bytes32 logs;
    uint64 fuel;
    uint32 peakMiB;
    uint64 bytesIn;
    uint64 bytesOut;
    uint128 due;
    bytes32 notes;
}

/// @notice All parts up to `part` are accepted and `due` is owed. Signed by the requester.
struct Acceptance {
    bytes32 award;
    uint32 part;
    bytes32 receipt;
    uint128 due;
}

/// @notice What the arbiter of an award found. A call from the arbiter, or its signature if it is a plain key.
/// @dev The contracts read `award`, `finding` (see `FINDING_REQUESTER_LOST`) and `due`; the rest is for other readers.
struct Verdict {
    bytes32 award;
    uint32 part;
    uint8 round;
    uint8 finding;
    bytes32 output;
    uint64 fuel;
    uint128 due;
    uint16 severity;
}

/// @notice Both parties of an escrowed award agree on its end: `due` in all for the provider, the rest goes back.
/// @dev Signed by requester and provider, in the market's domain. Void after `settleBy`.
struct Settlement {
    bytes32 award;
    uint128 due;
    uint64 settleBy;
}

/// @notice All that the payer owes in one channel so far, and what it has promised on top. Signed by the channel's signer.
/// @dev `held` is the sum of the hold leaves under the Merkle root `holds`.
struct Voucher {
    bytes32 channel;
    uint64 sequence;
    uint128 cumulative;
    uint128 held;
    bytes32 holds;
}

/// @notice Money promised to one award inside a voucher. A Merkle leaf, never signed by itself.
/// @dev `amount` is `price + disputeFee` of the award, less what the vouchers' `cumulative` has already paid for it.
struct Hold {
    bytes32 award;
    address arbiter;
    uint128 amount;
}

/// @notice Both parties of a channel agree on its end: `cumulative` in all for the payee, the rest goes back.
/// @dev Signed by the channel's signer and its payee, in the channel contract's own domain. Void after `closeBy`, so that a
/// close which was agreed on but not sent can't come back after further work.
struct Close {
    bytes32 channel;
    uint128 cumulative;
    uint64 closeBy;
}

/// @notice What names a channel. Its id is `keccak256(abi.encode(channelKey))`; storage holds only the money.
struct ChannelKey {
    address payer;
    address signer;
    address payee;
    address token;
    uint64 counter;
}

/// @dev The finding that makes the requester's dispute fee go to the arbiter: the provider's work stands.
uint8 constant FINDING_REQUESTER_LOST = 1;

/// @dev One whole, in basis points.
uint256 constant BASIS_POINTS = 10_000;
