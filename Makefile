# Placet. Bare `make` lists the targets.
SHELL := bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_WORKERS ?= 3
# Some images set it: every process would then compile all that it imports, which is half of the start of each.
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: install
install: $(VENV)/.installed .venv-tools/.installed ## Install what is pinned into .venv and the tool servers into .venv-tools.

$(VENV)/.installed: requirements-dev.txt scripts/install
	@PYTHON=$(PYTHON) scripts/install
	@touch $@

.venv-tools/.installed: requirements-tools.txt scripts/install-tools
	@PYTHON=$(PYTHON) scripts/install-tools
	@touch $@

.PHONY: up
up: install ## Start everything in the foreground; Ctrl-C stops it.
	@$(BIN)/python manage.py up

.PHONY: demo
demo: install ## Start everything, apply the example, run its agent. ARGS=--yes: approve, verify, stop. OPA=server: OPA decides.
	@$(BIN)/python examples/repo-steward/demo.py $(ARGS)

.PHONY: test
test: install ## Every check and every test, with the bounded part of the chaos suite.
	@PYTEST_WORKERS=$(PYTEST_WORKERS) scripts/tests $(ARGS)

.PHONY: lint
lint: install ## Style, types, architecture, policies.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy config operations agents gateway registry audit
	@$(BIN)/lint-imports
	@scripts/rego

.PHONY: rego
rego: ## Check every policy with OPA and Regal; without them, and without Go, say so.
	@scripts/rego

.PHONY: conformance
conformance: install ## Every phase of schemathesis on the OpenAPI document (by hand; takes minutes).
	@$(BIN)/pytest -q -m slow tests/test_openapi.py $(ARGS)

.PHONY: races
races: install ## The long races: histories of people, calls and budgets at once (by hand; takes minutes).
	@$(BIN)/pytest -q -s -m slow tests/races $(ARGS)

.PHONY: faults
faults: install ## Directed faults from a seed: every crash point of every deed, wires, tools, disks, clocks (by hand; minutes).
	@$(BIN)/pytest -q -s -m "slow or invariants" tests/chaos $(ARGS)

.PHONY: screenshots
screenshots: install ## Look at every page in a browser and keep pictures of it in screenshots/.
	@PLACET_SCREENSHOTS=1 $(BIN)/pytest -q tests/browser/test_pages.py $(ARGS)

.PHONY: chaos
chaos: install ## Faults from a seed on the whole stack under load, then the invariants. PLACET_CHAOS_SEED, _FAULTS, _MINUTES, _KINDS.
	@$(BIN)/python -m tests.chaos.program
	@$(BIN)/pytest -q -s -m slow tests/audit/test_under_fire.py
	@$(MAKE) faults

.PHONY: bench
bench: install ## Measure, by hand, in minutes: the call path; or WHAT=trail, overload, pages.
	@$(BIN)/python benchmarks/$(or $(WHAT),calls).py $(ARGS)

.PHONY: lock
lock: $(VENV)/.installed ## Resolve and pin the requirements with hashes.
	@$(BIN)/python scripts/lock.py

.PHONY: clean
clean: ## Remove what was installed and every local data directory.
	rm -rf .venv .venv-tools .placet .placet-test .placet-demo .placet-demo-opa .placet-chaos .cache .mypy_cache .ruff_cache .hypothesis
