"""How much a user may ask for: requests a minute, requests at once.  Counted
once for all workers, told in the headers, given back whatever happens."""

import re
import threading
import time

import pytest

from dialects import (ANTHROPIC, CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES,
                      assert_says, new_lines)
from harness import basic_config, wait_until

LIMITED = "rate_limit_exceeded"
EVERY = [CHAT, COMPLETIONS, RESPONSES, ANTHROPIC, EMBEDDINGS]
by_name = {"ids": lambda d: d.name}


def with_limits(mock_server):
    """A rate is so low that none of it comes back while a test runs.  Nobody
    can wait, so one more than may be is refused at once."""
    config = basic_config(mock_server)
    config["server"]["workers"] = 2
    config["upstreams"]["mock"]["queue"] = {"size": 0}
    for name, limits in {
            "five": {"requests_per_minute": 5},
            "thousand": {"requests_per_minute": 1000},
            "fast": {"requests_per_minute": 600},
            "none": {"requests_per_minute": 0},
            "single": {"concurrent": 1},
            "double": {"concurrent": 2},
            "nobody": {"concurrent": 0},
            "both": {"requests_per_minute": 3, "concurrent": 1},
            "free": {}}.items():
        config["users"][name] = {"models": ["*"], "limits": limits}
    return config


@pytest.fixture
def own(start, mock_server, mock):
    gateway = start(with_limits(mock_server))
    mock.reset()
    yield gateway
    gateway.stop()


@pytest.fixture(scope="module")
def config(mock_server):
    return with_limits(mock_server)


def ask(gateway, user, dialect=CHAT, mock="tokens=1", **members):
    return gateway.send(dialect.request(gateway.keys[user], mock, **members))


def told(reply, dialect=CHAT):
    """(limit, remaining, reset) as the headers say them."""
    prefix = "anthropic-ratelimit-requests-" if dialect.is_anthropic \
        else "x-ratelimit-"
    suffix = "" if dialect.is_anthropic else "-requests"
    return tuple(reply.header(prefix + w + suffix)
                 for w in ("limit", "remaining", "reset"))


def seconds(text):
    """OpenAI's form: 12ms, 1s, 6m0s."""
    match = re.fullmatch(r"(?:(\d+)m)?(\d+)s|(\d+)ms", text)
    assert match, text
    minutes, whole, ms = (int(x or 0) for x in match.groups())
    return minutes * 60 + whole + ms / 1000


# --- requests a minute -------------------------------------------------------

@pytest.mark.parametrize("dialect", [CHAT, ANTHROPIC], **by_name)
def test_the_limit_is_counted_down_and_then_refused(own, mock, dialect):
    for left in (4, 3, 2, 1, 0):
        reply = ask(own, "five", dialect, stream=left % 2 == 0)
        assert reply.status == 200, reply
        assert told(reply, dialect)[:2] == ("5", str(left))
        if not dialect.is_anthropic:
            full_in = seconds(told(reply)[2])
            assert (5 - left) * 12 - 5 < full_in <= (5 - left) * 12 + 1
    for _ in range(3):
        reply = ask(own, "five", dialect)
        assert_says(dialect, reply, 429, LIMITED)
        assert told(reply, dialect)[:2] == ("5", "0")
        wait = int(reply.header("retry-after"))
        assert 6 <= wait <= 12
        assert wait - 1 <= int(reply.header("retry-after-ms")) / 1000 <= wait
        assert "five has made 5 requests in a minute" in \
            reply.json()["error"]["message"]
    assert mock.stats()["served"] == 5
    lines = sorted(new_lines(own, 8), key=lambda x: x["status"])
    assert [x["status"] for x in lines] == [200] * 5 + [429] * 3
    for line in lines[5:]:
        assert (line["end"], line["attempts"], line["usage_source"]) == \
            ("rate_limited", [], "none"), line


def test_it_is_one_limit_for_all_apis_and_keys(own, mock):
    second = own.issue("five")
    for dialect, key in zip(EVERY, [second, own.keys["five"]] * 3):
        reply = own.send(dialect.request(key, "tokens=1"))
        assert reply.status == 200, reply
    for dialect in EVERY:
        for key in (second, own.keys["five"]):
            assert own.send(dialect.request(key)).status == 429
    assert ask(own, "free").status == 200


def test_requests_at_once_over_all_workers_never_exceed_the_limit(own, mock):
    """60 at the same moment, of which 5 are let through."""
    statuses = []
    gate = threading.Barrier(12)

    def run():
        gate.wait()
        for _ in range(5):
            statuses.append(ask(own, "five").status)

    threads = [threading.Thread(target=run) for _ in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(statuses) == [200] * 5 + [429] * 55
    assert mock.stats()["served"] == 5


def test_a_minutes_worth_comes_back_evenly(own, mock):
    """600 a minute are one each 100 ms."""
    begun = time.monotonic()
    while (reply := ask(own, "fast")).status == 200:
        assert time.monotonic() - begun < 60
    served = mock.stats()["served"]
    assert 600 <= served <= 601 + (time.monotonic() - begun) * 10
    assert int(reply.header("retry-after-ms")) <= 100
    wait_until(lambda: ask(own, "fast").status == 200)
    took = time.monotonic() - begun
    assert mock.stats()["served"] <= 601 + took * 10


def test_zero_admits_nothing(gateway, mock):
    reply = ask(gateway, "none")
    assert_says(CHAT, reply, 429, LIMITED)
    assert 1 <= int(reply.header("retry-after")) <= 60
    assert_says(CHAT, ask(gateway, "nobody"), 429, LIMITED)
    mock.assert_untouched()


def test_without_a_limit_there_are_no_headers(gateway, mock):
    for dialect in (CHAT, ANTHROPIC):
        reply = ask(gateway, "free", dialect)
        assert told(reply, dialect) == (None, None, None), reply
        assert "limit" not in repr(reply.headers).lower()


@pytest.mark.parametrize("body", [b"{}", b"[", b'{"model":"x"}'])
def test_a_request_that_is_refused_before_costs_nothing(own, mock, body):
    key = own.keys["five"]
    for _ in range(8):
        assert own.post(body, key).status in (400, 404)
    assert told(ask(own, "five"))[1] == "4"


def test_the_reset_is_in_openais_form(own):
    resets = [told(ask(own, "thousand"))[2] for _ in range(30)]
    for text in resets:
        assert seconds(text) <= 2 + 30 * 0.06, text


def test_anthropics_reset_is_a_time(own):
    text = told(ask(own, "five", ANTHROPIC), ANTHROPIC)[2]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text), text


# --- at once -----------------------------------------------------------------

class Open:
    """Streams of a user that are on their way."""

    def __init__(self, gateway, mock):
        self.gateway, self.mock, self.conns = gateway, mock, []

    def add(self, user, dialect=CHAT, directives="tokens=2,interval=60s"):
        conn = self.gateway.connect(["POST"])
        conn.send(dialect.request(self.gateway.keys[user], directives,
                                  stream=True))
        conn.until(lambda c: b" tea" in c.body_so_far())
        self.conns.append(conn)
        return conn

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for conn in self.conns:
            conn.close()


@pytest.mark.parametrize("dialect", [CHAT, ANTHROPIC], **by_name)
def test_one_more_than_concurrent_is_refused(gateway, mock, dialect):
    with Open(gateway, mock) as streams:
        streams.add("double", dialect)
        second = streams.add("double", dialect)
        for d in EVERY:
            reply = ask(gateway, "double", d)
            assert_says(d, reply, 429, LIMITED)
            assert 1 <= int(reply.header("retry-after")) <= 60
        assert "double has 2 of 2 requests under way" in \
            reply.json()["error"]["message"]
        assert ask(gateway, "free", dialect).status == 200
        second.close()
        begun = time.monotonic()
        wait_until(lambda: ask(gateway, "double", dialect).status == 200)
        assert time.monotonic() - begun < 1
    refused = [x for x in gateway.lines() if x["end"] == "concurrent"]
    assert len(refused) >= 5 and not any(x["attempts"] for x in refused)


def test_a_refusal_for_concurrency_costs_no_request_of_the_minute(own, mock):
    with Open(own, mock) as streams:
        streams.add("both")
        for _ in range(10):
            reply = ask(own, "both")
            assert reply.status == 429 and "under way" in reply.body.decode()
            assert told(reply)[:2] == ("3", "2")
    mock.wait_stats(in_flight=0)
    wait_until(lambda: ask(own, "both").status == 200)
    assert told(ask(own, "both"))[1] == "0"


# A sentence, what the client asks for, how it leaves.
LEAVING = [
    ("before an answer", "ttft=60s", False, "close"),
    ("before a stream", "ttft=60s", True, "close"),
    ("before a stream, hard", "ttft=60s", True, "reset"),
    ("in a stream", "tokens=2,interval=60s", True, "close"),
    ("in a stream, hard", "tokens=2,interval=60s", True, "reset"),
]


@pytest.mark.parametrize("row", LEAVING, ids=[r[0] for r in LEAVING])
def test_a_place_is_given_back_when_the_client_leaves(gateway, mock, row):
    _, directives, is_stream, how = row
    for _ in range(3):
        conn = gateway.connect(["POST"])
        conn.send(CHAT.request(gateway.keys["single"], directives,
                               stream=is_stream))
        mock.wait_stats(in_flight=1)
        assert ask(gateway, "single").status == 429
        conn.reset() if how == "reset" else conn.close()
        begun = time.monotonic()
        wait_until(lambda: ask(gateway, "single").status == 200)
        assert time.monotonic() - begun < 1
        mock.wait_stats(in_flight=0)


# What ends the exchange.
FAILURES = ["status=503", "status=400", "fault=close_before_head",
            "fault=reset_mid", "fault=two_cl", "fault=error_first_event",
            "fault=empty_stream", "fault=redirect", "fault=body_on_204"]


@pytest.mark.parametrize("directives", FAILURES)
def test_a_place_is_given_back_after_a_failure(gateway, mock, directives):
    for is_stream in (False, True) * 2:
        gateway.raw(CHAT.request(
            gateway.keys["single"], directives, stream=is_stream,
            fields=["Connection: close"]), ["POST"])
    wait_until(lambda: ask(gateway, "single").status == 200)


def test_a_place_is_given_back_before_the_answer_ends(gateway, mock):
    """Who asks one request after the other is never refused for the one
    before, on whatever worker the next one comes."""
    for i in range(600):
        reply = ask(gateway, "single", stream=i % 2 == 0)
        assert reply.status == 200, (i, reply)


# --- over a reload -----------------------------------------------------------

def test_counts_outlive_a_reload(own, mock):
    for _ in range(5):
        assert ask(own, "five").status == 200
    with Open(own, mock) as streams:
        streams.add("single")
        own.reload()
        assert ask(own, "five").status == 429
        assert ask(own, "single").status == 429
    wait_until(lambda: ask(own, "single").status == 200)


def test_a_new_limit_counts_from_the_next_request_on(own, mock):
    config = own.config
    for _ in range(5):
        assert ask(own, "five").status == 200
    config["users"]["five"]["limits"]["requests_per_minute"] = 600
    config["users"]["single"]["limits"]["concurrent"] = 2
    with Open(own, mock) as streams:
        streams.add("single")
        own.write(config)
        own.reload()
        begun = time.monotonic()
        wait_until(lambda: ask(own, "five").status == 200)
        assert time.monotonic() - begun < 5
        streams.add("single")
        assert ask(own, "single").status == 429
        config["users"]["single"]["limits"]["concurrent"] = 1
        own.write(config)
        own.reload()
        assert ask(own, "single").status == 429
    wait_until(lambda: ask(own, "single").status == 200)


def test_the_common_limits_hold_for_who_has_none(start, mock_server):
    config = basic_config(mock_server)
    config["limits"] = {"requests_per_minute": 2, "concurrent": 7}
    config["users"]["bob"]["limits"] = {"requests_per_minute": 3}
    config["users"]["probe"] = {"models": ["*"], "limits": {
        "requests_per_minute": "unlimited"}}
    gateway = start(config)
    assert [ask(gateway, "alice").status for _ in range(3)] == [200, 200, 429]
    assert [ask(gateway, "bob").status for _ in range(4)] == \
        [200, 200, 200, 429]
    for _ in range(9):
        assert ask(gateway, "probe").status == 200
    gateway.stop()
