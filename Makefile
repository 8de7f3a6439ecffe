# Touchstone: `make demo` runs a whole bounty, `make test` everything that is checked. Both set up what they need.

PYTHON ?= python3.11
# pytest processes; the tests of one file stay together, so that they share what they set up
WORKERS ?= 2
# the local chain that `make demo` runs on: devnet, or anvil where it is on PATH
CHAIN ?= devnet
ANVIL_VERSION := 1.7.1

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
READY := $(VENV)/.ready
# ape finds the Vyper compiler, and the tests anvil, on PATH only
export PATH := $(BIN):$(PATH):$(CURDIR)/node_modules/.bin
export PYTHONDONTWRITEBYTECODE := 1
# a progress bar for who watches, quiet in CI's log
PIP := $(BIN)/python -m pip install --disable-pip-version-check $(if $(CI),--quiet) -c constraints.txt

.PHONY: help setup test demo lint compile anvil format abi fuzz gas test-machines onnx-nodes bench clean

help:  ## say what each target does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(READY)  ## create .venv with everything (about two minutes, 2 GB)

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo "Touchstone needs Python 3.11, and $(PYTHON) is not on PATH."; \
	  echo "Install it (Debian 12: apt install python3.11-venv; macOS: brew install python@3.11),"; \
	  echo "or say where it is: make setup PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "Touchstone needs Python 3.11, and $(PYTHON) is $$($(PYTHON) --version)."; exit 1; }
	@echo "setting up $(VENV): about two minutes and 2 GB, once"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make a virtual environment (Debian 12: apt install python3.11-venv)."; exit 1; }
	$(PIP) --upgrade pip
	$(PIP) torch==2.13.0
	$(PIP) -e '.[contracts,devnet,tasks,test]'
	@touch $@

test: $(READY) lint compile anvil  ## everything that is checked
	pytest -n $(WORKERS) --dist loadfile -rs

demo: $(READY)  ## a whole bounty on a local chain; CHAIN=anvil takes anvil
	python -m scripts.demo --chain $(CHAIN)

lint: $(READY)  ## style, types
	ruff check .
	ruff format --check .
	mypy --strict verifier

compile: $(READY)  ## compile the contracts, as ape will deploy them
	ape compile -f

# Tests that travel in time, or reorganise the chain, run on anvil, which comes as an npm package. Without it they are
# skipped, and pytest says so. What npm puts on PATH is a script that starts the binary and outlives it: link the binary.
anvil:
	@command -v anvil >/dev/null && exit 0; \
	command -v npm >/dev/null || { echo "no anvil and no npm on PATH: tests that need anvil will be skipped"; exit 0; }; \
	echo "installing anvil $(ANVIL_VERSION) into node_modules/"; \
	if npm install --prefix . --no-save --no-package-lock --no-audit --no-fund --loglevel=error \
	     --fetch-retries=1 --fetch-timeout=60000 \
	     @foundry-rs/anvil@$(ANVIL_VERSION) && \
	   ln -sf "$$(cd node_modules/.bin && ls ../@foundry-rs/anvil-*/bin/anvil)" node_modules/.bin/anvil && \
	   node_modules/.bin/anvil --version; then exit 0; fi; \
	if [ -n "$(CI)" ]; then echo "anvil could not be installed"; exit 1; fi; \
	rm -f node_modules/.bin/anvil; echo "anvil could not be installed: tests that need it will be skipped"

format: $(READY)  ## rewrite the Python files in the project's style
	ruff check --fix .
	ruff format .

abi: $(READY)  ## regenerate the ABIs that the verifier carries
	python -m scripts.abi

fuzz: $(READY)  ## new random histories of the contracts, at least 50,000 successful actions (some ten minutes)
	pytest -s tests/stateful --hypothesis-profile=fuzz

gas: $(READY)  ## compare every transaction's gas with the snapshot
	python -m tests.gas.measure --check

# Other versions, an emulator and another architecture's Python go to build/machines/, some 1.5 GB, once.
test-machines: $(READY)  ## exact programs on other onnxruntimes and processors, beside fp32 (some minutes)
	python -m tests.machines

onnx-nodes: $(READY)  ## which of ONNX's own operator tests an exact program passes (some two minutes)
	nice python -m tests.onnx_nodes

bench: $(READY)  ## what exactness costs beside fp32: time, memory, loading
	python -m scripts.bench

clean:  ## remove the environment and what was built
	rm -rf $(VENV) build .build node_modules
