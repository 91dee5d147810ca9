// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Acceptance, Award, Receipt, Settlement, Start, Verdict} from "./MarketTypes.sol";
import {ITreasury} from "./ITreasury.sol";

/// @title Escrow: locks one award's money until the award is accepted, claimed, judged or refunded
/// @notice Used above the threshold where a channel's credit isn't enough. `price + disputeFee` is locked per award digest;
/// the provider is paid by acceptances, or by a claim that nobody disputes; silence never pays the silent.
///
/// @dev Rules (SPEC M1, M7, M8, section 7; docs/spec/contracts.md section 4):
///
///     None -> Funded -> Started -> Claimed -> Disputed -> Judged | Split
///             Funded -> Recalled -> Refunded             (no Start proved within `pace`)
///             Funded, Started -> Refunded                (no claim by `claimBy = deliverBy + pace`)
///             Claimed -> Paid                            (no dispute by `disputeBy = claim + pace`)
///             Funded, Started, Recalled, Claimed -> Accepted   (last part accepted: by the provider, or in full)
///             any open state -> Settled                  (both sign)
///
/// What it assumes of the parties:
/// - Both watch the chain at least every `pace / 2`: a recall, a claim and a dispute each leave the other side `pace` or
///   `resolveWithin` to answer.
/// - The provider submits an acceptance before `claimBy`, or claims: an acceptance in a drawer doesn't stop a refund.
/// - The arbiter is trusted with the claimed rest and the dispute fee of awards that name it, and with nothing more. It
///   may be a contract (it calls) or a plain key (it calls or signs). If it is silent until `resolveBy`, or if there is
///   none, `splitBps` of the claimed rest goes to the provider.
/// - Requester and provider are plain keys (C4); whoever calls `fund` may be a contract, but refunds go to the requester.
///
/// All objects are signed in this contract's EIP-712 domain ("Stoa", "1"), which is the market's domain (C2).
/// All functions take the whole `Award`; storage keeps one record per digest (M7).
interface IEscrow is ITreasury {
    /// @notice Where an award stands. From `Accepted` on it is closed and holds nothing; the name says how it ended.
    enum State {
        None,
        Funded,
        Recalled,
        Started,
        Claimed,
        Disputed,
        Accepted,
        Settled,
        Refunded,
        Paid,
        Judged,
        Split
    }

    /// @notice The record of one award. One storage slot.
    /// @param amount Base units locked at funding: `price + disputeFee`.
    /// @param paid Base units paid to the provider so far.
    /// @param time Last second of the act that the state waits for: Recalled, the proof of a start; Claimed, a dispute;
    /// Disputed, a verdict. 0 otherwise (the award's own times apply); the second of the end once closed.
    /// @param state Where it stands.
    struct Record {
        uint96 amount;
        uint96 paid;
        uint40 time;
        State state;
    }

    /// @notice What the provider claimed last.
    struct ClaimRecord {
        uint128 due;
        uint32 part;
        bytes32 receipt;
    }

    /// @notice The award is in another state than the call needs.
    error WrongState(bytes32 award, State state);
    /// @notice The award names another rail, or a channel: not for this escrow.
    error NotForEscrow(bytes32 award);
    /// @notice A term of the award can't be kept: no provider, no price, no parts, `splitBps` above one whole, deadlines
    /// out of order, a pace below `minPace`, or an amount above 2^96 - 1.
    error BadTerms(bytes32 award);
    /// @notice Only this party may call.
    error NotParty(bytes32 award, address caller);
    /// @notice The act counted until `deadline`.
    error TooLate(bytes32 award, uint256 deadline);
    /// @notice The other side still has until `deadline`.
    error TooEarly(bytes32 award, uint256 deadline);
    /// @notice The signed object is about another award.
    error WrongAward(bytes32 expected, bytes32 actual);
    /// @notice The start was signed for a time after `startBy`.
    error StartedTooLate(bytes32 award, uint64 startedAt, uint64 startBy);
    /// @notice The part isn't one of this award's.
    error PartOutOfRange(bytes32 award, uint32 part);
    /// @notice `due` is above the price, or below what was paid already.
    error DueOutOfRange(bytes32 award, uint128 due, uint128 paid, uint128 price);
    /// @notice The provider has this much already; nothing to pay or to claim.
    error NothingDue(bytes32 award, uint128 due, uint128 paid);

    /// @notice `amount` of `token` is locked for an award.
    event Funded(
        bytes32 indexed award, address indexed requester, address indexed provider, address token, uint128 amount
    );
    /// @notice The requester wants its money back since it saw no start; the start may be proved until `startProofBy`.
    event Recalled(bytes32 indexed award, uint64 startProofBy);
    /// @notice The provider's start is proved: the money stays until `claimBy`.
    event Started(bytes32 indexed award, uint64 startedAt);
    /// @notice The provider was paid `amount` for the parts up to `part`, and the award stays open; `paid` is its total.
    event Released(bytes32 indexed award, uint32 part, uint128 amount, uint128 paid);
    /// @notice A batch left this acceptance out. `reason` is the selector of the error that a single release would raise.
    event ReleaseSkipped(bytes32 indexed award, bytes4 reason);
    /// @notice The provider claims `due` in all; the requester may dispute until `disputeBy`.
    event Claimed(bytes32 indexed award, uint32 part, uint128 due, bytes32 receipt, uint64 disputeBy);
    /// @notice An open claim was accepted; the award goes on.
    event ClaimAccepted(bytes32 indexed award, uint128 due);
    /// @notice A party disputes the claim; `arbiter` decides until `resolveBy`.
    event Disputed(bytes32 indexed award, address indexed opener, address indexed arbiter, uint64 resolveBy);
    /// @notice The arbiter's verdict was applied.
    event Judged(bytes32 indexed award, address indexed arbiter, uint8 finding, uint128 due);
    /// @notice The award is closed as `outcome`. The three amounts add up to what was locked; `toProvider` includes earlier
    /// releases.
    event Closed(bytes32 indexed award, State outcome, uint128 toProvider, uint128 toRequester, uint128 toArbiter);

    /// @notice Lock `price + disputeFee` for `award`, paid by the caller. New business: the guardian may pause it.
    /// @dev Needs an allowance. Counts until `startBy`. One award can be funded once, ever.
    /// @param signature The requester's, over the award; may be empty if the requester calls.
    /// @return digest The award's id.
    function fund(Award calldata award, bytes calldata signature) external returns (bytes32 digest);

    /// @notice `fund` with the money of `funder`, by its ERC-3009 authorization whose nonce is the award's digest. Anyone may call.
    /// @dev The requester's consent is asked for as with `fund`, and not derived from the authorization: whether that was
    /// signed is the token's word, and anybody can write a token.
    function fundByAuthorization(
        Award calldata award,
        bytes calldata signature,
        address funder,
        Authorization calldata authorization
    ) external returns (bytes32 digest);

    /// @notice Fund awards of the caller, all in one token, with one transfer; or none of them. It is also the cheapest way to
    /// fund one.
    /// @param batch The token (20 bytes), then 254 bytes an award: its fields in order, packed, without `requester` (the
    /// caller), `token`, `rail` (this contract) and `channel` (zero).
    function fundMany(bytes calldata batch) external;

    /// @notice Pay the provider what the requester accepted beyond what it was paid. Anyone may call, in any open state.
    /// @dev If the acceptance is for the last part, and either the provider itself calls or the whole price is due, the award
    /// closes as `Accepted` (with `Closed` alone) and the rest goes back. For less than the price only the provider can
    /// close, since a requester could sign "last part, due 0" for itself. During a dispute it pays and the dispute goes on,
    /// else a requester could let a committee work and then avoid its fee.
    /// @param signature The requester's, over the acceptance; may be empty if the requester calls.
    function release(Award calldata award, Acceptance calldata acceptance, bytes calldata signature) external;

    /// @notice Release awards of the caller, the provider of all, in one token, with one transfer to it. It is also the
    /// cheapest way to release one.
    /// @dev As the provider calls, an acceptance of the last part closes its award. An award that is closed already, or a due that
    /// is paid already, is skipped with `ReleaseSkipped`: somebody else may have been faster. Anything else wrong reverts.
    /// @param batch The token (20 bytes), then 371 bytes an acceptance: the award as in `fundMany`, but without `provider`
    /// instead of `requester`; `uint32 part`, `uint128 due`, `bytes32 receipt`, and the requester's signature.
    function releaseMany(bytes calldata batch) external;

    /// @notice Close as both sides signed: `due` in all to the provider, the rest to the requester. In any open state.
    /// @dev A party that calls needs no signature of its own. During a dispute an arbiter that is a plain key still
    /// gets `disputeFee`; a contract has seen to its fee before.
    function settle(
        Award calldata award,
        Settlement calldata settlement,
        bytes calldata requesterSignature,
        bytes calldata providerSignature
    ) external;

    /// @notice Close as the arbiter and one party signed, where the arbiter alone could judge or could be asked to: while
    /// `Claimed` until `disputeBy`, while `Disputed` until `resolveBy`.
    /// @dev `due` is bounded as a verdict's: not less than was paid, not more than was claimed. So two of three can't take
    /// what a verdict couldn't, and before a claim, when there is nothing to judge, the arbiter's hand counts for nothing. The fee
    /// is as with `settle`.
    /// @param party The requester or the provider, whoever signed.
    /// @param partySignature That party's, over the settlement; may be empty if it calls.
    /// @param arbiterSignature The arbiter's, over the settlement; may be empty if it calls.
    function settleWithArbiter(
        Award calldata award,
        Settlement calldata settlement,
        address party,
        bytes calldata partySignature,
        bytes calldata arbiterSignature
    ) external;

    /// @notice Ask for the money back after `startBy` because no start came. Only the requester, while Funded.
    /// @dev Opens `pace` seconds in which the provider's start can be proved; then `refund`.
    function recall(Award calldata award) external;

    /// @notice Prove that the provider started in time, which keeps the money in place until `claimBy`. Anyone may call.
    /// @param signature The provider's, over the start.
    function proveStart(Award calldata award, Start calldata start, bytes calldata signature) external;

    /// @notice Claim `receipt.due` against the provider's evidence, until `claimBy`. Only the provider, since a requester
    /// could claim an older, cheaper receipt for it.
    /// @param startSignature The provider's, over the start.
    /// @param receiptSignature The provider's, over the receipt.
    function claim(
        Award calldata award,
        Start calldata start,
        bytes calldata startSignature,
        Receipt calldata receipt,
        bytes calldata receiptSignature
    ) external;

    /// @notice Pay a claim that nobody disputed until `disputeBy`, and close as `Paid`. Anyone may call.
    function payClaim(Award calldata award) external;

    /// @notice Dispute an open claim, until `disputeBy`. The requester, or the arbiter for it; the provider is paid if nobody does.
    /// The arbiter has `resolveWithin` from now.
    function dispute(Award calldata award) external;

    /// @notice The arbiter's entry: close a disputed award as `Judged`.
    /// @dev By `award.arbiter`, or with its signature over the verdict. The provider's total becomes `verdict.due`, but not
    /// less than it was paid already nor more than it claimed. The arbiter gets `disputeFee` if `finding` is
    /// `FINDING_REQUESTER_LOST`; the rest goes to the requester.
    /// @param signature The arbiter's; may be empty if the arbiter calls.
    function applyVerdict(Award calldata award, Verdict calldata verdict, bytes calldata signature) external;

    /// @notice Close a disputed award that has no verdict by `resolveBy`, or no arbiter: `splitBps` of the claimed rest,
    /// rounded down, to the provider, all else to the requester. Anyone may call.
    function split(Award calldata award) external;

    /// @notice Send the unpaid rest back to the requester: no claim by `claimBy`, or no start proved after a recall.
    /// Anyone may call.
    function refund(Award calldata award) external;

    /// @notice The record of the award with this digest.
    function recordOf(bytes32 award) external view returns (Record memory);

    /// @notice The last claim on the award with this digest.
    function claimOf(bytes32 award) external view returns (ClaimRecord memory);

    /// @notice The award's id: its EIP-712 digest in this contract's domain.
    function digestOf(Award calldata award) external view returns (bytes32);

    /// @notice Least `pace` that an award may have, in seconds.
    function minPace() external view returns (uint32);
}
