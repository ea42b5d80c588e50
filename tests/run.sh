#!/bin/sh
# Installs what is missing, builds with AddressSanitizer and UBSan, and runs
# every test.  Arguments go to ctest, as in: tests/run.sh -R e2e/
# The crash test kills the gateway 50 times; `make torture` does it 1,000 times.
set -eu

cd "$(dirname "$0")/.."
deploy/install-packages.sh build test lint

jobs=$(nproc)
cmake --preset dev
cmake --build --preset dev --parallel "$jobs"
exec ctest --preset dev --parallel "$jobs" "$@"
