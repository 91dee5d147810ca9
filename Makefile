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
# Simulations of `make assurance`, half a second of CPU each, and those with 200 nodes.
SEEDS ?= 10000
CROWDS ?= 100

.PHONY: help setup setup-test demo devnet test lint test-contracts test-python test-simulation test-system assurance bench clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

setup: ## Install and compile what is missing or out of date
	@scripts/setup

setup-test: ## The same, and what only tests need: Prometheus, PostgreSQL
	@scripts/setup test

demo: setup ## Three tasks between four processes, one of them killed half-way, and the books at the end
	@.venv/bin/stoa devnet demo

devnet: setup ## The same network, kept running for you to play with
	@.venv/bin/stoa devnet up

test: lint test-contracts test-python test-simulation test-system ## Everything that guards the code; under 25 minutes on 2 cores

lint: setup ## Types, style, import directions, formatting of Python and Solidity
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@node_modules/.bin/pyright
	@.venv/bin/lint-imports
	@forge fmt --check

test-contracts: setup ## Contracts: fuzz and invariants by forge, every entry point through Ape
	@forge test
	@ape test tests/contracts -q

test-python: setup-test ## Protocol, node, examples, deploy
	@$(PYTHON) -m pytest -q -n $(JOBS) --dist worksteal tests/protocol tests/node tests/examples tests/deploy

# Hashes are seeded: the order of a set must not make one run differ from the next.
test-simulation: setup ## Whole networks in one process, on a clock, a chain and a network of their own
	@PYTHONHASHSEED=0 $(PYTHON) -m pytest -q -n $(JOBS) --dist worksteal tests/simulation

test-system: setup-test ## Whole networks of processes, and a client of another make among them
	@$(PYTHON) -m pytest -q tests/system tests/interop

assurance: setup-test ## The long run: fuzzing, thousands of simulations, unseen examples, a kill at every durable step
	@FOUNDRY_PROFILE=assurance forge test
	@$(PYTHON) -m tests.simulation.run storm --seeds $(SEEDS)
	@$(PYTHON) -m tests.simulation.run crowd-of-200 --seeds $(CROWDS)
	@for round in $$(seq $(ROUNDS)); do echo "round $$round of $(ROUNDS)"; \
		STOA_SEARCH=explore $(PYTHON) -m pytest -q -n $(JOBS) --dist worksteal tests/protocol tests/node || exit 1; done
	@KILL_STEPS=all $(PYTHON) -m pytest -q tests/system/test_system_every_step.py

bench: setup ## What we claim about speed, measured
	@for each in benchmarks/*.py; do echo "== $$each"; PYTHONPATH=. $(PYTHON) $$each || exit 1; done

clean: ## Remove what set-up and builds have made (not a node's data)
	rm -rf .venv .cache .build node_modules
