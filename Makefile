# Every target uses .venv in this checkout and makes it first where it is missing.
PYTHON ?= python3
BIN := .venv/bin
# Tests of pages need a browser, of searches a database, of completion zsh. A machine of continuous integration gets what it lacks
# where it may and can; no other is changed.
MISSING = $(shell command -v chromium >/dev/null || echo chromium) $(shell command -v zsh >/dev/null || echo zsh) $(shell ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || echo postgresql)
DEBIAN = if test -n "$$CI" && test "$$(id -u)" = 0 && test -n "$(strip $(MISSING))"; then \
	timeout 240 sh -c 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(MISSING)' \
	>/dev/null 2>&1 || echo "$(MISSING): could not be installed; tests that need it are skipped"; fi

.PHONY: help install demo test test-fast lint tree bench
help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

install: .venv/installed  ## make .venv with finetune, the demo model and the test tools

.venv/installed: requirements.txt pyproject.toml setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[demo,test]'
	$(BIN)/python -m finetune.models.native.building  # without a compiler it says so, and all runs without it
	@$(DEBIAN)
	touch $@

demo: install  ## fine-tune a named-entity tagger on the embedded sample (under two minutes of training)
	$(BIN)/python examples/demo.py

test: install  ## run all tests
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2

test-fast: install  ## the inner loop: what is quick and starts no training
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 -m 'not slow' --ignore tests/commands --ignore tests/invariants --ignore tests/examples

lint: install  ## ruff and the type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

tree: install  ## rewrite the file tree of docs/files.md from the docstrings
	$(BIN)/python .ci/file_tree.py

bench: install  ## training steps of a tagger beside the stock Hugging Face recipe
	HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/bench_training.py --tasks ner --threads 2
