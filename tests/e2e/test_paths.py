"""Only the paths of the route table exist, byte for byte.  Nothing is decoded,
joined or cleaned up on the way, and what is not in the table reaches no one."""

import json
import urllib.parse

import pytest

from harness import (assert_error, assert_refused, basic_config, chat_body,
                     head, post, wait_until)

NAMED = {  # what a name may hold beside letters
    "org/name": "a slash", "name:tag": "a colon", "name@x": "an at sign",
    "two words": "a blank", "v1.5": "a point", "100%": "a percent sign",
    "Straße": "an umlaut", "metrics": "the name of an upstream's page",
}


@pytest.fixture(scope="module")
def config(mock_server):
    config = basic_config(mock_server)
    for name in NAMED:
        config["models"][name] = config["models"]["m"]
    config["upstreams"]["mock"]["kind"] = "vllm"
    config["users"]["carol"] = {"models": ["m"]}
    config["users"]["poor"] = {
        "models": ["*"], "limits": {"requests_per_minute": 0}}
    return config


def is_no_page_of_an_upstream(reply):
    return b"mock" not in reply.body.replace(b"mock-model", b"") and \
        b"# HELP" not in reply.body


NOT_FOUND = "404 unknown_url"
NO_MODEL = "404 model_not_found"
BAD = "400 bad_request"

# A sentence, the target, the error.
NOWHERE = [
    ("the upstream's metrics", b"/metrics", NOT_FOUND),
    ("... under /v1", b"/v1/metrics", NOT_FOUND),
    ("the upstream's tokenizer", b"/tokenize", NOT_FOUND),
    ("the upstream's slots", b"/slots", NOT_FOUND),
    ("the mock's control", b"/_mock/stats", NOT_FOUND),
    ("two slashes and a step up", b"//v1/../metrics", NOT_FOUND),
    ("a step up", b"/v1/../metrics", NOT_FOUND),
    ("a step to where it is", b"/v1/./models", NOT_FOUND),
    ("a doubled slash", b"/v1//models", NOT_FOUND),
    ("a slash behind", b"/v1/chat/completions/", NOT_FOUND),
    ("a semicolon", b"/v1/models;x=1", NOT_FOUND),
    ("another case", b"/V1/Models", NOT_FOUND),
    ("an escaped slash", b"/v1/..%2fmetrics", NOT_FOUND),
    ("escaped points", b"/v1/%2e%2e%2fmetrics", NOT_FOUND),
    ("an escaped letter of a path that exists", b"/v1/%6dodels", NOT_FOUND),
    ("escaped twice", b"/v1/%252e%252e/metrics", NOT_FOUND),
    ("a backslash", b"/v1\\..\\metrics", NOT_FOUND),
    ("an escaped backslash", b"/v1/%5c..%5cmetrics", NOT_FOUND),
    ("an escaped NUL behind a path", b"/v1/models%00/../../metrics",
     NOT_FOUND),
    ("an escaped NUL in it", b"/v1%00/metrics", NOT_FOUND),
    ("a raw NUL", b"/v1/models\0/metrics", BAD),
    ("a fragment", b"/v1/models#/metrics", BAD),
    ("a whole URL of ours", b"http://gateway/v1/models", BAD),
    ("a whole URL of another", b"http://evil.example/metrics", BAD),
    ("a URL with a user", b"http://a@evil.example/", BAD),
    ("an ftp URL", b"ftp://evil.example/", BAD),
    ("a file URL", b"file:///etc/passwd", BAD),
    ("a gopher URL", b"gopher://evil.example/", BAD),
    ("a URL without a host", b"http:///v1/models", BAD),
    ("a URL without slashes", b"http:/v1/models", BAD),
    ("a star", b"*", BAD),
    ("no slash before it", b"metrics", BAD),
    ("no slash before a path that exists", b"v1/models", BAD),
    ("an alias of other gateways", b"/v1/proxy/chat/completions", NOT_FOUND),
    ("a deployment of Azure's", b"/openai/deployments/m/chat/completions",
     NOT_FOUND),
    ("a passthrough of other gateways", b"/passthrough/v1/models",
     NOT_FOUND),
    ("a forgotten /v1", b"/chat/completions", NOT_FOUND),
    ("a doubled /v1", b"/v1/v1/models", NOT_FOUND),
    ("a target of 8 KiB and a byte", b"/" + b"a" * 8192, "414 uri_too_long"),
    ("a target of 100 KiB", b"/" + b"a" * 102400, "431 headers_too_large"),
]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("target, error", [r[1:] for r in NOWHERE],
                         ids=[r[0] for r in NOWHERE])
def test_a_path_that_is_not_in_the_table_leads_nowhere(
        gateway, mock, method, target, error):
    body = json.dumps(chat_body()).encode() if method == "POST" else b""
    data = head(method, target.decode("latin1"), gateway.keys["alice"], [
        "Connection: close", f"Content-Length: {len(body)}"]) + body
    reply = assert_refused(gateway, mock, data, error)
    assert is_no_page_of_an_upstream(reply)


def test_a_wrong_base_url_is_explained(gateway):
    key = gateway.keys["alice"]
    without = gateway.get("/chat/completions", key).json()["error"]
    assert "must end in /v1" in without["message"]
    doubled = gateway.get("/v1/v1/messages", key).json()["error"]
    assert "must not end in /v1" in doubled["message"]


@pytest.mark.parametrize("position", ["first", "middle", "last"])
def test_no_odd_byte_passes_in_a_target(gateway, mock, position):
    for byte in [*range(0x21), *range(0x7f, 0x100)]:
        odd = bytes([byte])
        target = {"first": odd + b"/v1/models", "last": b"/v1/models" + odd,
                  "middle": b"/v1/mo" + odd + b"dels"}[position]
        replies = gateway.raw(head("GET", target.decode("latin1"),
                                   gateway.keys["alice"]))
        assert replies.statuses == [400] and replies[0].closes, byte
    mock.assert_untouched()
    gateway.assert_serves()


# A sentence, the first line, the error.
FIRST_LINES = [
    ("two blanks before the target", b"GET  /v1/models HTTP/1.1", BAD),
    ("two blanks behind the target", b"GET /v1/models  HTTP/1.1", BAD),
    ("a tab before the target", b"GET\t/v1/models HTTP/1.1", BAD),
    ("a tab behind the target", b"GET /v1/models\tHTTP/1.1", BAD),
    ("a blank at the end", b"GET /v1/models HTTP/1.1 ", BAD),
    ("a blank at the beginning", b" GET /v1/models HTTP/1.1", BAD),
    ("no version", b"GET /v1/models", BAD),
    ("no target", b"GET HTTP/1.1", BAD),
    ("an empty target", b"GET  HTTP/1.1", BAD),
    ("another protocol", b"GET /v1/models HTCPCP/1.0", BAD),
    ("the protocol in lower case", b"GET /v1/models http/1.1", BAD),
    ("a version without a point", b"GET /v1/models HTTP/11", BAD),
    ("a version of two digits", b"GET /v1/models HTTP/1.10", BAD),
    ("HTTP/1.2", b"GET /v1/models HTTP/1.2", "505 http_version"),
    ("HTTP/2.0", b"GET /v1/models HTTP/2.0", "505 http_version"),
    ("HTTP/0.9", b"GET /v1/models HTTP/0.9", "505 http_version"),
    ("a method in lower case", b"get /v1/models HTTP/1.1",
     "405 method_not_allowed"),
    ("a method with a NUL", b"G\0ET /v1/models HTTP/1.1", BAD),
    ("a method with an umlaut", b"G\xc4T /v1/models HTTP/1.1", BAD),
    ("a method of 100 KiB", b"G" * 102400 + b" / HTTP/1.1",
     "431 headers_too_large"),
    ("CONNECT", b"CONNECT evil.example:443 HTTP/1.1",
     "405 method_not_allowed"),
    ("OPTIONS of everything", b"OPTIONS * HTTP/1.1",
     "405 method_not_allowed"),
    ("PUT", b"PUT /v1/chat/completions HTTP/1.1", "405 method_not_allowed"),
    ("DELETE", b"DELETE /v1/models/m HTTP/1.1", "405 method_not_allowed"),
    ("PATCH", b"PATCH / HTTP/1.1", "405 method_not_allowed"),
    ("a made-up method", b"BREW / HTTP/1.1", "405 method_not_allowed"),
]


@pytest.mark.parametrize("line, error", [r[1:] for r in FIRST_LINES],
                         ids=[r[0] for r in FIRST_LINES])
def test_a_damaged_first_line_is_refused(gateway, mock, line, error):
    fields = head(key=gateway.keys["alice"]).partition(b"\r\n")[2]
    assert_refused(gateway, mock, line + b"\r\n" + fields, error)


def test_trace_echoes_nothing(gateway, mock):
    key = gateway.keys["alice"]
    reply = assert_refused(gateway, mock, head("TRACE", "/", key, [
        "X-Echo: to be seen"]), "405 method_not_allowed")
    assert b"to be seen" not in reply.body and key.encode() not in reply.body


# A sentence, the fields that name the host, the error.
HOSTS = [
    ("none", [], BAD),
    ("twice the same", ["Host: gateway", "Host: gateway"], BAD),
    ("two that differ", ["Host: gateway", "Host: evil.example"], BAD),
    ("two, one of them empty", ["Host:", "Host: gateway"], BAD),
]


@pytest.mark.parametrize("fields, error", [r[1:] for r in HOSTS],
                         ids=[r[0] for r in HOSTS])
def test_there_is_one_host(gateway, mock, fields, error):
    assert_refused(gateway, mock, head(
        key=gateway.keys["alice"], fields=fields, host=None), error)


def test_http_1_0_needs_no_host_and_is_closed(gateway):
    replies = gateway.raw(head(
        key=gateway.keys["alice"], host=None, version=b"1.0"))
    assert replies.statuses == [200] and replies[0].closes


# --- who may ask for what ----------------------------------------------------

POSTS = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings",
         "/v1/rerank", "/rerank", "/v2/rerank", "/v1/responses",
         "/v1/messages", "/v1/messages/count_tokens"]
GETS = ["/v1/models", "/v1/models/m"]
OPEN = ["/", "/health", "/healthz", "/readyz"]
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH",
           "TRACE", "CONNECT", "PROPFIND"]


@pytest.mark.parametrize("method", METHODS)
def test_a_stranger_sees_only_the_public_pages(gateway, mock, method):
    body = json.dumps(chat_body()).encode()
    for path in [*POSTS, *GETS, *OPEN, "/metrics", "/v1/files"]:
        data = head(method, path, None, [
            "Connection: close", f"Content-Length: {len(body)}"]) + body
        reply, = gateway.raw(data, [method])
        is_open = path in OPEN and method in ("GET", "HEAD")
        assert (reply.status == 200) == is_open, (path, reply)
        assert is_open or reply.status in (401, 404, 405), (path, reply)
        assert b'"id":"m"' not in reply.body
    mock.assert_untouched()


@pytest.mark.parametrize("path", POSTS)
def test_every_route_judges_the_key_and_the_limits(gateway, mock, path):
    is_anthropic = path.startswith("/v1/messages")
    wrong = "sk-weir-abcdef-" + "0" * 38
    for key, status, code, kind in [
            (None, 401, "invalid_api_key", "authentication_error"),
            (wrong, 401, "invalid_api_key", "authentication_error"),
            (gateway.keys["poor"], 429, "rate_limit_exceeded",
             "rate_limit_error")]:
        reply = gateway.post(chat_body(), key, path)
        assert reply.status == status, reply
        if is_anthropic:
            assert reply.json()["type"] == "error"
            assert reply.json()["error"]["type"] == kind
        else:
            assert reply.json()["error"]["code"] == code
    mock.assert_untouched()
    assert gateway.post(chat_body(), gateway.keys["alice"], path).status == \
        200


@pytest.mark.parametrize("path", POSTS)
def test_get_of_a_route_names_the_method_that_it_takes(gateway, path):
    reply = gateway.get(path, gateway.keys["alice"])
    assert reply.status == 405 and reply.header("Allow") == "POST"


def test_who_needs_no_key_is_served_from_the_right_address_only(
        start, mock_server, mock):
    config = basic_config(mock_server)
    config["users"]["skills"] = {
        "models": ["m"], "key": "none", "from": ["127.0.0.1"]}
    gateway = start(config)
    assert gateway.post(chat_body("tokens=1")).status == 200
    assert [x["user"] for x in gateway.lines()] == ["skills"]
    gateway.stop()
    mock.reset()
    config["users"]["skills"]["from"] = ["127.0.0.2"]
    gateway = start(config)
    for field in ["X-Forwarded-For: 127.0.0.2", "Forwarded: for=127.0.0.2",
                  "X-Real-IP: 127.0.0.2"]:
        assert gateway.post(chat_body(), fields=[field]).status == 401
    mock.assert_untouched()


# --- /v1/models/ID -----------------------------------------------------------

@pytest.mark.parametrize("name", NAMED, ids=NAMED.values())
def test_a_model_is_found_by_its_name_however_it_is_escaped(gateway, name):
    key = gateway.keys["alice"]
    everything = "".join(f"%{b:02x}" for b in name.encode())
    for target in (urllib.parse.quote(name), urllib.parse.quote(name, ""),
                   everything, everything.upper(),
                   urllib.parse.quote(name, "") + "?x=/metrics"):
        reply = gateway.get("/v1/models/" + target, key)
        assert reply.status == 200 and reply.json()["id"] == name, reply


# A sentence, what stands behind /v1/models/, the error.
NO_MODELS = [
    ("nothing", b"", NO_MODEL),
    ("a slash", b"/", NO_MODEL),
    ("a slash behind it", b"m/", NO_MODEL),
    ("a step up", b"../metrics", NO_MODEL),
    ("a step up behind it", b"m/../../metrics", NO_MODEL),
    ("an escaped step up", b"%2e%2e%2fmetrics", NO_MODEL),
    ("an escaped step up, escaped again", b"%252e%252e%252fmetrics",
     NO_MODEL),
    ("its name escaped twice", b"%256d", NO_MODEL),
    ("an escaped NUL behind it", b"m%00", NO_MODEL),
    ("an escaped line end behind it", b"m%0d%0aX-Evil:%201", NO_MODEL),
    ("half an escape", b"m%", NO_MODEL),
    ("an escape that is none", b"%zz", NO_MODEL),
    ("another case", b"M", NO_MODEL),
    ("a plus for a blank", b"two+words", NO_MODEL),
    ("a name of 4 KB", b"m" * 4096, NO_MODEL),
    ("invalid UTF-8, escaped", b"%ff%fe", NO_MODEL),
    ("its name and a fragment", b"m#x", BAD),
    ("its name and a blank", b"m x", BAD),
    ("its name and a control byte", b"m\x01", BAD),
    ("a raw byte of 8 bits", b"Stra\xdfe", BAD),
]


@pytest.mark.parametrize("target, error", [r[1:] for r in NO_MODELS],
                         ids=[r[0] for r in NO_MODELS])
def test_what_is_no_model_is_looked_up_and_not_found(
        gateway, mock, target, error):
    data = head("GET", "/v1/models/" + target.decode("latin1"),
                gateway.keys["alice"], ["Connection: close"])
    reply = assert_refused(gateway, mock, data, error)
    assert reply.header("X-Evil") is None


def test_a_model_of_others_is_not_found(gateway):
    key = gateway.keys["carol"]
    assert gateway.get("/v1/models/m", key).status == 200
    other = gateway.get("/v1/models/org%2fname", key)
    assert_error(other, NO_MODEL)
    unknown = gateway.get("/v1/models/nothing", key)
    assert other.json()["error"]["message"] == \
        unknown.json()["error"]["message"]
    assert [m["id"] for m in gateway.get("/v1/models", key).json()["data"]] \
        == ["m"]


def test_a_client_may_ask_again_on_the_same_connection(gateway, mock):
    key = gateway.keys["alice"]
    with gateway.connect(["GET", "POST", "GET", "HEAD", "POST"]) as c:
        for data, status in [
                (head("GET", "/v1/models/nothing", key), 404),
                (post(chat_body("tokens=1"), key), 200),
                (head("GET", "/healthz"), 200),
                (head("HEAD", "/v1/models", key), 200),
                (post(chat_body(), key, fields=["Connection: close"]), 200)]:
            c.send(data)
            assert c.reply().status == status
        assert len(c.read_to_end()) == 5 and c.end == "eof"
    wait_until(lambda: mock.stats()["served"] == 2)
