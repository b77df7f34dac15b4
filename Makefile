# ScraperSky from a bare checkout: `make demo`, `make test`. Needs GNU make and Python 3.11 or newer, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet --quiet
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header
MANAGE := $(BIN)/python manage.py

# What the recipes hand on to manage.py: make demo DOMAINS="example.com example.org", make demo FILE=domains.csv
DOMAINS ?=
FILE ?=
# make chaos RUNS=20: how often each scenario is to have run, earlier runs in RESULTS counted
RUNS ?= 1
RESULTS ?= var/chaos.jsonl
SECONDS ?= 3600
EXAMPLES ?= 2000
# make bench STAGES="parse land"; all of them when empty
STAGES ?=

# Python caches what it compiles; six processes that start at once would each compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo up test test-fast chaos fuzz fuzz-api bench bench-short lint format lock clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(VENV)/runtime.stamp ## start everything, scan sample sites (or DOMAINS="…", FILE=…), show, stop
	@$(MANAGE) demo $(if $(FILE),--file "$(FILE)") -- $(DOMAINS)

up: $(VENV)/runtime.stamp ## start the whole stack in the foreground
	@exec $(MANAGE) up

test: $(VENV)/dev.stamp ## run the whole test suite
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal

test-fast: $(VENV)/dev.stamp ## run the tests that take no more than a few seconds each
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow and not chaos"

fuzz: $(VENV)/fuzz.stamp ## look for bytes that break the readers (SECONDS=3600)
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

fuzz-api: $(VENV)/dev.stamp ## requests made from the OpenAPI document, good and bad, as each role (EXAMPLES=2000)
	@$(BIN)/python -m tests.fuzz.api --examples $(EXAMPLES)

bench: var/peers/stamp $(VENV)/dev.stamp ## measure everything against peers, 45 minutes (STAGES="parse land")
	@$(MANAGE) bench $(addprefix --only ,$(STAGES))

bench-short: var/peers/stamp $(VENV)/dev.stamp ## see that every benchmark runs, 3 minutes
	@$(MANAGE) bench --short $(addprefix --only ,$(STAGES))

chaos: $(VENV)/dev.stamp ## break everything RUNS times, with fresh seeds, and show what came of it
	@$(BIN)/python -m tests.chaos --runs $(RUNS) --results "$(RESULTS)"

lint: $(VENV)/dev.stamp ## check style, types and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp ## put the code into the house's form
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .

lock: $(VENV)/dev.stamp ## write every requirements*.txt anew from its .in
	$(LOCK) requirements.in --output-file requirements.txt
	$(LOCK) requirements-dev.in --output-file requirements-dev.txt
	$(LOCK) benchmarks/requirements.in --output-file benchmarks/requirements.txt

clean: ## remove the environment and every cache; var/ stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './var/*' -prune -exec rm -rf {} +

$(VENV)/runtime.stamp: requirements.txt | $(VENV)/made.stamp
	@echo "installing what runs (once, less than two minutes) …"
	@$(PIP) install --require-hashes -r requirements.txt
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/runtime.stamp
	@echo "installing what tests (once, less than two minutes) …"
	@$(PIP) install --require-hashes -r requirements-dev.txt
	@touch $@

$(VENV)/fuzz.stamp: tests/fuzz/requirements.txt $(VENV)/dev.stamp
	@$(PIP) install -r tests/fuzz/requirements.txt
	@touch $@

var/peers/stamp: benchmarks/requirements.txt | $(VENV)/made.stamp
	@echo "installing the peers to measure against (once, about a minute) …"
	@$(BIN)/python -m venv var/peers
	@var/peers/bin/python -m pip --disable-pip-version-check --no-input --quiet --quiet install \
	  --require-hashes -r benchmarks/requirements.txt
	@touch $@

$(VENV)/made.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "error: Python 3.11 or newer is needed, and $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo missing);" \
	    "name another with: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "error: $(PYTHON) has no venv module; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@touch $@
