# make demo     installs and runs one whole Space by itself
# make test     installs what the tests need and runs them all
# make check    style, types, layers
# make install  .venv with the program in it, nothing else
# make bench    the figures that the README quotes
# make fuzz     what strangers can send, a few seconds a parser (FUZZ_S=600 for longer)
# make pictures what the pages look like, into docs/pictures
# make lock     resolves the dependencies anew

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
export PYTHONUNBUFFERED := 1

.PHONY: install demo check test bench fuzz pictures lock clean
.DEFAULT_GOAL := install

install: .venv/installed

.venv/installed: requirements.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed: apt install python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; this is $$($(PYTHON) -V). Name another with: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || { echo "Python's venv module is missing: apt install python3-venv"; exit 1; }
	@echo "Installing Rostra into .venv (about 150 MB, a minute on most lines) ..."
	@$(PYTHON) -m venv .venv
	@$(PIP) install --require-hashes -r requirements.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	@$(PIP) install --require-hashes -r requirements-dev.txt
	@touch $@

demo: install
	@$(BIN)/rostra demo

check: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: .venv/installed-dev
	@sh tests/needs.sh
	$(BIN)/pytest

bench: .venv/installed-dev
	$(BIN)/python bench/all.py

FUZZ_S ?= 20

fuzz: .venv/installed-dev
	@$(PIP) install -r fuzz/requirements.txt
	$(BIN)/python -m fuzz.run --seconds $(FUZZ_S)

pictures: .venv/installed-dev
	ROSTRA_PICTURES=1 $(BIN)/pytest -q tests/e2e/test_pages.py tests/e2e/test_check.py

LOCK := $(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 --upgrade \
  --generate-hashes --no-emit-index-url --no-header

lock:
	@$(PIP) install uv
	$(LOCK) --extra build pyproject.toml -o requirements.txt
	$(LOCK) --group dev --constraint requirements.txt -o requirements-dev.txt

clean:
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis
