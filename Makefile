# make demo and make test do all the set-up on a machine with Python 3.11 to 3.13: the first call installs
# into .venv, later calls find it done. For a GPU: make setup TORCH_INDEX= EXTRAS=faiss-gpu,dev, then make gpu

TORCH ?= torch==2.13.0
# CPU builds, tried first: the plain Linux package brings gigabytes of CUDA. Empty: the plain package.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
EXTRAS ?= faiss,dev

# as many tests at a time as there are cores, a file by one process, the longest first
PARALLEL := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STAMP := .venv/installed
DOCS := .venv/docs-installed

.PHONY: help setup demo test test-slow test-nightly gpu device-lines lint options docs clean

help:
	@echo "make demo       make a model better on a small real data set (examples/nl2bash), in minutes on two cores"
	@echo "make test       all quick tests"
	@echo "make test-slow  the tests that take minutes"
	@echo "make test-nightly  slow tests of faults, of Ray clusters, and mutated files"
	@echo "make gpu        on a CUDA GPU: is it right there, and how fast? 8 minutes per call; ARGS=--rehearse needs none"
	@echo "make device-lines  which lines that depend on a device the dry run on a pretended GPU reaches"
	@echo "make lint       ruff, mypy, import rules, spelling"
	@echo "make docs       the site of docs/ and of the docstrings, into site/"
	@echo "make options    write the lists of options again: docs/options.md, tests/house/options.txt"
	@echo "make setup      only install, into .venv"
	@echo "make clean      remove .venv, site/ and caches; runs/ stays"

setup: $(STAMP)

demo: $(STAMP)
	$(BIN)/whet fit experiment=demo

test: $(STAMP)
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL)

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m "slow and not nightly" $(PARALLEL)

test-nightly: $(STAMP)
	$(BIN)/python -m pytest -m nightly

# stages, --seconds 3600, --again, --page, --rehearse: ARGS="..."
gpu: $(STAMP)
	$(BIN)/python benchmarks/gpu/make_gpu.py $(ARGS)

device-lines: $(STAMP)
	$(BIN)/python tests/dry_run/device_lines.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

options: $(STAMP)
	$(BIN)/python tests/house/option_lists.py

clean:
	rm -rf .venv site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@for python in "$$PYTHON" python3 python3.13 python3.12 python3.11; do \
	  "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	    && break; python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Python 3.11, 3.12 or 3.13 is needed. Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path" >&2; \
	  exit 4; \
	fi; \
	$(BIN)/python -c '' 2>/dev/null || "$$python" -m venv --clear .venv
	@echo "Installing into .venv; this takes some minutes the first time."
	@# without dependencies: those come in the second step, from the usual index and at the pinned versions
	@[ -z "$(TORCH_INDEX)" ] || $(PIP) --retries 0 --timeout 15 install -qq --no-deps \
	  --index-url "$(TORCH_INDEX)" "$(TORCH)" 2>/dev/null || echo "no answer from $(TORCH_INDEX)"
	$(PIP) install -qq "$(TORCH)" -c constraints.txt -e ".[$(EXTRAS)]"
	@touch $@

$(DOCS): $(STAMP)
	$(PIP) install -qq -c constraints.txt -e ".[site]"
	@touch $@
