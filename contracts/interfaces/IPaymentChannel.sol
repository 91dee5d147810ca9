// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Award, ChannelKey, Close, Verdict, Voucher} from "./MarketTypes.sol";
import {ITreasury} from "./ITreasury.sol";

/// @title One-way payment channels: a payer's deposit that one payee is paid from by vouchers
/// @notice Each channel has one payer, one payee and one token. The payer's signer signs vouchers with a running total
/// `cumulative`; anyone may submit the newest one in the payee's favour. A voucher also promises `held`: money for tasks in
/// flight, which a payer's exit leaves in place and which the arbiter named in the hold can enforce.
///
/// @dev Rules (SPEC M3-M6, docs/spec/contracts.md section 3) and what they assume of the parties:
/// - The payee watches the chain at least every `challenge / 4`, and on `ExitStarted` claims its best voucher and, if that
///   voucher holds money, presents it. Money not claimed or presented when the challenge is over goes back to the payer.
/// - A provider takes an award on a channel only if `deposit >= cumulative + held` at a confirmed block, no exit has begun,
///   and `deliverBy + 2 * pace + resolveWithin <= now + holdPeriod`: the reserve lasts at least `holdPeriod` from the
///   second the exit began, so every dispute about work taken before the exit ends within it.
/// - An enforcement pays the payee up to `cumulative + enforced` of the voucher presented last, and begins the payer's exit. Newer
///   vouchers are claimed and presented as in any exit; then verdicts are enforced anew on the newer one's holds, which tell what
///   it has already paid. The payee's total is the greatest that one voucher gives, never a sum over two. So the payee presents its
///   newest voucher before it has a verdict enforced, and any newer one before the exit's challenge is over.
/// - The payee takes no voucher that drops the hold of an award with an open case without paying for it.
/// - Arbiters are trusted within one hold's amount and no further; both parties named them.
/// - Signers are plain keys (C4): 65-byte ECDSA with low s. `payer` may be a contract.
///
/// Vouchers and closes are signed in this contract's own EIP-712 domain ("Stoa", "1"); verdicts in the market's domain,
/// whose verifying contract is `escrow`. All functions take the `ChannelKey`, which `ChannelOpened` publishes in full;
/// storage keeps only the money, which is what makes opening and batched claiming cheap.
interface IPaymentChannel is ITreasury {
    /// @notice What a channel holds. All zero: never opened, or closed.
    /// @param deposit Base units deposited, less what went back to the payer and to arbiters.
    /// @param claimed Base units paid to the payee so far.
    /// @param exitsAt Last second of the challenge; 0 while no exit has begun. The payer withdraws from `exitsAt + 1`.
    /// @param sequence Sequence of the voucher presented last; 0 if none.
    /// @param held Base units of that voucher's holds which were not enforced on it.
    /// @param base That voucher's `cumulative`, plus what verdicts on its holds gave the payee.
    /// @param holds Merkle root of that voucher's holds.
    struct ChannelState {
        uint128 deposit;
        uint128 claimed;
        uint64 exitsAt;
        uint64 sequence;
        uint128 held;
        uint128 base;
        bytes32 holds;
    }

    /// @notice No open channel has this id: never opened, closed, or the key is wrong.
    error ChannelUnknown(bytes32 channel);
    /// @notice The signed object names another channel than the key.
    error WrongChannel(bytes32 expected, bytes32 actual);
    /// @notice The voucher pays no more than was already claimed, or no more than the deposit still has.
    error NothingToClaim(bytes32 channel, uint128 cumulative, uint128 claimed);
    /// @notice The payer's exit has begun: no top-up, and no second exit.
    error ExitPending(bytes32 channel, uint64 exitsAt);
    /// @notice No exit has begun, or its challenge isn't over: money leaves from `exitsAt + 1` on (0: no exit).
    error ExitNotOver(bytes32 channel, uint64 exitsAt);
    /// @notice Only the payer may do this.
    error NotPayer(bytes32 channel, address caller);
    /// @notice A voucher with an equal or higher sequence was presented already; sequences start at 1.
    error StaleVoucher(bytes32 channel, uint64 sequence, uint64 presented);
    /// @notice A close for less than was claimed or more than was deposited.
    error CloseOutOfRange(bytes32 channel, uint128 cumulative, uint128 claimed, uint128 deposit);
    /// @notice The close was valid until `closeBy`.
    error CloseExpired(bytes32 channel, uint64 closeBy);
    /// @notice The hold isn't a leaf of the voucher presented last, or no voucher was presented.
    error HoldUnknown(bytes32 channel, bytes32 award);
    /// @notice The hold of this award was enforced already on the voucher presented last.
    error HoldAlreadyEnforced(bytes32 channel, bytes32 award);
    /// @notice The hold's amount is above the award's price and fee, or above what the voucher holds.
    error HoldOutOfRange(bytes32 channel, bytes32 award, uint128 amount);
    /// @notice The verdict is about another award.
    error VerdictMismatch(bytes32 expected, bytes32 actual);
    /// @notice The verdict gives more than the award's price.
    error VerdictAbovePrice(bytes32 award, uint128 due, uint128 price);
    /// @notice A signer or payee of zero.
    error ZeroAddress();

    /// @notice `payer` opened a channel with the key (payer, signer, payee, token, counter) and deposited into it.
    event ChannelOpened(
        bytes32 indexed channel,
        address indexed payer,
        address indexed payee,
        address signer,
        address token,
        uint64 counter,
        uint128 deposit
    );
    /// @notice `funder` added to the deposit, which is now `deposit`.
    event ToppedUp(bytes32 indexed channel, address indexed funder, uint128 amount, uint128 deposit);
    /// @notice The payee was paid `paid`; `claimed` is its total in this channel.
    event Claimed(bytes32 indexed channel, uint128 claimed, uint128 paid);
    /// @notice A batch left this claim out. `reason` is the selector of the error that a single claim would raise.
    event ClaimSkipped(bytes32 indexed channel, bytes4 reason);
    /// @notice The payee presented a voucher: its holds now count against the payer's exit.
    event HoldsPresented(bytes32 indexed channel, uint64 sequence, uint128 cumulative, uint128 held, bytes32 holds);
    /// @notice The exit of `payer` has begun, by its own call or by an enforcement; claim and present until `exitsAt`.
    event ExitStarted(bytes32 indexed channel, address indexed payer, uint64 exitsAt);
    /// @notice An arbiter enforced the hold of `award` on the voucher presented last.
    event HoldEnforced(
        bytes32 indexed channel, bytes32 indexed award, address indexed arbiter, uint128 toPayee, uint128 toArbiter
    );
    /// @notice `amount` went back to the payer.
    event Withdrawn(bytes32 indexed channel, address indexed payer, uint128 amount);
    /// @notice The channel is closed and holds nothing; `toPayee` is what the payee got from it in all.
    event ChannelClosed(bytes32 indexed channel, uint128 toPayee);

    /// @notice Open a channel and deposit `amount` of `token` from the caller, who becomes its payer.
    /// @dev Needs an allowance. The counter starts at 1 and grows with each channel of this payer, so the id is known
    /// beforehand (`counterOf(payer) + 1`) and never comes again.
    /// @param signer Plain key that signs vouchers and closes for the payer; the payer itself, or a delegate.
    /// @return channel Id of the new channel.
    function open(address signer, address payee, address token, uint128 amount) external returns (bytes32 channel);

    /// @notice `open` with the money of `funder`, by its ERC-3009 authorization whose nonce is the new channel's id. The caller is the
    /// payer, and what is left goes back to the payer.
    function openByAuthorization(
        address signer,
        address payee,
        address token,
        uint128 amount,
        address funder,
        Authorization calldata authorization
    ) external returns (bytes32 channel);

    /// @notice Add `amount` from the caller to a channel without a pending exit. Anyone may; it belongs to the channel.
    /// @dev Refused during an exit: money that arrives then would leave without a full challenge of its own.
    function topUp(ChannelKey calldata key, uint128 amount) external;

    /// @notice Pay the payee what `voucher` owes beyond what it was paid. Anyone may call; never paused.
    /// @dev Pays `min(cumulative, deposit) - claimed`, so an overdrawn voucher pays what is there.
    /// @param signature The channel signer's, over the voucher.
    /// @return paid Base units paid now.
    function claim(ChannelKey calldata key, Voucher calldata voucher, bytes calldata signature)
        external
        returns (uint128 paid);

    /// @notice Claim from many channels of one payee and one token, with one transfer. Anyone may call; never paused.
    /// @dev A claim that would revert alone is skipped with `ClaimSkipped`. The caller chooses and pays the length.
    /// @param claims 185 bytes a voucher: payer (20), signer (20), counter (8), sequence (8), cumulative (16), held (16), holds
    /// (32), and the signer's signature over the voucher (r, s, v: 65).
    /// @return paid Base units paid now, over all channels.
    function claimMany(address payee, address token, bytes calldata claims) external returns (uint256 paid);

    /// @notice Claim `voucher` and let its holds count (M4). By the payee, or with its signature over the same voucher.
    /// @dev Needs a higher sequence than the voucher presented before. May be done at any time until the channel is
    /// closed; what the payer has withdrawn by then is gone. Holds that were enforced before count again, as this voucher has them.
    /// @param payeeSignature The payee's, over the voucher; may be empty if the payee calls.
    function present(
        ChannelKey calldata key,
        Voucher calldata voucher,
        bytes calldata signature,
        bytes calldata payeeSignature
    ) external;

    /// @notice Begin the payer's exit. Only the payer, and only if none has begun: the timer can't be restarted.
    function startExit(ChannelKey calldata key) external;

    /// @notice Send the payer what is free: after the challenge, the deposit less what the payee has claimed and less the
    /// presented reserve; after `exitsAt + holdPeriod`, the reserve too. Anyone may call; never paused.
    /// @dev Closes the channel when nothing is left in it.
    /// @return amount Base units sent, 0 if the payee has everything.
    function withdraw(ChannelKey calldata key) external returns (uint128 amount);

    /// @notice End the channel at once as both sides signed: `agreed.cumulative` in all to the payee, the rest back.
    /// @dev Possible in every state. A party that calls needs no signature of its own (pass it empty): `signer` or
    /// `payer` for the paying side, `payee` for the other.
    function close(
        ChannelKey calldata key,
        Close calldata agreed,
        bytes calldata signerSignature,
        bytes calldata payeeSignature
    ) external;

    /// @notice The arbiter's entry: enforce the hold of `award` in the voucher presented last as `verdict` says, once, and begin the
    /// payer's exit if none has begun.
    /// @dev By `award.arbiter`, or with its signature over the verdict in the market's domain. The hold's amount tells what
    /// the vouchers have already paid for the award: `paid = price + disputeFee - amount`. The payee gets
    /// `verdict.due - paid` if that is positive; the arbiter gets `disputeFee` if `finding` is `FINDING_REQUESTER_LOST`, as
    /// far as the deposit reaches beyond the payee's total, and once however many vouchers are presented; the rest of the hold is
    /// free for the payer when the challenge is over. The remaining holds stay enforceable until `exitsAt + holdPeriod`.
    /// If a newer voucher is presented later, the verdict may be enforced again on its hold, and lifts the payee's total to what
    /// that voucher and its verdicts give.
    /// @param amount The amount in the hold leaf `(digest of award, award.arbiter, amount)`.
    /// @param proof Merkle proof of the leaf (keccak, sorted pairs, leaves hashed twice) against the presented root.
    /// @param signature The arbiter's; may be empty if the arbiter calls.
    function enforce(
        ChannelKey calldata key,
        Award calldata award,
        uint128 amount,
        bytes32[] calldata proof,
        Verdict calldata verdict,
        bytes calldata signature
    ) external;

    /// @notice What the channel with this id holds.
    function stateOf(bytes32 channel) external view returns (ChannelState memory);

    /// @notice Counter of the last channel that `payer` opened; 0 if none.
    function counterOf(address payer) external view returns (uint64);

    /// @notice Whether the hold of `award` was enforced on the voucher presented last or, in a closed channel, on any.
    function isEnforced(bytes32 channel, bytes32 award) external view returns (bool);

    /// @notice Id of the channel that `key` names.
    function channelId(ChannelKey calldata key) external pure returns (bytes32);

    /// @notice Separator of the market's EIP-712 domain, in which verdicts are signed.
    function marketDomainSeparator() external view returns (bytes32);

    /// @notice Verifying contract of the market's domain.
    function escrow() external view returns (address);

    /// @notice Seconds between the start of an exit and the first withdrawal.
    function challenge() external view returns (uint32);

    /// @notice Seconds after `exitsAt` for which presented holds stay reserved.
    function holdPeriod() external view returns (uint32);
}
