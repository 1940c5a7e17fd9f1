# Everything starts from Python 3.11 or newer and nothing else: each target makes what it needs.
#
#   make up      the gateway with all it needs, on this machine        ARGS="--port 9000" passes options
#   make test    the whole test suite                                  ARGS="-k name" passes options
#   make chaos   kill -9, partitions, slow clients, a soak: some 40 minutes     WEIR_SOAK_SECONDS=60 shortens it
#   make lint    ruff and pyright
#   make lock    resolve the dependencies anew
#   make clean   remove .venv and caches (never .weir, where the data is)

SHELL := /bin/sh
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
SOURCES := services shared tests deploy

# `make up` installs what runs; `make test` and `make lint` add what develops.
RUN := $(VENV)/run.done
DEV := $(VENV)/dev.done

.PHONY: up test chaos lint format lock clean

up: $(RUN)
	@exec $(BIN)/python -m services up $(ARGS)

test: $(DEV)
	@$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

# First against one NATS server, then the shorter ones against three of which one is killed.
chaos: $(DEV)
	@$(BIN)/python -m pytest -m "chaos or not chaos" tests/chaos $(ARGS)
	@WEIR_CHAOS_CLUSTER=1 $(BIN)/python -m pytest tests/chaos $(ARGS)

lint: $(DEV)
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

format: $(DEV)
	@$(BIN)/ruff check --fix $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)

# One resolution for both locks: what runs is what was tested.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-annotate \
	--custom-compile-command "make lock"
lock: $(DEV)
	@$(COMPILE) --upgrade pyproject.toml --extra local --extra dev --group build --group lock -o requirements-dev.lock
	@$(COMPILE) pyproject.toml --extra local --group build -c requirements-dev.lock -o requirements.lock
	@$(COMPILE) --upgrade --no-deps --group model -o requirements-model.lock

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis dist
	find $(SOURCES) -name __pycache__ -prune -exec rm -rf {} +

FIND_PYTHON = for python in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14; do \
	"$$python" -c 'import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' \
		2>/dev/null && exec "$$python" deploy/make_venv.py $(VENV)

$(RUN): requirements.lock requirements-model.lock pyproject.toml deploy/make_venv.py
	@$(FIND_PYTHON) run; done; echo "$(NO_PYTHON)" >&2; exit 2

$(DEV): requirements-dev.lock requirements-model.lock pyproject.toml deploy/make_venv.py
	@$(FIND_PYTHON) dev; done; echo "$(NO_PYTHON)" >&2; exit 2

NO_PYTHON = weir needs Python 3.11 to 3.14 with its venv module: install one (Debian: python3-venv), or name it with make PYTHON=/path/to/python
