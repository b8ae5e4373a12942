# Every target does its own set-up: a virtual environment in this folder, nothing outside it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CAMUS ?= ../shared/camus
RUN ?= runs/small
STORE ?= runs/camus.h5
ORACLE ?= ../shared/oracle/camus_definition_oracle.csv

.PHONY: demo test test-all check bench camus peers clean

demo: $(VENV)/ready
	$(BIN)/apical demo -o demo --overwrite

test: $(VENV)/ready
	$(BIN)/python -m pytest

test-all: $(VENV)/ready
	$(BIN)/python -m pytest -m ""

check: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/ready
	$(BIN)/python benchmarks/speed.py --camus $(CAMUS)
	$(BIN)/python benchmarks/measure_speed.py
	$(BIN)/python benchmarks/camus_parity.py $(ORACLE) $(CAMUS)

# The whole chain on CAMUS: stores, five models, their figures on unseen patients, the table in docs/.
camus: $(VENV)/ready
	CAMUS=$(CAMUS) BIN=$(BIN) sh benchmarks/camus.sh

# Peers on the split and for the time of a run: the CAMUS paper's U-Net and nnU-Net v2; the table in docs/peers.md.
peers: $(VENV)/ready
	RUN=$(RUN) STORE=$(STORE) sh benchmarks/peers.sh

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
