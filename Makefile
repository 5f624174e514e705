# kvpaxos. "make help" says what there is.

SHELL := /bin/sh
BIN := .venv/bin
SEEDS ?= 5000
FIRES ?= 50
GIGABYTES ?= 10
WRITES ?= 1000000
KEYS ?= 1000000
SECTORS ?= 1
STARTS ?= 3
SEGMENT_BYTES ?= 262144

# Many tests start nodes, which would read all of their source each time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run test test_Paxos test_kvPaxos test_diskv test_values fire fuzz big soak away restart lint types format \
	sim sweep rot chaos faults exhaustive zoo clean

help: ## say what there is
	@grep -hE '^[A-Za-z_]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | \
	while IFS="$$(printf '\t')" read -r name what; do printf 'make %-13s%s\n' "$$name" "$$what"; done

setup: .venv/.ready ## make .venv, with kvpaxos and the tools of its developers in it

run: setup ## run three nodes on this machine, until Ctrl-C
	@exec $(BIN)/kvpaxos up

# Trial as a module: as a script it would find the "test" of Python's own library.
# Three at a time, whatever the machine has, and trial beside them: most tests wait for
# processes and disks. What trial says is kept for the end; Ctrl-C ends both.
test: setup ## run all tests
	@echo 'make test: pytest now, and trial beside it, which speaks when pytest is done'
	@$(BIN)/python -m twisted.trial --temp-directory=_trial_temp test.partition \
		>_trial_temp.log 2>&1 & trial=$$!; \
	trap 'kill $$trial; exit 130' INT TERM; \
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder; pytest=$$?; \
	wait $$trial; trial=$$?; \
	cat _trial_temp.log; \
	if [ $$pytest -ne 0 ]; then echo "make test: pytest failed, see above" >&2; fi; \
	if [ $$trial -ne 0 ]; then echo "make test: trial failed, see above" >&2; fi; \
	exit $$((pytest + trial))

test_Paxos: setup ## run the classic scenarios of Paxos alone
	$(BIN)/python -m twisted.trial --temp-directory=_trial_temp test.labs.test_paxos

test_kvPaxos: setup ## run the classic scenarios of a store on Paxos alone
	$(BIN)/python -m twisted.trial --temp-directory=_trial_temp test.labs.test_kvpaxos

test_diskv: setup ## run the classic scenarios of crashes and lost disks
	KVPAXOS_DISKV=50 $(BIN)/pytest test/labs/test_diskv.py -rP --timeout=0

test_values: setup ## write, catch up and fail over with the longest values that can be set
	KVPAXOS_VALUE_MIB=16 $(BIN)/pytest test/processes/test_long_values.py --timeout=0

lint: setup ## look at style and at who imports whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: setup ## check the types
	$(BIN)/mypy

format: setup ## bring the code into shape
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

sim: setup ## simulate SEEDS worlds instead of the few that "make test" does
	KVPAXOS_SEEDS=$(SEEDS) $(BIN)/pytest test/test_simulation.py --timeout=0

sweep: setup ## simulate clusters of real nodes, with seeds 0..SEEDS, or A..B; adds to sweep.json
	@$(BIN)/kvpaxos simulate --seeds $(if $(findstring ..,$(SEEDS)),$(SEEDS),0..$(SEEDS)) \
		--keep-going --report sweep.json; status=$$?; \
	$(BIN)/python -m kvpaxos.simulator.summary sweep.json docs/assurance.md && exit $$status

fire: setup ## kill leaders under clients that ask again, FIRES times
	KVPAXOS_FIRES=$(FIRES) $(BIN)/pytest test/processes/test_exactly_once.py --timeout=0

fuzz: setup ## look for bytes that break the codec, for a minute
	$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris
	$(BIN)/python -m test.wire.fuzz_codec -max_total_time=60

big: setup ## fill a node with GIGABYTES (10), and show how much memory that takes
	$(BIN)/python -m test.big.fill $(GIGABYTES)

soak: setup ## overwrite four keys WRITES times, or for MINUTES, RATE times a second, and show who waits
	$(BIN)/python -m test.big.soak $(if $(RATE),--rate $(RATE)) $(if $(MINUTES),--minutes $(MINUTES),$(WRITES))

away: setup ## have a node miss WRITES writes and come back under load, and show who waits
	$(BIN)/python -m test.big.away $(WRITES)

restart: setup ## stop and kill a node with KEYS keys, and show how soon it serves again
	$(BIN)/python -m test.big.restart $(KEYS)

rot: setup ## damage every SECTORS-th (1) sector of a journal, and see what becomes of the node
	$(BIN)/python -m test.rot.sweep $(SECTORS)

chaos: setup ## kill, pause, cut off and fill real nodes for MINUTES (5), and judge what clients saw
	$(BIN)/python -m test.chaos.run --minutes $(or $(MINUTES),5)

faults: setup ## have a cluster bear each fault of the simulator alone, in the worlds of KVPAXOS_SEED (0)
	KVPAXOS_FAULTS=all $(BIN)/pytest test/simulation/test_faults.py

exhaustive: setup ## cut the power at every operation, and damage every sector, of journals in memory
	$(BIN)/python -m kvpaxos.simulator.exhaustive --write docs/assurance.md
	$(BIN)/python -m kvpaxos.simulator.corruption --segment-bytes $(SEGMENT_BYTES) --write docs/assurance.md
	$(BIN)/python -m kvpaxos.simulator.helical --segment-bytes $(SEGMENT_BYTES) --write docs/assurance.md
	$(BIN)/python -m test.rot.states --write docs/assurance.md

zoo: setup ## plant all bugs, or BUG, and see how soon the simulator finds them, STARTS (3) times each
	$(BIN)/python -m test.zoo.run --starts $(STARTS) $(BUG)

clean: ## remove all that was made here, except the nodes' data
	rm -rf .venv build dist *.egg-info _trial_temp* .hypothesis .*_cache twisted/plugins/dropin.cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The cache of plugins is written once here, so that no node has to, or may be unable to.
.venv/.ready: setup.py kvpaxos/version.py
	@python=$$(sh .ci/find-python) && \
	echo "setup: .venv from $$python" && \
	"$$python" -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]' || \
	{ echo "setup: pip could not install what kvpaxos needs; is the package index reachable?" >&2; exit 1; }
	@$(BIN)/python -c 'from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))'
	@touch $@
	@echo "setup: done"
