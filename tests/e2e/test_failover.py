"""Which model server answers: the routes in their order, each only after a
failure that it is there for, never after the client has seen content, and
never one that costs money for a user who may not spend any."""

import contextlib
import json

import pytest

from dialects import ANTHROPIC, CHAT, assert_says, new_lines, results
from harness import Mock, basic_config
from scripted import closed_port

GONE = "upstream_unavailable"
LATE = "upstream_timeout"
BUSY = "overloaded"

KINDS = ["connect", "reset", "429", "503", "529", "5xx", "timeout",
         "error_event", "full"]


@pytest.fixture(scope="module")
def one_server():
    server = Mock("one")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def two_server():
    server = Mock("two")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def dead_port():
    with closed_port() as port:
        yield port


@pytest.fixture
def one(one_server):
    one_server.reset()
    yield one_server
    one_server.reset()


@pytest.fixture
def two(two_server):
    two_server.reset()
    yield two_server
    two_server.reset()


def routes(*steps):
    """("one", "connect 429"), ...: where to, and after what."""
    return {"routes": [
        {"to": to, "model": f"{to}-model",
         **({"when": when[0].split()} if when else {})}
        for to, *when in steps]}


@pytest.fixture(scope="module")
def config(mock_server, one_server, two_server, dead_port):
    config = basic_config(mock_server)
    brief = {"idle": "50ms"}
    price = [{"from": "2026-01-01", "input": "2", "output": "10"}]
    config["upstreams"] |= {
        "one": {"url": one_server.url, "timeouts": brief},
        "quick": {"url": one_server.url,
                  "timeouts": {**brief, "first_token": "400ms"}},
        "small": {"url": one_server.url, "timeouts": brief,
                  "max_inflight": 1, "queue": {"size": 0}},
        "two": {"url": two_server.url, "timeouts": brief},
        "cloud": {"url": two_server.url, "timeouts": brief, "paid": True,
                  "max_inflight": 1, "queue": {"size": 0}},
        **{f"dead{i}": {"url": f"http://127.0.0.1:{dead_port}"}
           for i in range(1, 5)}}
    config["prices"] = {"cloud": {"cloud-model": price}}
    models = config["models"]
    for kind in KINDS:
        first = first_of(kind)
        related = {"503": "5xx", "529": "5xx", "full": "503"}.get(kind)
        others = [k for k in KINDS if k not in (kind, related)]
        if kind == "error_event":
            others.remove("reset")
        models[f"after-{kind}"] = routes((first,), ("two", kind))
        models[f"but-{kind}"] = routes((first,), ("two", " ".join(others)))
    models |= {
        "default": routes(("one",), ("two",)),
        "default-quick": routes(("quick",), ("two",)),
        "default-small": routes(("small",), ("two",)),
        "small": routes(("small",)),
        "alone": routes(("one",)),
        "in-order": routes(("dead1",), ("one",), ("two",)),
        "four": routes(("dead1",), ("dead2",), ("dead3",), ("two",)),
        "five": routes(("dead1",), ("dead2",), ("dead3",), ("dead4",),
                       ("two",)),
        "skips": routes(("dead1",), ("one", "429 503"), ("two", "connect")),
        "changes": routes(("dead1",), ("one", "connect"), ("two", "503")),
        "paid-later": routes(("one",), ("cloud", "connect 503 timeout 429")),
        "paid-quick": routes(("quick",), ("cloud", "timeout")),
        "paid-first": routes(("cloud",), ("one",)),
        "paid-only": routes(("cloud",)),
        "paid-between": routes(("dead1",), ("cloud",), ("one",)),
        "paid-full": routes(("one",), ("cloud",)),
    }
    config["users"]["alice"]["limits"] = {"paid_routes": True}
    return config


def ask(gateway, model, dialect=CHAT, user="alice", stream=False, mock="",
        **members):
    return gateway.send(dialect.request(
        gateway.keys[user], mock, model=model, stream=stream, **members))


def answered(reply):
    return reply.header("x-weir-upstream"), reply.header("x-weir-route")


# --- when --------------------------------------------------------------------

# The kind, what the first server does, streamed, the attempt, what the client
# gets where the next route is not for this (None: what the server said).
FAILURES = [
    ("connect", "listen=off", False, "connect", (502, GONE)),
    ("connect", "listen=off", True, "connect", (502, GONE)),
    ("reset", "fault=reset_before_head", False, "reset", (502, GONE)),
    ("reset", "fault=close_before_head", True, "reset", (502, GONE)),
    ("reset", "fault=two_cl", False, "invalid", (502, GONE)),
    ("reset", "interims=20", True, "invalid", (502, GONE)),
    ("429", "status=429", False, "429", None),
    ("429", "status=429,retry_after=7", True, "429", None),
    ("503", "status=503", False, "503", None),
    ("503", "status=503", True, "503", None),
    ("529", "status=529", False, "529", None),
    ("5xx", "status=500", True, "500", None),
    ("5xx", "status=502", False, "502", None),
    ("5xx", "status=504", False, "504", None),
    ("5xx", "status=507", False, "5xx", None),
    ("timeout", "fault=hang_before_head", False, "timeout", (504, LATE)),
    ("timeout", "fault=hang_after_head", True, "timeout", (504, LATE)),
    ("timeout", "early=2,ttft=60s", True, "timeout", (504, LATE)),
    ("error_event", "fault=error_first_event", True, "error_event", None),
    ("error_event", "fault=empty_stream", True, "error_event", (502, GONE)),
    ("error_event", "fault=role_then_close", True, "reset", (502, GONE)),
    ("error_event", "fault=html", True, "error_event", (502, GONE)),
]

in_both_dialects = pytest.mark.parametrize(
    "dialect", [CHAT, ANTHROPIC], ids=lambda d: d.name)
each_failure = pytest.mark.parametrize(
    "row", FAILURES,
    ids=[f"{r[1]}{' streamed' if r[2] else ''}" for r in FAILURES])


def fail(server, directives):
    server.refuse() if directives == "listen=off" else server.set(directives)


def first_of(kind):
    return {"timeout": "quick", "full": "small"}.get(kind, "one")


@in_both_dialects
@each_failure
def test_the_next_route_is_taken_after_what_it_is_for(
        gateway, one, two, dialect, row):
    kind, directives, is_stream, result, _ = row
    fail(one, directives)
    two.set("tokens=3,prompt=40")
    reply = ask(gateway, f"after-{kind}", dialect, stream=is_stream)
    assert reply.status == 200 and dialect.text(reply) == " tea sea sun"
    assert answered(reply) == ("two", f"fallback:{result}"), reply
    assert dialect.has_end_mark(reply.body) == is_stream
    line, = new_lines(gateway, 1)
    assert results(line) == f"{first_of(kind)}:{result} two:ok", line
    assert (line["end"], line["upstream"], line["upstream_model"]) == \
        ("ok", "two", "two-model"), line
    assert (line["prompt_tokens"], line["completion_tokens"]) == (40, 3)


@in_both_dialects
@each_failure
def test_the_next_route_is_not_taken_after_anything_else(
        gateway, one, two, dialect, row):
    kind, directives, is_stream, result, error = row
    fail(one, directives)
    reply = ask(gateway, f"but-{kind}", dialect, stream=is_stream)
    if error is not None:
        assert_says(dialect, reply, *error)
    elif directives.startswith("status="):
        said = directives.removeprefix("status=").partition(",")[0]
        assert reply.status == int(said) and b"told to fail" in reply.body
        assert reply.header("retry-after") == \
            ("7" if "retry_after" in directives else None)
    else:
        assert reply.status == 200 and dialect.text(reply) == ""
    line, = new_lines(gateway, 1)
    assert len(line["attempts"]) == 1, line
    assert (line["upstream"], line["status"]) == \
        (first_of(kind), reply.status), line
    two.assert_untouched()


# What the first server does, whether a route without `when` is taken then.
BY_DEFAULT = [
    ("listen=off", True), ("fault=close_before_head", True),
    ("status=429", True), ("status=503", True), ("status=529", True),
    ("fault=error_first_event", True), ("status=500", False),
    ("status=502", False), ("status=400", False), ("status=401", False),
    ("status=404", False), ("status=413", False),
]


@pytest.mark.parametrize("directives, moves", BY_DEFAULT)
def test_without_when_the_usual_failures_count(
        gateway, one, two, directives, moves):
    fail(one, directives)
    reply = ask(gateway, "default", stream=True)
    if moves:
        assert reply.status == 200 and reply.header("x-weir-upstream") == "two"
    else:
        assert reply.status == int(directives.removeprefix("status="))
        two.assert_untouched()
    assert new_lines(gateway, 1)


def test_without_when_a_timeout_is_final(gateway, one, two):
    one.set("fault=hang_before_head")
    assert_says(CHAT, ask(gateway, "default-quick"), 504, LATE)
    two.assert_untouched()


# --- the order ---------------------------------------------------------------

# The model, who answers, the attempts.
ORDERS = [
    ("default", "one", "one:ok"),
    ("in-order", "one", "dead1:connect one:ok"),
    ("four", "two", "dead1:connect dead2:connect dead3:connect two:ok"),
    ("skips", "two", "dead1:connect two:ok"),
]


@pytest.mark.parametrize("model, who, attempts", ORDERS)
def test_routes_are_taken_in_their_order(
        gateway, one, two, model, who, attempts):
    for is_stream in (False, True):
        reply = ask(gateway, model, stream=is_stream)
        assert reply.status == 200 and reply.header("x-weir-upstream") == who
        route = "first" if attempts.count(":") == 1 else "fallback:connect"
        assert reply.header("x-weir-route") == route
    assert [results(x) for x in new_lines(gateway, 2)] == [attempts] * 2


def test_the_last_failure_decides_which_route_is_next(gateway, one, two):
    one.set("status=503")
    reply = ask(gateway, "changes")
    assert answered(reply) == ("two", "fallback:connect"), reply
    line, = new_lines(gateway, 1)
    assert results(line) == "dead1:connect one:503 two:ok"


def test_no_more_than_four_are_tried(gateway, one, two):
    reply = ask(gateway, "five")
    assert_says(CHAT, reply, 502, GONE)
    assert "dead4 refused the connection" in reply.json()["error"]["message"]
    line, = new_lines(gateway, 1)
    assert results(line) == " ".join(f"dead{i}:connect" for i in range(1, 5))
    two.assert_untouched()


def test_a_failure_of_the_only_route_is_no_fallback(gateway, one):
    one.set("fault=close_before_head")
    assert answered(ask(gateway, "alone")) == ("one", "first")


# --- never after content -----------------------------------------------------

# What the first server does, streamed.
TOO_LATE = [
    ("fault=reset_mid,after=1,interval=20", True),
    ("fault=close_mid,after=1", True),
    ("fault=error_mid,after=1", True),
    ("fault=reset_mid,reasoning=3,after=1,interval=20", True),
    ("fault=close_mid", False),
    ("fault=cl_mismatch_long", False),
]


@in_both_dialects
@pytest.mark.parametrize("directives, is_stream", TOO_LATE)
def test_after_content_nothing_moves(
        gateway, one, two, dialect, directives, is_stream):
    one.set(directives)
    reply, = gateway.raw(dialect.request(
        gateway.keys["alice"], model="default", stream=is_stream,
        fields=["Connection: close"]), ["POST"])
    assert reply.status == 200 and answered(reply) == ("one", "first"), reply
    if is_stream:
        assert dialect.error_event(reply.body), reply.body
    else:
        assert not reply.is_whole
    two.assert_untouched()
    line, = new_lines(gateway, 1)
    assert len(line["attempts"]) == 1 and line["end"] != "ok", line


# --- money -------------------------------------------------------------------

# The model, what the first server does, the status, the error, the sentence.
REFUSED_MONEY = [
    ("paid-later", "listen=off", 502, GONE, "one refused the connection; "),
    ("paid-later", "status=503", 503, BUSY, "one answered 503; "),
    ("paid-later", "status=429", 503, BUSY, "one answered 429; "),
    ("paid-quick", "fault=hang_before_head", 504, LATE,
     "quick gave no first token within 400 ms; "),
]


@in_both_dialects
@pytest.mark.parametrize("row", REFUSED_MONEY, ids=[r[1] for r in
                                                    REFUSED_MONEY])
def test_a_failure_keeps_its_status_if_only_money_would_help(
        gateway, one, two, dialect, row):
    model, directives, status, code, sentence = row
    fail(one, directives)
    reply = ask(gateway, model, dialect, user="bob")
    assert_says(dialect, reply, status, code)
    assert reply.json()["error"]["message"] == sentence + \
        "the next route (cloud) costs money and bob has no paid_routes."
    two.assert_untouched()
    line, = new_lines(gateway, 1)
    assert len(line["attempts"]) == 1 and not line["paid"], line
    assert float(line["cost_usd"]) == 0


@pytest.mark.parametrize("directives", ["listen=off", "status=503"])
def test_who_may_spend_gets_the_paid_answer_and_pays(
        gateway, one, two, directives):
    fail(one, directives)
    two.set("tokens=5,prompt=100")
    reply = ask(gateway, "paid-later")
    assert reply.status == 200 and reply.header("x-weir-upstream") == "cloud"
    line, = new_lines(gateway, 1)
    assert (line["paid"], line["cost_usd"], line["price_date"]) == \
        (True, "0.000250000000", "2026-01-01"), line
    assert [a.get("cost_usd", "0.000000000000") for a in line["attempts"]] == \
        ["0.000000000000", "0.000250000000"]


@in_both_dialects
def test_where_all_routes_cost_money_it_is_forbidden(
        gateway, one, two, dialect):
    for is_stream in (False, True):
        reply = ask(gateway, "paid-only", dialect, user="bob",
                    stream=is_stream)
        assert_says(dialect, reply, 403, "paid_route_refused")
        assert "bob has no paid_routes" in reply.json()["error"]["message"]
        assert reply.header("x-should-retry") == "false"
    two.assert_untouched()
    for line in new_lines(gateway, 2):
        assert (line["attempts"], line["usage_source"], line["end"]) == \
            ([], "none", "paid_refused"), line


def test_a_paid_route_is_passed_over_for_who_may_not_spend(gateway, one, two):
    assert answered(ask(gateway, "paid-first", user="bob")) == \
        ("one", "first")
    assert answered(ask(gateway, "paid-between", user="bob")) == \
        ("one", "fallback:connect")
    two.assert_untouched()
    assert [results(x) for x in new_lines(gateway, 2)] == \
        ["one:ok", "dead1:connect one:ok"]
    assert answered(ask(gateway, "paid-first")) == ("cloud", "first")
    assert answered(ask(gateway, "paid-between")) == \
        ("cloud", "fallback:connect")


# --- a server that is full ---------------------------------------------------

class Holding:
    """An answer that is on its way, and holds its place, until the block
    ends."""

    def __init__(self, gateway, server, model):
        self.conn = gateway.connect(["POST"])
        self.conn.send(CHAT.request(
            gateway.keys["alice"], "tokens=2,interval=60s", model=model,
            stream=True))
        self.conn.until(lambda c: b" tea" in c.body_so_far())
        self.server = server

    def close(self):
        self.conn.close()
        self.server.wait_stats(in_flight=0)


@in_both_dialects
def test_a_full_server_is_told_with_the_time_to_come_back(
        gateway, one, dialect):
    with contextlib.closing(Holding(gateway, one, "small")):
        reply = ask(gateway, "small", dialect)
        assert_says(dialect, reply, 503, BUSY)
        assert 1 <= int(reply.header("retry-after")) <= 60
        assert int(reply.header("retry-after-ms")) <= 60000
        line, = new_lines(gateway, 1)
        assert (results(line), line["usage_source"], line["end"]) == \
            ("small:full", "none", "full"), line
    assert ask(gateway, "small", dialect, mock="tokens=1").status == 200


@pytest.mark.parametrize("model", ["after-full", "default-small"])
def test_a_full_server_is_passed_over(gateway, one, two, model):
    with contextlib.closing(Holding(gateway, one, "small")):
        reply = ask(gateway, model)
        assert answered(reply) == ("two", "fallback:full"), reply
    assert answered(ask(gateway, model)) == ("small", "first")


def test_a_full_server_is_final_where_the_next_route_is_for_other_things(
        gateway, one, two):
    with contextlib.closing(Holding(gateway, one, "small")):
        assert_says(CHAT, ask(gateway, "but-full"), 503, BUSY)
    two.assert_untouched()


def test_a_route_that_was_full_costs_nothing(gateway, one, two):
    """What was charged by estimate for the attempt before is not charged
    again, at the paid server's price, for one that it never saw."""
    one.set("fault=empty_stream")
    with contextlib.closing(Holding(gateway, two, "paid-only")):
        reply = ask(gateway, "paid-full", stream=True)
        assert_says(CHAT, reply, 503, BUSY)
        line, = new_lines(gateway, 1)
        assert results(line) == "one:error_event cloud:full", line
        assert line["cost_usd"] == "0.000000000000", line
        assert "prompt_tokens" not in line["attempts"][1], line


# --- what the server gets ----------------------------------------------------

def test_each_route_gets_its_own_model_name_and_params(
        start, mock_server, one, two):
    config = basic_config(mock_server)
    config["upstreams"] = {"one": {"url": one.url}, "two": {"url": two.url}}
    config["models"]["m"] = {
        "aliases": ["alias"],
        "params": {"set": {"temperature": 0.5},
                   "default": {"max_tokens": 7, "top_p": 0.9}},
        "routes": [
            {"to": "one", "model": "/files/one:v1@x y",
             "params": {"set": {"seed": 1}}},
            {"to": "two", "model": "org/two",
             "params": {"drop": ["stop", "user"], "set": {
                 "temperature": 1.5}}}]}
    gateway = start(config)
    one.set("status=503")
    reply = gateway.send(CHAT.request(
        gateway.keys["alice"], "tokens=1", model="alias", stop=["x"],
        user="somebody", temperature=0, top_p=0.1))
    assert reply.status == 200, reply
    got_one, got_two = (json.loads(m.last()["body"]) for m in (one, two))
    assert {k: got_one.get(k) for k in (
        "model", "temperature", "max_tokens", "top_p", "seed", "stop",
        "user")} == {
            "model": "/files/one:v1@x y", "temperature": 0.5, "max_tokens": 7,
            "top_p": 0.1, "seed": 1, "stop": ["x"], "user": "somebody"}
    assert {k: got_two.get(k) for k in (
        "model", "temperature", "max_tokens", "top_p", "seed", "stop",
        "user")} == {
            "model": "org/two", "temperature": 1.5, "max_tokens": 7,
            "top_p": 0.1, "seed": None, "stop": None, "user": None}
    line, = new_lines(gateway, 1)
    assert (line["model"], line["upstream_model"]) == ("m", "org/two"), line
    gateway.stop()


def test_only_admins_see_the_servers_own_name(start, mock_server):
    config = basic_config(mock_server)
    config["users"]["alice"]["role"] = "admin"
    gateway = start(config)
    for user, name in (("alice", "mock-model"), ("bob", None)):
        reply = ask(gateway, "m", user=user)
        assert reply.header("x-weir-model") == name
        assert answered(reply) == ("mock", "first")
    gateway.stop()
