"""What a case in these tests is about: an award of two people, its parts, and the papers that prove them."""

from dataclasses import dataclass, field

from blake3 import blake3

from protocol.dispute.messages import Dossier
from protocol.dispute.objects import Opening
from protocol.identity import ZERO_DIGEST, Address, ContentDigest, Digest
from protocol.market.objects import Award, Offer
from protocol.market.offer import manifest_digest
from protocol.signing.ecdsa import address_of
from protocol.signing.eip712 import Domain, digest
from protocol.signing.keccak import keccak256
from protocol.signing.signed import Signed, sign_struct
from protocol.task.audit import Rerun
from protocol.task.manifest import Blob, Limits, Manifest, Part
from protocol.task.objects import Acceptance, Receipt
from protocol.task.pricing import Rates, Usage, rates_digest
from protocol.task.receipt import Progress, Terms, amount_due
from protocol.task.verification import Trust, Verification, encode_verification, verification_digest
from protocol.units import Amount, BasisPoints, Seconds, UnixTime
from protocol.wire.codec import encode
from tests.samples import sample_award, sample_offer

EPOCH = UnixTime(1_800_000_000)
TIME = Seconds(240)
"""Of a whole case: its first round has twelfths of ten seconds."""
ENGINE = keccak256(b"test engine")
MARKET = Domain(chain_id=31337, verifying_contract=Address(b"\xee" * 20))
COURT = Domain(chain_id=31337, verifying_contract=Address(b"\xcc" * 20))
RATES = Rates(start=Amount(1_000), gfuel=Amount(2_000), mib_gfuel=Amount(2), mib_in=Amount(100), mib_out=Amount(200))
MODULE, INPUT = b"module", b"input of all parts"
PART = 1
OUTPUT = b"the result of the part"
FUEL = 600_000_000


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a key."""

    key: bytes

    @property
    def address(self) -> Address:
        return address_of(self.key)

    def sign_opening(self, opening: Opening) -> Signed[Opening]:
        return sign_struct(self.key, COURT, opening)


def person(name: str) -> Person:
    return Person(keccak256(name.encode()))


REQUESTER, PROVIDER = person("requester"), person("provider")


@dataclass(frozen=True, slots=True, kw_only=True)
class Papers:
    """A task of three parts, all under one award, whose second part is in dispute."""

    offer: Offer
    award: Award
    manifest: Manifest
    receipt: Signed[Receipt]
    before: Signed[Acceptance]
    truth: Rerun
    policy: Verification = field(default_factory=Trust)

    @property
    def terms(self) -> Terms:
        return Terms(
            award=self.award,
            award_id=digest(MARKET, self.award),
            manifest=self.manifest,
            rates=RATES,
            policy=self.policy,
        )

    def dossier(self, *, receipt: bool = True, before: bool = True) -> Dossier:
        return Dossier(
            award=self.award,
            offer=self.offer,
            manifest=encode(self.manifest),
            rates=RATES,
            verification=encode_verification(self.policy),
            receipt=self.receipt if receipt else None,
            before=self.before if before else None,
        )


def digest_of(data: bytes) -> ContentDigest:
    return ContentDigest(blake3(data).digest())


def blob_of(data: bytes) -> Blob:
    return Blob(digest=digest_of(data), size=len(data))


def rerun(output: bytes = OUTPUT, fuel: int = FUEL, outcome: int = 0) -> Rerun:
    return Rerun(
        outcome=outcome,
        output=digest_of(output),
        fuel=fuel,
        peak_mib=2,
        bytes_in=len(INPUT),
        bytes_out=len(OUTPUT),
    )


def make_papers(
    *, output: bytes = OUTPUT, fuel: int = FUEL, outcome: int = 0, policy: Verification | None = None
) -> Papers:
    """Papers whose receipt states this output and fuel; the truth is `OUTPUT` and `FUEL`."""
    manifest = Manifest(
        name="lab",
        module=blob_of(MODULE),
        engine=ENGINE,
        limits=Limits(fuel=1_000_000_000, memory_mib=16, output_bytes=1024, log_bytes=1024),
        clock=UnixTime(0),
        seed=ZERO_DIGEST,
        args=("lab",),
        parts=(Part(stdin=blob_of(INPUT)),) * 3,
    )
    policy = policy or Trust()
    offer = make_offer(encode(manifest), policy)
    award = make_award(digest(MARKET, offer))
    award_id = digest(MARKET, award)
    terms = Terms(award=award, award_id=award_id, manifest=manifest, rates=RATES, policy=policy)
    before = Amount(2_000)
    stated = rerun(output, fuel, outcome)
    usage = Usage(fuel=fuel, peak_mib=stated.peak_mib, bytes_in=stated.bytes_in, bytes_out=stated.bytes_out)
    receipt = Receipt(
        award=award_id,
        part=PART,
        outcome=outcome,
        output=stated.output,
        logs=digest_of(b""),
        fuel=fuel,
        peak_mib=stated.peak_mib,
        bytes_in=stated.bytes_in,
        bytes_out=stated.bytes_out,
        due=amount_due(terms, Progress(next_part=PART, due=before), outcome=outcome, usage=usage),
        notes=digest_of(b"notes"),
    )
    acceptance = Acceptance(award=award_id, part=PART - 1, receipt=keccak256(b"receipt before"), due=before)
    return Papers(
        offer=offer,
        award=award,
        manifest=manifest,
        receipt=sign_struct(PROVIDER.key, MARKET, receipt),
        before=sign_struct(REQUESTER.key, MARKET, acceptance),
        truth=rerun(),
        policy=policy,
    )


def make_offer(manifest: bytes, policy: Verification) -> Offer:
    return sample_offer(
        requester=REQUESTER.address,
        token=Address(b"\x70" * 20),
        rail=MARKET.verifying_contract,
        arbiter=COURT.verifying_contract,
        manifest=manifest_digest(manifest),
        engine=ENGINE,
        rates=rates_digest(RATES),
        verification=verification_digest(policy),
        format=0,
        parts=3,
        w_price=BasisPoints(5000),
        w_reputation=BasisPoints(3000),
        w_speed=BasisPoints(2000),
        max_bidders=16,
        budget=Amount(300_000),
        liability=Amount(60_000),
        dispute_fee=Amount(5_000),
        start_within=Seconds(30),
        resolve_within=TIME,
        commit_by=EPOCH,
        reveal_by=EPOCH,
        expires=EPOCH,
    )


def make_award(offer: Digest) -> Award:
    return sample_award(
        offer=offer,
        requester=REQUESTER.address,
        provider=PROVIDER.address,
        token=Address(b"\x70" * 20),
        rail=MARKET.verifying_contract,
        arbiter=COURT.verifying_contract,
        parts=3,
        price=Amount(300_000),
        liability=Amount(60_000),
        dispute_fee=Amount(5_000),
        start_by=UnixTime(EPOCH - 60),
        deliver_by=EPOCH,
        resolve_within=TIME,
    )
