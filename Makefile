# make demo    the demo on an embedded Cluster       ARGS="--stay --orders N"
# make test    lint, types, imports, docs and all tests    ARGS="-k WORD" for pytest
# make docs    the documentation, in site/
# make bench   the numbers, as a table               ARGS="--json --only losses"
# make wheel   dist/*.whl
# make clean   removes what was made here
#
# Each makes the environment it needs first, from Python >= 3.11 and a package index.
# VENV=DIR     the environment (.venv)
# PYTHON=…     the interpreter to make it from (the first on the PATH that will do)
# JOBS=N       processes that share the tests; most of them wait, for a real server (4)
# INSTALL=…    `editable` (the default), or the wheel to install and test instead

VENV    := .venv
INSTALL := editable
ARGS    :=
JOBS    := 4
BIN     := $(VENV)/bin
comma   := ,

SUITABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON   := $(shell for python in python3 python3.13 python3.12 python3.11; do \
              $$python -c '$(SUITABLE)' 2>/dev/null && echo $$python && break; done)

# A strict editable install is a tree of links to the files that stood there then. The name of its stamp
# therefore holds the list of files: one more or one fewer, and it is installed again.
SOURCES := $(sort $(shell find protocol supervisor entity deploy -name __pycache__ -prune -o -type f -print))
LIST    := $(firstword $(shell echo $(SOURCES) $(INSTALL) | cksum))
RUNTIME := $(VENV)/.installed-runtime-$(LIST)
DEV     := $(VENV)/.installed-dev-$(LIST)

ifeq ($(INSTALL),editable)
install   = $(BIN)/python -m pip install --quiet --config-settings editable_mode=strict --editable ".[$(1)]"
INSTALLED = pyproject.toml
else
# Forced, since a wheel of the same version may be another one; without its dependencies, which may not.
install   = $(BIN)/python -m pip install --quiet --force-reinstall --no-deps $(INSTALL) && \
            $(BIN)/python -m pip install --quiet "$(INSTALL)[$(1)]"
INSTALLED = $(INSTALL)
endif

.DELETE_ON_ERROR:
.PHONY: help demo test lint types imports docs docs-serve tests bench wheel clean

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

demo: $(or $(wildcard $(DEV)),$(RUNTIME))
	$(BIN)/temporal-fleet demo $(ARGS)

test: lint types imports docs tests

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)
	$(BIN)/mypy -p temporal_fleet.protocol -p temporal_fleet.supervisor -p temporal_fleet.entity \
	  -p temporal_fleet.demo -p docs -p tests

imports: $(DEV)
	$(BIN)/lint-imports --no-logo

docs: $(DEV)
	$(BIN)/python -m mkdocs build

docs-serve: $(DEV)
	$(BIN)/python -m mkdocs serve

tests: $(DEV)
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal $(ARGS)

bench: $(DEV)
	$(BIN)/python -m tests.bench $(ARGS)

# Without what a former build left in build/lib, which would go into the wheel.
wheel: $(BIN)/python
	rm -rf dist build/lib build/bdist.*
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

$(BIN)/python:
	@test -n "$(PYTHON)" || { \
	  echo 'make: no Python >= 3.11 with venv and ensurepip on the PATH.' >&2; \
	  echo 'Install one (Debian: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3' >&2; \
	  exit 1; }
	@$(PYTHON) -c '$(SUITABLE)' || { \
	  echo 'make: $(PYTHON) is older than Python 3.11, or lacks venv or ensurepip: make PYTHON=/path/to/another' >&2; \
	  exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): $(BIN)/python $(INSTALLED)
	@echo 'Installing into $(VENV): a minute, most of it downloads.'
	@rm -f $(VENV)/.installed-*
	$(call install,embedded)
	@touch $@

$(DEV): $(BIN)/python $(INSTALLED)
	@echo 'Installing into $(VENV): a minute, most of it downloads.'
	@rm -f $(VENV)/.installed-*
	$(call install,embedded$(comma)dev)
	@touch $@
