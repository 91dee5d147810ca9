"""Offers that pass every check and mean nothing: what a flood of sound messages is made of."""

import time
from dataclasses import replace

from protocol.market.messages import OfferAnnouncement, encode_message
from protocol.market.offer import manifest_digest
from protocol.signing.ecdsa import address_of
from protocol.signing.keccak import Digest
from protocol.signing.signed import sign_struct
from protocol.task.verification import Trust, encode_verification
from protocol.units import UnixTime
from protocol.wire.codec import encode
from tests.assault.aim import Aim
from tests.protocol.market.market_world import RATES, make_manifest, make_offer

LIVES_S = 6 * 86_400


def sham_offer(aim: Aim) -> bytes:
    """Return an offer of a new wallet for an engine that nobody runs, open for days."""
    now = int(time.time())
    key = aim.chance.randbytes(32)
    engine = Digest(aim.chance.randbytes(32))
    manifest = replace(
        make_manifest(), name="sham", engine=engine, clock=UnixTime(now), seed=Digest(aim.chance.randbytes(32))
    )
    rail = aim.domain.verifying_contract
    offer = make_offer(
        requester=address_of(key),
        token=rail,
        rail=rail,
        arbiter=rail,
        manifest=manifest_digest(encode(manifest)),
        engine=engine,
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
