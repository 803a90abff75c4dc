# The two commands of a newcomer are `make demo` and `make test`; both set everything up first, inside .venv, and ask
# nothing. Needed: make, and Python 3.11 or newer (`make demo PYTHON=/path/to/python` names one).
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11 python,\
	$(shell $(name) $(NEW_ENOUGH) 2>/dev/null && echo $(name))))
VENV := .venv
BIN := $(VENV)/bin
# Bytecode is compiled once here: every export and proof is a process of its own, and where Python may not write
# bytecode while it runs, each of them would compile torch again for half a minute.
# uv and not pip installs what is locked: it takes seconds, and never prefers a stray local build of torch.
UV := $(BIN)/uv pip

.PHONY: help demo test check lint types imports house quick format lock results clean

help:
	@echo "make demo    carry a real model down the whole road"
	@echo "make test    every check and every test, with coverage"
	@echo "make check   lint, types, imports, limits and the quick tests"
	@echo "make format  format the code and mend what ruff can mend"
	@echo "make lock    pin the environment again after a change of pyproject.toml (UPGRADE=--upgrade: everything newer)"
	@echo "make results trains, exports, proves and measures the examples and writes docs/results.md (ARGS=--help)"
	@echo "make clean   remove the environment and everything that was built"

demo: $(VENV)/ready
	$(BIN)/wherry demo $(ARGS)

test: check
	$(BIN)/python tools/run_tests.py $(ARGS)

check: lint types imports house quick

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/ready
	$(BIN)/mypy

imports: $(VENV)/ready
	$(BIN)/lint-imports --no-cache

house: $(VENV)/ready
	$(BIN)/python tools/check_limits.py

quick: $(VENV)/ready
	$(BIN)/python -m pytest -q -m "not slow and not gpu" -n 2 --dist loadscope

format: $(VENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(VENV)/ready
	$(BIN)/python tools/lock.py $(UPGRADE)

results: $(VENV)/ready
	$(BIN)/python -m tools.results $(ARGS)

$(VENV)/ready: requirements/uv.txt requirements/all.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found; name one: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) $(NEW_ENOUGH) || { echo "$(PYTHON) is older than Python 3.11; name a newer one with PYTHON="; exit 1; }
	@echo "setting up $(VENV) (the first time downloads the whole stack)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(UV) sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements/all.txt
	$(UV) install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
