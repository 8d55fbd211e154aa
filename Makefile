# make demo    pre-train, probe, look for the tail, tabulate and report on the embedded digits, in minutes; into a file
#              or a pipe, a line for each step, the tables, and where the logs and the report are
# make test    the tests, in at most 5 minutes on two idle cores; make test-all: the slow ones, too
# make check   format and lint            make format  format, and mend what lint can mend
# make bench   speed beside the published procedure, in one run of 12 minutes; QUICK=1: 3 minutes
# make soak    kills, damaged checkpoints, bad input, memory: 10 minutes, summary in results/soak.txt; QUICK=1: a tenth
# make gpu     on a machine with a GPU: the tests that need one, then speed, in at most 9 minutes; PYTHON=python3 is one
#              with PyTorch of its own (no .venv, nothing is installed); tables in results/gpu.txt and as JSON
PYTHON ?= python3
BIN := .venv/bin
SPLITS ?= 1
METHODS ?= simclr sdclr
QUICK ?=
JOBS ?= 2

.PHONY: demo test test-all bench gpu soak check format

.venv/installed: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4))' || \
	    { echo "error: Python 3.11.4 or newer is needed; name one with PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	@touch $@

demo: .venv/installed
	@quiet='--quiet True'; if [ -t 1 ]; then quiet=''; fi; \
	    SPLITS="$(SPLITS)" TAIL=1 cmds/reproduce.sh digits $(METHODS) -- --root demo $$quiet

# One thread for each of the processes: together they keep two cores busy.
test: .venv/installed
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

test-all: .venv/installed
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "slow or not slow"

bench: .venv/installed
	@$(BIN)/python -m benchmarks.run $(if $(QUICK),--quick)

gpu:
	@$(PYTHON) -c 'import torch' 2> /dev/null || \
	    { echo "error: $(PYTHON) has no PyTorch; name one that has, with PYTHON=..." >&2; exit 2; }
	@$(PYTHON) -m benchmarks.gpu $(if $(QUICK),--quick)

soak: .venv/installed
	@$(BIN)/python -m benchmarks.soak $(if $(QUICK),--quick,--out results/soak.txt)

check: .venv/installed
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

format: .venv/installed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
