# One list of commands. `make help` shows them; continuous integration runs the same ones.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Packages of this tree; they are installed with it. Trichord comes first on a command line: trichord-world needs
# trichord[towers], which pip would otherwise ask the index for.
PACKAGES := --editable packages/caption-metrics --editable packages/trichord-world
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt

# Tests start hundreds of processes; without bytecode each compiles what it imports anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo locked test coverage mteb torture check fix docs bench stand-ins clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.user: pyproject.toml packages/*/pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing Trichord into $(VENV) (a few minutes the first time) ..."
	$(PIP) --editable ".[train,metrics,search,serve,world]" $(PACKAGES)
	@touch $@

$(VENV)/.dev: pyproject.toml packages/*/pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing Trichord and its development tools into $(VENV) ..."
	$(PIP) --editable ".[dev]" $(PACKAGES)
	@touch $@

demo: $(VENV)/.user ## The whole way on a generated world: render, train, evaluate, index, search
	$(BIN)/trichord demo

locked: | $(VENV)/bin/python ## Install for use exactly what requirements/user.lock lists, digests checked; torch apart
	$(BIN)/python -m pip install --only-binary :all: --require-hashes --no-deps --requirement requirements/user.lock
	$(BIN)/python -m pip install --only-binary :all: --constraint constraints.txt "torch>=2.8,<2.14"
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable . $(PACKAGES)
	@touch $(VENV)/.user

test: $(VENV)/.dev ## All tests
	$(BIN)/python -m pytest --numprocesses 2 --dist loadscope

coverage: $(VENV)/.dev ## The same, with the lines that no test reaches (takes almost twice as long)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadscope --cov --cov-report term:skip-covered

mteb: $(VENV)/.dev ## The tests beside MTEB, which is not part of the development tools
	$(PIP) --editable ".[mteb]" $(PACKAGES)
	$(BIN)/python -m pytest tests/api/test_mteb.py

torture: $(VENV)/.dev ## Kills, floods, hostile files and requests by the thousand; writes what it counted
	$(BIN)/python -m pytest tests/torture tests/test_supply_chain.py -m torture

check: $(VENV)/.dev ## Lint, types, layers, documentation
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python docs/generate_cli.py --check
	$(BIN)/zensical build --clean --strict

fix: $(VENV)/.dev ## Mend what a machine can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.dev ## Read the documentation at http://127.0.0.1:8000
	$(BIN)/zensical serve

bench: $(VENV)/.dev ## Measure the quick ones: decoding (MEDIA=folder of real files too), loss, cached gradients, ranks, shared towers
	$(BIN)/python studies/decode.py $(MEDIA)
	$(BIN)/python studies/loss.py
	$(BIN)/python studies/cached_gradients.py
	$(BIN)/python studies/ranks.py
	$(BIN)/python studies/weight_cache.py

stand-ins: $(VENV)/.user ## Make the small pretrained towers of the world again (about 20 minutes)
	$(BIN)/python -m trichord_world.stand_ins packages/trichord-world/src/trichord_world/towers

clean: ## Delete what was installed and generated
	rm -rf $(VENV) demo site .coverage* .pytest_cache .ruff_cache
