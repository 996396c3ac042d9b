# A thin menu; what it calls says what it does.
PYTHON ?= python3
VENV := .venv/bin
STAMPS := build/.stamps
SOURCES := $(shell git ls-files -co --exclude-standard base server channellayer asgi python 2>/dev/null) meson.build meson.options pyproject.toml
TESTS ?= tests

.PHONY: help build demo test unit pytest check asan tsan bench soak wheel clean
help:
	@echo "make demo    the Channels example, running: market data over WebSockets, no Redis"
	@echo "make test    everything: C tests, Python tests, conformance, leaks, browser, lint"
	@echo "make build   into .venv: .venv/bin/peneus, .venv/bin/python"
	@echo "make check   lint and types only"
	@echo "make asan    C and Python tests under AddressSanitizer and UBSan"
	@echo "make tsan    C tests under ThreadSanitizer"
	@echo "make bench   beside uvicorn and daphne, in one run"
	@echo "make soak    connections that come and go, for long"
	@echo "make wheel   a wheel in build/wheel"
	@echo "make clean   throws away what was built"

build: $(STAMPS)/installed

$(STAMPS)/debian-%: requirements/debian-%.txt
	@mkdir -p $(@D)
	@tools/install_debian.sh $<
	@touch $@

$(VENV)/python: | $(STAMPS)/debian-build
	@echo "==> making .venv"
	@$(PYTHON) -m venv .venv

$(STAMPS)/python-%: requirements/%.txt | $(VENV)/python
	@mkdir -p $(@D)
	@echo "==> installing $<"
	@$(VENV)/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(STAMPS)/installed: $(SOURCES) $(STAMPS)/debian-build $(STAMPS)/python-build $(STAMPS)/python-run
	@$(VENV)/python tools/fetch_sources.py
	@echo "==> building peneus into .venv"
	@mkdir -p build/release
	@PATH="$(CURDIR)/$(VENV):$$PATH" $(VENV)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --force-reinstall -Cbuilddir=build/release .
	@touch $@

demo: build
	@tools/demo.sh

test: check unit pytest

unit: build $(STAMPS)/debian-test
	@echo "==> C tests"
	@tools/c_tests.sh build/unit

pytest: build $(STAMPS)/debian-test $(STAMPS)/python-test
	@echo "==> Python tests"
	@$(VENV)/python -m pytest $(TESTS)

check: build $(STAMPS)/python-test
	@echo "==> lint and types"
	@$(VENV)/ruff check python tests tools bench examples
	@$(VENV)/mypy

asan: build $(STAMPS)/debian-test $(STAMPS)/python-test
	@echo "==> C tests under ASan and UBSan"
	@tools/c_tests.sh build/asan-unit -Db_sanitize=address,undefined -Db_lundef=false --buildtype=debugoptimized
	@echo "==> Python tests under ASan and UBSan"
	@tools/asan_python.sh

tsan: build $(STAMPS)/debian-test
	@echo "==> C tests under TSan"
	@CC=clang tools/c_tests.sh build/tsan-unit -Db_sanitize=thread -Db_lundef=false --buildtype=debugoptimized

bench: build $(STAMPS)/debian-test $(STAMPS)/debian-bench
	@$(VENV)/python -m bench

soak: build $(STAMPS)/python-test
	@PENEUS_SOAK_SECONDS=1800 $(VENV)/python -m pytest tests/soak

wheel: build
	@$(VENV)/pip wheel --no-deps --no-build-isolation -w build/wheel .

clean:
	rm -rf build .venv
