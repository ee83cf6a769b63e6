PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
SOAK_MINUTES ?= 120

# Hundreds of test processes would compile everything anew.
export PYTHONDONTWRITEBYTECODE :=
# pyright would look for a newer release of itself on the network.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help install demo test lint fix bench soak completions lock build clean

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

install: .venv/.dev  ## make .venv with the development tools and the liqctl command

demo: .venv/.run  ## watch 2,000 positions on an embedded chain for a minute
	$(BIN)/python -m liqctl watch --localnet --positions 2000 --duration 60

test: .venv/.dev  ## run the tests
	$(BIN)/python -m pytest -n 3 --dist worksteal -q

lint: .venv/.dev  ## run every static check
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell
	if [ -f README.md ]; then PYTHONPATH=. COLUMNS=80 $(BIN)/cog --check README.md; fi
	$(BIN)/deptry .

fix: .venv/.dev completions  ## repair what the checks can repair by themselves
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	if [ -f README.md ]; then PYTHONPATH=. COLUMNS=80 $(BIN)/cog -r README.md; fi

bench: .venv/.run  ## measure on this machine, each figure beside a rival
	$(BIN)/python -m liqctl bench

soak: .venv/.dev  ## run what a release runs (SOAK_MINUTES, two hours) and note its figures
	@mkdir -p build
	$(BIN)/python -m tests.soak --minutes $(SOAK_MINUTES) --out build/soak.jsonl
	$(BIN)/python -m tests.reliability --figures build/soak.jsonl

completions: .venv/.run  ## write the completion scripts of all shells
	_LIQCTL_COMPLETE=source_bash $(BIN)/python -m liqctl > completions/liqctl.bash
	_LIQCTL_COMPLETE=source_zsh $(BIN)/python -m liqctl > completions/liqctl.zsh
	_LIQCTL_COMPLETE=source_fish $(BIN)/python -m liqctl > completions/liqctl.fish
	_LIQCTL_COMPLETE=source_powershell $(BIN)/python -m liqctl > completions/liqctl.ps1

lock: .venv/.dev  ## resolve the dependencies anew and write requirements/*.lock
	$(PIP) install -q uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --upgrade --generate-hashes --no-header --no-annotate --no-emit-index-url pyproject.toml --group dev -o requirements/dev.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --upgrade --generate-hashes --no-header --no-annotate --no-emit-index-url pyproject.toml -c requirements/dev.lock -o requirements/run.lock

build: .venv/.dev  ## make the wheel and the source archive in dist/
	$(BIN)/python -m build --no-isolation

clean:  ## remove what can be made again, .venv included
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The locks carry hashes; pip compiles to bytecode as it installs and obeys the user's own configuration.
.venv/.python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || { echo "liqctl needs Python 3.11, 3.12 or 3.13; choose one: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.run: .venv/.python requirements/run.lock
	@[ -e .venv/.dev ] || echo "installing the dependencies into .venv, once ..."
	$(PIP) install -q --no-deps --require-hashes -r requirements/run.lock
	@touch $@

.venv/.dev: .venv/.python requirements/dev.lock pyproject.toml
	@[ -e $@ ] || echo "installing the dependencies and the development tools into .venv, once ..."
	$(PIP) install -q --no-deps --require-hashes -r requirements/dev.lock
	$(PIP) install -q --no-deps --no-build-isolation --no-index -e .
	@touch .venv/.run $@
