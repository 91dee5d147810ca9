"""What an auction costs in CPU: deciding and verifying, by the number of bidders.

python -m benchmarks.run --only auction
"""

import time
from typing import Final

from benchmarks.figures import Figure, rated
from protocol.market.transcript import verify_transcript
from protocol.signing.ecdsa import forget_signers
from tests.protocol.market.market_world import DOMAIN, Plan, make_offer, run_auction

BIDDERS: Final = (3, 16, 64, 256)


def measure(*, quick: bool) -> list[Figure]:
    """Measure both sides."""
    figures: list[Figure] = []
    for count in BIDDERS[:2] if quick else BIDDERS:
        offer = make_offer(max_bidders=256)
        plans = {f"bidder {n}": Plan(price=100_000 + n, reputation=5_000) for n in range(count)}
        deciding, verifying = list[float](), list[float]()
        for _ in range(2 if quick else 5):
            forget_signers()
            start = time.process_time()
            requester = run_auction(offer, plans)  # the bidders' signatures included
            deciding.append((time.process_time() - start) * 1e3)
            transcript = requester.transcript()
            forget_signers()
            start = time.process_time()
            verify_transcript(DOMAIN, transcript)
            verifying.append((time.process_time() - start) * 1e3)
        figures += [
            rated(f"auction of {count} bidders, held", "ms CPU", deciding),
            rated(f"auction of {count} bidders, verified", "ms CPU", verifying),
        ]
    return figures
