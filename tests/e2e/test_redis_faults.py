"""Whatever happens to Redis, no request is slower or fails, and afterwards its
sums are the ledger's."""

import collections
import socket
import time

import pytest

from harness import wait_until
from redis_server import Between, Redis
from redis_sums import (Traffic, check, counters, holds, is_ready, lines_of,
                        redis, run, state_of, talk)


@pytest.mark.parametrize("keeps", [Redis.NONE, Redis.RDB, Redis.AOF],
                         ids=["none", "rdb", "aof"])
def test_ten_kills_leave_the_sums_equal(tmp_path, run, keeps):
    redis = Redis(tmp_path / "redis", keeps=keeps)
    try:
        gateway = run(redis.url)
        with Traffic(gateway) as traffic:
            for i in range(10):
                traffic.wait_for_more(20)
                if keeps == Redis.RDB and i % 3 == 0:
                    redis("SAVE")  # to this the next kills go back
                    traffic.wait_for_more(20)
                redis.kill()
                traffic.wait_for_more(5)
                redis.start()
        holds(redis, gateway, timeout=10)
        wait_until(lambda: is_ready(redis, "one"))
        check(gateway)
    finally:
        redis.stop()


def test_an_emptied_redis_is_filled_again(redis, run):
    gateway = run(redis.url)
    talk(gateway)
    holds(redis, gateway)
    for _ in range(3):
        redis("FLUSHALL")
        talk(gateway, 3)
        holds(redis, gateway)
    wait_until(lambda: is_ready(redis, "one"))
    check(gateway)


def test_after_a_loss_every_registered_gateway_is_waited_for(redis, run):
    one, two = run(redis.url, "one"), run(redis.url, "two")
    talk(one, 4)
    talk(two, 4)
    both = lines_of(one), lines_of(two)
    holds(redis, *both)
    wait_until(lambda: is_ready(redis, "one") and is_ready(redis, "two"))
    wait_until(lambda: "two" in (one.state / "redis-peers").read_text())
    two.stop()
    one.stop()
    redis("FLUSHALL")
    one.start()
    holds(redis, both[0])
    wait_until(lambda: is_ready(redis, "one"))
    assert state_of(redis, "two") == "absent"
    assert "two has not replayed its ledger" in check(one).stdout
    two.start()
    holds(redis, *both)
    wait_until(lambda: is_ready(redis, "two"))


def test_the_owner_may_say_not_to_wait(redis, run):
    one, two = run(redis.url, "one"), run(redis.url, "two")
    talk(one, 4)
    talk(two, 4)
    holds(redis, one, two)
    wait_until(lambda: is_ready(redis, "one") and is_ready(redis, "two"))
    two.stop()
    redis("FLUSHALL")
    holds(redis, one)
    wait_until(lambda: state_of(redis, "two") == "absent")
    done = one.command("redis", "rebuild", "--without", "nobody", check=False)
    assert done.returncode == 5, done
    done = one.command("redis", "rebuild", "--without", "one", check=False)
    assert done.returncode == 2, done
    one.command("redis", "rebuild", "--without", "two")
    wait_until(lambda: is_ready(redis, "one"))
    assert state_of(redis, "two") is None
    talk(one, 2)
    holds(redis, one)
    assert state_of(redis, "two") is None
    check(one)


@pytest.mark.parametrize("stop", ["SIGSTOP", "CLIENT PAUSE", "DEBUG SLEEP"])
def test_a_redis_that_does_not_answer_slows_no_request(redis, run, stop):
    gateway = run(redis.url)
    talk(gateway, 4)
    holds(redis, gateway)
    with Traffic(gateway) as traffic:
        traffic.wait_for_more(20)
        usual = traffic.slowest
        client = redis.client()
        if stop == "SIGSTOP":
            redis.pause()
        elif stop == "CLIENT PAUSE":
            client("CLIENT", "PAUSE", 5000, "ALL")
        else:
            client.send("DEBUG", "SLEEP", 5)
        traffic.slowest = 0
        wait_until(lambda: "does not answer in time" in gateway.log())
        traffic.wait_for_more(50)
        assert traffic.slowest < max(10 * usual, 1), (traffic.slowest, usual)
        if stop == "SIGSTOP":
            redis.go_on()
        client.close()
    holds(redis, gateway)
    assert gateway.log().count("does not answer in time") == 1, gateway.log()
    wait_until(lambda: "is there again" in gateway.log())
    check(gateway)


def test_a_gateway_stops_at_once_while_redis_does_not_answer(redis, run):
    gateway = run(redis.url)
    talk(gateway, 2)
    holds(redis, gateway)
    redis.pause()
    wait_until(lambda: "does not answer in time" in gateway.log())
    begun = time.monotonic()
    gateway.stop()
    assert time.monotonic() - begun < 3
    redis.go_on()


def test_a_redis_that_forgets_the_script_is_taught_again(redis, run):
    gateway = run(redis.url)
    for _ in range(5):
        redis("SCRIPT", "FLUSH")
        talk(gateway, 3)
        holds(redis, gateway)
    assert "error:" not in gateway.log(), gateway.log()


def test_an_answer_that_is_lost_behind_the_script_counts_nothing_twice(redis,
                                                                       run):
    seen = collections.Counter()

    def loses(_answer, command):
        if b"EVALSHA" not in command:
            return False
        seen["scripts"] += 1
        return seen["scripts"] % 2 == 1
    between = Between(redis, loses)
    gateway = run(between.url)
    for _ in range(8):
        talk(gateway, 3)
        holds(redis, gateway)
    assert between.lost >= 3
    check(gateway)
    between.close()


def test_a_full_redis_is_told_and_catches_up(redis, run):
    gateway = run(redis.url)
    talk(gateway, 3)
    holds(redis, gateway)
    redis("CONFIG", "SET", "maxmemory", "1")
    talk(gateway, 3)
    wait_until(lambda: "is full (maxmemory)" in gateway.log())
    talk(gateway, 3)
    redis("CONFIG", "SET", "maxmemory", "0")
    holds(redis, gateway)
    assert gateway.log().count("is full (maxmemory)") == 1
    check(gateway)


def test_a_replica_is_told_and_catches_up(redis, run):
    gateway = run(redis.url)
    talk(gateway, 3)
    holds(redis, gateway)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        redis("REPLICAOF", "127.0.0.1", s.getsockname()[1])
        talk(gateway, 3)
        wait_until(lambda: "is a read-only replica" in gateway.log())
        redis("REPLICAOF", "NO", "ONE")
    holds(redis, gateway)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_redis_that_evicts_is_not_used(tmp_path, run, policy):
    redis = Redis(tmp_path / "redis", "--maxmemory-policy", policy)
    try:
        gateway = run(redis.url)
        wait_until(lambda: "may throw our counters away" in gateway.log())
        talk(gateway, 3)
        assert redis("KEYS", "*") == []
        assert policy in check(gateway, 3).stderr
        redis("CONFIG", "SET", "maxmemory-policy", "noeviction")
        holds(redis, gateway)
    finally:
        redis.stop()


def touch_string(redis, base, key):
    redis("DEL", key)
    redis("SET", key, "hello")


def touch_nan(redis, base, key):
    redis("HSET", key, "m|mock|pusd", "NaN")


def touch_negative(redis, base, key):
    redis("HSET", key, "m|mock|input", "-5")


def touch_huge(redis, base, key):
    redis("HSET", key, "m|mock|output", "9" * 40)


@pytest.mark.parametrize("touch", [touch_string, touch_nan, touch_negative,
                                   touch_huge])
def test_a_counter_that_was_touched_is_told_and_rebuilt(redis, run, touch):
    gateway = run(redis.url)
    talk(gateway, 4, ["alice"])
    holds(redis, gateway)
    base = "{weir}:" + redis("HGET", "{weir}:epoch", "id")
    key, = redis("KEYS", base + ":use:*:alice")
    touch(redis, base, key)
    talk(gateway, 4, ["alice"])
    wait_until(lambda: "weir redis rebuild puts it right" in gateway.log())
    check(gateway, 3)
    gateway.command("redis", "rebuild")
    holds(redis, gateway)
    check(gateway)


def test_a_counter_that_was_changed_is_found(redis, run):
    gateway = run(redis.url)
    talk(gateway, 4, ["alice"])
    holds(redis, gateway)
    base = "{weir}:" + redis("HGET", "{weir}:epoch", "id")
    key, = redis("KEYS", base + ":use:*:alice")
    redis("HINCRBY", key, "m|mock|input", 1)
    assert "m|mock|input is" in check(gateway, 3).stderr
    redis("HINCRBY", key, "m|mock|input", -1)
    redis("HINCRBY", key, "m|mock|micro_usd", 1)
    assert "rounded up" in check(gateway, 3).stderr
    redis("HINCRBY", key, "m|mock|micro_usd", -1)
    redis("HSET", key.replace("alice", "eve"), "m|mock|requests", 1)
    assert ":eve" in check(gateway, 3).stderr


@pytest.mark.parametrize("what", ["gateway:one", "gateways", "mark"])
def test_marks_that_were_touched_lead_to_a_new_epoch(redis, run, what):
    gateway = run(redis.url)
    talk(gateway, 4)
    holds(redis, gateway)
    epoch = redis("HGET", "{weir}:epoch", "id")
    record = f"{{weir}}:{epoch}:gateway:one"
    if what == "mark":
        writer = gateway.ledger()[-1]["writer"]
        redis("HSET", record, f"at:{writer}", "1")
        talk(gateway, 2)
    else:
        redis("DEL", f"{{weir}}:{epoch}:{what}")
    if what == "gateways":  # no counter depends on it
        wait_until(lambda: is_ready(redis, "one"))
    else:
        wait_until(lambda: redis("HGET", "{weir}:epoch", "id") != epoch)
    talk(gateway, 2)
    holds(redis, gateway)
    check(gateway)


def test_a_rebuild_repairs_everything_under_the_prefix(redis, run):
    gateway = run(redis.url)
    talk(gateway, 4)
    holds(redis, gateway)
    redis("DEL", "{weir}:epoch")
    redis("SET", "{weir}:epoch", "what?")
    wait_until(lambda: "holds something else" in gateway.log())
    check(gateway, 3)
    gateway.command("redis", "rebuild")
    talk(gateway, 4)
    holds(redis, gateway)
    check(gateway)
    epoch = redis("HGET", "{weir}:epoch", "id")
    assert all(epoch in k for k in redis("KEYS", "*") if k != "{weir}:epoch")


def test_a_rebuild_beside_traffic_is_exact(redis, run):
    gateway = run(redis.url)
    talk(gateway, 4)
    with Traffic(gateway) as traffic:
        for _ in range(4):
            gateway.command("redis", "rebuild")
            check(gateway)
            traffic.wait_for_more(5)
    holds(redis, gateway)
    check(gateway)
