"""Who may use Redis, and what may answer in its place: nothing of that breaks
the gateway."""

import pathlib
import re
import time

import pytest

from harness import basic_config, certificate, wait_until
from redis_server import Pretend, Redis, healthy, pause_between
from redis_sums import Traffic, check, config_for, holds, redis, run, talk


# --- who may -----------------------------------------------------------------

def with_password(mock_server, url, password, **more):
    config = config_for(mock_server, url, password="${env:REDIS_SECRET}",
                        **more)
    return config, {"env": {"REDIS_SECRET": password}}


def test_the_password_is_asked_for_and_never_told(tmp_path, mock, mock_server,
                                                  start):
    redis = Redis(tmp_path / "redis", "--requirepass", "open-sesame-1")
    try:
        config, env = with_password(mock_server, redis.url, "open-sesame-2")
        wrong = start(config, **env)
        wrong.secrets |= {"open-sesame"}
        wait_until(lambda: "does not take the password" in wrong.log())
        talk(wrong, 2)
        config, env = with_password(mock_server, redis.tcp_url,
                                    "open-sesame-1")
        right = start(config, **env)
        right.secrets |= {"open-sesame"}
        talk(right, 3)
        wait_until(lambda: is_counting(right))
        check(right)
        none = start(config_for(mock_server, redis.url))
        wait_until(lambda: "wants a password" in none.log())
    finally:
        redis.stop()


def is_counting(gateway):
    done = gateway.command("redis", "check", check=False)
    return done.returncode == 0 and ", 0 not yet" in done.stdout and \
        "lines     0 " not in done.stdout


def test_a_user_of_an_access_list_needs_no_more_than_the_page_says(
        redis, tmp_path, mock, mock_server, start):
    page = (pathlib.Path(__file__).resolve().parents[2] / "docs" /
            "redis.md").read_text()
    rule = re.search(r"^ACL SETUSER weir .*?(?=\n```)", page,
                     re.S | re.M)[0].replace("\\\n", " ").split()
    rule = ["weir-user" if w == "weir" else w.replace(">SECRET", ">s3cret-3")
            for w in rule]
    redis(*rule)
    config, env = with_password(mock_server, redis.url, "s3cret-3",
                                username="weir-user")
    gateway = start(config, **env)
    gateway.secrets |= {"s3cret-3"}
    talk(gateway, 3)
    holds(redis, gateway)
    gateway.command("redis", "rebuild")
    check(gateway)


def test_a_database_of_its_own_is_used(redis, run):
    gateway = run(redis.tcp_url + "/3", prefix="team-a")
    talk(gateway, 3)
    client = redis.client()
    client("SELECT", 3)
    wait_until(lambda: client("KEYS", "{team-a}:*:use:*"))
    assert redis("KEYS", "*") == []
    client.close()


def test_tls_is_verified(tmp_path, mock, mock_server, start):
    cert, key = certificate(tmp_path)
    redis = Redis(tmp_path / "redis", tls=(cert, key))
    try:
        good = start(config_for(mock_server, redis.tcp_url, ca_file=str(cert)))
        talk(good, 3)
        holds(redis, good)
        named = start(config_for(
            mock_server, redis.tcp_url.replace("127.0.0.1", "localhost"),
            "named", ca_file=str(cert)))
        talk(named, 2)
        holds(redis, good, named)
        bad = start(config_for(mock_server, redis.tcp_url, "bad"))
        wait_until(lambda: "offers no TLS that can be trusted" in bad.log())
        talk(bad, 2)
        plain = start(config_for(
            mock_server, redis.tcp_url.replace("rediss", "redis"), "plain"))
        wait_until(lambda: "Redis (redis://" in plain.log())
        holds(redis, good, named)
    finally:
        redis.stop()


# --- hostile answers ---------------------------------------------------------

REFUSALS = {
    "LOADING Redis is loading the dataset in memory": "is loading its data",
    "READONLY You can't write against a read only replica.":
        "is a read-only replica",
    "MASTERDOWN Link with MASTER is down": "is a replica that lost",
    "MISCONF Redis is configured to save RDB snapshots": "cannot save",
    "BUSY Redis is busy running a script": "is busy with",
    "MOVED 1234 127.0.0.1:7001": "is a node of a cluster that has not",
    "ASK 1234 127.0.0.1:7001": "is a node of a cluster that moves",
    "CLUSTERDOWN Hash slot not served": "is a node of a cluster that is down",
    "NOAUTH Authentication required.": "wants a password",
    "WRONGPASS invalid username-password pair": "does not take the password",
    "NOPERM this user has no permissions": "does not let this user",
    "OOM command not allowed when used memory > 'maxmemory'.": "is full",
    "NOREPLICAS Not enough good replicas to write.": "has too few replicas",
    "WRONGTYPE Operation against a key": "holds something else",
    "ERR Error running script (call to f_1): @user_script:1: WRONGTYPE x":
        "holds something else",
    "ERR unknown command 'EVAL'": "refuses a command",
}


@pytest.mark.parametrize("where", [b"INFO", b"EVAL"])
def test_every_refusal_is_told_with_what_to_do(mock, mock_server, start,
                                               where):
    now = {}

    def answer(words):
        if words[0].upper() == where:
            now["asked"] = True
            return f"-{now['error']}\r\n".encode()
        return healthy(words)
    pretend = Pretend(answer)
    now["error"] = next(iter(REFUSALS))
    gateway = start(config_for(mock_server, pretend.url))
    wait_until(lambda: "is loading its data" in gateway.log())
    for error, meaning in REFUSALS.items():
        now["error"] = error
        done = gateway.command("redis", "rebuild", check=False)
        assert done.returncode in (1, 3), done
        assert meaning in done.stderr and error in done.stderr, done
    talk(gateway, 3)
    pretend.close()


GARBAGE = {
    "no RESP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "nothing": b"\r\n" * 100,
    "a huge string": b"$2000000000\r\n" + b"x" * 100000,
    "a huge array": b"*2000000000\r\n",
    "a huge number": b":99999999999999999999999\r\n",
    "too deep": b"*1\r\n" * 1000,
    "wide and deep": b"*1000000\r\n" * 7,
    "negative": b"*-5\r\n$-7\r\n",
    "nil": b"$-1\r\n",
    "empty": b"*0\r\n",
    "two answers": b"+OK\r\n+OK\r\n",
    "a status": b"+OK\r\n",
    "an integer": b":7\r\n",
    "ok alone": b"*1\r\n$2\r\nok\r\n",
    "damaged alone": b"*1\r\n$7\r\ndamaged\r\n",
    "ok with arrays": b"*6\r\n$2\r\nok\r\n*0\r\n*0\r\n*0\r\n*0\r\n*0\r\n",
    "an epoch too long": b"*5\r\n$2\r\nok\r\n$100\r\n" + b"E" * 100 +
                         b"\r\n$0\r\n\r\n$0\r\n\r\n$1\r\n0\r\n",
    "always another epoch": b"*2\r\n$5\r\nepoch\r\n$1\r\nX\r\n",
    "always gone": b"*2\r\n$4\r\ngone\r\n$1\r\nX\r\n",
    "RESP3": b"%1\r\n+a\r\n#t\r\n,1.5\r\n",
    "the end": None,
}


@pytest.mark.parametrize("name", GARBAGE)
@pytest.mark.parametrize("where", [b"INFO", b"EVAL"])
def test_an_answer_that_makes_no_sense_breaks_nothing(mock, mock_server,
                                                      start, where, name):
    pretend = Pretend(lambda words: GARBAGE[name]
                      if words[0].upper() == where else healthy(words))
    gateway = start(config_for(mock_server, pretend.url))
    wait_until(lambda: "weir: error: Redis (" in gateway.log())
    talk(gateway, 2)
    for command in "check", "rebuild":
        done = gateway.command("redis", command, check=False)
        assert done.returncode in (1, 3), done
    assert gateway.rss_bytes() < 1 << 30
    pretend.close()


def test_an_endless_answer_is_cut_off(mock, mock_server, start):
    pretend = Pretend(lambda words: b"$100000000\r\n" + b"x" * 40_000_000)
    gateway = start(config_for(mock_server, pretend.url))
    wait_until(lambda: "weir: error: Redis (" in gateway.log())
    talk(gateway, 2)
    pretend.close()


def test_a_flapping_redis_is_not_stormed(mock, mock_server, start):
    """Connections are closed as soon as they are used: tries become rare, and
    only one is open at a time."""
    pretend = Pretend(lambda words: None)
    gateway = start(config_for(mock_server, pretend.url))
    descriptors = len(gateway.fds())
    begun = time.monotonic()
    most = 0
    while time.monotonic() - begun < 6:
        most = max(most, len(gateway.fds()))
        pause_between()
    # 0.1, 0.2, 0.4 ... s, each at least half of it.
    assert pretend.connections <= 9, pretend.connections
    assert most <= descriptors + 2
    log = gateway.log()
    assert log.count("cannot be reached") == 1, log
    pretend.close()


def test_a_flapping_redis_is_exact_in_the_end(redis, run):
    gateway = run(redis.url)
    with Traffic(gateway) as traffic:
        for _ in range(10):
            redis("CLIENT", "KILL", "TYPE", "normal")
            pause_between()
        traffic.wait_for_more(5)
    holds(redis, gateway)
    check(gateway)


def test_nobody_there_is_told_by_the_command(mock, mock_server, start,
                                             tmp_path):
    gateway = start(config_for(mock_server, f"unix:{tmp_path}/nothing"))
    done = check(gateway, 1)
    assert "cannot be reached" in done.stderr, done
    assert gateway.command("redis", "rebuild", check=False).returncode == 1
    for argv in [], ["what"], ["check", "more"], ["check", "--what"]:
        done = gateway.command("redis", *argv, check=False)
        assert done.returncode == 2, done
    wait_until(lambda: "cannot be reached" in gateway.log())
    talk(gateway, 2)


def test_without_redis_the_command_says_so(mock, mock_server, start):
    gateway = start(basic_config(mock_server))
    done = gateway.command("redis", "check", check=False)
    assert done.returncode == 1 and "no `redis`" in done.stderr, done
