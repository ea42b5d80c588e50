"""The body of a request is read strictly where two readers could see different
things in it, and otherwise goes on byte for byte."""

import hashlib
import json
import re

import pytest

from harness import (SANITIZERS, assert_error, assert_refused, basic_config,
                     chat_body, head, post, wait_until)

INVALID = "400 invalid_json"
NO_MODEL = "404 model_not_found"
MIB = 1 << 20


@pytest.fixture(scope="module")
def config(mock_server):
    config = basic_config(mock_server)
    route = config["models"]["m"]
    config["models"] = {
        "m": route, "cheap": route, "dear": route, "two words": route,
        "Qwen/Qwen3-Coder:30b": {**route, "aliases": ["coder"]}}
    config["users"]["carol"] = {"models": ["cheap"]}
    return config


def with_route(body, name=b'"m"'):
    """The body as the upstream must see it: with its own model name."""
    return body.replace(name, b'"mock-model"', 1)


def assert_forwarded(gateway, mock, body, expected=None):
    """The upstream sees the body byte for byte, but for the model's name."""
    gateway.post(body, gateway.keys["alice"])
    expected = with_route(body) if expected is None else expected
    seen = mock.last()
    assert seen["body_bytes"] == len(expected), seen["body"][:2000]
    assert seen["body_sha256"] == hashlib.sha256(expected).hexdigest(), \
        seen["body"][:2000]
    line, = gateway.lines()
    assert line["bytes_in"] == len(body)


# A sentence, the body, the error.
REFUSED = [
    ("two models", b'{"model":"cheap","model":"dear"}', INVALID),
    ("two models, the same", b'{"model":"m","model":"m"}', INVALID),
    ("two models, one with an escape", b'{"model":"m","mod\\u0065l":"dear"}',
     INVALID),
    ("two models, the first with an escape",
     b'{"\\u006dodel":"m","model":"dear"}', INVALID),
    ("two limits", b'{"model":"m","max_tokens":1,"max_tokens":9}', INVALID),
    ("two of what we do not know", b'{"model":"m","x":1,"x":2}', INVALID),
    ("two of a long name in umlauts",
     '{"model":"m","x%s":1,"x%s":2}'.encode().replace(
         b"%s", "ä".encode() * 50), INVALID),
    ("two of a name that is no UTF-8", b'{"\xff\xc3":1,"\xff\xc3":2}',
     INVALID),
    ("two of a name with control bytes",
     b'{"\\r\\nX: 1\\u0000":1,"\\r\\nX: 1\\u0000":2}', INVALID),
    ("nothing", b"", INVALID),
    ("blanks", b" \r\n\t", INVALID),
    ("an array", b'[{"model":"m"}]', INVALID),
    ("a string", b'"m"', INVALID),
    ("a number", b"1", INVALID),
    ("null", b"null", INVALID),
    ("no end", b'{"model":"m"', INVALID),
    ("an end too many", b'{"model":"m"}}', INVALID),
    ("a name of 100 KB", b'{"model":"m","%s":1}' % (b"n" * 100_000), INVALID),
    ("two documents", b'{"model":"m"}{"model":"dear"}', INVALID),
    ("something behind it", b'{"model":"m"} x', INVALID),
    ("a NUL behind it", b'{"model":"m"}\0', INVALID),
    ("a comma too many", b'{"model":"m",}', INVALID),
    ("no comma", b'{"model":"m" "x":1}', INVALID),
    ("no colon", b'{"model" "m"}', INVALID),
    ("a key without quotes", b'{model:"m"}', INVALID),
    ("single quotes", b"{'model':'m'}", INVALID),
    ("a comment", b'{"model":"m"/* x */}', INVALID),
    ("a string without end", b'{"model":"m","x":"}', INVALID),
    ("a control byte in a string", b'{"model":"m","x":"a\x01"}', INVALID),
    ("a raw line end in a string", b'{"model":"m","x":"a\n"}', INVALID),
    ("an unknown escape", b'{"model":"m","x":"\\x41"}', INVALID),
    ("half an escape", b'{"model":"m","x":"\\u12"}', INVALID),
    ("a form", b"model=m&stream=true", INVALID),
    ("UTF-16", '{"model":"m"}'.encode("utf-16"), INVALID),
    ("UTF-16 without a mark", '{"model":"m"}'.encode("utf-16-le"), INVALID),
    ("UTF-32", '{"model":"m"}'.encode("utf-32"), INVALID),
    ("a model that is a number", b'{"model":1}', INVALID),
    ("a model that is a list", b'{"model":["m"]}', INVALID),
    ("stream as a text", b'{"model":"m","stream":"true"}', INVALID),
    ("stream as a number", b'{"model":"m","stream":1}', INVALID),
    ("100,000 levels", b'{"model":"m","x":' + b"[" * 100_000 + b"]" *
     100_000 + b"}", INVALID),
    ("100,000 levels without an end", b'{"model":"m","x":' + b'{"a":' *
     100_000, INVALID),
    ("10,000 members", b'{"model":"m",' + b",".join(
        b'"a%d":1' % i for i in range(10_000)) + b"}", INVALID),
    ("no model", b'{"messages":[]}', NO_MODEL),
    ("a model called nothing", b'{"model":""}', NO_MODEL),
    ("a model that is no UTF-8", b'{"model":"m\xff"}', NO_MODEL),
    ("a model that is a lone surrogate", b'{"model":"\\ud83d"}', NO_MODEL),
]


@pytest.mark.parametrize("body, error", [r[1:] for r in REFUSED],
                         ids=[r[0] for r in REFUSED])
def test_a_body_that_is_no_request_is_refused(gateway, mock, body, error):
    assert_refused(gateway, mock, post(
        body, gateway.keys["alice"], fields=["Connection: close"]), error)
    line, = gateway.lines()
    assert line["prompt_tokens"] == line["completion_tokens"] == 0
    assert line["usage_source"] == "none" and line["upstream"] is None


NUMBER_FIELDS = ["max_tokens", "max_completion_tokens", "max_output_tokens",
                 "n", "best_of", "seed"]
NUMBERS = ["null", "-1", "0", '"100"', "1.5", "1e3", "1E+3", "1e999", "-1e999",
           "9223372036854775807", "9223372036854775808", "2147483648",
           "18446744073709551616", "1" * 400, "0.1", "-0", "128", "[]", "{}",
           "true"]
NO_NUMBERS = ["01", "+1", ".5", "1.", "0x10", "1e", "1e+", "NaN", "-",
              "Infinity", "-Infinity", "1_000", "1,5", "--1", "00", "1.2.3",
              "", "nul", "True"]


@pytest.mark.parametrize("field", NUMBER_FIELDS)
def test_a_number_goes_on_as_it_was_written(gateway, mock, field):
    for number in NUMBERS:
        gateway.begin()
        body = ('{"model":"m", "%s" :%s ,"mock":"tokens=2"}' % (
            field, number)).encode()
        assert_forwarded(gateway, mock, body)


@pytest.mark.parametrize("number", NO_NUMBERS)
def test_what_is_no_number_is_refused(gateway, mock, number):
    for text in ('{"model":"m","max_tokens":%s}', '{"max_tokens":%s,'
                 '"model":"m"}', '{"model":"m","x":[{"y":%s}]}'):
        assert_refused(gateway, mock, post(
            (text % number).encode(), gateway.keys["alice"],
            fields=["Connection: close"]), INVALID)
        mock.reset()


# A sentence and a body with the model "m".
FORWARDED = [
    ("numbers in every spelling",
     b'{"model":"m","a":[1.0,1e5,-0,9007199254740993,1E-7,0.10,-1.50e+10]}'),
    ("escapes in every spelling",
     b'{"model":"m","a":"\\u00e4\\u00E4\\/\\b\\f\\n\\r\\t\\"\\\\\\ud83d\\ude00'
     b'"}'),
    ("lone surrogates", b'{"model":"m","a":"\\ud83d","b":"\\udc00x\\ud800"}'),
    ("an escaped NUL", b'{"model":"m","a":"\\u0000"}'),
    ("blanks of every kind",
     b' \r\n{\t"model" :\n"m" , "a" : [ 1 , { } , [ ] ] } \n'),
    ("all planes of Unicode",
     '{"model":"m","a":"äß€😀\u2028\uffff\U0010ffff"}'.encode()),
    ("an empty name", b'{"model":"m","":1}'),
    ("names of ours, nested", b'{"model":"m","a":{"model":"x","model":"y",'
     b'"stream":true,"max_tokens":"no"}}'),
    ("the model last", b'{"a":{"model":"m"},"b":[1],"model":"mm"}'.replace(
        b"mm", b"m")),
    ("a null stream", b'{"model":"m","stream":null}'),
    ("no stream", b'{"model":"m","stream":false}'),
    ("200 members", b'{"model":"m",' + b",".join(
        b'"a%d":%d' % (i, i) for i in range(200)) + b"}"),
    ("a long name", b'{"model":"m","%s":1}' % (b"n" * 128)),
    ("an array of a million", b'{"model":"m","a":[' + b"0," * 999_999 +
     b"0]}"),
    ("an object of 200,000, nested", b'{"model":"m","a":{' + b",".join(
        b'"k%d":0' % i for i in range(200_000)) + b"}}"),
    ("a megabyte of stop strings", b'{"model":"m","stop":["' + b'","'.join(
        [b"x" * 16] * 50_000) + b'"]}'),
    ("10,000 tools", b'{"model":"m","tools":[' + b",".join(
        b'{"type":"function","function":{"name":"f%d"}}' % i
        for i in range(10_000)) + b"]}"),
]


def with_its_model(body):
    """Replaces the top-level model, which is the last "m" here or the first
    one behind "model"."""
    at = [m.start(1) for m in re.finditer(rb'"model"\s*:\s*("m")', body)]
    place = at[-1] if body.endswith(b'"model":"m"}') else at[0]
    return body[:place] + b'"mock-model"' + body[place + 3:]


@pytest.mark.parametrize("body", [r[1] for r in FORWARDED],
                         ids=[r[0] for r in FORWARDED])
def test_a_body_goes_on_byte_for_byte(gateway, mock, body):
    assert_forwarded(gateway, mock, body, with_its_model(body))


# A sentence and a body that two readers may see differently.
DOUBTFUL = [
    ("a byte that is no UTF-8", b'{"model":"m","a":"\xff"}'),
    ("an overlong slash", b'{"model":"m","a":"\xc0\xaf"}'),
    ("a surrogate in UTF-8", b'{"model":"m","a":"\xed\xa0\x80"}'),
    ("beyond Unicode", b'{"model":"m","a":"\xf4\x90\x80\x80"}'),
    ("a sequence cut short", b'{"model":"m","a":"\xe2\x82"}'),
    ("a byte order mark", b'\xef\xbb\xbf{"model":"m"}'),
    ("a name that is no UTF-8", b'{"model":"m","\xff":1}'),
]


@pytest.mark.parametrize("body", [r[1] for r in DOUBTFUL],
                         ids=[r[0] for r in DOUBTFUL])
def test_what_is_no_utf8_is_refused_or_goes_on_as_it_came(
        gateway, mock, body):
    reply = gateway.post(body, gateway.keys["alice"])
    if reply.status == 200:
        assert mock.last()["body_sha256"] == hashlib.sha256(
            with_route(body)).hexdigest()
    else:
        assert_error(reply, INVALID, gateway)
        mock.assert_untouched()
    line, = gateway.lines()
    assert line["status"] == reply.status


# A sentence, what the client sends, what the upstream sees.
STREAMS = [
    ("no options",
     b'{"model":"m","stream":true}',
     {"include_usage": True}),
    ("empty options", b'{"model":"m","stream":true,"stream_options":{}}',
     {"include_usage": True}),
    ("null options", b'{"model":"m","stream":true,"stream_options":null}',
     {"include_usage": True}),
    ("usage declined", b'{"model":"m","stream":true,"stream_options":'
     b'{"include_usage":false,"x":1}}', {"include_usage": True, "x": 1}),
    ("another option", b'{"model":"m","stream":true,"stream_options":{"x":'
     b'1.0}}', {"include_usage": True, "x": 1.0}),
]


@pytest.mark.parametrize("body, options", [r[1:] for r in STREAMS],
                         ids=[r[0] for r in STREAMS])
def test_a_stream_is_asked_for_its_usage_which_the_client_does_not_see(
        gateway, mock, body, options):
    reply = gateway.post(body, gateway.keys["alice"])
    assert reply.status == 200 and reply.is_whole
    seen = json.loads(mock.last()["body"])
    assert seen.pop("stream_options") == options
    assert seen == {"model": "mock-model", "stream": True}
    assert all(not e.get("usage") and e["choices"] for e in reply.events())
    line, = gateway.lines()
    assert line["usage_source"] == "upstream"


def test_a_stream_that_asks_for_its_usage_goes_on_byte_for_byte(
        gateway, mock):
    body = b'{"model":"m","stream":true , "stream_options":' \
        b'{ "include_usage":true}}'
    assert_forwarded(gateway, mock, body)


# --- models ------------------------------------------------------------------

# A sentence and a model that carol must not reach.
NOT_CAROLS = [
    ("another's", "dear"), ("another case", "Cheap"),
    ("a blank behind it", "cheap "), ("a blank before it", " cheap"),
    ("a tab behind it", "cheap\t"), ("a NUL behind it", "cheap\0"),
    ("a homoglyph", "ch\u0435ap"), ("wide letters", "\uff43heap"),
    ("a soft hyphen", "ch\u00adeap"), ("a joiner", "cheap\u200d"),
    ("a list", "cheap,dear"), ("a wildcard", "*"),
    ("a path to it", "../cheap"), ("an upstream's name for it",
                                   "mock-model"),
    ("a provider before it", "mock/cheap"), ("an escape", "%63heap"),
    ("a long name", "cheap" * 20),
]


@pytest.mark.parametrize("model", [r[1] for r in NOT_CAROLS],
                         ids=[r[0] for r in NOT_CAROLS])
def test_a_model_is_matched_byte_for_byte(gateway, mock, model):
    for path in "/v1/chat/completions", "/v1/messages", "/v1/embeddings":
        reply = gateway.post(chat_body(model=model), gateway.keys["carol"],
                             path)
        assert reply.status == 404, reply
        message = reply.json()["error"]["message"]
        assert "dear" not in message.replace(model, ""), message
    mock.assert_untouched()
    assert [x["model"] in (None, "dear") for x in gateway.lines()] == \
        [True] * 3


@pytest.mark.parametrize("spelling", [
    '"two words"', '"two\\u0020words"', '"\\u0074wo words"'])
def test_a_model_is_known_however_json_spells_it(gateway, mock, spelling):
    body = ('{"model":%s}' % spelling).encode()
    assert_forwarded(gateway, mock, body, b'{"model":"mock-model"}')


def test_an_alias_is_booked_on_its_model(gateway, mock):
    assert gateway.chat(model="coder").status == 200
    line, = gateway.lines()
    assert line["model"] == "Qwen/Qwen3-Coder:30b"


# --- compressed and large ----------------------------------------------------

@pytest.mark.parametrize("coding", [
    "gzip", "br", "zstd", "deflate", "x-gzip", "gzip, gzip", "identity, gzip",
    "nonsense"])
def test_a_compressed_body_is_refused_before_it_is_read(
        gateway, mock, coding):
    data = head("POST", "/v1/chat/completions", gateway.keys["alice"], [
        f"Content-Encoding: {coding}", "Content-Length: 1000000"])
    reply = assert_refused(gateway, mock, data,
                           "415 unsupported_content_encoding")
    assert "plain" in reply.json()["error"]["message"]


def test_an_identity_coding_is_no_coding(gateway, mock):
    assert gateway.chat(fields=["Content-Encoding: identity"]).status == 200


def image_of(size):
    """A chat with an image, so many bytes in all."""
    begin = b'{"model":"m","messages":[{"role":"user","content":[{"type":' \
        b'"image_url","image_url":{"url":"data:image/png;base64,'
    end = b'"}}]}],"mock":"tokens=1"}'
    return begin + b"A" * (size - len(begin) - len(end)) + end


def test_a_large_image_is_held_once(config, start, mock):
    """A body just under the limit, without a second copy of it."""
    options = SANITIZERS["ASAN_OPTIONS"] + ":quarantine_size_mb=1"
    gateway = start(config, env={"ASAN_OPTIONS": options})
    gateway.assert_serves()
    body = image_of(32 * MIB)
    before = gateway.rss_bytes()
    with open(f"/proc/{gateway.process.pid}/clear_refs", "w") as clear:
        clear.write("5")  # the peak begins anew
    assert_forwarded(gateway, mock, body)
    with open(f"/proc/{gateway.process.pid}/status") as status:
        peak = int(re.search(r"VmHWM:\s+(\d+)", status.read())[1]) << 10
    assert peak - before < 2.2 * len(body), (peak - before) / MIB
    assert gateway.lines()[0]["prompt_tokens"] < 32 * MIB


@pytest.mark.parametrize("is_chunked", [False, True],
                         ids=["length", "chunked"])
def test_the_limit_of_a_body_is_exact(gateway, mock, is_chunked):
    key = gateway.keys["alice"]
    for size, status in ((32 * MIB, 200), (32 * MIB + 1, 413)):
        body = image_of(size)
        data = post(body, key)
        if is_chunked:
            data = head("POST", "/v1/chat/completions", key, [
                "Transfer-Encoding: chunked"]) + b"%x\r\n" % size + body + \
                b"\r\n0\r\n\r\n"
        with gateway.connect(["POST"]) as c:
            c.unsent = data
            assert c.reply().status == status
    assert mock.stats()["served"] == 1
    assert [x["end"] for x in gateway.lines()] == ["ok", "body_too_large"]


def seconds_for(gateway, body):
    """Processor time for ten of these, the least of three tries."""
    tries = []
    for _ in range(3):
        begun = gateway.cpu_seconds()
        for _ in range(10):
            assert gateway.post(body, gateway.keys["alice"]).status == 200
        tries.append(gateway.cpu_seconds() - begun)
    return min(tries)


@pytest.mark.parametrize("piece", [
    b'{"a":[1,{"b":"c\\u0041"}]},', b'"xx\\\\yy",', b"[[[0]]],",
    b'"\\"",'], ids=["objects", "strings", "arrays", "quotes"])
def test_ten_times_the_body_takes_about_ten_times_the_time(
        gateway, mock, piece):
    def body(size):
        return b'{"model":"m","a":[' + piece * (size // len(piece)) + b"0]}"
    small = seconds_for(gateway, body(200_000))
    large = seconds_for(gateway, body(2_000_000))
    assert large < 20 * small + 0.5, (small, large)
    wait_until(lambda: mock.stats()["in_flight"] == 0)
