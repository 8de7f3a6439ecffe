# Touchstone: `make demo` runs a whole bounty, `make test` everything that is checked. Both set up what they need.

PYTHON ?= python3.11
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
READY := $(VENV)/.ready
# ape finds the Vyper compiler and anvil on PATH only
export PATH := $(BIN):$(CURDIR)/node_modules/.bin:$(PATH)
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help setup test lint format abi gas clean

help:  ## say what each target does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY)  ## create .venv with everything (about two minutes, 2 GB)

$(READY): pyproject.toml constraints.txt
	@echo "setting up $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet --progress-bar on -c constraints.txt torch==2.13.0
	@$(BIN)/python -m pip install --quiet --progress-bar on -c constraints.txt -e '.[contracts,devnet,tasks,test]'
	@touch $@

test: $(READY)  ## everything that is checked
	pytest

lint: $(READY)  ## style, types
	ruff check .
	ruff format --check .
	mypy --strict verifier

format: $(READY)  ## rewrite the Python files in the project's style
	ruff check --fix .
	ruff format .

abi: $(READY)  ## regenerate the ABIs that the verifier carries
	python -m scripts.abi

gas: $(READY)  ## compare every transaction's gas with the snapshot
	python -m tests.gas.measure --check

clean:  ## remove the environment and what was built
	rm -rf $(VENV) build .build
