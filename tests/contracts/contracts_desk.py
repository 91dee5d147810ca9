"""What the contract tests share: parties with keys, signed objects, and the market's money in one view.

The objects are the protocol's own dataclasses, signed by the protocol's own code, so every test here also shows that
Python and Solidity agree on type strings, domains, Merkle trees and channel ids.
"""

from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass, field, replace
from typing import Any

import ape

from protocol.channel.objects import ChannelKey, Close, Hold, Voucher, channel_id
from protocol.identity import Address, ContentDigest, Digest, parse_address
from protocol.market.objects import Award
from protocol.signing.eip712 import Domain, digest, encode_words
from protocol.signing.keccak import keccak256
from protocol.signing.merkle import leaf_hash, merkle_proof, merkle_root
from protocol.signing.signed import sign_struct
from protocol.task.objects import Acceptance, Receipt, Start
from protocol.units import Amount, BasisPoints, Seconds, UnixTime

CHALLENGE = 100
HOLD_PERIOD = 1000
PACE = 60
RESOLVE_WITHIN = 600
DOLLAR = 1_000_000
ZERO = bytes(32)


@dataclass(frozen=True, kw_only=True)
class Party:
    """Somebody with a plain key and an account that Ape sends from."""

    account: Any
    key: bytes

    @property
    def raw(self) -> Address:
        """The address as the protocol writes it."""
        return parse_address(self.account.address)


def reverts(error: Any = None) -> AbstractContextManager[Any]:
    """Expect a revert with this custom error of a contract (`desk.escrow.TooLate`); with None, any revert."""
    expect: Any = getattr(ape, "reverts")  # noqa: B009  its declared type is no context manager
    return expect(error) if error is not None else expect()


def words(value: Any) -> tuple[Any, ...]:
    """Return a dataclass as the tuple that Ape encodes as a Solidity struct."""
    return astuple(value)


@dataclass(kw_only=True)
class Desk:
    """Deployed contracts, parties, and shortcuts to sign and to send."""

    chain: Any
    token: Any
    escrow: Any
    channels: Any
    requester: Party
    provider: Party
    arbiter: Party
    guardian: Party
    stranger: Party
    _salt: int = field(default=0)

    # -------------------------------------------------------------------------------------------- domains and signing

    @property
    def market(self) -> Domain:
        return Domain(chain_id=self.chain.chain_id, verifying_contract=parse_address(self.escrow.address))

    @property
    def channel_domain(self) -> Domain:
        return Domain(chain_id=self.chain.chain_id, verifying_contract=parse_address(self.channels.address))

    def sign(self, party: Party, value: object) -> bytes:
        """Sign in the domain that the object belongs to."""
        domain = self.channel_domain if isinstance(value, Voucher | Close) else self.market
        return bytes(sign_struct(party.key, domain, value).signature)

    def now(self) -> int:
        return self.chain.pending_timestamp

    def wait_until(self, second: int) -> None:
        """Make `second` the time of the next block."""
        self.chain.pending_timestamp = second

    # -------------------------------------------------------------------------------------------- money

    def balance(self, party: Party) -> int:
        return self.token.balanceOf(party.account)

    def balances(self) -> dict[str, int]:
        names = ("requester", "provider", "arbiter", "guardian", "stranger")
        held = {name: self.balance(getattr(self, name)) for name in names}
        held["escrow"] = self.token.balanceOf(self.escrow)
        held["channels"] = self.token.balanceOf(self.channels)
        return held

    # -------------------------------------------------------------------------------------------- channels

    def open(self, amount: int = 10 * DOLLAR, token: Any = None) -> ChannelKey:
        """Open a channel from requester to provider and return its key."""
        token = token or self.token
        party = self.requester
        self.channels.open(party.account, self.provider.account, token, amount, sender=party.account)
        return ChannelKey(
            payer=party.raw,
            signer=party.raw,
            payee=self.provider.raw,
            token=parse_address(token.address),
            counter=self.channels.counterOf(party.account),
        )

    def voucher(self, key: ChannelKey, cumulative: int, holds: tuple[Hold, ...] = (), sequence: int = 1) -> Voucher:
        return Voucher(
            channel=channel_id(key),
            sequence=sequence,
            cumulative=Amount(cumulative),
            held=Amount(sum(hold.amount for hold in holds)),
            holds=merkle_root([leaf_hash(encode_words(hold)) for hold in holds]),
        )

    def claim(self, key: ChannelKey, voucher: Voucher, *, by: Party | None = None) -> Any:
        signature = self.sign(self.requester, voucher)
        return self.channels.claim(words(key), words(voucher), signature, sender=(by or self.stranger).account)

    def present(self, key: ChannelKey, voucher: Voucher) -> Any:
        signature = self.sign(self.requester, voucher)
        return self.channels.present(words(key), words(voucher), signature, b"", sender=self.provider.account)

    def start_exit(self, key: ChannelKey) -> int:
        """Begin the payer's exit and return the last second of the challenge."""
        self.channels.startExit(words(key), sender=self.requester.account)
        return self.channels.stateOf(channel_id(key)).exitsAt

    def packed_claim(self, key: ChannelKey, voucher: Voucher, signature: bytes | None = None) -> bytes:
        """A claim as `claimMany` takes it, written from docs/spec/contracts.md."""
        numbers = ((key.counter, 8), (voucher.sequence, 8), (voucher.cumulative, 16), (voucher.held, 16))
        packed = b"".join(number.to_bytes(size, "big") for number, size in numbers)
        return key.payer + key.signer + packed + voucher.holds + (signature or self.sign(self.requester, voucher))

    def hold(self, award: Award, amount: int) -> Hold:
        return Hold(award=self.award_id(award), arbiter=award.arbiter, amount=Amount(amount))

    def proof(self, holds: tuple[Hold, ...], index: int) -> tuple[Digest, ...]:
        return merkle_proof([leaf_hash(encode_words(hold)) for hold in holds], index)

    # -------------------------------------------------------------------------------------------- escrow

    def award(self, **changes: Any) -> Award:
        """A good award for the escrow, for four parts at $25, different at each call."""
        self._salt += 1
        now = self.now()
        award = Award(
            offer=keccak256(b"offer %d" % self._salt),
            roll=keccak256(b"roll"),
            bids=keccak256(b"bids"),
            requester=self.requester.raw,
            provider=self.provider.raw,
            token=parse_address(self.token.address),
            rail=parse_address(self.escrow.address),
            channel=Digest(ZERO),
            arbiter=self.arbiter.raw,
            slot=0,
            attempt=0,
            first_part=0,
            parts=4,
            price=Amount(25 * DOLLAR),
            liability=Amount(0),
            dispute_fee=Amount(DOLLAR),
            split_bps=BasisPoints(5000),
            start_by=UnixTime(now + 30),
            deliver_by=UnixTime(now + 300),
            pace=Seconds(PACE),
            resolve_within=Seconds(RESOLVE_WITHIN),
            audit_seal=keccak256(b"seal"),
        )
        return replace(award, **changes)

    def award_id(self, award: Award) -> Digest:
        return digest(self.market, award)

    def fund(self, award: Award) -> Any:
        return self.escrow.fund(words(award), b"", sender=self.requester.account)

    def funded(self, **changes: Any) -> Award:
        award = self.award(**changes)
        self.fund(award)
        return award

    def acceptance(self, award: Award, part: int, due: int) -> Acceptance:
        return Acceptance(award=self.award_id(award), part=part, receipt=keccak256(b"receipt"), due=Amount(due))

    def release(self, award: Award, part: int, due: int, *, by: Party | None = None) -> Any:
        acceptance = self.acceptance(award, part, due)
        signature = self.sign(self.requester, acceptance)
        return self.escrow.release(words(award), words(acceptance), signature, sender=(by or self.provider).account)

    def start(self, award: Award, at: int | None = None) -> Start:
        return Start(award=self.award_id(award), at=award.start_by if at is None else UnixTime(at))

    def receipt(self, award: Award, part: int, due: int) -> Receipt:
        return Receipt(
            award=self.award_id(award),
            part=part,
            outcome=0,
            output=ContentDigest(keccak256(b"output")),
            logs=ContentDigest(keccak256(b"logs")),
            fuel=400_000_002,
            peak_mib=64,
            bytes_in=1 << 20,
            bytes_out=1 << 10,
            due=Amount(due),
            notes=ContentDigest(keccak256(b"notes")),
        )

    def claim_escrow(self, award: Award, part: int, due: int, *, at: int | None = None, by: Party | None = None) -> Any:
        start, receipt = self.start(award, at), self.receipt(award, part, due)
        signatures = self.sign(self.provider, start), self.sign(self.provider, receipt)
        return self.escrow.claim(
            words(award),
            words(start),
            signatures[0],
            words(receipt),
            signatures[1],
            sender=(by or self.provider).account,
        )

    def state(self, award: Award) -> str:
        state: int = self.escrow.recordOf(self.award_id(award)).state
        return STATES[state]


STATES = (
    "None",
    "Funded",
    "Recalled",
    "Started",
    "Claimed",
    "Disputed",
    "Accepted",
    "Settled",
    "Refunded",
    "Paid",
    "Judged",
    "Split",
)


def fill(token: Any, party: Party, spenders: tuple[Any, ...]) -> None:
    """Mint $1,000 to a party and let the spenders take it."""
    token.mint(party.account, 1_000 * DOLLAR, sender=party.account)
    for spender in spenders:
        token.approve(spender, 2**256 - 1, sender=party.account)


def open_desk(project: Any, chain: Any, parties: tuple[Party, ...]) -> Desk:
    """Deploy the contracts and give requester and stranger money."""
    requester, provider, arbiter, guardian, stranger = parties
    deployer = guardian.account
    token = deployer.deploy(project.TestToken)
    escrow = deployer.deploy(project.Escrow, 1, guardian.account)
    channels = deployer.deploy(project.PaymentChannel, escrow, CHALLENGE, HOLD_PERIOD, guardian.account)
    for party in (requester, stranger):
        fill(token, party, (escrow, channels))
    return Desk(
        chain=chain,
        token=token,
        escrow=escrow,
        channels=channels,
        requester=requester,
        provider=provider,
        arbiter=arbiter,
        guardian=guardian,
        stranger=stranger,
    )
