# Everything a person or CI runs. Needs Python 3.11 or newer and make; the rest is installed here.
.DEFAULT_GOAL := help
.PHONY: help setup programs demo demo-sleep up doctor test test-long check format clean bench-history bench-turn bench-recover bench-sleep bench-snapshot chaos

# The first that runs and is new enough: a name on PATH may be a shim of a Python that is not there.
PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)
HAS_UV := $(shell uv --version >/dev/null 2>&1 && echo yes)
UV := $(if $(HAS_UV),uv,.nightshift/uv/bin/uv)
RUN := .venv/bin/python -m starter

help: ## what there is to run
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-13s %s\n", $$1, $$2}'

demo: setup ## build an example, from nothing to a running app; JSON=1 prints the result as JSON
	@$(RUN) demo $(EXAMPLE) $(if $(JSON),--json)

demo-sleep: setup ## a build spends its day, sleeps to a midnight that is near, wakes and ends; JSON=1
	@$(RUN) demo-sleep $(if $(JSON),--json)

up: setup ## keep the stack and a worker running until Ctrl-C
	@$(RUN) up

doctor: setup ## each part: real or stand-in, reachable or not, and the fix
	@$(RUN) doctor

test: programs ## the whole test suite; with E2B_API_KEY set, also on that account
	.venv/bin/pytest -m "not long$(if $(E2B_API_KEY),, and not e2b_cloud)" -n 2 --dist loadfile --no-loadscope-reorder

test-long: programs ## the runs that take many minutes
	.venv/bin/pytest -m long

chaos: programs $(if $(REPORT),.nightshift/bench/plot/synced) ## kill -9 everything; N= SEED= REPORT=FILE.json with a plot
	@.venv/bin/python -m tests.chaos --kills $(or $(N),1000) --seed $(or $(SEED),1) $(if $(REPORT),--report $(REPORT))

check: setup ## format, lint, types, import contracts, dependencies
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/basedpyright
	.venv/bin/lint-imports
	.venv/bin/deptry .

format: setup ## format and mend what can be mended
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

programs: setup ## get the programs that the stack and the tests need, once for a user
	@$(RUN) fetch

setup: .venv/synced ## install what everything else needs

.venv/synced: uv.lock pyproject.toml $(if $(HAS_UV),,.nightshift/uv/bin/uv)
	@test -n "$(PYTHON)" || { echo "Nightshift needs Python 3.11 or newer; name one with PYTHON="; exit 1; }
	@$(UV) sync --frozen --quiet --python $(PYTHON)
	@touch $@

.nightshift/uv/bin/uv:
	@echo "installing uv, once for this checkout"
	@$(PYTHON) -m venv .nightshift/uv
	@.nightshift/uv/bin/python -m pip install --quiet uv

BENCHES := openai_agents pydantic_ai langgraph plot
bench-history: programs $(BENCHES:%=.nightshift/bench/%/synced) ## history a turn, beside peers; TURNS= SYSTEMS= LIMIT=
	.venv/bin/python -m bench.history --turns $(or $(TURNS),2000) --limit $(or $(LIMIT),7200) --systems "$(SYSTEMS)"

bench-turn: programs $(BENCHES:%=.nightshift/bench/%/synced) ## time a turn beside peers; TURNS= SYSTEMS= LIMIT=
	.venv/bin/python -m bench.turn --turns $(or $(TURNS),2000) --limit $(or $(LIMIT),7200) --systems "$(SYSTEMS)"

bench-recover: programs $(BENCHES:%=.nightshift/bench/%/synced) ## kill -9 the worker at a turn; TURN= SYSTEMS= LIMIT=
	.venv/bin/python -m bench.recover --turn $(or $(TURN),500) --limit $(or $(LIMIT),3600) --systems "$(SYSTEMS)"

bench-sleep: programs ## thousands of sleeping builds: what they cost, how they wake; BUILDS= MIDNIGHT_IN=
	.venv/bin/python -m bench.sleep --builds $(or $(BUILDS),10000) --midnight-in $(or $(MIDNIGHT_IN),0)

bench-snapshot: programs .nightshift/bench/plot/synced ## snapshots and restores beside tar.gz and restic; ROUNDS=
	.venv/bin/python -m bench.snapshot --rounds $(or $(ROUNDS),18)

$(BENCHES:%=.nightshift/bench/%/synced): .nightshift/bench/%/synced: bench/requirements/%.txt | .venv/synced
	@$(UV) venv --quiet --clear --python .venv/bin/python $(@D)
	@$(UV) pip install --quiet --python $(@D)/bin/python -r $<
	@touch $@

clean: ## stop nothing, remove this checkout's environment and data
	rm -rf .venv .nightshift
