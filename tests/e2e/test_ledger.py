"""The ledger on a disk that is full, slow, sick or moved away, while people use
the gateway: no line is lost, no line is doubled, and nobody is served whom
nobody will have charged."""

import contextlib
import os
import re
import resource
import signal
import subprocess
import time

import pytest

from dialects import CHAT
from harness import PATIENCE, basic_config, wait_until
from load import Load
from segments import check_numbers, read_segments, segment_paths
from tracing import NO_LEAK_CHECK, needs_strace

NOTICED_S = 1.0   # a disk that takes nothing
RESUMED_S = 5.0   # and one that does again
ALWAYS = {"fsync": "always"}


def config_with(mock_server, **ledger):
    config = basic_config(mock_server)
    config["ledger"] = ledger
    return config


def readiness(gateway):
    return gateway.get("/readyz").status


def tags_of(lines):
    return [x["client_request_id"] for x in lines
            if x["client_request_id"] and
            not x["client_request_id"].startswith("flush-")]


def ask(gateway, tag, directives="tokens=2", **members):
    return gateway.chat(directives, fields=[f"X-Request-Id: {tag}"],
                        **members)


def tiny(_):
    return "tokens=1", {}


# --- how soon a line is safe -------------------------------------------------

@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_with_always_the_line_is_there_before_the_answer_has_ended(
        start, mock_server, mock, stream):
    gateway = start(config_with(mock_server, **ALWAYS))
    for i in range(40):
        reply = ask(gateway, f"t{i}", stream=stream)
        # No waiting here.
        line = gateway.ledger()[-1]
        assert line["client_request_id"] == f"t{i}", line
        assert (line["end"], line["completion_tokens"]) == ("ok", 2), line
        assert line["bytes_out"] == len(reply.body), line
    gateway.stop()


def test_with_always_content_does_not_wait(start, mock_server, mock):
    """Only the answer's end does."""
    gateway = start(config_with(mock_server, **ALWAYS))
    with gateway.connect(["POST"]) as c:
        c.send(CHAT.request(gateway.keys["alice"],
                            "tokens=3,interval=1,tail=60s", stream=True))
        c.until(lambda c: b" sun" in c.body_so_far())
        assert gateway.lines() == []
    gateway.stop()


def test_with_always_many_answers_end_together(start, mock_server, mock):
    gateway = start(config_with(mock_server, **ALWAYS))
    load = Load(gateway.port, gateway.keys["alice"], "g", 30,
                lambda n: ("tokens=2,interval=1", {"stream": n % 2 == 0}))
    wait_until(lambda: len(load.answered) > 600)
    load.stop()
    gateway.stop()
    lines = read_segments(gateway.ledger_path)
    check_numbers(lines)
    assert load.answered <= {x["client_request_id"] for x in lines
                             if x["end"] == "ok"}


ENDS = [
    ("an error of the upstream", "status=500", False, "upstream_error"),
    ("an error that asks for patience", "status=429", True, "upstream_error"),
    ("a stream that breaks off", "tokens=9,fault=reset_mid", True,
     "upstream_reset"),
    ("an answer that never comes", "fault=reset_before_head", False,
     "upstream_reset"),
]


@pytest.mark.parametrize("row", ENDS, ids=[r[0] for r in ENDS])
def test_with_always_a_bad_end_waits_for_its_line_too(
        start, mock_server, mock, row):
    _, directives, stream, end = row
    gateway = start(config_with(mock_server, **ALWAYS))
    for _ in range(5):
        before = len(gateway.ledger())
        with gateway.connect(["POST"]) as c:
            c.send(CHAT.request(gateway.keys["alice"], directives,
                                stream=stream,
                                fields=["Connection: close"]))
            c.read_to_end()
        lines = gateway.ledger()[before:]
        assert [x["end"] for x in lines] == [end], lines
    gateway.stop()


@pytest.fixture
def slow_gateway(start, mock_server, mock, tmp_path):
    """It takes its disk half a second to sync."""
    return start(
        config_with(mock_server, **ALWAYS), env=NO_LEAK_CHECK,
        prefix=["strace", "-D", "-f", "-q", "-o", os.devnull, "-e",
                "trace=fdatasync", "-e",
                "inject=fdatasync:delay_enter=500000"])


def waiting_for_its_end(gateway, tag):
    conn = gateway.connect(["POST"])
    conn.send(CHAT.request(gateway.keys["alice"], "tokens=3", stream=True,
                           fields=[f"X-Request-Id: {tag}"]))
    conn.until(lambda c: b" sun" in c.body_so_far())
    return conn


@needs_strace
def test_who_leaves_while_the_line_is_synced_has_a_whole_line(
        slow_gateway, mock):
    with waiting_for_its_end(slow_gateway, "gone") as conn:
        begun = time.monotonic()
        conn.reset()
    with waiting_for_its_end(slow_gateway, "stays") as conn:
        reply = conn.reply()
        assert CHAT.has_end_mark(reply.body)
        assert time.monotonic() - begun > 0.4
        # The connection serves another one.
        conn.send(CHAT.request(slow_gateway.keys["alice"], "tokens=1"))
    slow_gateway.stop()
    lines = {x["client_request_id"]: x
             for x in read_segments(slow_gateway.ledger_path)}
    assert lines["gone"]["end"] == lines["stays"]["end"] == "ok"
    assert lines["gone"]["completion_tokens"] == 3


@needs_strace
def test_who_stops_it_while_a_line_is_synced_waits_for_that(
        slow_gateway, mock):
    conns = [waiting_for_its_end(slow_gateway, f"t{i}") for i in range(5)]
    slow_gateway.send_signal(signal.SIGTERM)
    for conn in conns:
        assert CHAT.has_end_mark(conn.reply().body)
        conn.close()
    slow_gateway.stop()
    assert sorted(tags_of(read_segments(slow_gateway.ledger_path))) == \
        [f"t{i}" for i in range(5)]


class Traced:
    """A gateway whose system calls on its files and sockets are written down.
    Events are (seconds, kind, what): a line of the ledger is written, the
    ledger is synced, an answer's end is sent."""

    CALLS = "write,fdatasync,sendmsg"

    def __init__(self, start, config, folder):
        self.log_path = folder / "calls"
        self.gateway = start(
            config, env=NO_LEAK_CHECK,
            prefix=["strace", "-D", "-f", "-q", "-ttt", "-s", "65536", "-e",
                    f"trace={self.CALLS}", "-o", self.log_path])

    def calls(self):
        """The calls that were made, each when it had returned, and for what
        was sent when it began."""
        begun = {}
        for line in self.log_path.read_text(errors="replace").splitlines():
            thread, at, text = line.split(None, 2)
            at = float(at)
            resumed = re.match(r"<\.\.\. \w+ resumed>", text)
            if text.endswith("<unfinished ...>"):
                begun[thread] = text.removesuffix("<unfinished ...>")
                if text.startswith("sendmsg("):
                    yield at, text
            elif resumed:
                whole = begun.pop(thread, "") + text[resumed.end():]
                if not whole.startswith("sendmsg("):
                    yield at, whole
            else:
                yield at, text

    def events(self):
        for at, text in self.calls():
            written = re.findall(r'\\"client_request_id\\":\\"(t\d+)\\"', text)
            if text.startswith("write(") and written:
                yield at, "line", written
            elif re.match(r"fdatasync\(\d+ *\) += 0", text):
                yield at, "sync", None
            elif text.startswith("sendmsg(") and "[DONE]" in text:
                yield at, "end", None


@needs_strace
def test_with_always_an_end_is_sent_only_when_its_line_is_synced(
        start, mock_server, mock, tmp_path):
    """Whatever a power loss leaves: who has had the end of an answer has a
    line."""
    traced = Traced(start, config_with(mock_server, **ALWAYS), tmp_path)
    for i in range(20):
        assert ask(traced.gateway, f"t{i}", stream=True).status == 200
    traced.gateway.stop()
    written, synced, ended = 0, 0, 0
    for _, kind, what in traced.events():
        if kind == "line":
            written += len(what)
        elif kind == "sync":
            synced = written
        else:
            ended += 1
            assert synced >= ended, (written, synced, ended)
    assert ended == synced == 20


@needs_strace
def test_with_everysec_a_power_loss_takes_at_most_a_second(
        start, mock_server, mock, tmp_path):
    traced = Traced(start, config_with(mock_server), tmp_path)
    begun = time.monotonic()
    sent = 0
    while time.monotonic() - begun < 3.5:
        assert ask(traced.gateway, f"t{sent}").status == 200
        sent += 1
    traced.gateway.stop()
    unsynced, worst, lines, syncs = [], 0, 0, 0
    for at, kind, what in traced.events():
        if kind == "line":
            unsynced.append(at)
            lines += len(what)
        elif kind == "sync":
            worst = max([worst, *(at - x for x in unsynced)])
            unsynced = []
            syncs += 1
    assert lines == sent and unsynced == []
    assert worst < 1.5, "a second, and what the sync takes"
    assert 3 <= syncs <= 8


@needs_strace
def test_with_never_nothing_is_synced(start, mock_server, mock, tmp_path):
    traced = Traced(start, config_with(mock_server, fsync="never"), tmp_path)
    for i in range(10):
        assert ask(traced.gateway, f"t{i}").status == 200
    traced.gateway.stop()
    kinds = [kind for _, kind, _ in traced.events()]
    assert "sync" not in kinds and "line" in kinds


# --- a disk that takes nothing -----------------------------------------------

@contextlib.contextmanager
def file_size_limit(gateway, size):
    """It is full for the gateway alone."""
    pid = gateway.process.pid
    resource.prlimit(pid, resource.RLIMIT_FSIZE,
                     (size, resource.RLIM_INFINITY))
    yield
    resource.prlimit(pid, resource.RLIMIT_FSIZE,
                     (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def mount(*argv):
    """A tmpfs with these options, at this folder; if that may be."""
    done = subprocess.run(["mount", "-t", "tmpfs", *argv], check=False,
                          capture_output=True, timeout=30)
    if done.returncode != 0:
        pytest.skip("nothing may be mounted here")


@contextlib.contextmanager
def mounted(folder, options):
    folder.mkdir(parents=True, exist_ok=True)
    mount("-o", options, "tmpfs", folder)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True, timeout=30)


@contextlib.contextmanager
def filled(folder):
    """Not a byte more."""
    path = folder / "filler"
    with open(path, "wb", buffering=0) as filler:
        with contextlib.suppress(OSError):
            while filler.write(b"x" * 4096):
                pass
    yield
    path.unlink()


def endures_an_outage(gateway, mock, outage):
    """With ten streams under way the disk is full until they have ended.
    Returns the tags that must have their lines."""
    tags = [f"s{i}" for i in range(10)]
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(gateway.connect(["POST"]))
                   for _ in tags]
        for tag, c in zip(tags, streams):
            c.send(CHAT.request(
                gateway.keys["alice"], "tokens=40,interval=30", stream=True,
                fields=[f"X-Request-Id: {tag}"]))
        for c in streams:
            c.until(lambda c: b" tea" in c.body_so_far())
        with outage:
            # The lines of these are the ones that cannot be written.
            begun = time.monotonic()
            asked = 0
            while ask(gateway, f"q{asked}").status == 200:
                tags.append(f"q{asked}")
                asked += 1
                assert time.monotonic() - begun < PATIENCE
            failed = time.monotonic()
            assert readiness(gateway) == 503
            assert gateway.get("/healthz").status == 200
            served = mock.stats()["served"]
            for i in range(20):
                assert ask(gateway, f"no{i}").status == 503
            assert mock.stats()["served"] == served
            # Who is being served is served to the end.
            for c in streams:
                assert CHAT.has_end_mark(c.reply().body)
            assert time.monotonic() - failed < PATIENCE
            assert readiness(gateway) == 503
        ended = time.monotonic()
        wait_until(lambda: readiness(gateway) == 200, RESUMED_S)
        assert ask(gateway, "after").status == 200
        assert time.monotonic() - ended < RESUMED_S
    return [*tags, "after"]


def assert_all_there(gateway, tags):
    lines = read_segments(gateway.ledger_path)
    check_numbers(lines)
    got = [t for t in tags_of(lines) if not t.startswith("no")]
    assert sorted(got) == sorted(tags)
    assert {x["end"] for x in lines
            if x["client_request_id"] in tags} == {"ok"}


@pytest.mark.parametrize("fsync", ["everysec", "always", "never"])
def test_a_full_disk_stops_admission_and_loses_no_line(
        start, mock_server, mock, fsync):
    gateway = start(config_with(mock_server, fsync=fsync))
    assert ask(gateway, "before").status == 200
    gateway.flush_ledger()
    room = gateway.ledger_path.stat().st_size + 1500  # a line and a half
    tags = endures_an_outage(gateway, mock, file_size_limit(gateway, room))
    gateway.stop()
    assert_all_there(gateway, ["before", *tags])
    assert "can be written again" in gateway.log()


@pytest.fixture
def on_small_disk(start, mock_server, mock, tmp_path):
    """A gateway whose state folder is a filesystem of its own."""
    folder = tmp_path / "weir0" / "state"
    with mounted(folder, "size=4m,mode=0700"):
        gateway = start(basic_config(mock_server))
        assert gateway.state == folder
        yield gateway
        if gateway.is_running():
            gateway.stop()


def test_a_full_filesystem_is_noticed_within_a_second(on_small_disk, mock):
    gateway = on_small_disk
    tags = endures_an_outage(gateway, mock, filled(gateway.state))
    with filled(gateway.state):
        while True:
            begun = time.monotonic()
            if ask(gateway, f"t{len(tags)}").status != 200:
                break
            tags.append(f"t{len(tags)}")
            # A line may find room in the last page.
            with contextlib.suppress(AssertionError):
                wait_until(lambda: readiness(gateway) == 503 or
                           gateway.ledger()[-1]["client_request_id"] ==
                           tags[-1], NOTICED_S)
            if readiness(gateway) == 503:
                assert time.monotonic() - begun < NOTICED_S
    wait_until(lambda: readiness(gateway) == 200, RESUMED_S)
    gateway.stop()
    assert_all_there(gateway, tags)


def test_a_folder_that_cannot_be_written_stops_it_until_it_can(
        on_small_disk, mock):
    """Another filesystem, read-only, is mounted over it."""
    gateway = on_small_disk
    tags = ["t0"]
    assert ask(gateway, "t0").status == 200
    gateway.flush_ledger()
    with mounted(gateway.state, "ro"):
        wait_until(lambda: ask(gateway, tags.append(f"t{len(tags)}") or
                               tags[-1]).status == 503)
        tags.pop()
        assert readiness(gateway) == 503
    wait_until(lambda: readiness(gateway) == 200, RESUMED_S)
    gateway.stop()
    assert_all_there(gateway, tags)


# --- a sick disk -------------------------------------------------------------

def sick_gateway(start, config, folder, call, error, when):
    """Some of the ledger's system calls fail."""
    path = folder / "weir0" / "state" / "usage.jsonl"
    path.parent.mkdir(parents=True, mode=0o700)
    path.touch(0o640)
    return start(
        config, env=NO_LEAK_CHECK,
        prefix=["strace", "-D", "-f", "-q", "-o", os.devnull, "-P", path,
                "-e", f"trace={call}", "-e",
                f"inject={call}:error={error}:when={when}"])


@needs_strace
@pytest.mark.parametrize("call, error, when, is_outage", [
    ("write", "EINTR", "2+3", False),
    ("write", "EAGAIN", "3+5", True),
    ("write", "EIO", "4..8", True),
    ("write", "ENOSPC", "4..8", True),
    ("fdatasync", "EIO", "3..6", True),
    ("fdatasync", "EINTR", "2+3", False),
])
def test_calls_that_fail_are_made_again(
        start, mock_server, mock, tmp_path, call, error, when, is_outage):
    config = config_with(mock_server, **(
        ALWAYS if call == "fdatasync" else {}))
    gateway = sick_gateway(start, config, tmp_path, call, error, when)
    tags = []
    for i in range(40):
        # One that is refused asks nobody, and is asked again.
        deadline = time.monotonic() + PATIENCE
        while (status := ask(gateway, f"t{i}").status) != 200:
            assert status == 503 and time.monotonic() < deadline
            wait_until(lambda: readiness(gateway) == 200)
        tags.append(f"t{i}")
        if call == "write":
            gateway.wait_ledger(lambda lines: any(
                x["client_request_id"] == tags[-1] and x["status"] == 200
                for x in lines))
    gateway.stop()
    lines = read_segments(gateway.ledger_path)
    check_numbers(lines)
    served = [x["client_request_id"] for x in lines if x["attempts"]]
    assert served == tags
    assert ("can be written again" in gateway.log()) == is_outage


# --- a file that goes away ---------------------------------------------------

def test_a_ledger_that_is_removed_is_begun_anew(start, mock_server, mock):
    """What it held is gone; what follows is not."""
    gateway = start(basic_config(mock_server))
    for what in ("first", "second"):
        assert ask(gateway, f"{what}-1").status == 200
        gateway.flush_ledger()
        gateway.ledger_path.unlink()
        assert ask(gateway, f"{what}-2").status == 200
        gateway.wait_ledger(lambda lines: "-2" in str(tags_of(lines)))
        assert tags_of(gateway.ledger()) == [f"{what}-2"]
        assert readiness(gateway) == 200
    gateway.stop()


def test_copytruncate_is_told_and_goes_on_with_whole_lines(
        start, mock_server, mock):
    gateway = start(basic_config(mock_server))
    for i in range(5):
        assert ask(gateway, f"a{i}").status == 200
    gateway.flush_ledger()
    copy = gateway.ledger_path.read_bytes()
    os.truncate(gateway.ledger_path, 0)
    assert ask(gateway, "b").status == 200
    gateway.wait_ledger(lambda lines: tags_of(lines) == ["b"])
    assert "copytruncate" in gateway.log()
    assert copy.endswith(b"\n")
    gateway.stop()
    assert gateway.ledger_path.read_bytes().count(b"\0") == 0


def test_a_rename_without_a_signal_loses_nothing(start, mock_server, mock):
    gateway = start(basic_config(mock_server))
    load = Load(gateway.port, gateway.keys["alice"], "t", 10, tiny)
    for i in range(1, 9):
        before = len(load.answered)
        wait_until(lambda: len(load.answered) > before + 100)
        wait_until(lambda: gateway.ledger_path.exists() and
                   gateway.ledger_path.stat().st_size > 0)
        gateway.ledger_path.rename(
            gateway.ledger_path.with_name(f"usage.jsonl.{i}"))
    load.stop()
    gateway.stop()
    assert len(segment_paths(gateway.ledger_path)) >= 8
    assert_each_once(gateway, load)


# --- rotation ----------------------------------------------------------------

LONG = "a session that has a rather long name, as some clients make them, " \
    "so that lines are long as well and the test is quick, 128 bytes"


def wordy(_):
    """So that a thousand lines are more than a megabyte."""
    return "tokens=1", {"user": LONG, "metadata": {"session_id": LONG}}


def assert_each_once(gateway, load):
    """Every answer has its line, none has two; and the file's own check finds
    nothing."""
    lines = read_segments(gateway.ledger_path)
    check_numbers(lines)
    got = tags_of(lines)
    assert len(got) == len(set(got)) and set(got) <= load.asked.keys()
    assert load.answered <= set(got)
    assert not gateway.command("ledger", "check", check=False).returncode


def test_files_are_rotated_under_load_and_moved_away_in_between(
        start, mock_server, mock):
    gateway = start(config_with(mock_server, rotate="1MiB"))
    load = Load(gateway.port, gateway.keys["alice"], "t", 20, wordy)
    moved = 0
    wait_until(lambda: list(gateway.state.glob("usage-*")), 60)
    while moved < 5:
        before = len(load.answered)
        wait_until(lambda: len(load.answered) > before + 150, 60)
        moved += 1
        # As logrotate does it: not while there is nothing in it.
        wait_until(lambda: gateway.ledger_path.exists() and
                   gateway.ledger_path.stat().st_size > 0)
        with contextlib.suppress(FileNotFoundError):
            gateway.ledger_path.rename(
                gateway.ledger_path.with_name(f"usage.jsonl.{moved}"))
        gateway.send_signal(signal.SIGUSR1)
    wait_until(lambda: len(list(gateway.state.glob("usage-*"))) >= 2, 120)
    load.stop()
    wait_until(lambda: all(p.suffix == ".gz" for p in
                           gateway.state.glob("usage-*")),
               what="closed files are gzipped")
    gateway.stop()
    assert_each_once(gateway, load)
    for path in gateway.state.glob("usage-*"):
        assert re.fullmatch(r"usage-\d{8}-\d{3}\.jsonl\.gz", path.name)
        assert path.stat().st_mode & 0o777 == 0o640
    assert gateway.ledger_path.stat().st_size <= 1 << 20


def test_a_reload_changes_when_files_are_rotated(start, mock_server, mock):
    gateway = start(config_with(mock_server, rotate="off"))
    load = Load(gateway.port, gateway.keys["alice"], "t", 20, wordy)
    try:
        wait_until(lambda: gateway.ledger_path.stat().st_size > 1200 << 10,
                   120)
        assert not list(gateway.state.glob("usage-*"))
        config = gateway.config
        config["ledger"] = {"rotate": "1MiB", "compress": False}
        gateway.write(config)
        assert "loaded again" in gateway.reload()
        wait_until(lambda: list(gateway.state.glob("usage-*")))
    finally:
        load.stop()
    gateway.stop()
    assert_each_once(gateway, load)
    path, = gateway.state.glob("usage-*")
    assert path.suffix == ".jsonl"


def test_what_a_crash_left_of_a_gzip_is_made_good(start, mock_server, mock):
    gateway = start(basic_config(mock_server))
    for i in range(20):
        assert ask(gateway, f"t{i}").status == 200
    gateway.kill()
    closed = gateway.state / "usage-20261120-001.jsonl"
    gateway.ledger_path.rename(closed)
    made = subprocess.run(["gzip", "-c", closed], check=True, timeout=30,
                          capture_output=True).stdout
    for left in ({".gz-making": made[:100]}, {".gz": made},
                 {".gz": made[:100]}):
        for end, data in left.items():
            closed.with_name(closed.name + end).write_bytes(data)
        plain = closed.read_bytes() if closed.exists() else None
        if plain is None:
            closed.write_bytes(subprocess.run(
                ["gzip", "-dc"], input=made, check=True, timeout=30,
                capture_output=True).stdout)
        gateway.start()
        wait_until(lambda: not closed.exists())
        gateway.stop()
        assert [p.name for p in gateway.state.glob("usage-*")] == \
            [closed.name + ".gz"]
        lines = read_segments(gateway.ledger_path)
        check_numbers(lines)
        assert [x for x in tags_of(lines) if x.startswith("t")] == \
            [f"t{i}" for i in range(20)]


# --- very many at once -------------------------------------------------------

def test_when_very_many_end_at_once_each_has_its_line(
        start, mock_server, mock):
    """SIGTERM, and what has not ended after the drain time is cut, all of it
    in the same moment."""
    count = 1000
    config = basic_config(mock_server)
    config["server"]["drain"] = "1s"
    gateway = start(config)
    load = Load(gateway.port, gateway.keys["alice"], "t", count,
                lambda _: ("tokens=2,interval=60s", {"stream": True}))
    mock.wait_stats(in_flight=count, timeout=60)
    begun = time.monotonic()
    gateway.stop(timeout=30)
    assert time.monotonic() - begun < 20
    load.stop()
    lines = read_segments(gateway.ledger_path)
    check_numbers(lines)
    assert sorted(tags_of(lines)) == sorted(load.asked)
    assert {x["end"] for x in lines
            if x["client_request_id"] in load.asked} == {"shutdown"}


def test_when_they_are_killed_at_once_each_has_its_line(
        start, mock_server, mock):
    count = 1000
    gateway = start(basic_config(mock_server))
    load = Load(gateway.port, gateway.keys["alice"], "t", count,
                lambda _: ("tokens=2,interval=60s", {"stream": True}))
    mock.wait_stats(in_flight=count, timeout=60)
    gateway.kill()
    load.stop()
    gateway.start()
    gateway.stop()
    lines = read_segments(gateway.ledger_path)
    check_numbers(lines)
    assert sorted(tags_of(lines)) == sorted(load.asked)
    assert {x["end"] for x in lines
            if x["client_request_id"] in load.asked} == {"gateway_crashed"}
