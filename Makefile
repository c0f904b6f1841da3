# The two commands a newcomer needs are `make demo` and `make test`; both set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Files in the order that tests/conftest.py puts them in, each on one of two workers.
SPREAD := -n 2 --dist loadfile --no-loadscope-reorder

# Where no bytecode is kept, each of the processes that tests start compiles all of TokenOpen first.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup assets demo test browser screenshots test-fast test-postgresql trial-crash trial-cluster trial-limits trial-outage trial-streams trial-hostile trial-slow-streams trial-leaving trial-stalled trial-trickle trial-soak trial-clients trial-postgresql-versions mutants trial-api bench bench-cluster bench-logs bench-pages check check-types check-rules format lock clean
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 20

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "TokenOpen needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Set PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  v=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  echo "This Python lacks ensurepip. Install its venv package first, on Debian or Ubuntu:"; \
	  echo "  apt-get install python$$v-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.python requirements/run.txt requirements/build.txt pyproject.toml
	$(BIN)/python -m pip install --disable-pip-version-check -q --require-hashes -r requirements/build.txt -r requirements/run.txt
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	$(BIN)/python -m pip install --disable-pip-version-check -q --require-hashes -r requirements/dev.txt
	@touch $@

setup: $(VENV)/.dev assets-if-possible ## install everything, pinned by hash, into .venv

assets: $(VENV)/.python ## fetch the pages' libraries with npm (Node from a wheel where the machine has none)
	@command -v npm >/dev/null || $(BIN)/python -m pip install --disable-pip-version-check -q --require-hashes -r requirements/frontend.txt
	$(BIN)/python frontend/build_assets.py

# Pages work without the libraries, so nothing below fails where they cannot be fetched.
.PHONY: assets-if-possible
assets-if-possible: $(VENV)/.python
	@command -v npm >/dev/null || $(BIN)/python -m pip install --disable-pip-version-check -q --require-hashes -r requirements/frontend.txt || true
	@$(BIN)/python frontend/build_assets.py --if-possible

demo: $(VENV)/.run assets-if-possible ## start a demo: embedded database, simulated upstream; ONCE=1 checks itself and ends
	$(BIN)/tokenopen demo $(if $(ONCE),--once)

test: $(VENV)/.dev assets-if-possible browser check ## every check and test
	$(BIN)/python -m pytest $(SPREAD) --ignore tests/tidy

# Where it cannot be had, the tests that need it are skipped and say so.
browser: ## install Debian's chromium for the tests in a browser, where that is possible
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq >/dev/null && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
	  echo "There is no chromium, so tests in a browser are skipped. On Debian, as root: apt-get install chromium"

screenshots: $(VENV)/.dev assets-if-possible browser ## a picture of every page of the demo, three times each; DIR=/somewhere
	@test -n "$(DIR)" || { echo "Say where to: make screenshots DIR=/somewhere"; exit 1; }
	$(BIN)/python -m trials.screenshots $(DIR)

test-fast: $(VENV)/.dev ## tests without those that start processes
	$(BIN)/python -m pytest -m "not slow"

# The contract and the engine's own tests run on PostgreSQL in `make test` too; here everything above them does.
test-postgresql: $(VENV)/.dev ## the tests of every layer above storage on PostgreSQL; TOKENOPEN_TEST_POSTGRESQL_URL names a server
	TOKENOPEN_TEST_ENGINE=postgresql $(BIN)/python -m pytest $(SPREAD) tests/control tests/api tests/gateway \
	  tests/cli tests/e2e/test_exactness.py tests/e2e/test_group_pricing.py tests/e2e/test_changes_under_load.py \
	  tests/e2e/test_openai_sdk.py tests/e2e/test_trace.py

trial-crash: $(VENV)/.dev ## kill the server 100 times under load, then check every charge; SEED=n repeats one
	$(BIN)/python -m trials.crash --kills 100 $(if $(SEED),--seed $(SEED))

# 60 faults take about 5 minutes. POSTGRESQL names a version or the directory of a server's programs.
trial-cluster: $(VENV)/.dev ## hurt 4 workers on PostgreSQL under load, then check every charge; FAULTS=500 CALLS=500000 SEED=n LEASE=30
	$(BIN)/python -m trials.cluster $(if $(FAULTS),--faults $(FAULTS)) $(if $(CALLS),--calls $(CALLS)) \
	  $(if $(SEED),--seed $(SEED)) $(if $(LEASE),--lease-s $(LEASE)) $(if $(POSTGRESQL),--postgresql $(POSTGRESQL))

trial-limits: $(VENV)/.dev ## five times 1 to 6,000 requests a minute offered to 8 workers; takes 3 minutes or more
	$(BIN)/python -m trials.limits $(if $(POSTGRESQL),--postgresql $(POSTGRESQL))

trial-outage: $(VENV)/.dev ## have the database away for SECONDS=60, stopped and silent, while streams run and callers ask
	TOKENOPEN_TEST_OUTAGE_S=$(or $(SECONDS),60) $(BIN)/python -m pytest -q --timeout 600 tests/e2e/test_outage.py

trial-streams: $(VENV)/.dev ## a million damaged streams over every surface; STREAMS=n SEED=n repeats one
	TOKENOPEN_TEST_STREAMS=$(or $(STREAMS),1000000) TOKENOPEN_TEST_SEED=$(or $(SEED),$(shell date +%s)) \
	  $(BIN)/python -m pytest -q --timeout 0 tests/upstream/test_mutated_streams.py

trial-hostile: $(VENV)/.dev ## HTTP that no client sends, 1,900 written cases and MADE=10000 made ones, to a real server; SEED=n
	$(BIN)/python -m trials.hostile $(if $(MADE),--made $(MADE)) $(if $(SEED),--seed $(SEED))

trial-slow-streams: $(VENV)/.dev ## hold COUNT=2000 slow streams open at once; memory of each, every one charged exactly
	$(BIN)/python -m trials.endurance streams $(if $(COUNT),--count $(COUNT))

trial-leaving: $(VENV)/.dev ## leave COUNT=500 calls at a random moment; nothing may be left of them; SEED=n
	$(BIN)/python -m trials.endurance leaving $(if $(COUNT),--count $(COUNT)) $(if $(SEED),--seed $(SEED))

trial-stalled: $(VENV)/.dev ## COUNT=40 callers who ask for megabytes and read nothing: when they are gone, and memory
	$(BIN)/python -m trials.endurance stalled $(if $(COUNT),--count $(COUNT))

trial-trickle: $(VENV)/.dev ## good calls beside COUNT=500 connections that send a byte a second: p50 and p99
	$(BIN)/python -m trials.endurance trickle $(if $(COUNT),--count $(COUNT))

trial-soak: $(VENV)/.dev ## MINUTES=30 of mixed load: the slope of the server's memory, audit at the end
	$(BIN)/python -m trials.endurance soak $(if $(MINUTES),--minutes $(MINUTES))

trial-clients: $(VENV)/.dev ## google-genai, LangChain, LiteLLM and the openai npm package against a real server; CLIENTS="litellm"
	$(BIN)/python -m trials.clients $(CLIENTS)

trial-postgresql-versions: $(VENV)/.dev ## contract suite and exactness tests on PostgreSQL 15 (Debian's), 16 and 18; VERSIONS="16 18"
	$(BIN)/python -m trials.postgresql_versions $(VERSIONS)

mutants: $(VENV)/.dev ## plant bugs in a copy, one after the other; the suite has to catch each; WORDS="refund hold"
	$(BIN)/python -m trials.mutants $(WORDS)

trial-api: $(VENV)/.dev ## ask the control API EXAMPLES=200 made-up requests for each operation; no 5xx, every answer as documented
	SCHEMA_EXAMPLES=$(or $(EXAMPLES),200) $(BIN)/python -m pytest tests/e2e/test_control_api.py --timeout 3600

# wrk and nginx-light are Debian's packages, py-spy is PyPI's; what is missing is left out, and said.
bench: $(VENV)/.dev ## CPU and latency of a call on one core beside a bare nginx; ARGS="--rounds 3 --profile" or "--growth"
	$(BIN)/python -m trials.bench $(ARGS)

bench-cluster: $(VENV)/.dev ## calls/s, batch size and CPU a call of one hot account on PostgreSQL; ARGS="--seconds 10 --sync"
	$(BIN)/python -m trials.bench_cluster $(ARGS)

# 10 million calls take 80 GB of disk at most, and half an hour or more to load.
bench-logs: $(VENV)/.dev ## every filter of the lists and every chart over CALLS=10000000 calls, on ENGINE=sqlite, postgresql or both
	$(BIN)/python -m trials.bench_logs $(if $(CALLS),--calls $(CALLS)) $(if $(ENGINE),--engine $(ENGINE)) $(ARGS)

bench-pages: $(VENV)/.dev ## every page that lists or sums, with each filter, over CALLS=100000 calls; CPU, time and size of each
	$(BIN)/python -m trials.bench_pages $(if $(CALLS),--calls $(CALLS)) $(ARGS)

check: $(VENV)/.dev ## format, lint, types, import layers, tidy rules
	@$(MAKE) --no-print-directory -j 2 check-types check-rules

# Longer than all the rest, and on one core.
check-types: $(VENV)/.dev
	$(BIN)/mypy

check-rules: $(VENV)/.dev
	$(BIN)/ruff format --check src tests trials frontend
	$(BIN)/ruff check src tests trials frontend
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/tidy

format: $(VENV)/.dev ## format the code and sort imports
	$(BIN)/ruff format src tests trials frontend
	$(BIN)/ruff check --fix src tests trials frontend

lock: $(VENV)/.dev ## pin the newest dependencies, with hashes and without index addresses
	for name in build run dev; do $(BIN)/uv pip compile -q --universal --python-version 3.11 --upgrade \
	  --generate-hashes --no-emit-index-url --no-header requirements/$$name.in -o requirements/$$name.txt; done

clean: ## remove the environment and what tools left behind
	rm -rf $(VENV) build dist frontend/node_modules src/tokenopen/web/static/vendor .mypy_cache .ruff_cache .pytest_cache .hypothesis
