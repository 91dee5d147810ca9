// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ITreasury} from "./ITreasury.sol";

/// @dev Blocks between the request of a draw and the block whose number decides it.
uint256 constant DRAW_DELAY = 2;

/// @title The bench: who may be drawn as an arbiter, and with what stake
/// @notice An arbiter buys tickets for an engine that it can run. A draw takes tickets by equal chance, so arbiters are drawn
/// by stake; each seat on a committee has the stake of one ticket behind it.
///
/// @dev Rules (docs/spec/law.md section 2, docs/adr/1604):
/// - A draw counts tickets as of the block of its request. Nothing that happens later changes which tickets it may take.
/// - A place is used again, or pruned, only when no draw that could still name it is possible.
/// - Who resigns is drawn no more from the next block on, and gets its stake after `cooldown`, unless it still serves.
/// - A seat binds its stake until the last second of the case, even if that ends before: ending it early would cost another
///   write for each seat of each case.
/// - The bonds of open cases lie here too, so that paying a committee moves no token.
interface IBench is ITreasury {
    /// @notice Where the number of a draw comes from. `PrevRandao`: the beacon's, from a block header. `BlockHash`: for chains
    /// without a beacon, and easier to bias.
    enum Randomness {
        BlockHash,
        PrevRandao
    }

    /// @notice One ticket. It counts at block b if `since <= b < until`. One storage slot.
    struct Ticket {
        address owner;
        uint40 since;
        uint40 until;
    }

    /// @notice What one arbiter has here. One storage slot.
    /// @param balance Stake and earnings, in base units.
    /// @param tickets Tickets that count.
    /// @param leaving Tickets resigned, whose stake waits until `readyAt`.
    /// @param serving Seats taken, each bound to a stake, until `servingUntil`; none after that. A stake backs one seat of a committee, and at
    /// most four in all.
    struct Account {
        uint96 balance;
        uint24 tickets;
        uint24 leaving;
        uint24 serving;
        uint40 readyAt;
        uint40 servingUntil;
    }

    /// @notice A committee to be drawn.
    /// @param engine What its arbiters have to be able to run.
    /// @param salt What makes this draw another than those of the same block.
    /// @param drawBlock The block whose number decides; tickets count as of `DRAW_DELAY` blocks before.
    /// @param places How many of the first places of `engine` may be drawn.
    /// @param seats How many seats to fill.
    /// @param until Last second at which the case can cost a seat its stake.
    /// @param paid Seats, as bits, that earn `fee` at once, because they have voted already.
    /// @param fee What they earn.
    struct Request {
        bytes32 engine;
        bytes32 salt;
        uint40 drawBlock;
        uint24 places;
        uint24 seats;
        uint40 until;
        uint24 paid;
        uint40 fee;
    }

    /// @notice No ticket was named, or more than fit.
    error NoTickets();
    /// @notice This ticket isn't the caller's, or doesn't count any more.
    error NotYourTicket(bytes32 engine, uint32 index);
    /// @notice This place is taken, or a draw may still name it until `freeAt` (a block).
    error PlaceTaken(bytes32 engine, uint32 index, uint256 freeAt);
    /// @notice Tickets are leaving already, until `readyAt`.
    error AlreadyLeaving(address arbiter, uint40 readyAt);
    /// @notice Only the court may call.
    error NotCourt(address caller);
    /// @notice There is nothing to take out now.
    error NothingToCollect(address arbiter);
    /// @notice The header isn't that of block `number`.
    error WrongHeader(uint256 number);
    /// @notice Only `found` of the seats that have voted can be filled.
    error TooFewSeats(uint256 found);
    /// @notice A constructor argument that must not be zero.
    error ZeroAddress();

    /// @notice `arbiter` has ticket `index` for `engine`.
    event Enlisted(bytes32 indexed engine, address indexed arbiter, uint32 index);
    /// @notice Ticket `index` is drawn no more from the next block on.
    event Resigned(bytes32 indexed engine, address indexed arbiter, uint32 index);
    /// @notice `engine` has so many places left.
    event Pruned(bytes32 indexed engine, uint256 places);
    /// @notice `arbiter` took `amount` out.
    event Collected(address indexed arbiter, uint256 amount);

    /// @notice Buy `count` tickets for `engine`, at `seatStake` each. New business.
    /// @param places Places of tickets that count no more, to be used before new ones.
    function enlist(bytes32 engine, uint32 count, uint32[] calldata places) external;

    /// @notice Give up tickets of the caller for `engine`.
    function resign(bytes32 engine, uint32[] calldata indices) external;

    /// @notice Take `count` places off the end that no draw can name any more. Anyone: empty places make draws dear.
    function prune(bytes32 engine, uint32 count) external;

    /// @notice The court's entry: fill the seats of a committee.
    /// @param header RLP of the header of `drawBlock`; empty where `randomness` is BlockHash.
    /// @return committee Empty if the number of `drawBlock` isn't known, or too few have the stake of a free seat.
    function draw(Request calldata request, bytes calldata header) external returns (address[] memory committee);

    /// @notice The court's entry: pay and slash seats. What they earn the court has paid in before; what they lose is the
    /// court's to send.
    /// @param paid Seats, as bits, that earn `fee`.
    /// @param wrong Seats that lose `seatStake`, or what is left of it.
    /// @param absent Seats that lose a tenth of it.
    /// @return lost Base units that they lost in all.
    function endSeats(address[] calldata committee, uint256 fee, uint256 paid, uint256 wrong, uint256 absent)
        external
        returns (uint256 lost);

    /// @notice The court's entry: send what it has paid in, or seats have lost.
    function send(address to, uint256 amount) external;

    /// @notice Take out what the caller has earned, and the stake of tickets that left long enough ago.
    function collect() external returns (uint256 amount);

    /// @notice Stake, earnings and seats of `arbiter`.
    function accountOf(address arbiter) external view returns (Account memory);

    /// @notice Number of places for `engine`, those of tickets that count no more included.
    function placesOf(bytes32 engine) external view returns (uint256);

    /// @notice The ticket at `index` of `engine`.
    function ticketOf(bytes32 engine, uint32 index) external view returns (Ticket memory);

    /// @notice Who draws, and ends seats.
    function court() external view returns (address);

    /// @notice The token of stakes and fees.
    function token() external view returns (address);

    /// @notice Base units behind each seat.
    function seatStake() external view returns (uint96);

    /// @notice Seconds from resigning to taking the stake.
    function cooldown() external view returns (uint32);

    /// @notice Where the number of a draw comes from.
    function randomness() external view returns (Randomness);
}
