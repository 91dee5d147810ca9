"""Offers that pass every check and mean nothing: what a flood of sound messages is made of."""

import time

from protocol.market.messages import OfferAnnouncement, encode_message
from protocol.market.objects import AuctionFormat, Offer
from protocol.market.offer import manifest_digest
from protocol.signing.ecdsa import address_of
from protocol.signing.keccak import Digest
from protocol.signing.signed import sign_struct
from protocol.task.manifest import Blob, Limits, Manifest, Part
from protocol.task.pricing import Rates, rates_digest
from protocol.task.verification import Trust, encode_verification, verification_digest
from protocol.units import Amount, BasisPoints, Seconds, UnixTime
from protocol.wire.codec import encode
from tests.assault.aim import Aim

RATES = Rates(start=Amount(5), gfuel=Amount(1000), mib_gfuel=Amount(3), mib_in=Amount(10), mib_out=Amount(20))
LIVES_S = 6 * 86_400


def sham_offer(aim: Aim) -> bytes:
    """Return an offer of a new wallet for an engine that nobody runs, open for days."""
    now = int(time.time())
    key = aim.chance.randbytes(32)
    engine = Digest(aim.chance.randbytes(32))
    manifest = Manifest(
        name="sham",
        module=Blob(digest=manifest_digest(b"module"), size=6),
        engine=engine,
        limits=Limits(fuel=10**9, memory_mib=16, output_bytes=1024, log_bytes=1024),
        clock=UnixTime(now),
        seed=Digest(aim.chance.randbytes(32)),
        args=("sham",),
        parts=(Part(args=("0",)),),
    )
    offer = Offer(
        requester=address_of(key),
        token=aim.domain.verifying_contract,
        rail=aim.domain.verifying_contract,
        arbiter=aim.domain.verifying_contract,
        manifest=manifest_digest(encode(manifest)),
        engine=engine,
        rates=rates_digest(RATES),
        verification=verification_digest(Trust()),
        format=AuctionFormat.SEALED_SECOND_PRICE,
        parts=1,
        copies=1,
        w_price=BasisPoints(5000),
        w_reputation=BasisPoints(3000),
        w_speed=BasisPoints(2000),
        max_bidders=16,
        split_bps=BasisPoints(5000),
        budget=Amount(400_000),
        bond=Amount(0),
        min_stake=Amount(0),
        liability=Amount(80_000),
        dispute_fee=Amount(50_000),
        max_eta=Seconds(600),
        start_within=Seconds(30),
        pace=Seconds(3600),
        resolve_within=Seconds(7200),
        commit_by=UnixTime(now + 60),
        reveal_by=UnixTime(now + 90),
        expires=UnixTime(now + LIVES_S),
        salt=Digest(aim.chance.randbytes(32)),
    )
    return encode_message(
        OfferAnnouncement(
            signed=sign_struct(key, aim.domain, offer),
            manifest=encode(manifest),
            rates=RATES,
            verification=encode_verification(Trust()),
        )
    )
