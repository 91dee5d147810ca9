# Two commands matter: `make demo` shows what Stoa does, `make test` proves it. Both do their own set-up.
FOUNDRY := $(CURDIR)/node_modules/@foundry-rs
export PATH := $(CURDIR)/.venv/bin:$(FOUNDRY)/anvil-linux-amd64/bin:$(FOUNDRY)/forge-linux-amd64/bin:$(CURDIR)/.cache/prometheus/usr/bin:$(PATH)
export SOLCX_BINARY_PATH := $(CURDIR)/.cache/solcx
export APE_DATA_FOLDER := $(CURDIR)/.cache/ape
# Bytecode saves every process of the demo, and each test process, a second or more.
unexport PYTHONDONTWRITEBYTECODE
PYTHON := .venv/bin/python
JOBS := $(shell nproc)
# Rounds of `make assurance`, some minutes each.
ROUNDS ?= 20
# Simulations of `make assurance`: with up to 10 nodes, half a second of CPU each, with 30 two, and with 200.
SEEDS ?= 9000
CROWDS ?= 900
GREAT_CROWDS ?= 100
# Hours of the soak of `make assurance`.
HOURS ?= 2

# Mutants of the contracts in `make assurance`, some five seconds each, drawn by SEED; MUTANTS=0 for all 3,000. A larger sample or
# another seed may show survivors that nobody has answered yet: that is what it is for.
MUTANTS ?= 60
SEED ?= 4

# Minutes of attacks in `make assurance`, all classes together.
ASSAULT_MINUTES ?= 10

.PHONY: help setup setup-test demo trial devnet test lint test-contracts test-python test-simulation test-system assurance proofs slither mutants soak bench bench-page clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

setup: ## Install and compile what is missing or out of date
	@scripts/setup

setup-test: ## The same, and what only tests need: Prometheus, PostgreSQL
	@scripts/setup test

demo: setup ## Three tasks between four processes, one of them killed half-way, and the books at the end
	@.venv/bin/stoa devnet demo

trial: setup ## What happens to a cheat: a provider forges a result, five arbiters run it again, the books at the end
	@.venv/bin/stoa devnet trial

devnet: setup ## The demo's network, kept running for you to play with
	@.venv/bin/stoa devnet up

test: lint test-contracts test-python test-simulation test-system ## Everything that guards the code; under 25 minutes on 2 cores

lint: setup ## Types, style, import directions, formatting of Python and Solidity
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@node_modules/.bin/pyright
	@.venv/bin/lint-imports
	@forge fmt --check
	@forge fmt --check tests/contracts/symbolic

test-contracts: setup ## Contracts: fuzz and invariants by forge, every entry point through Ape
	@forge test --no-match-path '*Gas*'
	@FOUNDRY_PROFILE=deployed forge test --match-path '*Gas*'
	@forge coverage --no-match-path '*{Invariants,Gas}*' --report lcov --report-file .cache/coverage.lcov >.cache/coverage.log 2>&1 \
		|| { tail -40 .cache/coverage.log; exit 1; }
	@$(PYTHON) scripts/toolchain/coverage_gate.py .cache/coverage.lcov
	@rm -rf contracts/.cache # Ape lays libraries there, then looks at 500 files at most, and may miss our own
	@ape test tests/contracts -q

test-python: setup-test ## Protocol, node, examples, deploy
	@$(PYTHON) -m pytest -q -n $(JOBS) --dist worksteal tests/protocol tests/node tests/examples tests/deploy tests/mutation

# Hashes are seeded: the order of a set must not make one run differ from the next.
test-simulation: setup ## Whole networks in one process, on a clock, a chain and a network of their own
	@PYTHONHASHSEED=0 $(PYTHON) -m pytest -q -n $(JOBS) --dist worksteal tests/simulation

test-system: setup-test ## Whole networks of processes, and a client of another make among them
	@$(PYTHON) -m pytest -q -n $(JOBS) --dist loadfile tests/system tests/interop tests/soak

proofs: setup ## What the contracts do for all inputs, shown by symbolic execution; prints each proof's time
	@scripts/setup provers
	@PATH=$(CURDIR)/.cache/provers/bin:$$PATH FOUNDRY_PROFILE=symbolic halmos --config tests/contracts/symbolic/halmos.toml

# slither cleans the build that it finds: it gets one of its own.
slither: setup ## What static analysis says of the contracts: nothing that isn't answered in docs/spec/slither.toml
	@scripts/setup provers
	@PATH=$(CURDIR)/.cache/provers/bin:$$PATH FOUNDRY_OUT=.build/slither FOUNDRY_CACHE_PATH=.cache/forge-slither \
		slither . --foundry-out-directory .build/slither --config-file slither.config.json --json - 2>.cache/slither.log \
		| $(PYTHON) scripts/toolchain/slither_findings.py

mutants: setup ## Change the contracts one place at a time: which change does no test notice? (MUTANTS=60, SEED=4)
	@$(PYTHON) -m tests.mutation.run --sample $(MUTANTS) --seed $(SEED)

TIMED := scripts/toolchain/timed
assurance: setup-test ## The long run: proofs, fuzzing, mutants, thousands of simulations, unseen examples, a kill at every durable step, an assault, a soak
	@$(TIMED) --start
	@$(TIMED) "proofs" $(MAKE) --no-print-directory proofs
	@$(TIMED) "static analysis" $(MAKE) --no-print-directory slither
	@FOUNDRY_PROFILE=assurance $(TIMED) "fuzzing, 20,000 runs" forge test --no-match-path '*{Invariants,Gas}*'
	@for suite in Channel Escrow Reputation Court; do FOUNDRY_PROFILE=assurance $(TIMED) "$$suite invariants, 10,000 x 32" \
		forge test --match-contract "^$${suite}Invariants$$" || exit 1; done
	@$(TIMED) "mutants" $(MAKE) --no-print-directory mutants
	@$(TIMED) "simulation: storms" $(PYTHON) -m tests.simulation.run storm --seeds $(SEEDS) --jobs $(JOBS)
	@$(TIMED) "simulation: crowds" $(PYTHON) -m tests.simulation.run crowd --seeds $(CROWDS) --jobs $(JOBS)
	@$(TIMED) "simulation: crowds of 200" $(PYTHON) -m tests.simulation.run crowd-of-200 --seeds $(GREAT_CROWDS) --jobs $(JOBS)
	@for round in $$(seq $(ROUNDS)); do STOA_SEARCH=explore $(TIMED) "unseen examples, $$round of $(ROUNDS)" \
		$(PYTHON) -m pytest -q -n $(JOBS) --dist worksteal tests/protocol tests/node || exit 1; done
	@KILL_STEPS=all KILL_RECORD=$(CURDIR)/.cache/kill-steps $(TIMED) "a kill at every durable step" \
		$(PYTHON) -m pytest -q -n $(JOBS) --dist worksteal tests/system/test_system_every_step.py
	@rm -f $(CURDIR)/.cache/kill-steps
	@$(TIMED) "assault" $(PYTHON) -m tests.assault.run --minutes $(ASSAULT_MINUTES)
	@$(TIMED) "the chain's story" $(PYTHON) -m tests.soak.chain_story --tasks 200 --rounds 5
	@$(TIMED) "soak" $(PYTHON) -m tests.soak.run --hours $(HOURS)
	@$(TIMED) --table

soak: setup ## Two hours of trade between ten nodes that are killed again and again, and what was lost or grew (HOURS=2)
	@$(PYTHON) -m tests.soak.run --hours $(HOURS)

bench: setup ## What we claim about speed, measured beside others: one table, a quarter of an hour
	@$(PYTHON) -m benchmarks.run

bench-page: setup ## The same, and write the table into docs/performance.md
	@$(PYTHON) -m benchmarks.run --markdown

clean: ## Remove what set-up and builds have made (not a node's data)
	rm -rf .venv .cache .build node_modules
