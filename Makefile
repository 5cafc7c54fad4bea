# make demo | test | airflow | bench: each sets up what it needs.

SHELL := /bin/bash
PYTHON ?= python3
# Packages by version and hash; `make HASHES= ...` takes them by version alone, where an index packs its own.
HASHES ?= yes
BIN := .venv/bin
READY := .venv/.ready
# The weights of poses; the package's code, and so its old dependencies, are of no use. models/pose_weights.py has the files' hashes.
POSES := mediapipe==0.10.21
# uv takes the versions and the hashes of the lock, for the packages that are asked for.
CONSTRAINTS := -c $(if $(HASHES),requirements.lock,.venv/versions.txt)

# Where an environment forbids bytecode files, every process, and a night and its tests start many, would compile its libraries anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo demo-photos test slowest test-long fuzz bench bench-full bench-gpu airflow lint lock audit sbom java clean

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

demo: java $(READY) ## the whole night on the drawn sample shops, or on SHOPS=<address or wearalike.toml>
	@$(BIN)/wearalike demo $(if $(SHOPS),--shops $(SHOPS))

demo-photos: java $(READY) ## the night on real photos: PHOTOS=<folder>, or ADDRESS=<zip> SHA256=<hex>
	@$(BIN)/wearalike demo-photos $(if $(PHOTOS),--photos $(PHOTOS)) $(if $(ADDRESS),--address $(ADDRESS)) $(if $(SHA256),--sha256 $(SHA256))

# A file's tests share what they set up, so one worker takes them all; tests/conftest.py puts the longest files first.
# WORKERS=0 runs the tests in one process: for a debugger, or where memory is short (a worker takes up to 6 GB).
WORKERS ?= 2
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
test: java $(READY) ## the tests
	@$(BIN)/ruff check -q lib jobs dags tests
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo 2>&1 | tail -n 3
	@$(PYTEST) $(ARGS)

slowest: java $(READY) ## the tests, and the table of the slowest in docs/evidence/slow-tests.md anew
	@mkdir -p build && set -o pipefail && $(PYTEST) --durations=0 --durations-min=0.5 | tee build/durations.log
	@$(BIN)/python -m tests.support.slowest_tests build/durations.log

test-long: java $(READY) ## 200 kills of a night, every hostile input, 20,000 reads under publish, and the figures; goes on where it was stopped
	@$(BIN)/python -m pytest -m long -s tests/long $(ARGS)
	@$(BIN)/python -m tests.long.figures

# img2dataset, in an environment of its own: it wants other versions of what we use. Where it cannot be had its line is skipped.
PEERS := build/bench-peers/.ready
$(PEERS): $(READY) tests/benchmarks/peers.txt
	@$(BIN)/uv venv -q --clear --python $(BIN)/python build/bench-peers
	@VIRTUAL_ENV=$(CURDIR)/build/bench-peers $(BIN)/uv pip install -q -r tests/benchmarks/peers.txt && touch $@ || \
		{ rm -rf build/bench-peers; echo "img2dataset cannot be installed here: make bench skips the line download"; }

bench: $(READY) $(PEERS) ## how fast it is, beside its peers: a table, build/bench.json, build/bench.png; ten minutes on two cores
	@$(BIN)/python -m tests.benchmarks $(ARGS)

bench-full: $(READY) $(PEERS) ## the same at the sizes of a million products; half an hour and more
	@$(BIN)/python -m tests.benchmarks --full $(ARGS)

bench-gpu: $(READY) ## on a machine with a card: its answers are the CPU's, and the lines match, encode and detect; build/bench-gpu.json, minutes
	@$(BIN)/python -m tests.benchmarks.card $(ARGS)

fuzz: $(READY) ## coverage-guided fuzzing; TARGET=feed, picture, mapping or address, RUNS=<executions>; findings in build/long/fuzz
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install -q $(CONSTRAINTS) -e '.[fuzz]'
	@for target in $(or $(TARGET),feed picture mapping address); do \
		set -o pipefail; mkdir -p build/long/fuzz; $(BIN)/python tests/long/fuzz.py $$target build/long/fuzz -runs=$(or $(RUNS),250000) \
			-print_final_stats=1 2>&1 | tee build/long/fuzz/$$target.log || exit 1; done

airflow: java $(READY) ## Airflow standalone with our DAGs on the sample shops, at http://127.0.0.1:8080
	@$(BIN)/wearalike demo --serve

java:
	@command -v java >/dev/null 2>&1 && java -version 2>&1 | head -n 1 | grep -qE '"(1[7-9]|[2-9][0-9])' || \
		{ echo "wearalike needs Java 17 or newer for Spark, and found $$(command -v java >/dev/null 2>&1 && java -version 2>&1 | head -n 1 || echo none): install a JRE, e.g. 'apt-get install openjdk-17-jre-headless', and run make again."; exit 1; }

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "wearalike needs Python 3.11 or newer: make PYTHON=python3.12"; exit 1; }
	@echo "setting up .venv, once: 260 packages are downloaded from the package index, 8 GB unpacked,"
	@echo "4.3 GB of them PyTorch's libraries for NVIDIA's cards; it takes some minutes. Nothing else is downloaded"
	@echo "it includes Ultralytics, whose licence is AGPL-3.0, for the detector \`garments\` and its tests"
	@$(PYTHON) -m venv .venv && $(BIN)/python -m pip install -q --disable-pip-version-check uv==0.13.8
	@sed -E '/--hash=/d; s/ *\\$$//' requirements.lock > .venv/versions.txt
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install -q $(CONSTRAINTS) -e '.[dev]'
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install -q --no-deps $(POSES) || \
		echo "$(POSES) cannot be had here: backs are not told from fronts, and their tests are skipped"
	@touch $@

lock: $(READY) ## requirements.lock anew from pyproject.toml: every package by version and hashes; UPGRADE=yes for newer versions
	@$(BIN)/uv pip compile -q --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links \
		$(if $(UPGRADE),--upgrade) --extra dev --extra fuzz pyproject.toml -o requirements.lock

audit: $(READY) ## known vulnerabilities of what requirements.lock names; asks the internet
	@$(BIN)/uv tool run pip-audit@2.10.1 --disable-pip --require-hashes -r requirements.lock

sbom: $(READY) ## what is installed in .venv, as CycloneDX in build/sbom.json
	@mkdir -p build
	@$(BIN)/uv tool run --from cyclonedx-bom==7.5.0 cyclonedx-py environment .venv --pyproject pyproject.toml -o build/sbom.json
	@echo build/sbom.json

clean: ## what runs have left; .venv stays
	rm -rf build
