"""Pays a payee part by part for ever, printing each voucher once it may be shown, until it is killed."""

import sys
from pathlib import Path

import trio

from node.chain.deployment import load_deployment
from node.chain.opening import open_chain
from protocol.market.objects import Award
from protocol.signing.ecdsa import address_of
from protocol.signing.signed import Signed
from protocol.units import Amount
from protocol.wire.codec import encode
from tests.node.payments.payments_world import PROFILE, World, accept, key_of

PRICE = 1_000_000


async def main(url: str, deployments: Path, folder: Path) -> None:
    deployment = load_deployment(deployments)
    payee = address_of(key_of("payee"))
    async with open_chain(PROFILE, url, deployment) as chain:
        world = World(anvil=None, url=url, deployment=deployment, chain=chain, folder=folder)  # pyright: ignore[reportArgumentType]
        async with world.party("payer") as payer:
            rails = payer.payments.payer
            offer = world.offer(payer.address, parts=1_000)
            channel = await rails.prepare(payee, Amount(PRICE), offer)
            award, award_id = world.award(offer, payee, channel, PRICE)
            signed = await payer.signer.sign_award(award)
            notice = await rails.fund(signed, award_id)
            for part in range(1_000):
                sys.stdout.write(
                    f"{encode(notice).hex()} {encode(signed, Signed[Award]).hex()}\n" if notice else "none\n"
                )
                sys.stdout.flush()
                notice = await rails.pay(signed, award_id, await accept(payer, signed, part, part + 1), last=False)


trio.run(main, sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
