"""Limits over several gateways on one Redis: what is used and what is open
count together, whatever dies when."""

import json
import random
import re
import time

import pytest

from harness import certificate, wait_until
from redis_server import Between, Redis
from redis_sums import check, line_of, redis, run
from shared_gateways import DOLLAR, Gateway, all_whole, held, new_id


@pytest.fixture
def gateways(redis, tmp_path):
    """begin(3) are that many gateways whose sums are whole."""
    made = []

    def begin(count=1, where=None, **options):
        new = [Gateway(tmp_path, f"g{len(made) + i}", where or redis.url,
                       **options) for i in range(count)]
        made.extend(new)
        all_whole(new)
        return new
    yield begin
    for g in made:
        g.stop()


def race(gateways, count, each):
    """`count` requests at once over all gateways, each of which admits and
    pays; the ids by what became of them."""
    ids = [(gateways[i % len(gateways)], new_id()) for i in range(count)]
    for g, name in ids:
        g.tell(*g.admit_words(name, budget=DOLLAR))
    for g in gateways:
        g.flush()
    for g, name in ids:
        assert g.answer(name)[0] == "ok"
        g.tell("pay", name, each)
    for g in gateways:
        g.flush()
    found = {"ok": [], "refused": [], "unknown": []}
    for g, name in ids:
        found[g.answer(name)[0]].append((g, name))
    return found


# --- budgets -----------------------------------------------------------------

def test_a_thousand_at_once_over_three_gateways_do_not_overrun_a_budget(
        gateways, redis):
    three = gateways(3)
    found = race(three, 1000, DOLLAR // 10)
    assert len(found["ok"]) == 10 and not found["unknown"]
    assert held(redis) == {k: DOLLAR for k in held(redis)}
    assert len(held(redis)) == 1
    for g, name in found["ok"] + found["refused"]:
        g.settle(name)
    wait_until(lambda: held(redis) == {})
    wait_until(lambda: all(g.facts()["claims"] == 0 for g in three))
    assert redis("HGETALL", "{weir}:open:g0") == []


def test_what_a_line_has_used_takes_the_place_of_what_was_held(gateways,
                                                               redis):
    one, two = gateways(2)
    first = new_id()
    one.admit(first, budget=DOLLAR)
    assert one.pay(first, 9 * DOLLAR // 10)[0] == "ok"
    other = new_id()
    two.admit(other, budget=DOLLAR)
    refused = two.pay(other, DOLLAR // 5)
    assert refused[0] == "refused" and refused[2] == "budget", refused
    assert refused[3:7] == ["0", str(9 * DOLLAR // 10), str(DOLLAR // 5),
                            str(DOLLAR)]
    assert refused[8] == "0"  # only what is held stands in the way
    one.settle(first, has_line=True)
    wait_until(lambda: one.facts()["claims"] == 0)
    assert two.pay(other, DOLLAR // 5)[0] == "refused"  # still held
    one.write(first, cost_usd="0.850000000001")
    wait_until(lambda: held(redis) == {})
    refused = two.pay(other, DOLLAR // 5)
    assert refused[3:5] == ["850000000001", "0"] and refused[8] == "1"
    assert two.pay(other, 149999999999)[0] == "ok"
    assert two.pay(other, 150000000000)[0] == "refused"  # by one
    two.tell("unpay", other)
    two.flush()
    wait_until(lambda: held(redis) == {})


def test_pico_dollars_beyond_2_53_are_exact(gateways):
    one, two = gateways(2)
    for most in 2**53, 2**53 + 1, 10**18 - 1, 2**63 - 2:
        name = f"user:{most}"
        first, second = new_id(), new_id()
        half = min(most // 2, 10**18 - 2)
        one.admit(first, subject=name, budget=most)
        two.admit(second, subject=name, budget=half + 3)
        assert one.pay(first, half)[0] == "ok"
        assert two.pay(second, 4)[3:5] == ["0", str(half)]
        assert two.pay(second, 3)[0] == "ok"


def test_tokens_of_the_day_and_growing(gateways, redis):
    one, two = gateways(2)
    first, second = new_id(), new_id()
    assert one.admit(first, day=1000, tokens=(300, 300))[0] == "ok"
    refused = two.admit(second, day=1000, tokens=(200, 201))
    assert refused[2:7] == ["tokens_per_day", "0", "600", "401", "1000"]
    one.tell("grow", first, 1500, 0)
    one.flush()
    wait_until(lambda: list(held(redis).values()) == [1500])
    assert two.admit(new_id(), day=2000, tokens=(300, 200))[0] == "ok"
    assert two.admit(new_id(), day=2000, tokens=(1, 0))[0] == "refused"
    one.settle(first, has_line=True)
    one.write(first, prompt_tokens=300, completion_tokens=450)
    wait_until(lambda: list(held(redis).values()) == [500])
    assert two.admit(new_id(), day=1251, tokens=(1, 0))[0] == "ok"
    assert two.admit(new_id(), day=1251, tokens=(1, 0))[0] == "refused"


# --- rates -------------------------------------------------------------------

def test_a_rate_is_one_rate_over_all_gateways(gateways, redis):
    three = gateways(3)
    found = [g.admit(new_id(), requests=6) for g in three * 4]
    assert [x[0] for x in found] == ["ok"] * 6 + ["refused"] * 6, found
    refused = found[-1]
    assert refused[2] == "requests_per_minute"
    assert 9000 < int(refused[7]) <= 10000, refused
    # A request that is refused later gets its quota back, once.
    name = new_id()
    three[0].admit(name, subject="user:bob", requests=1)
    assert three[1].admit(new_id(), subject="user:bob",
                          requests=1)[0] == "refused"
    three[0].settle(name)
    wait_until(lambda: three[1].admit(new_id(), subject="user:bob",
                                      requests=1)[0] == "ok")
    assert "{weir}:rate:r:user:bob" in redis("KEYS", "*")
    assert 0 < redis("TTL", "{weir}:rate:r:user:bob") <= 62


def test_tokens_of_a_minute_that_were_not_used_come_back(gateways):
    one, two = gateways(2)
    name = new_id()
    assert one.admit(name, per_minute_out=1000, tokens=(0, 900))[0] == "ok"
    assert two.admit(new_id(), per_minute_out=1000,
                     tokens=(0, 500))[0] == "refused"
    one.settle(name, has_line=True, tokens=(0, 100))
    wait_until(lambda: one.facts()["claims"] == 0)
    assert two.admit(new_id(), per_minute_out=1000,
                     tokens=(0, 500))[0] == "ok"


def test_what_exceeds_the_burst_waits_for_a_full_bucket_and_leaves_a_debt(
        gateways):
    one, two = gateways(2)
    assert one.admit(new_id(), per_minute_in=1000,
                     tokens=(3000, 0))[0] == "ok"
    refused = two.admit(new_id(), per_minute_in=1000, tokens=(3000, 0))
    assert refused[0] == "refused" and 170000 < int(refused[7]) <= 180000


# --- slots -------------------------------------------------------------------

def test_a_users_requests_at_once_are_counted_over_all_gateways(gateways):
    three = gateways(3)
    ids = [new_id() for _ in range(6)]
    for i, name in enumerate(ids):
        assert three[i % 3].admit(name, concurrent=4)[0] == "ok"
    taken = [three[i % 3].ask("slot", name)[0] for i, name in enumerate(ids)]
    assert taken == ["ok"] * 4 + ["refused"] * 2
    three[0].tell("give", ids[0])
    three[0].flush()
    wait_until(lambda: three[1].ask("slot", ids[4])[0] == "ok")
    assert three[2].ask("slot", ids[5])[0] == "refused"
    three[1].settle(ids[1])
    wait_until(lambda: three[2].ask("slot", ids[5])[0] == "ok")


# --- a gateway that dies -----------------------------------------------------

def test_slots_of_a_dead_gateway_come_back_and_its_money_does_not(
        gateways, redis, run):
    one, two = gateways(2, lease_ms=1500)
    first, second = new_id(), new_id()
    one.admit(first, budget=DOLLAR, concurrent=1)
    assert one.ask("slot", first)[0] == "ok"
    assert one.pay(first, DOLLAR)[0] == "ok"
    one.kill()
    two.admit(second, budget=DOLLAR, concurrent=1)
    assert two.ask("slot", second)[0] == "refused"
    wait_until(lambda: two.ask("slot", second)[0] == "ok", 10)
    assert two.pay(second, 1)[0] == "refused"
    wait_until(lambda: two.facts()["gateways"] == 1)
    # Its crash line, written at its next start, takes what it held.
    one.write(first, cost_usd="0.25", end="gateway_crashed")
    one.start()
    wait_until(lambda: two.pay(second, 3 * DOLLAR // 4)[0] == "ok", 10)
    assert two.pay(second, 3 * DOLLAR // 4 + 1)[0] == "refused"


def test_no_overshoot_while_a_gateway_is_killed(gateways, redis):
    three = gateways(3)
    ids = [(three[i % 3], new_id()) for i in range(300)]
    for g, name in ids:
        g.tell(*g.admit_words(name, budget=DOLLAR))
    for g in three:
        g.flush()
    for g, name in ids:
        g.answer(name)
        g.tell("pay", name, DOLLAR // 10)
    for g in three:
        g.flush()
    three[0].kill()
    ok = sum(g.answer(name)[0] == "ok" for g, name in ids if g is not three[0])
    assert sum(held(redis).values()) == DOLLAR and ok <= 10
    three[0].start()
    all_whole(three)
    name = new_id()
    three[0].admit(name, budget=DOLLAR)
    assert three[0].pay(name, 1)[0] == "refused"


# --- Redis that fails --------------------------------------------------------

@pytest.mark.parametrize("how", ["stopped", "slow"])
def test_a_redis_that_hangs_is_unknown_in_time_and_comes_back(gateways, redis,
                                                              how):
    three = gateways(3)
    kept = new_id()
    three[0].admit(kept, budget=DOLLAR)
    assert three[0].pay(kept, DOLLAR // 2)[0] == "ok"
    if how == "stopped":
        redis.pause()
    else:
        redis("CLIENT", "PAUSE", 2000, "ALL")
    begun = time.monotonic()
    ids = [(g, new_id()) for g in three for _ in range(20)]
    for g, name in ids:
        g.tell(*g.admit_words(name, requests=1000))
        g.flush()
    for g, name in ids:
        answer = g.answer(name)
        assert answer[0] == "unknown" and int(answer[1]) < 400, answer
    assert time.monotonic() - begun < 2
    name = new_id()
    answer = three[1].admit(name, requests=10)
    assert answer[0] == "unknown" and int(answer[1]) < 50  # at once
    if how == "stopped":
        redis.go_on()
    all_whole(three)
    # What went on all the same is known there again, and ends there.
    for g, name in ids:
        g.settle(name)
    wait_until(lambda: three[2].facts()["claims"] == 0)
    assert sum(held(redis).values()) == DOLLAR // 2
    found = race(three, 100, DOLLAR // 10)
    assert len(found["ok"]) == 5 and not found["unknown"]


def test_what_was_sent_too_late_does_nothing(gateways, redis):
    """A stopped Redis finds our commands in its sockets when it goes on."""
    one, = gateways(1)
    name = new_id()
    one.admit(name, budget=DOLLAR)
    redis.pause()
    one.tell("pay", name, DOLLAR)
    one.settle(name)
    one.kill()  # nobody is left to take it back
    time.sleep(0.3)  # the time that a command has; this is what is tested
    redis.go_on()
    wait_until(lambda: redis("PING") == "PONG")
    assert held(redis) == {}


@pytest.mark.parametrize("how", ["flushed", "restarted", "older"])
def test_a_redis_that_has_lost_everything_is_told_what_is_held(
        tmp_path, how):
    redis = Redis(tmp_path / "lossy", keeps=Redis.NONE)
    three = [Gateway(tmp_path, f"g{i}", redis.url) for i in range(3)]
    try:
        all_whole(three)
        spent, kept = new_id(), new_id()
        if how == "older":
            redis("SAVE")
        three[0].admit(spent, budget=DOLLAR)
        three[0].pay(spent, DOLLAR // 2)
        three[0].settle(spent, has_line=True)
        three[0].write(spent, cost_usd="0.3")
        three[1].admit(kept, budget=DOLLAR)
        assert three[1].pay(kept, DOLLAR // 2)[0] == "ok"
        wait_until(lambda: sum(held(redis).values()) == DOLLAR // 2)
        if how == "flushed":
            redis("FLUSHALL")
        else:
            redis.kill()
            redis.start()
        # Whatever is answered from now on, 0.2 are left.
        begun, over = time.monotonic(), 0
        while time.monotonic() - begun < 20:
            name = new_id()
            three[2].admit(name, budget=DOLLAR)
            answer = three[2].pay(name, 3 * DOLLAR // 10)
            over += answer[0] == "ok"
            # What nobody knew was held until it was settled.
            if answer[3:5] == [str(3 * DOLLAR // 10), str(DOLLAR // 2)]:
                break
            three[2].settle(name)
        else:
            raise AssertionError("never known again")
        assert not over
        assert three[2].pay(name, DOLLAR // 5)[0] == "ok"
    finally:
        for g in three:
            g.stop()
        redis.stop()


def test_a_forgotten_script_is_sent_again(gateways, redis):
    three = gateways(3)
    for _ in range(20):
        redis("SCRIPT", "FLUSH")
        found = race(three, 12, DOLLAR // 10)
        assert len(found["ok"]) == 10 and not found["unknown"]
        for g, name in found["ok"] + found["refused"]:
            g.settle(name)
        wait_until(lambda: held(redis) == {})


def test_an_answer_that_is_lost_is_asked_for_again_and_counts_once(
        gateways, redis):
    lost = set()

    def loses(answer, command):
        names = set(re.findall(rb"\nLOSE\d", command)) - lost
        if b"ok" not in answer or not names:
            return False
        lost.update(names)
        return True
    between = Between(redis, loses)
    one, = gateways(1, where=f"127.0.0.1:{between.port}")
    begun = time.monotonic()
    for i in range(3):
        name = f"LOSE{i}".ljust(26, "0")
        while time.monotonic() - begun < 1.2 * (i + 1):
            time.sleep(0.05)  # a connection that has stood for a second
        answer = one.admit(name, requests=10, day=1000, tokens=(10, 0))
        assert answer[0] == "ok", answer
    assert len(lost) == 3
    assert sum(held(redis).values()) == 30
    left = [one.admit(new_id(), requests=10)[0] for _ in range(8)]
    assert left.count("ok") == 7, left
    between.close()


# --- strangers ---------------------------------------------------------------

@pytest.mark.parametrize("value", ["-5", "nan", "9" * 30])
def test_tampered_sums_are_unknown_and_nothing_crashes(gateways, redis, value):
    one, = gateways(1)
    name = new_id()
    one.admit(name, budget=DOLLAR)
    assert one.pay(name, 5)[0] == "ok"
    field, = held(redis)
    redis("HSET", "{weir}:held", field, value)
    assert one.pay(name, 6)[0] == "unknown"
    redis("DEL", "{weir}:held")
    redis("HSET", "{weir}:open:g0", name, "no json")
    assert one.pay(name, 6)[0] == "unknown"
    redis("DEL", "{weir}:open:g0")
    redis("SET", "{weir}:open:g0", "a string")
    assert one.pay(name, 6)[0] == "unknown"
    redis("DEL", "{weir}:open:g0")
    assert one.pay(name, 6)[0] == "ok"


def test_over_tls_it_is_the_same(tmp_path):
    cert, key = certificate(tmp_path)
    redis = Redis(tmp_path / "tls", tls=(cert, key))
    g = None
    try:
        g = Gateway(tmp_path, "g0", f"127.0.0.1:{redis.port}", ca=str(cert))
        all_whole([g])
        found = race([g], 100, DOLLAR // 10)
        assert len(found["ok"]) == 10
    finally:
        if g:
            g.stop()
        redis.stop()


# --- what nobody will settle -------------------------------------------------

def test_what_a_dead_start_held_without_a_line_is_swept(gateways, redis):
    """Killed before anything was sent to an upstream: no line will come."""
    one, two = gateways(2, lease_ms=1000)
    name = new_id()
    one.admit(name, budget=DOLLAR)
    assert one.pay(name, DOLLAR)[0] == "ok"
    one.kill()
    one.start()
    wait_until(lambda: held(redis) == {}, 20)
    other = new_id()
    two.admit(other, budget=DOLLAR)
    assert two.pay(other, DOLLAR)[0] == "ok"
    wait_until(lambda: two.pay(other, DOLLAR // 2)[0] == "ok")
    kept = held(redis)
    again = new_id()
    one.admit(again, requests=100)
    one.settle(again, has_line=True)  # whose line was lost with a disk
    wait_until(lambda: redis("HGETALL", "{weir}:open:g0") == [], 20)
    assert held(redis) == kept


def test_forget_gives_up_what_a_gateway_that_is_gone_holds(gateways, redis,
                                                           run):
    one, two = gateways(2, lease_ms=1000)
    names = [new_id() for _ in range(3)]
    for name in names:
        one.admit(name, budget=DOLLAR)
        assert one.pay(name, DOLLAR // 3)[0] == "ok"
    gateway = run(redis.url, "other")
    early = gateway.command("redis", "forget", "g0", check=False)
    assert early.returncode == 1 and "is alive" in early.stderr, early
    one.kill()
    done = []

    def is_forgotten():
        done.append(gateway.command("redis", "forget", "g0", check=False))
        return done[-1].returncode == 0
    wait_until(is_forgotten)
    assert "3 requests of g0 forgotten" in done[-1].stdout, done[-1]
    other = new_id()
    two.admit(other, budget=DOLLAR)
    wait_until(lambda: two.pay(other, DOLLAR)[0] == "ok")
    assert gateway.command("redis", "forget", check=False).returncode == 2


def test_a_rebuild_takes_nothing_from_what_is_open(gateways, redis, run):
    two = gateways(2)
    used, kept, other = new_id(), new_id(), new_id()
    two[0].write(used, cost_usd="0.5")
    two[0].admit(kept, budget=DOLLAR)
    gateway = run(redis.url, "other")
    all_whole(two)
    two[1].admit(other, budget=DOLLAR)
    wait_until(lambda: two[1].pay(other, DOLLAR + 1)[3:4] ==
               ["500000000000"])
    assert two[0].pay(kept, DOLLAR // 4)[0] == "ok"
    epoch = redis("HGET", "{weir}:epoch", "id")
    gateway.command("redis", "rebuild")
    assert redis("HGET", "{weir}:epoch", "id") != epoch
    wait_until(lambda: two[1].pay(other, DOLLAR + 1)[3:5] ==
               ["500000000000", "250000000000"])
    check(gateway)


def test_a_line_that_only_a_rebuild_has_counted_takes_its_reservation(redis,
                                                                      run):
    gateway = run(redis.url)
    wait_until(lambda: redis("HGET", "{weir}:epoch", "id"))
    gateway.kill()
    name, field = new_id(), "user:alice money 0"
    redis("HSET", "{weir}:open:one", name,
          json.dumps({"j": "x", "e": 0, "h": {field: "5"}}))
    redis("HSET", "{weir}:held", field, "9")
    with open(gateway.ledger_path, "a", encoding="ascii") as f:
        f.write(json.dumps(line_of(1, id=name), separators=(",", ":")) + "\n")
    gateway.command("redis", "rebuild")
    assert held(redis) == {field: 4}
    assert redis("EXISTS", "{weir}:open:one") == 0
    assert not [k for k in redis("KEYS", "*") if k.endswith(":counted")]
    check(gateway)


# --- a model -----------------------------------------------------------------

@pytest.mark.parametrize("seed", range(3))
def test_random_claims_come_out_as_a_model_says(gateways, redis, seed):
    rng = random.Random(seed)
    two = gateways(2)
    budgets = {"user:alice": 1000, "user:bob": 2**53 + 11}
    used = dict.fromkeys(budgets, 0)
    claims = {}  # id -> [gateway, subject, held]
    for _ in range(150):
        subject = rng.choice(list(budgets))
        most = budgets[subject]
        what = rng.random()
        if what < 0.4 or not claims:
            g, name = rng.choice(two), new_id()
            assert g.admit(name, subject=subject, budget=most)[0] == "ok"
            claims[name] = [g, subject, 0]
        elif what < 0.75:
            name = rng.choice(list(claims))
            g, subject, mine = claims[name]
            most = budgets[subject]
            wanted = rng.randrange(most // 4 + 2)
            others = sum(c[2] for n, c in claims.items()
                         if c[1] == subject and n != name)
            answer = g.pay(name, wanted)
            fits = used[subject] + others + wanted <= most
            assert answer[0] == ("ok" if fits else "refused"), (
                answer, used, claims, wanted)
            if fits:
                claims[name][2] = wanted
            else:
                assert answer[3:5] == [str(used[subject]), str(others)]
        else:
            name = rng.choice(list(claims))
            g, subject, mine = claims.pop(name)
            has_line = rng.random() < 0.5
            g.settle(name, has_line=has_line)
            if has_line:
                cost = rng.randrange(2 * mine + 1)
                used[subject] += cost
                g.write(name, user=subject[5:],
                        cost_usd=f"{cost // DOLLAR}.{cost % DOLLAR:012}")
            wait_until(lambda: redis("HGET", "{weir}:open:" + g.name,
                                     name) is None)
        sums = {}
        for _, subject, mine in claims.values():
            sums[subject] = sums.get(subject, 0) + mine
        assert {k.split(" ")[0]: v for k, v in held(redis).items()} == {
            k: v for k, v in sums.items() if v}
