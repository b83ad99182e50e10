# Everything that a person types. `make` alone lists it.

PYTHON ?= python3
BIN := .venv/bin
FUZZ_CASES ?= 1000000
QUICK_TESTS := -m "not slow" -n auto --dist worksteal
CHAOS_REQUESTS ?= 100000
# What starts real vLLM, Ray or a browser, or measures, has the machine for itself.
ALONE := tests/browser tests/e2e tests/faults/test_chaos.py tests/loadtest

# The tests start hundreds of processes of Python, each of which would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install install-dev serve test test-fast bench format fuzz chaos docs lock

help:
	@echo "make serve      install what is missing, start the engines and the gateway, stay in the foreground"
	@echo "make test       everything that CI runs: format, lint, types, all tests (real vLLM included)"
	@echo "make test-fast  the quick tests, side by side, about 70 seconds on two idle cores"
	@echo "make bench      what the gateway costs and how that grows, into docs/performance (30 minutes; PARTS=\"keys body\")"
	@echo "make fuzz       the gateway's fuzz tests with $(FUZZ_CASES) cases in all (about 20 minutes)"
	@echo "make chaos      $(CHAOS_REQUESTS) requests while everything fails that can (about 4 minutes)"
	@echo "make format     format the code"
	@echo "make docs       write the generated reference pages, dashboards and alerts again"
	@echo "make lock       renew the lock files from pyproject.toml"

install:
	@PYTHON=$(PYTHON) locks/install engines

install-dev: install
	@PYTHON=$(PYTHON) locks/install dev
	@PYTHON=$(PYTHON) locks/install system

serve: install
	@$(BIN)/headgate serve

test: install-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest $(QUICK_TESTS)
	$(BIN)/pytest -m slow -n auto --dist loadfile $(ALONE:%=--ignore=%)
	$(BIN)/pytest -m slow $(ALONE)

test-fast: install-dev
	$(BIN)/pytest $(QUICK_TESTS)

bench: install-dev
	$(BIN)/python -m loadtest.bench $(PARTS) --page docs/performance.md

fuzz: install-dev
	HEADGATE_FUZZ_CASES=$(FUZZ_CASES) $(BIN)/pytest --durations=0 tests/fuzz

chaos: install-dev
	HEADGATE_CHAOS_REQUESTS=$(CHAOS_REQUESTS) $(BIN)/pytest -s --timeout=0 tests/faults/test_chaos.py

format: install-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: install-dev
	$(BIN)/python -m gateway.config.reference > docs/configuration.md
	$(BIN)/python -m deploy.monitoring

lock:
	@PYTHON=$(PYTHON) locks/renew
