# Easel: `make run` starts the page, `make test` runs the tests. A second run of either installs
# nothing: each lock is installed once, until it changes. The locks name every package with the hashes
# of all its files, so that what is installed is what was tested, on any platform.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Python compiles a file when it is first imported: not all of them here, which takes a third of the time.
# It has to keep what it compiled, whatever is asked for elsewhere: else every process would spend seven
# seconds on torch and Gradio.
unexport PYTHONDONTWRITEBYTECODE
PIP    := $(BIN)/python -m pip --disable-pip-version-check
INSTALL = $(PIP) install --quiet --no-compile --require-hashes --only-binary :all:
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help install run test bench lint lock format debian clean

help: ## show these lines
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Easel needs Python 3.11 or newer: name one, as in make run PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.installed: requirements.lock | $(BIN)/python
	@echo "Installing what requirements.lock pins; this takes some minutes and happens once."
	$(INSTALL) --requirement requirements.lock
	@touch $@

# min-dalle comes as source only; the locked setuptools build it.
$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(INSTALL) --no-binary min-dalle --use-pep517 --no-build-isolation \
	  --requirement requirements-dev.lock
	@touch $@

# What only tests of clusters and of stores of files need: Ray and its like here, and the stores' servers
# in an environment of their own, whose packages ask for others than Easel's (moto's botocore for an
# older python-dateutil). They are commands; nothing here imports them. Where some cannot be installed,
# as for a Python or system that Ray has no wheels for, their tests are skipped.
$(VENV)/.installed-cluster: requirements-cluster.lock $(VENV)/.installed-dev
	@if $(INSTALL) --requirement $<; then touch $@; \
	else echo "Ray and obstore could not be installed: their tests are skipped."; fi

STORES := $(VENV)/stores
$(STORES)/.installed: requirements-stores.lock | $(BIN)/python
	@if $(BIN)/python -m venv --clear $(STORES) \
	  && $(subst $(BIN),$(STORES)/bin,$(INSTALL)) --requirement $<; then touch $@; \
	else rm -rf $(STORES); \
	  echo "moto and nanio could not be installed: their tests are skipped."; fi

install: $(VENV)/.installed ## create .venv and install requirements.lock

# For all Pythons and platforms at once. What is locked stays as it is where it still satisfies the
# requirements; ARGS=--upgrade takes the newest of everything that they leave open. The second lock
# is a part of the first, so that tests run on what the page runs on.
LOCK = $(BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 \
  --generate-hashes --annotation-style=line --custom-compile-command "make lock" $(ARGS)

lock: $(VENV)/.installed-dev ## write all locks anew from the requirements (ARGS=--upgrade for newer)
	$(LOCK) requirements-dev.txt --output-file requirements-dev.lock
	$(LOCK) requirements.txt --constraints requirements-dev.lock --output-file requirements.lock
	$(LOCK) requirements-ray.txt requirements-files.txt --constraints requirements-dev.lock \
	  --output-file requirements-cluster.lock
	$(LOCK) requirements-stores.txt --output-file requirements-stores.lock

# Pages of 2 MB for large tensors on the CPU: a step of VQGAN+CLIP spends a tenth of its time on
# page faults without them.
run bench: export THP_MEM_ALLOC_ENABLE ?= 1

run: $(VENV)/.installed ## start the page at http://127.0.0.1:7860
	$(BIN)/python app.py $(ARGS)

# What tests need of Debian's: $(call debian,LOOK,PACKAGE,NAME) installs a package unless the command
# LOOK finds it, and says what is left out where it cannot. Playwright's own browsers come from a host
# of their own; the tests start a PostgreSQL of their own; a clock that lies is libfaketime's.
define debian
	@if $(1) >/dev/null 2>&1; then :; \
	elif command -v apt-get >/dev/null 2>&1 && [ "$$(id -u)" = 0 ]; then \
	  echo "Installing $(3) for the tests."; \
	  apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
	    apt-get -qq install -y --no-install-recommends $(2) >/dev/null \
	    || echo "$(3) could not be installed: its tests are skipped."; \
	else echo "$(3) is not installed: its tests are skipped."; fi
endef

debian:
	$(call debian,command -v chromium,chromium,Chromium)
	$(call debian,ls /usr/lib/postgresql/*/bin/initdb,postgresql,PostgreSQL)
	$(call debian,ls /usr/sbin/haproxy,haproxy,HAProxy)
	$(call debian,ls /usr/lib/*/faketime/libfaketimeMT.so.1,libfaketime,libfaketime)

# A process a core, a module of tests at a time: modules share servers within them. Their order is
# random, the long ones first: not that of xdist, which is by the number of tests.
# Debian's packages and the stores' servers come while pip installs the rest.
test: ## run the tests (ARGS="tests/test_app.py -k stop" for some)
	@$(MAKE) --no-print-directory --jobs=3 $(VENV)/.installed-cluster $(STORES)/.installed debian
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile \
	  --no-loadscope-reorder $(ARGS)

bench: $(VENV)/.installed ## measure the models and write benchmarks/results
	$(BIN)/python -m benchmarks $(ARGS)

lint: $(VENV)/.installed-dev ## ruff, then pyright
	$(BIN)/ruff check .
	$(BIN)/pyright

format: $(VENV)/.installed-dev ## sort imports and apply ruff's safe fixes
	$(BIN)/ruff check --fix .

clean: ## remove .venv and caches
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
