# The commands of this project. `make demo` and `make test` set everything up by themselves.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# The first of these that really runs and is new enough (pyenv leaves shims of Pythons that do not run).
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
export UV_PYTHON_DOWNLOADS := never
export GRPC_VERBOSITY ?= ERROR
# One more than the cores of CI: some tests only wait, for minutes, until a killed process is missed.
WORKERS ?= 3
# Some images forbid it; without bytecode every start compiles two thousand modules again.
export PYTHONDONTWRITEBYTECODE =

.PHONY: help setup demo test check bench bench-scale soak proto lock lock-clients format clean

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready ## Make .venv with the locked dependencies

$(VENV)/.ready: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Tieout needs Python 3.11 or newer: install it, or name it with PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --disable-pip-version-check uv; }
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

lock: ## Resolve the dependencies into requirements.lock (versions and hashes, no addresses); UPGRADE=1 takes the newest
	@$(COMPILE) $(if $(UPGRADE),--upgrade) --extra server --extra sandbox --extra telemetry --group dev -o requirements.lock pyproject.toml

lock-clients: ## The same for the third-party clients of Xero that tests drive (tests/xero/clients)
	@for client in tests/xero/clients/*/requirements.in; do $(COMPILE) --upgrade -o $${client%.in}.lock $$client; done
	@for client in tests/xero/clients/xero_node client/typescript; do \
	  (cd $$client && npm install --package-lock-only --omit-lockfile-registry-resolved --loglevel=error); done

demo: setup ## Sandbox Xero + server + a merchant connected + first sync + a difference explained, live (ONCE=1 ends by itself, BROWSER=1 lets you consent, REPLICAS=3 on PostgreSQL)
	@$(BIN)/python -m tieout_server.demo $(if $(ONCE),--once) $(if $(BROWSER),--browser) $(if $(REPLICAS),--replicas $(REPLICAS))

test: setup ## Every test, on SQLite and PostgreSQL; browser tests where chromium is
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

check: setup ## Formatting, lint, types, layers, API, lock file
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python proto/generate.py --check
	@$(BIN)/buf lint
	@$(BIN)/buf format --diff --exit-code > /dev/null
	@echo "check: all is well"

bench: setup ## Figures beside the floor (tests/bench)
	@$(BIN)/python tests/bench/run.py

bench-scale: setup ## Replicas on one PostgreSQL: 10,000 connections, 50 first syncs at once, 5,000 watchers (10 min)
	@$(BIN)/python tests/bench/scale.py

soak: setup ## 30 simulated days of 100 connections, and afterwards every promise still holds (10 min)
	@$(BIN)/python tests/bench/soak.py

proto: setup ## Generate the stubs from proto/
	@$(BIN)/buf format -w
	@$(BIN)/python proto/generate.py

format: setup ## Format the code
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet . ; $(BIN)/buf format -w

clean: ## Remove what setup and runs have made
	@rm -rf $(VENV) .clients .demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
