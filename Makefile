# `make demo` and `make test` work as the first command on a fresh clone: they need Python >= 3.11 with pip, nothing else.
PYTHON ?= python3
# the versions this was tested with; `make setup CONSTRAINTS=` takes the newest that the requirements allow
CONSTRAINTS ?= constraints.txt
BIN := .venv/bin
READY := .venv/ready
# 98 % of the way from the untrained model to fixed_small's median best on seeds 5 to 9, which have no part in the table:
# adaptive-bench train sweep=demo arm=fixed_small seed=5,6,7,8,9 results=DIR; adaptive-bench targets DIR -o FILE --fraction 0.98
DEMO_TARGET := 97.52

.DEFAULT_GOAL := help
.PHONY: help setup demo tables reproduce test test-slow test-gpu test-all chaos lint type bench clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## environment in .venv with everything installed

$(READY): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) -e '.[dev]'
	@touch $@

demo: $(READY) ## a small real sweep on embedded data: table on the terminal, report as HTML
	$(BIN)/adaptive-bench train sweep=demo results=results/demo
	@echo
	@$(BIN)/adaptive-bench tables results/demo --target $(DEMO_TARGET)
	@echo
	@$(BIN)/adaptive-bench report results/demo --target $(DEMO_TARGET) -o results/demo/report.html

tables: $(READY) ## every table, figure and report of results/ again, from the committed records
	$(BIN)/python -m scripts.evidence tables

DATA ?= data
reproduce: $(READY) ## TABLE=e DATA=DIR: train the runs of a table of results/ again, and compare them with the committed records
	$(BIN)/python -m scripts.evidence reproduce $(TABLE) --data $(DATA)

# one process a core, four at most: each may take 4 GB; one thread each, also in what they start: more would wait for each other
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4

test: $(READY) ## the tests, without the slow ones: three minutes on two cores
	$(PYTEST) -m "not slow"

test-slow: $(READY) ## only the slow tests
	$(PYTEST) -m slow

test-gpu: $(READY) ## what only a CUDA device can show
	$(BIN)/python -m pytest -q -m gpu

test-all: $(READY) ## every test
	$(PYTEST)

KILLS := joblib:50 slurm:10 ray:20
chaos: $(READY) ## sweeps that are killed at random moments, on joblib, a real Slurm and Ray, against undisturbed ones
	@for each in $(KILLS); do OMP_NUM_THREADS=1 $(BIN)/python -m tests.chaos $${each%:*} --kills $${each#*:} || exit 1; done

lint: $(READY) ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(READY) ## types
	$(BIN)/mypy

bench: $(READY) ## what measuring costs, in time and memory, as ratios to the plain step; schedulers; results folders; statistics
	$(BIN)/python bench/estimators.py
	$(BIN)/python bench/memory.py
	$(BIN)/python bench/schedulers.py
	$(BIN)/python bench/blocks.py
	$(BIN)/python bench/throughput.py
	$(BIN)/python bench/replay.py
	$(BIN)/python bench/reading.py
	$(BIN)/python -m bench.coverage

clean: ## remove the environment, caches and the demo's results
	rm -rf .venv .pytest_cache .hypothesis .mypy_cache .ruff_cache dist results/demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
