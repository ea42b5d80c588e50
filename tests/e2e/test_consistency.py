"""After everything that can happen to a gateway and its Redis, all that counts
says the same: the ledger, the reports from the kept sums and from the lines,
Redis, what a user is told, and the model servers themselves."""

import collections
import contextlib
import gzip
import json
import os
import random
import signal
import threading
import time

import pytest

from harness import Gateway, Mock, basic_config, head, wait_until
from load import Load
from redis_server import Redis
from redis_sums import holds, pico
from segments import check_numbers, read_segments
from test_crash import kill_while_it_starts

SEED = int(os.environ.get("WEIR_CONSISTENCY_SEED", "20261121"))
ROUNDS = int(os.environ.get("WEIR_CONSISTENCY_ROUNDS", "10"))
STREAMS = 12  # of each user
USERS = ("alice", "bob")


class Clients(Load):
    """Clients that come again when their connection ends, and that sometimes
    leave in the middle."""

    def __init__(self, chance, *args):
        self.chance = chance
        super().__init__(*args)

    @staticmethod
    def is_whole(conn):
        """Who wanted a stream may get an error instead, in either form."""
        return conn["tail"].endswith(b"\r\n0\r\n\r\n") or \
            Load.is_whole({**conn, "is_stream": False})

    def again(self, conn):
        with contextlib.suppress(KeyError):
            self.selector.unregister(conn["sock"])
        conn["sock"].close()
        with contextlib.suppress(ConnectionError):
            self.connect()

    def take(self, conn):
        try:
            super().take(conn)
        except (ConnectionError, KeyError):
            self.again(conn)
            return
        if conn["sock"].fileno() not in self.selector.get_map() or \
                self.chance.random() < 0.01:
            self.again(conn)


class Servers:
    """Three model servers, and all that they ever did for anybody: a thread
    collects what their logs, which are short, would forget."""

    def __init__(self):
        self.all = [Mock("one"), Mock("busy", "--set", "status=503"),
                    Mock("cloud")]
        self.seen = {s.name: {} for s in self.all}
        self.ends = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.ends.wait(0.15):
            self.collect()

    def collect(self):
        for server in self.all:
            for request in server.requests():
                self.seen[server.name][request["id"]] = request

    def settle(self):
        for server in self.all:
            server.wait_stats(in_flight=0)

    def by_tag(self):
        """tag → (server, request), in the order in which they came."""
        found = collections.defaultdict(list)
        for name, requests in self.seen.items():
            for request in requests.values():
                body = json.loads(request["body"])
                found[body["messages"][0]["content"]].append((name, request))
        return found

    def stop(self):
        self.ends.set()
        self.thread.join()
        for server in self.all:
            server.stop()


def config_of(servers, redis, fsync):
    one, busy, cloud = servers.all
    config = basic_config(one)
    config["upstreams"]["mock"]["on_disconnect"] = "drain"
    config["upstreams"]["busy"] = {"url": busy.url}
    config["upstreams"]["cloud"] = {"url": cloud.url}
    config["prices"] = {"cloud": {"big": [
        {"from": "2026-01-01", "input": "1.740001", "input_cached": "0.145",
         "output": "3.48", "request": "0.000000000001"}]}}
    config["models"] = {
        "m": {"routes": [{"to": "mock", "model": "x"},
                         {"to": "cloud", "model": "big"}]},
        "falls": {"routes": [{"to": "busy", "model": "x"},
                             {"to": "mock", "model": "x"}]},
        "big": {"routes": [{"to": "busy", "model": "x"},
                           {"to": "cloud", "model": "big"}]}}
    for name in USERS:
        config["users"][name] = {"models": ["*"],
                                 "limits": {"paid_routes": True}}
    config["ledger"] = {"rotate": "1MiB", "fsync": fsync}
    config["redis"] = {"url": redis.url, "name": "one"}
    return config


def make_request(chance):
    def make(_):
        directives = (
            f"tokens={chance.choice([1, 3, 10, 40])},"
            f"interval={chance.choice([0, 0, 1, 3])},"
            f"prompt={chance.randrange(20, 3000)},cached=7,"
            f"reasoning={chance.randrange(4)}")
        if chance.random() < 0.1:
            directives += f",tail={chance.choice([5, 50])}"
        if chance.random() < 0.03:
            directives += ",only=one,status=500"
        return directives, {
            "stream": chance.random() < 0.6,
            "model": chance.choice(["m", "m", "falls", "big", "nobody's"])}
    return make


def rotate_like_logrotate(gateway):
    """`rotate 50`, `compress`, `delaycompress`, and a `postrotate` that sends
    the signal."""
    path = gateway.ledger_path
    for n in range(50, 0, -1):
        for end in "", ".gz":
            old = path.with_name(f"{path.name}.{n}{end}")
            if old.exists():
                old.rename(path.with_name(f"{path.name}.{n + 1}{end}"))
    with contextlib.suppress(FileNotFoundError):  # it is just rotated
        path.rename(path.with_name(path.name + ".1"))
    if gateway.is_running():
        gateway.send_signal(signal.SIGUSR1)
    old = path.with_name(path.name + ".2")
    if old.exists():
        packed = path.with_name(path.name + ".2.gz")
        packed.write_bytes(gzip.compress(old.read_bytes()))
        old.unlink()


class Chaos:
    def __init__(self, folder, chance, fsync, keeps):
        self.chance = chance
        self.fsync = fsync
        self.servers = Servers()
        self.redis = Redis(folder / "redis", keeps=keeps)
        self.gateway = Gateway(config_of(self.servers, self.redis, fsync),
                               folder / "weir")
        self.asked, self.answered = {}, set()
        self.killed = set()  # rounds that ended with it
        self.starts, self.stops, self.done = [], [], []

    # -- what happens

    def start(self):
        begun = time.monotonic()
        self.gateway.start()
        self.starts.append(time.monotonic() - begun)

    def kill(self):
        self.gateway.kill()

    def end(self):
        begun = time.monotonic()
        self.gateway.stop()
        self.stops.append(time.monotonic() - begun)

    def logrotate(self):
        rotate_like_logrotate(self.gateway)

    def reload(self):
        config = self.gateway.config
        ledger = config["ledger"]
        ledger["compress"] = not ledger.get("compress", True)
        config["upstreams"]["mock"]["on_disconnect"] = \
            self.chance.choice(["drain", "cancel"])
        self.gateway.write(config)
        assert "loaded" in self.gateway.reload(), self.gateway.log()[-2000:]

    def kill_redis(self):
        self.redis.go_on()
        self.redis.kill()
        self.redis.start()

    def pause_redis(self):
        self.redis.pause()

    def go_on_redis(self):
        self.redis.go_on()

    def nothing(self):
        pass

    def report(self):
        for extra in [], ["--raw"]:
            self.gateway.command("report", "hourly", *extra)

    def round(self, number):
        chance = self.chance
        loads = [Clients(chance, self.gateway.port, self.gateway.keys[user],
                         f"{user}-{number}", STREAMS, make_request(chance))
                 for user in USERS]
        try:
            for _ in range(chance.randrange(1, 4)):
                time.sleep(chance.random() * 0.4)
                what = chance.choice([
                    self.logrotate, self.reload, self.kill_redis, self.report,
                    self.pause_redis, self.go_on_redis, self.nothing])
                self.done.append(what.__name__)
                what()
            what = chance.choice([self.kill, self.kill, self.end,
                                  self.nothing])
            self.done.append(what.__name__)
            if what == self.kill:
                self.killed.add(str(number))
            what()
        finally:
            for load in loads:
                load.stop()
                self.asked |= load.asked
                self.answered |= load.answered
        if not self.gateway.is_running():
            self.servers.settle()
            # What a kill tore is put right where it was left.
            if what == self.end and chance.random() < 0.5:
                self.done.append("logrotate while it is down")
                self.logrotate()
            if what == self.end:
                self.check_reports(read_segments(self.gateway.ledger_path))
            for _ in range(chance.choice([0, 0, 2])):
                kill_while_it_starts(self.gateway, chance)
            self.start()

    # -- what must hold

    def check_reports(self, lines):
        wanted = collections.defaultdict(collections.Counter)
        for x in lines:
            if x["attempts"]:
                wanted[x["user"], x["model"], x["upstream"]].update({
                    "requests": 1, "prompt_tokens": x["prompt_tokens"],
                    "cached_tokens": x["cached_tokens"],
                    "completion_tokens": x["completion_tokens"],
                    "reasoning_tokens": x["reasoning_tokens"],
                    "cost_usd": pico(x["cost_usd"]),
                    "avoided_usd": pico(x["avoided_usd"])})
        for extra in ["--raw"], []:
            shown = json.loads(self.gateway.command(
                "report", "daily", "--since", "2d", "--by",
                "user,model,upstream", "--json", *extra).stdout)
            found = collections.defaultdict(collections.Counter)
            for row in shown["rows"]:
                found[row["user"], row["model"], row["upstream"]].update({
                    name: pico(row[name]) if name.endswith("_usd")
                    else row[name]
                    for name in next(iter(wanted.values()))})
            assert found == wanted, (extra, {
                k: (found.get(k), wanted.get(k))
                for k in {*found, *wanted} if found[k] != wanted[k]})

    def told(self, user):
        """What the user is told of: requests, input, output, cost."""
        key = self.gateway.keys[user]
        page = self.gateway.send(head(
            "GET", f"/v1/usage?start_time={int(time.time()) - 86400}", key)
        ).json()
        results = [r for b in page["data"] for r in b["results"]]
        usage = self.gateway.get("/v1/key", key).json()["data"]
        assert not usage["is_complete"] or page["is_complete"]
        return (sum(r["num_model_requests"] for r in results),
                sum(r["input_tokens"] for r in results),
                sum(r["output_tokens"] for r in results),
                sum(pico(r["cost_usd"]) for r in results)), \
            usage["tokens"]["month"]

    def check_told(self, lines):
        for user in USERS:
            own = [x for x in lines if x["user"] == user and x["attempts"]]
            wanted = (len(own), sum(x["prompt_tokens"] for x in own),
                      sum(x["completion_tokens"] for x in own),
                      sum(pico(x["cost_usd"]) for x in own))
            wanted = wanted, wanted[1] + wanted[2]
            try:
                wait_until(lambda u=user, w=wanted: self.told(u) == w, 10)
            except AssertionError:
                raise AssertionError((self.told(user), wanted)) from None

    def check_lines(self, lines):
        """Against what the model servers say."""
        by_tag = self.servers.by_tag()
        found = collections.defaultdict(list)
        for x in lines:
            found[x["client_request_id"]].append(x)
        sums, refused = collections.Counter(), collections.Counter()
        for tag in self.asked:
            served, of_tag = by_tag.get(tag, []), found[tag]
            assert len(of_tag) <= 1, of_tag
            if not of_tag:
                # A refusal may reach its client right before the kill.
                assert not served and (
                    tag not in self.answered or
                    tag.split("-")[1] in self.killed), (tag, served)
                refused["lost"] += tag in self.answered
                continue
            line, = of_tag
            assert len(line["attempts"]) >= len(served), (line, served)
            if line["usage_source"] != "upstream":
                continue
            name, request = [s for s in served if s[0] == (
                "one" if line["upstream"] == "mock" else line["upstream"])][-1]
            charged = request["charged"]
            assert charged["input"] == line["prompt_tokens"] and \
                charged["output"] == line["completion_tokens"] and \
                charged["cached"] == line["cached_tokens"] and \
                charged["reasoning"] == line["reasoning_tokens"], \
                (line, name, request)
            sums[line["end"]] += 1
        assert refused["lost"] <= 2 * len(self.killed)
        assert sums["ok"] > 100 and sums["client_gone"] > 0, sums
        return sums + refused

    def finish(self):
        self.redis.go_on()
        self.servers.settle()
        # One for Redis, perhaps one that is being tried.
        most = self.gateway.quiet_fds + 2
        wait_until(lambda: len(self.gateway.fds()) <= most,
                   what="descriptors are given back")
        self.gateway.flush_ledger()
        lines = read_segments(self.gateway.ledger_path)
        check_numbers(lines)
        self.servers.collect()
        sums = self.check_lines(lines)
        self.check_reports(lines)
        self.check_told(lines)
        wait_until(lambda: self.gateway.command(
            "redis", "check", check=False).returncode == 0, 30,
            "Redis has counted the whole ledger")
        holds(self.redis, lines)
        rss = self.gateway.rss_bytes()
        self.end()
        self.check_reports(read_segments(self.gateway.ledger_path))
        done = self.gateway.command("ledger", "check", check=False)
        assert done.returncode == 0, done
        print(f"{self.done}: {len(lines)} lines, {dict(sums)}, "
              f"start {max(self.starts, default=0):.2f} s, "
              f"stop {max(self.stops):.2f} s, {rss >> 20} MiB")

    def stop(self):
        if self.gateway.is_running():
            self.gateway.kill()
        self.redis.stop()
        self.servers.stop()


@pytest.mark.parametrize("fsync, keeps", [
    ("everysec", Redis.AOF), ("always", Redis.NONE), ("never", Redis.RDB)],
    ids=["fsync every second, AOF", "fsync always, memory",
         "never fsync, RDB"])
def test_all_that_counts_says_the_same(tmp_path, fsync, keeps):
    chance = random.Random(f"{SEED} {fsync}")
    chaos = Chaos(tmp_path, chance, fsync, keeps)
    try:
        for number in range(ROUNDS):
            chaos.round(number)
        chaos.finish()
    finally:
        chaos.stop()
    assert chaos.answered
