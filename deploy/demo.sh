#!/bin/sh
# The main job in one go: a key, a stream, a ledger line, a failover.
#
# Builds the release, starts two pretend model servers and the gateway on
# loopback, and checks what it shows.  Everything lies in a temporary folder,
# and is gone afterwards.  It stays until Ctrl-C, or ends by itself with --once.
set -eu

usage='Usage: deploy/demo.sh [--once]'
once=no
case ${1-} in
--once) once=yes ;;
-h | --help)
	echo "$usage"
	exit 0
	;;
'') ;;
*)
	echo "$usage" >&2
	exit 2
	;;
esac

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
bin=$root/build/release
work=
local_pid=
cloud_pid=
gateway_pid=

# Their settings are not for this demo.
unset WEIR_OUTPUT WEIR_CONFIG http_proxy https_proxy all_proxy ALL_PROXY

# --- the ends ---------------------------------------------------------------

stop() {
	[ -n "$1" ] || return 0
	kill "$1" 2>/dev/null || return 0
	wait "$1" 2>/dev/null || :
}

clean_up() {
	status=$?
	trap '' INT TERM HUP
	# The gateway waits for streams; a second SIGTERM is for those.
	[ -z "$gateway_pid" ] || kill "$gateway_pid" 2>/dev/null || :
	stop "$gateway_pid"
	stop "$local_pid"
	stop "$cloud_pid"
	[ -z "$work" ] || rm -rf "$work"
	exit "$status"
}

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

fail() {
	{
		echo
		echo "The demo failed: $1"
		for log in build.log local.log cloud.log gateway.log; do
			[ -s "$work/$log" ] || continue
			echo "--- the end of $log:"
			tail -n 20 "$work/$log"
		done
	} >&2
	exit 1
}

# --- the words that the steps are written in --------------------------------

number=0
step() {
	number=$((number + 1))
	printf '\n%s. %s\n' "$number" "$1"
}

# Tries a command until it succeeds, for 10 seconds.
wait_for() {
	tries=200
	until "$@"; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || return 1
		sleep 0.05
	done
}

has_line() {
	grep -q "$1" "$2" 2>/dev/null
}

has_lines() {
	[ "$(wc -l <"$ledger")" -ge "$1" ]
} 2>/dev/null

# What stands behind "NAME": in one line of JSON, as text.
field() {
	printf '%s\n' "$2" |
	    sed -n 's/.*"'"$1"'": *"\{0,1\}\([^",}]*\).*/\1/p'
}

is_zero() {
	expr "$1" : '0[.]\{0,1\}0*$' >/dev/null
}

expect() { # expect WHAT IT-IS IT-SHOULD-BE
	[ "$2" = "$3" ] || fail "$1 should be '$3' and is '$2'"
}

# Starts a pretend server: words at the pace of one that is not in a hurry.
start_mock() { # start_mock NAME ADDRESS MODEL
	rm -f "$work/$1.out"
	"$bin/weir-mock" --listen "$2" --name "$1" --model "$3" --set \
	    tokens=12,interval=100,ttft=200,prompt=2340,cached=1980 \
	    --die-with-parent \
	    >"$work/$1.out" 2>"$work/$1.log" &
	mock_pid=$!
	wait_for has_line '^listening ' "$work/$1.out" ||
	    fail "the pretend server '$1' did not start"
	mock_address=$(sed -n 's/^listening //p' "$work/$1.out")
	echo "$1: http://$mock_address serves $3"
}

body='{"model":"ds4","stream":true,'
body=$body'"messages":[{"role":"user","content":"Tell me about rivers."}]}'

# The user's request; its answer is shown as it comes, and kept in $work/answer.
ask() { # ask KEY
	curl -sN -m 60 "$url/v1/chat/completions" \
	    -H "Authorization: Bearer $1" -H 'Content-Type: application/json' \
	    -d "$body" -o - -w '%{stderr}%{http_code} %{time_starttransfer} %{time_total}\n' \
	    2>"$work/times" | tee "$work/answer"
	read -r http_status first_s total_s <"$work/times" ||
	    fail 'curl got no answer'
}

# The ledger's newest line, once there are so many.
read_ledger() { # read_ledger HOW-MANY
	wait_for has_lines "$1" || fail "the ledger has no line number $1"
	line=$(tail -n 1 "$ledger")
	printf '%s\n' "$line"
}

expect_stream() {
	expect 'the status' "$http_status" 200
	expect 'the last event' "$(grep '^data:' "$work/answer" | tail -n 1)" \
	    'data: [DONE]'
	events=$(grep -c '"content":"[^"]' "$work/answer") || :
	[ "$events" -ge 12 ] || fail "12 words should come, not $events"
	# 11 pauses of 100 ms: a stream that was held back has none.
	awk "BEGIN { exit !($total_s - $first_s > 0.8) }" ||
	    fail "the answer came all at once"
	echo "status 200, first byte after ${first_s}s, last after ${total_s}s"
}

# --- the steps --------------------------------------------------------------

"$root/deploy/install-packages.sh" build demo
work=$(mktemp -d "${TMPDIR:-/tmp}/weir-demo.XXXXXX")
ledger=$work/state/usage.jsonl

step "Building the release in $bin"
cd "$root"
if ! { cmake --preset release &&
    cmake --build --preset release --target weir weir-mock; } \
    >"$work/build.log" 2>&1; then
	fail 'the build did not go through'
fi
rm -f "$work/build.log"
cd "$work"
"$bin/weir" version

step 'Starting two pretend model servers: your own cluster and a paid cloud'
start_mock local 127.0.0.1:0 deepseek-v4-flash
local_pid=$mock_pid
local_address=$mock_address
start_mock cloud 127.0.0.1:0 accounts/cloud/models/deepseek-v4-pro
cloud_pid=$mock_pid
cloud_address=$mock_address

step 'Starting the gateway with this configuration'
cat >weir.yaml <<END
version: 1
server: {listen: [127.0.0.1:0], state_dir: $work/state}
upstreams:
  spark: {url: http://$local_address/v1, kind: vllm, max_inflight: 4}
  cloud: {url: http://$cloud_address/v1}
models:
  ds4:
    routes:
      - {to: spark, model: deepseek-v4-flash}
      - {to: cloud, model: accounts/cloud/models/deepseek-v4-pro}
prices:  # US dollars per million tokens
  cloud:
    accounts/cloud/models/deepseek-v4-pro:
      - {from: 2020-01-01, input: 1.74, input_cached: 0.145, output: 3.48}
users:
  alice: {models: [ds4], limits: {paid_routes: true}}
  bob: {models: [ds4]}  # never spends a cent
END
cat weir.yaml
WEIR_CONFIG=$work/weir.yaml
export WEIR_CONFIG
"$bin/weir" check || fail 'the configuration should be accepted'
"$bin/weir" serve 2>gateway.log &
gateway_pid=$!
wait_for has_line '^reach it at ' gateway.log ||
    fail 'the gateway did not start'
url=$(sed -n 's|^reach it at .*\(http://127[^/ ]*\)/v1.*|\1|p' gateway.log)
echo "reach it at $url/v1"

step 'Issuing a key to bob, and one to alice'
bob=$("$bin/weir" key issue bob)
alice=$("$bin/weir" key issue alice)
expect "the first letters of bob's key" "${bob%"${bob#sk-weir-}"}" sk-weir-
echo "bob:   $bob"
echo "alice: $alice"
knows_key() {
	curl -sf -m 5 -o /dev/null "$url/v1/models" \
	    -H "Authorization: Bearer $1"
}
wait_for knows_key "$bob" || fail "the gateway does not take bob's key"
wait_for knows_key "$alice" || fail "the gateway does not take alice's key"

step 'Bob asks for a stream: these are the events as they arrive'
ask "$bob"
expect_stream

step 'What the ledger says about it'
read_ledger 1
expect 'the user' "$(field user "$line")" bob
expect 'the upstream' "$(field upstream "$line")" spark
expect 'the output tokens' "$(field completion_tokens "$line")" 12
expect 'the source of the counts' "$(field usage_source "$line")" upstream

# The total of a column in the hourly report, as programs read it.
report_total() { # report_total COLUMN
	"$bin/weir" report hourly --format tsv >report.tsv ||
	    fail 'there is no hourly report'
	awk -F '\t' -v want="$1" '
		NR == 1 { for (i = 1; i <= NF; i++) if ($i == want) at = i }
		$1 == "total" || $2 == "total" { print $at }' report.tsv
}

step 'The hourly report: all local, no cost'
"$bin/weir" report hourly --format table || fail 'there is no hourly report'
expect LOCAL "$(report_total LOCAL)" 1.0000
is_zero "$(report_total COST)" || fail 'a local answer should cost nothing'

step 'The local server stops'
stop "$local_pid"
local_pid=
echo "nothing listens on $local_address any more"

step 'Alice may spend: the same request is answered by the cloud'
ask "$alice"
expect_stream
read_ledger 2
expect 'the user' "$(field user "$line")" alice
expect 'the upstream' "$(field upstream "$line")" cloud

step 'Bob may not: he is refused with a sentence'
ask "$bob"
printf '\nstatus %s\n' "$http_status"
[ "$http_status" -ge 400 ] || fail "bob's request should be refused"
grep -q 'paid_routes' "$work/answer" || fail 'the sentence should say why'
read_ledger 3 >/dev/null

step 'The hourly report now: half local, and what it cost'
"$bin/weir" report hourly --format table || fail 'there is no hourly report'
[ "$(report_total LOCAL)" != 1.0000 ] || fail 'LOCAL should have fallen'
is_zero "$(report_total COST)" && fail 'COST should have risen'

step 'The local server comes back, and bob is answered again'
start_mock local "$local_address" deepseek-v4-flash
local_pid=$mock_pid
ask "$bob" >/dev/null
expect_stream
read_ledger 4 >/dev/null
expect 'the upstream' "$(field upstream "$line")" spark

if [ "$once" = yes ]; then
	printf '\nAll of it worked.\n'
	exit 0
fi

cat <<END

All of it worked, and keeps running. To go on, in another terminal:

A request of your own as bob (who never spends), and as alice:
  curl -N $url/v1/chat/completions -H 'Authorization: Bearer $bob' -H 'Content-Type: application/json' -d '{"model":"ds4","stream":true,"messages":[{"role":"user","content":"hello"}]}'
  curl -N $url/v1/chat/completions -H 'Authorization: Bearer $alice' -H 'Content-Type: application/json' -d '{"model":"ds4","stream":true,"messages":[{"role":"user","content":"hello"}]}'
What it cost, and the ledger that says so:
  WEIR_CONFIG=$WEIR_CONFIG $bin/weir report hourly --by user,model,upstream
  tail -f $ledger
Keys: all of them, one more, and one less (its streams are cut):
  WEIR_CONFIG=$WEIR_CONFIG $bin/weir key list
  WEIR_CONFIG=$WEIR_CONFIG $bin/weir key issue bob --name laptop
  WEIR_CONFIG=$WEIR_CONFIG $bin/weir key revoke $(printf %s "$bob" | cut -c 9-14)
The configuration: change it, see what is wrong with it, and apply it:
  \${EDITOR:-nano} $WEIR_CONFIG
  WEIR_CONFIG=$WEIR_CONFIG $bin/weir check && kill -HUP $gateway_pid
The local server stops (the cloud takes over, for who may spend):
  kill $local_pid

Ctrl-C ends it all and deletes $work
END

trap 'exit 0' INT TERM HUP
wait "$gateway_pid" || :
gateway_pid=
fail 'the gateway ended'
