# Everything a newcomer runs. TORCH_INDEX chooses a torch build: the URL that pytorch.org's selector
# shows for your CUDA version, or for the CPU.
PYTHON ?= python3
TORCH_INDEX ?=
FUZZ_SECONDS ?= 600
DATA ?= ../shared/data
ROOM ?=
SEED ?= 1
SECONDS ?= 600
AGAIN ?=
BIN := .venv/bin
TESTS := $(BIN)/pytest -n 2 --dist worksteal

.PHONY: help setup demo test quick fuzz mutate lint fmt check bench dashboards map picture train-queue train-stop clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/.ready ## install everything into .venv (PYTHON=python3.12, TORCH_INDEX=URL)

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "Python 3.11 to 3.13 is needed: make setup PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m compileall -qq -j 0 -x '/tests?/' .venv/lib || true  # pip would use one core
	touch $@

demo: setup ## run the stream on phantom images, into demo/
	rm -rf demo
	$(BIN)/medsecure demo --out demo

test: setup ## run all tests, in two processes
	$(TESTS)

quick: setup ## run the tests without a marker: no GPU, Ray or data, none that is slow
	$(TESTS) -m "not (gpu or cluster or slow or data)"

fuzz: setup ## search the properties with fresh seeds (FUZZ_SECONDS=600)
	$(BIN)/python tests/tools/fuzz.py --seconds $(FUZZ_SECONDS)

mutate: setup ## score the tests on small faults (ROOM="stages/index api" SEED=1 SECONDS=600)
	$(BIN)/python -m tests.tools.mutate --room $(ROOM) --seed $(SEED) --seconds $(SECONDS) \
	  --out tests/tools/mutation-score.json $(if $(AGAIN),--again)

lint: setup ## check style, types and import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: setup ## format the code and mend what ruff can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

check: lint ## run what CI runs: lint and all tests
	$(TESTS)

bench: setup ## run the benchmarks
	for one in throughput segment lwe retrieval index; do $(BIN)/python -m benchmarks.$$one || exit 1; done

dashboards: setup ## generate the Grafana and Prometheus files
	$(BIN)/python -m dashboards.generate

map: setup ## draw the map of imports in docs/architecture.md
	$(BIN)/python -m docs.import_map

picture: setup ## make the README's picture of a result
	$(BIN)/python -m docs.result_picture

train-queue: setup ## train in the background with idle core time (DATA=../shared/data)
	setsid nohup $(BIN)/python -m training.queue run --data $(DATA) >/dev/null 2>&1 </dev/null &

train-stop: setup ## stop the training queue; it goes on later where it was
	$(BIN)/python -m training.queue stop

clean: ## remove .venv and demo
	rm -rf .venv demo
