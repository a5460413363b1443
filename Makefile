# `make demo` and `make test` each set everything up from the lock on a fresh clone.
PYTHON ?= python3
BIN    := .venv/bin

.PHONY: demo test test-long test-slurm lint setup clean

setup: .venv/.installed

.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "mixlang needs Python 3.11 or newer; try: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "installing the locked packages into .venv (once, a minute or two)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# A fresh workspace each time, so that the demo really trains.
demo: setup
	@rm -rf demo
	@$(BIN)/mixlang init demo
	@cd demo && ../$(BIN)/mixlang run specs/quickstart.yaml

test: setup
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Also the tests that take minutes each.
test-long: export MIXLANG_TEST_LONG = 1
test-long: test

# Needs root, and Debian's slurmctld, slurmd, slurm-client, munge and slurm-wlm-basic-plugins.
test-slurm: setup
	@MIXLANG_TEST_SLURM=1 $(BIN)/python -m pytest tests/test_slurm.py

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

clean:
	rm -rf .venv demo .mixlang
