#!/bin/sh
# The pages that the program writes of itself are those in docs/.
#
#     tests/lint/docs.sh WEIR              compare
#     tests/lint/docs.sh --write WEIR      make them so
set -eu

write=no
if [ "$1" = --write ]; then
	write=yes
	shift
fi
weir=$(realpath "$1")
cd "$(dirname "$0")/../../docs"
page=$(mktemp)
trap 'rm -f "$page"' EXIT

status=0
for topic in configuration errors ledger; do
	"$weir" help "$topic" >"$page"
	if [ "$write" = yes ]; then
		cat "$page" >"$topic.md"
	elif ! diff -u "$topic.md" "$page"; then
		echo "docs/$topic.md is not what the program says: make docs"
		status=1
	fi
done
exit "$status"
