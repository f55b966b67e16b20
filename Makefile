# nearcache: every command a newcomer needs. `make` alone lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The packages of `make test-packages` have an environment of their own.
PACKAGES := build/packages
# pip: locked versions with hashes, no chatter.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes
# What Cargo.toml declares. Clippy finds newer library items, but not newer rules of the language.
OLDEST_RUST := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
RUST_SOURCES := $(shell find crates -name '*.rs' -o -name 'Cargo.toml') Cargo.toml Cargo.lock

.DEFAULT_GOAL := help
.PHONY: help demo serve test test-rust test-orders test-python test-packages test-tools test-sanitizer test-matrix pythons lint docs audit bench compare stampede memory \
	overhead wheels release-check lock clean build prerequisites

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: build ## serve a real Django site with gunicorn, send it traffic, compare the caches
	@$(BIN)/python examples/demo.py $(DEMO_FLAGS)

serve: build ## serve the example site and leave it running
	@$(BIN)/python examples/demo.py --serve $(DEMO_FLAGS)

test: test-rust test-python ## all tests, Rust and Python

test-rust: prerequisites ## the engine's tests, doc examples included
	cargo test --locked --workspace

test-orders: prerequisites ## the loads and stores of both caches in all orders that may happen (loom)
	RUSTFLAGS="--cfg nearcache_loom" CARGO_TARGET_DIR=target/orders cargo test --locked --release -p nearcache --lib orders

test-sanitizer: ## the tests with threads under ThreadSanitizer (wants clang and Rust's sources: see the script)
	tests/support/thread_sanitizer.sh

test-python: build ## the Python package's tests, Django's own suite among them
	$(BIN)/python -m pytest

test-tools: build $(VENV)/.tools ## what ddtrace, Sentry, OpenTelemetry, mypy and pyright see of our caches (pyright needs node)
	$(BIN)/python -m pytest tests/project/test_tools.py tests/typed tests/docs/test_from_django_redis.py

test-matrix: build ## the Python tests on every supported Python and Django (MATRIX_FLAGS="--pair 3.14/6.1" for one)
	$(BIN)/python tests/support/matrix.py $(MATRIX_FLAGS)

pythons: build ## the interpreters that test-matrix wants and the machine lacks (PYTHONS="3.14 3.14t" for some)
	$(BIN)/python tests/support/pythons.py $(PYTHONS)

test-packages: build $(PACKAGES)/.locked ## the tests of other packages (axes, cachalot, DRF, ...) with our caches
	$(BIN)/python -m pytest tests/packages $(PACKAGES_FLAGS)

lint: build docs ## rustfmt, clippy, the oldest Rust, rustdoc, ruff, mypy, stub check, licences of dependencies, the documentation's links
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@if cargo +$(OLDEST_RUST) --version >/dev/null 2>&1; then \
	CARGO_TARGET_DIR=target/oldest cargo +$(OLDEST_RUST) check --locked --package nearcache --package nearcache-remote --package nearcache-python; \
	else echo "skipped: Rust $(OLDEST_RUST) is not installed (rustup toolchain install $(OLDEST_RUST) --profile minimal)"; fi
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=python $(BIN)/python -m mypy.stubtest nearcache._core
	@if cargo deny --version >/dev/null 2>&1; then cargo deny --locked check bans licenses sources; \
	else echo "skipped: cargo-deny is not installed (cargo install --locked cargo-deny)"; fi

# From scratch each time: warnings are only given for a page that is read. Needs no network.
docs: build $(VENV)/.docs ## the documentation site, into build/docs; warnings are errors
	@rm -rf build/docs
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --nitpicky --fresh-env \
		--doctree-dir build/doctrees docs build/docs
	@echo "the site is build/docs/index.html"

audit: ## known weaknesses of the Rust dependencies (fetches RustSec's database)
	cargo deny --locked check advisories

bench: prerequisites ## the engine's benchmarks
	cargo bench --locked --workspace

compare: build $(VENV)/.compare ## the same operations on LocMemCache, LocalCache, SharedCache and their rivals
	@$(BIN)/python -m benchmarks.compare $(COMPARE_FLAGS)

stampede: build $(VENV)/.compare ## a site whose cached value expires under load, with each cache (STAMPEDE_FLAGS="--seconds 5 --only locmem,shared")
	@$(BIN)/python -m benchmarks.stampede $(STAMPEDE_FLAGS)

memory: build ## the resident size of a full LocalCache, beside MAX_MEMORY
	@$(BIN)/python -m benchmarks.overhead memory

overhead: build ## what Django's proxy and ours cost in front of a backend, a cached page, and an import
	@$(BIN)/python -m benchmarks.overhead proxies
	@echo
	@$(BIN)/python -m benchmarks.overhead pages
	@echo
	@$(BIN)/python -m benchmarks.overhead imports

wheels: build $(VENV)/.release ## a wheel for every supported Python, and the sdist, into dist/ (WHEELS_FLAGS="--python 3.14")
	@PYTHONPATH=tests/support $(BIN)/python -m release.wheels $(WHEELS_FLAGS)

release-check: build $(VENV)/.release ## whether this checkout can be released (RELEASE_FLAGS=--rehearsal before it is prepared)
	@$(BIN)/python -m release.check $(RELEASE_FLAGS)

# One resolution for all interpreters that are supported; $(1) is the input, $(2) the oldest of them.
lock = $(BIN)/uv pip compile --quiet --universal --python-version $(2) --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links $(1) -o $(1:.in=.txt)

lock: build ## resolve requirements/*.in into locked versions (needs network)
	$(call lock,requirements/dev.in,3.10)
	$(call lock,requirements/compare.in,3.10)
	$(call lock,requirements/tools.in,3.10)
	$(call lock,requirements/docs.in,3.10)
	$(call lock,requirements/release.in,3.10)
	$(call lock,requirements/packages.in,3.10)
	$(call lock,requirements/matrix/django-5.2.in,3.10)
	$(call lock,requirements/matrix/django-6.0.in,3.12)
	$(call lock,requirements/matrix/django-6.1.in,3.12)

clean: ## remove everything that was built or fetched
	rm -rf $(VENV) target build .cache dist
	find python -name '*.so' -delete

# --- set-up, done by the targets above as needed -----------------------------------------------------------------

build: $(VENV)/.built

prerequisites:
	@command -v cargo >/dev/null || { echo "error: Rust's cargo is missing; get it from https://rustup.rs" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "error: a C compiler is missing; on Debian: apt-get install build-essential" >&2; exit 1; }
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is missing; on Debian: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "error: $(PYTHON) is older than 3.10; install a newer one and run make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: $(PYTHON) has no venv module; on Debian: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.locked: requirements/dev.txt | prerequisites
	@echo "installing locked dependencies into $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL) -r requirements/dev.txt
	@touch $@

$(VENV)/.compare: requirements/compare.txt $(VENV)/.locked
	@$(PIP_INSTALL) -r requirements/compare.txt
	@touch $@

# Apart from the environment: ddtrace would bring a plugin into every run of pytest.
$(VENV)/.tools: requirements/tools.txt $(VENV)/.locked
	@rm -rf $(VENV)/tools
	@$(PIP_INSTALL) --target $(VENV)/tools -r requirements/tools.txt
	@touch $@

$(VENV)/.docs: requirements/docs.txt $(VENV)/.locked
	@$(PIP_INSTALL) -r requirements/docs.txt
	@touch $@

$(VENV)/.release: requirements/release.txt $(VENV)/.locked
	@$(PIP_INSTALL) -r requirements/release.txt
	@touch $@

$(PACKAGES)/.locked: requirements/packages.txt $(VENV)/.locked
	@echo "installing the packages under test into $(PACKAGES) ..."
	@$(BIN)/python -m venv --clear $(PACKAGES)
	@$(PACKAGES)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/packages.txt
	@touch $@

$(VENV)/.built: $(VENV)/.locked $(RUST_SOURCES) pyproject.toml
	@echo "building nearcache (release) ..."
	@env -u CONDA_PREFIX VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release --locked --quiet
	@touch $@
