#!/bin/sh
# Writes requirements.lock (what the image runs with) and build.lock (what builds our wheel) anew from pyproject.toml: every package with
# its version and the hashes of its files. Run it where Python is the image's own version, 3.11; versions that still fit are kept.
#
#   deploy/lock.sh                 # after a change of pyproject.toml
#   deploy/lock.sh --upgrade       # the newest of everything
set -eu
cd "$(dirname "$0")"
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
${PYTHON:-python3} -m venv "$tools"
"$tools/bin/python" -m pip install --quiet --disable-pip-version-check 'pip-tools==7.6.2'
compile() {
  output=$1
  shift
  CUSTOM_COMPILE_COMMAND=deploy/lock.sh "$tools/bin/pip-compile" --quiet --generate-hashes --allow-unsafe --strip-extras --no-annotate \
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file "$output" "$@" ../pyproject.toml
}
compile requirements.lock "$@"
compile build.lock --only-build-deps --build-deps-for wheel "$@"
