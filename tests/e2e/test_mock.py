"""weir-mock: the pretend model server answers in the true shapes, misbehaves
on the wire as it was told, and counts exactly."""

import gzip
import hashlib
import json
import os
import pathlib
import re
import socket
import ssl
import subprocess
import time

import pytest

BINARY = pathlib.Path(os.environ.get("WEIR_BIN_DIR", ".")) / "weir-mock"
USAGE = {"include_usage": True}
PATIENCE = 20.0


class Mock:
    def __init__(self, *options):
        self.process = subprocess.Popen(
            [BINARY, "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0",
             "--die-with-parent", *options],
            stdout=subprocess.PIPE, text=True)
        self.control_port = self.read_port("control")
        self.port = self.read_port("listening")

    def read_port(self, word):
        line = self.process.stdout.readline()
        match = re.fullmatch(rf"{word} 127\.0\.0\.1:(\d+)\n", line)
        assert match, line
        return int(match.group(1))

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(PATIENCE)

    def connect(self, port=None):
        return socket.create_connection(
            ("127.0.0.1", port or self.port), PATIENCE)

    def send(self, body, path="/v1/chat/completions", headers=()):
        sock = self.connect()
        sock.sendall(request(path, body, headers))
        return sock

    def ask(self, mock="", path="/v1/chat/completions", **body):
        """Sends one request and reads its answer; the connection ends."""
        body = {"model": "m", "messages": [], **body}
        if mock:
            body["mock"] = mock
        with self.send(body, path) as sock:
            return Answer(sock)

    def control(self, what, body=None):
        if isinstance(body, str):
            body = body.encode()
        head = f"{'GET' if body is None else 'POST'} /_mock/{what} HTTP/1.1\r\n"
        head += f"Content-Length: {len(body or b'')}\r\n\r\n"
        with self.connect(self.control_port) as sock:
            sock.sendall(head.encode() + (body or b""))
            answer = Answer(sock)
        assert answer.status == 200, answer.body
        return answer.json()

    def stats(self):
        return self.control("stats")

    def wait_stats(self, **wanted):
        """Waits until the counters are so; they may not move past it."""
        end = time.monotonic() + PATIENCE
        while True:
            stats = self.stats()
            if all(stats[key] == value for key, value in wanted.items()):
                return stats
            assert time.monotonic() < end, (wanted, stats)
            time.sleep(0.005)


def request(path, body, headers=(), method="POST"):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: mock", *headers,
             f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


class Answer:
    """What came: the raw bytes, and as far as it can be read, its parts."""

    def __init__(self, sock):
        self.raw, self.body, self.end = b"", b"", None
        self.headers, self.status = [], None
        self.sock = sock
        self.read_head()
        if self.status is not None:
            self.read_body()

    def more(self):
        try:
            data = self.sock.recv(1 << 20)
        except ConnectionResetError:
            self.end = "reset"
            return False
        if not data:
            self.end = "eof"
            return False
        self.raw += data
        return True

    def read_head(self):
        at = 0
        while True:
            while b"\r\n\r\n" not in self.raw[at:]:
                if not self.more():
                    return
            stop = self.raw.index(b"\r\n\r\n", at)
            lines = self.raw[at:stop].decode("latin1").split("\r\n")
            at = stop + 4
            if not re.match(r"HTTP/1\.. 10\d ", lines[0]):
                break
        self.status_line = lines[0]
        code = lines[0].split(" ")[1]
        self.status = int(code) if code.isdigit() else code
        self.headers = [tuple(x.split(": ", 1)) for x in lines[1:]]
        self.at = at

    def header(self, name):
        found = [v for k, v in self.headers if k.lower() == name.lower()]
        return found[0] if found else None

    def read_body(self):
        if "chunked" in (self.header("Transfer-Encoding") or ""):
            return self.read_chunks()
        length = self.header("Content-Length")
        while length is None or len(self.raw) - self.at < int(length):
            if not self.more():
                break
        self.body = self.raw[self.at:]
        return None

    def line(self):
        while b"\r\n" not in self.raw[self.at:]:
            if not self.more():
                return None
        stop = self.raw.index(b"\r\n", self.at)
        line, self.at = self.raw[self.at:stop], stop + 2
        return line

    def read_chunks(self):
        self.sizes, self.trailers = [], []
        while (line := self.line()) is not None:
            try:
                size = int(line.split(b";")[0], 16)
            except ValueError:
                self.end = "bad chunk"
                return
            self.sizes.append(line)
            if size == 0:
                while (trailer := self.line()):
                    self.trailers.append(trailer)
                self.end = "whole"
                return
            while len(self.raw) < self.at + size + 2:
                if not self.more():
                    return
            self.body += self.raw[self.at:self.at + size]
            self.at += size + 2

    def json(self):
        return json.loads(self.body)

    def events(self):
        found = []
        for block in self.body.decode().split("\n\n"):
            for line in block.split("\n"):
                if line.startswith("data: {"):
                    found.append(json.loads(line[6:]))
        return found

    def words(self):
        return [e["choices"][0]["delta"]["content"] for e in self.events()
                if e.get("choices") and
                e["choices"][0]["delta"].get("content")]


@pytest.fixture(name="mock")
def a_mock():
    mock = Mock("--name", "one")
    yield mock
    assert mock.stop() == 0


# ---- shapes ---------------------------------------------------------------

def test_chat_stream_has_one_delta_a_token_and_usage_when_asked(mock):
    a = mock.ask("tokens=5,prompt=11,cached=3", stream=True,
                 stream_options=USAGE)
    assert a.header("Content-Type").startswith("text/event-stream")
    assert a.end == "whole" and a.body.endswith(b"data: [DONE]\n\n")
    assert a.words() == [" tea", " sea", " sun", " owl", " oak"]
    usage = a.events()[-1]
    assert usage["choices"] == [] and usage["model"] == "m"
    assert usage["usage"]["prompt_tokens"] == 11
    assert usage["usage"]["completion_tokens"] == 5
    assert usage["usage"]["prompt_tokens_details"]["cached_tokens"] == 3


def test_chat_stream_has_no_usage_when_not_asked(mock):
    a = mock.ask("tokens=2", stream=True)
    assert len(a.words()) == 2
    assert not any("usage" in e for e in a.events())


def test_chat_stream_counts_on_when_continuous_usage_is_asked(mock):
    a = mock.ask("tokens=3,prompt=4", stream=True, stream_options={
        **USAGE, "continuous_usage_stats": True})
    counts = [e["usage"]["completion_tokens"] for e in a.events()]
    assert counts == [0, 1, 2, 3, 3, 3]
    assert {e["usage"]["prompt_tokens"] for e in a.events()} == {4}


def test_reasoning_comes_first_and_counts_as_output(mock):
    a = mock.ask("tokens=2,reasoning=3", stream=True, stream_options=USAGE)
    kinds = [next(iter(e["choices"][0]["delta"]), None)
             for e in a.events() if e["choices"]]
    assert kinds == ["role"] + ["reasoning_content"] * 3 + ["content"] * 2 + [
        None]
    usage = a.events()[-1]["usage"]
    assert usage["completion_tokens"] == 5
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 3


def test_plain_chat_is_one_document(mock):
    a = mock.ask("tokens=3,prompt=7").json()
    assert a["object"] == "chat.completion"
    assert a["choices"][0]["message"]["content"] == " tea sea sun"
    assert a["choices"][0]["finish_reason"] == "stop"
    assert a["usage"]["total_tokens"] == 10


def test_max_tokens_bounds_the_answer(mock):
    a = mock.ask(max_tokens=4).json()
    assert a["usage"]["completion_tokens"] == 4
    assert a["choices"][0]["finish_reason"] == "length"


def test_size_pads_the_content(mock):
    a = mock.ask("tokens=2,size=1000", stream=True)
    assert [len(w) for w in a.words()] == [1000, 1000]
    a = mock.ask("tokens=2,size=70000").json()
    assert len(a["choices"][0]["message"]["content"]) == 70000


def test_completions_stream_and_plain(mock):
    a = mock.ask("tokens=2", "/v1/completions", prompt="x", stream=True,
                 stream_options=USAGE)
    texts = [c["text"] for e in a.events() for c in e["choices"]]
    assert texts == [" tea", " sea", ""]
    assert a.events()[-1]["usage"]["completion_tokens"] == 2
    a = mock.ask("tokens=2", "/v1/completions", prompt="x").json()
    assert a["choices"][0]["text"] == " tea sea"


@pytest.mark.parametrize("reasoning", [0, 2])
def test_responses_stream_is_numbered_and_complete(mock, reasoning):
    a = mock.ask(f"tokens=3,reasoning={reasoning}", "/v1/responses",
                 input="x", stream=True)
    events = a.events()
    assert [e["sequence_number"] for e in events] == list(range(len(events)))
    types = [e["type"] for e in events]
    assert types[:3] == ["response.created", "response.in_progress",
                         "response.output_item.added"]
    assert types.count("response.output_text.delta") == 3
    assert types.count("response.reasoning_text.delta") == reasoning
    assert types[-1] == "response.completed"
    assert events[-1]["response"]["usage"]["output_tokens"] == 3 + reasoning
    named = re.findall(r"^event: (.*)$", a.body.decode(), re.M)
    assert named == types


def test_responses_stopped_by_the_limit_are_incomplete(mock):
    a = mock.ask("", "/v1/responses", input="x", stream=True,
                 max_output_tokens=2)
    assert a.events()[-1]["type"] == "response.incomplete"
    plain = mock.ask("tokens=1", "/v1/responses", input="x").json()
    assert plain["status"] == "completed"
    assert plain["output"][0]["content"][0]["text"] == " tea"


@pytest.mark.parametrize("reasoning", [0, 2])
def test_messages_stream_has_cumulative_usage(mock, reasoning):
    a = mock.ask(f"tokens=3,prompt=20,cached=5,reasoning={reasoning}",
                 "/v1/messages", stream=True)
    events = a.events()
    types = [e["type"] for e in events]
    assert types[:3] == ["message_start", "content_block_start", "ping"]
    assert types[-2:] == ["message_delta", "message_stop"]
    deltas = [e["delta"]["type"] for e in events
              if e["type"] == "content_block_delta"]
    assert deltas.count("text_delta") == 3
    assert deltas.count("thinking_delta") == reasoning
    assert events[0]["message"]["usage"]["input_tokens"] == 15
    assert events[-2]["usage"]["cache_read_input_tokens"] == 5
    assert events[-2]["usage"]["output_tokens"] == 3 + reasoning
    starts = types.count("content_block_start")
    assert starts == types.count("content_block_stop")


def test_plain_messages_and_count_tokens(mock):
    a = mock.ask("tokens=2,prompt=9", "/v1/messages").json()
    assert a["content"] == [{"type": "text", "text": " tea sea"}]
    assert a["usage"]["input_tokens"] == 9
    a = mock.ask("prompt=9", "/v1/messages/count_tokens").json()
    assert a == {"input_tokens": 9}


def test_embeddings_and_rerank_answer_for_each_input(mock):
    a = mock.ask("prompt=6", "/v1/embeddings", input=["a", "b"]).json()
    assert [len(x["embedding"]) for x in a["data"]] == [8, 8]
    assert a["usage"] == {"prompt_tokens": 6, "total_tokens": 6}
    for path in "/rerank", "/v1/rerank", "/v2/rerank":
        a = mock.ask("", path, query="q", documents=["x", "y"]).json()
        assert [r["index"] for r in a["results"]] == [1, 0]


def test_gets_answer(mock):
    for path, text in (("/v1/models", "mock-model"), ("/models", "mock-model"),
                       ("/health", "ok"), ("/metrics", "mock_secret")):
        with mock.connect() as sock:
            sock.sendall(request(path, b"", method="GET"))
            a = Answer(sock)
        assert a.status == 200 and text in a.body.decode()


def test_wrong_requests_are_refused_as_real_servers_do():
    mock = Mock("--model", "known")
    try:
        assert mock.ask(model="known").status == 200
        a = mock.ask(model="other")
        assert a.status == 404
        assert a.json()["error"]["code"] == "model_not_found"
        assert mock.ask(model="known", stream_options={}).status == 400
        assert mock.ask("no_such=1", model="known").status == 400
        assert mock.ask("", "/v1/nothing").status == 404
        for bad in (b'{"model":"known"', b'{"model":"known",}', b"[]",
                    b'{"model":"known","x":01}', b'{"model":"known"} x',
                    b'{"model":"known","x":"\n"}',
                    b'{"model":"known","x":"long enough for words\x1f"}',
                    b'{"model":"known","x":"\\u12g4"}'):
            with mock.send(bad) as sock:
                assert Answer(sock).status == 400, bad
    finally:
        mock.stop()


def test_errors_have_the_shape_of_the_api(mock):
    a = mock.ask("status=429,retry_after=7")
    assert a.status == 429 and a.header("Retry-After") == "7"
    assert set(a.json()["error"]) == {"message", "type", "param", "code"}
    a = mock.ask("status=529", "/v1/messages")
    assert a.status == 529
    assert a.json()["error"]["type"] == "overloaded_error"
    a = mock.ask("status=500,fault=error_usage")
    assert a.json()["usage"]["prompt_tokens"] == 7


# ---- where directives come from -------------------------------------------

def test_later_directives_win():
    mock = Mock("--set", "tokens=1,prompt=50")
    try:
        body = {"model": "m", "messages": []}
        with mock.send(body) as sock:
            assert Answer(sock).json()["usage"]["completion_tokens"] == 1
        with mock.send(body, headers=["X-Mock: tokens=2"]) as sock:
            assert Answer(sock).json()["usage"]["completion_tokens"] == 2
        with mock.send({**body, "mock": "tokens=3"},
                       headers=["X-Mock: tokens=2"]) as sock:
            usage = Answer(sock).json()["usage"]
        assert usage["completion_tokens"] == 3
        assert usage["prompt_tokens"] == 50
        mock.control("set", "tokens=4")
        assert mock.ask().json()["usage"]["completion_tokens"] == 4
        mock.control("reset", "")
        assert mock.ask().json()["usage"]["completion_tokens"] == 1
    finally:
        mock.stop()


def test_fail_times_fails_so_often_and_then_behaves(mock):
    mock.control("set", "status=503,fail_times=2")
    got = [mock.ask().status for _ in range(4)]
    assert got == [503, 503, 200, 200]
    mock.control("set", "status=500")
    assert mock.ask().status == 500
    mock.control("set", "status=0,fault=close_before_head,fail_times=1")
    assert mock.ask().raw == b""
    assert mock.ask().status == 200


def test_listen_off_refuses_connections_until_on(mock):
    mock.control("set", "listen=off")
    with pytest.raises(ConnectionRefusedError):
        mock.connect()
    mock.control("set", "listen=on")
    assert mock.ask().status == 200


def test_health_can_be_bad_alone(mock):
    mock.control("set", "health=503")
    with mock.connect() as sock:
        sock.sendall(request("/health", b"", method="GET"))
        assert Answer(sock).status == 503
    assert mock.ask().status == 200


# ---- faults ---------------------------------------------------------------

def silence(sock, seconds=0.1):
    """Whether nothing at all comes for so long."""
    sock.settimeout(seconds)
    try:
        return sock.recv(1) is None
    except TimeoutError:
        return True
    finally:
        sock.settimeout(PATIENCE)


def read_until(sock, mark):
    data = b""
    while mark not in data:
        more = sock.recv(65536)
        assert more, data
        data += more
    return data


@pytest.mark.parametrize("fault,seen", [
    ("hang_before_head", b""), ("hang_after_head", b"\r\n\r\n"),
    ("hang_mid", b" sea")])
def test_hangs_say_nothing_more_until_the_client_leaves(mock, fault, seen):
    body = {"model": "m", "messages": [], "stream": True,
            "mock": f"tokens=5,after=2,fault={fault}"}
    with mock.send(body) as sock:
        data = read_until(sock, seen) if seen else b""
        assert silence(sock)
        assert b" sun" not in data
        stats = mock.wait_stats(in_flight=1, streams_started=1)
        assert stats["connections_open"] == 1
    mock.wait_stats(in_flight=0, connections_open=0, streams_cut=1,
                    usage_answers=0)


@pytest.mark.parametrize("fault,end", [
    ("reset_before_head", "reset"), ("close_before_head", "eof")])
@pytest.mark.parametrize("stream", [True, False])
def test_breaks_before_the_head_say_nothing(mock, fault, end, stream):
    a = mock.ask(f"fault={fault}", stream=stream)
    assert a.raw == b"" and a.end == end
    assert mock.stats()["answers_broken"] == 1
    assert mock.stats()["statuses"] == {}


@pytest.mark.parametrize("fault,end", [
    ("reset_mid", "reset"), ("close_mid", "eof")])
def test_breaks_in_the_middle_come_after_so_many_events(mock, fault, end):
    a = mock.ask(f"fault={fault},tokens=9,after=4,interval=1", stream=True)
    assert a.end == end and a.status == 200
    assert len(a.words()) == 4
    a = mock.ask(f"fault={fault}")
    assert a.end == end
    assert 0 < len(a.body) < int(a.header("Content-Length"))
    assert mock.stats()["usage_answers"] == 0
    assert mock.stats()["streams_broken"] == 1


def test_faults_of_content(mock):
    a = mock.ask("fault=role_then_close,tokens=3", stream=True)
    assert a.end == "eof" and a.words() == [] and len(a.events()) == 1
    a = mock.ask("fault=empty_stream", stream=True)
    assert a.end == "whole" and a.body == b"data: [DONE]\n\n"
    a = mock.ask("fault=error_first_event", stream=True)
    assert list(a.events()[0]) == ["error"]
    a = mock.ask("fault=error_mid,after=3,tokens=9", stream=True)
    assert a.end == "whole" and "error" in a.events()[-1]
    assert len([e for e in a.events() if "error" not in e]) == 4
    a = mock.ask("fault=malformed_sse,after=1,tokens=3", stream=True)
    broken = [x for x in a.body.split(b"\n\n") if b'"broken"' in x]
    assert len(broken) == 1
    with pytest.raises(json.JSONDecodeError):
        json.loads(broken[0][6:])
    with pytest.raises(json.JSONDecodeError):
        mock.ask("fault=malformed_sse").json()


def test_faults_of_usage(mock):
    asked = {"stream": True, "stream_options": USAGE}
    a = mock.ask("fault=no_usage,tokens=1", **asked)
    assert not any(e.get("usage") for e in a.events())
    assert "usage" not in mock.ask("fault=no_usage").json()
    a = mock.ask("fault=usage_every_chunk,tokens=2", stream=True)
    counts = [e["usage"]["completion_tokens"] for e in a.events()]
    assert counts == [0, 1, 2, 2, 2]
    a = mock.ask("fault=zero_usage,tokens=2", **asked)
    assert a.events()[-1]["usage"]["total_tokens"] == 0
    a = mock.ask("fault=no_usage,tokens=2", "/v1/messages", stream=True)
    assert b"usage" not in a.body


def test_faults_of_framing(mock):
    good = mock.ask("tokens=3").body
    a = mock.ask("fault=cl_mismatch_long,tokens=3")
    assert a.end == "eof"
    assert int(a.header("Content-Length")) == len(a.body) + 100
    a = mock.ask("fault=two_cl", stream=True)
    lengths = [v for k, v in a.headers if k == "Content-Length"]
    assert len(set(lengths)) == 2 and int(lengths[0]) == len(a.body)
    a = mock.ask("fault=cl_and_te", stream=True)
    assert a.header("Content-Length") and a.end == "whole"
    a = mock.ask("fault=chunk_ext,tokens=3")
    assert all(b";mock=" in s for s in a.sizes[:-1])
    assert len(a.body) == len(good)
    a = mock.ask("fault=trailers", stream=True)
    assert a.trailers[0] == b"X-Mock-Trailer: yes"
    assert mock.ask("fault=bad_chunk", stream=True).end == "bad chunk"
    with mock.send({"model": "m", "mock": "fault=garbage_after"}) as sock:
        assert b"}HTTP/1.1 200 OK" in read_until(sock, b"wrong")


def test_slow_chunk_is_one_chunk_over_8_mib_in_many_pieces(mock):
    a = mock.ask("fault=slow_chunk,tokens=4", stream=True,
                 stream_options=USAGE)
    assert len(a.sizes) == 2 and int(a.sizes[0], 16) > 8 << 20
    assert a.events()[-1]["usage"]["completion_tokens"] == 4
    assert mock.stats()["usage_answers"] == 1


@pytest.mark.parametrize("value", ["99", "1000", "abc"])
def test_bad_status_is_sent_raw(mock, value):
    a = mock.ask(f"fault=bad_status:{value}")
    assert a.status_line == f"HTTP/1.1 {value} OK"


def test_faults_of_the_head(mock):
    assert mock.ask("fault=no_reason").status_line == "HTTP/1.1 200"
    assert mock.ask("fault=header_nul").header("X-Nul") == "a\0b"
    assert mock.ask("fault=header_cr").header("X-Cr") == "a\rb"
    assert len(mock.ask("fault=many_headers").headers) > 10000
    a = mock.ask("fault=redirect")
    assert a.status == 307 and a.header("Location").startswith("http://")
    a = mock.ask("fault=redirect,extra-header=Location: http://127.0.0.1:1/")
    assert [v for k, v in a.headers if k == "Location"] == [
        "http://127.0.0.1:1/"]
    a = mock.ask("fault=body_on_204")
    assert a.status == 204 and a.body.startswith(b"{")


def test_kinds_of_head(mock):
    assert len(mock.ask("head=huge").raw) > 65536
    a = mock.ask("head=http10,tokens=2", stream=True)
    assert a.status_line.startswith("HTTP/1.0") and a.end == "eof"
    assert len(a.words()) == 2 and a.header("Content-Length") is None
    a = mock.ask("head=nolength")
    assert a.header("Connection") == "close" and a.end == "eof"
    assert a.json()["object"] == "chat.completion"
    a = mock.ask("head=continue103")
    assert re.findall(rb"HTTP/1.1 (\d+)", a.raw) == [b"103", b"102", b"200"]
    assert mock.ask("interims=50").raw.count(b" 103 Early") == 50
    a = mock.ask("extra-header=X-Extra: yes: it is")
    assert a.header("X-Extra") == "yes: it is"


def test_faults_of_the_body(mock):
    for stream in True, False:
        a = mock.ask("fault=gzip,tokens=3", stream=stream)
        assert a.header("Content-Encoding") == "gzip"
        assert b" sun" in gzip.decompress(a.body)
        with pytest.raises((EOFError, gzip.BadGzipFile)):
            gzip.decompress(mock.ask("fault=gzip_cut", stream=stream).body)
    a = mock.ask("fault=gzip_bomb")
    assert len(a.body) < 1 << 20
    assert len(gzip.decompress(a.body)) > 80 << 20
    a = mock.ask("fault=te_gzip", stream=True)
    assert a.header("Transfer-Encoding") == "gzip, chunked"
    assert gzip.decompress(a.body).endswith(b"[DONE]\n\n")
    a = mock.ask("fault=wrong_encoding")
    assert a.header("Content-Encoding") == "br" and a.json()
    assert mock.ask("fault=html", stream=True).body.startswith(b"<!DOCTYPE")
    assert mock.ask("fault=empty_body", stream=True).body == b""
    assert mock.ask("fault=empty_json").json() == {}


def test_every_fault_of_the_table_can_be_set(mock):
    text = subprocess.run([BINARY, "--help"], capture_output=True, text=True,
                          check=True).stdout
    names = re.findall(r"^  (\w+) ", text, re.M)
    assert len(names) > 35 and "hang_mid" in names
    for name in names:
        value = f"{name}:99" if name == "bad_status" else name
        mock.control("set", f"fault={value}")


# ---- time, and connections ------------------------------------------------

def test_ttft_interval_and_tail_are_waited_for(mock):
    begin = time.monotonic()
    mock.ask("ttft=60,interval=10,tail=50,tokens=4", stream=True)
    assert time.monotonic() - begin >= 0.139


def test_early_head_comes_before_the_first_token(mock):
    body = {"model": "m", "stream": True, "mock": "early=1,ttft=3600s"}
    with mock.send(body) as sock:
        assert read_until(sock, b"\r\n\r\n").endswith(b"\r\n\r\n")
        assert silence(sock)
    with mock.send({**body, "mock": "early=2,ttft=3600s"}) as sock:
        assert b" tea" not in read_until(sock, b'"role"')


def test_connections_are_kept_and_requests_may_be_pipelined(mock):
    with mock.connect() as sock:
        one = request("/v1/chat/completions", {"model": "m"})
        sock.sendall(one * 50)
        data = b""
        while data.count(b"chat.completion\"") < 50:
            data += sock.recv(65536)
        assert mock.stats()["connections_accepted"] == 1
    assert mock.stats()["served"] == 50


def test_a_request_may_come_byte_by_byte(mock):
    with mock.connect() as sock:
        for byte in request("/v1/chat/completions", {"model": "m"}):
            sock.sendall(bytes([byte]))
        assert Answer(sock).status == 200
    assert mock.stats()["served"] == 1


def test_what_is_no_request_is_refused_and_not_served(mock):
    for bad in (b"hello\r\n\r\n", b"GET / HTTP/2.0\r\n\r\n",
                b"POST /v1/messages HTTP/1.1\r\nContent-Length: x\r\n\r\n",
                b"POST /v1/messages HTTP/1.1\r\nno colon\r\n\r\n",
                b"POST /v1/messages HTTP/1.1\r\n"
                b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"):
        with mock.connect() as sock:
            sock.sendall(bad)
            assert Answer(sock).status == 400, bad
    stats = mock.wait_stats(connections_open=0, in_flight=0)
    assert stats["served"] == 0 and stats["requests_bad"] == 5


def test_a_client_that_expects_100_is_told_to_go_on(mock):
    whole = request("/v1/chat/completions", {"model": "m", "mock": "prompt=2"},
                    ["Expect: 100-continue"])
    head, body = whole.split(b"\r\n\r\n", 1)
    with mock.connect() as sock:
        sock.sendall(head + b"\r\n\r\n")
        assert read_until(sock, b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        assert mock.stats()["usage_answers"] == 0
        sock.sendall(body)
        assert Answer(sock).status == 200
    assert mock.stats()["usage_answers"] == 1


def test_a_body_in_chunks_is_understood(mock):
    body = json.dumps({"model": "m", "mock": "tokens=3"}).encode()
    with mock.connect() as sock:
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n")
        for i in range(len(body)):
            sock.sendall(b"1\r\n" + body[i:i + 1] + b"\r\n")
        sock.sendall(b"0\r\n\r\n")
        assert Answer(sock).json()["usage"]["completion_tokens"] == 3


def test_idle_close_and_drop_reused(mock):
    one = request("/v1/chat/completions", {"model": "m",
                                           "mock": "idle_close=1"})
    with mock.connect() as sock:
        sock.sendall(one)
        a = Answer(sock)
        assert a.status == 200 and a.header("Connection") is None
        assert not a.more() and a.end == "eof"
    one = request("/v1/chat/completions", {"model": "m",
                                           "mock": "drop_reused=1"})
    with mock.connect() as sock:
        sock.sendall(one)
        assert Answer(sock).status == 200
        sock.sendall(one)
        assert sock.recv(1) == b""
    stats = mock.wait_stats(connections_open=0)
    assert stats["dropped_reused"] == 1 and stats["served"] == 2


def test_slow_read_takes_its_time_or_never_reads(mock):
    mock.control("set", "slow_read=1")
    body = {"model": "m", "messages": ["x" * 40000]}
    begin = time.monotonic()
    with mock.send(body) as sock:
        assert Answer(sock).status == 200
    assert time.monotonic() - begin > 0.1
    mock.control("set", "slow_read=2")
    with mock.send(body) as sock:
        mock.wait_stats(in_flight=1)
        assert silence(sock)
    mock.wait_stats(in_flight=0, connections_open=0, served=1)


def test_uploaded_answers_are_replayed_byte_for_byte(mock):
    text = b"data: {\"x\":1}\r\n\r\n: odd\n\ndata: [DONE]\r\r"
    mock.control("replay", text)
    a = mock.ask("replay=body,split=5,interval=1", stream=True)
    assert a.body == text and a.end == "whole"
    assert a.sizes[0] == b"5" and len(a.sizes) == len(text) // 5 + 2
    assert mock.ask("replay=body").body == text
    mock.control("raw", b"HTTP/9.9 odd\r\n\r\nbytes")
    a = mock.ask("replay=raw")
    assert a.raw == b"HTTP/9.9 odd\r\n\r\nbytes" and a.end == "eof"


# ---- counters and the log -------------------------------------------------

def test_counters_are_exact_over_a_mixed_load(mock):
    asked = {"stream": True, "stream_options": USAGE}
    for i in range(20):
        mock.ask(f"tokens={i},prompt=10,cached=4,reasoning=1", **asked)
    for _ in range(5):
        mock.ask("prompt=3", "/v1/embeddings", input="x")
    mock.ask("tokens=3", stream=True)  # says no usage
    mock.ask("status=500")
    mock.ask("fault=close_mid", **asked)
    stats = mock.wait_stats(connections_open=0)
    assert stats["served"] == 28
    assert stats["usage_answers"] == 25
    assert stats["usage_prompt"] == 20 * 10 + 5 * 3
    assert stats["usage_completion"] == sum(range(20)) + 20
    assert stats["usage_cached"] == 80
    assert stats["usage_reasoning"] == 20
    assert stats["routes"]["chat"] == 23
    assert stats["routes"]["embeddings"] == 5
    assert stats["statuses"] == {"200": 27, "500": 1}
    assert stats["connections_accepted"] == 28
    assert stats["streams_started"] == 22
    assert stats["streams_finished"] == 21
    assert stats["streams_broken"] == 1
    assert stats["max_in_flight"] == 1
    mock.control("reset", "")
    assert mock.stats()["served"] == 0
    assert mock.control("requests") == []


def test_usage_counts_only_once_it_was_really_written(mock):
    body = {"model": "m", "stream": True, "stream_options": USAGE,
            "mock": "tokens=2,prompt=5,tail=3600s"}
    with mock.send(body) as sock:
        read_until(sock, b" sea")
    mock.wait_stats(streams_cut=1, in_flight=0, usage_answers=0,
                    usage_prompt=0)
    big = {**body, "mock": "tokens=2000,size=10000,prompt=5"}
    with mock.send(big):
        mock.wait_stats(in_flight=1)
    mock.wait_stats(streams_cut=2, in_flight=0, usage_answers=0)


def test_many_streams_at_once_are_all_in_flight(mock):
    body = {"model": "m", "stream": True, "stream_options": USAGE,
            "mock": "tokens=3,prompt=1,ttft=300,interval=5"}
    socks = [mock.send(body) for _ in range(200)]
    mock.wait_stats(max_in_flight=200)
    for sock in socks:
        a = Answer(sock)
        assert a.end == "whole" and len(a.words()) == 3
        sock.close()
    mock.wait_stats(in_flight=0, streams_finished=200, usage_prompt=200,
                    usage_completion=600, connections_open=0)


def test_threads_are_counted_together():
    mock = Mock("--threads", "3")
    try:
        for _ in range(60):
            assert mock.ask("tokens=2,prompt=1").status == 200
        mock.wait_stats(served=60, usage_completion=120, connections_open=0,
                        in_flight=0, answers_finished=60)
        mock.control("set", "listen=off")
        with pytest.raises(ConnectionRefusedError):
            mock.connect()
        mock.control("set", "listen=on")
        assert mock.ask().status == 200
    finally:
        mock.stop()


def test_requests_are_logged_as_they_came(mock):
    body = b'{"model":"m", "n": 1.0, "x":"\xc3\xa9", "mock":"tokens=2"}'
    with mock.send(body, "/v1/chat/completions?a=b",
                   ["X-Two: 1", "x-two:  2 "]) as sock:
        Answer(sock)
    entry, = mock.control("requests")
    assert entry["method"] == "POST"
    assert entry["target"] == "/v1/chat/completions?a=b"
    assert entry["headers"] == [
        ["Host", "mock"], ["X-Two", "1"], ["x-two", "2"],
        ["Content-Length", str(len(body))]]
    assert entry["body"].encode() == body
    assert entry["body_sha256"] == hashlib.sha256(body).hexdigest()
    assert entry["body_bytes"] == len(body)
    assert entry["served"]["status"] == 200
    assert entry["served"]["end"] == "finished"
    assert entry["served"]["usage_sent"] is True


def test_the_log_keeps_the_last_thousand(mock):
    one = request("/v1/embeddings", {"model": "m", "input": "x"})
    with mock.connect() as sock:
        for _ in range(1005):
            sock.sendall(one)
            Answer(sock)
    log = mock.control("requests")
    assert len(log) == 1000
    assert all(e["served"]["end"] == "finished" for e in log)


# ---- TLS and the process --------------------------------------------------

def test_tls_serves_streams_and_breaks_them(tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
         "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", key, "-out", cert], check=True, capture_output=True)
    mock = Mock("--tls-cert", cert, "--tls-key", key)
    context = ssl.create_default_context(cafile=str(cert))
    connect = mock.connect
    mock.connect = lambda port=None: context.wrap_socket(
        connect(port), server_hostname="127.0.0.1",
        suppress_ragged_eofs=False)
    try:
        a = mock.ask("tokens=300,size=2000,interval=100us", stream=True,
                     stream_options=USAGE)
        assert a.end == "whole" and len(a.words()) == 300
        assert mock.ask("size=3000000").status == 200
        # Some releases of Python's ssl tell a missing close_notify as an
        # error, others as a plain end: the stream is short in both.
        try:
            a = mock.ask("fault=close_mid,head=nolength", stream=True)
        except ssl.SSLEOFError:
            pass
        else:
            assert b"[DONE]" not in a.body
        assert mock.ask("head=nolength").end == "eof"
        assert mock.stats()["usage_answers"] == 3
    finally:
        mock.stop()


def test_sigterm_ends_it_at_once_with_0():
    mock = Mock()
    with mock.send({"model": "m", "mock": "fault=hang_before_head"}):
        mock.wait_stats(in_flight=1)
        assert mock.stop() == 0


def test_wrong_options_end_with_2():
    for options in ([], ["--listen", "127.0.0.1:0", "--set", "x=1"],
                    ["--listen", "127.0.0.1:0", "--tls-cert", "x"]):
        done = subprocess.run([BINARY, *options], capture_output=True)
        assert done.returncode == 2
