"""What becomes of a request whose model server fails: a plain status before the
answer has begun, an error inside the stream after that, never an answer that
looks whole and is not.  And one line in the ledger, whatever it was."""

import contextlib
import gzip
import json
import threading
import time

import pytest

from dialects import (ANTHROPIC, CHAT, WORDS, assert_says, new_lines, results)
from harness import Mock, basic_config, certificate, wait_until
from scripted import (Scripted, closed_port, deaf_port, read_request, reset,
                      wait_for_end)

LIMIT_S = 0.4  # of the impatient upstreams
PLAIN, STREAM = False, True

GONE = "upstream_unavailable"
LATE = "upstream_timeout"


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def other_tls(tmp_path_factory):
    """A certificate for somebody else."""
    return certificate(tmp_path_factory.mktemp("other"), "elsewhere.test")


@pytest.fixture(scope="module")
def servers(tls, other_tls):
    """Upstreams that do not get as far as HTTP."""
    with contextlib.ExitStack() as stack:
        def scripted(*args, **options):
            server = Scripted(*args, **options)
            stack.callback(server.stop)
            return server
        yield {
            "refused": f"http://127.0.0.1:{stack.enter_context(closed_port())}",
            "deaf": f"http://127.0.0.1:{stack.enter_context(deaf_port())}",
            "mute": scripted(wait_for_end).tls_url,
            "no_tls": scripted(speak_plainly).tls_url,
            "resets": scripted(reset).tls_url,
            "untrusted": scripted(wait_for_end, tls).named_url,
            "wrong_name": scripted(wait_for_end, other_tls).named_url,
        }


def speak_plainly(conn):
    conn.recv(65536)
    conn.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture(scope="module")
def config(mock_server, servers, other_tls):
    config = basic_config(mock_server)
    # With one place, a place that is lost is seen by the next request.
    config["upstreams"]["mock"]["max_inflight"] = 1
    config["upstreams"]["quick"] = {
        "url": mock_server.url, "max_inflight": 1,
        "timeouts": {"first_token": f"{LIMIT_S * 1000:.0f}ms",
                     "gap": f"{LIMIT_S * 1000:.0f}ms", "idle": "50ms"}}
    for name, url in servers.items():
        config["upstreams"][name] = {
            "url": url, "max_inflight": 1,
            "timeouts": {"connect": f"{LIMIT_S * 1000:.0f}ms"}}
    config["upstreams"]["wrong_name"]["ca_file"] = str(other_tls[0])
    for name in ("quick", *servers):
        config["models"][name] = {"routes": [{"to": name, "model": "m"}]}
    return config


def both(rows):
    """Each row in both dialects, named by its sentence."""
    return pytest.mark.parametrize(
        "dialect, row",
        [pytest.param(d, r, id=f"{r[0]}-{d.name}")
         for r in rows for d in (CHAT, ANTHROPIC)])


def ask(gateway, dialect, mock="", fields=(), **members):
    return gateway.send(dialect.request(
        gateway.keys["alice"], mock, fields, **members))


def assert_place_is_free(gateway, model="m"):
    """The next request gets the only place."""
    reply = gateway.chat("tokens=2", gateway.keys[gateway.PROBE], model=model)
    assert reply.status == 200, reply


# --- no connection -----------------------------------------------------------

# The upstream, the status, the error, the attempt, the end, a word of the text.
UNREACHABLE = [
    ("refused", 502, GONE, "connect", "connect_error", "refused"),
    ("deaf", 504, LATE, "connect_timeout", "timeout", "took no connection"),
    ("mute", 504, LATE, "connect_timeout", "timeout", "took no connection"),
    ("no_tls", 502, GONE, "connect", "connect_error", "could not be reached"),
    ("resets", 502, GONE, "connect", "connect_error", "could not be reached"),
    ("untrusted", 502, GONE, "connect", "connect_error", "certificate"),
    ("wrong_name", 502, GONE, "connect", "connect_error", "mismatch"),
]


@both(UNREACHABLE)
def test_a_server_that_cannot_be_reached_costs_nothing(gateway, dialect, row):
    model, status, code, result, end, word = row
    for is_stream in (PLAIN, STREAM):
        begun = time.monotonic()
        reply = ask(gateway, dialect, model=model, stream=is_stream)
        took = time.monotonic() - begun
        assert_says(dialect, reply, status, code)
        assert word in reply.json()["error"]["message"], reply
        if end == "timeout":
            assert LIMIT_S <= took < LIMIT_S + 5, took
    for line in new_lines(gateway, 2):
        assert (line["end"], line["usage_source"], results(line)) == \
            (end, "none", f"{model}:{result}"), line
        assert line["prompt_tokens"] == line["completion_tokens"] == 0


# --- no answer ---------------------------------------------------------------

# A sentence, directives, streamed, the status, the error, the attempt, the end,
# where the counts come from: a server that was given a request and did not
# refuse it may have worked, and may send a bill.
BEFORE_AN_ANSWER = [
    ("silence instead of an answer", "fault=hang_before_head", PLAIN,
     504, LATE, "timeout", "timeout", "estimated"),
    ("silence instead of a stream", "fault=hang_before_head", STREAM,
     504, LATE, "timeout", "timeout", "estimated"),
    ("a stream's head is no first token", "fault=hang_after_head", STREAM,
     504, LATE, "timeout", "timeout", "estimated"),
    ("a stream's first events are no first token", "early=2,ttft=60s", STREAM,
     504, LATE, "timeout", "timeout", "estimated"),
    ("an answer's head is no first token", "fault=hang_after_head", PLAIN,
     504, LATE, "timeout", "timeout", "estimated"),
    ("a reset instead of an answer", "fault=reset_before_head", PLAIN,
     502, GONE, "reset", "upstream_reset", "estimated"),
    ("a reset instead of a stream", "fault=reset_before_head", STREAM,
     502, GONE, "reset", "upstream_reset", "estimated"),
    ("an end instead of an answer", "fault=close_before_head", PLAIN,
     502, GONE, "reset", "upstream_reset", "estimated"),
    ("an end instead of a stream", "fault=close_before_head", STREAM,
     502, GONE, "reset", "upstream_reset", "estimated"),
    ("an end before a stream's content", "fault=role_then_close", STREAM,
     502, GONE, "reset", "upstream_reset", "estimated"),
    ("two lengths that differ", "fault=two_cl", PLAIN,
     502, GONE, "invalid", "upstream_invalid", "estimated"),
    ("two lengths that differ, in a stream", "fault=two_cl", STREAM,
     502, GONE, "invalid", "upstream_invalid", "estimated"),
    ("a length and chunks", "fault=cl_and_te", PLAIN,
     502, GONE, "invalid", "upstream_invalid", "estimated"),
    ("a length and chunks, in a stream", "fault=cl_and_te", STREAM,
     502, GONE, "invalid", "upstream_invalid", "estimated"),
    ("a coding below the chunks", "fault=te_gzip", PLAIN,
     502, GONE, "invalid", "upstream_invalid", "estimated"),
    ("a coding below a stream's chunks", "fault=te_gzip", STREAM,
     502, GONE, "invalid", "upstream_invalid", "estimated"),
    ("status 99", "fault=bad_status:99", PLAIN,
     502, GONE, "invalid", "upstream_invalid", "estimated"),
    ("status 1000", "fault=bad_status:1000", PLAIN,
     502, GONE, "invalid", "upstream_invalid", "estimated"),
    ("status 600", "fault=bad_status:600", PLAIN,
     502, GONE, "invalid", "upstream_invalid", "estimated"),
    ("a status in letters", "fault=bad_status:abc", STREAM,
     502, GONE, "invalid", "upstream_invalid", "estimated"),
    ("a change of protocol", "fault=bad_status:101", STREAM,
     502, GONE, "invalid", "upstream_invalid", "estimated"),
    ("a head over 64 KiB", "head=huge", PLAIN,
     502, GONE, "invalid", "upstream_invalid", "estimated"),
    ("10,000 fields", "fault=many_headers", STREAM,
     502, GONE, "invalid", "upstream_invalid", "estimated"),
    ("a NUL in a field", "fault=header_nul", PLAIN,
     502, GONE, "invalid", "upstream_invalid", "estimated"),
    ("a bare CR in a field", "fault=header_cr", STREAM,
     502, GONE, "invalid", "upstream_invalid", "estimated"),
    ("17 interim answers", "interims=17", PLAIN,
     502, GONE, "invalid", "upstream_invalid", "estimated"),
    ("1,000 interim answers", "interims=1000", STREAM,
     502, GONE, "invalid", "upstream_invalid", "estimated"),
    ("a redirect", "fault=redirect", PLAIN,
     502, GONE, "redirect", "upstream_invalid", "none"),
    ("a redirect instead of a stream", "fault=redirect", STREAM,
     502, GONE, "redirect", "upstream_invalid", "none"),
    ("a page instead of a stream", "fault=html", STREAM,
     502, GONE, "error_event", "upstream_error", "estimated"),
    ("a chunk size that is no number", "fault=bad_chunk", STREAM,
     502, GONE, "invalid", "upstream_invalid", "estimated"),
    ("nothing instead of a stream", "fault=empty_body", STREAM,
     502, GONE, "error_event", "upstream_error", "estimated"),
]


@both(BEFORE_AN_ANSWER)
def test_an_answer_that_never_begins_is_a_plain_error(
        gateway, mock, dialect, row):
    sentence, directives, is_stream, status, code, result, end, source = row
    model = "quick" if end == "timeout" else "m"
    reply = ask(gateway, dialect, directives, model=model, stream=is_stream)
    assert_says(dialect, reply, status, code)
    line, = new_lines(gateway, 1)
    assert (line["status"], line["end"], results(line)) == \
        (reply.status, end, f"{'quick' if model == 'quick' else 'mock'}:"
         f"{result}"), line
    # Anthropic's streams begin with counts.
    begins = dialect is ANTHROPIC and is_stream and source == "estimated"
    assert line["usage_source"] in [source] + ["running"] * begins, line
    assert mock.stats()["served"] == 1  # and nobody was asked twice
    assert_place_is_free(gateway, model)


# --- half an answer ----------------------------------------------------------

def bad_chunk(dialect):
    """A stream of one word, and then a chunk size that is no number."""
    event = b'data: {"choices":[{"index":0,"delta":{"content":" tea"}}]}\n\n'
    if dialect.is_anthropic:
        event = (b'event: content_block_delta\ndata: {"type":'
                 b'"content_block_delta","index":0,"delta":{"type":'
                 b'"text_delta","text":" tea"}}\n\n')
    good = (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" %
            (len(event), event))
    return good, b"5x\r\nhello\r\n0\r\n\r\n"


# A sentence, directives, words that arrive, the end.
MID_STREAM = [
    ("silence", "fault=hang_mid,after=3", 3, "timeout"),
    ("a reset", "fault=reset_mid,after=3,interval=5", 3, "upstream_reset"),
    ("no last chunk", "fault=close_mid,after=3", 3, "upstream_reset"),
    ("a length too large", "fault=cl_mismatch_long,tokens=3", 3,
     "upstream_reset"),
    ("a chunk size that is no number", "replay=raw,interval=20", 1,
     "upstream_invalid"),
]


@both(MID_STREAM)
def test_a_stream_that_breaks_off_ends_with_an_error_and_no_end_mark(
        gateway, mock, dialect, row):
    sentence, directives, words, end = row
    model = "quick" if end == "timeout" else "m"
    is_whole_text = "cl_mismatch" in directives
    if "raw" in directives:
        good, bad = bad_chunk(dialect)
        mock.replay(good + bad, is_raw=True)
        directives += f",split={len(good)}"
    replies = gateway.raw(
        dialect.request(gateway.keys["alice"], directives, model=model,
                        stream=True), ["POST"])
    reply, = replies
    assert reply.status == 200 and replies.end == "eof", (reply, replies.end)
    wanted = "".join(f" {w}" for w in WORDS.split()[:words])
    assert dialect.text(reply) == wanted, reply.body
    assert not reply.is_whole, "the framing says that nothing is missing"
    if not is_whole_text:
        assert not dialect.has_end_mark(reply.body), reply.body
        error = dialect.error_event(reply.body)
        assert error and error["message"].endswith("."), reply.body
    line, = new_lines(gateway, 1)
    assert (line["status"], line["end"]) == (200, end), line
    if not is_whole_text:
        assert line["usage_source"] == "estimated", line
        assert line["prompt_tokens"] > 0, line
    assert_place_is_free(gateway, model)


# A sentence, directives, the end.
MID_ANSWER = [
    ("silence", "fault=hang_mid", "timeout"),
    ("a reset", "fault=reset_mid,size=100000", "upstream_reset"),
    ("an end", "fault=close_mid", "upstream_reset"),
    ("an end in a long answer", "fault=close_mid,size=3000000",
     "upstream_reset"),
    ("a length too large", "fault=cl_mismatch_long", "upstream_reset"),
]


@both(MID_ANSWER)
def test_an_answer_that_breaks_off_is_not_made_whole(
        gateway, mock, dialect, row):
    sentence, directives, end = row
    model = "quick" if end == "timeout" else "m"
    replies = gateway.raw(dialect.request(
        gateway.keys["alice"], directives, model=model), ["POST"])
    reply, = replies
    assert reply.status == 200 and not reply.is_whole, reply
    assert b"error" not in reply.body
    line, = new_lines(gateway, 1)
    # Where only the framing is broken, the document and its usage are whole.
    source = "upstream" if "cl_mismatch" in directives else "estimated"
    assert (line["end"], line["usage_source"]) == (end, source), line
    assert line["prompt_tokens"] > 0, line
    assert_place_is_free(gateway, model)


def test_an_error_that_the_server_tells_in_its_stream_is_passed_on(
        gateway, mock):
    for dialect in (CHAT, ANTHROPIC):
        reply = ask(gateway, dialect, "fault=error_mid,after=2", stream=True)
        assert reply.status == 200 and dialect.text(reply) == " tea sea"
        assert dialect.error_event(reply.body), reply.body
    for line in new_lines(gateway, 2):
        assert (line["end"], line["usage_source"]) == \
            ("upstream_error", "estimated"), line
    assert_place_is_free(gateway)


# --- odd, and legal ----------------------------------------------------------

# A sentence, directives.
LEGAL = [
    ("no reason phrase", "fault=no_reason"),
    ("103 Early Hints first", "head=continue103"),
    ("16 interim answers", "interims=16"),
    ("HTTP/1.0 to the end of the connection", "head=http10"),
    ("no length, to the end of the connection", "head=nolength"),
    ("chunk extensions", "fault=chunk_ext"),
    ("trailers", "fault=trailers"),
]


@both(LEGAL)
def test_what_is_odd_but_legal_is_served_and_counted(
        gateway, mock, dialect, row):
    for is_stream in (PLAIN, STREAM):
        reply = ask(gateway, dialect, row[1] + ",tokens=5,prompt=70",
                    stream=is_stream)
        assert reply.status == 200 and reply.is_whole, reply
        assert dialect.text(reply) == " tea sea sun owl oak", reply
        assert not is_stream or dialect.has_end_mark(reply.body)
        assert b"trailer" not in reply.body
    for line in new_lines(gateway, 2):
        assert (line["end"], line["usage_source"], line["prompt_tokens"],
                line["completion_tokens"]) == ("ok", "upstream", 70, 5), line
    assert_place_is_free(gateway)


def test_102_and_103_before_the_answer_are_passed_over(gateway, mock):
    answer = json.dumps({
        "choices": [{"index": 0, "message": {"content": " hello"}}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 2}}).encode()
    mock.replay(
        b"HTTP/1.1 102 Processing\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(answer), answer), is_raw=True)
    reply = ask(gateway, CHAT, "replay=raw,split=7")
    assert (reply.status, reply.body) == (200, answer), reply
    assert reply.header("Link") is None
    line, = new_lines(gateway, 1)
    assert (line["usage_source"], line["prompt_tokens"],
            line["completion_tokens"]) == ("upstream", 11, 2)


def test_one_huge_chunk_is_passed_on_as_it_comes(gateway, mock):
    before = gateway.rss_bytes()
    with gateway.connect(["POST"]) as c:
        c.send(CHAT.request(gateway.keys["alice"],
                            "fault=slow_chunk,tokens=16", stream=True))
        c.until(lambda c: len(c.body_so_far()) > 600_000)
        assert mock.stats()["answers_finished"] == 0, "it was held back"
        reply = c.reply()
    assert len(reply.body) > 8 << 20 and CHAT.has_end_mark(reply.body)
    # One event of half a megabyte may wait for its end, the chunk may not.
    assert max(map(len, reply.chunks)) < 2 << 20
    assert gateway.rss_bytes() - before < 16 << 20
    line, = new_lines(gateway, 1)
    assert (line["end"], line["usage_source"]) == ("ok", "upstream"), line


@pytest.mark.parametrize("dialect", [CHAT, ANTHROPIC],
                         ids=lambda d: d.name)
def test_a_204_has_no_body_and_its_connection_is_not_used_again(
        gateway, mock, dialect):
    reply = ask(gateway, dialect, "fault=body_on_204")
    assert (reply.status, reply.body) == (204, b""), reply
    assert reply.header("Content-Length") is None
    assert ask(gateway, dialect, "tokens=2").status == 200
    assert mock.stats()["connections_accepted"] == 2
    assert new_lines(gateway, 2)[0]["status"] == 204


def test_a_304_has_no_body(gateway, mock):
    mock.replay(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello",
                is_raw=True)
    with gateway.connect(["POST", "POST"]) as c:
        c.send(CHAT.request(gateway.keys["alice"], "replay=raw"))
        reply = c.reply()
        # Never relayed as it is: nobody asked for a comparison.
        assert reply.status in (304, 502), reply
        if not reply.closes:
            c.send(CHAT.request(gateway.keys["alice"], "tokens=2"))
            assert CHAT.text(c.reply()) == " tea sea"
    assert_place_is_free(gateway)


# A sentence, directives: answers that are whole and say no usage.
NO_USAGE = [
    ("a page of HTML", "fault=html"),
    ("an empty body", "fault=empty_body"),
    ("an empty object", "fault=empty_json"),
    ("an answer without usage", "fault=no_usage"),
    ("usage of only zeros", "fault=zero_usage"),
    ("a coding that nobody asked for", "fault=wrong_encoding"),
]


@both(NO_USAGE)
def test_an_answer_without_usage_is_estimated_and_never_free(
        gateway, mock, dialect, row):
    reply = ask(gateway, dialect, row[1] + ",tokens=16")
    assert reply.status == 200 and reply.is_whole, reply
    line, = new_lines(gateway, 1)
    assert (line["status"], line["usage_source"]) == (200, "estimated"), line
    assert line["prompt_tokens"] > 0, line


def test_usage_in_the_body_of_an_error_is_recorded(gateway, mock):
    reply = ask(gateway, CHAT, "status=400,fault=error_usage")
    assert reply.status == 400 and b"told to fail" in reply.body
    line, = new_lines(gateway, 1)
    assert (line["status"], line["usage_source"], line["prompt_tokens"],
            line["completion_tokens"]) == (400, "upstream", 7, 3), line


# --- compressed all the same -------------------------------------------------

@pytest.mark.parametrize("is_stream", [PLAIN, STREAM],
                         ids=["plain", "stream"])
def test_a_compressed_answer_is_passed_as_it_came_and_counted(
        gateway, mock, is_stream):
    reply = ask(gateway, CHAT, "fault=gzip,tokens=4,prompt=90",
                stream=is_stream)
    assert reply.header("Content-Encoding") == "gzip"
    reply.body = gzip.decompress(reply.body)
    assert CHAT.text(reply) == " tea sea sun owl"
    line, = new_lines(gateway, 1)
    assert (line["end"], line["usage_source"], line["prompt_tokens"],
            line["completion_tokens"]) == ("ok", "upstream", 90, 4), line
    sent = dict((k.lower(), v) for k, v in mock.last()["headers"])
    assert sent["accept-encoding"] == "identity"


def test_a_truncated_compressed_answer_is_passed_as_it_came(gateway, mock):
    reply = ask(gateway, CHAT, "fault=gzip_cut,tokens=4")
    assert reply.status == 200 and reply.body.startswith(b"\x1f\x8b")
    line, = new_lines(gateway, 1)
    assert line["usage_source"] in ("upstream", "estimated"), line
    assert line["prompt_tokens"] > 0, line


def test_a_compressed_bomb_does_not_fill_the_memory(gateway, mock):
    before = gateway.rss_bytes()
    reply = ask(gateway, CHAT, "fault=gzip_bomb")
    assert reply.status == 200 and len(reply.body) < 1 << 20
    assert gateway.rss_bytes() - before < 16 << 20
    line, = new_lines(gateway, 1)
    assert line["usage_source"] in ("upstream", "estimated"), line
    assert_place_is_free(gateway)


# --- what does not come through ----------------------------------------------

@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(gateway, mock, status):
    elsewhere = Mock("elsewhere")
    try:
        mock.replay(b"HTTP/1.1 %d Moved\r\nLocation: %s/chat/completions\r\n"
                    b"Content-Length: 0\r\n\r\n" %
                    (status, elsewhere.url.encode()), is_raw=True)
        reply = ask(gateway, CHAT, "replay=raw")
        assert_says(CHAT, reply, 502, GONE)
        assert "redirect" in reply.json()["error"]["message"]
        assert reply.header("Location") is None
        elsewhere.assert_untouched()
    finally:
        elsewhere.stop()


@pytest.mark.parametrize("field", [
    "Set-Cookie:session=1", "Via:1.1 someone", "X-Powered-By:a server",
    "openai-organization:their-name", "Alt-Svc:h3", "Strict-Transport-Security"
    ":max-age=1", "Access-Control-Allow-Origin:*", "X-Weir-Upstream:forged",
    "X-Ratelimit-Remaining-Requests:0"])
def test_a_field_of_the_servers_own_is_not_relayed(gateway, mock, field):
    name, _, value = field.partition(":")
    for is_stream in (PLAIN, STREAM):
        reply = ask(gateway, CHAT, f"extra-header={field}", stream=is_stream)
        assert reply.status == 200
        assert value not in [v for k, v in reply.headers
                             if k.lower() == name.lower()], reply.headers
        assert reply.header("Server") is None
        assert not reply.header("X-Request-Id").startswith("mock-")


@pytest.mark.parametrize("field", [
    "anthropic-api-key: k", "x-goog-api-key: k", "OpenAI-Organization: org",
    "OpenAI-Project: p", "X-Amz-Security-Token: t", "X-Amz-Date: 20260101",
    "X-Gateway-User: root", "Tailscale-User-Login: root@example.com",
    "X-Webauth-User: root", "Cookie: a=b", "Proxy-Authorization: Basic eDp5",
    "X-Forwarded-For: 127.0.0.9", "Forwarded: for=127.0.0.9"])
def test_credentials_and_names_stay_here(gateway, mock, field):
    assert ask(gateway, CHAT, "tokens=1", fields=[field]).status == 200
    name = field.partition(":")[0].lower()
    sent = mock.last()["headers"]
    assert name not in [k.lower() for k, _ in sent], sent
    assert "sk-weir-" not in json.dumps(sent)


# --- a connection that is kept -----------------------------------------------

@pytest.fixture
def kept(start, mock_server, mock):
    """A gateway with one worker that keeps its connections for long."""
    config = basic_config(mock_server)
    config["server"]["workers"] = 1
    config["upstreams"]["mock"] = {"url": mock_server.url, "max_inflight": 1,
                                   "timeouts": {"idle": "10s"}}
    gateway = start(config)
    mock.reset()
    yield gateway
    gateway.stop()


def test_a_connection_is_used_again(kept, mock):
    for i in range(20):
        reply = ask(kept, CHAT, "tokens=3", stream=i % 2 == 0)
        assert CHAT.text(reply) == " tea sea sun"
    assert mock.stats()["connections_accepted"] == 1


def test_bytes_behind_an_answer_are_never_the_next_answer(kept, mock):
    for is_stream in (PLAIN, STREAM):
        for _ in range(5):
            reply = ask(kept, CHAT, "fault=garbage_after,tokens=3",
                        stream=is_stream)
            assert CHAT.text(reply) == " tea sea sun", reply
    poison = (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
              b"Content-Length: 2\r\n\r\n{}")
    mock.replay(poison + poison, is_raw=True)
    assert ask(kept, CHAT, "replay=raw").body == b"{}"
    assert CHAT.text(ask(kept, CHAT, "tokens=3")) == " tea sea sun"
    assert {x["end"] for x in new_lines(kept, 12)} == {"ok"}


def test_bytes_that_come_to_an_idle_connection_end_it(start):
    """The server speaks again after its answer, of its own accord."""
    answers = []
    speak = threading.Event()

    def script(conn):
        read_request(conn)
        body = b'{"choices":[],"n":%d}' % len(answers)
        answers.append(conn)
        whole = (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                 b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        conn.sendall(whole)
        if len(answers) == 1:
            assert speak.wait(20)
            conn.sendall(whole.replace(b'"n":0', b'"n":9'))
        wait_for_end(conn)

    server = Scripted(script)
    config = basic_config(server)
    config["server"]["workers"] = 1
    config["upstreams"]["mock"]["timeouts"] = {"idle": "10s"}
    gateway = start(config)
    try:
        assert ask(gateway, CHAT).json()["n"] == 0
        before = len(gateway.fds())
        speak.set()
        wait_until(lambda: len(gateway.fds()) < before,
                   what="the connection is closed")
        assert ask(gateway, CHAT).json()["n"] == 1
        gateway.stop()
    finally:
        server.stop()


@pytest.mark.parametrize("dialect", [CHAT, ANTHROPIC], ids=lambda d: d.name)
@pytest.mark.parametrize("is_stream", [PLAIN, STREAM],
                         ids=["plain", "stream"])
def test_a_kept_connection_that_was_dropped_is_asked_once_more_elsewhere(
        kept, mock, dialect, is_stream):
    mock.set("drop_reused=1")
    for _ in range(6):
        reply = ask(kept, dialect, "tokens=3,prompt=50", stream=is_stream)
        assert dialect.text(reply) == " tea sea sun", reply
    stats = mock.wait_stats(served=6)
    assert stats["dropped_reused"] >= 1, "no connection was used again"
    lines = new_lines(kept, 6)
    assert [results(x) for x in lines] == ["mock:ok"] * 6
    assert sum(x["prompt_tokens"] for x in lines) == stats["usage_prompt"]


def test_a_fresh_connection_that_drops_the_request_is_not_asked_again(
        kept, mock):
    mock.set("fault=close_before_head")
    assert_says(CHAT, ask(kept, CHAT), 502, GONE)
    assert mock.wait_stats(served=1)["connections_accepted"] == 1
    line, = new_lines(kept, 1)
    assert results(line) == "mock:reset"


def test_a_server_that_drops_again_and_again_gets_one_more_try(kept, mock):
    """Also the fresh connection breaks: two requests came, no more."""
    assert ask(kept, CHAT, "tokens=1").status == 200
    mock.set("fault=close_before_head")
    assert_says(CHAT, ask(kept, CHAT), 502, GONE)
    assert mock.wait_stats(served=3)["answers_broken"] == 2
    assert [results(x) for x in new_lines(kept, 2)] == \
        ["mock:ok", "mock:reset"]


def test_a_connection_that_the_server_closed_unseen_costs_nobody_anything(
        kept, mock):
    mock.set("idle_close=1")
    for i in range(60):
        reply = ask(kept, CHAT, "tokens=2", stream=i % 3 == 0)
        assert reply.status == 200 and CHAT.text(reply) == " tea sea", reply
    assert mock.wait_stats(served=60)
    assert {results(x) for x in new_lines(kept, 60)} == {"mock:ok"}


# --- TLS ---------------------------------------------------------------------

# Whether the body has a length, whether close_notify comes, the end.
TLS_ENDS = [
    ("a body to the end, and close_notify", False, True, "ok"),
    ("a body to the end, cut", False, False, "upstream_reset"),
    ("a body with a length, and close_notify", True, True, "ok"),
    ("a body with a length, cut behind it", True, False, "ok"),
]


@pytest.mark.parametrize("row", TLS_ENDS, ids=[r[0] for r in TLS_ENDS])
def test_only_close_notify_ends_a_body_under_tls(start, tls, row):
    sentence, has_length, says_close, end = row
    answer = json.dumps({
        "choices": [{"index": 0, "message": {"content": " hello"}}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 2}}).encode()

    def script(conn):
        read_request(conn)
        length = b"Content-Length: %d\r\n" % len(answer) if has_length else b""
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" +
                     length + b"Connection: close\r\n\r\n" + answer)
        if says_close:
            conn.unwrap()

    server = Scripted(script, tls)
    config = basic_config(server)
    config["upstreams"]["mock"] = {"url": server.named_url,
                                   "ca_file": str(tls[0]), "max_inflight": 1}
    gateway = start(config)
    try:
        reply, = gateway.raw(CHAT.request(
            gateway.keys["alice"], fields=["Connection: close"]), ["POST"])
        assert reply.status == 200 and reply.body == answer, reply
        assert reply.is_whole == (end == "ok"), reply
        line, = new_lines(gateway, 1)
        assert line["end"] == end, line
        assert line["prompt_tokens"] > 0
        gateway.stop()
    finally:
        server.stop()


def test_a_stream_under_tls_is_the_same_as_without(start, tls, mock_server):
    secure = Mock("secure", tls=tls)
    config = basic_config(secure)
    config["upstreams"]["mock"]["ca_file"] = str(tls[0])
    config["upstreams"]["mock"]["url"] = \
        secure.url.replace("127.0.0.1", "localhost")
    config["upstreams"]["plain"] = {"url": mock_server.url}
    config["models"]["plain"] = {"routes": [{"to": "plain", "model": "m"}]}
    gateway = start(config)
    try:
        for is_stream in (PLAIN, STREAM):
            texts = [CHAT.text(ask(
                gateway, CHAT, f"tokens=3000,size={4 if is_stream else 80000}",
                model=m, stream=is_stream)) for m in ("m", "plain")]
            assert texts[0] == texts[1] and len(texts[0]) > 10000
        gateway.stop()
    finally:
        secure.stop()
