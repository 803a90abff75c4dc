# The two commands of a newcomer are `make demo` and `make test`; both set everything up first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check lint types imports house quick lock clean

demo: $(VENV)/ready
	$(BIN)/wherry demo

test: check
	$(BIN)/python tools/run_tests.py

check: lint types imports house quick

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/ready
	$(BIN)/mypy

imports: $(VENV)/ready
	$(BIN)/lint-imports

house: $(VENV)/ready
	$(BIN)/python tools/check_limits.py

quick: $(VENV)/ready
	$(BIN)/python -m pytest -q -m "not slow and not gpu" -n 2

$(VENV)/ready: requirements/uv.txt requirements/all.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/all.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

lock: $(VENV)/ready
	$(BIN)/python tools/lock.py

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage*
