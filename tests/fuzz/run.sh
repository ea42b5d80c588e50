#!/bin/sh
# Builds the fuzz targets and runs each for a minute, or FUZZ_SECONDS.
#
#     tests/fuzz/run.sh              all of them
#     tests/fuzz/run.sh guard sse    these
#
# What a target has learnt is kept in build/fuzz/corpus, and so is an input that
# broke it, in build/fuzz/found: build/fuzz/fuzz_guard FILE repeats it.
set -eu

cd "$(dirname "$0")/../.."
deploy/install-packages.sh build fuzz
seconds=${FUZZ_SECONDS:-60}

cmake --preset fuzz
cmake --build --preset fuzz --parallel "$(nproc)"

# What a target's corpus begins with.
seeds_of() {
	case $1 in
	sse | tap | usage | json_scan | responses_splice)
		echo tests/data/wire/*.txt
		;;
	ledger_line | ledger_view) echo tests/data/ledger/*.json ;;
	config | price_edit) echo conf/*.yaml ;;
	price_map) echo tests/data/prices/*.json ;;
	esac
}

run() {
	corpus=build/fuzz/corpus/$1
	mkdir -p "$corpus" build/fuzz/found
	for seed in $(seeds_of "$1"); do
		cp "$seed" "$corpus/"
	done
	"build/fuzz/fuzz_$1" -max_total_time="$seconds" -print_final_stats=1 \
	    -artifact_prefix="build/fuzz/found/$1-" -timeout=10 \
	    -rss_limit_mb=2048 "$corpus" >"build/fuzz/$1.log" 2>&1
}

if [ $# -eq 0 ]; then
	for target in build/fuzz/fuzz_*; do
		set -- "$@" "${target#build/fuzz/fuzz_}"
	done
fi

passed=0
failed=0
for name in "$@"; do
	if run "$name"; then
		passed=$((passed + 1))
		echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' \
		    "build/fuzz/$name.log") inputs in $seconds s"
	else
		failed=$((failed + 1))
		echo "$name: FAILED"
		tail -n 60 "build/fuzz/$name.log"
	fi
done
echo "fuzz: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
