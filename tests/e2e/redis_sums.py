"""What Redis must hold for a ledger, what it does hold, and gateways that count
there."""

import collections
import json
import pathlib
import re
import threading
import time

import pytest

from harness import basic_config, wait_until
from redis_server import Failure, Redis

__all__ = ["COUNTERS", "Traffic", "WRITER", "check", "config_for", "counters",
           "holds", "is_ready", "line_of", "lines_of", "redis", "run",
           "state_of", "sums", "talk", "write_ledger"]

WRITER = "01K9W00000000000000000000A"
COUNTERS = ("requests", "input", "cached", "output", "reasoning", "pusd",
            "errors")


# --- what must stand where ---------------------------------------------------

def pico(text):
    dollars, _, rest = text.partition(".")
    return int(dollars) * 10**12 + int((rest + "0" * 12)[:12])


def sums(*ledgers):
    """What Redis must hold for these lines: {(hour, user, model|upstream,
    counter): n}, without zeros."""
    found = collections.Counter()
    for line in (x for ledger in ledgers for x in ledger):
        if not line["attempts"]:
            continue
        at = (line["ts"][:13], line["user"],
              f"{line['model']}|{line['upstream']}")
        failed = line["end"] not in ("ok", "client_gone", "revoked")
        for name, n in zip(COUNTERS, (
                1, line["prompt_tokens"], line["cached_tokens"],
                line["completion_tokens"], line["reasoning_tokens"],
                pico(line["cost_usd"]), failed)):
            found[*at, name] += n
    return {k: n for k, n in found.items() if n}


def counters(redis, prefix="{weir}"):
    """What it does hold, in the epoch in force."""
    client = redis.client()
    epoch = client("HGET", prefix + ":epoch", "id")
    begin = f"{prefix}:{epoch}:use:"
    found = {}
    for key in client("KEYS", begin + "*"):
        hour, user = key[len(begin):len(begin) + 13], key[len(begin) + 14:]
        flat = client("HGETALL", key)
        for field, n in zip(flat[::2], flat[1::2]):
            row, _, counter = field.rpartition("|")
            found[hour, user, row, counter] = int(n)
        assert 399 * 86400 < client("TTL", key) <= 400 * 86400 or \
            not hour.startswith(time.strftime("%Y-%m-%dT%H", time.gmtime()))
    client.close()
    for at in [k for k in found if k[3] == "micro_usd"]:
        assert found.pop(at) == -(-found[*at[:3], "pusd"] // 10**6), at
    return {k: n for k, n in found.items() if n}


def lines_of(gateway):
    """All its lines, also those that are still on their way to the file."""
    if isinstance(gateway, list):
        return gateway
    if gateway.is_running():
        gateway.flush_ledger()
    return gateway.ledger()


def holds(redis, *ledgers, timeout=30):
    """Waits until Redis holds what these ledgers (gateways, or lists of
    lines) say."""
    wanted = sums(*map(lines_of, ledgers))
    seen = {}

    def is_so():
        try:
            seen.update(now=counters(redis))
        except (Failure, OSError):
            return False
        return seen["now"] == wanted
    try:
        wait_until(is_so, timeout)
    except AssertionError:
        now = seen.get("now", {})
        raise AssertionError({
            k: (now.get(k), wanted.get(k)) for k in {*now, *wanted}
            if now.get(k) != wanted.get(k)}) from None
    return wanted


def state_of(redis, name, prefix="{weir}"):
    epoch = redis("HGET", prefix + ":epoch", "id")
    return redis("HGET", f"{prefix}:{epoch}:gateways", name)


def is_ready(redis, name):
    """It has replayed its ledger into this run of the server."""
    return state_of(redis, name) == re.search(
        r"run_id:(\w+)", redis("INFO", "server"))[1]


def config_for(mock_server, url, name="one", **more):
    config = basic_config(mock_server)
    config["prices"] = {"mock": {"mock-model": [
        {"from": "2026-01-01", "input": "1.74", "input_cached": "0.145",
         "output": "3.48"}]}}
    for user in config["users"].values():
        user["limits"] = {"paid_routes": True}
    config["redis"] = {"url": url, "name": name, **more}
    return config


def line_of(seq, writer=WRITER, user="alice", model="m", ts=None, **more):
    """A ledger line."""
    ts = ts or time.strftime("%Y-%m-%dT%H:00:00Z", time.gmtime())
    tokens = {"prompt_tokens": 7, "cached_tokens": 0,
              "completion_tokens": 5, "cost_usd": "0.000000000001"}
    tokens |= {k: more.pop(k) for k in list(more) if k in tokens}
    return {"ts": ts, "user": user, "model": model,
            "prompt_tokens": tokens["prompt_tokens"],
            "completion_tokens": tokens["completion_tokens"],
            "duration_ms": 10, "id": f"{seq:026}", "key": None, "api": "chat",
            "stream": False, "status": 200, "end": "ok",
            "usage_source": "upstream", "usage_damaged": False,
            "cached_tokens": tokens["cached_tokens"], "cache_write_tokens": 0,
            "reasoning_tokens": 0, "audio_tokens": 0,
            "cost_usd": tokens["cost_usd"], "upstream_cost_usd": None,
            "price_date": None, "ttft_ms": 5, "queue_ms": 0, "bytes_in": 1,
            "bytes_out": 1, "upstream": "mock", "upstream_model": "m",
            "paid": True, "avoided_usd": "0.000000000000", "client": None,
            "client_request_id": None, "session": None,
            "attempts": [{"upstream": "mock", "result": "ok",
                          "cache_write_tokens": 0,
                          "usage_source": "upstream", **tokens}],
            "writer": writer, "seq": seq, **more}


def write_ledger(folder, lines):
    state = pathlib.Path(folder) / "state"
    state.mkdir(parents=True, mode=0o700, exist_ok=True)
    (state / "usage.jsonl").write_text(
        "".join(json.dumps(x, separators=(",", ":")) + "\n" for x in lines))


@pytest.fixture
def redis(tmp_path):
    it = Redis(tmp_path / "redis")
    yield it
    it.stop()


@pytest.fixture
def run(mock, mock_server, start):
    """run(url) is a gateway that counts there."""
    def begin(url, name="one", **more):
        return start(config_for(mock_server, url, name, **more))
    return begin


def talk(gateway, count=10, users=("alice", "bob")):
    for i in range(count):
        reply = gateway.chat(f"tokens={i % 5 + 1}",
                             gateway.keys[users[i % len(users)]])
        assert reply.status == 200, reply


def check(gateway, status=0, *argv):
    done = gateway.command("redis", "check", *argv, check=False)
    assert done.returncode == status, done
    return done


class Traffic:
    """Requests all the time, on a thread; how long the slowest took."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.slowest = 0.0
        self.count = 0
        self.errors = []
        self.ends = threading.Event()
        self.thread = threading.Thread(target=self.work)

    def work(self):
        while not self.ends.is_set():
            begun = time.monotonic()
            try:
                reply = self.gateway.chat("tokens=2")
                if reply.status != 200:
                    self.errors.append(reply)
            except Exception as e:  # pylint: disable=broad-except
                self.errors.append(e)
            self.slowest = max(self.slowest, time.monotonic() - begun)
            self.count += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ends.set()
        self.thread.join()
        assert not self.errors, self.errors[:3]
        assert self.count > 0

    def wait_for_more(self, count):
        wanted = self.count + count
        wait_until(lambda: self.count >= wanted or self.errors)
