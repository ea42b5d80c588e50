#include "metering/redis/redis_script.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "metering/redis/redis_lua.h"
#include "metering/redis/redis_spent.h"

#include "base/banned.h"

/* Numbers up to 10^18 do not fit into Lua's: they are compared, checked and cut
 * as texts, and only Redis itself adds them. */
const char redis_script_apply[] = LUA_RELEASE
    "local now = redis.call('HMGET', KEYS[1], 'id', 'next')\n"
    "if ARGV[1] ~= now[1] and ARGV[1] ~= now[2] then\n"
    "  return {'epoch', now[1] or ''}\n"
    "end\n"
    "local fields = {'requests', 'input', 'cached', 'output',\n"
    "                'reasoning', 'pusd', 'errors', 'micro_usd'}\n"
    "local most = '999999999999999999'\n"
    "local spans, gaps, hours, ids = tonumber(ARGV[3]),\n"
    "  tonumber(ARGV[4]), #KEYS - 3, tonumber(ARGV[5])\n"
    "local at = 6\n"
    "local first_gap = at + 3 * spans\n"
    "local first_hour = first_gap + gaps\n"
    "local first_id = first_hour + hours\n"
    "local first_row = first_id + ids\n"
    "for i = at, first_gap - 1, 3 do\n"
    "  local mark = redis.call('HGET', KEYS[2], 'at:' .. ARGV[i]) or '0'\n"
    "  if mark ~= ARGV[i + 1] then return {'moved', ARGV[i], mark} end\n"
    "end\n"
    "redis.call('HLEN', KEYS[3])\n" /* the right type? */
    "local time = tonumber(redis.call('TIME')[1])\n"
    "local rows = {}\n"
    "for i = first_row, #ARGV, 9 do\n"
    "  local hour = tonumber(ARGV[i])\n"
    "  if tonumber(ARGV[first_hour + hour - 1]) > time then\n"
    "    local key, names = KEYS[3 + hour], {}\n"
    "    for j = 1, 8 do names[j] = ARGV[i + 1] .. fields[j] end\n"
    "    local had = redis.call('HMGET', key, unpack(names))\n"
    "    for j = 1, 8 do\n"
    "      if had[j] and (#had[j] > 18 or\n"
    "                     not string.find(had[j], '^%d+$')) then\n"
    "        return {'damaged', key, names[j]}\n"
    "      end\n"
    "    end\n"
    "    rows[#rows + 1] = {key, i + 1, names}\n"
    "  end\n"
    "end\n"
    /* From here on nothing can fail. */
    "for _, row in ipairs(rows) do\n"
    "  local key, names = row[1], row[3]\n"
    "  for j = 1, 7 do\n"
    "    local more = ARGV[row[2] + j]\n"
    "    if more ~= '0' then\n"
    "      local sum = redis.call('HINCRBY', key, names[j], more)\n"
    "      if sum > 999999999999999000 and\n"
    "         #redis.call('HGET', key, names[j]) > 18 then\n"
    "        redis.call('HSET', key, names[j], most)\n"
    "      end\n"
    "      if j == 6 then\n"
    "        local money = redis.call('HGET', key, names[6])\n"
    "        local micro = tonumber(string.sub(money, 1, -7)) or 0\n"
    "        if tonumber(string.sub(money, -6)) > 0 then\n"
    "          micro = micro + 1\n"
    "        end\n"
    "        redis.call('HSET', key, names[8],\n"
    "                   string.format('%.0f', micro))\n"
    "      end\n"
    "    end\n"
    "  end\n"
    "end\n"
    "for i = 1, hours do\n"
    "  redis.call('EXPIREAT', KEYS[3 + i], ARGV[first_hour + i - 1])\n"
    "end\n"
    "for i = at, first_gap - 1, 3 do\n"
    "  redis.call('HSET', KEYS[2], 'at:' .. ARGV[i], ARGV[i + 2])\n"
    "end\n"
    "for i = first_gap, first_hour - 1 do\n"
    "  redis.call('HSET', KEYS[3], ARGV[i], time)\n"
    "end\n"
    /* What these lines held is in the counters now; in those of an epoch that
     * is being prepared, once it is in force. */
    "local tag = string.sub(KEYS[1], 1, -7)\n"
    "local gateway = string.match(KEYS[2], ':gateway:(.*)$')\n"
    "local open = tag .. ':open:' .. gateway\n"
    "if ids > 0 and redis.call('EXISTS', open) == 1 then\n"
    "  for i = first_id, first_row - 1 do\n"
    "    if ARGV[1] == now[1] then release(tag, gateway, ARGV[i])\n"
    "    elseif redis.pcall('HGET', open, ARGV[i]) then\n"
    "      redis.pcall('HSET', tag .. ':' .. ARGV[1] .. ':counted',\n"
    "                  ARGV[i], gateway)\n"
    "    end\n"
    "  end\n"
    "end\n"
    "redis.call('HSET', KEYS[2], 'place', ARGV[2])\n"
    "return {'ok'}\n";

const char redis_script_enter[] =
    "local t = redis.call('TIME')\n"
    "local now = redis.call('HMGET', KEYS[1], 'id', 'parents')\n"
    "local id, parents, known = now[1], now[2] or '', ARGV[4]\n"
    "if not id then\n"
    "  id = ARGV[3]\n"
    "  redis.call('HSET', KEYS[1], 'id', id, 'at', t[1])\n"
    "end\n"
    "local base = ARGV[1] .. ':' .. id .. ':'\n"
    "local gateways, record = base .. 'gateways',\n"
    "                         base .. 'gateway:' .. ARGV[2]\n"
    /* Redis has lost the epoch that we knew: so it has those who counted. */
    "if known ~= '' and known ~= id and\n"
    "   not string.find(parents, known, 1, true) then\n"
    "  for i = 5, #ARGV do\n"
    "    redis.call('HSETNX', gateways, ARGV[i], 'absent')\n"
    "  end\n"
    "end\n"
    "local state = redis.call('HGET', gateways, ARGV[2])\n"
    "if state and state ~= 'absent' and\n"
    "   redis.call('EXISTS', record) == 0 then\n"
    "  return {'gone', id}\n"
    "end\n"
    "redis.call('HSETNX', record, 'since', t[1])\n"
    "if not state or state == 'absent' then\n"
    "  redis.call('HSET', gateways, ARGV[2], 'replaying')\n"
    "end\n"
    "local r = redis.call('HMGET', record, 'place', 'writer', 'seen')\n"
    "local age = t[1] * 1000 + math.floor(t[2] / 1000) -\n"
    "            (tonumber(r[3]) or 0)\n"
    "return {'ok', id, r[1] or '', r[2] or '',\n"
    "        string.format('%.0f', math.max(age, 0))}\n";

const char redis_script_beat[] =
    "local t = redis.call('TIME')\n"
    "local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
    "local id = redis.call('HGET', KEYS[1], 'id')\n"
    "if id ~= ARGV[1] then return {'epoch', id or ''} end\n"
    /* Sums are not whole while what our workers hold is not known here. */
    "local state, joined = ARGV[4], 0\n"
    "if state ~= '' and ARGV[5] ~= '0' then\n"
    "  for _, entry in ipairs(redis.call('HGETALL', KEYS[4])) do\n"
    "    local epoch, run = string.match(entry,\n"
    "      '^%S+ %S+ in (%S+) (%S+)')\n"
    "    if epoch == id and run == state then joined = joined + 1 end\n"
    "  end\n"
    "  if joined < tonumber(ARGV[5]) then state = '' end\n"
    "end\n"
    "if redis.call('EXISTS', KEYS[3]) == 0 then return {'gone'} end\n"
    "local r = redis.call('HMGET', KEYS[3], 'writer', 'seen')\n"
    "local age = math.max(now - (tonumber(r[2]) or 0), 0)\n"
    "redis.call('HSET', KEYS[2], ARGV[2],\n"
    "           state == '' and 'replaying' or state)\n"
    "redis.call('HSET', KEYS[3], 'writer', ARGV[3],\n"
    "           'seen', string.format('%.0f', now))\n"
    "local out = redis.call('HGETALL', KEYS[2])\n"
    "table.insert(out, 1, string.format('%.0f', age))\n"
    "table.insert(out, 1, r[1] or '')\n"
    "table.insert(out, 1, 'ok')\n"
    "return out\n";

/* What is left of the old epoch goes within a day, its counters when their time
 * has come. */
const char redis_script_switch[] =
    LUA_RELEASE "local now = redis.call('HMGET', KEYS[1], 'id', 'parents')\n"
		"if now[1] ~= ARGV[2] then return {'epoch', now[1] or ''} end\n"
		"local old = ARGV[1] .. ':' .. ARGV[2] .. ':'\n"
		"local new = ARGV[1] .. ':' .. ARGV[3] .. ':gateways'\n"
		"local names = redis.pcall('HKEYS', old .. 'gateways')\n"
		"if names.err then names = {} end\n"
		"for _, name in ipairs(names) do\n"
		"  if name ~= ARGV[4] then\n"
		"    redis.call('HSETNX', new, name, 'absent')\n"
		"  end\n"
		"  redis.call('EXPIRE', old .. 'gateway:' .. name, 86400)\n"
		"end\n"
		"redis.call('EXPIRE', old .. 'gateways', 86400)\n"
		"redis.call('EXPIRE', old .. 'skipped', 86400)\n"
		"if ARGV[5] ~= '' then\n"
		"  redis.call('HSET', new, ARGV[5], ARGV[6])\n"
		"end\n"
		"redis.call('HSET', KEYS[1], 'id', ARGV[3], 'parents',\n"
		"  string.sub(ARGV[2] .. ' ' .. (now[2] or ''), 1, 16 * 27),\n"
		"  'at', redis.call('TIME')[1])\n"
		"redis.call('HDEL', KEYS[1], 'next')\n"
		"local key = ARGV[1] .. ':' .. ARGV[3] .. ':counted'\n"
		"local counted = redis.pcall('HGETALL', key)\n"
		"for i = 1, #counted, 2 do\n"
		"  release(ARGV[1], counted[i + 1], counted[i])\n"
		"end\n"
		"redis.call('DEL', key)\n"
		"return {'ok'}\n";

const char redis_script_prepare[] =
    "local kind = redis.call('TYPE', KEYS[1])['ok']\n"
    "if kind ~= 'none' and kind ~= 'hash' then\n"
    "  redis.call('DEL', KEYS[1])\n"
    "end\n"
    "local id = redis.call('HGET', KEYS[1], 'id')\n"
    "local time = redis.call('TIME')[1]\n"
    "if not id then\n"
    "  id = ARGV[4]\n"
    "  redis.call('HSET', KEYS[1], 'id', id, 'at', time)\n"
    "end\n"
    "redis.call('HSET', KEYS[1], 'next', ARGV[3])\n"
    "local base = ARGV[1] .. ':' .. ARGV[3] .. ':'\n"
    "redis.call('HSET', base .. 'gateways', ARGV[2], 'replaying')\n"
    "redis.call('HSET', base .. 'gateway:' .. ARGV[2], 'since', time)\n"
    "return {'ok', id}\n";

void
redis_batch_init(struct redis_batch *b)
{
	*b = (struct redis_batch){.sums = redis_sums_create()};
}

void
redis_batch_release(struct redis_batch *b)
{
	redis_sums_destroy(&b->sums);
	redis_args_release(&b->gaps);
	redis_args_release(&b->ids);
}

void
redis_batch_clear(struct redis_batch *b)
{
	redis_sums_clear(b->sums);
	redis_args_clear(&b->gaps);
	redis_args_clear(&b->ids);
	b->span_count = b->lines = 0;
	b->skipped = 0;
}

/* The span that the line continues, made if it is its writer's first. */
static struct redis_span *
span_of(struct redis_batch *b, struct slice writer, uint64_t mark)
{
	struct redis_span *s;

	for (size_t i = 0; i < b->span_count; i++)
		if (slice_is(writer, b->spans[i].writer))
			return &b->spans[i];
	if (b->span_count == REDIS_BATCH_SPANS_MOST || writer.len > ULID_CHARS)
		return NULL;
	s = &b->spans[b->span_count++];
	memcpy(s->writer, writer.p, writer.len);
	s->writer[writer.len] = '\0';
	s->before = s->last = mark;
	return s;
}

bool
redis_batch_take(
    struct redis_batch *b, const struct ledger_view *line, uint64_t mark)
{
	struct redis_span *s = span_of(b, line->writer, mark);

	if (s == NULL)
		return false;
	if (line->seq > s->last + 1) {
		redis_args_printf(&b->gaps, "%s %llu-%llu", s->writer,
		    (unsigned long long)(s->last + 1),
		    (unsigned long long)(line->seq - 1));
		b->skipped += line->seq - 1 - s->last;
	}
	s->last = line->seq;
	b->lines++;
	redis_args_slice(&b->ids, line->id);
	redis_sums_add(b->sums, line);
	redis_spent_add(b->sums, line);
	return true;
}

void
redis_key(struct redis_args *to, const char *prefix, const char *epoch,
    const char *rest, struct slice more)
{
	struct buf key = {0};

	buf_printf(&key, "{%s}:%s%s%s", prefix, epoch,
	    epoch[0] == '\0' ? "" : ":", rest);
	buf_put(&key, more.p, more.len);
	redis_args_slice(to, (struct slice){buf_data(&key), buf_len(&key)});
	buf_release(&key);
}

/* Rows of one user and hour mostly come together: a key that was just used is
 * not put twice.  One that comes twice anyway does no harm. */
struct hours {
	struct redis_args keys, ends;
	struct slice last; /* without prefix and epoch */
};

static void
add_hour(struct hours *h, const char *prefix, const char *epoch,
    const struct redis_row *row)
{
	int64_t end_ms = row->ends_ms;

	if (h->last.p != NULL && h->last.len == row->key.len &&
	    memcmp(h->last.p, row->key.p, row->key.len) == 0)
		return;
	h->last = row->key;
	redis_key(&h->keys, prefix, epoch, "", row->key);
	redis_args_number(&h->ends, end_ms < 0 ? 0 : (uint64_t)(end_ms / 1000));
}

static void
put_row(struct redis_args *to, size_t hour, const struct redis_row *row)
{
	redis_args_number(to, hour);
	redis_args_slice(to, row->field);
	for (size_t i = 0; i < REDIS_COUNTER_COUNT; i++)
		redis_args_number(to, row->counts[i]);
}

void
redis_batch_command(const struct redis_batch *b, const char *prefix,
    const char *epoch, const char *name, const char *place,
    struct redis_args *out)
{
	struct redis_args rows = {0};
	struct hours hours = {0};
	struct redis_row row;

	for (size_t i = 0; i < redis_sums_count(b->sums); i++) {
		redis_sums_row(b->sums, i, &row);
		add_hour(&hours, prefix, epoch, &row);
		put_row(&rows, hours.keys.count, &row);
	}
	redis_args_number(out, 3 + hours.keys.count);
	redis_key(out, prefix, "", "epoch", SLICE(""));
	redis_key(out, prefix, epoch, "gateway:", slice_of(name));
	redis_key(out, prefix, epoch, "skipped", SLICE(""));
	redis_args_append(out, &hours.keys);
	redis_args_text(out, epoch);
	redis_args_text(out, place);
	redis_args_number(out, b->span_count);
	redis_args_number(out, b->gaps.count);
	redis_args_number(out, b->ids.count);
	for (size_t i = 0; i < b->span_count; i++) {
		redis_args_text(out, b->spans[i].writer);
		redis_args_number(out, b->spans[i].before);
		redis_args_number(out, b->spans[i].last);
	}
	redis_args_append(out, &b->gaps);
	redis_args_append(out, &hours.ends);
	redis_args_append(out, &b->ids);
	redis_args_append(out, &rows);
	redis_args_release(&rows);
	redis_args_release(&hours.keys);
	redis_args_release(&hours.ends);
}
