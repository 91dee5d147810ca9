// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {BlockHeader} from "@openzeppelin/contracts/utils/BlockHeader.sol";
import {Blockhash} from "@openzeppelin/contracts/utils/Blockhash.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Treasury} from "./base/Treasury.sol";
import {DRAW_DELAY, IBench} from "./interfaces/IBench.sol";
import {pack, PackedAccount} from "./libraries/PackedAccount.sol";

/// @title The bench: tickets, stakes and draws of arbiters
/// @dev Rules and assumptions in `IBench` and docs/spec/law.md section 2. It belongs to one court, which creates it.
contract Bench is IBench, Treasury {
    using SafeCast for uint256;

    /// @dev Blocks whose hash a chain may still know (EIP-2935): a draw that is older has to be requested anew.
    uint256 private constant KNOWN_BLOCKS = 8191;
    /// @dev Numbers tried for a committee: some 2,000 gas each, and only until it is full. Of an engine nine of ten of whose
    /// places are empty, 23 seats take 230.
    uint256 private constant TRIES = 512;
    /// @dev Seats that a stake backs at most, in as many cases. Who binds all others by sham cases pays their seats: at the greatest fee, a
    /// quarter of a stake each, that is a stake for a stake (ADR 1804).
    uint256 private constant SEATS_A_STAKE = 4;
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
    mapping(address arbiter => PackedAccount account) private _accounts;

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
        Account memory account = _accounts[msg.sender].unpack();
        account.balance += amount.toUint96();
        account.tickets += uint256(count).toUint24();
        _accounts[msg.sender] = pack(account);

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
        Account memory account = _accounts[msg.sender].unpack();
        if (account.leaving != 0 && block.timestamp <= account.readyAt) {
            revert AlreadyLeaving(msg.sender, account.readyAt);
        }
        // Those that left before are free now; `collect` pays them like earnings.
        account.leaving = indices.length.toUint24();
        account.readyAt = (block.timestamp + cooldown).toUint40();
        account.tickets -= indices.length.toUint24();
        _accounts[msg.sender] = pack(account);

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
        Account memory account = _accounts[msg.sender].unpack();
        if (block.timestamp > account.readyAt) account.leaving = 0;
        uint256 kept = uint256(account.tickets) + account.leaving;
        uint256 serving = _serving(_accounts[msg.sender]);
        kept = (kept < serving ? serving : kept) * seatStake;
        if (account.balance <= kept) revert NothingToCollect(msg.sender);
        amount = account.balance - kept;
        account.balance = uint96(kept);
        _accounts[msg.sender] = pack(account);
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
        return _accounts[arbiter].unpack();
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
        bytes32 seed = _randomOf(request.drawBlock, header);
        uint256 places = request.places;
        if (seed == 0 || places == 0) return committee;
        seed = keccak256(abi.encode(seed, request.salt));
        uint256 asOf = request.drawBlock - DRAW_DELAY;
        bytes32 first = _placesOf(request.engine);
        committee = new address[](request.seats);
        PackedAccount[] memory before = new PackedAccount[](request.seats);
        uint256 found = 0;
        for (uint256 i = 0; i < TRIES && found < committee.length; ++i) {
            address owner = _ownerOf(first, uint256(keccak256(abi.encode(seed, i))) % places, asOf);
            if (owner == address(0)) continue;
            PackedAccount account = _accounts[owner];
            if (!_seat(owner, account, request, committee, found)) continue;
            before[found] = account;
            committee[found++] = owner;
        }
        if (found == committee.length) return committee;
        if (request.paid != 0) revert TooFewSeats(found);
        // Backwards: who was seated twice has again what it had before the first. A draw that fails binds nobody, not even longer.
        while (found != 0) {
            --found;
            _accounts[committee[found]] = before[found];
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
            PackedAccount account = _accounts[committee[seat]];
            uint256 balance = account.balance();
            if (paid & bit != 0) balance += fee;
            uint256 loss = wrong & bit != 0 ? seatStake : absent & bit != 0 ? seatStake / ABSENT_SHARE : 0;
            // A case that is closed after its last second may find a stake gone.
            if (loss > balance) loss = balance;
            _accounts[committee[seat]] = account.withBalance((balance - loss).toUint96());
            lost += loss;
        }
    }

    /// @inheritdoc IBench
    function send(address to, uint256 amount) external onlyCourt {
        _pay(token, to, amount);
    }

    // ------------------------------------------------------------------------------------------------- internals

    /// @dev Give `arbiter` seat number `seat`, if it has a stake for each of its seats in this committee and a quarter for each anywhere,
    /// and pay it what it has earned there.
    /// @param account What `arbiter` has now.
    /// @param committee Who has the seats before.
    function _seat(
        address arbiter,
        PackedAccount account,
        Request calldata request,
        address[] memory committee,
        uint256 seat
    ) private returns (bool) {
        uint256 balance = account.balance();
        uint256 serving = _serving(account) + 1;
        // Who serves nowhere does not serve here.
        uint256 here = serving == 1 ? 1 : _seatsOf(arbiter, committee, seat) + 1;
        if (balance < here * seatStake || balance * SEATS_A_STAKE < serving * seatStake) return false;
        if (request.paid & (1 << seat) != 0) balance += request.fee;
        uint256 until = account.servingUntil();
        if (request.until > until) until = request.until;
        _accounts[arbiter] = account.withBalance(balance.toUint96()).withSeats(serving.toUint24(), until);
        return true;
    }

    /// @dev How many of the first `count` seats `arbiter` has.
    function _seatsOf(address arbiter, address[] memory committee, uint256 count) private pure returns (uint256 seats) {
        for (uint256 i = 0; i < count; ++i) {
            if (committee[i] == arbiter) ++seats;
        }
    }

    function _serving(PackedAccount account) private view returns (uint256) {
        return block.timestamp > account.servingUntil() ? 0 : account.serving();
    }

    /// @dev Where the tickets of `engine` begin in storage.
    function _placesOf(bytes32 engine) private view returns (bytes32 first) {
        Ticket[] storage tickets = _tickets[engine];
        assembly ("memory-safe") {
            mstore(0, tickets.slot)
            first := keccak256(0, 0x20)
        }
    }

    /// @dev Whose ticket at `index` counted at block `asOf`; zero if it didn't. The request found a ticket there. One that was pruned
    /// since is all zeros and counts at no block: so the length need not be read, which costs as much as a ticket.
    function _ownerOf(bytes32 first, uint256 index, uint256 asOf) private view returns (address) {
        uint256 word;
        assembly ("memory-safe") {
            word := sload(add(first, index))
        }
        // `Ticket` from the low end: owner (160 bits), since (40), until (40).
        return asOf < uint40(word >> 160) || asOf >= uint40(word >> 200) ? address(0) : address(uint160(word));
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
