"""A stream that waits, in the queue or while its prompt is read, gets signs of
life in the form that its client counts; the SDKs take the answer after them as
if nothing had been."""

import contextlib
import gzip
import json
import re
import threading
import time

import pytest

from admission import Crowd, is_integer
from dialects import (ANTHROPIC, CHAT, COMPLETIONS, RESPONSES, assert_says,
                      events)
from harness import Mock, basic_config, wait_until
from scripted import Scripted, read_request
from sdk import Sdk, sdks  # noqa: F401  (a fixture)

BUSY = "overloaded"
HOLD = "tokens=1,ttft=60s"
DIALECTS = [CHAT, COMPLETIONS, RESPONSES, ANTHROPIC]
SDK_DIALECTS = [CHAT, RESPONSES, ANTHROPIC]
by_name = {"ids": lambda d: d.name}


@pytest.fixture(scope="module")
def two_server():
    server = Mock("two")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def config(mock_server, two_server):
    config = basic_config(mock_server)
    brief = {"idle": "50ms"}
    for name, wait in ("one", "60s"), ("impatient", "2500ms"), (
            "brief", "400ms"):
        config["upstreams"][name] = {
            "url": mock_server.url, "timeouts": brief, "max_inflight": 1,
            "queue": {"size": 16, "wait": wait}}
    config["upstreams"]["two"] = {"url": two_server.url, "timeouts": brief}
    config["upstreams"]["hurried"] = {
        "url": mock_server.url, "timeouts": {**brief, "first_token": "1500ms"}}
    quick = {"commit_after": "200ms", "keepalive": "1s"}
    late = {"commit_after": "30s", "keepalive": "1s"}
    for name, to, keys in (
            ("quick", "one", quick), ("late", "one", late),
            ("free", "mock", quick), ("given-up", "impatient", quick),
            ("refused", "brief", late), ("timed-out", "hurried", quick),
            ("mute", "one", {"commit_after": "200ms", "keepalive": "off"}),
            ("mute-free", "mock", {"commit_after": "200ms",
                                   "keepalive": "off"})):
        config["models"][name] = {
            **keys, "routes": [{"to": to, "model": "mock-model"}]}
    config["models"]["moves"] = {**quick, "routes": [
        {"to": "impatient", "model": "mock-model"},
        {"to": "two", "model": "two-model", "when": ["503"]}]}
    return config


@pytest.fixture
def crowd(gateway):
    with Crowd(gateway) as crowd:
        yield crowd


@contextlib.contextmanager
def blocked(crowd, mock, model):
    """The model's only place is taken, until the end of the block."""
    conn = crowd.send("bob", "", HOLD, model=model)
    mock.wait_stats(in_flight=1)
    yield conn
    conn.close()


def stream(gateway, dialect, directives="tokens=3", fields=(), **members):
    conn = gateway.connect(["POST"])
    conn.send(dialect.request(gateway.keys["alice"], directives, fields,
                              stream=True, **members))
    return conn


# --- the bytes ---------------------------------------------------------------

def blocks(body):
    """The stream's events as lists of their lines; none may be empty."""
    text = body.decode()
    assert "\r" not in text and not text.startswith("\n"), text[:200]
    assert "\n\n\n" not in text, "an empty event"
    assert text.endswith("\n\n"), text[-200:]
    found = text[:-2].split("\n\n")
    assert all(b.strip() for b in found), found
    return [b.split("\n") for b in found]


def signs(dialect, body):
    """How many signs of life there are, each in its dialect's form."""
    count = 0
    for lines in blocks(body):
        if dialect in (CHAT, COMPLETIONS):
            count += all(line.startswith(":") for line in lines)
        elif dialect is ANTHROPIC:
            if lines[0] == "event: ping":
                assert json.loads(lines[1].removeprefix("data:")) == \
                    {"type": "ping"}
                count += 1
        elif lines[0] == "event: keepalive":
            event = json.loads(lines[1].removeprefix("data:"))
            assert event.keys() == {"type", "sequence_number"}
            assert event["type"] == "keepalive"
            count += 1
    return count


def assert_is_one_stream(dialect, body):
    """It reads as one stream of the model server's own would."""
    found = events(body)
    if dialect is ANTHROPIC:
        types = [e["type"] for e in found if e["type"] != "ping"]
        assert types.count("message_start") == 1 == types.count(
            "message_stop"), types
        assert types[0] == "message_start" and types[-1] == "message_stop"
    elif dialect is RESPONSES:
        types = [e["type"] for e in found]
        assert types[0] == "response.created" and \
            types.count("response.created") == 1, types
        numbers = [e["sequence_number"] for e in found]
        assert numbers == sorted(set(numbers)), numbers
        ids = {e["response"]["id"] for e in found if "response" in e}
        assert len(ids) == 1, ids
        named = re.findall(r"^event: (.*)$", body.decode(), re.M)
        assert named == types
    assert dialect.has_end_mark(body)


def error_of(body):
    """The error that a stream ends with; Responses tell it twice."""
    last = events(body)[-1]
    return last.get("response", last)["error"]


def text_of(dialect, body):
    return "".join(dialect.event_text(e) for e in events(body))


def test_who_waits_in_the_queue_gets_signs_of_life(gateway, mock, crowd):
    with blocked(crowd, mock, "quick") as blocker, \
            contextlib.ExitStack() as stack:
        begun = time.monotonic()
        conns = {d: stack.enter_context(stream(gateway, d, model="quick"))
                 for d in DIALECTS}
        for conn in conns.values():
            conn.until(lambda c: c.reader.now is not None)
            assert 0.15 < time.monotonic() - begun < 1, "after commit_after"
            assert conn.reader.now.status == 200
            assert conn.reader.now.header("Content-Type").startswith(
                "text/event-stream")
        for dialect, conn in conns.items():
            conn.until(lambda c: c.body_so_far().endswith(b"\n\n") and
                       signs(dialect, c.body_so_far()) >= 2)
            assert 1 < time.monotonic() - begun < 4, "each second"
        blocker.close()
        for dialect, conn in conns.items():
            body = conn.reply().body
            blocks(body)
            assert text_of(dialect, body) == " tea sea sun"
            assert_is_one_stream(dialect, body)
    lines = [x for x in gateway.lines() if x["user"] == "alice"]
    assert len(lines) == len(DIALECTS)
    for line in lines:
        assert line["status"] == 200 and line["end"] == "ok", line
        assert line["completion_tokens"] == 3
        assert line["queue_ms"] > 1000 and line["ttft_ms"] > 1000


@pytest.mark.parametrize("early", [0, 1, 2])
def test_who_waits_for_the_prompt_gets_them_too(gateway, early):
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        conns = {d: stack.enter_context(stream(
            gateway, d, f"early={early},ttft=1800,tokens=3", model="free"))
            for d in DIALECTS}
        for conn in conns.values():
            conn.until(lambda c: c.reader.now is not None)
            assert time.monotonic() - begun < 1
        for dialect, conn in conns.items():
            body = conn.reply().body
            assert signs(dialect, body) >= 1, (dialect.name, body)
            assert text_of(dialect, body) == " tea sea sun"
            assert_is_one_stream(dialect, body)


def test_the_place_in_the_queue_is_told(gateway, mock, crowd):
    with blocked(crowd, mock, "quick"):
        crowd.send("alice", model="quick")
        with stream(gateway, CHAT, model="quick") as conn:
            conn.until(lambda c: b"\n\n" in c.body_so_far())
            assert re.match(rb": .*position 2", conn.body_so_far())


def test_a_fast_answer_has_no_sign_of_life(gateway):
    for dialect in DIALECTS:
        with stream(gateway, dialect, "tokens=3", model="free") as conn:
            body = conn.reply().body
        own = 1 if dialect is ANTHROPIC else 0  # the server's own ping
        assert signs(dialect, body) == own
        assert_is_one_stream(dialect, body)


def test_who_does_not_stream_gets_none(gateway):
    begun = time.monotonic()
    with gateway.connect(["POST"]) as conn:
        conn.send(CHAT.request(gateway.keys["alice"], "ttft=1500,tokens=1",
                               model="free"))
        conn.until(lambda c: c.reader.raw or c.reader.now or c.reader.replies)
        assert time.monotonic() - begun >= 1.5
        assert conn.reply().json()["choices"]


def test_off_means_that_nothing_is_sent(gateway):
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        conns = {d: stack.enter_context(stream(
            gateway, d, "ttft=1500,tokens=3", model="mute-free"))
            for d in DIALECTS}
        for dialect, conn in conns.items():
            conn.until(lambda c: c.reader.raw or c.reader.now or
                       c.reader.replies)
            assert time.monotonic() - begun >= 1.5
            body = conn.reply().body
            assert signs(dialect, body) == (1 if dialect is ANTHROPIC else 0)
            assert text_of(dialect, body) == " tea sea sun"


@pytest.mark.parametrize("field", ["x-stainless-timeout: 2",
                                   "x-stainless-read-timeout: 2"])
def test_who_tells_its_timeout_has_its_head_by_half_of_it(
        gateway, mock, crowd, field):
    """commit_after alone would be 30 s."""
    with blocked(crowd, mock, "late"):
        begun = time.monotonic()
        with stream(gateway, CHAT, fields=[field], model="late") as conn:
            conn.until(lambda c: c.reader.now is not None)
            assert time.monotonic() - begun <= 1.25
            crowd.conns[0].close()
            assert text_of(CHAT, conn.reply().body) == " tea sea sun"


@pytest.mark.parametrize("dialect", DIALECTS, **by_name)
def test_before_the_head_a_failure_is_a_status(gateway, mock, crowd, dialect):
    with blocked(crowd, mock, "refused"):
        with stream(gateway, dialect, model="refused") as conn:
            reply = conn.reply()
    assert_says(dialect, reply, 503, BUSY)
    assert is_integer(reply.header("retry-after"), 1, 60)


def test_after_the_head_a_failure_is_in_the_stream(gateway, mock, crowd):
    with blocked(crowd, mock, "given-up"), contextlib.ExitStack() as stack:
        conns = {d: stack.enter_context(stream(gateway, d, model="given-up"))
                 for d in DIALECTS}
        for dialect, conn in conns.items():
            reply = conn.reply()
            assert reply.status == 200
            assert signs(dialect, reply.body) >= 1
            assert error_of(reply.body)["message"].endswith("."), reply.body
            blocks(reply.body)
    lines = [x for x in gateway.lines() if x["user"] == "alice"]
    assert len(lines) == len(DIALECTS)
    for line in lines:
        assert line["end"] == "full", line
        assert {a["result"] for a in line["attempts"]} <= {"full"}, line
        assert line["queue_ms"] >= 2400


@pytest.mark.parametrize("is_coded", [False, True])
@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
def test_whatever_framing_a_failure_has_it_is_told_in_the_stream(
        start, mock, version, is_coded):
    body, coding = b'{"error":{"message":"broken"}}', b""
    if is_coded:
        body, coding = gzip.compress(body), b"Content-Encoding: gzip\r\n"
    has_head = threading.Event()

    def fail(conn):
        read_request(conn)
        assert has_head.wait(10)
        conn.sendall(b"HTTP/1.1 500 Broken\r\n%sContent-Length: %d\r\n\r\n%s"
                     % (coding, len(body), body))
    server = Scripted(fail)
    config = basic_config(mock)
    config["upstreams"]["broken"] = {"url": server.url}
    config["models"]["broken"] = {
        "commit_after": "50ms", "keepalive": "1s",
        "routes": [{"to": "broken", "model": "a-model"}]}
    gateway = start(config)
    with gateway.connect(["POST"]) as conn:
        conn.send(CHAT.request(
            gateway.keys["alice"], stream=True, model="broken").replace(
                b"HTTP/1.1", version, 1))
        conn.until(lambda c: c.reader.now is not None)
        has_head.set()
        reply = conn.reply()
    server.stop()
    assert reply.status == 200 and signs(CHAT, reply.body) == 1
    assert "broken answered 500" in error_of(reply.body)["message"]


def test_another_route_is_possible_after_the_head(gateway, mock, crowd):
    with blocked(crowd, mock, "moves"), contextlib.ExitStack() as stack:
        conns = {d: stack.enter_context(stream(gateway, d, model="moves"))
                 for d in DIALECTS}
        for dialect, conn in conns.items():
            body = conn.reply().body
            assert signs(dialect, body) >= 1
            assert text_of(dialect, body) == " tea sea sun"
            assert_is_one_stream(dialect, body)
    lines = [x for x in gateway.lines() if x["user"] == "alice"]
    assert [x["upstream"] for x in lines] == ["two"] * len(DIALECTS)


def test_who_leaves_after_the_head_is_noticed(gateway, mock, crowd):
    with blocked(crowd, mock, "quick"):
        conn = stream(gateway, CHAT, model="quick")
        conn.until(lambda c: c.reader.now is not None)
        conn.close()
        wait_until(lambda: [x for x in gateway.ledger()[gateway.mark:]
                            if x["end"] == "client_gone"])
    with stream(gateway, CHAT, HOLD, model="free") as conn:
        mock.wait_stats(in_flight=1)
        conn.until(lambda c: c.reader.now is not None)
    mock.wait_stats(in_flight=0)


# --- the SDKs ----------------------------------------------------------------

def sdk_of(gateway, dialect):
    port, key = gateway.port, gateway.keys["alice"]
    if dialect is ANTHROPIC:
        return Sdk("anthropic.mjs", {
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}",
            "ANTHROPIC_API_KEY": key})
    return Sdk("openai.mjs", {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1",
        "OPENAI_API_KEY": key})


def scenario(dialect):
    return "streamedResponse" if dialect is RESPONSES else "stream"


def options(seconds):
    return {"timeout": int(seconds * 1000), "maxRetries": 0}


@pytest.mark.usefixtures("sdks")
def test_the_sdks_outlast_the_queue(gateway, mock, crowd):
    """They give up after 2 s without a head; the queue takes longer.  Of
    `late` they have one in time because they say so."""
    runs = []
    with blocked(crowd, mock, "quick") as blocker:
        for model in "quick", "late":
            for dialect in SDK_DIALECTS:
                sdk = sdk_of(gateway, dialect)
                runs.append((dialect, sdk, sdk.start(
                    scenario(dialect), model=model, mock="tokens=3",
                    options=options(2))))
        begun = time.monotonic()
        wait_until(lambda: time.monotonic() - begun > 4.5,
                   what="they have waited longer than they would")
        blocker.close()
        for dialect, sdk, running in runs:
            seen = sdk.finish(running)
            assert "error" not in seen, (dialect.name, seen)
            found = seen["result"]["events"]
            assert "".join(dialect.event_text(e) for e in found) == \
                " tea sea sun"
    lines = [x for x in gateway.lines() if x["user"] == "alice"]
    assert len(lines) == len(runs), "each has asked once"
    assert min(x["queue_ms"] for x in lines) > 2000


@pytest.mark.usefixtures("sdks")
def test_the_sdks_outlast_a_long_prompt(gateway):
    runs = []
    for dialect in SDK_DIALECTS:
        sdk = sdk_of(gateway, dialect)
        runs.append((dialect, sdk, sdk.start(
            scenario(dialect), model="free", mock="ttft=3s,early=0,tokens=3",
            options=options(2))))
    for dialect, sdk, running in runs:
        seen = sdk.finish(running)
        assert "error" not in seen, (dialect.name, seen)
        assert "".join(dialect.event_text(e)
                       for e in seen["result"]["events"]) == " tea sea sun"
    assert len(gateway.lines()) == len(runs), "each has asked once"


@pytest.mark.usefixtures("sdks")
def test_anthropics_sdk_puts_such_a_stream_together(gateway):
    answer = sdk_of(gateway, ANTHROPIC).run(
        "finalMessage", model="free", mock="ttft=1500,tokens=4,prompt=20")
    assert answer["content"][0]["text"] == " tea sea sun owl"
    assert answer["usage"]["output_tokens"] == 4


@pytest.mark.usefixtures("sdks")
@pytest.mark.parametrize("dialect", SDK_DIALECTS, **by_name)
def test_an_error_after_the_head_is_one_for_the_program(gateway, dialect):
    sdk = sdk_of(gateway, dialect)
    seen = sdk.finish(sdk.start(
        scenario(dialect), model="timed-out", mock=HOLD, options=options(9)))
    if dialect is RESPONSES and "result" in seen:  # it is an event there
        last = seen["result"]["events"][-1]
        assert last["type"] == "response.failed"
        assert "hurried" in last["response"]["error"]["message"]
        return
    assert seen["error"]["name"] == "APIError", seen
    assert seen["error"].get("status") is None, "it was in the stream"
    assert "hurried" in json.dumps(seen["error"])


def test_a_response_that_began_with_our_id_can_be_gone_on_from(gateway, mock):
    """The client names it by the id that it was told; its server by its own."""
    reply = stream(gateway, RESPONSES, "tokens=3,ttft=600ms",
                   model="free").reply()
    assert_is_one_stream(RESPONSES, reply.body)
    ours = events(reply.body)[-1]["response"]["id"]
    again = gateway.send(RESPONSES.request(
        gateway.keys["alice"], "tokens=1", model="free",
        previous_response_id=ours))
    assert again.status == 200
    theirs = json.loads(mock.requests()[-1]["body"])["previous_response_id"]
    assert theirs != ours and theirs.startswith("resp")
    # Nobody else's, and what is not known, goes on as it is.
    for user, name in ("bob", ours), ("alice", "resp_unknown"):
        assert gateway.send(RESPONSES.request(
            gateway.keys[user], "tokens=1", model="free",
            previous_response_id=name)).status == 200
        body = json.loads(mock.requests()[-1]["body"])
        assert body["previous_response_id"] == name
