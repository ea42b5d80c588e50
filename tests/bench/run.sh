#!/bin/sh
# Installs what is missing, builds the release, and runs the benchmark.
# Arguments go to bench.py, as in: tests/bench/run.sh --quick --only json1k
set -eu

cd "$(dirname "$0")/../.."

have() {
	command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]
}

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

# Their packages start a service each; the benchmark runs its own instances.
install_proxies() {
	as_root apt-get update -qq
	as_root env DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y -qq --no-install-recommends "$@"
	if [ -d /run/systemd/system ]; then
		as_root systemctl disable --now "$@"
	fi
}

missing=
for proxy in nginx haproxy; do
	have "$proxy" || missing="$missing $proxy"
done
# shellcheck disable=SC2086 # one word a package
[ -z "$missing" ] || install_proxies $missing

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
