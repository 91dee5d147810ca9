"""A disputed award over a channel, with everything that was signed for it."""

from blake3 import blake3

from protocol.identity import ZERO_DIGEST, Address, ContentDigest, Digest
from protocol.market.offer import manifest_digest
from protocol.signing.ecdsa import address_of
from protocol.signing.eip712 import Domain, digest
from protocol.signing.keccak import keccak256
from protocol.signing.signed import sign_struct
from protocol.task.manifest import Blob, Limits, Manifest, Part
from protocol.task.objects import Acceptance, Receipt
from protocol.task.pricing import Rates, rates_digest
from protocol.task.verification import Trust, verification_digest
from protocol.units import Amount, Seconds, UnixTime
from protocol.wire.codec import encode
from tests.samples import sample_award, sample_offer

BUYER_KEY, SELLER_KEY = (1).to_bytes(32), (2).to_bytes(32)
BUYER, SELLER = address_of(BUYER_KEY), address_of(SELLER_KEY)
COURT = Address(b"\xcc" * 20)
DOMAIN = Domain(chain_id=31337, verifying_contract=Address(b"\xee" * 20))
TOKEN, RAIL = Address(b"\x70" * 20), Address(b"\x71" * 20)
ENGINE = keccak256(b"test engine")
NOW = UnixTime(1_800_000_000)
RATES = Rates(start=Amount(1_000), gfuel=Amount(2_000), mib_gfuel=Amount(2), mib_in=Amount(100), mib_out=Amount(200))


def blob(name: str) -> Blob:
    """Return the blob whose bytes are its name."""
    return Blob(digest=ContentDigest(blake3(name.encode()).digest()), size=len(name))


MANIFEST = Manifest(
    name="dispute",
    module=blob("module"),
    engine=ENGINE,
    limits=Limits(fuel=10**9, memory_mib=64, output_bytes=1_000, log_bytes=1_000),
    clock=UnixTime(0),
    seed=ZERO_DIGEST,
    args=("dispute",),
    parts=tuple(Part(stdin=blob(f"input {number}")) for number in range(2)),
)
OFFER = sample_offer(
    requester=BUYER,
    token=TOKEN,
    rail=RAIL,
    arbiter=COURT,
    manifest=manifest_digest(encode(MANIFEST)),
    verification=verification_digest(Trust()),
    engine=ENGINE,
    rates=rates_digest(RATES),
    format=0,
    parts=2,
    budget=Amount(2_000_000),
    liability=Amount(500_000),
    dispute_fee=Amount(250_000),
    resolve_within=Seconds(2_400),
    commit_by=UnixTime(NOW + 5),
    reveal_by=UnixTime(NOW + 10),
    expires=UnixTime(NOW + 100),
)
AWARD = sample_award(
    offer=digest(DOMAIN, OFFER),
    requester=BUYER,
    provider=SELLER,
    token=TOKEN,
    rail=RAIL,
    channel=Digest(b"\x0c" * 32),
    arbiter=COURT,
    parts=2,
    price=Amount(2_000_000),
    liability=Amount(500_000),
    dispute_fee=Amount(250_000),
    start_by=UnixTime(NOW + 100),
    deliver_by=UnixTime(NOW + 200),
    resolve_within=Seconds(2_400),
)
AWARD_ID = digest(DOMAIN, AWARD)
ACCEPTANCE = sign_struct(
    BUYER_KEY, DOMAIN, Acceptance(award=AWARD_ID, part=0, receipt=Digest(b"\x05" * 32), due=Amount(900_000))
)
RECEIPT = sign_struct(
    SELLER_KEY,
    DOMAIN,
    Receipt(
        award=AWARD_ID,
        part=1,
        outcome=0,
        output=blob("output").digest,
        logs=blob("logs").digest,
        fuel=1_000,
        peak_mib=1,
        bytes_in=7,
        bytes_out=10,
        due=Amount(1_800_000),
        notes=blob("notes").digest,
    ),
)
