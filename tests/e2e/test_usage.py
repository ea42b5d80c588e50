"""Usage through the whole gateway: every recorded answer, whole and in pieces,
gives the counts that it should, and reaches the client without what only the
gateway had asked for.  And answers too large to be kept."""

import gzip
import json
import pathlib
import re

import pytest

from dialects import (ANTHROPIC, CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES,
                      new_lines)
from harness import basic_config
from kinds import RERANK
from scripted import Scripted, read_request, wait_for_end

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"

# How a recording's server is called in the configuration, and its APIs by what
# stands in the file's name.
KINDS = {"mlxlm": "mlx_lm", "mlxvlm": "mlx_vlm"}
OWN_KINDS = ["openai", "vllm", "sglang", "llamacpp", "mlx_lm", "mlx_vlm",
             "rapidmlx", "ollama", "tei", "infinity", "anthropic", "fireworks",
             "xai", "deepseek", "openrouter"]
APIS = [("counttokens", None), ("-completion", COMPLETIONS),
        ("-responses", RESPONSES), ("-messages", ANTHROPIC),
        ("-embed", EMBEDDINGS), ("-apiembed", EMBEDDINGS),
        ("-rerank", RERANK), ("-score", RERANK),
        ("anthropic-error", ANTHROPIC)]

MIB = 1 << 20


class Recording:
    """One file, and what expected.tsv says of it."""

    COLUMNS = ["input", "output", "cached", "write", "reasoning"]
    FIELDS = ["prompt_tokens", "completion_tokens", "cached_tokens",
              "cache_write_tokens", "reasoning_tokens"]

    def __init__(self, folder, row):
        self.name, complete, *counts, self.error = row
        self.is_complete = complete == "1"
        self.counts = [None if c == "-" else int(c) for c in counts]
        self.body = (DATA / folder / self.name).read_bytes()
        self.is_stream = "-stream" in self.name
        server = self.name.split("-")[0]
        kind = KINDS.get(server, server)
        self.kind = kind if kind in OWN_KINDS else "openai"
        self.dialect = next((d for part, d in APIS if part in self.name), CHAT)
        status = re.search(r"error(\d{3})|[a-z](\d{3})-json", self.name)
        self.status = int(next(filter(None, status.groups()))) \
            if status and self.error == "http" else 200

    def answer(self):
        return b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\n" \
            b"Content-Length: %d\r\n\r\n" % (
                self.status, len(self.body)) + self.body

    @property
    def has_usage(self):
        return self.counts[0] is not None

    def shown(self):
        """What a client gets that asked for no usage."""
        if not self.is_stream or self.dialect not in (CHAT, COMPLETIONS) or \
                b"\r" in self.body or b"id: " in self.body:
            return None  # more grammar than is known here
        events = re.split(rb"(?<=\n\n)", self.body)
        return b"".join(filter(None, map(self.shown_event, events)))

    def shown_event(self, event):
        data = re.search(rb"(?m)^data: ?(\{.*)$", event)
        try:
            document = json.loads(data[1]) if data else {}
        except json.JSONDecodeError:
            return event
        if not isinstance(document.get("usage"), dict) or "error" in document:
            return event
        if document.get("choices") == []:
            return b""
        if self.kind != "vllm" or not document.get("choices"):
            return event
        return re.sub(rb',"usage":\{(?:[^{}]|\{[^{}]*\})*\}', b"", event)


def recordings():
    for folder in ("wire", "wire-more"):
        table = (DATA / folder / "expected.tsv").read_text()
        for line in table.splitlines()[1:]:
            yield Recording(folder, line.split("\t"))


ALL = [r for r in recordings() if r.dialect is not None]


@pytest.fixture(scope="module")
def config(mock_server):
    config = basic_config(mock_server)
    for kind in OWN_KINDS:
        config["upstreams"][f"at-{kind}"] = {
            "url": mock_server.url, "kind": kind, "paid": False,
            "timeouts": {"idle": "50ms"}}
        config["models"][kind] = {
            "routes": [{"to": f"at-{kind}", "model": "x"}]}
    return config


def ask(gateway, r, directives, **members):
    return gateway.send(r.dialect.request(
        gateway.keys["alice"], directives, model=r.kind, stream=r.is_stream,
        fields=["Connection: close"], **members))


def check_line(r, line):
    said = [line[f] for f in Recording.FIELDS]
    for name, is_said, wanted in zip(Recording.COLUMNS, said, r.counts):
        if wanted is not None:
            assert is_said == wanted, (r.name, name, line)
    assert line["usage_damaged"] == r.name.startswith("damaged"), line
    # Some damaged counts are in the middle, and good ones follow.
    if None in r.counts[:2]:
        sources = ["estimated", "none", "running"]
    elif r.is_complete and r.error != "stream":
        sources = ["upstream", "timings"]
    else:
        sources = ["running", "estimated", "upstream"]
    assert line["usage_source"] in sources, (r.name, line)
    if line["status"] == 200 and line["usage_source"] == "estimated":
        assert line["prompt_tokens"] > 0, line
    is_good = r.is_complete and r.error == "-" and line["status"] == 200
    assert (line["end"] == "ok") == is_good, (r.name, line)


def without_id(body):
    """Errors of our own name the request."""
    return re.sub(rb"01[0-9A-HJKMNP-TV-Z]{24}", b"ID", body)


@pytest.mark.parametrize("r", ALL, ids=lambda r: r.name[:-4])
def test_a_recorded_answer_is_counted_and_passed_on(gateway, mock, r):
    mock.replay(r.answer(), is_raw=True)
    pieces = [0, 1, 7, 100] if len(r.body) < 10000 else [0, 100, 4096]
    replies = [ask(gateway, r, f"replay=raw,split={n}") for n in pieces]
    for line in new_lines(gateway, len(pieces)):
        check_line(r, line)
    for reply in replies:
        assert reply.status in (r.status, 502), reply
        assert without_id(reply.body) == without_id(replies[0].body), r.name
    if r.is_complete and r.error == "-" and r.shown() is not None:
        assert replies[0].body == r.shown(), r.name


@pytest.mark.parametrize(
    "r", [r for r in ALL if r.is_stream and r.is_complete and
          r.error == "-" and r.dialect in (CHAT, COMPLETIONS)],
    ids=lambda r: r.name[:-4])
def test_who_asks_for_all_counts_gets_the_answer_as_it_came(gateway, mock, r):
    mock.replay(r.answer(), is_raw=True)
    options = {"include_usage": True, "continuous_usage_stats": True}
    for n in (0, 3):
        reply = ask(gateway, r, f"replay=raw,split={n}",
                    stream_options=options)
        assert reply.body == r.body, r.name
    for line in new_lines(gateway, 2):
        check_line(r, line)


# --- what else tells of a cost -----------------------------------------------

def replay(gateway, mock, dialect, kind, body, status=200, fields="",
           **members):
    mock.replay(f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
                f"{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body,
                is_raw=True)
    gateway.send(dialect.request(
        gateway.keys["alice"], "replay=raw", model=kind,
        fields=["Connection: close"], **members))
    line, = new_lines(gateway, 1)
    return line


@pytest.mark.parametrize("body, tokens, source", [
    (b'[{"index":0,"score":0.9}]', 30, "upstream"),
    (b'{"usage":{"prompt_tokens":6,"total_tokens":6}}', 6, "upstream"),
    (b'{"usage":{"prompt_tokens":0,"total_tokens":0}}', 30, "upstream"),
])
def test_tei_tells_its_tokens_in_the_head(gateway, mock, body, tokens, source):
    line = replay(gateway, mock, RERANK, "tei", body,
                  fields="x-compute-tokens: 30\r\n")
    assert (line["prompt_tokens"], line["completion_tokens"],
            line["usage_source"]) == (tokens, 0, source), line


def test_a_head_that_tells_no_tokens_is_not_believed(gateway, mock):
    line = replay(gateway, mock, RERANK, "tei", b'[{"index":0,"score":0.9}]',
                  fields="x-compute-tokens: 0\r\n")
    assert line["usage_source"] == "estimated", line
    assert line["prompt_tokens"] > 0, line


def test_what_the_upstream_says_that_it_cost_is_kept(gateway, mock):
    usage = {"prompt_tokens": 21, "completion_tokens": 3, "cost": 4.95e-06}
    line = replay(gateway, mock, CHAT, "openrouter",
                  json.dumps({"choices": [], "usage": usage}).encode())
    assert line["upstream_cost_usd"] == "0.000004950000", line
    usage = {"prompt_tokens": 12, "completion_tokens": 2,
             "cost_in_usd_ticks": 1721250,
             "completion_tokens_details": {"reasoning_tokens": 340}}
    gateway.begin()
    line = replay(gateway, mock, CHAT, "xai",
                  json.dumps({"choices": [], "usage": usage}).encode())
    assert line["upstream_cost_usd"] == "0.000172125000", line
    assert line["completion_tokens"] == 342, line


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES, ANTHROPIC],
                         ids=lambda d: d.name)
@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "stream"])
def test_usage_beside_an_error_counts(gateway, mock, dialect, is_stream):
    body = b'{"error":{"message":"x","type":"y"},"usage":{"input_tokens":40,' \
        b'"output_tokens":2}}'
    line = replay(gateway, mock, dialect, "openai", body, status=400,
                  stream=is_stream)
    assert (line["end"], line["usage_source"], line["prompt_tokens"],
            line["completion_tokens"]) == \
        ("upstream_error", "upstream", 40, 2), line


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_refusal_that_cost_something_is_charged_when_another_is_asked(
        start, mock_server, mock, framing):
    refusal = b'{"error":{"message":"x","type":"y"},' \
        b'"usage":{"prompt_tokens":40,"completion_tokens":2}}'

    def refuse(conn):
        read_request(conn)
        if framing == "length":
            body = b"Content-Length: %d\r\n\r\n" % len(refusal) + refusal
        else:
            body = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % \
                len(refusal) + refusal + b"\r\n0\r\n\r\n"
        conn.sendall(b"HTTP/1.1 429 X\r\n" + body)

    server = Scripted(refuse)
    config = basic_config(mock_server)
    config["upstreams"]["full"] = {"url": server.url}
    config["models"]["m"]["routes"].insert(
        0, {"to": "full", "model": "mock-model"})
    gateway = start(config)
    gateway.begin()
    assert gateway.chat("tokens=1").status == 200
    line, = new_lines(gateway, 1)
    first, second = line["attempts"]
    assert (first["result"], first["usage_source"], first["prompt_tokens"],
            first["completion_tokens"]) == ("429", "upstream", 40, 2), line
    assert second["result"] == "ok", line
    server.stop()


@pytest.mark.parametrize("coding, source", [
    ("gzip", "upstream"), ("br", "estimated"), ("zstd", "estimated")])
def test_a_coded_answer_is_read_if_it_can_be(gateway, mock, coding, source):
    body = b'{"usage":{"prompt_tokens":40,"completion_tokens":2}}'
    line = replay(gateway, mock, CHAT, "openai",
                  gzip.compress(body) if coding == "gzip" else body,
                  fields=f"Content-Encoding: {coding}\r\n")
    assert line["usage_source"] == source, line
    assert (line["prompt_tokens"] == 40) == (source == "upstream"), line


# --- large -------------------------------------------------------------------

def chunk(text, counts, choices=True):
    usage = ',"usage":{"prompt_tokens":9,"total_tokens":%d,' \
        '"completion_tokens":%d}' % (9 + counts, counts)
    body = '[{"index":0,"delta":{"content":"%s"}}]' % text if choices else "[]"
    return f'data: {{"choices":{body}{usage}}}\n\n'.encode()


def large_chat():
    """An event of 5 MiB with its counts at its end."""
    text = "tea " * (5 * MIB // 4)
    whole = chunk("a", 1) + chunk(text, 70000) + \
        chunk("", 70001, choices=False) + b"data: [DONE]\n\n"
    shown = re.sub(rb',"usage":\{[^}]*\}', b"", chunk("a", 1) +
                   chunk(text, 70000)) + b"data: [DONE]\n\n"
    return CHAT, "vllm", whole, shown, (9, 70001)


def large_response():
    """All that was said, once more in the last event."""
    text = "tea " * (5 * MIB // 4)
    delta = {"type": "response.output_text.delta", "delta": text}
    last = {"type": "response.completed", "response": {
        "output": [{"type": "message", "content": [
            {"type": "output_text", "text": text}]}],
        "usage": {"input_tokens": 9, "output_tokens": 70001}}}
    whole = b"".join(b"event: %s\ndata: %s\n\n" % (
        e["type"].encode(), json.dumps(e).encode()) for e in (delta, last))
    return RESPONSES, "vllm", whole, whole, (9, 70001)


@pytest.mark.parametrize("make", [large_chat, large_response],
                         ids=["chat", "responses"])
def test_an_event_of_5_mib_is_counted_and_not_kept(gateway, mock, make):
    dialect, kind, whole, shown, counts = make()
    mock.replay(whole)
    for _ in range(2):  # the second time all buffers have grown
        before = gateway.rss_bytes()
        with gateway.connect(["POST"]) as c:
            c.send(dialect.request(gateway.keys["alice"], "replay=body",
                                   model=kind, stream=True))
            reply = c.reply()
        assert reply.body == shown
    grown = gateway.rss_bytes() - before
    # The sanitizers keep what was freed for a while; the event is not in it.
    assert grown < 16 * MIB, grown
    for line in new_lines(gateway, 2):
        assert (line["end"], line["usage_source"], line["prompt_tokens"],
                line["completion_tokens"]) == ("ok", "upstream", *counts), line


# --- an answer that breaks off -----------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


def message(*events):
    return b"".join(b"event: %s\ndata: %s\n\n" % (
        e["type"].encode(), json.dumps(e).encode()) for e in events)


START = {"type": "message_start", "message": {
    "usage": {"input_tokens": 18, "cache_read_input_tokens": 100,
              "output_tokens": 1}}}
TEXT = {"type": "content_block_delta",
        "delta": {"type": "text_delta", "text": "tea " * 100}}
DELTA = {"type": "message_delta", "delta": {"stop_reason": "end_turn"},
         "usage": {"output_tokens": 120}}

# What came, and what the line says: where from, in, out (None: some).
BROKEN = [
    ("vllm-running", CHAT, "vllm", chunk("tea", 1) + chunk("sea", 2),
     "running", 9, 2),
    ("vllm-prefill", CHAT, "vllm", chunk("", 0) + chunk("tea", 0),
     "running", 9, 0),
    ("openai-nothing", CHAT, "openai",
     b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % (b"tea " * 100),
     "estimated", None, None),
    ("anthropic-text", ANTHROPIC, "anthropic", message(START, TEXT),
     "estimated", 118, None),
    ("anthropic-delta", ANTHROPIC, "anthropic", message(START, TEXT, DELTA),
     "running", 118, 120),
    ("deepseek-last", CHAT, "deepseek", chunk("tea", 3), "running", 9, 3),
]


@pytest.mark.parametrize("who", ["client", "server"])
@pytest.mark.parametrize("name, dialect, kind, sent, source, tokens_in, out",
                         BROKEN, ids=[row[0] for row in BROKEN])
def test_what_was_counted_until_the_break_is_charged(
        start, mock_server, name, dialect, kind, sent, source, tokens_in, out,
        who):
    def script(conn):
        read_request(conn)
        conn.sendall(HEAD + sent)
        if who == "client":
            wait_for_end(conn)

    server = Scripted(script)
    config = basic_config(mock_server)
    config["upstreams"]["cut"] = {"url": server.url, "kind": kind,
                                  "paid": False}
    config["models"]["cut"] = {"routes": [{"to": "cut", "model": "x"}]}
    own = start(config)
    with own.connect(["POST"]) as c:
        c.send(dialect.request(own.keys["alice"], model="cut", stream=True))
        if who == "client":
            c.until(lambda c: b"tea" in c.body_so_far())
        else:
            c.reply()
    line, = new_lines(own, 1)
    server.stop()
    assert line["end"] == ("client_gone" if who == "client"
                           else "upstream_reset"), line
    assert line["usage_source"] == source, line
    if tokens_in is not None:
        assert line["prompt_tokens"] == tokens_in, line
    if out is not None:
        assert line["completion_tokens"] == out, line
    else:
        assert 50 <= line["completion_tokens"] <= 150, line
