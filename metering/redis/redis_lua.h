/*
 * redis_lua.h - pieces that several scripts have in common.
 *
 * A reservation is a field of {prefix}:open:GATEWAY: the request's id, and in
 * JSON `j`, which join of a worker put it there; `e`, when its request ended
 * (0: it has not); `h`, what it holds: amounts by the fields of {prefix}:held
 * in which they are summed up.  A sum and its parts change in one script.
 */
#pragma once

/* release(tag, gateway, id): takes a reservation away.  It cannot fail: what
 * somebody else has put in the place of ours holds nothing. */
#define LUA_RELEASE                                                         \
	"local function release(tag, gateway, id)\n"                        \
	"  local open, held = tag .. ':open:' .. gateway, tag .. ':held'\n" \
	"  local text = redis.pcall('HGET', open, id)\n"                    \
	"  if type(text) ~= 'string' then return false end\n"               \
	"  redis.pcall('HDEL', open, id)\n"                                 \
	"  local ok, record = pcall(cjson.decode, text)\n"                  \
	"  if not ok or type(record) ~= 'table' or\n"                       \
	"     type(record.h) ~= 'table' then\n"                             \
	"    return true\n"                                                 \
	"  end\n"                                                           \
	"  for field, amount in pairs(record.h) do\n"                       \
	"    local left = redis.pcall('HINCRBY', held, field,\n"            \
	"                             '-' .. tostring(amount))\n"           \
	"    if type(left) ~= 'number' or left <= 0 then\n"                 \
	"      redis.pcall('HDEL', held, field)\n"                          \
	"    end\n"                                                         \
	"  end\n"                                                           \
	"  return true\n"                                                   \
	"end\n"

/* now_us(): Redis's clock, a whole number below 2^53 until the year 2255. */
#define LUA_NOW                               \
	"local function now_us()\n"           \
	"  local t = redis.call('TIME')\n"    \
	"  return t[1] * 1000000 + t[2]\n"    \
	"end\n"                               \
	"local function whole(n)\n"           \
	"  return string.format('%.0f', n)\n" \
	"end\n"
