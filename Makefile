# Two commands on a fresh machine (Python 3.11, git, make): `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup demo test check format bench soak lock clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## a virtual environment in .venv with everything, pinned

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=python3.11")'
	@$(PYTHON) -c 'import ensurepip' || { echo "$(PYTHON) cannot make a virtual environment; install python3-venv (Debian: apt install python3-venv)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## import sample_data/ into an emulator of Galtea's API; run it twice
	$(BIN)/trace-import run configs/demo.yaml --emulator --data .trace-import/demo/emulator.sqlite
	$(BIN)/trace-import run configs/custom.yaml --emulator --data .trace-import/demo/emulator.sqlite

test: setup ## all tests, four beside each other: most of them wait
	$(BIN)/pytest -n 4 --dist=worksteal

check: setup ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup ## write the code as the check wants it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## speed, memory and cost, with peers beside them
	$(BIN)/python -m tests.benchmarks

MINUTES ?= 5

soak: setup ## kill and disturb an import of growing conversations at random for MINUTES=5 (SCATTERED=1: of spans), then check that nothing was lost or doubled
	$(BIN)/python -m tests.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(SCATTERED),--scattered)

lock: setup ## choose versions anew and write requirements.lock (needs pip-tools on the PATH)
	pip-compile --quiet --extra dev --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url \
	  --no-emit-find-links --no-emit-trusted-host --no-header --no-annotate --upgrade \
	  --output-file requirements.lock pyproject.toml

clean: ## remove what was made here, the demo's state among it
	rm -rf $(VENV) .trace-import/demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find pipeline tests -name __pycache__ -type d -prune -exec rm -rf {} +
