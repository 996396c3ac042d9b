#!/bin/sh
# requirements.sh FILE: the pinned packages of FILE into .venv, once for each content of the file.
set -eu
stamp=.venv/.$(echo "$1" | tr / _)
cmp -s "$1" "$stamp" && exit 0
echo "==> Python packages of $1"
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$1"
cp "$1" "$stamp"
