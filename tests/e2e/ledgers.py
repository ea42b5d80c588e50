"""Ledgers made up for tests of what reads them, and how they are summed up by
somebody else than the program."""

import collections
import datetime
import decimal
import json
import random
import zoneinfo

UTC = datetime.timezone.utc
WRITERS = ["01K9W0000000000000000000%02d" % n for n in range(100)]


def moment(text):
    return datetime.datetime.fromisoformat(text).replace(tzinfo=UTC)


def line(when, seq=1, writer=WRITERS[0], **members):
    """A line as a dict, in the order of the writer."""
    tokens_in = members.pop("prompt_tokens", 100)
    tokens_out = members.pop("completion_tokens", 10)
    first = {
        "ts": when.strftime("%Y-%m-%dT%H:%M:%SZ"), "user": "alice",
        "model": "m", "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out, "duration_ms": 1500,
        "id": f"01K9X4{seq:020d}", "key": "k3f8aa", "api": "chat",
        "stream": True, "status": 200, "end": "ok",
        "usage_source": "upstream", "usage_damaged": False,
        "cached_tokens": 40, "cache_write_tokens": 0, "reasoning_tokens": 0,
        "audio_tokens": 0, "cost_usd": "0.000000000000",
        "upstream_cost_usd": None, "price_date": None, "ttft_ms": 500,
        "queue_ms": 0, "bytes_in": 400, "bytes_out": 50, "upstream": "spark",
        "upstream_model": "deepseek", "paid": False,
        "avoided_usd": "0.000000000000", "client": "curl/8",
        "client_request_id": None, "session": None,
        "predicted_ttft_ms": None, "prefill": None, "joined_by": None,
        "fallback_usd": "0.000000000000",
        "attempts": [{"upstream": "spark", "result": "ok"}]}
    first.update(members)
    return {**first, "writer": writer, "seq": seq}


def text(lines):
    return "".join(json.dumps(x, separators=(",", ":"), ensure_ascii=False)
                   + "\n" for x in lines)


def random_lines(count, begin, end, seed=1, first_seq=1, writer=WRITERS[0]):
    """Lines that arrived between two moments, in no strict order."""
    r = random.Random(seed)
    span = int((end - begin).total_seconds())
    times = sorted(r.randrange(span) for _ in range(count))
    lines = []
    for i, second in enumerate(times):
        second = max(0, second - r.choice((0, 0, 0, 30, 4000)))
        paid = r.random() < 0.3
        tokens_in = int(r.lognormvariate(7, 2))
        lines.append(line(
            begin + datetime.timedelta(seconds=second), first_seq + i, writer,
            user=r.choice(["alice", "bob", "zoë", "a\tb"]),
            model=r.choice(["ds4", "coder", None]),
            key=r.choice(["k3f8aa", "k7q2m9", None]),
            prompt_tokens=tokens_in,
            cached_tokens=r.randrange(tokens_in + 1),
            completion_tokens=int(r.lognormvariate(4, 2)),
            duration_ms=r.randrange(500, 90000),
            ttft_ms=r.choice([None, int(r.lognormvariate(6, 2))]),
            stream=r.random() < 0.8,
            end=r.choice(["ok", "ok", "ok", "client_gone", "timeout"]),
            usage_source=r.choice(["upstream", "upstream", "estimated"]),
            upstream="fireworks" if paid else "spark", paid=paid,
            cost_usd=f"{r.random():.12f}" if paid else "0.000000000000",
            avoided_usd="0.000000000000" if paid else f"{r.random():.12f}",
            attempts=[] if r.random() < 0.1 else
            [{"upstream": "spark", "result": "ok"}]))
    return lines


def period_start(name, when, zone):
    local = when.astimezone(zone)
    if name == "hourly":
        minute = local.minute
        return when - datetime.timedelta(minutes=minute,
                                         seconds=local.second)
    day = local.date()
    if name == "weekly":
        day -= datetime.timedelta(days=day.weekday())
    elif name == "monthly":
        day = day.replace(day=1)
    midnight = datetime.datetime(day.year, day.month, day.day, tzinfo=zone)
    return midnight.astimezone(UTC)


class Row:
    def __init__(self):
        self.sums = collections.Counter()
        self.cost = self.avoided = decimal.Decimal(0)
        self.ttft = []

    def add(self, x):
        s = self.sums
        s["requests"] += 1
        for name in ("prompt_tokens", "cached_tokens", "completion_tokens"):
            s[name] += x[name]
        if not x["paid"]:
            s["local_tokens"] += x["prompt_tokens"] + x["completion_tokens"]
        if x["end"] == "client_gone" and x["ttft_ms"] is None:
            s["cancelled"] += 1
        if x["end"] not in ("ok", "client_gone", "revoked"):
            s["failed"] += 1
        self.cost += decimal.Decimal(x["cost_usd"])
        self.avoided += decimal.Decimal(x["avoided_usd"])
        if x["ttft_ms"] is not None:
            self.ttft.append(x["ttft_ms"])
            rest = x["duration_ms"] - x["ttft_ms"]
            if x["stream"] and rest > 0:
                s["stream_ms"] += rest
                s["stream_tokens"] += x["completion_tokens"]

    def assert_is(self, shown):
        """`shown` is a row of `weir report --json`."""
        for name in ("requests", "prompt_tokens", "cached_tokens",
                     "completion_tokens", "local_tokens", "cancelled",
                     "failed"):
            assert shown[name] == self.sums[name], (name, shown)
        assert decimal.Decimal(shown["cost_usd"]) == self.cost
        assert decimal.Decimal(shown["avoided_usd"]) == self.avoided
        for percent, name in (50, "ttft_p50_ms"), (95, "ttft_p95_ms"):
            if not self.ttft:
                assert shown[name] is None
                continue
            rank = (len(self.ttft) * percent + 99) // 100
            exact = sorted(self.ttft)[rank - 1]
            assert abs(shown[name] - exact) <= exact * 0.016, (exact, shown)
        if self.sums["stream_ms"]:
            speed = self.sums["stream_tokens"] * 1000 / self.sums["stream_ms"]
            assert abs((shown["tokens_per_second"] or 0) - speed) < 0.051


def reference(lines, period=None, zone="UTC", by=(), since=None, until=None,
              **only):
    """Rows by (start, names...), and the total."""
    zone = zoneinfo.ZoneInfo(zone)
    rows, total = collections.defaultdict(Row), Row()
    for x in lines:
        when = moment(x["ts"][:-1])
        if not x["attempts"] or (since and when < since) or \
                (until and when >= until) or \
                any(x[k] != v for k, v in only.items()):
            continue
        start = period and period_start(period, when, zone)
        rows[(start, *(x[name] for name in by))].add(x)
        total.add(x)
    return rows, total


def assert_report(shown, rows, total, period, by):
    """`shown` is the object of `weir report --json`."""
    assert shown["schema"] == 1
    seen = {}
    for row in shown["rows"]:
        start = period and moment(row["start"][:-1])
        key = (start, *(row[name] for name in by))
        assert key not in seen, key
        seen[key] = row
    assert seen.keys() == rows.keys()
    for key, row in rows.items():
        row.assert_is(seen[key])
    total.assert_is(shown["total"])
