"""The ledger against the mock's own counters: nothing lost, nothing twice, and
the money right to the last of its twelve digits.  And what metering needs of a
request and its answer, without a trace in either."""

import hashlib
import json
import random
import re
import threading
from fractions import Fraction

import pytest

from dialects import (ANTHROPIC, CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES,
                      WORDS, new_lines, results)
from harness import Conn, basic_config, post, wait_until
from scripted import closed_port

SEED = 20261121
EVERY = [CHAT, COMPLETIONS, RESPONSES, ANTHROPIC, EMBEDDINGS]

# Dollars a million tokens.
PRICES = {
    "big": {"input": "1.74", "input_cached": "0.145", "output": "3.48"},
    "odd": {"input": "0.000001", "input_cached": "0.333333",
            "output": "12.000007", "request": "0.01"},
}


def cost(model, counts):
    """What these tokens cost, as a fraction."""
    price = {k: Fraction(v) for k, v in PRICES[model].items()}
    fresh = counts["prompt_tokens"] - counts["cached_tokens"]
    per_million = fresh * price["input"] + \
        counts["cached_tokens"] * price["input_cached"] + \
        counts["completion_tokens"] * price["output"]
    return per_million / 10**6 + price.get("request", 0)


@pytest.fixture(scope="module")
def dead_port():
    with closed_port() as port:
        yield port


@pytest.fixture(scope="module")
def config(mock_server, dead_port):
    config = basic_config(mock_server)
    brief = {"idle": "50ms"}
    config["upstreams"] |= {
        "cloud": {"url": mock_server.url, "timeouts": brief},
        "quick": {"url": mock_server.url,
                  "timeouts": {**brief, "first_token": "300ms"}},
        "dead": {"url": f"http://127.0.0.1:{dead_port}"}}
    config["prices"] = {"cloud": {
        name: [{"from": "2026-01-01", **price}]
        for name, price in PRICES.items()}}
    to_big = {"to": "cloud", "model": "big"}
    config["models"] |= {
        "big": {"routes": [to_big]},
        "odd": {"routes": [{"to": "cloud", "model": "odd"}]},
        "falls": {"routes": [{"to": "dead", "model": "x"},
                             {"to": "cloud", "model": "odd"}]},
        "local": {"routes": [{"to": "mock", "model": "x"}, to_big]},
        "again": {"routes": [
            {"to": "quick", "model": "x"},
            {**to_big, "when": ["timeout", "error_event", "429"]}]},
    }
    for name in ("alice", "bob", "carol"):
        config["users"][name] = {"models": ["*"],
                                 "limits": {"paid_routes": True}}
    return config


# --- everything at once ------------------------------------------------------

MODELS = ["m", "m", "big", "odd", "falls", "local"]

# How often, directives that spoil an answer; those behind them are for streams
# alone.
SPOILT = [
    "status=400", "status=429", "status=500", "status=400,fault=error_usage",
    "fault=close_before_head", "fault=reset_before_head", "interims=16",
    "fault=no_usage", "fault=zero_usage", "fault=html", "fault=empty_json",
    "fault=redirect", "head=nolength", "head=http10", "interims=3",
    "fault=chunk_ext", "fault=garbage_after", "fault=trailers",
]
SPOILT_STREAM = [
    "fault=close_mid,after=1", "fault=reset_mid,after=1", "fault=error_mid",
    "fault=role_then_close", "fault=error_first_event", "fault=empty_stream",
    "fault=usage_every_chunk", "fault=malformed_sse",
]
SILENT = ["close_before_head", "reset_before_head"]
# The client leaves while such an answer is on its way: its usage is never sent.
ENDLESS = ["ttft=60s"]
ENDLESS_STREAM = ["tokens=3,interval=60s", "tokens=3,tail=60s"]


class Load:
    """One thread's requests."""

    def __init__(self, gateway, number, count):
        self.gateway = gateway
        self.number = number
        self.random = random.Random(f"{SEED} {number}")
        self.count = count
        self.labels = {}  # label: what the client saw
        self.error = None
        self.conn = None

    def run(self):
        try:
            for i in range(self.count):
                self.one(f"t{self.number}-{i}")
        except BaseException as error:
            self.error = error
        if self.conn is not None:
            self.conn.close()

    def one(self, label):
        pick = self.random
        dialect = pick.choice(EVERY)
        is_stream = dialect.can_stream and pick.random() < 0.6
        prompt = pick.randrange(1, 200_000)
        tokens = pick.randrange(1, 17)
        directives = f"prompt={prompt},tokens={tokens}"
        if dialect is not EMBEDDINGS:
            directives += f",cached={pick.randrange(prompt + 1)}"
        if dialect in (CHAT, RESPONSES):  # Anthropic does not tell it apart
            directives += f",reasoning={pick.choice([0, 0, 5])}"
        members = {"model": pick.choice(MODELS), "stream": is_stream,
                   "fields": [f"X-Session-Id: {label}"]}
        if is_stream and dialect in (CHAT, COMPLETIONS) and pick.random() < .3:
            members["stream_options"] = {"include_usage": True}
        key = self.gateway.keys[pick.choice(["alice", "bob", "carol"])]
        kind = pick.random()
        if kind < 0.06:
            self.leave(label, dialect.request(
                key, pick.choice(ENDLESS + ENDLESS_STREAM * is_stream),
                **members))
        elif kind < 0.3:
            spoilt = pick.choice(SPOILT + SPOILT_STREAM * is_stream)
            members["fields"].append("Connection: close")
            replies = self.gateway.raw(dialect.request(
                key, f"{directives},{spoilt}", **members), ["POST"])
            self.labels[label] = replies[-1].status
        else:
            reply = self.on_kept(dialect.request(key, directives, **members))
            assert reply.status == 200 and reply.is_whole, reply
            if dialect.can_stream:
                wanted = "".join(f" {w}" for w in WORDS.split()[:tokens])
                assert dialect.text(reply) == wanted, reply
            self.labels[label] = 200

    def on_kept(self, data):
        """On the thread's connection, or on a new one."""
        if self.conn is not None and self.random.random() < 0.1:
            self.conn.close()
            self.conn = None
        self.conn = self.conn or self.gateway.connect()
        self.conn.reader.methods.append("POST")
        self.conn.send(data)
        reply = self.conn.reply()
        if reply.closes:
            self.conn.close()
            self.conn = None
        return reply

    def leave(self, label, data):
        """Away, at some moment."""
        conn = self.gateway.connect(["POST"])
        conn.send(data)
        moment = self.random.random()
        if moment < 0.6:
            wait_until(conn.is_taken)
        conn.reset() if moment < 0.3 else conn.close()
        self.labels[label] = None


def run_round(gateway, mock, first, threads=6, count=90):
    """A round whose requests the mock remembers all; returns what the clients
    saw, and what the mock did: both by label."""
    loads = [Load(gateway, first + i, count) for i in range(threads)]
    running = [threading.Thread(target=x.run) for x in loads]
    for t in running:
        t.start()
    for t in running:
        t.join()
    for load in loads:
        if load.error is not None:
            raise load.error
    mock.wait_stats(in_flight=0)
    labels = {k: v for x in loads for k, v in x.labels.items()}
    seen = {}
    for request in mock.requests():
        fields = {k.lower(): v for k, v in request["headers"]}
        label = fields["x-session-id"]
        if label in labels:
            seen.setdefault(label, []).append(request["served"])
    return labels, seen


def test_thousands_of_mixed_requests_are_all_in_the_ledger(gateway, mock):
    labels, seen = {}, {}
    for i in range(6):
        in_round, seen_now = run_round(gateway, mock, first=10 * i)
        labels |= in_round
        seen |= seen_now
    assert len(labels) >= 3000
    # Who has left may have done so before the gateway knew of a request.
    certain = {k for k, v in labels.items() if v is not None} | set(seen)
    wait_until(lambda: certain <= {x["session"] for x in gateway.ledger()},
               what="all lines are there")
    lines = gateway.lines()
    by_label = {x["session"]: x for x in lines}
    assert len(by_label) == len(lines), "there are two lines of one request"
    assert certain <= set(by_label) <= set(labels)
    assert len({x["id"] for x in lines}) == len(lines)

    for label, line in by_label.items():
        check_line(line, labels[label], seen.get(label, []))
    check_sums(lines, mock.stats())
    asked = sum(map(len, seen.values()))
    assert asked == mock.stats()["served"]
    check_order(gateway)


def check_line(line, status, served):
    """One line against what its client and the mock saw."""
    reached = [a for a in line["attempts"] if a["upstream"] != "dead"]
    if status is None:
        assert line["end"] == "client_gone", line
        assert len(served) <= len(reached) <= 1, (line, served)
    elif served and served[0]["fault"] in SILENT:
        # On a kept connection it is asked once more, at no more cost.
        assert line["status"] == status, line
        assert len(reached) <= len(served) <= 2 * len(reached), (line, served)
    else:
        assert line["status"] == status, line
        assert 1 <= len(served) == len(reached) <= 2, (line, served)
    for attempt, answer in zip(reached, served):
        is_sent = answer["usage_sent"]
        source = attempt.get("usage_source", "none")
        if is_sent and line["end"] in ("ok", "upstream_error"):
            assert source == "upstream", (line, answer)
        elif 200 <= answer["status"] < 300 or answer["status"] == 0:
            assert source in ("estimated", "running", "upstream"), \
                (line, answer)
            assert attempt["prompt_tokens"] > 0, line
    for attempt in line["attempts"]:
        if attempt["upstream"] == "dead":
            assert set(attempt) == {"upstream", "result"}, line
            assert attempt["result"] in ("connect", "client_gone"), line
    check_money(line)


def check_money(line):
    """cost_usd is what the counts and the prices make, exactly."""
    total = Fraction(0)
    for attempt in line["attempts"]:
        wanted = Fraction(0)
        if attempt["upstream"] == "cloud" and "usage_source" in attempt:
            wanted = cost(line["upstream_model"], attempt)
        assert Fraction(attempt.get("cost_usd", "0")) == wanted, line
        total += wanted
    assert Fraction(line["cost_usd"]) == total, line
    assert re.fullmatch(r"\d+\.\d{12}", line["cost_usd"]), line
    assert line["paid"] == (line["upstream"] == "cloud"), line
    compared = {"local": "big", "falls": "odd"}.get(line["model"])
    avoided = Fraction(0)
    if compared and not line["paid"] and line["usage_source"] != "none":
        avoided = cost(compared, line)
    assert Fraction(line["avoided_usd"]) == avoided, line
    if line["attempts"]:
        last = line["attempts"][-1]
        assert all(line[k] == last.get(k, 0) for k in (
            "prompt_tokens", "cached_tokens", "completion_tokens")), line


def check_sums(lines, stats):
    """What the server said that it did is what the ledger says."""
    told = [x for x in lines if x["usage_source"] == "upstream"]
    assert len(told) == stats["usage_answers"]
    for name, counter in (("prompt_tokens", "usage_prompt"),
                          ("completion_tokens", "usage_completion"),
                          ("cached_tokens", "usage_cached"),
                          ("reasoning_tokens", "usage_reasoning")):
        assert sum(x[name] for x in told) == stats[counter], name
    assert {x["usage_source"] for x in lines} == \
        {"upstream", "running", "estimated", "none"}


def check_order(gateway):
    """The whole file: every line in its form, numbered without a gap."""
    numbers = {}
    for line in gateway.ledger():
        assert list(line)[:6] == ["ts", "user", "model", "prompt_tokens",
                                  "completion_tokens", "duration_ms"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line["ts"])
        numbers.setdefault(line["writer"], []).append(line["seq"])
    for seen in numbers.values():
        assert seen == list(range(seen[0], seen[0] + len(seen)))


def test_an_attempt_that_failed_is_paid_for_beside_the_one_that_answered(
        gateway, mock):
    """The first one spent tokens, then the second did."""
    mock.set("fault=error_first_event,fail_times=1,prompt=100,tokens=4")
    reply = gateway.send(CHAT.request(
        gateway.keys["alice"], model="again", stream=True))
    assert reply.status == 200 and len(CHAT.text(reply).split()) == 4
    line, = new_lines(gateway, 1)
    assert results(line) == "quick:error_event cloud:ok", line
    assert (line["prompt_tokens"], line["completion_tokens"]) == (100, 4)
    check_money(line)
    assert Fraction(line["cost_usd"]) > 0


def test_count_tokens_is_free(gateway, mock):
    reply = gateway.post({"model": "big", "messages": []},
                         gateway.keys["alice"], "/v1/messages/count_tokens")
    assert reply.status == 200 and "input_tokens" in reply.json()
    line, = new_lines(gateway, 1)
    assert (line["api"], line["usage_source"], line["prompt_tokens"],
            Fraction(line["cost_usd"])) == ("count_tokens", "none", 0, 0), line


# --- asking for usage --------------------------------------------------------

def direct(mock, data):
    """The same request to the mock itself: the bytes of its answer."""
    with Conn(mock.port, ["POST"]) as c:
        c.send(data)
        return c.reply().body


def same(body):
    """Without what is another in every answer."""
    return re.sub(rb'"id":"[^"]*"|"created":\d+', b"", body)


USAGE_CHUNK = re.compile(rb'data: \{[^\n]*"choices":\[\],"usage":\{[^\n]*\n\n')


@pytest.mark.parametrize("dialect", [CHAT, COMPLETIONS], ids=lambda d: d.name)
@pytest.mark.parametrize("more", ["", ",fault=usage_every_chunk",
                                  ",interval=2", ",reasoning=3"])
def test_usage_is_asked_for_and_shown_only_to_who_asked(
        gateway, mock, dialect, more):
    directives = "tokens=9,prompt=77" + more
    wish = {"stream_options": {"include_usage": True}}
    key = gateway.keys["alice"]
    plain = direct(mock, dialect.request(
        None, directives, model="mock-model", stream=True, **wish))
    assert len(USAGE_CHUNK.findall(plain)) == 1
    with_it = gateway.send(dialect.request(
        key, directives, stream=True, **wish)).body
    assert same(with_it) == same(plain)
    for unwished in ({}, {"stream_options": {"include_usage": False}},
                     {"stream_options": {}}, {"stream_options": None}):
        without = gateway.send(dialect.request(
            key, directives, stream=True, **unwished)).body
        assert same(without) == same(USAGE_CHUNK.sub(b"", plain)), unwished
        assert dialect.has_end_mark(without)
    for line in new_lines(gateway, 5):
        assert (line["usage_source"], line["prompt_tokens"]) == \
            ("upstream", 77), line
        assert line["completion_tokens"] >= 9


# What a server may send; the usage chunk stands between « and ».
STREAMS = {
    "as OpenAI does": (
        'data: {"choices":[{"index":0,"delta":{"content":"a"}}],"usage":null}'
        '\n\ndata: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],'
        '"usage":null}\n\n'
        '«data: {"choices":[],"usage":{"prompt_tokens":5,'
        '"completion_tokens":1}}\n\n»data: [DONE]\n\n'),
    "with CRLF": (
        'data: {"choices":[{"delta":{"content":"a"}}]}\r\n\r\n'
        '«data: {"choices":[],"usage":{"prompt_tokens":5,'
        '"completion_tokens":1}}\r\n\r\n»data: [DONE]\r\n\r\n'),
    "with comments and pings": (
        ': ping\n\ndata: {"choices":[{"delta":{"content":"a"}}]}\n\n: ping\n\n'
        '«data: {"choices":[],"usage":{"prompt_tokens":5,'
        '"completion_tokens":1}}\n\n»: ping\n\ndata: [DONE]\n\n'),
    "with the usage in the last chunk": (
        'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
        'data: {"choices":[{"delta":{}}],"usage":{"prompt_tokens":5,'
        '"completion_tokens":1}}\n\ndata: [DONE]\n\n'),
    "with odd spaces": (
        'data:{"choices":[{"delta":{"content":"a"}}]}\n\n'
        '«data:   {  "usage" : { "prompt_tokens" : 5 , "completion_tokens" : 1'
        ' } , "choices" : [ ] }\n\n»data:[DONE]\n\n'),
    "with a text that looks like usage": (
        'data: {"choices":[{"delta":{"content":'
        '"data: {\\"choices\\":[],\\"usage\\":{}}"}}]}\n\n'
        '«data: {"choices":[],"usage":{"prompt_tokens":5,'
        '"completion_tokens":1}}\n\n»data: [DONE]\n\n'),
}


@pytest.mark.parametrize("name", STREAMS)
def test_nothing_else_is_touched_however_it_is_cut(gateway, mock, name):
    text = STREAMS[name]
    whole = text.replace("«", "").replace("»", "").encode()
    hidden = re.sub("«.*»", "", text, flags=re.S).encode()
    mock.replay(whole)
    key = gateway.keys["alice"]
    splits = [0, 1, 2, 3, 5, 7, 11, 40, 64, 100, 127]
    for split in splits:
        directives = f"replay=body,split={split}"
        assert gateway.send(CHAT.request(
            key, directives, stream=True)).body == hidden, split
        assert gateway.send(CHAT.request(
            key, directives, stream=True,
            stream_options={"include_usage": True})).body == whole, split
    for line in new_lines(gateway, 2 * len(splits)):
        assert (line["end"], line["usage_source"], line["prompt_tokens"],
                line["completion_tokens"]) == ("ok", "upstream", 5, 1), line


# --- the body as it goes on --------------------------------------------------

ASK = b'{"include_usage":true}'

# What the client sends, what the server gets.
BODIES = [
    (b'{"model":"m","messages":[]}', b'{"model":"mock-model","messages":[]}'),
    (b'{"model":"m","stream":false}', b'{"model":"mock-model","stream":false}'),
    (b'{"model":"m","stream":true}',
     b'{"model":"mock-model","stream":true,"stream_options":' + ASK + b'}'),
    (b'{"model":"m","stream":true,"stream_options":' + ASK + b'}',
     b'{"model":"mock-model","stream":true,"stream_options":' + ASK + b'}'),
    (b'{"stream_options":{},"model":"m","stream":true}',
     b'{"stream_options":' + ASK + b',"model":"mock-model","stream":true}'),
    (b'{"stream_options":null,"model":"m","stream":true}',
     b'{"stream_options":' + ASK + b',"model":"mock-model","stream":true}'),
    (b'{"stream_options":{"include_usage":false},"model":"m","stream":true}',
     b'{"stream_options":' + ASK + b',"model":"mock-model","stream":true}'),
    (b'{"stream_options":{"x":1},"model":"m","stream":true}',
     b'{"stream_options":{"include_usage":true,"x":1},"model":"mock-model",'
     b'"stream":true}'),
    (b'\r\n { "model" : "m" , "n" : 1.0 , "x" : [ 1e5 , -0 , 9007199254740993 '
     b'] }\t\n',
     b'\r\n { "model" : "mock-model" , "n" : 1.0 , "x" : [ 1e5 , -0 , '
     b'9007199254740993 ] }\t\n'),
    (b'{"messages":[{"content":"\\ud83d \\u0000 \\/ \xc3\xa9"}],"model":"m"}',
     b'{"messages":[{"content":"\\ud83d \\u0000 \\/ \xc3\xa9"}],'
     b'"model":"mock-model"}'),
    (b'{"model":"\\u006d","user":"m","metadata":{"model":"m"}}',
     b'{"model":"mock-model","user":"m","metadata":{"model":"m"}}'),
    (b'{"m\\u006fdel":"m"}', b'{"m\\u006fdel":"mock-model"}'),
    (b'{"model":"m","max_tokens":-1,"max_completion_tokens":null}',
     b'{"model":"mock-model","max_tokens":-1,"max_completion_tokens":null}'),
]


@pytest.mark.parametrize("sent, wanted", BODIES)
def test_a_body_goes_on_as_it_came_but_for_the_model_and_the_usage(
        gateway, mock, sent, wanted):
    gateway.post(sent, gateway.keys["alice"])
    assert mock.last()["body_sha256"] == hashlib.sha256(wanted).hexdigest(), \
        mock.last()["body"]


def odd_json(pick, depth=0):
    """Some JSON, spelled in some way."""
    def space():
        return pick.choice(["", "", " ", "\n", "\t ", "  "])

    kind = pick.randrange(7 if depth < 4 else 5)
    if kind == 0:
        return pick.choice(["0", "-0", "1.0", "1e5", "-1.5E-7", "1E+2",
                            "123456789012345678901234567890", "0.10"])
    if kind == 1:
        return pick.choice(["true", "false", "null"])
    if kind < 5:
        return '"' + "".join(pick.choice(
            ["a", "model", " ", "é", "日", "\\n", "\\\"", "\\\\", "\\u00e9",
             "\\ud83d\\ude00", "\\ud800", "{", "}", "[", ",", ":", "\x7f"])
            for _ in range(pick.randrange(9))) + '"'
    items = [odd_json(pick, depth + 1) for _ in range(pick.randrange(5))]
    if kind == 5:
        return "[" + space() + (space() + "," + space()).join(items) + \
            space() + "]"
    return "{" + space() + ",".join(
        f'{space()}"k{i}"{space()}:{space()}{x}'
        for i, x in enumerate(items)) + space() + "}"


def test_any_body_goes_on_as_it_came(gateway, mock):
    pick = random.Random(SEED)
    with gateway.connect(["POST"] * 300) as c:
        for i in range(300):
            members = [f'"x{k}": {odd_json(pick)}'
                       for k in range(pick.randrange(8))]
            members.insert(pick.randrange(len(members) + 1), '"model": $')
            text = "{" + ", ".join(members) + "}"
            name = pick.choice(['"m"', '"\\u006D"'])
            c.send(post(text.replace("$", name).encode(),
                        gateway.keys["alice"]))
            assert c.reply().status == 200
            wanted = text.replace("$", '"mock-model"').encode()
            got = mock.last()
            assert got["body_sha256"] == hashlib.sha256(wanted).hexdigest(), \
                (text, got["body"])


# --- params ------------------------------------------------------------------

@pytest.mark.parametrize("field", ["model", "stream", "stream_options"])
@pytest.mark.parametrize("params", ["set", "default", "drop"])
def test_what_the_gateway_decides_is_no_param(gateway, mock, params, field):
    config = basic_config(mock)
    config["models"]["m"]["params"] = {
        params: [field] if params == "drop" else {field: "x"}}
    path = gateway.folder / "params.yaml"
    path.write_text(json.dumps(config))
    done = gateway.command("check", "-c", str(path), check=False)
    assert done.returncode == 3, done
    assert f"{field}: is set by the gateway itself" in done.stdout + \
        done.stderr, done


# What the config says, what the client sends, what the server gets.
PARAMS = [
    ({"drop": ["a"]}, b'{"a":1,"model":"m"}', b'{"model":"mock-model"}'),
    ({"drop": ["a"]}, b'{"model":"m","a":1}', b'{"model":"mock-model"}'),
    ({"drop": ["a", "b"]}, b'{"a":1,"model":"m","b":2}',
     b'{"model":"mock-model"}'),
    ({"drop": ["a"]}, b'{"model":"m","b":{"a":1}}',
     b'{"model":"mock-model","b":{"a":1}}'),
    ({"drop": ["a"]}, b'{"\\u0061":1,"model":"m"}', b'{"model":"mock-model"}'),
    ({"drop": ["b", "a"], "set": {"c": 1.50}},
     b'{"model":"m","a":1,"b":[2,{}]}', b'{"model":"mock-model","c":1.5}'),
    ({"set": {"a": True}}, b'{"model":"m"}',
     b'{"model":"mock-model","a":true}'),
    ({"set": {"a": "x\"y"}}, b'{"a" : [1, 2] ,"model":"m"}',
     b'{"a" : "x\\"y" ,"model":"mock-model"}'),
    ({"default": {"a": 7}}, b'{"a":null,"model":"m"}',
     b'{"a":null,"model":"mock-model"}'),
    ({"default": {"a": 7, "b": 8}}, b'{"b":1,"model":"m" }',
     b'{"b":1,"model":"mock-model" ,"a":7}'),
]


@pytest.mark.parametrize("params, sent, wanted", PARAMS)
def test_params_change_what_they_name_and_nothing_else(
        start, mock_server, mock, params, sent, wanted):
    config = basic_config(mock_server)
    config["models"]["m"]["params"] = params
    own = start(config)
    assert own.post(sent, own.keys["alice"]).status == 200
    assert mock.last()["body"] == wanted.decode()
    own.stop()


@pytest.mark.parametrize("name", ['a"b', "a\\b", "\u00e9 \u65e5"])
def test_a_params_name_is_refused_or_sound_json(
        gateway, start, mock_server, mock, name):
    config = basic_config(mock_server)
    config["models"]["m"]["params"] = {"set": {name: 1}}
    path = gateway.folder / "params.yaml"
    path.write_text(json.dumps(config))
    done = gateway.command("check", "-c", str(path), check=False)
    assert done.returncode in (0, 3), done
    if done.returncode == 0:
        own = start(config)
        assert own.post(b'{"model":"m"}', own.keys["alice"]).status == 200
        assert json.loads(mock.last()["body"])[name] == 1
        own.stop()
