# make demo    a self-supervised run on real digits, under two minutes after the install
# make test    the fast tests
# make slow    the tests that take minutes
# make slurm   the tests with a real SLURM of one node: apt-get install slurm-wlm munge
# make check   format, lint, types, import arrows
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test slow slurm check format install

demo: .venv/installed
	$(BIN)/ssl-pretrain

# three on two cores: some tests wait for a process or for the disk
test: .venv/installed-dev
	$(BIN)/python -m pytest -n 3 --dist worksteal -q

slow: .venv/installed-dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -q -m slow

slurm: .venv/installed-dev
	$(BIN)/python -m pytest -q -m slurm

check: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_imports.py

format: .venv/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: .venv/installed-dev

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -e . -c constraints.txt
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet -e '.[dev]' -c constraints.txt
	touch $@
