#!/bin/sh
# systemd takes the unit, whatever folder the program is in.
#
#     tests/lint/unit.sh WEIR
set -eu

weir=$(realpath "$1")
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# The timer is verified with its service.
cp deploy/weir-report.timer "$folder/"
for unit in weir weir-report; do
	sed "s|=weir |=$weir |" "deploy/$unit.service" \
	    >"$folder/$unit.service"
done
for unit in weir.service weir-report.service weir-report.timer; do
	systemd-analyze verify --man=no "$folder/$unit" 2>"$folder/talk" || {
		cat "$folder/talk"
		exit 1
	}
	# What it only warns of (an unknown key, say) is an error of ours too.
	if grep -F "$unit" "$folder/talk"; then
		exit 1
	fi
done
for unit in weir weir-report; do
	systemd-analyze security --offline=true --threshold=20 \
	    "$folder/$unit.service" >"$folder/exposure" || {
		cat "$folder/exposure"
		exit 1
	}
done
