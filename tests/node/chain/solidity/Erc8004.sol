// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Registries as ERC-8004 describes them, as small as its interface allows: for tests alone
/// @dev Written from the standard's text (registries' version 2.0.0, January 2026), not from anybody's code.
contract Identities {
    mapping(uint256 agent => address) public wallets;
    mapping(uint256 agent => address) private _owners;
    uint256 public last;

    error NoSuchAgent(uint256 agent);

    function register() external returns (uint256 agent) {
        agent = ++last;
        _owners[agent] = msg.sender;
        wallets[agent] = msg.sender;
    }

    /// @dev The standard asks for the new wallet's signature here.
    function setWallet(uint256 agent, address wallet) external {
        require(msg.sender == _owners[agent], "not the owner");
        wallets[agent] = wallet;
    }

    function ownerOf(uint256 agent) public view returns (address owner) {
        owner = _owners[agent];
        if (owner == address(0)) revert NoSuchAgent(agent);
    }

    function getAgentWallet(uint256 agent) external view returns (address) {
        return wallets[agent];
    }
}

contract Feedbacks {
    struct Entry {
        int128 value;
        uint8 decimals;
        string tag1;
        string tag2;
    }

    event NewFeedback(
        uint256 indexed agentId,
        address indexed clientAddress,
        uint64 feedbackIndex,
        int128 value,
        uint8 valueDecimals,
        string indexed indexedTag1,
        string tag1,
        string tag2,
        string endpoint,
        string feedbackURI,
        bytes32 feedbackHash
    );

    Identities public immutable identities;
    mapping(uint256 agent => mapping(address client => Entry[])) private _entries;
    mapping(uint256 agent => address[]) private _clients;

    constructor(Identities identities_) {
        identities = identities_;
    }

    function getIdentityRegistry() external view returns (address) {
        return address(identities);
    }

    function giveFeedback(
        uint256 agentId,
        int128 value,
        uint8 valueDecimals,
        string calldata tag1,
        string calldata tag2,
        string calldata endpoint,
        string calldata feedbackURI,
        bytes32 feedbackHash
    ) external {
        require(valueDecimals <= 18, "too many decimals");
        require(identities.ownerOf(agentId) != msg.sender, "Self-feedback not allowed");
        Entry[] storage entries = _entries[agentId][msg.sender];
        if (entries.length == 0) _clients[agentId].push(msg.sender);
        entries.push(Entry(value, valueDecimals, tag1, tag2));
        emit NewFeedback(
            agentId,
            msg.sender,
            uint64(entries.length),
            value,
            valueDecimals,
            tag1,
            tag1,
            tag2,
            endpoint,
            feedbackURI,
            feedbackHash
        );
    }

    function getSummary(uint256 agentId, address[] calldata clientAddresses, string calldata tag1, string calldata tag2)
        external
        view
        returns (uint64 count, int128 summaryValue, uint8 summaryValueDecimals)
    {
        require(clientAddresses.length != 0, "clientAddresses required");
        int256 sum;
        for (uint256 i; i < clientAddresses.length; ++i) {
            Entry[] storage entries = _entries[agentId][clientAddresses[i]];
            for (uint256 j; j < entries.length; ++j) {
                Entry storage entry = entries[j];
                if (!_fits(tag1, entry.tag1) || !_fits(tag2, entry.tag2)) continue;
                sum += int256(entry.value) * int256(10 ** (18 - uint256(entry.decimals)));
                summaryValueDecimals = entry.decimals;
                ++count;
            }
        }
        if (count == 0) return (0, 0, 0);
        summaryValue = int128(sum / int256(uint256(count)) / int256(10 ** (18 - uint256(summaryValueDecimals))));
    }

    function getClients(uint256 agentId) external view returns (address[] memory) {
        return _clients[agentId];
    }

    function _fits(string calldata wanted, string storage tag) private pure returns (bool) {
        return bytes(wanted).length == 0 || keccak256(bytes(wanted)) == keccak256(bytes(tag));
    }
}
