"""A client gives up while its prompt is read, and asks again: without a grace
the server begins anew each time, with one the retry gets what was begun."""

import json
import threading
import time

import pytest

from admission import Crowd, by_tag
from dialects import CHAT
from harness import Mock, basic_config, chat_body, wait_until
from scripted import Scripted, read_request, reset
from sdk import Sdk, sdks  # noqa: F401  (a fixture)
from wire import PATIENCE, post

# A second for one prompt, in the tests that need no SDK.
READ = "prompt=400,prefill=400,tokens=3"


@pytest.fixture(scope="module")
def kept_server():
    server = Mock("kept")
    yield server
    server.stop()


@pytest.fixture
def kept(kept_server):
    kept_server.reset()
    yield kept_server
    kept_server.reset()


@pytest.fixture(scope="module")
def config(mock_server, kept_server):
    config = basic_config(mock_server)
    brief = {"idle": "50ms"}
    config["upstreams"] |= {
        "kept": {"url": kept_server.url, "timeouts": brief},
        "narrow": {"url": kept_server.url, "timeouts": brief,
                   "max_inflight": 1, "queue": {"size": 0}}}
    for name, to, grace in (("stormy", "mock", "0s"), ("calm", "kept", "30s"),
                            ("narrow", "narrow", "30s"),
                            ("brief", "kept", "300ms")):
        config["models"][name] = {
            "retry_grace": grace, "keepalive": "off", "prefill": "off",
            "routes": [{"to": to, "model": "mock-model"}]}
    config["users"]["once"] = {
        "models": ["*"],
        "limits": {"requests_per_minute": 1, "concurrent": 1}}
    config["users"]["single"] = {
        "models": ["*"], "limits": {"concurrent": 1}}
    return config


@pytest.fixture
def crowd(gateway, kept):
    with Crowd(gateway) as crowd:
        yield crowd
    kept.wait_stats(in_flight=0)


def begin(crowd, kept, user="alice", directives=READ, tag="", **members):
    """A request whose prompt is being read.  The tag is only its header, so
    that all have the same bytes."""
    working = kept.stats()["working"]
    conn = repeat(crowd, user, directives, tag, **members)
    kept.wait_stats(working=working + 1)
    return conn


def repeat(crowd, user="alice", directives=READ, tag="", model="calm",
           **members):
    return crowd.send(user, "", directives, [f"X-Request-Id: {tag}"]
                      if tag else (), model=model, **members)


def leave(gateway, conn):
    """Closes it, and waits until the gateway has seen that."""
    ours = "%04X" % conn.sock.getsockname()[1]
    theirs = "%04X" % gateway.port

    def is_gone():
        with open("/proc/net/tcp") as table:
            rows = [line.split()[1:4] for line in table]
        return not any(local[-4:] == theirs and remote[-4:] == ours and
                       state in ("01", "08")  # open, or closed by us alone
                       for local, remote, state in rows)
    conn.close()
    wait_until(is_gone, what="the gateway has closed its side")


# --- the storm, in numbers ---------------------------------------------------

def storm(gateway, server, model):
    """What one call of a program comes to that waits 5 s and tries three
    times, before a server that reads 100 tokens a second: 8 s for this."""
    sdk = Sdk("openai.mjs", {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{gateway.port}/v1",
        "OPENAI_API_KEY": gateway.keys["alice"]})
    begun = time.monotonic()
    seen = sdk.finish(sdk.start(
        "chat", model=model, mock="prompt=800,prefill=100,tokens=3",
        options={"timeout": 5000, "maxRetries": 2}))
    took = time.monotonic() - begun
    stats = server.wait_stats(in_flight=0, working=0)
    return {"grace": model == "calm", "answered": "result" in seen,
            "seconds": round(took, 1), "requests": stats["served"],
            "prefill_tokens": stats["prefill_tokens"]}


@pytest.mark.usefixtures("sdks")
def test_a_retry_storm_with_and_without_a_grace(gateway, mock, kept):
    found = {}

    def run(model, server):
        found[model] = storm(gateway, server, model)
    threads = [threading.Thread(target=run, args=a)
               for a in (("stormy", mock), ("calm", kept))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print("\n" + "\n".join(json.dumps(found[m]) for m in ("stormy", "calm")))
    without, with_grace = found["stormy"], found["calm"]
    assert not without["answered"] and without["requests"] == 3
    assert 1300 <= without["prefill_tokens"] <= 1700
    assert with_grace["answered"] and with_grace["requests"] == 1
    assert with_grace["prefill_tokens"] == 800
    assert with_grace["seconds"] < without["seconds"]
    first, second = [x for x in gateway.lines() if x["model"] == "calm"]
    assert first["end"] == "client_gone" and first["joined_by"] == second["id"]
    assert first["prompt_tokens"] == first["completion_tokens"] == 0
    assert (second["end"], second["prompt_tokens"],
            second["completion_tokens"]) == ("ok", 800, 3)


# --- one answer, one charge --------------------------------------------------

@pytest.mark.parametrize("stream", [False, True])
def test_the_retry_gets_the_answer_that_was_begun(
        gateway, kept, crowd, stream):
    first = begin(crowd, kept, tag="first", stream=stream)
    leave(gateway, first)
    second = repeat(crowd, tag="second", stream=stream)
    reply = second.reply()
    assert reply.status == 200 and CHAT.text(reply) == " tea sea sun"
    stats = kept.stats()
    assert (stats["works_started"], stats["prefill_tokens"]) == (1, 400)
    assert stats["prefills_cut"] == stats["answers_cut"] == 0
    lines = by_tag([x for x in gateway.lines()])
    first, second = lines["first"], lines["second"]
    assert first["end"] == "client_gone" and first["joined_by"] == second["id"]
    for name in ("prompt_tokens", "completion_tokens", "cached_tokens"):
        assert first[name] == 0, first
    assert float(first["cost_usd"]) == 0
    assert second["end"] == "ok" and not second["joined_by"]
    assert (second["prompt_tokens"], second["completion_tokens"]) == (400, 3)
    assert second["usage_source"] == "upstream"


def test_what_came_while_nobody_was_there_is_replayed(gateway, kept, crowd):
    """All of the answer, in this case."""
    first = begin(crowd, kept, tag="first", stream=True,
                  directives="prompt=100,prefill=400,tokens=3")
    leave(gateway, first)
    kept.wait_stats(answers_finished=1)
    begun = time.monotonic()
    second = repeat(crowd, stream=True,
                    directives="prompt=100,prefill=400,tokens=3")
    assert CHAT.text(second.reply()) == " tea sea sun"
    assert time.monotonic() - begun < 0.25, "it was not read again"
    assert kept.stats()["works_started"] == 1


def test_a_retry_joins_once(gateway, kept, crowd):
    first = begin(crowd, kept)
    leave(gateway, first)
    second, third = repeat(crowd), repeat(crowd)
    assert second.reply().status == third.reply().status == 200
    assert kept.stats()["works_started"] == 2


def test_a_retry_that_gives_up_too_can_be_joined_again(gateway, kept, crowd):
    first = begin(crowd, kept, tag="first")
    leave(gateway, first)
    second = repeat(crowd, tag="second")
    leave(gateway, second)
    third = repeat(crowd, tag="third")
    assert third.reply().status == 200
    assert kept.stats()["works_started"] == 1
    lines = by_tag(gateway.lines())
    assert lines["first"]["joined_by"] == lines["second"]["id"]
    assert lines["second"]["joined_by"] == lines["third"]["id"]
    assert lines["third"]["prompt_tokens"] == 400
    assert lines["first"]["prompt_tokens"] + \
        lines["second"]["prompt_tokens"] == 0


# --- who may not join --------------------------------------------------------

def test_it_is_never_another_users(gateway, kept, crowd):
    first = begin(crowd, kept, "alice", tag="first")
    leave(gateway, first)
    others = repeat(crowd, "bob")
    assert others.reply().status == 200
    assert kept.stats()["works_started"] == 2
    mine = repeat(crowd, "alice", tag="mine")
    assert mine.reply().status == 200
    assert kept.stats()["works_started"] == 2, "it was kept for its owner"
    lines = by_tag(gateway.lines())
    assert lines["first"]["joined_by"] == lines["mine"]["id"]


@pytest.mark.parametrize("difference", [
    {"temperature": 0.5}, {"text": "ho"}, {"stream": True},
    {"model": "brief"}])
def test_another_body_does_not_join(gateway, kept, crowd, difference):
    first = begin(crowd, kept)
    leave(gateway, first)
    other = repeat(crowd, **difference)
    assert other.reply().status == 200
    assert kept.stats()["works_started"] == 2
    repeat(crowd).reply()  # so that nothing is kept when the test ends


def test_another_path_does_not_join(gateway, kept, crowd):
    first = begin(crowd, kept, max_tokens=9)
    leave(gateway, first)
    body = chat_body(READ, model="calm", max_tokens=9, messages=[
        {"role": "user", "content": "hi"}])
    with gateway.connect(["POST"]) as other:
        other.send(post(body, gateway.keys["alice"], "/v1/messages"))
        assert other.reply().status == 200
    assert kept.stats()["works_started"] == 2
    repeat(crowd, max_tokens=9).reply()


def test_without_a_grace_it_begins_anew(gateway, mock):
    with Crowd(gateway) as crowd:
        for n in range(1, 3):
            conn = crowd.send("alice", "", READ, model="stormy")
            mock.wait_stats(working=1)
            conn.close()
            mock.wait_stats(working=0, prefills_cut=n)
    assert [x["end"] for x in gateway.lines()] == ["client_gone"] * 2


# --- what it costs -----------------------------------------------------------

def test_a_join_costs_no_request_and_no_place(gateway, kept, crowd):
    """`once` has one request a minute, and one at a time."""
    first = begin(crowd, kept, "once")
    leave(gateway, first)
    joined = repeat(crowd, "once")
    assert joined.reply().status == 200
    assert gateway.chat(key=gateway.keys["once"]).status == 429


def test_the_kept_request_holds_the_servers_place_not_the_users(
        gateway, kept, crowd):
    first = begin(crowd, kept, "single", model="narrow")
    leave(gateway, first)
    reply = gateway.chat("tokens=1", gateway.keys["single"])
    assert reply.status == 200, "the user's own is free"
    assert gateway.chat(key=gateway.keys["bob"],
                        model="narrow").status == 503
    assert repeat(crowd, "single", model="narrow").reply().status == 200
    kept.wait_stats(in_flight=0)
    assert gateway.chat("tokens=1", gateway.keys["bob"],
                        model="narrow").status == 200


def test_when_the_grace_is_over_it_is_cancelled_and_has_its_own_numbers(
        gateway, kept, crowd):
    slow = "prompt=4000,prefill=400,tokens=3"
    begun = time.monotonic()
    first = begin(crowd, kept, directives=slow, model="brief", tag="first")
    leave(gateway, first)
    kept.wait_stats(working=0, prefills_cut=1)
    assert time.monotonic() - begun >= 0.3
    line = by_tag(gateway.lines())["first"]
    assert line["end"] == "client_gone" and not line["joined_by"]
    assert line["attempts"] and line["usage_source"] != "none"
    other = begin(crowd, kept, directives=slow, model="brief")
    other.close()
    kept.wait_stats(working=0, works_started=2)


def test_who_leaves_after_the_first_content_is_not_kept(gateway, kept, crowd):
    conn = repeat(crowd, directives="tokens=100,interval=50", stream=True)
    conn.until(lambda c: b" sea" in c.body_so_far())
    conn.close()
    kept.wait_stats(in_flight=0)
    assert kept.stats()["answers_cut"] == 1


def test_a_kept_request_whose_server_fails_is_no_answer_for_the_retry(
        gateway, kept, crowd):
    kept.set("fault=close_before_head,fail_times=1")
    first = begin(crowd, kept)
    leave(gateway, first)
    kept.wait_stats(in_flight=0)
    assert repeat(crowd).reply().status == 200
    assert kept.stats()["works_started"] == 2


def test_nothing_is_kept_over_a_stop(start, config, kept):
    gateway = start({**config, "server": {
        "listen": ["127.0.0.1:0"], "workers": 2, "drain": "5s"}})
    with Crowd(gateway) as crowd:
        conn = begin(crowd, kept, directives="prompt=9000,prefill=400")
        leave(gateway, conn)
        begun = time.monotonic()
        gateway.stop()
        assert time.monotonic() - begun < 4, "nobody is waiting for it"
    kept.wait_stats(in_flight=0)
    lines = [x for x in gateway.ledger() if x["user"] == "alice"]
    assert len(lines) == 1, lines
    assert lines[0]["end"] in ("client_gone", "shutdown"), lines


# --- servers that fail -------------------------------------------------------

class Slow:
    """A server that says something when it is told to."""

    def __init__(self, start, mock, say):
        self.begun, self.may_say = threading.Event(), threading.Event()
        self.say = say
        self.server = Scripted(self.serve)
        config = basic_config(mock)
        config["upstreams"]["slow"] = {"url": self.server.url}
        slow = {"to": "slow", "model": "slow-model"}
        other = {"to": "mock", "model": "mock-model", "when": ["reset"]}
        for name, routes in ("slow", [slow]), ("both", [slow, other]):
            config["models"][name] = {
                "retry_grace": "30s", "prefill": "off", "keepalive": "off",
                "routes": routes}
        self.gateway = start(config)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.may_say.set()
        self.server.stop()

    def serve(self, conn):
        read_request(conn)
        self.begun.set()
        assert self.may_say.wait(PATIENCE)
        self.say(conn)

    def leave(self, crowd, **members):
        """A request that is kept."""
        conn = repeat(crowd, tag="first", **members)
        assert self.begun.wait(PATIENCE)
        leave(self.gateway, conn)


@pytest.mark.parametrize("stream", [False, True])
def test_a_join_can_still_go_elsewhere(start, mock, stream):
    """The body that was let go when nobody was there is needed once more."""
    with Slow(start, mock, reset) as slow, Crowd(slow.gateway) as crowd:
        slow.leave(crowd, model="both", stream=stream)
        second = repeat(crowd, tag="second", model="both", stream=stream)
        wait_until(lambda: len(slow.gateway.lines()) == 1)
        slow.may_say.set()
        reply = second.reply()
        assert reply.status == 200 and CHAT.text(reply) == " tea sea sun"
        lines = by_tag(slow.gateway.lines())
    assert lines["first"]["joined_by"] == lines["second"]["id"]
    assert [a["result"] for a in lines["second"]["attempts"]] == \
        ["reset", "ok"]


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
USAGE = (b'data: {"choices":[],"usage":{"prompt_tokens":3,'
         b'"completion_tokens":0,"total_tokens":3}}\n\ndata: [DONE]\n\n')
ERROR = b'data: {"error":{"message":"no","code":500}}\n\n'


@pytest.mark.parametrize("events", [USAGE, ERROR],
                         ids=["nothing", "error"])
def test_a_stream_without_content_is_no_answer_for_the_retry(
        start, mock, events):
    def say(conn):
        conn.sendall(STREAM + events)

    with Slow(start, mock, say) as slow, Crowd(slow.gateway) as crowd:
        slow.leave(crowd, model="slow", stream=True)
        slow.may_say.set()
        wait_until(slow.gateway.lines)
        line = slow.gateway.lines()[0]
        assert line["end"] == "client_gone" and not line["joined_by"]
        second = repeat(crowd, tag="second", model="slow", stream=True)
        assert second.reply().status == 200
