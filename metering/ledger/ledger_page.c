/* The ledger's fields, for people.  The door is ledger_line.h. */
#include "metering/ledger/ledger_line.h"

#include "base/banned.h"

#define TYPE_TEXT "text or null"
#define TYPE_MONEY "amount"
#define TYPE_INT "count"
#define TYPE_COUNT "count"
#define TYPE_BOOL "true or false"
#define TYPE_TIME "time"
#define TYPE_SOURCE "text"

#define ROW(member, name, type, help) \
	"| `" name "` | " TYPE_##type " | " help " |\n"

static const char intro[] =
    "# The ledger\n\n"
    "One line of JSON (JSONL, UTF-8) an exchange, in the order in which they "
    "ended, in\n`usage.jsonl` in the state folder (`ledger.path`). This page "
    "comes from the program's own\ntable (`metering/ledger/ledger_line.h`): "
    "`weir help ledger`.\n\n"
    "The first six fields keep their names and their order. The others may "
    "get company: readers\nskip what they do not know.\n\n";

static const char types[] =
    "An *amount* is dollars as a decimal string with twelve decimals, "
    "`\"0.002695260000\"`, exact to\nthe pico-dollar; it is a string so that "
    "no JSON reader rounds it. A *count* is a whole number,\nnever negative. "
    "A *time* is RFC 3339 in UTC. No text is longer than 256 bytes, no line "
    "than 3840.\n\n";

static const char which[] =
    "## Which exchanges have a line\n\n"
    "Every POST of a known user to an API that is metered, exactly one, "
    "however it ended: answered,\nrefused (then `attempts` is `[]`, "
    "`usage_source` is `none` and the counts are 0), broken off by\neither "
    "side, or cut by a crash of the gateway (`gateway_crashed`, written at "
    "the next start).\nToken counting (`count_tokens`) has a line with "
    "zeros. Requests without a valid key, unknown\npaths and GETs have none."
    "\n\n"
    "Of a `gateway_crashed` line, `status`, `ttft_ms` and `bytes_out` are "
    "those known when the request\nwas sent to the upstream: 0, null and "
    "0.\n\n"
    "A report's REQUESTS are the lines with at least one attempt, and a line "
    "belongs to the time of\nits `ts`, the arrival. `end` is one of the "
    "words in [errors.md](errors.md).\n\n";

static const char numbers[] =
    "## How the numbers are made\n\n"
    "- **Counts** are the upstream's own where its answer was whole. "
    "`usage_source` says so:\n\n"
    "  | usage_source | meaning |\n  |---|---|\n"
#define X(name, text, help) "  | `" text "` | " help " |\n"
    USAGE_SOURCES(X)
#undef X
	"\n"
	"  Estimates come from what real answers of the same model have "
	"taught: how many bytes it has for\n  a token (`learned.json` in the "
	"state folder); before that, 4 bytes are taken for one.\n\n"
	"  `usage_damaged` says that the upstream sent counts which cannot be "
	"(a part larger than its\n  whole, or above a thousand million); those "
	"were not used.\n"
	"- **The line's counts** are those of its last attempt. Whatever API "
	"was "
	"called, `prompt_tokens`\n  include cached and cache-written tokens, "
	"and "
	"`completion_tokens` include reasoning.\n"
	"- **`cost_usd`** is the sum over all attempts. Each costs: uncached "
	"input x `input` + cached x\n  `input_cached` + cache-written x "
	"`cache_write` + output x `output` + `request`, by the price in\n  "
	"force "
	"when the request arrived (`price_date`: since when it is). It is "
	"multiplied in whole\n  pico-dollars a token: nothing is rounded. An "
	"upstream without prices costs nothing.\n"
	"- **`upstream_cost_usd`** is what the upstream itself says, word for "
	"word where it does; it is\n  never added to anything.\n"
	"- **`avoided_usd`** is what the same counts would have cost on the "
	"model's first paid route, for\n  answers from an upstream that costs "
	"nothing.\n"
	"- **`fallback_usd`** is the part of `cost_usd` that went to paid "
	"routes "
	"because a free one had\n  failed, was full or was too slow; routes "
	"that "
	"cost money were then not the first choice.\n"
	"- **Times** are from one monotonic clock: `duration_ms` from arrival "
	"to "
	"end, `ttft_ms` from arrival\n  to the first content (text, reasoning, "
	"a "
	"tool call), `queue_ms` the part of it spent waiting\n  for a "
	"place. `predicted_ttft_ms` is what `ttft_ms` was expected to be when "
	"the route was chosen,\n  by what earlier answers had taught.\n"
	"- **`joined_by`**: the client left while its prompt was read, and the "
	"same request came again and\n  took over the answer. What it cost "
	"stands in the line of that `id`; this line has zeros.\n\n";

static const char attempts[] =
    "## Attempts\n\n"
    "Each time an upstream was asked is an element of `attempts`, in order. "
    "Those that brought usage\nalso have counts and a cost; no connection, "
    "and an error that names no usage, cost nothing.\n\n"
    "| field | type | meaning |\n|---|---|---|\n"
    /* */
    LEDGER_ATTEMPT_FIELDS(ROW) LEDGER_ATTEMPT_USAGE_FIELDS(ROW) "\n";

static const char rest[] =
    "## What is never stored\n\n"
    "No prompt, no answer, no other text of a message, no name or content of "
    "a file, no tool's\narguments; no key, only its public id; no address of "
    "a client. What comes from the client is\nits User-Agent's first word, "
    "the request id and the session that it names, and the model.\n\n"
    "## Whole, and checked\n\n"
    "Lines are only ever appended, each by one write. A start of the gateway "
    "is a `writer`, which\nnumbers its lines from 1 in `seq`: a line that is "
    "missing or doubled shows. `weir ledger check`\nreads everything and says "
    "what is wrong, with file and line: broken JSON, wrong types, numbers\n"
    "missing or twice, sums that do not agree. It cannot see a changed digit "
    "that no other number\nanswers for (`duration_ms`, `bytes_in`, a name), "
    "unless the file was closed and checked before:\nthen its SHA-256 is "
    "remembered (`checked.json` in the state folder), and\n`weir ledger "
    "check --all` compares it.\n\n"
    "A closed file that was checked before and is gone is a finding, too, "
    "and so is an empty one. Only\nthe oldest files may be removed: then "
    "the check says on stderr with which line the ledger begins,\nand how "
    "many of that writer's lines before it are not here. That is no finding: "
    "whether somebody\nmeant to remove them it cannot know, and not at all "
    "what other writers had written there.\n\n"
    "Closed files are `usage-YYYYMMDD-NNN.jsonl`, gzipped later; what "
    "logrotate makes by renaming\n(`usage.jsonl.1`, `usage.jsonl-20261121`, "
    "also `.gz`) is read as well. A segment is known by its\nfirst line, not "
    "by its name. Do not use `copytruncate`: lines can be lost between its "
    "two steps.\nUse `notifempty`: an empty closed file is a finding. A line "
    "that a crash tore is moved to `torn-*`\nat the next start (if the "
    "file was renamed before it, the piece stays at its end, and the check "
    "says so). A refusal in\nthe instant before a `kill -9` may have no "
    "line; what went to a model server always has one.\n";

void
ledger_fields_page(struct buf *out)
{
	buf_puts(out, intro);
	buf_puts(out, types);
	buf_puts(out,
	    "| field | type | meaning |\n|---|---|---|\n" /* */
	    LEDGER_FIELDS(ROW));
	buf_puts(out,
	    "| `attempts` | list | each time an upstream was asked; "
	    "see below |\n"
	    "| `writer` | text | the start of the gateway that wrote the line "
	    "(ULID) |\n"
	    "| `seq` | count | the line's number among this writer's, from 1 "
	    "|\n\n");
	buf_puts(out, which);
	buf_puts(out, numbers);
	buf_puts(out, attempts);
	buf_puts(out, rest);
}
