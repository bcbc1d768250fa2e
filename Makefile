# One line per command in `make help`; what takes more than a line is in scripts/.

HOST ?= 127.0.0.1
PORT ?= 8000
BIN := .venv/bin
# Most tests wait for a server, so that two cores serve four workers. A file stays with one worker,
# since its tests share servers; tests/conftest.py says which files are first.
PYTEST := $(BIN)/pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
# The steps of a command are its prerequisites, and they are meant in this order.
.NOTPARALLEL:
.PHONY: help demo test check proof bench bench-profile docs fmt lock clean
.PHONY: install-dev system-packages static js

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

demo: ## Install, fetch the embedded model, serve the playground: PORT=8000 HOST=127.0.0.1
	@scripts/install demo
	@$(BIN)/headwater models pull smollm2-135m
	@exec $(BIN)/headwater serve --host "$(HOST)" --port "$(PORT)"

test: system-packages install-dev static js ## Everything that must hold, system programs included
	@$(PYTEST) -m "not proof"

check: install-dev static ## The part that needs no system program: format, lint, types, unit tests
	@$(PYTEST) -m "not system and not proof"

proof: install-dev ## The exhaustive runs of which the tests run a sample
	@$(BIN)/pytest -m proof

bench: install-dev ## The performance tables of docs/benchmarks.md: BENCH="--quick", BENCH="--soak" (needs cc, nginx)
	@$(BIN)/python -m bench $(BENCH)

bench-profile: install-dev ## Where the time of a token goes, and that of the start
	@$(BIN)/python -m bench.profiling

docs: install-dev ## The documentation site, into site/: warnings are errors
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "site/index.html"

fmt: install-dev ## Format, and mend what the linter can
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

lock: install-dev ## Write requirements/ anew from pyproject.toml: UPGRADE=1 for newer versions
	@scripts/lock $(if $(UPGRADE),--upgrade)

clean: ## Remove what the other commands made; the model stays in the user's cache
	@rm -rf .venv js/node_modules tests/system/clients/node_modules examples/*/node_modules examples/*/dist build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

install-dev:
	@scripts/install dev

system-packages:
	@scripts/system-packages

static:
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

js:
	@scripts/js
