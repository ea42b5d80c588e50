"""Three gateways on one Redis: what a user may have holds over all of them,
whatever becomes of Redis, or of one of them."""

import collections
import json
import re
import shutil
import statistics
import threading
import time

import pytest

from admission import (Crowd, by_tag, dollars, raise_file_limit,
                       sentence_of, text_of_size)
from harness import basic_config, wait_until
from redis_server import Redis
from redis_sums import check, holds, is_ready, pico, redis
from scripted import closed_port

LIMITED = "rate_limit_exceeded"
SPENT = "insufficient_quota"
UNVERIFIED = "503 overloaded"  # budget_unverified in the ledger
HELD = "tokens=1,pause=0"
DOLLAR = 10**12

raise_file_limit()  # the race has a thousand connections


def day(usd):
    return {"usd": str(usd), "per": "day"}


@pytest.fixture(scope="module")
def dead_port():
    with closed_port() as port:
        yield port


def config_for(mock_server, dead_port, redis, name, **limits):
    """`paid` costs a tenth of a cent for each token of an answer, and its
    prompts nothing: max_tokens=100 holds $0.10, tokens=100 costs it."""
    config = basic_config(mock_server)
    brief = {"idle": "50ms"}
    config["redis"] = {"url": redis.url, "name": name}
    config["limits"] = {"scope": "shared", **limits}
    config["upstreams"] |= {
        "cloud": {"url": mock_server.url, "timeouts": brief, "paid": True},
        "dead": {"url": f"http://127.0.0.1:{dead_port}"},
        "brief": {"url": mock_server.url, "timeouts": brief,
                  "queue": {"wait": "2s"}}}
    config["prices"] = {"cloud": {"cloud-model": [
        {"from": "2026-01-01", "input": "0", "output": "1000"}]}}
    paid = {"to": "cloud", "model": "cloud-model"}
    config["models"] |= {
        "paid": {"routes": [paid]},
        "fails": {"routes": [{"to": "dead", "model": "x"}, paid]},
        "brief": {"routes": [{"to": "brief", "model": "x"}]},
        "kept": {"retry_grace": "30s", "keepalive": "off", "prefill": "off",
                 "routes": [paid]},
        "m2": config["models"]["m"]}
    for user, (limits, budget) in {
            "racer": ({}, day(1)), "spender": ({}, day(2)),
            "half": ({}, day("0.5")), "rich": ({}, day(1000)),
            "giver": ({"requests_per_minute": 5}, day("0.05")),
            "few": ({"requests_per_minute": 6}, None),
            "thirty": ({"requests_per_minute": 30}, None),
            "reader": ({"input_tokens_per_minute": 1000}, None),
            "writer": ({"output_tokens_per_minute": 1000}, None),
            "daily": ({"tokens_per_day": 1000}, None),
            "double": ({"concurrent": 2}, None),
            "single": ({"concurrent": 1}, day("0.5")),
            "by-model": ({"requests_per_minute": 100, "models": {
                "m2": {"requests_per_minute": 2}}}, None),
            "unlimited": ({}, None)}.items():
        config["users"][user] = {"models": ["*"],
                                 "limits": {"paid_routes": True, **limits}}
        if budget:
            config["users"][user]["budget"] = budget
    config["users"]["alice"]["limits"] = {"paid_routes": True}
    config["cloud_fallback"] = day(100)
    return config


@pytest.fixture
def begin(start, mock_server, dead_port, mock, redis):
    """begin(3) are that many gateways whose limits hold together."""
    def make(count=3, server=None, **limits):
        made = [start(config_for(mock_server, dead_port, server or redis,
                                 f"g{i}", **limits)) for i in range(count)]
        hold(made, server or redis)
        mock.reset()
        return made
    return make


def hold(gateways, server):
    """Waits until each worker of each is in, and knows of all gateways."""
    for i, g in enumerate(gateways):
        wait_until(lambda i=i: is_ready(server, f"g{i}"), 30)
        wait_until(lambda i=i: workers_in(server, f"g{i}") == 2, 30)
        for _ in range(20):  # whichever worker gets them
            wait_until(lambda g=g: ask(g, "rich").status == 200, 30)


def knows_all(gateways, server):
    """Waits until each worker, who asks once a second, has heard how many
    gateways there are."""
    seconds, us = map(int, server("TIME"))
    wanted = seconds * 1000 + us // 1000 + 31500  # a lease from then on
    wait_until(lambda: min(map(int, server.hash("{weir}:leases").values())) >
               wanted, what="beats")
    assert server("HLEN", "{weir}:leases") == len(gateways)


def workers_in(server, name):
    return sum(1 for k in server.hash("{weir}:workers:" + name)
               if re.fullmatch(r"\d+", k))


def ask(gateway, user, mock="tokens=1", model="paid", **members):
    members.setdefault("max_tokens", 100)
    return gateway.chat(mock, gateway.keys[user], model=model, **members)


def said(tokens):
    """A prompt of about so many tokens."""
    return [{"role": "user", "content": text_of_size(tokens, "river")}]


def code_of(reply):
    return 200 if reply.status == 200 else \
        f"{reply.status} {reply.json()['error']['code']}"


def spent(gateways, *users):
    """Pico-dollars in all ledgers."""
    return sum(pico(line["cost_usd"]) for g in gateways for line in g.ledger()
               if line["user"] in users)


def held(redis):
    return {k: int(v) for k, v in redis.hash("{weir}:held").items()}


def assert_nothing_is_open(redis):
    def left():
        return [k for kind in ("open", "slots")
                for k in redis("KEYS", "{weir}:" + kind + ":*")] + \
            list(held(redis))
    wait_until(lambda: not left(), 20, what=left())


# --- budgets -----------------------------------------------------------------

def test_of_a_thousand_at_once_over_three_gateways_ten_are_served(
        begin, redis, mock):
    """Each reserves a tenth of the budget; most have come before any ends."""
    three = begin()
    with Crowd(three[0]) as crowd:
        for i in range(1000):
            crowd.gateway = three[i % 3]
            crowd.add("racer", "", HELD, model="paid", max_tokens=100)
        crowd.wait(lambda: len(crowd.answered()) >= 990, 90)
        mock.wait_stats(held=10)
        assert mock.stats()["served"] == 10
        for g in three:
            reply = ask(g, "racer")
            assert code_of(reply) == f"429 {LIMITED}", reply
            amounts = dollars(sentence_of(reply))
            assert amounts.count(1) == 2 and 0.1 in amounts, amounts
            assert "racer" in sentence_of(reply)
            assert reply.header("x-should-retry") is None
            assert reply.header("retry-after") is not None
        mock.control("go", b"")
        replies = crowd.wait_all()
    assert collections.Counter(map(code_of, replies)) == {
        200: 10, f"429 {LIMITED}": 990}
    holds(redis, *three)
    assert spent(three, "racer") == DOLLAR // 100
    assert_nothing_is_open(redis)
    assert ask(three[2], "racer").status == 200, "it is settled"


class Storm:
    """Requests of a cent each, all the time, two at once at each gateway."""

    def __init__(self, gateways, user="spender"):
        self.gateways, self.user = gateways, user
        self.seen = collections.Counter()
        self.strange = []
        self.slowest = 0.0
        self.ends = threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(g,))
                        for g in gateways for _ in range(2)]

    def work(self, gateway):
        while not self.ends.is_set():
            begun = time.monotonic()
            try:
                reply = ask(gateway, self.user, "tokens=10", max_tokens=10)
            except (OSError, AssertionError):
                self.seen["gone"] += 1
                self.ends.wait(0.05)
                continue
            self.slowest = max(self.slowest, time.monotonic() - begun)
            self.seen[code_of(reply)] += 1
            if code_of(reply) not in (200, f"429 {LIMITED}", f"429 {SPENT}",
                                      UNVERIFIED):
                self.strange.append(reply)
            self.ends.wait(0.01)

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.ends.set()
        for t in self.threads:
            t.join()

    def wait_for(self, code, more):
        wanted = self.seen[code] + more
        wait_until(lambda: self.seen[code] >= wanted or
                   self.seen[f"429 {SPENT}"] > 20, 60, (code, self.seen))


def stop_redis(redis, storm, _three):
    redis.pause()
    storm.wait_for(UNVERIFIED, 10)
    redis.go_on()


def slow_redis(redis, storm, _three):
    redis("CLIENT", "PAUSE", 1500, "ALL")
    storm.wait_for(UNVERIFIED, 10)


def restart_redis_empty(redis, storm, _three):
    redis.kill()
    storm.wait_for(UNVERIFIED, 10)
    redis.start()


def restart_redis_with_older_data(redis, storm, _three):
    redis("SAVE")
    storm.wait_for(200, 5)
    redis.kill()
    redis.start()


def kill_a_gateway(_redis, _storm, three):
    three[0].kill()
    three[0].start()


@pytest.mark.parametrize("harm", [
    stop_redis, slow_redis, restart_redis_empty,
    restart_redis_with_older_data, kill_a_gateway],
    ids=lambda f: f.__name__)
def test_no_budget_is_overrun_while(harm, begin, redis):
    """Two dollars, a cent each: two hundred are served, not one more; a
    killed gateway may have begun some that its crash lines charge."""
    three = begin()
    with Storm(three) as storm:
        for _ in range(3):
            storm.wait_for(200, 15)
            harm(redis, storm, three)
        wait_until(lambda: storm.seen[200] == 200 or
                   storm.seen[f"429 {SPENT}"] > 20 or spent(
                       three, "spender") > 2 * DOLLAR, 90)
        for i, g in enumerate(three):
            wait_until(lambda i=i: is_ready(redis, f"g{i}"), 30)
            wait_until(lambda g=g: code_of(
                ask(g, "spender", "tokens=10", max_tokens=10)) ==
                f"429 {SPENT}", 30)
    assert not storm.strange, storm.strange[:3]
    assert storm.slowest < 5, storm.seen
    holds(redis, *three)
    total = spent(three, "spender")
    if harm is kill_a_gateway:
        assert 2 * DOLLAR - DOLLAR // 100 < total <= 2 * DOLLAR
    else:
        assert total == 2 * DOLLAR and storm.seen[200] == 200, storm.seen
    assert_nothing_is_open(redis)


def test_what_all_have_spent_is_known_after_all_have_been_restarted(begin,
                                                                    redis):
    three = begin()
    for g in three:
        assert ask(g, "half", "tokens=100").status == 200
    for how in "stop", "kill":
        for g in three:
            g.flush_ledger()
            getattr(g, how)()
        redis("FLUSHALL")
        for g in three:
            g.start()
        hold(three, redis)
        for g in three:
            reply = ask(g, "half", max_tokens=300)
            assert code_of(reply) == f"429 {SPENT}", reply
            amounts = dollars(sentence_of(reply))
            assert amounts.count(0.3) == 2 and 0.5 in amounts, amounts
            assert reply.header("x-should-retry") == "false"
    check(three[0], 0, *[x for g in three[1:]
                         for x in ("--ledger", g.ledger_path)])
    assert ask(three[1], "half", max_tokens=200).status == 200


def test_failover_from_free_to_paid_is_capped_over_all(begin, redis):
    three = begin(2)
    for g in three:
        config = g.config
        config["cloud_fallback"] = day("0.25")
        g.write(config)
        g.reload()
    for g in three:
        assert ask(g, "unlimited", "tokens=100", "fails").status == 200
        reply = ask(g, "rich", "tokens=100", "m")
        assert reply.status == 200
    holds(redis, *three)
    for g in three:
        reply = ask(g, "rich", "tokens=100", "fails")
        assert reply.status in (429, 502), reply
        assert 0.25 in dollars(sentence_of(reply)), reply
        assert "all users together" in sentence_of(reply)
        assert "dead refused the connection" in sentence_of(reply)
    assert ask(three[1], "rich", "tokens=40", "fails",
               max_tokens=40).status == 200
    assert_nothing_is_open(redis)


def test_a_stream_that_outgrows_its_price_holds_more_elsewhere(begin, mock,
                                                               redis):
    """The server goes on beyond max_tokens; the other gateway hears of it."""
    one, two = begin(2)
    with Crowd(one) as crowd:
        crowd.add("half", "", "tokens=300,interval=10ms", model="paid",
                  max_tokens=100, stream=True)
        crowd.wait(lambda: any(
            v > DOLLAR // 10 for k, v in held(redis).items()
            if k.startswith("user:half ")), 20)
        # Beside the tenth of a dollar that was held at first this fits.
        assert code_of(ask(two, "half", max_tokens=400)) == f"429 {LIMITED}"
        crowd.wait_all()
    holds(redis, one, two)
    assert spent([one, two], "half") == 3 * DOLLAR // 10
    assert_nothing_is_open(redis)


# --- rates, tokens -----------------------------------------------------------

def test_requests_a_minute_count_over_all(begin, redis):
    three = begin()
    left = []
    for i in range(6):
        reply = ask(three[i % 3], "few", model="m")
        assert reply.status == 200, reply
        assert reply.header("x-ratelimit-limit-requests") == "6"
        left.append(int(reply.header("x-ratelimit-remaining-requests")))
    assert left == [5, 4, 3, 2, 1, 0]
    for g in three:
        reply = ask(g, "few", model="m")
        assert code_of(reply) == f"429 {LIMITED}", reply
        assert reply.header("x-ratelimit-remaining-requests") == "0"
        assert "few has made 6 requests in a minute" in sentence_of(reply)
        assert 1 <= int(reply.header("retry-after")) <= 10


def test_who_is_refused_later_gets_the_request_back(begin):
    three = begin()
    for _ in range(4):
        for g in three:
            assert code_of(ask(g, "giver")) == f"429 {SPENT}"
    for i in range(5):
        assert ask(three[i % 3], "giver", model="m").status == 200
    assert code_of(ask(three[2], "giver", model="m")) == f"429 {LIMITED}"


def test_tokens_a_minute_and_a_day_count_over_all(begin, redis):
    three = begin()
    assert ask(three[0], "reader", model="m", messages=said(900)).status == 200
    assert code_of(ask(three[1], "reader", model="m",
                       messages=said(600))) == f"429 {LIMITED}"
    assert ask(three[0], "writer", "tokens=10", "m",
               max_tokens=900).status == 200
    # What was not written came back.
    wait_until(lambda: ask(three[1], "writer", "tokens=800", "m",
                           max_tokens=900).status == 200)
    assert code_of(ask(three[2], "writer", model="m",
                       max_tokens=900)) == f"429 {LIMITED}"
    assert ask(three[0], "daily", "tokens=5,prompt=900", "m", max_tokens=5,
               messages=said(900)).status == 200
    holds(redis, *three)
    reply = ask(three[1], "daily", model="m", max_tokens=200)
    assert code_of(reply) == f"429 {SPENT}", reply
    assert "905 of 1,000 tokens today" in sentence_of(reply), reply
    assert ask(three[2], "daily", model="m", max_tokens=20).status == 200


def test_limits_of_a_model_and_of_a_key_count_over_all(begin, redis):
    three = begin()
    assert [ask(g, "by-model", model="m2").status for g in three] == \
        [200, 200, 429]
    assert ask(three[2], "by-model", model="m").status == 200
    key = three[0].issue("alice", "--limit", "requests_per_minute=2")
    for g in three[1:]:  # the same keys are known everywhere
        g.stop()
        for name in "pepper", "keys.json":
            shutil.copy(three[0].state / name, g.state / name)
        g.keys = three[0].keys
        g.start()
    hold(three, redis)
    replies = [g.chat("tokens=1", key) for g in three]
    assert [r.status for r in replies] == [200, 200, 429]
    said_of_key = f"the key {key[8:14]} of alice has made"
    assert said_of_key + " 2" in sentence_of(replies[2])
    knows_all(three, redis)
    redis.pause()
    all_broken(three)
    replies = [three[2].chat("tokens=1", key) for _ in range(2)]
    assert [r.status for r in replies] == [200, 429], "a part of two"
    assert said_of_key in sentence_of(replies[1])
    redis.go_on()


# --- slots -------------------------------------------------------------------

def test_a_users_requests_at_once_wait_for_an_end_elsewhere(begin, redis,
                                                            mock):
    three = begin()
    with Crowd(three[0]) as crowd:
        for crowd.gateway in three[:2]:
            crowd.add("double", "", HELD, model="brief")
        mock.wait_stats(held=2)
        begun = time.monotonic()
        reply = ask(three[2], "double", model="brief")
        took = time.monotonic() - begun
        assert code_of(reply) == f"429 {LIMITED}" and 1.9 < took < 4, reply
        assert re.match(r"double has 2 of 2 requests under way, after a wait "
                        r"of 2(\.\d+)? s", sentence_of(reply)), reply
        crowd.gateway = three[2]
        late = crowd.send("double", "late", "tokens=1", model="brief")
        crowd.wait(lambda: time.monotonic() > late.began + 0.3)
        assert not late.reader.replies  # it has been told no
        crowd.conns[0].close()
        begun = time.monotonic()
        crowd.wait(lambda: late.reader.replies)
        assert late.reader.replies[0].status == 200
        assert time.monotonic() - begun < 1.5
        mock.control("go", b"")
        crowd.wait_all()
    line = by_tag(three[2].lines())["late"]
    assert line["queue_ms"] >= 250 and line["end"] == "ok"
    assert_nothing_is_open(redis)


def test_a_killed_gateways_slots_have_a_lease_and_its_money_is_forgotten(
        begin, redis, mock):
    """Half a minute: that is the lease."""
    one, two = begin(2)
    with Crowd(one) as crowd:
        crowd.add("single", "", HELD, model="paid", max_tokens=400)
        mock.wait_stats(held=1)
        wait_until(lambda: redis("HLEN", "{weir}:open:g0") == 1)
        one.kill()
    begun = time.monotonic()
    done = two.command("redis", "forget", "g0", check=False)
    assert done.returncode == 1 and "is alive" in done.stderr, done
    wait_until(lambda: ask(two, "single", model="brief").status == 200, 45)
    assert 25 < time.monotonic() - begun < 40
    assert code_of(ask(two, "single", max_tokens=200)) == f"429 {LIMITED}"
    done = two.command("redis", "forget", "g0")
    assert "1 request of g0 forgotten" in done.stdout, done
    assert ask(two, "single", max_tokens=200).status == 200


def test_whose_client_has_gone_has_no_slot_but_its_retry_joins(begin, redis,
                                                               mock):
    """One upstream request; its money is held until the retry's line."""
    one, two = begin(2)
    prompt = "prompt=400,prefill=200,tokens=100"
    members = {"model": "kept", "max_tokens": 400, "stream": True}
    with Crowd(one) as crowd:
        first = crowd.send("single", "", prompt, **members)
        mock.wait_stats(working=1)
        assert redis("HLEN", "{weir}:slots:user:single") == 1
        first.close()
        # Its own slot is free at once, everywhere.
        wait_until(lambda: not redis("EXISTS", "{weir}:slots:user:single"))
        assert ask(two, "single", model="brief").status == 200
        assert code_of(ask(two, "single", max_tokens=200)) == f"429 {LIMITED}"
        crowd.send("single", "", prompt, **members)
        one.wait_ledger(lambda lines: any(x["joined_by"] for x in lines))
        # Its line has been counted, and what goes on is still held.
        joined, = [x for x in one.ledger() if x["joined_by"]]
        wait_until(lambda: list(redis.hash("{weir}:open:g0")) ==
                   [joined["joined_by"]])
        assert code_of(ask(two, "single", max_tokens=200)) == f"429 {LIMITED}"
        crowd.wait_all()
    assert mock.stats()["working"] == 0
    holds(redis, one, two)
    assert spent([one, two], "single") == DOLLAR // 10
    assert_nothing_is_open(redis)
    assert ask(two, "single", max_tokens=400).status == 200


# --- Redis does not say ------------------------------------------------------

def latencies(gateways, count=20):
    found = []
    for i in range(count):
        begun = time.monotonic()
        reply = ask(gateways[i % len(gateways)], "thirty", model="m2")
        found.append(time.monotonic() - begun)
        assert reply.status in (200, 429), reply
    return found


def all_broken(gateways):
    """Each worker has noticed."""
    for g in gateways:
        for _ in range(12):
            wait_until(lambda g=g: code_of(ask(g, "half")) ==
                       UNVERIFIED)


def test_what_is_free_is_served_and_paid_routes_are_closed(begin, redis):
    three = begin()
    before = statistics.median(latencies(three))
    redis.pause()
    assert max(latencies(three)) < 1
    all_broken(three)
    assert statistics.median(latencies(three)) < before + 0.05
    reply = ask(three[0], "half")
    assert code_of(reply) == UNVERIFIED and reply.header(
        "retry-after"), reply
    assert sentence_of(reply) == (
        "cloud costs money: what has been spent on all gateways together "
        "cannot be checked now, because Redis does not say."), reply
    reply = ask(three[0], "half", model="fails")
    assert reply.status == 502 and "dead refused the connection; the next " \
        "route (cloud) costs money, and what has been spent" in \
        sentence_of(reply), reply
    assert ask(three[1], "unlimited", "tokens=1").status == 200, "no budget"
    three[0].wait_ledger(lambda lines: any(
        x["end"] == "budget_unverified" for x in lines))
    for g in three:
        assert ask(g, "alice", model="m").status == 200
    redis.go_on()
    for g in three:
        wait_until(lambda g=g: ask(g, "half").status == 200, 30)
    holds(redis, *three)
    assert_nothing_is_open(redis)


def test_rates_and_tokens_are_held_to_a_part_each(begin, redis):
    three = begin()
    knows_all(three, redis)
    redis.pause()
    all_broken(three)
    for g in three:
        codes = [code_of(ask(g, "thirty", model="m")) for _ in range(12)]
        assert codes == [200] * 10 + [f"429 {LIMITED}"] * 2, codes
        assert ask(g, "daily", model="m", max_tokens=200,
                   messages=said(50)).status == 200
        assert code_of(ask(g, "daily", model="m", max_tokens=200,
                           messages=said(200))) == f"429 {SPENT}"
    redis.go_on()


def test_so_much_may_be_spent_unverified_and_no_more(begin, redis):
    three = begin(unverified_usd="0.25")
    for _ in range(2):
        redis.pause()
        for g in three:
            seen = collections.Counter()
            for _ in range(12):
                seen[code_of(ask(g, "rich", "tokens=100"))] += 1
                # Whom nothing limits proves nothing.
                assert ask(g, "unlimited").status == 200
            assert seen == {200: 2, UNVERIFIED: 10}, seen
        redis.go_on()
        for i, g in enumerate(three):
            wait_until(lambda i=i: is_ready(redis, f"g{i}"), 30)
            # Until each worker has seen that Redis is back.
            oks = 0
            deadline = time.monotonic() + 40
            while oks < 20:
                assert time.monotonic() < deadline
                good = ask(g, "rich", max_tokens=60).status == 200
                oks = oks + 1 if good else 0
    holds(redis, *three)
    assert_nothing_is_open(redis)


def test_it_is_found_again_after_reloads(begin, redis):
    one, = begin(1)
    for i in range(3):
        config = one.config
        config["users"][f"new{i}"] = {"models": ["*"]}
        one.write(config)
        one.reload()
        assert ask(one, "rich").status == 200
    redis.kill()
    redis.start()
    wait_until(lambda: ask(one, "rich").status == 200, 30)
    assert_nothing_is_open(redis)


# --- ends --------------------------------------------------------------------

def test_one_that_is_stopped_leaves_nothing_behind(begin, redis, mock):
    one, two = begin(2)
    with Crowd(one) as crowd:
        for _ in range(2):
            crowd.add("double", "", "tokens=3,ttft=300ms", model="brief",
                      stream=True)
        crowd.add("half", "", HELD, model="paid", max_tokens=400)
        mock.wait_stats(held=1, in_flight=3)
        one.send_signal(15)  # the drain ends two, and cuts one
        one.process.wait(20)
    one.stop()
    wait_until(lambda: redis("KEYS", "{weir}:slots:*") == [], 3)
    begun = time.monotonic()
    assert ask(two, "double", model="brief").status == 200
    assert time.monotonic() - begun < 1
    wait_until(lambda: held(redis) == {}, 3, "its last lines are counted")
    assert ask(two, "half", max_tokens=400).status == 200


def test_shared_limits_without_redis_are_an_error_of_the_configuration(
        gateway, tmp_path):
    config = json.loads(json.dumps(gateway.config))
    config["limits"] = {"scope": "shared"}
    path = tmp_path / "weir.yaml"
    path.write_text(json.dumps(config, indent=1))
    done = gateway.command("check", "-c", str(path), check=False)
    assert done.returncode != 0
    assert "scope: shared counts in Redis, and there is none" in \
        done.stdout + done.stderr
