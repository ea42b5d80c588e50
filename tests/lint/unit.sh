#!/bin/sh
# systemd takes the unit, whatever folder the program is in.
#
#     tests/lint/unit.sh WEIR
set -eu

weir=$(realpath "$1")
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

sed "s|=weir |=$weir |" deploy/weir.service >"$folder/weir.service"
systemd-analyze verify --man=no "$folder/weir.service" 2>"$folder/talk" || {
	cat "$folder/talk"
	exit 1
}
# What it only warns of (an unknown key, say) is an error of ours too.
if grep -F weir.service "$folder/talk"; then
	exit 1
fi
systemd-analyze security --offline=true --threshold=20 "$folder/weir.service" \
    >"$folder/exposure" || {
	cat "$folder/exposure"
	exit 1
}
