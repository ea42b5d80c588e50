#!/bin/sh
# Installs the packages of Debian 12 or Ubuntu 24.04 that are missing for what
# is named, with sudo when not root.  Says nothing when nothing is missing.
#
#     deploy/install-packages.sh build demo
set -eu

usage() {
	echo 'Usage: deploy/install-packages.sh build|demo|test|fuzz|bench|lint ...' >&2
	exit 2
}

# What each purpose needs.  COMMAND=PACKAGE is for what many people have from
# elsewhere: the package is installed only where the command is missing.
needed_for() {
	case $1 in
	build)
		echo gcc libc6-dev make=make cmake=cmake pkg-config python3
		echo libevent-dev libyaml-dev libjansson-dev libsmartcols-dev libhiredis-dev
		echo libssl-dev zlib1g-dev libcmocka-dev
		;;
	demo) echo curl=curl ;;
	test) echo python3-pytest openssl=openssl strace=strace redis-server tzdata node=nodejs npm=npm ;;
	fuzz) echo clang=clang libclang-rt-dev llvm ;;
	bench) echo nginx haproxy util-linux python3 ;;
	lint) echo clang-format-14 systemd-analyze=systemd ;;
	esac
}

is_there() {
	case $1 in
	*=*) command -v "${1%%=*}" >/dev/null 2>&1 ;;
	*) dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null |
	    grep -qx installed ;;
	esac
}

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null 2>&1; then
		sudo "$@"
	else
		echo "Missing:$missing. Without sudo, run as root:" >&2
		echo "  apt-get install$missing" >&2
		exit 1
	fi
}

apt() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq \
	    -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
}

[ $# -gt 0 ] || usage
missing=
for purpose in "$@"; do
	case $purpose in
	build | demo | test | fuzz | bench | lint) ;;
	*) usage ;;
	esac
	for want in $(needed_for "$purpose"); do
		is_there "$want" || missing="$missing ${want#*=}"
	done
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
	echo "There is no apt-get here. Install what these are called on" \
	    "this system, and try again:$missing" >&2
	exit 1
fi
echo "Installing$missing" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # one word a package
if ! { apt update && apt install -y --no-install-recommends $missing; } \
    >"$log" 2>&1; then
	cat "$log" >&2
	echo "The packages could not be installed:$missing" >&2
	exit 1
fi
