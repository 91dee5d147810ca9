"""What an auction costs: deciding and verifying, by number of bidders.

Run: `PYTHONPATH=. python benchmarks/auction.py`.
"""

from statistics import median
from time import perf_counter
from typing import Final

from protocol.market.transcript import verify_transcript
from tests.protocol.market.market_world import DOMAIN, Plan, make_offer, run_auction

BIDDERS: Final = (3, 16, 64, 256)
ROUNDS: Final = 5


def main() -> None:
    """Print medians, in milliseconds."""
    print(f"{'bidders':>8} {'requester, ms':>14} {'verifier, ms':>13} {'verifier, us a bidder':>22}")
    for count in BIDDERS:
        offer = make_offer(max_bidders=256)
        plans = {f"bidder {n}": Plan(price=100_000 + n, reputation=5_000) for n in range(count)}
        deciding: list[float] = []
        verifying: list[float] = []
        for _ in range(ROUNDS):
            start = perf_counter()
            requester = run_auction(offer, plans)  # the bidders' signatures included
            deciding.append(perf_counter() - start)
            transcript = requester.transcript()
            start = perf_counter()
            verify_transcript(DOMAIN, transcript)
            verifying.append(perf_counter() - start)
        verifier = median(verifying)
        print(f"{count:>8} {median(deciding) * 1e3:>14.1f} {verifier * 1e3:>13.1f} {verifier / count * 1e6:>22.0f}")


if __name__ == "__main__":
    main()
