"""Clients that are slow, idle or many cost little and hold nobody up."""

import contextlib
import select
import shutil
import socket
import subprocess
import time

import pytest

from harness import (Conn, assert_error, basic_config, chat_body, head, post,
                     wait_until)

SECOND = 1.0  # what each of the timeouts below is
LATE = 8.0    # when it must have struck, on a busy machine too
MIB = 1 << 20


@pytest.fixture(scope="module")
def config(mock_server):
    config = basic_config(mock_server)
    config["server"]["timeouts"] = {
        "head": "1s", "body": "1s", "stall": "1s", "idle": "1s"}
    config["upstreams"]["mock"]["queue"] = {"size": 0}
    config["users"]["twice"] = {
        "models": ["*"], "limits": {"concurrent": 2}}
    return config


def drip(gateway, connection, data, pause=0.03):
    """Sends a byte at a time until an answer begins; returns it and how long
    that took.  Others are served meanwhile."""
    begun = time.monotonic()
    at = 0
    while not connection.reader.replies and connection.end is None:
        if at < len(data):
            connection.unsent += data[at:at + 1]
            at += 1
        pace = time.monotonic() + pause
        while not connection.reader.replies and connection.turn(pace):
            pass
        if at % 10 == 1:
            gateway.assert_serves()
        assert time.monotonic() < begun + LATE, "it is still waiting"
    took = time.monotonic() - begun
    replies = connection.read_to_end()
    assert len(replies) == 1 and connection.end == "eof"
    return replies[0], took


def test_a_dripping_head_has_an_absolute_deadline(gateway, mock):
    with gateway.connect() as c:
        reply, took = drip(gateway, c, head(
            key=gateway.keys["alice"], fields=["X-Pad: " + "x" * 1000]))
    assert_error(reply, "408 request_timeout", gateway)
    assert reply.closes and SECOND * 0.9 < took < LATE
    assert mock.stats()["served"] == mock.stats()["answers_finished"]


def test_a_connection_without_a_byte_is_closed_without_a_word(gateway):
    begun = time.monotonic()
    with gateway.connect() as c:
        assert c.read_to_end(LATE) == [] and c.end == "eof"
    assert time.monotonic() - begun > SECOND * 0.9


def test_a_used_connection_is_closed_when_it_idles(gateway):
    with gateway.connect() as c:
        c.send(head("GET", "/healthz"))
        assert c.reply().status == 200
        begun = time.monotonic()
        assert len(c.read_to_end(LATE)) == 1 and c.end == "eof"
    assert time.monotonic() - begun > SECOND * 0.9


def test_a_second_head_that_drips_has_the_same_deadline(gateway):
    with gateway.connect() as c:
        c.send(head("GET", "/healthz"))
        c.until(lambda c: c.reader.replies)
        del c.reader.replies[:]
        reply, took = drip(gateway, c, head(fields=["X: " + "x" * 1000]))
    assert_error(reply, "408 request_timeout")
    assert SECOND * 0.9 < took < LATE


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_dripping_body_has_an_absolute_deadline(gateway, mock, framing):
    body = post(chat_body(padding="x" * 4000)).partition(b"\r\n\r\n")[2]
    fields = [f"Content-Length: {len(body)}"]
    if framing == "chunked":
        fields = ["Transfer-Encoding: chunked"]
        body = b"%x\r\n" % len(body) + body
    with gateway.connect(["POST"]) as c:
        c.send(head("POST", "/v1/chat/completions", gateway.keys["alice"],
                    fields))
        reply, took = drip(gateway, c, body)
    assert_error(reply, "408 request_timeout", gateway)
    assert reply.closes and SECOND * 0.9 < took < LATE
    line, = gateway.lines()
    assert (line["end"], line["status"]) == ("body_timeout", 408)
    assert line["upstream"] is None
    assert not any("padding" in r["body"] for r in mock.requests())


def test_a_body_that_never_comes_has_the_deadline_too(gateway, mock):
    with gateway.connect(["POST"]) as c:
        c.send(head("POST", "/v1/chat/completions", gateway.keys["alice"],
                    ["Content-Length: 10"]))
        assert_error(c.reply(LATE), "408 request_timeout")
        c.read_to_end()
    mock.assert_untouched()


def send_at(rate, connections, seconds):
    """Sends a body on each, so many bytes a second, until it is answered."""
    begun = time.monotonic()
    sent = 0
    while time.monotonic() < begun + seconds:
        due = int((time.monotonic() - begun) * rate)
        for c in connections:
            if not c.reader.replies and c.end is None:
                c.unsent += b"x" * (due - sent)
                c.turn(time.monotonic() + 0.01)
        sent = due
        if all(c.reader.replies for c in connections):
            break
        time.sleep(0.05)  # this is how slow they are
    return time.monotonic() - begun


def test_a_body_slower_than_the_least_rate_is_not_waited_for(
        config, start, mock):
    """1 KiB a second, over spans of 10 s; the time for all of it is far."""
    config = {**config, "server": {**config["server"], "timeouts": {
        "body": "60s"}}}
    gateway = start(config)
    mock.reset()

    def begin(framing):
        c = gateway.connect(["POST"])
        c.send(head("POST", "/v1/chat/completions", gateway.keys["alice"],
                    [framing]))
        return c
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(begin(f)) for f in (
            "Content-Length: 100000", "Content-Length: 9000")]
        coded = stack.enter_context(begin("Transfer-Encoding: chunked"))
        coded.unsent = b"%x\r\n" % 100000
        took = send_at(500, [*slow, coded], 9.5)
        assert took >= 9.5, "nobody is judged before the span is over"
        begun = time.monotonic()
        for c in (*slow, coded):
            reply = c.reply(LATE)
            assert_error(reply, "408 request_timeout", gateway)
            assert reply.closes
            c.read_to_end()
        assert time.monotonic() - begun < 4
        gateway.assert_serves()
    lines = gateway.lines()
    assert [x["end"] for x in lines].count("body_timeout") == 3
    mock.wait_stats(in_flight=0)


def test_a_body_just_above_the_least_rate_gets_its_answer(
        config, start, mock):
    """Over one span, and into the next one."""
    config = {**config, "server": {**config["server"], "timeouts": {
        "body": "60s"}}}
    gateway = start(config)
    mock.reset()
    body = post(chat_body("tokens=1", padding="x" * 26000)).partition(
        b"\r\n\r\n")[2]
    begun, sent = time.monotonic(), 0
    with gateway.connect(["POST"]) as c:
        c.send(head("POST", "/v1/chat/completions", gateway.keys["alice"],
                    [f"Content-Length: {len(body)}"]))
        while sent < len(body):
            due = int((time.monotonic() - begun) * 2000)
            c.unsent += body[sent:due]
            sent = due
            c.turn(time.monotonic() + 0.01)
            time.sleep(0.05)  # this is how slow it is
        assert c.reply().status == 200
    assert time.monotonic() - begun > 12


def test_a_stranger_is_refused_before_the_body(gateway, mock):
    with gateway.connect(["POST"]) as c:
        c.send(head("POST", "/v1/chat/completions", None,
                    ["Content-Length: 1000000"]))
        assert_error(c.reply(SECOND * 0.8), "401 invalid_api_key")
        c.read_to_end(SECOND * 0.8)
    mock.assert_untouched()


def test_200_slow_heads_hold_nobody_up(gateway):
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(gateway.connect()) for _ in range(200)]
        for c in slow:
            c.send(head(key=gateway.keys["alice"])[:40])
        begun = time.monotonic()
        gateway.assert_serves()
        assert time.monotonic() - begun < SECOND
        for c in slow:
            assert c.reply(LATE).status == 408
            c.read_to_end()


@pytest.mark.skipif(not shutil.which("slowhttptest"),
                    reason="slowhttptest is not installed")
@pytest.mark.parametrize("options", [
    ["-H"], ["-B", "-s", "65536", "-t", "POST"], ["-X", "-w", "1", "-y", "16",
                                                  "-n", "1", "-z", "32"]],
    ids=["slow heads", "slow bodies", "slow reads"])
def test_slowhttptest_takes_nothing_down(gateway, options, tmp_path):
    """It stops by itself when it has lost all its connections."""
    tester = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "slowhttptest", *options, "-c",
         "200", "-r", "200", "-i", "1", "-l", "5", "-u",
         f"http://127.0.0.1:{gateway.port}/v1/models"],
        cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)

    def has_ended():
        gateway.assert_serves()
        return tester.poll() is not None
    wait_until(has_ended, 30)


# --- readers -----------------------------------------------------------------

ENDLESS = "tokens=1600,size=65536"  # 100 MiB


def read_nothing(_):
    pass


def read_a_byte(connection):
    """Less than what would open the window again."""
    with contextlib.suppress(BlockingIOError, ConnectionResetError):
        connection.sock.recv(1)


@pytest.mark.parametrize("reads", [read_nothing, read_a_byte])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
def test_who_stops_reading_costs_little_and_is_cut(
        gateway, mock, stream, reads):
    directives = ENDLESS if stream else f"size={60 * MIB}"
    gateway.assert_serves()
    mock.reset()
    before = gateway.rss_bytes()
    most = 0
    with gateway.connect(receive_buffer=1024) as c:
        c.send(post(chat_body(directives, stream=stream),
                    gateway.keys["alice"]))
        begun = time.monotonic()

        def is_cut():
            nonlocal most
            most = max(most, gateway.rss_bytes())
            reads(c)
            return mock.stats()["answers_cut"] == 1
        wait_until(is_cut, LATE)
        assert time.monotonic() - begun > SECOND * 0.9
        line, = gateway.lines()
    assert line["end"] == "client_gone"
    assert line["bytes_out"] < 20 * MIB
    assert most - before < 4 * MIB, (most - before) / MIB
    mock.wait_stats(in_flight=0, connections_open=0)


def test_who_reads_slowly_but_reads_gets_everything(gateway, mock):
    """The upstream is held back meanwhile, and goes on."""
    with gateway.connect(receive_buffer=4096) as c:
        c.send(post(chat_body("tokens=400,size=65536", stream=True),
                    gateway.keys["alice"]))
        until = time.monotonic() + 2 * SECOND
        while time.monotonic() < until:
            select.select([c.sock], [], [], LATE)
            c.reader.feed(c.sock.recv(2048))
            time.sleep(0.01)  # this is how slow it is
        assert mock.stats()["in_flight"] == 1
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
        reply = c.reply()
    assert reply.is_whole and len(reply.text()) == 400 * 65536
    line, = gateway.lines()
    assert line["end"] == "ok" and line["completion_tokens"] == 400


# --- many --------------------------------------------------------------------

CAP = 24


@pytest.fixture
def capped(config, start, mock):
    config = {**config, "server": {**config["server"],
                                   "max_connections": CAP}}
    mock.reset()
    return start(config)


def streaming(gateway, stack, key="alice", directives="tokens=100,"
              "interval=20,early=2"):
    """An open stream of which the first word has come."""
    c = stack.enter_context(gateway.connect())
    c.send(post(chat_body(directives, stream=True), gateway.keys[key]))
    c.until(lambda c: b"data: " in c.body_so_far())
    return c


def client_sockets(gateway):
    return len(gateway.fds()) - gateway.quiet_fds


def test_past_the_cap_idle_connections_go_first(capped, mock):
    with contextlib.ExitStack() as stack:
        stream = streaming(capped, stack)
        idle = [stack.enter_context(capped.connect()) for _ in range(100)]
        for c in idle[::2]:
            c.send(b"GET /v1/models HTTP/1.1\r\nHost: gate")
        capped.assert_serves()
        assert client_sockets(capped) <= CAP + 2  # and the upstream's two
        assert capped.get("/v1/models", capped.keys["alice"]).status == 200
        reply = stream.reply()
        assert reply.is_whole and reply.text().count(" ") == 100
        for c in idle:
            assert all(r.status == 408 for r in c.read_to_end(LATE))


def test_past_the_cap_the_idle_one_goes_whichever_thread_has_it(
        capped, mock):
    with contextlib.ExitStack() as stack:
        for _ in range(CAP - 1):
            streaming(capped, stack, directives="tokens=99,interval=9000,"
                      "early=2")
        full = len(capped.fds()) + 1
        for _ in range(20):  # by chance all meet on one thread: 1 in 2^20
            with capped.connect() as idle:
                wait_until(lambda: len(capped.fds()) == full)
                reply = capped.get("/v1/models", capped.keys["alice"])
                assert reply.status == 200
                assert idle.read_to_end() == []
            wait_until(lambda: len(capped.fds()) < full)


def test_past_the_cap_with_streams_alone_a_newcomer_is_closed(capped, mock):
    with contextlib.ExitStack() as stack:
        streams = [streaming(capped, stack) for _ in range(CAP)]
        late = stack.enter_context(capped.connect())
        late.unsent = head(key=capped.keys["alice"])
        assert late.read_to_end() == []
        for c in streams:
            assert c.reply().text().count(" ") == 100
    capped.assert_serves()


def limit_files(gateway, soft):
    subprocess.run(
        ["prlimit", "--pid", str(gateway.process.pid), f"--nofile={soft}:"],
        check=True, timeout=20)


def test_without_descriptors_it_waits_and_goes_on(config, start, mock):
    gateway = start(config)
    gateway.assert_serves()
    wait_until(lambda: len(gateway.fds()) == gateway.quiet_fds)
    limit_files(gateway, gateway.quiet_fds + 6)
    with contextlib.ExitStack() as stack:
        many = [stack.enter_context(gateway.connect()) for _ in range(24)]
        for c in many:
            c.send(b"GET /v1/models HTTP/1.1\r\n")
        wait_until(lambda: "cannot accept a connection" in gateway.log())
        spent, begun = gateway.cpu_seconds(), time.monotonic()
        # Those that were taken are cut at their deadline, and make room.
        for c in many:
            assert c.reply(4 * LATE).status == 408
            c.close()
        took = time.monotonic() - begun
        assert gateway.cpu_seconds() - spent < 0.2 + took / 4
    gateway.assert_serves()
    limit_files(gateway, 1024)


def test_a_low_limit_of_descriptors_lowers_the_cap(config, start, mock):
    gateway = start(config, prefix=["prlimit", "--nofile=128:128"])
    with contextlib.ExitStack() as stack:
        stream = streaming(gateway, stack)
        for _ in range(300):
            stack.enter_context(gateway.connect())
        gateway.assert_serves()
        assert client_sockets(gateway) <= (128 - 64) // 2 + 2
        assert stream.reply().text().count(" ") == 100
    assert len(gateway.lines()) == 1
    assert "cannot accept" not in gateway.log()


def test_one_request_too_many_at_once_is_told_when_to_come_back(
        gateway, mock):
    key = gateway.keys["twice"]
    with contextlib.ExitStack() as stack:
        first = streaming(gateway, stack, "twice", "tokens=9,interval=9000,"
                          "early=2")
        streaming(gateway, stack, "twice", "tokens=9,interval=9000,early=2")
        refused = gateway.chat(key=key)
        assert_error(refused, "429 rate_limit_exceeded", gateway)
        assert int(refused.header("retry-after")) >= 1
        gateway.assert_serves()
        first.close()
        begun = time.monotonic()
        wait_until(lambda: gateway.chat("tokens=1", key).status == 200)
        assert time.monotonic() - begun < 1.0
    wait_until(lambda: len(gateway.lines()) >= 4)
    ends = [x["end"] for x in gateway.lines()]
    assert ends.count("client_gone") == 2 and ends.count("ok") == 1
    assert set(ends) == {"client_gone", "ok", "concurrent"}


def test_a_reset_gives_everything_back_at_once(gateway, mock):
    c = Conn(gateway.port)
    c.send(post(chat_body("fault=hang_mid", stream=True),
                gateway.keys["alice"]))
    c.until(lambda c: b"data: " in c.body_so_far())
    c.reset()
    mock.wait_stats(in_flight=0, answers_cut=1)
    line, = gateway.lines()
    assert line["end"] == "client_gone"
