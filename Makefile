# `make help` lists what there is. Arguments for a command go through ARGS: make test ARGS="-k wire".
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2
PINNED := --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock"
PATHS := gateway tests scripts benchmarks

.PHONY: help setup demo demo-real check test bench soak lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | column -t -s $$'\t'
	@echo '  ARGS="..." passes arguments on, e.g. make demo ARGS="--scale 10", make test ARGS="-k trino".'

demo: ## Start the gateway on embedded engines with sample data (needs Python only)
	@$(PYTHON) scripts/setup.py --only demo
	@$(BIN)/gateway demo $(ARGS)

demo-real: ## The same on real Trino and ClickHouse
	@$(PYTHON) scripts/setup.py --only test
	@$(BIN)/gateway demo --real $(ARGS)

setup: ## Install everything that `make test` needs (ARGS="--only demo|test|bench")
	@$(PYTHON) scripts/setup.py $(if $(ARGS),$(ARGS),--only test)

check: ## Style, types, architecture, spelling
	@$(PYTHON) scripts/setup.py --only check
	$(BIN)/ruff check $(PATHS)
	$(BIN)/ruff format --check $(PATHS)
	$(BIN)/mypy
	$(BIN)/mypy scripts/*.py
	$(BIN)/lint-imports
	$(BIN)/codespell $(PATHS) docs rules policies *.md Makefile pyproject.toml

test: setup-test check ## Set-up, checks, and the whole suite on the real engines
	@# Tests that kill engines and count seconds share two cores with others: what failed there runs once more,
	@# alone, and must pass; both outcomes are printed. Anything but failed tests ends the run at once.
	@$(BIN)/pytest -n $(WORKERS) --dist loadgroup $(ARGS) || { code=$$?; [ $$code -eq 1 ] || exit $$code; \
		echo 'failed beside other tests; each once more, alone:'; \
		$(BIN)/pytest --last-failed --last-failed-no-failures none; }

bench: ## Measure direct, gateway and peers in one run (ARGS="--quick")
	@$(PYTHON) scripts/setup.py --only bench
	$(BIN)/python -m benchmarks $(ARGS)

soak: setup-test ## The same suite as long as asked: fuzz, differential, faults (ARGS="--minutes 60")
	$(BIN)/python -m tests.soak $(ARGS)

.PHONY: setup-test
setup-test:
	@$(PYTHON) scripts/setup.py --only test

lock: ## Resolve all versions again and write the hashed locks
	uv pip compile $(PINNED) pyproject.toml scripts/requirements-build.in --all-extras --group dev -o requirements-dev.lock
	uv pip compile $(PINNED) pyproject.toml scripts/requirements-build.in --extra embedded --extra postgres --extra top -c requirements-dev.lock -o requirements.lock
	uv pip compile $(PINNED) scripts/requirements-tools.in -o requirements-tools.lock
	@! grep -nE '://|^ *--(extra-)?index|find-links' requirements*.lock || { echo 'a lock names an address: remove it'; exit 1; }

clean: ## Remove the environment and caches of this folder (the tools cache stays)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .grimp_cache build dist var
