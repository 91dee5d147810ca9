"""Run simulations: `python -m tests.simulation.run storm --seeds 1000`, or one again: `... storm --seed 17 --story`.

`--jobs 2 --report FILE` takes two processes, and goes on where a run that was broken off has stopped.
"""

import argparse
import logging
import os
import sys
from pathlib import Path

import structlog

from protocol.errors import StoaError
from tests.simulation.campaign import run_campaign, summarize
from tests.simulation.scenarios import DAYS, NAMED, RANDOM
from tests.simulation.simulate import HASH_SEED, Violation, simulate


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", choices=[*NAMED, *DAYS, *RANDOM, "all"], help="all: every named one")
    parser.add_argument("--seed", help="one seed")
    parser.add_argument("--seeds", type=int, default=1, help="so many seeds, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes that run them")
    parser.add_argument("--report", type=Path, help="keep what came of each seed here, and run none twice")
    parser.add_argument("--story", action="store_true", help="tell what happened, with the nodes' own logs")
    options = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != HASH_SEED:  # the order of sets follows from it
        environment = {**os.environ, "PYTHONHASHSEED": HASH_SEED}
        os.execve(sys.executable, [sys.executable, "-m", "tests.simulation.run", *sys.argv[1:]], environment)
    level = logging.INFO if options.story else logging.CRITICAL
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
    if options.story:
        return _tell(options.scenario, options.seed or str(options.first))
    seeds = [options.seed] if options.seed else [str(options.first + number) for number in range(options.seeds)]
    broken = False
    for name in list(NAMED) if options.scenario == "all" else [options.scenario]:
        try:
            outcomes = run_campaign(name, seeds, jobs=options.jobs, report=options.report)
        except StoaError as error:
            sys.stderr.write(f"{error}\n{error.advice}\n")
            return 2
        sys.stdout.write(summarize(name, outcomes))
        broken = broken or any(outcome.violation for outcome in outcomes)
    return int(broken)


def _tell(name: str, seed: str) -> int:
    try:
        result = simulate(name, seed)
    except Violation as violation:
        sys.stdout.write(f"{violation}\n")
        return 1
    sys.stdout.write("\n".join((*result.story, "")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
