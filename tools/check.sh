#!/bin/sh
# check.sh: ruff and mypy over the Python code.
set -eu
cd "$(dirname "$0")/.."
tools/requirements.sh tests/requirements.txt
echo "==> ruff"
.venv/bin/ruff check .
echo "==> mypy"
.venv/bin/mypy
