# Touchstone: `make demo` runs a whole bounty, `make test` runs all checks. Both create .venv when it is missing.

PYTHON ?= python3.11
# number of pytest processes; all tests of one file run in the same process, so that they share their fixtures
WORKERS ?= 2
# the local chain of `make demo`: devnet, or anvil when it is on PATH
CHAIN ?= devnet
# the kind of task of `make demo`
KIND ?= classify
ANVIL_VERSION := 1.7.1

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
READY := $(VENV)/.ready
# ape finds the Vyper compiler, and the tests find anvil, only on PATH
export PATH := $(BIN):$(PATH):$(CURDIR)/node_modules/.bin
export PYTHONDONTWRITEBYTECODE := 1
# the project and the packages of its extras; a variable, because commas would separate arguments of $(call)
PROJECT := -e '.[contracts,devnet,tasks,test]'
# $(call pip_install,WHAT,ARGUMENTS): pip would print hundreds of lines, so it prints only errors, and a line every ten
# seconds shows that it works
define pip_install
@echo "installing $(1)"; \
$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(2) & pid=$$!; \
trap 'kill $$pid' INT TERM; seconds=0; \
while kill -0 $$pid 2>/dev/null; do \
  sleep 1; seconds=$$((seconds + 1)); \
  [ $$((seconds % 10)) -ne 0 ] || echo "installing $(1): $$seconds s so far"; \
done; wait $$pid
endef

.PHONY: help setup test demo demos lint compile anvil format abi fuzz gas test-machines onnx-nodes bench clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(READY)  ## create .venv with all dependencies (about two minutes, 2 GB)

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo "Touchstone needs Python 3.11, and $(PYTHON) is not on PATH."; \
	  echo "Install it (Debian 12: apt install python3.11-venv; macOS: brew install python@3.11),"; \
	  echo "or give its path: make setup PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "Touchstone needs Python 3.11, and $(PYTHON) is $$($(PYTHON) --version)."; exit 1; }
	@echo "creating $(VENV): about two minutes and 2 GB, once"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) cannot create a virtual environment (Debian 12: apt install python3.11-venv)."; exit 1; }
	$(call pip_install,pip,--upgrade pip)
	$(call pip_install,torch,torch==2.13.0)
	$(call pip_install,all other packages,$(PROJECT))
	@touch $@

test: $(READY) lint compile anvil  ## lint, check types, compile the contracts and run all tests (about ten minutes)
	pytest -n $(WORKERS) --dist loadfile -rs

demo: $(READY)  ## run a whole bounty on a local chain; KIND=pretrain, CHAIN=anvil (about four minutes)
	python -m scripts.demo --kind $(KIND) --chain $(CHAIN)

demos: $(READY)  ## run a whole bounty of classify and of pretrain, one after the other
	@for kind in classify pretrain; do $(MAKE) --no-print-directory demo KIND=$$kind || exit 1; done

lint: $(READY)  ## check style and types
	ruff check .
	ruff format --check .
	mypy --strict verifier

compile: $(READY)  ## compile the contracts exactly as ape deploys them
	ape compile -f

# Tests that change the chain's time or reorganise it need anvil, which is an npm package. Without it they are skipped,
# and pytest lists them. npm puts a script on PATH that starts the binary and keeps running when its child is killed, so
# the link to that script is replaced with a link to the binary.
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

format: $(READY)  ## format the Python files and fix what ruff can fix
	ruff check --fix .
	ruff format .

abi: $(READY)  ## regenerate the ABIs in verifier/ from the contracts
	python -m scripts.abi

fuzz: $(READY)  ## test the contracts with at least 50,000 successful random actions (about ten minutes)
	pytest -s tests/stateful --hypothesis-profile=fuzz

gas: $(READY)  ## compare the gas of every transaction with the snapshot
	python -m tests.gas.measure --check

# This downloads other onnxruntime versions, an emulator and an aarch64 Python to build/machines/: about 1.5 GB, once.
test-machines: $(READY)  ## compare digests and small programs over onnxruntime versions and processors (minutes)
	python -m tests.machines

onnx-nodes: $(READY)  ## list which of ONNX's own operator tests exact programs pass (about two minutes)
	nice python -m tests.onnx_nodes

bench: $(READY)  ## measure an exact program against fp32: run time, memory, load time
	python -m scripts.bench

clean:  ## remove .venv and all build outputs
	rm -rf $(VENV) build .build node_modules
