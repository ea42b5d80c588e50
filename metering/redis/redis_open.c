#include "metering/redis/redis_open.h"

#include "metering/redis/redis_lua.h"

#include "base/banned.h"

/* An entry of workers:GATEWAY is WRITER JOIN joining, or
 * WRITER JOIN in EPOCH RUN SINCE. */
#define LUA_BEGIN                                             \
	LUA_NOW                                               \
	"local now = now_us()\n"                              \
	"local tag, gateway = ARGV[1], ARGV[2]\n"             \
	"if ARGV[5] ~= '' and now > tonumber(ARGV[5]) then\n" \
	"  return {'late'}\n"                                 \
	"end\n"

#define LUA_MEMBER                                               \
	"local entry = redis.call('HGET', KEYS[2], ARGV[3])\n"   \
	"if not entry or\n"                                      \
	"   string.match(entry, '^%S+ (%S+)') ~= ARGV[4] then\n" \
	"  return {'join'}\n"                                    \
	"end\n"

/* The generic cell rate algorithm of auth/limiter.c.  A bucket is its debt in
 * ns at a time in us: both are whole numbers below 2^53, which a Lua number
 * holds exactly.  (One time in ns would be 2^60.) */
#define LUA_RATES                                                         \
	"local deepest = 4503599627370496\n" /* 2^52 ns: 52 days */       \
	"local function bucket(subject, name)\n"                          \
	"  return tag .. ':rate:' .. name .. ':' .. subject\n"            \
	"end\n"                                                           \
	"local function debt_of(key)\n"                                   \
	"  local had = redis.call('HMGET', key, 'at', 'debt')\n"          \
	"  local at, debt = tonumber(had[1]), tonumber(had[2])\n"         \
	"  if not at or not debt or debt ~= debt then return 0 end\n"     \
	"  local past = math.min(math.max(now - at, 0), 4503599627370)\n" \
	"  return math.max(math.min(debt, deepest) - past * 1000, 0)\n"   \
	"end\n"                                                           \
	"local function owe(key, debt)\n"                                 \
	"  debt = math.min(debt, deepest)\n"                              \
	"  if debt <= 0 then redis.call('DEL', key) return end\n"         \
	"  redis.call('HSET', key, 'at', whole(now),\n"                   \
	"             'debt', whole(debt))\n"                             \
	"  redis.call('EXPIRE', key, whole(math.ceil(debt / 1e9) + 1))\n" \
	"end\n"

/* Amounts go up to 2^63 - 1, and a Lua number is exact up to 2^53.  So they are
 * added as two numbers, {n div 10^9, n mod 10^9}: of a text of at most 19
 * digits the first is below 10^10 and the second below 10^9.  A sum has at most
 * 3,000 terms (a month's days, two days' quarters, what is held, what is
 * needed), so that both stay below 2^45; then the second's carry goes to the
 * first, and pairs compare like the numbers that they stand for.  What is kept
 * is added by HINCRBY, which counts in 64 bits. */
#define LUA_AMOUNTS                                                       \
	"local function add(sum, text)\n"                                 \
	"  if not text then return true end\n"                            \
	"  if #text > 19 or not string.find(text, '^%d+$') then\n"        \
	"    return false\n"                                              \
	"  end\n"                                                         \
	"  sum[1] = sum[1] + (tonumber(string.sub(text, 1, -10)) or 0)\n" \
	"  sum[2] = sum[2] + tonumber(string.sub(text, -9))\n"            \
	"  return true\n"                                                 \
	"end\n"                                                           \
	"local function carry(sum)\n"                                     \
	"  local more = math.floor(sum[2] / 1e9)\n"                       \
	"  sum[1], sum[2] = sum[1] + more, sum[2] - more * 1e9\n"         \
	"  if sum[2] < 0 then\n"                                          \
	"    sum[1], sum[2] = sum[1] - 1, sum[2] + 1e9\n"                 \
	"  end\n"                                                         \
	"  return sum\n"                                                  \
	"end\n"                                                           \
	"local function exceeds(a, b)\n"                                  \
	"  if a[1] ~= b[1] then return a[1] > b[1] end\n"                 \
	"  return a[2] > b[2]\n"                                          \
	"end\n"                                                           \
	"local function text_of(sum)\n"                                   \
	"  if sum[1] <= 0 then return whole(math.max(sum[2], 0)) end\n"   \
	"  return whole(sum[1]) .. string.format('%09.0f', sum[2])\n"     \
	"end\n"

/* What a subject has used in a period: whole days of UTC by their totals, the
 * quarters of an hour of those that the period cuts.  Time zones are whole
 * quarters away from UTC, so periods are whole quarters too. */
#define LUA_USED                                                             \
	"local counters = {\n"                                               \
	"  tokens = {'', 'input', 'output'}, money = {'', 'pusd'},\n"        \
	"  fallback = {'fallback|', 'pusd'}}\n"                              \
	"local function add_fields(sum, key, fields)\n"                      \
	"  local had = redis.call('HMGET', key, unpack(fields))\n"           \
	"  for i = 1, #fields do\n"                                          \
	"    if not add(sum, had[i]) then return false end\n"                \
	"  end\n"                                                            \
	"  return true\n"                                                    \
	"end\n"                                                              \
	"local function used_by(epoch, subject, kind, begin, stop)\n"        \
	"  local sum, names = {0, 0}, counters[kind]\n"                      \
	"  local first = math.floor(begin / 900000)\n"                       \
	"  local last = math.ceil(stop / 900000) - 1\n"                      \
	"  local days = math.floor(last / 96)\n"                             \
	"  for day = math.floor(first / 96), days do\n"                      \
	"    local from = math.max(first - day * 96, 0)\n"                   \
	"    local to = math.min(last - day * 96, 95)\n"                     \
	"    local fields = {}\n"                                            \
	"    for i = 2, #names do\n"                                         \
	"      if from == 0 and to == 95 then\n"                             \
	"        fields[#fields + 1] = names[1] .. 'all|' .. names[i]\n"     \
	"      else\n"                                                       \
	"        for q = from, to do\n"                                      \
	"          fields[#fields + 1] = names[1] .. q .. '|' .. names[i]\n" \
	"        end\n"                                                      \
	"      end\n"                                                        \
	"    end\n"                                                          \
	"    local key = tag .. ':' .. epoch .. ':spent:' .. day .. ':' .. " \
	"subject\n"                                                          \
	"    if not add_fields(sum, key, fields) then return nil end\n"      \
	"  end\n"                                                            \
	"  return carry(sum)\n"                                              \
	"end\n"

/* The request's own reservation; false where somebody else wrote there. */
#define LUA_RECORD                                              \
	"local function record_of(id)\n"                        \
	"  local text = redis.call('HGET', KEYS[3], id)\n"      \
	"  if not text then return nil, true end\n"             \
	"  local ok, record = pcall(cjson.decode, text)\n"      \
	"  return record, ok and type(record) == 'table' and\n" \
	"         type(record.h) == 'table'\n"                  \
	"end\n"

const char redis_script_take[] =
    LUA_BEGIN LUA_MEMBER LUA_RATES LUA_AMOUNTS LUA_USED LUA_RECORD
    "local id, must_fit = ARGV[6], ARGV[7] == 'check'\n"
    "local epoch = redis.call('HGET', KEYS[1], 'id') or ''\n"
    "if ARGV[8] ~= '' and ARGV[8] ~= epoch then return {'epoch'} end\n"
    "local record, is_sound = record_of(id)\n"
    "if not is_sound then return {'damaged'} end\n"
    "local rates, debts, out = tonumber(ARGV[9]), {}, {'ok'}\n"
    "for i = 1, rates do\n"
    "  local at = 10 + 5 * (i - 1)\n"
    "  local key = bucket(ARGV[at], ARGV[at + 1])\n"
    "  local cell, burst, cost = tonumber(ARGV[at + 2]),\n"
    "    tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])\n"
    "  local debt = debt_of(key)\n"
    "  local wait = 0\n"
    "  if not record and must_fit then\n"
    "    if cell == 0 then\n"
    "      wait = -1\n"
    "    elseif cost > burst then\n" /* when the bucket is full */
    "      wait = debt\n"
    "    else\n"
    "      wait = math.max(debt + cost * cell - burst * cell, 0)\n"
    "    end\n"
    "  end\n"
    "  if wait ~= 0 and out[1] == 'ok' then\n"
    "    out = {'rate', i - 1, whole(wait)}\n"
    "  end\n"
    "  debts[i] = {key, debt, record and 0 or cost * cell}\n"
    "end\n"
    "local holds = record and record.h or {}\n"
    "local fields, changes = {}, {}\n"
    "local first = 10 + 5 * rates\n"
    "for at = first, #ARGV, 6 do\n"
    "  local subject, kind = ARGV[at], ARGV[at + 1]\n"
    "  local field = subject .. ' ' .. kind .. ' ' .. ARGV[at + 2]\n"
    "  local old, new = tostring(holds[field] or '0'), ARGV[at + 5]\n"
    "  local held, mine, more = {0, 0}, {0, 0}, {0, 0}\n"
    "  if not add(held, redis.call('HGET', KEYS[4], field)) or\n"
    "     not add(mine, old) or not add(more, new) then\n"
    "    return {'damaged'}\n"
    "  end\n"
    "  held[1], held[2] = held[1] - mine[1], held[2] - mine[2]\n"
    "  carry(held)\n"
    "  if held[1] < 0 then held = {0, 0} end\n"
    /* Below 2^63 with room, so that HINCRBY cannot fail. */
    "  if held[1] + more[1] >= 9000000000 then return {'damaged'} end\n"
    "  if must_fit and ARGV[at + 4] ~= '' and out[1] == 'ok' then\n"
    "    local used = used_by(epoch, subject, kind,\n"
    "      tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]))\n"
    "    local most = {0, 0}\n"
    "    if not used or not add(most, ARGV[at + 4]) then\n"
    "      return {'damaged'}\n"
    "    end\n"
    "    local all = carry({used[1] + held[1] + more[1],\n"
    "                       used[2] + held[2] + more[2]})\n"
    "    if exceeds(all, most) then\n"
    "      out = {'amount', (at - first) / 6, text_of(used),\n"
    "             text_of(held)}\n"
    "    end\n"
    "  end\n"
    "  changes[#changes + 1] = {field, old, new}\n"
    "end\n"
    "if out[1] == 'ok' then\n" /* From here on nothing can fail. */
    "  for i = 1, rates do\n"
    "    if debts[i][3] ~= 0 then\n"
    "      debts[i][2] = debts[i][2] + debts[i][3]\n"
    "      owe(debts[i][1], debts[i][2])\n"
    "    end\n"
    "  end\n"
    "  for _, change in ipairs(changes) do\n"
    "    local field, old, new = change[1], change[2], change[3]\n"
    "    local left = 1\n"
    "    if old ~= '0' then\n"
    "      left = redis.call('HINCRBY', KEYS[4], field, '-' .. old)\n"
    "    end\n"
    "    if new ~= '0' then\n"
    "      left = redis.call('HINCRBY', KEYS[4], field, new)\n"
    "    end\n"
    "    if left <= 0 then redis.call('HDEL', KEYS[4], field) end\n"
    "    holds[field] = new ~= '0' and new or nil\n"
    "  end\n"
    "  redis.call('HSET', KEYS[3], id,\n"
    "    cjson.encode({j = ARGV[4], e = 0, h = holds}))\n"
    "end\n"
    "out[#out + 1] = whole(now)\n"
    "for i = 1, rates do out[#out + 1] = whole(debts[i][2]) end\n"
    "return out\n";

const char redis_script_settle[] =
    LUA_BEGIN LUA_MEMBER LUA_RATES LUA_RECORD LUA_RELEASE
    "local id = ARGV[6]\n"
    "local record, is_sound = record_of(id)\n"
    "local is_open = record and is_sound and record.e == 0\n"
    /* The line may have been counted before; a refusal told twice was told. */
    "if is_open or (not record and ARGV[7] == 'line') then\n"
    "  for at = 9, #ARGV, 4 do\n"
    "    local key = bucket(ARGV[at], ARGV[at + 1])\n"
    "    owe(key, debt_of(key) - ARGV[at + 2] * ARGV[at + 3])\n"
    "  end\n"
    "end\n"
    "if is_open then\n"
    "  record.e = math.floor(now / 1000)\n"
    "  record.j = ARGV[4]\n"
    "  redis.call('HSET', KEYS[3], id, cjson.encode(record))\n"
    "end\n"
    "if ARGV[7] == 'none' then release(tag, gateway, id) end\n"
    "if ARGV[8] ~= '' then\n"
    "  redis.call('HDEL', tag .. ':slots:' .. ARGV[8], id)\n"
    "end\n"
    "return {'ok'}\n";

const char redis_script_slot_take[] = LUA_BEGIN LUA_MEMBER
    "local id, key = ARGV[6], tag .. ':slots:' .. ARGV[8]\n"
    "local all, taken, is_mine = redis.call('HGETALL', key), 0, false\n"
    "local alive, gone = {}, {}\n"
    "for i = 1, #all, 2 do\n"
    "  local who = all[i + 1]\n"
    "  if alive[who] == nil then\n"
    "    local ends = tonumber(redis.call('HGET', KEYS[5], who))\n"
    "    alive[who] = ends ~= nil and ends * 1000 > now\n"
    "  end\n"
    "  if all[i] == id then is_mine = true\n"
    "  elseif alive[who] then taken = taken + 1\n"
    "  else gone[#gone + 1] = all[i] end\n"
    "end\n"
    "for _, other in ipairs(gone) do redis.call('HDEL', key, other) end\n"
    "if ARGV[7] == 'check' and not is_mine and\n"
    "   taken >= tonumber(ARGV[9]) then\n"
    "  return {'full', taken}\n"
    "end\n"
    "redis.call('HSET', key, id, gateway)\n"
    "redis.call('EXPIRE', key, 604800)\n"
    "return {'ok', taken + 1}\n";

const char redis_script_slot_give[] =
    LUA_BEGIN "redis.call('HDEL', tag .. ':slots:' .. ARGV[7], ARGV[6])\n"
	      "return {'ok'}\n";

const char redis_script_join[] =
    LUA_BEGIN "local all = redis.call('HGETALL', KEYS[2])\n"
	      "for i = 1, #all, 2 do\n"
	      "  if string.match(all[i + 1], '^%S+') ~= ARGV[6] then\n"
	      "    redis.call('HDEL', KEYS[2], all[i])\n"
	      "  end\n"
	      "end\n"
	      "redis.call('HSET', KEYS[2], ARGV[3],\n"
	      "           ARGV[6] .. ' ' .. ARGV[4] .. ' joining')\n"
	      "redis.call('HSET', KEYS[5], gateway,\n"
	      "           whole(math.floor(now / 1000) + ARGV[7]))\n"
	      "return {'ok', whole(now)}\n";

/* Who was away for longer than its lease may have lost slots to others; then
 * all of its workers say again what they hold. */
const char redis_script_alive[] = LUA_BEGIN LUA_MEMBER
    "local epoch = redis.call('HGET', KEYS[1], 'id') or '-'\n"
    "local ms = math.floor(now / 1000)\n"
    "local writer, join, state, was, run, since = string.match(entry,\n"
    "  '^(%S+) (%S+) (%S+) ?(%S*) ?(%S*) ?(%S*)')\n"
    "local ends = tonumber(redis.call('HGET', KEYS[5], gateway))\n"
    "if state == 'in' and (was ~= epoch or not ends or ends < ms) then\n"
    "  if was == epoch then redis.call('DEL', KEYS[2]) end\n"
    "  return {'join'}\n"
    "end\n"
    "if state ~= 'in' then since = whole(ms) end\n"
    "redis.call('HSET', KEYS[2], ARGV[3], table.concat(\n"
    "  {ARGV[6], ARGV[4], 'in', epoch, ARGV[8], since}, ' '))\n"
    "redis.call('HSET', KEYS[5], gateway, whole(ms + ARGV[7]))\n"
    "local all, alive = redis.call('HGETALL', KEYS[5]), 0\n"
    "for i = 1, #all, 2 do\n"
    "  local other = tonumber(all[i + 1]) or 0\n"
    "  if other > ms then alive = alive + 1\n"
    "  elseif other + 86400000 < ms then\n"
    "    redis.call('HDEL', KEYS[5], all[i])\n"
    "  end\n"
    "end\n"
    "return {'ok', whole(now), alive}\n";

const char redis_script_sweep[] = LUA_BEGIN LUA_MEMBER LUA_RECORD LUA_RELEASE
    "local before = math.floor(now / 1000) - ARGV[6]\n"
    "local joins, settled = {}, true\n"
    "local all = redis.call('HGETALL', KEYS[2])\n"
    "for i = 2, #all, 2 do\n"
    "  local join, since = string.match(all[i],\n"
    "    '^%S+ (%S+) in %S+ %S+ (%d+)')\n"
    "  if not join or tonumber(since) > before then settled = false\n"
    "  else joins[join] = true end\n"
    "end\n"
    "local count = 0\n"
    "for _, id in ipairs(redis.call('HKEYS', KEYS[3])) do\n"
    "  local record, is_sound = record_of(id)\n"
    "  local ended = is_sound and tonumber(record.e) or 0\n"
    "  if not is_sound or (ended > 0 and ended < before) or\n"
    "     (settled and not joins[record.j]) then\n"
    "    release(tag, gateway, id)\n"
    "    count = count + 1\n"
    "  end\n"
    "end\n"
    "return {'ok', count}\n";

const char redis_script_forget[] = LUA_NOW LUA_RELEASE
    "local tag, gateway = ARGV[1], ARGV[2]\n"
    "local ends = tonumber(redis.call('HGET', KEYS[3], gateway)) or 0\n"
    "local left = ends - math.floor(now_us() / 1000)\n"
    "if left > 0 then return {'alive', left} end\n"
    "local ids = redis.call('HKEYS', KEYS[1])\n"
    "for i = 1, math.min(#ids, 1000) do release(tag, gateway, ids[i]) end\n"
    "if #ids > 1000 then return {'ok', 1000, 1} end\n"
    "redis.call('DEL', KEYS[1], KEYS[2])\n"
    "redis.call('HDEL', KEYS[3], gateway)\n"
    "return {'ok', #ids, 0}\n";
