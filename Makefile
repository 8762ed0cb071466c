# The first target that you need is `make run`; it sets up what it uses.

VENV := .venv
PYTHON := $(VENV)/bin/python
# Nothing is built from source: an sdist would bring build tools that no lock file pins.
PIP_INSTALL := $(PYTHON) -m pip install --quiet --disable-pip-version-check
PIP_LOCKED := $(PIP_INSTALL) --require-hashes --only-binary=:all:
# One exception: http-ece, which only tests need, is published as an sdist alone. It is one Python module, and the locked
# setuptools, which stands in the environment by then, makes its wheel.
FROM_SOURCE := --no-binary=http-ece --no-build-isolation
TOOLS := .build/bin
PROTOS := $(shell find protos -name '*.proto')
# All stubs are written together; this one stands for them.
STUBS := protos/stubs/tidings/v1/chat_pb2.py
DEMO_LOG := clients/python/tidings_replay/data/2017-07-15.txt

.DELETE_ON_ERROR:
.PHONY: setup run demo bench examples test fuzz engines toolchains lint docs tools wheels lock clean

# What a server needs: the locked packages, the stubs and this tree, installed so that edits count at once.
setup: $(VENV)/.server $(STUBS)

run: setup
	$(VENV)/bin/tidings serve

demo: setup
	$(VENV)/bin/tidings replay $(DEMO_LOG)

# `make bench BENCH=--mesh` measures the mesh; `make engines` before, where they are missing.
BENCH :=

bench: setup $(TOOLS)/loadgen
	$(VENV)/bin/tidings bench $(BENCH)

# clients/examples, each built in .build/examples.
examples: $(foreach language,go kotlin rust typescript,.build/examples/$(language)/.built)

test: setup $(VENV)/.dev $(TOOLS)/.built $(TOOLS)/loadgen engines examples
	@$(PYTHON) -m pytest -n 2 --dist loadgroup

# Hostile inputs by the hundred thousand, others each time; `make fuzz FUZZ="--seed 7"` makes those of a run before.
FUZZ :=

fuzz: setup $(VENV)/.dev
	$(PYTHON) -m tests.fuzz run $(FUZZ)

# etcd, Redis, Java and Cassandra, as far as they are missing; a moment when nothing is.
engines: | $(VENV)/.dev
	scripts/install-engines

# What is missing to build the examples in other languages.
toolchains:
	scripts/install-toolchains

lint: setup $(VENV)/.dev $(TOOLS)/.built
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PYTHON) protos/generate.py --image .build/contract.binpb
	$(VENV)/bin/buf lint .build/contract.binpb --config buf.yaml
	$(PYTHON) protos/generate.py --docs .build/api.md
	@diff -u docs/api.md .build/api.md || { echo "docs/api.md is not what the protos say: run make docs."; exit 1; }

docs: setup $(VENV)/.dev $(TOOLS)/.built
	$(PYTHON) protos/generate.py --docs docs/api.md

# grpcurl and what else is built with Go.
tools: setup $(TOOLS)/.built

# Pins what the pyproject.toml ask for. A pin that still fits stays: `make lock UPGRADE=--upgrade` takes the newest of all.
UPGRADE :=
UV_COMPILE = $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock" $(UPGRADE)
UV_PROJECT = $(UV_COMPILE) pyproject.toml --all-extras --no-emit-package tidings-protos --no-emit-package tidings-client
BUILD_REQUIRES := import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")

lock: $(VENV)/.dev
	$(UV_PROJECT) --output-file requirements.lock
	$(PYTHON) -c '$(BUILD_REQUIRES)' | $(UV_COMPILE) - --constraints requirements.lock \
		--output-file requirements-build.lock
	$(UV_PROJECT) --group dev requirements-build.lock --constraints requirements.lock \
		--output-file requirements-dev.lock

clean:
	rm -rf $(VENV) .build dist tidings/internal protos/stubs bench/loadgen/gen
	rm -rf $(OURS:%=%/build) $(wildcard $(OURS:%=%/*.egg-info))

$(VENV)/.made: scripts/make-venv
	scripts/make-venv $(VENV)
	@touch $@

# The three distributions, in the order in which they need one another.
OURS := ./protos ./clients/python .
PROJECTS := $(foreach each,$(OURS),$(wildcard $(each)/pyproject.toml $(each)/setup.py))

$(VENV)/.server: $(VENV)/.made requirements.lock requirements-build.lock $(PROJECTS)
	$(PIP_LOCKED) -r requirements.lock -r requirements-build.lock
	$(PIP_INSTALL) --no-deps --no-build-isolation $(OURS:%=--editable %)
	@# bench is in no distribution; this is where `tidings bench` finds it.
	@echo $(CURDIR) > $$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tidings-source-tree.pth
	@# Where the stubs were while there was one distribution: there they would come before those of now.
	@rm -rf tidings/v1
	@touch $@

$(STUBS): $(PROTOS) protos/generate.py requirements-build.lock | $(VENV)/.server
	$(PYTHON) protos/generate.py

# What others install, in dist/. What an earlier build has left would be packed again.
wheels: setup
	rm -rf dist $(OURS:%=%/build)
	$(PYTHON) -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist $(OURS)

$(VENV)/.dev: $(VENV)/.server requirements-dev.lock
	$(PIP_LOCKED) $(FROM_SOURCE) -r requirements-dev.lock
	@touch $@

# Go comes with the dev packages; tools/go.sum holds the hashes of everything that it builds here.
$(TOOLS)/.built: tools/go.mod tools/go.sum | $(VENV)/.dev
	CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-mod=readonly GOBIN=$(CURDIR)/$(TOOLS) $(VENV)/bin/go -C tools install tool
	@touch $@

# The cluster's etcd. It is a module of its own, so that it has the dependencies that its makers have tested.
$(TOOLS)/etcd: tools/etcd/go.mod tools/etcd/go.sum | $(VENV)/.dev
	CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-mod=readonly $(VENV)/bin/go -C tools/etcd build -o $(CURDIR)/$@ \
		go.etcd.io/etcd/server/v3
	@touch $@

# What loads the server in `make bench`, and writes its stubs from the same protos.
LOADGEN := bench/loadgen
GO_LOADGEN := CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-mod=readonly GOBIN=$(CURDIR)/$(TOOLS) $(VENV)/bin/go -C $(LOADGEN)

$(TOOLS)/loadgen: $(wildcard $(LOADGEN)/*.go) $(LOADGEN)/go.mod $(LOADGEN)/go.sum $(PROTOS) protos/generate.py | $(VENV)/.dev
	$(GO_LOADGEN) install tool
	$(PYTHON) protos/generate.py --go $(LOADGEN)
	$(GO_LOADGEN) build -o $(CURDIR)/$@ .

# The same conversation in other languages, from the same protos.
.SECONDEXPANSION:
.build/examples/%/.built: $$(wildcard clients/examples/$$*/* clients/examples/$$*/src/*) $(PROTOS) scripts/build-example \
		| $(VENV)/.dev toolchains
	scripts/build-example $*
	@touch $@
