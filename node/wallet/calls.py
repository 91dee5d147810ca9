"""What a transaction would do with the wallet's money, read from the transaction itself.

The caps bind what callers declare; this is the check that they declare it. The wallet signs calls of the
contracts of its deployment and nothing else: no native money, no deployments, no approvals of strangers.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from node.wallet.errors import UndeclaredSpend
from protocol.channel.objects import ChannelKey
from protocol.dispute.bond import bond_account, bond_of
from protocol.dispute.objects import Vote
from protocol.identity import ZERO_ADDRESS, Address, Digest, format_address
from protocol.market.objects import Award, Offer
from protocol.signing.eip712 import Domain, domain_separator, type_string
from protocol.signing.keccak import keccak256
from protocol.spending import Spend
from protocol.stake.terms import bonus_account, bonus_of
from protocol.task.objects import Receipt

_WORD: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningScope:
    """The one chain and the contracts that a wallet signs for.

    `reputation` is zero on a network without stakes, `court` and `bench` on one without a court.
    `feedback` is a registry of ERC-8004, a stranger's contract that gets feedback and nothing else; zero for none.
    """

    chain_id: int
    token: Address
    escrow: Address
    payment_channel: Address
    reputation: Address = ZERO_ADDRESS
    court: Address = ZERO_ADDRESS
    bench: Address = ZERO_ADDRESS
    feedback: Address = ZERO_ADDRESS

    @property
    def market_domain(self) -> Domain:
        """Domain of everything but vouchers and closes (SPEC C2)."""
        return Domain(chain_id=self.chain_id, verifying_contract=self.escrow)

    @property
    def channel_domain(self) -> Domain:
        """Domain of vouchers and closes."""
        return Domain(chain_id=self.chain_id, verifying_contract=self.payment_channel)

    @property
    def court_domain(self) -> Domain:
        """Domain of what arbiters sign."""
        return Domain(chain_id=self.chain_id, verifying_contract=self.court)


def check_call(scope: SigningScope, wallet: Address, to: Address, value: int, data: bytes, spend: Spend | None) -> None:
    """Check that a call of `wallet` spends what `spend` says.

    Raises:
        UndeclaredSpend: It sends native money, goes to an unknown contract, or moves tokens other than declared.
    """
    if value:
        raise UndeclaredSpend(f"the transaction sends {value} wei; this wallet pays fees but sends no native money")
    checks = {
        scope.escrow: _check_escrow,
        scope.payment_channel: _check_nothing,
        scope.reputation: _check_stakes,
        scope.feedback: _check_feedback,
        scope.court: _check_court,
        scope.bench: _check_bench,
        scope.token: _check_token,
        ZERO_ADDRESS: None,
    }
    check = checks.get(to)
    if check is None:
        raise UndeclaredSpend(f"{format_address(to)} is no contract of this deployment")
    check(scope, wallet, data, spend)


def _check_nothing(_scope: SigningScope, _wallet: Address, _data: bytes, _spend: Spend | None) -> None:
    """Channels: what they pay in comes by `approve`, and what they promise by vouchers."""


def _check_token(scope: SigningScope, _: Address, data: bytes, spend: Spend | None) -> None:
    check = _TOKEN_CALLS.get(data[:4])
    if check is None:
        raise UndeclaredSpend(f"no transaction may call 0x{data[:4].hex()} of the token")
    check(scope, data[4:], spend)


def _check_escrow(scope: SigningScope, _: Address, data: bytes, spend: Spend | None) -> None:
    if data[:4] == _FUND:
        _check_fund(scope, data[4:], spend)
    elif data[:4] in _FUNDS_UNSEEN:
        raise UndeclaredSpend(f"this wallet funds escrows by fund and fundMany, not by 0x{data[:4].hex()}")


def _check_feedback(_scope: SigningScope, _wallet: Address, data: bytes, _spend: Spend | None) -> None:
    if data[:4] != _GIVE_FEEDBACK:
        raise UndeclaredSpend(f"no transaction may call 0x{data[:4].hex()} of the registry of feedback")


def _check_stakes(scope: SigningScope, wallet: Address, data: bytes, spend: Spend | None) -> None:
    if data[:4] == _STAKE:
        _check_stake(wallet, data[4:])
    elif data[:4] == _DEPOSIT_BONUS:
        _check_bonus(scope, data[4:], spend)
    elif data[:4] == _MULTICALL:
        for call in _calls_in(data[4:]):
            if call[:4] not in _FREEING:
                raise UndeclaredSpend(f"a batch frees locks and does nothing else; this one calls 0x{call[:4].hex()}")


def _check_court(scope: SigningScope, wallet: Address, data: bytes, spend: Spend | None) -> None:
    if data[:4] in _BONDS:
        _check_bond(scope, wallet, data, spend)
    elif data[:4] not in _COURT_FREE:
        raise UndeclaredSpend(f"no transaction may call 0x{data[:4].hex()} of the court")


def _check_bench(_scope: SigningScope, _wallet: Address, data: bytes, _spend: Spend | None) -> None:
    # Tickets are always the caller's own, so their stake stays its money.
    if data[:4] not in _BENCH_CALLS:
        raise UndeclaredSpend(f"no transaction may call 0x{data[:4].hex()} of the bench")


def _calls_in(arguments: bytes) -> Iterator[bytes]:
    """Return the calls of a `multicall(bytes[])`, as the contract's decoder finds them."""
    start = _place_in(arguments, 0)
    array = arguments[start + _WORD :]
    for index in range(_uint_at(arguments[start:], 0)):
        place = _place_in(array, index)
        length = _uint_at(array[place:], 0)
        call = array[place + _WORD : place + _WORD + length]
        if len(call) != length:
            raise UndeclaredSpend("the call data are cut short")
        yield call


def _place_in(words: bytes, index: int) -> int:
    place = _uint_at(words, index)
    if place > len(words):
        raise UndeclaredSpend("the call data are cut short")
    return place


def _check_transfer(_: SigningScope, arguments: bytes, spend: Spend | None) -> None:
    to, amount = _address_at(arguments, 0), _uint_at(arguments, 1)
    if spend is None or (spend.peer, spend.total) != (to, amount):
        raise UndeclaredSpend(f"a transfer of {amount} base units to {format_address(to)} is not declared as a spend")


def _check_approve(scope: SigningScope, arguments: bytes, _: Spend | None) -> None:
    spender = _address_at(arguments, 0)
    known = (scope.escrow, scope.payment_channel, scope.reputation, scope.court, scope.bench)
    if spender == ZERO_ADDRESS or spender not in known:
        raise UndeclaredSpend(f"{format_address(spender)} is no contract of this deployment: it gets no allowance")


def _check_mint(_scope: SigningScope, _arguments: bytes, _spend: Spend | None) -> None:
    """Minting the test token spends nothing."""


def _check_fund(scope: SigningScope, arguments: bytes, spend: Spend | None) -> None:
    award, words = _award_in(scope, arguments)
    amount = _uint_at(words, _AWARD_PRICE) + _uint_at(words, _AWARD_DISPUTE_FEE)
    provider = _address_at(words, _AWARD_PROVIDER)
    if spend is None or (spend.account, spend.total, spend.peer) != (award, amount, provider):
        raise UndeclaredSpend(f"funding award {award.hex()} with {amount} base units is not declared as a spend")


def _check_stake(wallet: Address, arguments: bytes) -> None:
    # Who stakes for itself keeps its money; for somebody else it gives it away.
    owner = _address_at(arguments, 0)
    if owner != wallet:
        raise UndeclaredSpend(f"the transaction stakes for {format_address(owner)}, not for this wallet")


def _check_bonus(scope: SigningScope, arguments: bytes, spend: Spend | None) -> None:
    award, words = _award_in(scope, arguments)
    amount = bonus_of(_uint_at(words, _AWARD_PRICE))
    provider = _address_at(words, _AWARD_PROVIDER)
    if spend is None or (spend.account, spend.total, spend.peer) != (bonus_account(award), amount, provider):
        raise UndeclaredSpend(f"the bonus of {amount} base units for award {award.hex()} is not declared as a spend")


def _check_bond(scope: SigningScope, wallet: Address, data: bytes, spend: Spend | None) -> None:
    award, words = _award_in(scope, data[4:])
    sides = _address_at(words, _AWARD_REQUESTER), _address_at(words, _AWARD_PROVIDER)
    other = sides[1] if wallet == sides[0] else sides[0]
    fee = _uint_at(words, _AWARD_DISPUTE_FEE)
    # An appeal doesn't say for which round it is: the round that was declared has to be one that this call can ask for.
    bonds = {bond_account(award, number): bond_of(fee, number) for number in _BONDS[data[:4]]}
    if spend is None or spend.peer != other or bonds.get(spend.account) != spend.total:
        raise UndeclaredSpend(f"the bond for the case about award {award.hex()} is not declared as a spend")


def _award_in(scope: SigningScope, arguments: bytes) -> tuple[Digest, bytes]:
    """Return the digest of the award that a call begins with, and its words."""
    # The calldata holds the award's fields as the same words that its struct hash takes.
    words = arguments[: _AWARD_WORDS * _WORD]
    if len(words) != _AWARD_WORDS * _WORD:
        raise UndeclaredSpend("the call data are cut short")
    struct = keccak256(_AWARD_TYPE_HASH + words)
    return Digest(keccak256(b"\x19\x01" + domain_separator(scope.market_domain) + struct)), words


def _uint_at(words: bytes, index: int) -> int:
    word = words[index * _WORD : (index + 1) * _WORD]
    if len(word) != _WORD:
        raise UndeclaredSpend("the call data are cut short")
    return int.from_bytes(word)


def _address_at(words: bytes, index: int) -> Address:
    return Address((_uint_at(words, index) & (2**160 - 1)).to_bytes(20))


def _selector(signature: str) -> bytes:
    return keccak256(signature.encode())[:4]


_AWARD_TYPE: Final = type_string(Award)
_AWARD_TYPE_HASH: Final = keccak256(_AWARD_TYPE.encode())
_AWARD_FIELDS: Final = [member.split(" ") for member in _AWARD_TYPE[len("Award(") : -1].split(",")]
_AWARD_WORDS: Final = len(_AWARD_FIELDS)
_AWARD_NAMES: Final = [name for _, name in _AWARD_FIELDS]
_AWARD_PRICE: Final = _AWARD_NAMES.index("price")
_AWARD_DISPUTE_FEE: Final = _AWARD_NAMES.index("disputeFee")
_AWARD_REQUESTER: Final = _AWARD_NAMES.index("requester")
_AWARD_PROVIDER: Final = _AWARD_NAMES.index("provider")


def _tuple(cls: type) -> str:
    """Return the canonical ABI type of a flat struct."""
    members = type_string(cls)[len(cls.__name__) + 1 : -1].split(",")
    return f"({','.join(member.split(' ')[0] for member in members)})"


_AWARD_TUPLE: Final = _tuple(Award)
_OFFER_TUPLE: Final = _tuple(Offer)
_VOTE_TUPLE: Final = _tuple(Vote)
_KEY_TUPLE: Final = _tuple(ChannelKey)
_FUND: Final = _selector(f"fund({_AWARD_TUPLE},bytes)")
_STAKE: Final = _selector("stake(address,uint128)")
_DEPOSIT_BONUS: Final = _selector(f"depositBonus({_AWARD_TUPLE})")
_BONDS: Final[Mapping[bytes, tuple[int, ...]]] = {
    _selector(f"open({_AWARD_TUPLE},{_OFFER_TUPLE})"): (0,),
    _selector(f"openOnChannel({_AWARD_TUPLE},{_OFFER_TUPLE},{_tuple(Receipt)},bytes)"): (0,),
    _selector(f"appeal({_AWARD_TUPLE},{_OFFER_TUPLE})"): (1, 2),
}
"""Calls of the court that take a bond, and the rounds that each can ask for."""
_COURT_FREE: Final = frozenset(
    (
        _selector("draw(bytes32,bytes)"),
        _selector("sealVote(bytes32,address[],uint256,bytes32)"),
        _selector(f"openVote(bytes32,address[],uint256,{_VOTE_TUPLE},bytes32)"),
        _selector(f"settleByQuorum(bytes32,{_VOTE_TUPLE},(address[],bytes,uint256,bytes32[],bytes,bytes32[]))"),
        _selector(f"close({_AWARD_TUPLE},address[][],{_VOTE_TUPLE}[])"),
        _selector(f"enforce({_AWARD_TUPLE},{_VOTE_TUPLE},{_KEY_TUPLE},uint128,bytes32[])"),
        _selector("withdrawCredit(address,address)"),
    )
)
_BENCH_CALLS: Final = frozenset(
    (
        _selector("enlist(bytes32,uint32,uint32[])"),
        _selector("resign(bytes32,uint32[])"),
        _selector("prune(bytes32,uint32)"),
        _selector("collect()"),
        _selector("withdrawCredit(address,address)"),
    )
)
_MULTICALL: Final = _selector("multicall(bytes[])")
_ACCEPTANCE_TUPLE: Final = "(bytes32,uint32,bytes32,uint128)"
_FREEING: Final = frozenset(
    {_selector(f"free({_AWARD_TUPLE})"), _selector(f"freeAccepted({_AWARD_TUPLE},{_ACCEPTANCE_TUPLE},bytes)")}
)
_FUNDS_UNSEEN: Final = frozenset(
    {
        _MULTICALL,
        _selector(f"fundByAuthorization({_AWARD_TUPLE},bytes,address,(uint256,uint256,uint8,bytes32,bytes32))"),
    }
)
"""Entries of the escrow that take money in ways which are not read here, and which this node has no use for.

`fundMany` is not read either: its awards counted when they were signed, and no service of the node calls it (ADR 1627).
"""
_GIVE_FEEDBACK: Final = _selector("giveFeedback(uint256,int128,uint8,string,string,string,string,bytes32)")
_TOKEN_CALLS: Final[Mapping[bytes, Callable[[SigningScope, bytes, Spend | None], None]]] = {
    _selector("transfer(address,uint256)"): _check_transfer,
    _selector("approve(address,uint256)"): _check_approve,
    _selector("mint(address,uint256)"): _check_mint,
}
