#!/bin/sh
# check.sh: ruff and mypy over the Python code, and of the analyzers of C the one that takes seconds (tools/analyze.sh has all).
set -eu
cd "$(dirname "$0")/.."
tools/requirements.sh tests/requirements.txt
echo "==> ruff"
.venv/bin/ruff check .
echo "==> mypy"
.venv/bin/mypy
tools/analyze.sh quick
