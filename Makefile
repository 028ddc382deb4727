# Everything a newcomer runs. TORCH_INDEX chooses a torch build: the URL that pytorch.org's selector
# shows for your CUDA version, or for the CPU.
PYTHON ?= python3
TORCH_INDEX ?=
FUZZ_SECONDS ?= 600
ROOM ?=
SEED ?= 1
SECONDS ?= 600
BIN := .venv/bin
TESTS := $(BIN)/pytest -n 2 --dist worksteal

.PHONY: setup demo test fuzz mutate check bench lint dashboards map picture clean

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "Python 3.11 to 3.13 is needed: make setup PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	rm -rf demo
	$(BIN)/medsecure demo --out demo

test: setup
	$(TESTS)

fuzz: setup
	$(BIN)/python tests/tools/fuzz.py --seconds $(FUZZ_SECONDS)

mutate: setup
	$(BIN)/python -m tests.tools.mutate --room '$(ROOM)' --seed $(SEED) --seconds $(SECONDS)

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint
	$(TESTS)

bench: setup
	for one in throughput segment lwe retrieval index; do $(BIN)/python -m benchmarks.$$one || exit 1; done

dashboards: setup
	$(BIN)/python -m dashboards.generate

# The drawn map of imports in docs/architecture.md.
map: setup
	$(BIN)/python -m docs.import_map

# The README's picture of a result.
picture: setup
	$(BIN)/python -m docs.result_picture

clean:
	rm -rf .venv demo
