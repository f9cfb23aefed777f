# Needs Python 3.11 or newer and make; everything else is installed into .venv.
#   make demo     the story, in a terminal          make test    the tests
#   make check    lint, types and tests             make bench   the table of docs/benchmarks.md

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
HOUSE  := pyproject.toml constraints.txt

.DEFAULT_GOAL := check
.PHONY: demo test slow faults nightly lint types check bench docs clean

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ForgetNet needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

# A stamp per set of extras: a second call installs nothing.
$(VENV)/.encoders: $(HOUSE) | $(BIN)/python
	@echo "Installing into $(VENV), once; torch is large."
	$(PIP) -e '.[encoders]'
	@touch $@

$(VENV)/.dev: $(HOUSE) | $(BIN)/python
	@echo "Installing into $(VENV), once; torch is large."
	$(PIP) -e '.[encoders,dev]'
	@touch $@ $(VENV)/.encoders

demo: $(VENV)/.encoders
	$(BIN)/forgetnet demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -q -n 2

# pytest answers 5 where no test is marked slow
slow: $(VENV)/.dev
	$(BIN)/python -m pytest -q -n 2 -m slow || [ $$? -eq 5 ]

# a kill or an error at every system call that writes, and every state that a power cut leaves
faults: $(VENV)/.dev
	PYTHONPATH=stores:. $(BIN)/python -W ignore -m tests.faults.calls
	PYTHONPATH=stores:. $(BIN)/python -W ignore -m tests.faults.test_simulator
	$(BIN)/python -m pytest -q -m faults

# random histories of everything: FORGETNET_HISTORIES of them, from FORGETNET_SEED on
nightly: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m nightly

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	PYTHONPATH=stores $(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy

check: lint types test

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/memory.py

# docs/cli.md is the help of the commands; the tidy test compares them
docs: $(VENV)/.dev
	$(BIN)/python -m typer forgetnet.cli utils docs --name forgetnet --output docs/cli.md

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
