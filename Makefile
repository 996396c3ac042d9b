# A thin menu; the work is done by tools/.
#   make PYTHON=/path/to/python3   another Python, 3.10 to 3.15
#   make demo PORT=9000            another port
#   make test ARGS="-k chunked"    arguments for pytest
.DEFAULT_GOAL := help
.PHONY: help build demo test test-all check analyze asan tsan valgrind pythons fuzz bench strictness soak wheel clean

PYTHON ?= python3
PORT ?= 8000
ARGS ?=
export PYTHON

help:           ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

build:          ## Peneus into .venv: .venv/bin/peneus, .venv/bin/python
	@tools/build.sh

demo: build     ## the market-data example, in the foreground until Ctrl-C
	@.venv/bin/python tools/demo.py $(PORT)

test: check     ## 5 minutes: ruff, mypy, cppcheck, C unit tests, and the quick tests of tests/
	@tools/test.sh quick $(ARGS)

test-all: check ## 14 minutes: the same, and the tests that take long or run alone
	@tools/test.sh all $(ARGS)

check: build    ## ruff, mypy, cppcheck
	@tools/check.sh

analyze: build  ## cppcheck, clang-tidy, gcc -fanalyzer
	@tools/analyze.sh $(ARGS)

asan: build     ## C and Python tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@tools/sanitize.sh address $(ARGS)

tsan: build     ## C tests, and the whole server under load, under ThreadSanitizer
	@tools/sanitize.sh thread

valgrind: build ## C tests under valgrind's memcheck
	@tools/valgrind.sh $(ARGS)

pythons: build  ## the integration tests on every Python of this machine, and its debug build
	@tools/pythons.sh $(ARGS)

fuzz: build     ## each fuzz target for ten minutes, or: make fuzz ARGS="60 http1"
	@tools/fuzz.sh $(if $(ARGS),$(ARGS),600)

bench: build    ## throughput and latency beside uvicorn and daphne
	@tools/install_debian.sh bench
	@tools/requirements.sh tests/requirements.txt
	@.venv/bin/python -m bench $(ARGS)

strictness: build ## the corpus of bad requests, beside uvicorn, daphne and hypercorn: docs/strictness.md, docs/bad-input.md
	@tools/requirements.sh tests/requirements.txt
	@.venv/bin/python -m tests.conformance.smuggling

soak: build     ## connections that come and go for an hour
	@tools/install_debian.sh test
	@tools/requirements.sh tests/requirements.txt
	@PENEUS_SOAK_SECONDS=$${PENEUS_SOAK_SECONDS:-3600} PENEUS_STARTS=$${PENEUS_STARTS:-10000} \
		.venv/bin/python -m pytest tests/soak tests/leaks/test_references.py $(ARGS)

wheel: build    ## a wheel into build/wheel
	@PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/python -m pip wheel --quiet --no-deps --no-build-isolation -Cbuild-dir=build/release -w build/wheel .
	@ls build/wheel

clean:          ## removes what was built; .cache and .venv stay
	rm -rf build
