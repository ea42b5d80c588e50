"""What its operator does to it while people use it: reload, stop, rotate the
ledger, start it twice; and what it does with clients that leave or do not
read."""

import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import time

import pytest

from dialects import ANTHROPIC, CHAT, assert_says, new_lines
from harness import basic_config, bin_dir, head, wait_until
from tracing import NO_LEAK_CHECK, needs_strace

BUSY = "overloaded"
in_both_dialects = pytest.mark.parametrize(
    "dialect", [CHAT, ANTHROPIC], ids=lambda d: d.name)


@pytest.fixture
def own(start, mock_server, mock):
    gateway = start(basic_config(mock_server))
    mock.reset()
    return gateway


def open_stream(gateway, dialect=CHAT, directives="tokens=500,interval=20",
                user="alice"):
    """A stream whose first word has come."""
    conn = gateway.connect(["POST"])
    conn.send(dialect.request(gateway.keys[user], directives, stream=True))
    conn.until(lambda c: c.body_so_far().count(b" tea") > 0)
    return conn


def wait_for_log(gateway, text):
    wait_until(lambda: text in gateway.log(), what=f"the log says {text!r}")


# --- reload ------------------------------------------------------------------

# A sentence, what is done to the text of a good file, what is then logged.
BROKEN = [
    ("half of it", lambda t: t[:len(t) // 2], "error"),
    ("nothing", lambda t: "", "error"),
    ("an unknown key", lambda t: t.replace('"models"', '"modles"', 1),
     "modles"),
    ("an upstream that is not there",
     lambda t: t.replace('"to": "mock"', '"to": "mokc"'),
     "did you mean 'mock'"),
    ("a key twice", lambda t: t.replace(
        '"version": 1', '"version": 1, "version": 1'), "duplicate"),
    ("a secret in clear", lambda t: t.replace(
        '"url":', '"api_key": "sk-live-123", "url":', 1), "api_key"),
    ("another version", lambda t: t.replace('"version": 1', '"version": 2'),
     "version"),
]


@pytest.mark.parametrize("row", BROKEN, ids=[r[0] for r in BROKEN])
def test_a_file_with_errors_changes_nothing(own, mock, row):
    _, change, word = row
    text = json.dumps({**own.config, "models": {
        **own.config["models"], "new": own.config["models"]["m"]}}, indent=1)
    with open_stream(own, directives="tokens=12,interval=20") as stream:
        own.write(change(text))
        log = own.reload()
        assert "the configuration is unchanged" in log and word in log, log
        assert str(own.path) in log
        assert own.chat("tokens=1").status == 200
        assert own.chat("tokens=1", model="new").status == 404
        assert CHAT.has_end_mark(stream.reply().body)
    own.write(text)
    assert "loaded again" in own.reload()
    assert own.chat("tokens=1", model="new").status == 200
    own.stop()


def test_streams_keep_their_route_over_a_reload(own, mock):
    config = own.config
    with open_stream(own, directives="tokens=15,interval=20") as stream:
        config["models"] = {"other": config["models"]["m"]}
        config["upstreams"]["mock"]["max_inflight"] = 5
        own.write(config)
        assert "loaded again" in own.reload()
        assert own.chat("tokens=1").status == 404
        assert own.chat("tokens=1", model="other").status == 200
        assert CHAT.has_end_mark(stream.reply().body)
    assert {x["end"] for x in new_lines(own, 3)} == {"ok", "model_not_found"}
    own.stop()


def test_reloads_under_load_fail_no_request(own, mock):
    with own.connect(["POST"] * 2000) as c:
        for i in range(60):
            own.send_signal(signal.SIGHUP)
            for dialect in (CHAT, ANTHROPIC):
                c.send(dialect.request(own.keys["alice"], "tokens=3",
                                       stream=i % 2 == 0))
                assert dialect.text(c.reply()) == " tea sea sun"
    assert {x["end"] for x in new_lines(own, 120)} == {"ok"}
    own.stop()


def test_what_needs_a_restart_is_named_and_left_alone(own, mock):
    config = own.config
    port = own.port
    config["server"] |= {"listen": ["127.0.0.1:1"], "workers": 1,
                         "state_dir": str(own.folder / "elsewhere")}
    own.write(config)
    log = own.reload()
    for word in ("server.listen", "server.workers", "server.state_dir"):
        assert f"{word} has changed: that needs a restart" in log, log
    assert own.port == port and own.chat("tokens=1").status == 200
    assert len(own.lines()) == 1
    own.stop()


# --- stop --------------------------------------------------------------------

@in_both_dialects
def test_streams_may_finish_while_new_requests_are_sent_away(
        own, mock, dialect):
    with open_stream(own, dialect, "tokens=40,interval=20") as stream, \
            own.connect() as idle:
        idle.send(head(key=own.keys["bob"]))
        assert idle.reply().status == 200
        own.send_signal(signal.SIGTERM)
        wait_for_log(own, "stopping")
        assert own.get("/readyz").status == 503
        assert own.get("/healthz").status == 200
        reply = own.send(dialect.request(own.keys["bob"]))
        assert_says(dialect, reply, 503, BUSY)
        assert reply.closes and reply.header("retry-after")
        idle.read_to_end()
        reply, = stream.read_to_end()
        assert dialect.has_end_mark(reply.body) and reply.is_whole
        assert len(dialect.text(reply).split()) == 40
    own.stop()
    ended = {x["user"]: x["end"] for x in own.ledger()[own.mark:]}
    assert ended == {"alice": "ok", "bob": "draining"}


@in_both_dialects
def test_a_second_signal_cuts_what_is_left(own, mock, dialect):
    with open_stream(own, dialect) as stream, own.connect(["POST"]) as waiting:
        waiting.send(dialect.request(own.keys["bob"], "ttft=60s"))
        mock.wait_stats(in_flight=2)
        own.send_signal(signal.SIGTERM)
        wait_for_log(own, "stopping")
        own.send_signal(signal.SIGTERM)
        reply, = stream.read_to_end()
        assert not reply.is_whole and not dialect.has_end_mark(reply.body)
        assert dialect.error_event(reply.body), reply.body
        assert_says(dialect, waiting.reply(), 503, BUSY)
        mock.wait_stats(in_flight=0)
    own.stop(timeout=5)
    lines = {x["user"]: x for x in own.ledger()[own.mark:]}
    assert {x["end"] for x in lines.values()} == {"shutdown"}
    assert lines["alice"]["usage_source"] in ("running", "estimated")
    assert lines["alice"]["completion_tokens"] > 0


def test_after_the_drain_time_streams_are_cut(start, mock_server, mock):
    config = basic_config(mock_server)
    config["server"]["drain"] = "1s"
    gateway = start(config)
    with open_stream(gateway) as stream:
        begun = time.monotonic()
        gateway.send_signal(signal.SIGTERM)
        reply, = stream.read_to_end()
        assert 0.9 < time.monotonic() - begun < 4
        assert CHAT.error_event(reply.body)
    gateway.stop(timeout=5)
    assert gateway.ledger()[-1]["end"] == "shutdown"


def test_with_nothing_under_way_it_ends_at_once(own, mock):
    with own.connect() as idle, own.connect() as silent:
        idle.send(head(key=own.keys["bob"]))
        idle.reply()
        begun = time.monotonic()
        own.stop(signal.SIGINT)
        assert time.monotonic() - begun < 2
        idle.read_to_end()
        silent.read_to_end()


def test_a_restart_goes_on_with_the_same_ledger(own, mock):
    assert own.chat("tokens=1").status == 200
    own.stop()
    before = own.ledger_path.read_bytes()
    own.start()
    assert own.chat("tokens=1").status == 200
    own.stop()
    assert own.ledger_path.read_bytes().startswith(before)
    assert len({x["writer"] for x in own.ledger()}) == 2


def test_a_torn_last_line_is_set_aside(own, mock):
    assert own.chat("tokens=1").status == 200
    assert len(own.lines()) == 1
    own.kill()
    before = own.ledger()
    with open(own.ledger_path, "ab") as ledger:
        ledger.write(b'{"ts":"2026-01-01T00:00:00Z","user":"al')
    own.start()
    wait_for_log(own, "was torn")
    assert own.chat("tokens=1").status == 200
    own.stop()
    assert own.ledger()[:len(before)] == before
    torn, = own.state.glob("torn-*")
    assert torn.read_bytes() == b'{"ts":"2026-01-01T00:00:00Z","user":"al'


# --- signals -----------------------------------------------------------------

@pytest.mark.parametrize("name", ["SIGPIPE", "SIGUSR1", "SIGUSR2", "SIGALRM",
                                  "SIGCHLD", "SIGWINCH", "SIGURG", "SIGCONT",
                                  "SIGXFSZ", "SIGHUP", "SIGQUIT"])
def test_no_signal_ends_it_but_those_that_are_documented(own, mock, name):
    with open_stream(own, directives="tokens=10,interval=20") as stream:
        for _ in range(3):
            own.send_signal(getattr(signal, name))
            assert own.chat("tokens=1").status == 200
        assert CHAT.has_end_mark(stream.reply().body)
    assert len(new_lines(own, 4)) == 4
    own.stop()


def test_the_ledger_may_be_moved_away(own, mock):
    for i in range(3):
        assert own.chat("tokens=1").status == 200
        assert len(own.lines()) == 1
        own.ledger_path.rename(own.folder / f"moved-{i}.jsonl")
        before = len(own.log())
        own.send_signal(signal.SIGUSR1)
        wait_until(own.ledger_path.exists, what="a new file is begun")
        assert "error" not in own.log()[before:]
        own.begin()
    text = "".join((own.folder / f"moved-{i}.jsonl").read_text()
                   for i in range(3)) + own.ledger_path.read_text()
    seen = [json.loads(x)["seq"] for x in text.splitlines()]
    assert seen == list(range(seen[0], seen[0] + len(seen)))
    assert os.stat(own.ledger_path).st_mode & 0o007 == 0
    own.stop()


def test_a_ledger_that_cannot_be_written_stops_requests_until_it_can(
        start, mock_server, mock):
    """Nobody is served whom nobody will have charged."""
    gateway = start(basic_config(mock_server))
    resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE,
                     (60000, resource.RLIM_INFINITY))
    wait_until(lambda: gateway.chat("tokens=1").status != 200,
               what="the file is full")
    reply = gateway.chat("tokens=1")
    assert_says(CHAT, reply, 503, BUSY)
    assert "ledger" in reply.json()["error"]["message"]
    assert gateway.get("/readyz").status == 503
    assert gateway.get("/healthz").status == 200
    served = mock.stats()["served"]
    gateway.ledger_path.rename(gateway.folder / "full.jsonl")
    gateway.send_signal(signal.SIGUSR1)
    wait_until(lambda: gateway.chat("tokens=1").status == 200,
               what="it is written again")
    gateway.flush_ledger()
    lines = [json.loads(x) for x in (
        gateway.folder / "full.jsonl").read_text().splitlines()]
    lines += gateway.ledger()
    assert sum(len(x["attempts"]) for x in lines) == served + 1
    gateway.stop()


# --- starting ----------------------------------------------------------------

@needs_strace
def test_where_it_is_reached_is_one_write(start, mock_server, tmp_path):
    """Other threads log at that time; their lines must not come in between."""
    calls = tmp_path / "calls"
    gateway = start(basic_config(mock_server), env=NO_LEAK_CHECK, prefix=[
        "strace", "-D", "-f", "-q", "-s", "4096", "-o", calls,
        "-e", "trace=write"])
    where = f"http://127.0.0.1:{gateway.port}/v1\\n"
    wait_until(lambda: any(
        re.search(r"write\(2, \"weir .*\\nreach it at http", line)
        and where in line for line in calls.read_text().splitlines()),
        what="one write says it all")


def refused(gateway, text, *argv):
    path = gateway.folder / "second.yaml"
    path.write_text(json.dumps(text))
    done = gateway.command("serve", "-c", str(path), *argv, check=False)
    assert done.returncode == 1 and "reach it at" not in done.stderr, done
    assert gateway.chat("tokens=1").status == 200
    return done.stderr


def test_there_is_one_gateway_a_state_folder(own, mock):
    errors = refused(own, own.config)
    assert "another gateway runs" in errors and str(own.state) in errors
    own.stop()


def test_there_is_one_gateway_a_port(own, mock):
    config = own.config
    config["server"] = {"listen": [f"127.0.0.1:{own.port}"],
                        "state_dir": str(own.folder / "second")}
    errors = refused(own, config)
    assert f"127.0.0.1:{own.port}" in errors, errors
    for _ in range(50):
        assert own.chat("tokens=1").status == 200
    own.stop()


def test_without_a_configuration_it_says_where_it_looked(tmp_path):
    environment = {k: v for k, v in os.environ.items()
                   if not k.startswith(("WEIR_", "XDG_"))}
    environment |= {"HOME": str(tmp_path / "home"),
                    "ASAN_OPTIONS": "detect_leaks=1"}
    if pathlib.Path("/etc/weir/weir.yaml").exists():
        pytest.skip("this machine has a configuration")
    done = subprocess.run([bin_dir() / "weir", "serve"], env=environment,
                          cwd=tmp_path, capture_output=True, text=True,
                          timeout=30, check=False)
    assert done.returncode == 1 and done.stdout == "", done
    for place in ("./weir.yaml", "/etc/weir/weir.yaml",
                  f"{tmp_path}/home/.config/weir/weir.yaml"):
        assert place in done.stderr, done.stderr
    for key in ("version: 1", "upstreams:", "models:", "users:"):
        assert key in done.stderr, done.stderr
    assert list(tmp_path.iterdir()) == []


# Where the file is, by the variables and the folder.
PLACES = [("WEIR_CONFIG", "given.yaml"), ("cwd", "cwd/weir.yaml"),
          ("XDG_CONFIG_HOME", "xdg/weir/weir.yaml"),
          ("HOME", "home/.config/weir/weir.yaml")]


def test_the_first_place_that_has_one_counts(tmp_path, mock):
    (tmp_path / "cwd").mkdir()
    environment = {k: v for k, v in os.environ.items()
                   if not k.startswith(("WEIR_", "XDG_"))}
    environment |= {"HOME": str(tmp_path / "home"),
                    "XDG_CONFIG_HOME": str(tmp_path / "xdg"),
                    "WEIR_CONFIG": str(tmp_path / "given.yaml")}
    for _, place in PLACES:
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(basic_config(mock)))
    for variable, place in PLACES:
        if variable == "HOME":
            del environment["XDG_CONFIG_HOME"]
        done = subprocess.run(
            [bin_dir() / "weir", "check"], env=environment,
            cwd=tmp_path / "cwd", capture_output=True, text=True, timeout=30,
            check=False)
        shown = place.removeprefix("cwd/")
        assert done.returncode == 0 and f"{shown}: ok" in \
            done.stdout + done.stderr, (variable, done)
        (tmp_path / place).unlink()
        environment.pop("WEIR_CONFIG", None)


# --- clients -----------------------------------------------------------------

# A sentence, directives, streamed, how the client leaves.
LEAVING = [
    ("before an answer", "ttft=60s", False, "close"),
    ("before a stream", "ttft=60s", True, "reset"),
    ("before content", "early=2,ttft=60s", True, "close"),
    ("in a stream", "tokens=2,interval=60s", True, "close"),
    ("in a stream, hard", "tokens=2,interval=60s", True, "reset"),
    ("just before the usage", "tokens=2,tail=60s", True, "close"),
    ("in a stream without end", "tokens=10000000,interval=1", True, "close"),
]


@in_both_dialects
@pytest.mark.parametrize("row", LEAVING, ids=[r[0] for r in LEAVING])
def test_when_the_client_leaves_the_server_is_left_at_once(
        gateway, mock, dialect, row):
    sentence, directives, is_stream, how = row
    conn = gateway.connect(["POST"])
    conn.send(dialect.request(gateway.keys["alice"], directives,
                              stream=is_stream))
    if directives.startswith("tokens"):
        conn.until(lambda c: b" tea" in c.body_so_far())
    else:
        mock.wait_stats(in_flight=1)
    conn.reset() if how == "reset" else conn.close()
    begun = time.monotonic()
    mock.wait_stats(in_flight=0, connections_open=0, answers_cut=1)
    assert time.monotonic() - begun < 1
    line, = new_lines(gateway, 1)
    assert line["end"] == "client_gone", line
    assert line["usage_source"] in ("running", "estimated"), line
    assert line["prompt_tokens"] > 0, line
    assert (line["status"] == 200) == directives.startswith("tokens"), line


def test_a_client_that_leaves_in_its_request_asks_nobody(gateway, mock):
    data = CHAT.request(gateway.keys["alice"])
    with gateway.connect() as c:
        c.send(data[:-5])
        wait_until(c.is_taken)
    line, = new_lines(gateway, 1)
    assert (line["end"], line["attempts"], line["usage_source"]) == \
        ("client_gone", [], "none"), line
    assert line["bytes_in"] == len(data.partition(b"\r\n\r\n")[2]) - 5
    mock.assert_untouched()


# A word of 100 KB, a thousand times: 100 MB.
HUGE = "tokens=1000,size=100000"


@pytest.fixture
def impatient(start, mock_server, mock):
    config = basic_config(mock_server)
    config["server"]["timeouts"] = {"stall": "2s"}
    gateway = start(config)
    mock.reset()
    yield gateway
    gateway.stop()


@in_both_dialects
def test_a_client_that_does_not_read_holds_the_server_back(
        impatient, mock, dialect):
    gateway = impatient
    gateway.assert_serves()
    before = gateway.rss_bytes()
    most = before
    with gateway.connect(["POST"], receive_buffer=4096) as c:
        c.sock.send(dialect.request(gateway.keys["alice"], HUGE, stream=True))
        begun = time.monotonic()
        mock.wait_stats(in_flight=1)
        while mock.stats()["in_flight"] == 1:
            most = max(most, gateway.rss_bytes())
            assert time.monotonic() - begun < 20
        took = time.monotonic() - begun
        # Others are served meanwhile and after.
        gateway.assert_serves()
    assert 1.9 < took < 6, "it was cut at another time than the stall's"
    assert most - before < 8 << 20, "the stream was kept in memory"
    sent = mock.requests()[0]["served"]["bytes"]
    assert sent < 32 << 20, "the server was not held back"
    line, = new_lines(gateway, 1)
    assert line["end"] == "client_gone", line
    assert line["usage_source"] in ("running", "estimated"), line
    assert 0 < line["bytes_out"] < 32 << 20


def test_a_client_that_reads_slowly_is_not_cut(impatient, mock):
    """It reads for longer than it may stand still, and gets all of it."""
    gateway = impatient
    directives = "tokens=100,size=100000"
    with gateway.connect(["POST"], receive_buffer=65536) as c:
        c.send(CHAT.request(gateway.keys["alice"], directives, stream=True))
        begun = time.monotonic()
        got = 0
        while time.monotonic() - begun < 3.5 and c.end is None:
            # As much as a share of the time that has gone.
            due = int((time.monotonic() - begun) * 1_500_000)
            if got < due and c.turn(time.monotonic() + 1):
                got = len(c.body_so_far()) + len(c.reader.raw)
        assert mock.stats()["in_flight"] == 1, "it was not slow enough"
        reply = c.reply()
    assert CHAT.has_end_mark(reply.body) and len(reply.body) > 10_000_000
    line, = new_lines(gateway, 1)
    assert (line["end"], line["completion_tokens"]) == ("ok", 100), line


def test_many_clients_that_do_not_read_do_not_hold_others(impatient, mock):
    gateway = impatient
    conns = [gateway.connect(["POST"], receive_buffer=4096)
             for _ in range(30)]
    before = gateway.rss_bytes()
    for c in conns:
        c.sock.send(CHAT.request(gateway.keys["alice"], HUGE, stream=True))
    mock.wait_stats(served=30)
    for _ in range(50):
        gateway.assert_serves()
    assert gateway.rss_bytes() - before < 64 << 20
    mock.wait_stats(in_flight=0)
    for c in conns:
        c.close()
    assert {x["end"] for x in new_lines(gateway, 30)} == {"client_gone"}
