// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {BlockHeader} from "@openzeppelin/contracts/utils/BlockHeader.sol";
import {Blockhash} from "@openzeppelin/contracts/utils/Blockhash.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Treasury} from "./base/Treasury.sol";
import {DRAW_DELAY, IBench} from "./interfaces/IBench.sol";

/// @title The bench: tickets, stakes and draws of arbiters
/// @dev Rules and assumptions in `IBench` and docs/spec/law.md section 2. It belongs to one court, which creates it.
contract Bench is IBench, Treasury {
    using SafeCast for uint256;

    /// @dev Blocks whose hash a chain may still know (EIP-2935): a draw that is older has to be requested anew.
    uint256 private constant KNOWN_BLOCKS = 8191;
    /// @dev Numbers tried for a committee: some 2,000 gas each, and only until it is full. Of an engine nine of ten of whose
    /// places are empty, 23 seats take 230.
    uint256 private constant TRIES = 512;
    /// @dev What a seat loses that did not open its vote: a tenth of its stake.
    uint256 private constant ABSENT_SHARE = 10;

    /// @inheritdoc IBench
    address public immutable token;
    /// @inheritdoc IBench
    address public immutable court;
    /// @inheritdoc IBench
    uint96 public immutable seatStake;
    /// @inheritdoc IBench
    uint32 public immutable cooldown;
    /// @inheritdoc IBench
    Randomness public immutable randomness;

    mapping(bytes32 engine => Ticket[] tickets) private _tickets;
    mapping(address arbiter => Account account) private _accounts;

    constructor(address token_, uint96 seatStake_, uint32 cooldown_, Randomness randomness_, address guardian_)
        Treasury(guardian_)
    {
        if (token_ == address(0)) revert ZeroAddress();
        court = msg.sender;
        token = token_;
        seatStake = seatStake_;
        cooldown = cooldown_;
        randomness = randomness_;
    }

    modifier onlyCourt() {
        if (msg.sender != court) revert NotCourt(msg.sender);
        _;
    }

    // ------------------------------------------------------------------------------------------------- tickets

    /// @inheritdoc IBench
    function enlist(bytes32 engine, uint32 count, uint32[] calldata places) external nonReentrant newBusiness {
        if (count == 0 || places.length > count) revert NoTickets();
        uint256 amount = uint256(count) * seatStake;
        Account memory account = _accounts[msg.sender];
        account.balance += amount.toUint96();
        account.tickets += uint256(count).toUint24();
        _accounts[msg.sender] = account;

        Ticket memory ticket = Ticket({owner: msg.sender, since: _now(), until: type(uint40).max});
        Ticket[] storage tickets = _tickets[engine];
        for (uint256 i = 0; i < count; ++i) {
            uint256 index = i < places.length ? places[i] : tickets.length;
            if (i < places.length) {
                uint256 freeAt = _freeAt(tickets[index]);
                if (block.number <= freeAt) revert PlaceTaken(engine, uint32(index), freeAt);
                tickets[index] = ticket;
            } else {
                tickets.push(ticket);
            }
            emit Enlisted(engine, msg.sender, index.toUint32());
        }

        _take(token, amount);
    }

    /// @inheritdoc IBench
    function resign(bytes32 engine, uint32[] calldata indices) external nonReentrant {
        if (indices.length == 0) revert NoTickets();
        Account memory account = _accounts[msg.sender];
        if (account.leaving != 0 && block.timestamp <= account.readyAt) {
            revert AlreadyLeaving(msg.sender, account.readyAt);
        }
        // Those that left before are free now; `collect` pays them like earnings.
        account.leaving = indices.length.toUint24();
        account.readyAt = (block.timestamp + cooldown).toUint40();
        account.tickets -= indices.length.toUint24();
        _accounts[msg.sender] = account;

        Ticket[] storage tickets = _tickets[engine];
        for (uint256 i = 0; i < indices.length; ++i) {
            Ticket memory ticket = tickets[indices[i]];
            if (ticket.owner != msg.sender || ticket.until != type(uint40).max) {
                revert NotYourTicket(engine, indices[i]);
            }
            tickets[indices[i]].until = _now() + 1;
            emit Resigned(engine, msg.sender, indices[i]);
        }
    }

    /// @inheritdoc IBench
    function collect() external nonReentrant returns (uint256 amount) {
        Account memory account = _accounts[msg.sender];
        if (block.timestamp > account.readyAt) account.leaving = 0;
        uint256 kept = uint256(account.tickets) + account.leaving;
        uint256 serving = _serving(account);
        kept = (kept < serving ? serving : kept) * seatStake;
        if (account.balance <= kept) revert NothingToCollect(msg.sender);
        amount = account.balance - kept;
        account.balance = uint96(kept);
        _accounts[msg.sender] = account;
        emit Collected(msg.sender, amount);

        _pay(token, msg.sender, amount);
    }

    /// @inheritdoc IBench
    function prune(bytes32 engine, uint32 count) external nonReentrant {
        Ticket[] storage tickets = _tickets[engine];
        for (uint256 i = 0; i < count; ++i) {
            uint256 last = tickets.length - 1;
            uint256 freeAt = _freeAt(tickets[last]);
            if (block.number <= freeAt) revert PlaceTaken(engine, uint32(last), freeAt);
            tickets.pop();
        }
        emit Pruned(engine, tickets.length);
    }

    // ------------------------------------------------------------------------------------------------- views

    /// @inheritdoc IBench
    function accountOf(address arbiter) external view returns (Account memory) {
        return _accounts[arbiter];
    }

    /// @inheritdoc IBench
    function placesOf(bytes32 engine) external view returns (uint256) {
        return _tickets[engine].length;
    }

    /// @inheritdoc IBench
    function ticketOf(bytes32 engine, uint32 index) external view returns (Ticket memory) {
        return _tickets[engine][index];
    }

    // ------------------------------------------------------------------------------------------------- the court's

    /// @inheritdoc IBench
    function draw(Request calldata request, bytes calldata header)
        external
        onlyCourt
        returns (address[] memory committee)
    {
        bytes32 random = _randomOf(request.drawBlock, header);
        if (random == 0) return committee;
        bytes32 seed = keccak256(abi.encode(random, request.salt));
        Ticket[] storage tickets = _tickets[request.engine];
        uint256 tries = request.places == 0 ? 0 : TRIES;
        committee = new address[](request.seats);
        uint256 found = 0;
        for (uint256 i = 0; i < tries && found < committee.length; ++i) {
            uint256 index = uint256(keccak256(abi.encode(seed, i))) % request.places;
            if (index >= tickets.length) continue; // pruned, because it had not counted for long
            Ticket memory ticket = tickets[index];
            uint256 asOf = request.drawBlock - DRAW_DELAY;
            if (asOf < ticket.since || asOf >= ticket.until) continue;
            uint256 earned = request.paid & (1 << found) != 0 ? request.fee : 0;
            if (_seat(ticket.owner, request.until, earned)) committee[found++] = ticket.owner;
        }
        if (found == committee.length) return committee;
        if (request.paid != 0) revert TooFewSeats(found);
        for (uint256 i = 0; i < found; ++i) {
            --_accounts[committee[i]].serving;
        }
        return new address[](0);
    }

    /// @inheritdoc IBench
    function endSeats(address[] calldata committee, uint256 fee, uint256 paid, uint256 wrong, uint256 absent)
        external
        onlyCourt
        returns (uint256 lost)
    {
        for (uint256 seat = 0; seat < committee.length; ++seat) {
            uint256 bit = 1 << seat;
            if ((paid | wrong | absent) & bit == 0) continue;
            Account storage account = _accounts[committee[seat]];
            uint256 balance = account.balance;
            if (paid & bit != 0) balance += fee;
            uint256 loss = wrong & bit != 0 ? seatStake : absent & bit != 0 ? seatStake / ABSENT_SHARE : 0;
            // A case that is closed after its last second may find a stake gone.
            if (loss > balance) loss = balance;
            account.balance = (balance - loss).toUint96();
            lost += loss;
        }
    }

    /// @inheritdoc IBench
    function send(address to, uint256 amount) external onlyCourt {
        _pay(token, to, amount);
    }

    // ------------------------------------------------------------------------------------------------- internals

    /// @dev Bind a stake of `arbiter`, if it has one for another seat.
    function _seat(address arbiter, uint40 until, uint256 earned) private returns (bool) {
        Account memory account = _accounts[arbiter];
        uint256 serving = _serving(account) + 1;
        if (account.balance < serving * seatStake) return false;
        account.serving = uint24(serving); // no more than its balance holds stakes
        if (until > account.servingUntil) account.servingUntil = until;
        account.balance = (account.balance + earned).toUint96();
        _accounts[arbiter] = account;
        return true;
    }

    function _serving(Account memory account) private view returns (uint256) {
        return block.timestamp > account.servingUntil ? 0 : account.serving;
    }

    /// @dev The number that block `number` brings: of its header, or its hash. Zero if it isn't known, or no more.
    function _randomOf(uint256 number, bytes calldata header) private view returns (bytes32) {
        bytes32 hash = Blockhash.blockHash(number);
        if (randomness == Randomness.BlockHash || hash == 0) return hash;
        if (keccak256(header) != hash) revert WrongHeader(number);
        return BlockHeader.getPrevRandao(header);
    }

    /// @dev The last block in which a draw may still name this place: a request as of the block before it ended waits for a
    /// number, and the chain knows that for so long.
    function _freeAt(Ticket storage ticket) private view returns (uint256) {
        return uint256(ticket.until) + DRAW_DELAY + KNOWN_BLOCKS;
    }

    function _now() private view returns (uint40) {
        return block.number.toUint40();
    }
}
