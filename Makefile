# The few verbs of this project. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
COMPILE_LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate --quiet $(if $(UPGRADE),--upgrade)

.PHONY: help demo lab test lint setup guests venv soak bench clean distclean lock manifests

help: ## List what can be made.
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

demo: guests ## Show an encrypted cluster on this machine, proved on the wire (out/demo/).
	@$(PYTHON) -m lab demo $(if $(KUBERNETES),--control-plane kubernetes)

lab: guests ## Bring up a lab of three nodes and leave it running.
	@$(PYTHON) -m lab up

test: setup lint ## Check the code and run all tests, those on lab guests too.
	@$(PYTHON) -m pytest -n 4 --dist loadfile tests/ --ignore tests/lab
	@$(PYTHON) -m pytest -n 2 --dist loadfile tests/lab/ -m "not traffic"
	@$(PYTHON) -m pytest tests/lab/ -m traffic

lint: venv ## Check style, types and layers.
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy
	@.venv/bin/lint-imports

setup: venv ## Install and build all that the lab and the tests need, once.
	@$(PYTHON) -m lab setup

# The API server takes minutes to build: who does not use it does not wait for it.
guests: venv
	@$(PYTHON) -m lab setup $(if $(KUBERNETES),,--no-api-server)

venv: ## Make .venv from the locked requirements.
	@requirements/install

soak: guests ## Play every scenario (table: out/soak.md); kill the operator in a burst of 1,000 nodes.
	@$(PYTHON) -m lab scenario --all --results out/soak.md --record out/faults.json \
		$(if $(KUBERNETES),--control-plane kubernetes) --minutes $${SOAK_MINUTES:-240}
	@$(PYTHON) -m lab walk --steps 1000 --minutes $${SOAK_MINUTES:-120}
	@GENEVEIL_SOAK=1 $(PYTHON) -m pytest tests/real/test_operator_burst_real.py

bench: setup ## Measure enrolments at up to 5,000 nodes, with and without Kubernetes (out/bench/).
	@$(PYTHON) -m bench.enrolment
	@$(PYTHON) -m bench.kubernetes

manifests: venv ## Make deploy/manifests anew from the Helm chart.
	@$(PYTHON) -m lab.manifests

clean: ## Remove what was made in this folder.
	@rm -rf .venv out dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "what the lab built stays in $${GENEVEIL_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/geneveil};" \
		"to remove that too: make distclean"

distclean: venv ## Remove that and what the lab built in the cache folder.
	@$(PYTHON) -m lab clean --all
	@$(MAKE) --no-print-directory clean

lock: ## Write the locks anew from the requirements; UPGRADE=1 takes newer ones (needs uv).
	@command -v uv >/dev/null || { echo "make lock needs the program uv" >&2; exit 2; }
	@$(COMPILE_LOCK) requirements/build.in -o requirements/build.lock
	@$(COMPILE_LOCK) pyproject.toml -o requirements/runtime.lock
	@$(COMPILE_LOCK) pyproject.toml --extra lab --extra dev -c requirements/runtime.lock \
		-o requirements/dev.lock
