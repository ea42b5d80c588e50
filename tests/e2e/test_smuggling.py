"""No bytes are ever taken for a request that their sender, or a proxy in front
of us, did not take for one: framing that two readers could understand
differently is refused, and the connection with it."""

import json
import random
import ssl

import pytest

from harness import (assert_refused, chat_body, chunked, head, post,
                     wait_until)

JSON = b'{"model":"m","messages":[],"mock":"tokens=2"}'
INNER = (b'POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\n'
         b'Authorization: Bearer $KEY\r\nContent-Length: 31\r\n\r\n'
         b'{"model":"m","mock":"tokens=1"}')
BAD = "400 bad_request"
TOO_LARGE = "413 request_too_large"


def keyed(gateway, data):
    return data.replace(b"$KEY", gateway.keys["alice"].encode())


def chat_head(*fields, version=b"1.1"):
    return head("POST", "/v1/chat/completions", "$KEY", fields, version)


LENGTH = b"Content-Length: %d" % len(JSON)
CHUNKED = b"Transfer-Encoding: chunked"
SEVEN = b'{"a":1}'  # so that a length of 7 would fit it

# A sentence, the fields that frame the body, the body, the error.
FRAMING = [
    ("a length and chunked, the body empty when chunked",
     [b"Content-Length: 6", CHUNKED], b"0\r\n\r\nX", BAD),
    ("chunked and a length",
     [CHUNKED, b"Content-Length: 6"], b"0\r\n\r\nX", BAD),
    ("a length and chunked, a whole request behind the last chunk",
     [b"Content-Length: 61", CHUNKED],
     b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: gateway\r\nX-Pad: 12345678"
     b"\r\n\r\n", BAD),
    ("chunked and a length that ends behind the first chunk's size",
     [CHUNKED, b"Content-Length: 4"],
     b"2d\r\nGET /healthz HTTP/1.1\r\nHost: gateway\r\nX: 1\r\n\r\n\r\n"
     b"0\r\n\r\n", BAD),
    ("gzip and chunked codings",
     [b"Transfer-Encoding: gzip, chunked"], chunked(JSON), BAD),
    ("chunked said twice", [CHUNKED, CHUNKED], chunked(JSON), BAD),
    ("chunked listed twice",
     [b"Transfer-Encoding: chunked, chunked"], chunked(JSON), BAD),
    ("chunked is not the last coding",
     [b"Transfer-Encoding: chunked, identity"], chunked(JSON), BAD),
    ("the identity coding alone",
     [b"Transfer-Encoding: identity"], JSON, BAD),
    ("an empty coding and a length",
     [b"Transfer-Encoding:", LENGTH], JSON, BAD),
    ("an unknown coding and a length",
     [b"Transfer-Encoding: xchunked", LENGTH], JSON, BAD),
    ("a vertical tab before the coding, and a length",
     [b"Transfer-Encoding: \x0bchunked", LENGTH], JSON, BAD),
    ("a blank before the coding's colon, and a length",
     [b"Transfer-Encoding : chunked", LENGTH], JSON, BAD),
    ("a coding folded over two lines, and a length",
     [b"Transfer-Encoding:\r\n chunked", LENGTH], JSON, BAD),
    ("a coding's name with an underscore, and a length",
     [b"Transfer_Encoding: chunked", LENGTH], JSON, BAD),
    ("a length's name with an underscore",
     [b"Content_Length: 6", LENGTH], JSON, BAD),
    ("the same length twice", [LENGTH, LENGTH], JSON, BAD),
    ("two lengths", [LENGTH, b"Content-Length: 7"], JSON, BAD),
    ("the same length twice in one field",
     [b"Content-Length: 7, 7"], SEVEN, BAD),
    ("a length with a plus", [b"Content-Length: +7"], SEVEN, BAD),
    ("a length of minus nothing", [b"Content-Length: -0"], b"", BAD),
    ("a negative length", [b"Content-Length: -7"], SEVEN, BAD),
    ("a hexadecimal length", [b"Content-Length: 0x7"], SEVEN, BAD),
    ("a length with an underscore", [b"Content-Length: 0_7"], SEVEN, BAD),
    ("an empty length", [b"Content-Length:"], SEVEN, BAD),
    ("a vertical tab before the length", [b"Content-Length: \x0b7"], SEVEN,
     BAD),
    ("a length and a letter", [b"Content-Length: 7 x"], SEVEN, BAD),
    ("a length with a blank inside", [b"Content-Length: 0 7"], SEVEN, BAD),
    ("a length beyond 64 bits",
     [b"Content-Length: 99999999999999999999999"], SEVEN, BAD),
    ("the largest length of 63 bits",
     [b"Content-Length: 9223372036854775807"], SEVEN, TOO_LARGE),
    ("a blank before the length's colon", [b"Content-Length : 7"], SEVEN,
     BAD),
    ("no framing at all", [], b"", "411 length_required"),
]


@pytest.mark.parametrize("fields, body, error",
                         [r[1:] for r in FRAMING], ids=[r[0] for r in FRAMING])
def test_framing_that_could_be_understood_twice_is_refused(
        gateway, mock, fields, body, error):
    assert_refused(gateway, mock,
                   keyed(gateway, chat_head(*fields) + body), error)


def test_a_huge_length_reserves_nothing(gateway, mock):
    before = gateway.rss_bytes()
    for length in (9223372036854775807, 1 << 40, (32 << 20) + 1):
        assert_refused(
            gateway, mock, keyed(gateway, chat_head(
                f"Content-Length: {length}") + SEVEN), TOO_LARGE)
        mock.reset()
    assert gateway.rss_bytes() < before + (8 << 20)


def test_a_chunked_body_in_http_1_0_is_refused(gateway, mock):
    assert_refused(gateway, mock, keyed(
        gateway, chat_head(CHUNKED, version=b"1.0") + chunked(JSON)), BAD)


DATA = b"%x\r\n%s\r\n" % (len(JSON), JSON)

# A sentence and a chunked body.
DAMAGED_CHUNKS = [
    ("a size with 0x", b"0x" + DATA + b"0\r\n\r\n"),
    ("a size with a plus", b"+" + DATA + b"0\r\n\r\n"),
    ("a last chunk of minus nothing", DATA + b"-0\r\n\r\n"),
    ("a blank before the size", b" " + DATA + b"0\r\n\r\n"),
    ("a blank behind the size", DATA.replace(b"\r", b" \r", 1) +
     b"0\r\n\r\n"),
    ("a tab behind the last size", DATA + b"0\t\r\n\r\n"),
    ("no size", DATA + b"\r\n\r\n"),
    ("a bare LF in an extension", DATA + b"0;a\nb\r\n\r\n"),
    ("a bare CR in an extension", DATA + b"0;a\rb\r\n\r\n"),
    ("a NUL in an extension", DATA + b"0;a\0b\r\n\r\n"),
    ("an endless extension", DATA + b"0;" + b"a" * 5000 + b"\r\n\r\n"),
    ("a size beyond 64 bits", b"1000000000000000" + DATA + b"0\r\n\r\n"),
    ("a size that wraps round to 1", b"10000000000000001\r\nZ\r\n0\r\n\r\n"),
    ("a size of 17 digits", b"0" * 16 + b"1\r\nZ\r\n0\r\n\r\n"),
    ("data without its line end", DATA[:-2] + b"0\r\n\r\n"),
    ("data longer than its size", DATA[:-2] + b" \r\n0\r\n\r\n"),
    ("bare LF as line ends", DATA.replace(b"\r", b"") + b"0\n\n"),
    ("a bare LF behind the last size", DATA + b"0\n\r\n"),
    ("a bare LF as the end", DATA + b"0\r\n\n"),
    ("a bare CR in a trailer", DATA + b"0\r\nX: a\rb\r\n\r\n"),
    ("trailers of 900 KB", DATA + b"0\r\nX: " + b"a" * 900_000 +
     b"\r\n\r\n"),
    ("10,000 trailers", DATA + b"0\r\n" + b"X: 1\r\n" * 10_000 + b"\r\n"),
]


@pytest.mark.parametrize("body", [r[1] for r in DAMAGED_CHUNKS],
                         ids=[r[0] for r in DAMAGED_CHUNKS])
def test_a_damaged_chunked_body_is_refused(gateway, mock, body):
    assert_refused(gateway, mock,
                   keyed(gateway, chat_head(CHUNKED) + body + INNER), BAD)


def test_the_largest_chunk_size_is_too_large(gateway, mock):
    """It is told from the bytes that come, so some must."""
    body = b"ffffffffffffffff\r\n" + b" " * ((32 << 20) + 1)
    replies = gateway.raw(keyed(gateway, chat_head(CHUNKED) + body), ["POST"])
    assert replies.statuses == [413] and replies[0].closes
    mock.assert_untouched()
    gateway.assert_serves()


GOOD_CHUNKS = [
    ("one chunk", DATA + b"0\r\n\r\n"),
    ("a chunk a byte", chunked(*(JSON[i:i + 1] for i in range(len(JSON))))),
    ("leading zeros, 16 digits in all", b"%016x\r\n%s\r\n" % (
        len(JSON), JSON) + b"0\r\n\r\n"),
    ("capital digits", (b"%X\r\n%s\r\n" % (len(JSON), JSON)) +
     b"0\r\n\r\n"),
    ("an extension", DATA.replace(b"\r", b";a=b\r", 1) + b"0;c\r\n\r\n"),
    ("trailers", DATA + b"0\r\nX-Sum: 1\r\nContent-Length: 3\r\n\r\n"),
]


@pytest.mark.parametrize("body", [r[1] for r in GOOD_CHUNKS],
                         ids=[r[0] for r in GOOD_CHUNKS])
def test_a_sound_chunked_body_is_served_once_and_the_connection_ends(
        gateway, mock, body):
    replies = gateway.raw(keyed(
        gateway, chat_head(CHUNKED) + body + INNER), ["POST"])
    assert replies.statuses == [200] and replies[0].closes
    seen = mock.requests()
    assert [r["body"] for r in seen] == [
        JSON.decode().replace('"m"', '"mock-model"')]
    names = [name.lower() for name, _ in seen[0]["headers"]]
    assert "transfer-encoding" not in names and "x-sum" not in names
    assert names.count("content-length") == 1


def test_a_length_with_leading_zeros_is_never_copied(gateway, mock):
    length = b"Content-Length: 000%d" % len(JSON)
    replies = gateway.raw(keyed(gateway, chat_head(
        length, "Connection: close") + JSON), ["POST"])
    assert replies.statuses in ([200], [400])
    for seen in mock.requests():
        assert dict(seen["headers"])["Content-Length"] == \
            str(seen["body_bytes"])


GET_MODELS = b"GET /v1/models HTTP/1.1\r\nHost: gateway\r\n" \
    b"Authorization: Bearer $KEY\r\n"

# A sentence, the bytes, the method and the status of the only answer.
ONE_ANSWER = [
    ("HEAD with a length and a request as its body",
     GET_MODELS.replace(b"GET", b"HEAD") + b"Content-Length: 36\r\n\r\n" +
     b"GET /healthz HTTP/1.1\r\nHost: gate\r\n\r\n", "HEAD", 200),
    ("HEAD, chunked, and a request behind it",
     GET_MODELS.replace(b"GET", b"HEAD") + CHUNKED + b"\r\n\r\n0\r\n\r\n" +
     GET_MODELS + b"\r\n", "HEAD", 200),
    ("GET with the beginning of a request as its body, then a request",
     GET_MODELS + b"Content-Length: 20\r\n\r\nGET /healthz HTTP/1." +
     GET_MODELS + b"\r\n", "GET", 200),
    ("GET with a length and no body at all, then nothing",
     GET_MODELS + b"Content-Length: 20\r\n\r\n", "GET", 200),
    ("OPTIONS with a body, then a request",
     GET_MODELS.replace(b"GET", b"OPTIONS") +
     b"Content-Length: 5\r\n\r\nhello" + GET_MODELS + b"\r\n", "OPTIONS",
     405),
    ("POST of nothing, trailing bytes, then a request",
     chat_head("Content-Length: 0") + b"XX" + GET_MODELS + b"\r\n", "POST",
     400),
    ("POST with a byte too many, then a request",
     chat_head(LENGTH) + JSON + b"X" + GET_MODELS + b"\r\n", "POST", 200),
    ("a whole request behind a POST",
     chat_head(LENGTH) + JSON + INNER, "POST", 200),
    ("a request behind Connection: close",
     GET_MODELS + b"Connection: close\r\n\r\n" + GET_MODELS + b"\r\n", "GET",
     200),
    ("1,000 requests in one piece", (GET_MODELS + b"\r\n") * 1000, "GET",
     200),
    ("a body over the limit that waits for a word",
     chat_head("Content-Length: 1000000000", "Expect: 100-continue"), "POST",
     413),
    ("an unknown expectation",
     chat_head(LENGTH, "Expect: 100-continuex") + JSON, "POST", 417),
    ("two expectations", chat_head(
        LENGTH, "Expect: 100-continue", "Expect: 100-continue") + JSON,
     "POST", 417),
    ("the preface of HTTP/2",
     b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI", 505),
    ("blank lines before a request", b"\r\n\r\n" + GET_MODELS + b"\r\n",
     "GET", 400),
    ("no HTTP at all", b"EHLO gateway\r\n\r\n", "EHLO", 400),
    ("HTTP/0.9", b"GET /v1/models\r\n\r\n", "GET", 400),
]


@pytest.mark.parametrize("data, method, status",
                         [r[1:] for r in ONE_ANSWER],
                         ids=[r[0] for r in ONE_ANSWER])
def test_there_is_one_answer_and_the_connection_ends(
        gateway, mock, data, method, status):
    replies = gateway.raw(keyed(gateway, data), [method])
    assert replies.statuses == [status]
    mock.wait_stats(served=1 if (method, status) == ("POST", 200) else 0)
    gateway.assert_serves()


def test_a_client_that_waits_for_it_is_told_to_go_on(gateway, mock):
    with gateway.connect(["POST"]) as c:
        c.send(keyed(gateway, chat_head(LENGTH, "Expect: 100-continue")))
        assert c.reply().status == 100
        assert mock.stats()["served"] == 0
        c.send(JSON)
        assert c.reply().status == 200


def test_a_stranger_is_not_told_to_go_on(gateway, mock):
    data = head("POST", "/v1/chat/completions", None,
                [LENGTH, "Expect: 100-continue"])
    with gateway.connect(["POST"]) as c:
        c.send(data)
        assert c.reply().status == 401
    mock.assert_untouched()


# A sentence, a head whose body will not be read, the status.
REFUSED_BEFORE_THE_BODY = [
    ("without a key", head("POST", "/v1/chat/completions", None, [
        b"Content-Length: %d" % len(INNER)]), 401),
    ("without a key, chunked", head("POST", "/v1/chat/completions", None, [
        CHUNKED]), 401),
    ("with another server's key", head("POST", "/v1/messages", "sk-1", [
        b"Content-Length: %d" % len(INNER)]), 401),
    ("to nowhere", head("POST", "/v1/nowhere", "$KEY", [
        b"Content-Length: %d" % len(INNER)]), 404),
    ("to a page of ours", head("POST", "/healthz", None, [
        b"Content-Length: %d" % len(INNER)]), 405),
    ("compressed", chat_head("Content-Encoding: gzip",
                             b"Content-Length: %d" % len(INNER)), 415),
    ("too large", chat_head("Content-Length: 1000000000"), 413),
    ("GET of the models, with a body", head("GET", "/v1/models", "$KEY", [
        b"Content-Length: %d" % len(INNER)]), 200),
]


@pytest.mark.parametrize("data, status",
                         [r[1:] for r in REFUSED_BEFORE_THE_BODY],
                         ids=[r[0] for r in REFUSED_BEFORE_THE_BODY])
def test_a_body_that_comes_after_its_refusal_is_no_request(
        gateway, mock, data, status):
    with gateway.connect(["POST"]) as c:
        c.send(keyed(gateway, data))
        reply = c.reply()
        assert reply.status == status and reply.closes
        c.send(keyed(gateway, INNER))
        assert len(c.read_to_end()) == 1
    mock.assert_untouched()


@pytest.mark.parametrize("fields", [
    ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
     "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"],
    ["Connection: Upgrade", "Upgrade: websocket",
     "Sec-WebSocket-Version: 13",
     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="],
], ids=["h2c", "websocket"])
def test_an_upgrade_is_not_made_and_not_passed_on(gateway, mock, fields):
    reply = gateway.chat("tokens=2", fields=fields)
    assert reply.status == 200 and reply.text() == " tea sea"
    assert reply.header("Upgrade") is None
    names = {name.lower() for name, _ in mock.last()["headers"]}
    assert names.isdisjoint({
        "upgrade", "connection", "http2-settings", "sec-websocket-key"})


def test_a_tls_hello_is_refused_at_once(gateway, mock):
    out = ssl.MemoryBIO()
    context = ssl.create_default_context()
    tls = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="gateway")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    replies = gateway.raw(out.read())
    assert replies.statuses == [400] and replies[0].closes
    mock.assert_untouched()
    gateway.assert_serves()


def test_a_client_that_shuts_its_sending_half_has_gone(gateway, mock):
    with gateway.connect() as c:
        c.send(post(chat_body("fault=hang_before_head"),
                    gateway.keys["alice"]))
        mock.wait_stats(in_flight=1)
        c.half_close()
        mock.wait_stats(in_flight=0, connections_open=0, answers_cut=1)
        line, = gateway.lines()
    assert line["end"] == "client_gone"


# --- every split -------------------------------------------------------------

def outcome(reply):
    """What must not depend on how the request arrived."""
    body = reply.body.decode()
    if reply.header("Content-Type") == "application/json":
        document = reply.json()
        document.pop("id", None)
        document.pop("created", None)
        if "error" in document:
            document["error"].pop("request_id", None)
            document.pop("request_id", None)
        body = json.dumps(document)
    return reply.status, body


FIXTURES = {
    "a POST with a length": lambda key: post(JSON, key),
    "a chunked POST": lambda key: head(
        "POST", "/v1/chat/completions", key, [CHUNKED]) + chunked(
            JSON[:9], JSON[9:20], JSON[20:]).replace(b"9\r", b"9;a=b\r", 1),
    "a GET": lambda key: head("GET", "/v1/models", key),
    "a request that is refused": lambda key: head(
        "POST", "/v1/chat/completions", key, [CHUNKED, LENGTH]),
}


def in_steps(gateway, data, cuts):
    with gateway.connect() as c:
        c.send_in_steps(data, cuts)
        return outcome(c.reply())


@pytest.mark.parametrize("name", FIXTURES)
def test_a_request_in_two_pieces_is_the_same_at_every_split(
        gateway, mock, name):
    data = FIXTURES[name](gateway.keys["alice"])
    whole = in_steps(gateway, data, [])
    bodies = {r["body_sha256"] for r in mock.requests()}
    for cut in range(1, len(data)):
        assert in_steps(gateway, data, [cut]) == whole, cut
    assert {r["body_sha256"] for r in mock.requests()} == bodies


@pytest.mark.parametrize("name", FIXTURES)
def test_a_request_byte_by_byte_is_the_same(gateway, name):
    data = FIXTURES[name](gateway.keys["alice"])
    assert in_steps(gateway, data, range(1, len(data))) == \
        in_steps(gateway, data, [])


def test_a_request_in_three_random_pieces_is_the_same(gateway, mock):
    dice = random.Random(20)
    for name, fixture in FIXTURES.items():
        data = fixture(gateway.keys["alice"])
        whole = in_steps(gateway, data, [])
        for _ in range(150):
            cuts = sorted(dice.sample(range(1, len(data)), 2))
            assert in_steps(gateway, data, cuts) == whole, (name, cuts)


# --- mutations of the fields that frame a body -------------------------------

SMUGGLED = INNER.replace(b'"mock":"tokens=1"', b'"user":"smuggled"')
ODD = [bytes([c]) for c in [*range(0x01, 0x21), *range(0x7f, 0x8a), 0xa0,
                            0xad, 0xff]] + [b"\0"]
PUNCTUATION = [bytes([c]) for c in b'"(),/:;<=>?@[\\]{}\'_.-+*%&#!|~^`$']


def mutations(name, value):
    """Field lines that some reader might take for `name: value`."""
    plain = name + b": " + value
    half = len(name) // 2
    inside = name.index(b"-")
    for c in ODD + PUNCTUATION:
        yield c + plain
        yield name + c + b": " + value
        yield name + b":" + c + value
        yield name + b": " + value + c
        yield name[:half] + c + name[half:] + b": " + value
        yield name[:inside] + c + name[inside + 1:] + b": " + value
        yield plain + b"\r\n" + c + b"x: y"
        yield name + b":" + c
    for fold in b"\r\n ", b"\r\n\t", b"\n ", b"\r ", b"\n", b"\r", b"\r\r\n":
        yield name + b":" + fold + value
        yield name + fold + b": " + value
        yield name + b": " + value + fold
        yield b"X: y" + fold + plain
    for case in bytes.lower, bytes.upper, bytes.swapcase, bytes.title:
        yield case(name) + b": " + case(value)
    for other in (value + b", " + value, value + b"," + value, b"," + value,
                  value + b",", value + b";q=1", b'"' + value + b'"',
                  b"'" + value + b"'", b"identity, " + value,
                  value + b", identity", value + b" " + value,
                  value[:1] + b" " + value[1:], value[:-1], b"x" + value,
                  b"0" + value, b"0x" + value, b"=" + value, b""):
        yield name + b": " + other
    for prefix in b"X-", b"X:", b" \t", b"Proxy-", b"--":
        yield prefix + plain
    yield plain + b"\r\n" + plain
    yield b"X: y\r\n" + plain + b"\r\n" + name + b": identity"
    yield name + b": identity\r\n" + plain
    yield name + b" " + value
    yield name
    yield name + b":" + value
    yield name + b":\t\t" + value + b"\t "


def framed_by_length(mutation):
    """By its length the body is no JSON; by chunks it is empty, and the
    smuggled request behind it stands alone."""
    body = b"0\r\n\r\n" + SMUGGLED
    return [b"Content-Length: $LENGTH", mutation], body


def framed_by_chunks(mutation):
    """By chunks it is a chat; a length would cut it short."""
    return [CHUNKED, mutation], chunked(JSON) + SMUGGLED


def framed_by_nothing_else(mutation):
    return [mutation], JSON + SMUGGLED


MUTANTS = {
    "a length, and something like chunked":
        (framed_by_length, b"Transfer-Encoding", b"chunked"),
    "chunked, and something like a length":
        (framed_by_chunks, b"Content-Length", b"5"),
    "something like a length alone":
        (framed_by_nothing_else, b"Content-Length", b"%d" % len(JSON)),
    "something like chunked alone":
        (framed_by_length, b"Transfer-Encoding", b"chunked"),
}


def only_answer(gateway, data, what):
    """The one answer to these bytes.  If the connection lives on, the next
    one is that to a request that is sent after it."""
    with gateway.connect(["POST", "GET"]) as c:
        c.send(data)
        reply = c.reply()
        if not reply.closes:
            c.send(head("GET", "/healthz", fields=["Connection: close"]))
            assert c.reply().body == b"ok\n", what
        assert len(c.read_to_end()) == 1 + (not reply.closes), what
        return reply


@pytest.mark.parametrize("is_last", [True, False],
                         ids=["last field", "first field"])
@pytest.mark.parametrize("name", MUTANTS)
def test_no_mutation_of_a_framing_field_smuggles_a_request(
        gateway, mock, name, is_last):
    frame, field, value = MUTANTS[name]
    served = 0
    count = 0
    for mutation in mutations(field, value):
        fields, body = frame(mutation)
        if name == "something like chunked alone":
            fields = fields[1:]
        if not is_last:
            fields.reverse()
        data = keyed(gateway, chat_head(*fields) + body)
        length = b"%d" % len(keyed(gateway, body))
        reply = only_answer(gateway, data.replace(b"$LENGTH", length),
                            mutation)
        assert reply.status in (200, 400, 411), (mutation, reply)
        served += reply.status == 200
        count += 1
    assert count > 400
    mock.wait_stats(served=served)
    seen = mock.requests()
    assert not any("smuggled" in r["body"] for r in seen)
    assert {r["body_bytes"] for r in seen} <= {len(JSON) + len("ock-model")}
    gateway.assert_serves()
    wait_until(lambda: mock.stats()["in_flight"] == 0)
