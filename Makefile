# The words of the project; `make help` lists them. Everything runs from a virtual environment in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_STORE ?= demo-store
DEMO_KEY_FILE := $(DEMO_STORE)/passphrase
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION = false

.DEFAULT_GOAL := help
.PHONY: help setup demo server test check audit format docs lfw bench clean

help: ## list the words
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "avih needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

setup: $(VENV)/installed ## make the virtual environment with pinned dependencies

$(DEMO_KEY_FILE):
	mkdir -p $(@D)
	(umask 077 && $(PYTHON) -c 'import secrets; print(secrets.token_urlsafe(24))' > $@)

demo: setup $(DEMO_KEY_FILE) ## protect the built-in gallery and show the figures (minutes, no download)
	AVIH_KEY_FILE=$(abspath $(DEMO_KEY_FILE)) $(BIN)/avih run --store $(DEMO_STORE) --gallery demo \
		--source synthetic --recogniser synthetic --limit 128 --key-steps 250

server: export AVIH_KEY_FILE = $(abspath $(DEMO_KEY_FILE))
server: setup $(DEMO_KEY_FILE) ## Prefect, MLflow and a worker for the demo gallery; Ctrl-C stops them
	exec $(BIN)/avih server --store $(DEMO_STORE) --gallery $(or $(GALLERY),demo)

LFW ?= ../shared/data/lfw-gray
LFW_WEIGHTS ?= ../shared/models/mobilefacenet_arcface.safetensors
lfw: setup $(DEMO_KEY_FILE) ## the measured table of the README: 300 LFW photos, a real recogniser
	AVIH_KEY_FILE=$(abspath $(DEMO_KEY_FILE)) $(BIN)/avih run --store $(DEMO_STORE) --gallery lfw \
		--source $(LFW) --recogniser mobilefacenet --weights $(LFW_WEIGHTS) --limit 300

bench: setup ## time to the quality of the authors' loop, all presets side by side (hours)
	$(BIN)/python -m benchmarks.protect

test: setup ## run the tests
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

check: setup ## lint, types, import rules, Dockerfiles and the audit of dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint docker/*.Dockerfile
	$(BIN)/python -m benchmarks.dependency_audit

audit: setup ## pinned dependencies against the dated list of known weaknesses, offline
	$(BIN)/python -m benchmarks.dependency_audit

format: setup ## sort imports and lay out the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup ## the manual, as pages in site/ that open without a network
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "open site/index.html"

clean: ## remove the virtual environment and caches (never the store)
	rm -rf $(VENV) site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
