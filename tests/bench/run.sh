#!/bin/sh
# Installs what is missing, builds the release, and runs the benchmark.
# Arguments go to bench.py, as in: tests/bench/run.sh --quick --only json1k
set -eu

cd "$(dirname "$0")/../.."

# Their packages start a service each; the benchmark runs its own instances.
is_installed() {
	dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed
}

missing=
for proxy in nginx haproxy; do
	is_installed "$proxy" || missing="$missing $proxy"
done
deploy/install-packages.sh build bench
if [ -n "$missing" ] && [ -d /run/systemd/system ]; then
	# shellcheck disable=SC2086 # one word a service
	if [ "$(id -u)" -eq 0 ]; then
		systemctl disable --now $missing
	else
		sudo systemctl disable --now $missing
	fi
fi

# Only what is measured; to the terminal only if it fails.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { cmake --preset release &&
    cmake --build --preset release --target weir weir-mock weir-load; } \
    >"$log" 2>&1; then
	cat "$log" >&2
	exit 1
fi

PATH=$PATH:/usr/sbin python3 tests/bench/bench.py "$@"
