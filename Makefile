# One way to run each thing. Every target sets up .venv once, by itself.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# make reproduce                                       the embedded world and teacher; SMOKE=1 or SIZE=large, SEEDS=3
# make reproduce DATASET=ddad ROOT=/data/ddad TEACHER=depth-anything/Depth-Anything-V2-Large-hf EGO_MASKS=/data/masks
DATASET ?= ddad
ROOT ?=
TEACHER ?=
EGO_MASKS ?=
UNLABELLED ?=
SMOKE ?=
SIZE ?= $(if $(SMOKE),smoke)
SEEDS ?=
STEPS ?=
JOBS ?=
CONFIG ?=
REFERENCE ?=
STRICT ?=
MINUTES ?=
OUT ?= runs/reproduce$(if $(SIZE),-$(SIZE))

.DEFAULT_GOAL := help
.PHONY: help setup setup-nuscenes test test-nuscenes lint format reproduce street-teacher rivals bench clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Python compiles what is imported, and keeps it; pip would compile all 17,000 files, which takes as long as the rest.
INSTALL := -m pip install --quiet --disable-pip-version-check --no-compile
IMPORT := -c 'import pipeline.reproduce.run, pipeline.cli, rich.console, rich.progress, plotly.graph_objects, distributed'

setup: $(READY)  ## install fsmde and all it needs into .venv, and link the fsmde command

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python $(INSTALL) -e '.[dev]'
	PYTHONDONTWRITEBYTECODE= $(BIN)/python $(IMPORT)
	touch $@
	@echo "Ready. Now: source $(VENV)/bin/activate"

# Every test has its time limit (pyproject.toml); this is that of all together, where there is such a command.
TEST_MINUTES ?= 30
LIMIT := $(if $(shell timeout --foreground 9 true && echo ok),timeout --foreground -s INT -k 60 $(TEST_MINUTES)m)
# With --dist loadfile, xdist 3.8 waits for ever once a worker has crashed.
PYTEST := -m pytest -n auto --dist worksteal --max-worker-restart 8 -m 'not slow'

test: $(READY)  ## the test suite; real frames too, where FSMDE_REAL_DATA names their folder
	OMP_NUM_THREADS=1 $(LIMIT) $(BIN)/python $(PYTEST)

NUSCENES := .venv-nuscenes

setup-nuscenes: $(NUSCENES)/.ready  ## the same beside it in .venv-nuscenes, with nuScenes' devkit and numpy 1

$(NUSCENES)/.ready: pyproject.toml constraints.txt constraints-nuscenes.txt
	test -x $(NUSCENES)/bin/python || $(PYTHON) -m venv $(NUSCENES)
	grep -v -E '^(numpy|plyfile|zarr)==' constraints.txt | cat - constraints-nuscenes.txt > $(NUSCENES)/constraints.txt
	PIP_CONSTRAINT=$(NUSCENES)/constraints.txt $(NUSCENES)/bin/python $(INSTALL) -e '.[dev,nuscenes]'
	PYTHONDONTWRITEBYTECODE= $(NUSCENES)/bin/python $(IMPORT)
	touch $@
	@echo "Ready. Now: source $(NUSCENES)/bin/activate"

test-nuscenes: $(NUSCENES)/.ready  ## tests of nuScenes and of the cache, in an environment with its devkit and numpy 1
	OMP_NUM_THREADS=1 $(LIMIT) $(NUSCENES)/bin/python $(PYTEST) \
	  tests/stages/cache_teacher/datasets/nuscenes tests/pipeline/test_nuscenes.py tests/cache_schema \
	  $(addprefix --ignore tests/cache_schema/test_,verify.py remote.py storage.py places.py lock.py)

lint: $(READY)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## let ruff order and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

reproduce: $(READY)  ## compare all variants, in the embedded world or with ROOT= TEACHER=: [SMOKE=1] [SEEDS=] [OUT=]
	@$(BIN)/fsmde reproduce --out '$(OUT)' \
	  $(if $(ROOT),--dataset '$(DATASET)' --root '$(ROOT)') $(if $(TEACHER),--teacher '$(TEACHER)') \
	  $(if $(UNLABELLED),--unlabelled '$(UNLABELLED)') $(if $(EGO_MASKS),--ego-masks '$(EGO_MASKS)') \
	  $(if $(SIZE),--size '$(SIZE)') $(if $(SEEDS),--seeds '$(SEEDS)') \
	  $(if $(JOBS),--jobs '$(JOBS)') $(if $(STEPS),--steps '$(STEPS)') $(if $(CONFIG),--config '$(CONFIG)') \
	  $(if $(REFERENCE),--reference '$(REFERENCE)') $(if $(STRICT),--strict)

street-teacher: $(READY)  ## train the embedded world's teacher anew, in runs/street-teacher: [MINUTES=60]
	$(BIN)/python -m stages.cache_teacher.teachers.street train $(if $(MINUTES),--minutes '$(MINUTES)')

RIVALS := .rivals/.ready

rivals: $(RIVALS)  ## install what `make bench` compares reading with, into .rivals

$(RIVALS): tests/bench/rivals.txt $(READY)
	rm -rf .rivals
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target .rivals -r tests/bench/rivals.txt
	touch $@

bench: $(READY) $(RIVALS)  ## measure what the documents claim; needs FSMDE_REAL_DATA
	$(BIN)/python -m pytest -m slow -s --timeout 0 -o faulthandler_timeout=0 tests
	$(BIN)/python -m tests.bench

clean:  ## remove the environment and what tools left; never a cache or a run
	rm -rf $(VENV) $(NUSCENES) .rivals .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
