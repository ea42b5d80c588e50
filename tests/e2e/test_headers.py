"""What stands in a head: its grammar, whose key it shows, and what of it goes
on, in either direction."""

import json
import re
import time

import pytest

from harness import (assert_error, assert_refused, basic_config, chat_body,
                     head, post)

UPSTREAM_KEY = "upstream-secret-5d41402abc4b2a76"
BAD = "400 bad_request"
TOO_LARGE = "431 headers_too_large"
AMBIGUOUS = "400 ambiguous_credentials"


@pytest.fixture(scope="module")
def config(mock_server, tmp_path_factory):
    secret = tmp_path_factory.mktemp("secret") / "key"
    secret.write_text(UPSTREAM_KEY + "\n")
    config = basic_config(mock_server)
    config["upstreams"]["mock"]["api_key"] = "${file:%s}" % secret
    return config


@pytest.fixture(autouse=True)
def upstream_key_is_secret(gateway):
    gateway.secrets.add(UPSTREAM_KEY)


# --- grammar -----------------------------------------------------------------

# A sentence, raw lines of a head, the error.
LINES = [
    ("a bare CR in a value", b"X-A: a\rb\r\n", BAD),
    ("a bare CR before the line end", b"X-A: a\r\r\n", BAD),
    ("a bare CR and a whole field", b"X-A: a\rX-B: b\r\n", BAD),
    ("a bare LF as a line end", b"X-A: a\n", BAD),
    ("a bare LF and a whole field", b"X-A: a\nX-B: b\r\n", BAD),
    ("a bare LF as the empty line", b"X-A: a\r\n\n", BAD),
    ("a NUL in a value", b"X-A: a\0b\r\n", BAD),
    ("a DEL in a value", b"X-A: a\x7fb\r\n", BAD),
    ("a vertical tab in a value", b"X-A: a\x0bb\r\n", BAD),
    ("a line folded with a blank", b"X-A: a\r\n b\r\n", BAD),
    ("a line folded with a tab", b"X-A: a\r\n\tb\r\n", BAD),
    ("a blank before the first field", b" X-A: a\r\n", BAD),
    ("no name", b": v\r\n", BAD),
    ("no colon", b"X-A\r\n", BAD),
    ("a blank before the colon", b"X-A : a\r\n", BAD),
    ("a tab before the colon", b"X-A\t: a\r\n", BAD),
    ("a blank in a name", b"X A: a\r\n", BAD),
    ("a NUL in a name", b"X\0A: a\r\n", BAD),
    ("a raw byte of 8 bits in a name", b"X-\xc4: a\r\n", BAD),
    ("a slash in a name", b"X/A: a\r\n", BAD),
    ("a quoted name", b'"X-A": a\r\n', BAD),
    ("a value of 100 KiB", b"X-A: " + b"a" * 102400 + b"\r\n", TOO_LARGE),
    ("a name of 100 KiB", b"a" * 102400 + b": x\r\n", TOO_LARGE),
    ("a head of 32 KiB and more", b"X-A: a\r\n" * 4096, TOO_LARGE),
    ("101 fields with Host and key", b"X-A: a\r\n" * 99, TOO_LARGE),
    ("1,500 small fields", b"X: 1\r\n" * 1500, TOO_LARGE),
    ("10,000 fields", b"X: 1\r\n" * 10000, TOO_LARGE),
]


@pytest.mark.parametrize("lines, error", [r[1:] for r in LINES],
                         ids=[r[0] for r in LINES])
def test_a_damaged_or_huge_head_is_refused(gateway, mock, lines, error):
    key = gateway.keys["alice"]
    for data in (post(chat_body(), key), head(key=key)):
        first, _, rest = data.partition(b"\r\n")
        assert_refused(gateway, mock, first + b"\r\n" + lines + rest, error)
        mock.reset()


# A sentence and lines that are fine.
FINE_LINES = [
    ("98 more fields", b"X-A: a\r\n" * 98),
    ("an empty value", b"X-A:\r\nX-B: \r\nX-C:\t\r\n"),
    ("no blank behind the colon", b"X-A:a\r\n"),
    ("blanks and tabs around a value", b"X-A: \t a \t \r\n"),
    ("bytes of 8 bits in a value", b"X-A: Stra\xdfe \xff\r\n"),
    ("every character of a name", b"!#$%&'*+-.^_`|~09AZaz: x\r\n"),
    ("a name in another case", b"cOnTeNt-TyPe: application/json\r\n"),
    ("a range of 1,000 pieces", b"Range: bytes=" + b",".join(
        b"%d-%d" % (i, i) for i in range(1000)) + b"\r\n"),
]


@pytest.mark.parametrize("lines", [r[1] for r in FINE_LINES],
                         ids=[r[0] for r in FINE_LINES])
def test_a_sound_head_is_read(gateway, mock, lines):
    first, _, rest = head(key=gateway.keys["alice"]).partition(b"\r\n")
    reply = gateway.send(first + b"\r\n" + lines + rest)
    assert reply.status == 200 and b'"id":"m"' in reply.body


# --- credentials -------------------------------------------------------------

def credentials(gateway, fields, path="/v1/chat/completions"):
    """A POST with these credentials; $A and $B are alice's and bob's key."""
    fields = [f.replace("$A", gateway.keys["alice"])
              .replace("$B", gateway.keys["bob"]) for f in fields]
    return post(chat_body("tokens=2"), path=path,
                fields=[*fields, "Connection: close"])


# A sentence, the credentials, the error.
AMBIGUOUS_KEYS = [
    ("two keys in two Authorizations",
     ["Authorization: Bearer $A", "Authorization: Bearer $B"], AMBIGUOUS),
    ("one key in two Authorizations",
     ["Authorization: Bearer $A", "Authorization: Bearer $A"], AMBIGUOUS),
    ("a key and a password",
     ["Authorization: Bearer $A", "Authorization: Basic YTpi"], AMBIGUOUS),
    ("two keys by two names", ["Authorization: Bearer $A", "x-api-key: $B"],
     AMBIGUOUS),
    ("two keys by two other names", ["api-key: $A", "x-api-key: $B"],
     AMBIGUOUS),
    ("two keys by one name", ["x-api-key: $A", "x-api-key: $B"], AMBIGUOUS),
    ("a key and a wrong one", ["Authorization: Bearer $A", "x-api-key: no"],
     AMBIGUOUS),
    ("a wrong one and a key", ["Authorization: Bearer no", "api-key: $A"],
     AMBIGUOUS),
    ("a key and the beginning of it",
     ["Authorization: Bearer $A", "api-key: sk-weir-"], AMBIGUOUS),
]


@pytest.mark.parametrize("fields, error", [r[1:] for r in AMBIGUOUS_KEYS],
                         ids=[r[0] for r in AMBIGUOUS_KEYS])
def test_two_credentials_are_refused_and_nobody_is_charged(
        gateway, mock, fields, error):
    assert_refused(gateway, mock, credentials(gateway, fields), error)
    assert gateway.lines() == []


# A sentence and one credential.
ONE_KEY = [
    ("Bearer", ["Authorization: Bearer $A"]),
    ("the scheme in lower case", ["authorization: bearer $A"]),
    ("by Anthropic's name", ["x-api-key: $A"]),
    ("by Azure's name", ["api-key: $A"]),
    ("by every name", ["Authorization: Bearer $A", "x-api-key: $A",
                       "api-key: $A"]),
    ("beside an empty one", ["Authorization: Bearer $A", "x-api-key:"]),
    ("beside an empty Authorization", ["Authorization: Bearer",
                                       "x-api-key: $A"]),
    ("without a scheme", ["Authorization: $A"]),
]


@pytest.mark.parametrize("fields", [r[1] for r in ONE_KEY],
                         ids=[r[0] for r in ONE_KEY])
def test_the_same_key_is_served_and_charged_once(gateway, mock, fields):
    replies = gateway.raw(credentials(gateway, fields), ["POST"])
    assert replies.statuses == [200]
    line, = gateway.lines()
    assert line["user"] == "alice" and line["completion_tokens"] == 2
    assert mock.stats()["served"] == 1


# A sentence and what is no key.
NO_KEYS = [
    ("nothing", []),
    ("an empty Authorization", ["Authorization:"]),
    ("Bearer alone", ["Authorization: Bearer"]),
    ("two blanks behind Bearer", ["Authorization: Bearer  $A"]),
    ("a password", ["Authorization: Basic YTpi"]),
    ("a key cut short", ["Authorization: Bearer sk-weir-abc"]),
    ("another server's key", ["Authorization: Bearer sk-proj-1234"]),
    ("a key of 20 KB", ["Authorization: Bearer " + "a" * 20000]),
    ("a key with something behind it", ["Authorization: Bearer $A,x"]),
    ("a key with a blank behind it and more",
     ["Authorization: Bearer $A $B"]),
    ("a key in upper case", ["Authorization: Bearer SK-WEIR-ABC"]),
    ("a cookie", ["Cookie: key=$A"]),
    ("a proxy's credential", ["Proxy-Authorization: Bearer $A"]),
    ("an identity of Tailscale's", ["Tailscale-User-Login: alice"]),
    ("an identity of a web proxy's", ["X-Webauth-User: alice"]),
    ("an identity of a gateway's", ["X-Gateway-User: alice"]),
]


@pytest.mark.parametrize("fields", [r[1] for r in NO_KEYS],
                         ids=[r[0] for r in NO_KEYS])
def test_what_is_no_key_lets_nobody_in(gateway, mock, fields):
    reply, = gateway.raw(credentials(gateway, fields), ["POST"])
    # The same address shows many wrong keys here, and may be told to stop.
    assert_error(reply, {"401 invalid_api_key", "429 rate_limit_exceeded"},
                 gateway)
    mock.assert_untouched()
    gateway.assert_serves()
    assert gateway.lines() == []


# --- what goes on to the upstream --------------------------------------------

def upstream_fields(mock):
    """The fields of the last request, by name in lower case; none twice."""
    fields = [(k.lower(), v) for k, v in mock.last()["headers"]]
    assert len(dict(fields)) == len(fields), fields
    return dict(fields)


def test_the_upstream_sees_our_own_fields_and_our_key_alone(gateway, mock):
    assert gateway.chat().status == 200
    assert upstream_fields(mock) == {
        "host": f"127.0.0.1:{mock.port}", "content-type": "application/json",
        "accept-encoding": "identity", "content-length":
        str(mock.last()["body_bytes"]),
        "authorization": f"Bearer {UPSTREAM_KEY}"}


# A sentence and a field that must not reach an upstream.
KEPT_HERE = [
    ("OpenAI's organization", "OpenAI-Organization: org-1"),
    ("OpenAI's project", "OpenAI-Project: proj-1"),
    ("a key by Anthropic's other name", "anthropic-api-key: sk-ant-1"),
    ("a key of Google's", "x-goog-api-key: AIza1"),
    ("a cookie", "Cookie: session=1"),
    ("a proxy's credential", "Proxy-Authorization: Basic YTpi"),
    ("a signature's date of Amazon's", "X-Amz-Date: 20260101T000000Z"),
    ("a token of Amazon's", "X-Amz-Security-Token: abc"),
    ("an identity of Tailscale's", "Tailscale-User-Login: alice@x.org"),
    ("an identity of a web proxy's", "X-Webauth-User: alice"),
    ("an identity of a gateway's", "X-Gateway-User: alice"),
    ("who asked", "X-Forwarded-For: 10.0.0.1"),
    ("who asked, in the newer form", "Forwarded: for=10.0.0.1"),
    ("for what host", "X-Forwarded-Host: evil.example"),
    ("for what path", "X-Original-URL: /metrics"),
    ("another path", "X-Rewrite-URL: /metrics"),
    ("another method", "X-HTTP-Method-Override: DELETE"),
    ("what it can decode", "Accept-Encoding: gzip, br, zstd"),
    ("trailers", "TE: trailers"),
    ("a trailer", "Trailer: X-Sum"),
    ("how long to wait", "Keep-Alive: timeout=5"),
    ("a range", "Range: bytes=0-1"),
    ("a condition", "If-None-Match: \"x\""),
    ("whence it comes", "Origin: https://evil.example"),
    ("what the model server should do", "x-mock: tokens=1,fault=reset_mid"),
    ("an id of its own", "X-Request-Id: mine-1"),
]


@pytest.mark.parametrize("field", [r[1] for r in KEPT_HERE],
                         ids=[r[0] for r in KEPT_HERE])
def test_what_is_not_for_the_upstream_stays_here(gateway, mock, field):
    name, _, value = field.partition(": ")
    reply = gateway.chat("tokens=2", fields=[field])
    assert reply.status == 200 and reply.text() == " tea sea"
    seen = upstream_fields(mock)
    assert value not in seen.values(), seen
    if name.lower() != "accept-encoding":
        assert name.lower() not in seen
    assert seen["authorization"] == f"Bearer {UPSTREAM_KEY}"


@pytest.mark.parametrize("field", [
    "Accept: text/event-stream", "User-Agent: agent/1.0 (x)",
    "OpenAI-Beta: responses=v1", "X-Title: a title",
    "X-Stainless-Lang: python", "anthropic-version: 2023-06-01",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"])
def test_what_the_upstream_may_know_is_passed_on(gateway, mock, field):
    name, _, value = field.partition(": ")
    assert gateway.chat(fields=[field]).status == 200
    assert upstream_fields(mock)[name.lower()] == value


def test_a_client_cannot_strip_what_we_add(gateway, mock):
    """Fields that Connection names belong to one hop, but not ours."""
    reply = gateway.chat("tokens=2", fields=[
        "Connection: close, Authorization, X-Forwarded-For, Content-Length,"
        " Host, Content-Type, Accept-Encoding"])
    assert reply.status == 200 and reply.closes
    assert set(upstream_fields(mock)) == {
        "host", "content-type", "accept-encoding", "content-length",
        "authorization"}
    line, = gateway.lines()
    assert line["user"] == "alice"


def test_a_forged_address_opens_nothing(start, mock_server, mock):
    config = basic_config(mock_server)
    config["users"]["alice"]["from"] = ["10.0.0.0/8"]
    gateway = start(config)
    for field in ["X-Forwarded-For: 10.0.0.1", "X-Real-IP: 10.0.0.1",
                  "Forwarded: for=10.0.0.1", "True-Client-IP: 10.0.0.1"]:
        assert_error(gateway.chat(fields=[field]), "403 address_refused")
    mock.assert_untouched()


def test_a_proxy_that_is_trusted_says_who_asks(start, mock_server, mock):
    config = basic_config(mock_server)
    config["server"]["trusted_proxies"] = ["127.0.0.1", "10.9.0.0/16"]
    config["users"]["alice"]["from"] = ["10.0.0.0/16"]
    gateway = start(config)
    for value, status in [
            ("10.0.0.1", 200), ("10.0.0.1, 10.9.0.1", 200),
            ("10.0.0.1, 192.0.2.1", 403), ("192.0.2.1, 10.0.0.1", 200),
            ("192.0.2.1", 403), ("10.0.0.1, nonsense", 403), ("", 403)]:
        reply = gateway.chat(fields=["X-Forwarded-For: " + value])
        assert reply.status == status, value


# --- what an answer says of itself -------------------------------------------

TIMING = re.compile(r"gw;dur=(\d+\.\d), queue;dur=(\d+\.\d), "
                    r"upstream;dur=(\d+\.\d)")


def timing(reply):
    match = TIMING.fullmatch(reply.header("server-timing"))
    assert match, reply
    return tuple(map(float, match.groups()))


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
def test_an_answer_tells_where_its_time_went(gateway, stream):
    begun = time.monotonic()
    reply = gateway.chat("tokens=2,ttft=300ms", stream=stream)
    took = (time.monotonic() - begun) * 1000
    own, queue, upstream = timing(reply)
    assert queue == 0 and 290 <= upstream <= took
    assert own + upstream <= took + 1
    assert own < 250


def test_the_wait_for_a_place_is_told(mock_server, start, mock):
    config = basic_config(mock_server)
    config["upstreams"]["mock"]["max_inflight"] = 1
    gateway = start(config)
    mock.reset()
    with gateway.connect(["POST"]) as first, gateway.connect(["POST"]) as c:
        first.send(post(chat_body("tokens=1,ttft=600ms"),
                        gateway.keys["alice"]))
        mock.wait_stats(in_flight=1)
        c.send(post(chat_body("tokens=1"), gateway.keys["bob"]))
        assert first.reply().status == 200
        own, queue, upstream = timing(c.reply())
        assert 200 <= queue <= 1000, (own, queue, upstream)
        assert own < 250 and upstream < 300, (own, queue, upstream)


def test_a_refusal_of_ours_has_no_timing_of_an_upstream(gateway):
    for reply in (gateway.chat(model="unknown"), gateway.get("/healthz"),
                  gateway.chat("fault=close_before_head")):
        assert reply.header("server-timing") is None, reply
        assert reply.header("x-weir-cost-usd") is None, reply


def test_a_short_answer_tells_its_cost(mock_server, start, mock):
    config = basic_config(mock_server)
    config["prices"] = {"mock": {"mock-model": [
        {"input": "1.740001", "output": "3.48"}]}}
    config["users"]["alice"]["limits"] = {"paid_routes": True}
    config["models"]["free"] = {"routes": [{"to": "other", "model": "x"}]}
    config["upstreams"]["other"] = config["upstreams"]["mock"].copy()
    gateway = start(config)
    mock.reset()
    plain = gateway.chat("tokens=30")
    free = gateway.chat("tokens=30", model="free")
    stream = gateway.chat("tokens=3", stream=True)
    long = gateway.chat(f"size={1 << 20}")
    lines = gateway.lines()
    assert plain.header("x-weir-cost-usd") == lines[0]["cost_usd"]
    assert float(lines[0]["cost_usd"]) > 0
    assert free.header("x-weir-cost-usd") == lines[1]["cost_usd"] == \
        "0.000000000000"
    assert stream.header("x-weir-cost-usd") is None
    assert long.status == 200 and len(long.body) > 1 << 20
    assert long.header("x-weir-cost-usd") is None, "its head went before"


# --- labels ------------------------------------------------------------------

def test_an_id_of_the_clients_is_a_label_and_both_are_charged(gateway, mock):
    for _ in range(2):
        reply = gateway.chat("tokens=2", fields=["X-Request-Id: same"])
        assert reply.header("x-request-id") == "same"
    lines = gateway.lines()
    assert [x["client_request_id"] for x in lines] == ["same"] * 2
    assert len({x["id"] for x in lines}) == 2 and "same" not in {
        x["id"] for x in lines}
    assert [x["completion_tokens"] for x in lines] == [2, 2]


# A sentence, the id that is sent, what the ledger may say.
IDS = [
    ("129 characters", b"a" * 129, "a" * 128),
    ("8 KiB", b"a" * 8192, "a" * 128),
    ("quotes", b'a"b', None),
    ("a backslash", b"a\\b", None),
    ("a blank", b"a b", None),
    ("bytes of 8 bits", b"\xc3\xa4\xff", None),
    ("nothing", b"", None),
    ("markup", b"<script>", "<script>"),
]


@pytest.mark.parametrize("sent, label", [r[1:] for r in IDS],
                         ids=[r[0] for r in IDS])
def test_an_odd_id_is_cut_or_dropped(gateway, sent, label):
    reply = gateway.chat(fields=[b"X-Request-Id: " + sent,
                                 b"X-Session-Id: " + sent,
                                 b"User-Agent: " + sent])
    assert reply.status == 200
    line, = gateway.lines()
    assert line["client_request_id"] == label and line["session"] == label
    assert reply.header("x-request-id") == (label or line["id"])


@pytest.mark.parametrize("value", [b'a"b', b"a\\", b"\x80\xff", b"{}", b"'"])
def test_the_ledger_is_json_whatever_the_agent_is_called(gateway, value):
    gateway.chat(fields=[b"User-Agent: " + value])
    line, = gateway.lines()
    assert json.dumps(line)


# --- models whose names are odd ----------------------------------------------

@pytest.mark.parametrize("name", [
    "gpt\r\nX-Evil: 1", "m\r\n\r\nHTTP/1.1 200 OK", "m\0", "m\n", "\x1b[31m",
    "m" * 100_000, "\u202em", "<script>alert(1)</script>", "../../etc",
    "%s%n", "m\"", "m\\"])
def test_a_model_that_is_not_there_stands_nowhere_unescaped(
        gateway, mock, name):
    reply = gateway.chat(model=name)
    assert_error(reply, {"404 model_not_found", "400 invalid_json"}, gateway)
    assert reply.header("X-Evil") is None
    mock.assert_untouched()
    line, = gateway.lines()
    assert line["model"] is None and line["status"] == reply.status
    log = gateway.log()
    assert "X-Evil" not in log and "\x1b" not in log


# A sentence and a name as it stands in the file, in YAML's double quotes.
ODD_NAMES = [
    ("CR", b"a\\rb"), ("LF", b"a\\nb"), ("NUL", b"a\\0b"),
    ("an escape", b"a\\eb"), ("a bell", b"a\\ab"), ("DEL", b"a\\x7fb"),
    ("invalid UTF-8", b"a\xffb"), ("an overlong slash", b"a\xc0\xafb"),
]


@pytest.mark.parametrize("where", ["model", "alias", "route", "upstream",
                                   "user"])
@pytest.mark.parametrize("odd", [r[1] for r in ODD_NAMES],
                         ids=[r[0] for r in ODD_NAMES])
def test_a_configured_name_with_a_control_byte_is_refused(
        gateway, tmp_path, where, odd):
    names = {w: b"plain" for w in ("model", "alias", "route", "upstream",
                                   "user")}
    names[where] = odd
    names["alias"] = names["alias"].replace(b"plain", b"other")
    path = tmp_path / "weir.yaml"
    path.write_bytes(b"""
version: 1
upstreams: {"%(upstream)b": {url: "http://127.0.0.1:9/v1"}}
models:
  "%(model)b":
    aliases: ["%(alias)b"]
    routes: [{to: "%(upstream)b", model: "%(route)b"}]
users: {"%(user)b": {models: ["*"]}}
""" % {k.encode(): v for k, v in names.items()})
    done = gateway.command("check", "-c", str(path), check=False, text=False)
    assert done.returncode == 3, done
    out = done.stdout + done.stderr
    assert re.search(rb"weir\.yaml:\d+", out), out
    assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", out), out


def test_a_configured_name_may_hold_what_models_are_called(
        start, mock_server, mock):
    config = basic_config(mock_server)
    names = ["org/model", "model:tag", "model@1", "two words", "v1.5-Q4_K"]
    for name in names:
        config["models"][name] = {
            "routes": [{"to": "mock", "model": name + "/there"}]}
    gateway = start(config)
    for name in names:
        reply = gateway.chat(model=name)
        assert reply.status == 200
        assert json.loads(mock.last()["body"])["model"] == name + "/there"
        assert name not in str(upstream_fields(mock))


# --- what comes back ---------------------------------------------------------

@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("field", [
    "Set-Cookie:session=1", "Server:uvicorn", "Via:1.1 proxy",
    "openai-organization:org-1", "Connection:X-Secret", "X-Secret:1",
    "Strict-Transport-Security:max-age=1", "Location:http://evil.example/",
    "Access-Control-Allow-Origin:*", "X-Powered-By:x", "Keep-Alive:timeout=5",
    "x-weir-upstream:forged"])
def test_an_upstreams_own_fields_stay_there(gateway, mock, field, stream):
    name, _, value = field.partition(":")
    reply = gateway.chat(f"tokens=2,extra-header={field}", stream=stream)
    assert reply.status == 200 and reply.text() == " tea sea"
    assert value not in [v for k, v in reply.headers
                         if k.lower() == name.lower()]
    assert not any(k.lower() == "server" for k, _ in reply.headers)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("fault", ["header_nul", "header_cr", "many_headers",
                                   "two_cl", "cl_and_te", "te_gzip",
                                   "bad_status:2x0", "bad_status:99"])
def test_an_answer_that_could_be_understood_twice_is_not_passed_on(
        gateway, mock, fault, stream):
    reply = gateway.chat(f"tokens=2,fault={fault}", stream=stream)
    assert_error(reply, "502 upstream_unavailable", gateway)
    line, = gateway.lines()
    assert line["end"] == "upstream_invalid" and line["status"] == 502


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_an_answer_that_is_compressed_all_the_same_is_still_counted(
        gateway, mock, stream):
    reply = gateway.chat("tokens=3,prompt=7,fault=gzip", stream=stream,
                         fields=["Accept-Encoding: gzip, br"])
    assert reply.status == 200
    assert reply.header("Content-Encoding") == "gzip"
    assert upstream_fields(mock)["accept-encoding"] == "identity"
    line, = gateway.lines()
    assert (line["prompt_tokens"], line["completion_tokens"],
            line["usage_source"]) == (7, 3, "upstream")
