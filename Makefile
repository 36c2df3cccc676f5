# Two commands do everything, set-up included, on a machine that has only Python 3.11+ and pip:
#   make demo   the main job on embedded data; prints a table and writes an HTML page
#   make test   lint, types, import layers, tests

PYTHON ?= python3
OUT ?= demo-output

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test lint types layers pytest docs clean

help:
	@echo "make demo   run the whole path on embedded data; table here, page in $(OUT)/"
	@echo "make test   lint, types, import layers, tests"
	@echo "make docs   build the documentation site in site/"
	@echo "make clean  remove the environment and everything built"

setup: $(VENV)/.installed

# Some systems ship Python without ensurepip; the pip beside PYTHON then fills the environment.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mergeward needs Python 3.11 or newer: make PYTHON=...")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV) \
		|| { $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install pip; }
	$(PIP_INSTALL) --quiet --editable '.[dev]'
	@touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(PIP_INSTALL) --quiet --editable '.[docs]'
	@touch $@

demo: setup
	$(BIN)/mergeward demo --out $(OUT)

test: lint types layers pytest

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: setup
	$(BIN)/mypy

layers: setup
	$(BIN)/lint-imports

# After the quick checks, also under `make -j`.
pytest: lint types layers
	$(BIN)/pytest

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) $(OUT) site build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
