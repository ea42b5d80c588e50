"""Redis beside the ledger: every line is counted, once, and what is missing on
either side is found."""

import collections
import gzip
import json
import pathlib
import re
import subprocess
import time

import pytest

from harness import wait_until
from redis_server import Redis
from redis_sums import (COUNTERS, WRITER, check, counters, holds, is_ready,
                        line_of, lines_of, redis, run, talk, write_ledger)


# --- counting ----------------------------------------------------------------

def test_every_line_is_counted_by_user_model_upstream_and_hour(redis, run,
                                                               mock):
    gateway = run(redis.url)
    talk(gateway, 20)
    mock.set("status=500")
    assert gateway.chat().status == 500
    mock.reset()
    assert gateway.chat(model="unknown").status == 404  # asks no upstream
    found = holds(redis, gateway)
    names = {k[3] for k in found}
    assert names == set(COUNTERS) - {"cached", "reasoning"}, names
    assert "all" not in check(gateway).stderr


def test_the_two_lines_of_the_page_read_a_users_day(redis, run):
    gateway = run(redis.url)
    talk(gateway, 6)
    wanted = holds(redis, gateway)
    page = (pathlib.Path(__file__).resolve().parents[2] / "docs" /
            "redis.md").read_text()
    script = re.search(r"```sh\n(E=.*?)```", page, re.S)[1]
    assert len(script.strip().split("\n")) == 2, script
    day = time.strftime("%Y-%m-%d", time.gmtime())
    script = script.replace("2026-11-21", day).replace(
        "redis-cli", f"redis-cli -s {redis.socket}")
    done = subprocess.run(["bash", "-c", script], capture_output=True,
                          text=True, check=True, timeout=60)
    assert not done.stderr, done
    words = done.stdout.split("\n")
    read = collections.Counter()
    for field, n in zip(words[::2], words[1::2]):
        read[field.rpartition("|")[2]] += int(n)
    for counter in "requests", "input", "output", "pusd":
        assert read[counter] == sum(
            n for (_, user, _, name), n in wanted.items()
            if user == "alice" and name == counter), (counter, done.stdout)


def test_money_is_exact_beyond_what_a_double_holds(redis, run, tmp_path):
    cost = "9007.199254740993"  # 2^53 + 1 pico-dollars
    lines = [line_of(i + 1, cost_usd=cost) for i in range(50)]
    write_ledger(tmp_path / "weir0", lines)
    gateway = run(redis.url)
    found = holds(redis, lines)
    assert 50 * (2**53 + 1) in found.values(), found
    check(gateway)


def test_a_counter_stands_still_at_a_million_dollars(redis, run, tmp_path):
    """... in an hour: nothing fails, and nothing stops."""
    lines = [line_of(i + 1, cost_usd="600000.0") for i in range(3)]
    write_ledger(tmp_path / "weir0", lines)
    gateway = run(redis.url)
    wait_until(lambda: 10**18 - 1 in counters(redis).values())
    more = line_of(4, cost_usd="1.0", user="bob")
    with open(gateway.ledger_path, "a", encoding="ascii") as f:
        f.write(json.dumps(more, separators=(",", ":")) + "\n")
    wait_until(lambda: 10**12 in counters(redis).values())
    assert 10**18 - 1 in counters(redis).values()
    check(gateway)


def test_what_is_older_than_four_hundred_days_is_not_kept(redis, run,
                                                          tmp_path):
    lines = [line_of(1, ts="2020-02-02T02:02:02Z"), line_of(2)]
    write_ledger(tmp_path / "weir0", lines)
    gateway = run(redis.url)
    holds(redis, lines[1:])
    check(gateway)


def test_a_restarted_gateway_goes_on_where_it_was(redis, run):
    gateway = run(redis.url)
    talk(gateway)
    holds(redis, gateway)
    epoch = redis("HGET", "{weir}:epoch", "id")
    for _ in range(2):
        gateway.kill()
        gateway.start()
        talk(gateway, 4)
        holds(redis, gateway)
    assert redis("HGET", "{weir}:epoch", "id") == epoch
    assert len({x["writer"] for x in gateway.ledger()}) == 3
    check(gateway)


def test_all_keys_of_a_prefix_stand_in_one_slot_of_a_cluster(tmp_path, run):
    redis = Redis(tmp_path / "cluster", "--cluster-enabled", "yes")
    try:
        redis("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: "cluster_state:ok" in redis("CLUSTER", "INFO"))
        gateway = run(redis.url)
        talk(gateway)
        holds(redis, gateway)
        gateway.command("redis", "rebuild")
        check(gateway)
        keys = redis("KEYS", "*")
        assert len(keys) >= 4
        assert len({redis("CLUSTER", "KEYSLOT", k) for k in keys}) == 1, keys
    finally:
        redis.stop()


def test_two_gateways_count_together(redis, run):
    one, two = run(redis.url, "one"), run(redis.url, "two")
    talk(one, 6)
    talk(two, 8)
    holds(redis, one, two)
    wait_until(lambda: is_ready(redis, "one") and is_ready(redis, "two"))
    assert "may have more" in check(one).stdout
    assert "may have more" not in check(
        one, 0, "--ledger", str(two.ledger_path)).stdout


def test_two_gateways_of_one_name_are_told_apart(redis, run):
    one = run(redis.url, "same")
    talk(one, 3)
    holds(redis, one)
    two = run(redis.url, "same")
    wait_until(lambda: "is used by another gateway with our name" in two.log())
    talk(two, 3)
    talk(one, 3)
    holds(redis, one)


# --- the ledger itself -------------------------------------------------------

def test_a_line_is_counted_once_in_whatever_order_it_comes(redis, run,
                                                           tmp_path):
    """Three times, in bursts, and behind later ones; a gap is passed over,
    told and recorded."""
    good = [line_of(i, prompt_tokens=i) for i in (1, 2, 3, 4, 5, 8, 9, 10)]
    again = good[:4] * 2 + list(reversed(good[2:7])) + good[7:]
    write_ledger(tmp_path / "weir0", good[:5] + again[:6] + good[5:] + again)
    gateway = run(redis.url)
    holds(redis, good)
    wait_until(lambda: is_ready(redis, "one"))
    talk(gateway, 2)
    holds(redis, good + [x for x in lines_of(gateway)
                         if x["writer"] != WRITER])
    assert gateway.log().count("the ledger has a gap") == 1, gateway.log()
    done = check(gateway)
    assert f"skipped   {WRITER} 6-7\n" in done.stdout, done


def test_a_damaged_line_is_told_and_passed_over(redis, run, tmp_path):
    lines = [line_of(1), line_of(2), line_of(3)]
    lines[1]["prompt_tokens"] = "many"
    write_ledger(tmp_path / "weir0", lines)
    gateway = run(redis.url)
    holds(redis, [lines[0], lines[2]])
    wait_until(lambda: "1 damaged line is not counted" in gateway.log())
    assert f"skipped   {WRITER} 2-2" in check(gateway, 3).stdout


@pytest.mark.parametrize("lost", [-1, 4, 0], ids=["last", "middle", "first"])
def test_a_line_that_redis_has_and_the_ledger_lost_is_found(redis, run, lost):
    gateway = run(redis.url)
    talk(gateway)
    holds(redis, gateway)
    gateway.stop()
    check(gateway)
    text = gateway.ledger_path.read_text().split("\n")[:-1]
    seq = json.loads(text.pop(lost))["seq"]
    gateway.ledger_path.write_text("\n".join(text) + "\n")
    done = check(gateway, 3)
    assert "has counted what the ledger has lost" in done.stderr, done
    assert f"line {seq} to {seq}" in done.stderr, done
    gateway.command("redis", "rebuild")
    check(gateway)


def test_a_ledger_of_several_files_is_read_in_its_order(redis, run, tmp_path):
    """Also gzipped ones, and whatever logrotate has made of their names."""
    lines = [line_of(i, prompt_tokens=i) for i in range(1, 31)]
    lines += [line_of(i, WRITER[:-1] + "B") for i in range(1, 11)]
    folder = tmp_path / "weir0"
    for name, part in (("usage.jsonl.2.gz", lines[:10]),
                       ("usage-20261120-001.jsonl.gz", lines[10:20]),
                       ("usage.jsonl.1", lines[20:35]),
                       ("usage.jsonl", lines[35:])):
        write_ledger(folder, part)
        path = folder / "state" / "usage.jsonl"
        if name.endswith(".gz"):
            path.with_name(name).write_bytes(gzip.compress(path.read_bytes()))
        elif name != path.name:
            path.rename(path.with_name(name))
    gateway = run(redis.url)
    holds(redis, lines)
    assert "gap" not in gateway.log()
    talk(gateway, 3)
    gateway.ledger_path.rename(gateway.ledger_path.with_name("usage.jsonl.0"))
    gateway.reload()
    talk(gateway, 3)
    wait_until(lambda: sum(
        n for (*_, name), n in counters(redis).items()
        if name == "requests") == 46)
    check(gateway)


def test_segments_that_the_owner_removed_are_fine_if_he_says_so(redis, run):
    gateway = run(redis.url)
    talk(gateway)
    holds(redis, gateway)
    gateway.stop()
    text = gateway.ledger_path.read_text().split("\n")
    gateway.ledger_path.write_text("\n".join(text[4:]))
    check(gateway, 3)
    assert "removed   4 lines" in check(gateway, 0, "--removed-is-fine").stdout
