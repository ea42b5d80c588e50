"""`weir tail` shows requests as they finish; `weir export` gives the lines."""

import csv
import datetime
import io
import json
import os
import pty
import select
import signal
import subprocess

import pytest

import ledgers
from harness import (PATIENCE, SANITIZERS, TROUBLE, bin_dir, wait_until,
                     with_parent)
from ledgers import moment


class Ledger:
    """A ledger alone, without a configuration."""

    def __init__(self, folder):
        self.path = folder / "usage.jsonl"

    def append(self, lines):
        with open(self.path, "a", encoding="utf-8") as ledger:
            ledger.write(ledgers.text(lines))

    def argv(self, *argv):
        return [str(bin_dir() / "weir"), *map(str, argv), "--ledger",
                str(self.path)]

    def weir(self, *argv, status=0):
        done = subprocess.run(
            self.argv(*argv), capture_output=True, timeout=60, check=False,
            stdin=subprocess.DEVNULL, env={**os.environ, **SANITIZERS})
        assert not TROUBLE.search(done.stderr.decode()), done.stderr
        assert done.returncode == status, done
        return done

    def tail(self, *argv):
        """The rows of a tail that does not wait, as dicts."""
        lines = self.weir("tail", "--once", *argv).stdout.decode().split("\n")
        assert lines.pop() == ""
        titles = lines[0].split("\t")
        return [dict(zip(titles, x.split("\t"))) for x in lines[1:]]


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path)


def many(count, **members):
    begin = moment("2026-11-19T10:00:00")
    return [ledgers.line(begin + datetime.timedelta(seconds=i), i + 1,
                         **members) for i in range(count)]


# --- tail --------------------------------------------------------------------

def test_the_last_ones_come_first(ledger):
    ledger.append(many(30))
    assert [r["ID"][-2:] for r in ledger.tail()] == \
        [f"{n:02d}" for n in range(21, 31)]
    assert [r["ID"][-2:] for r in ledger.tail("-n", 2)] == ["29", "30"]
    assert ledger.tail("-n", 0) == []


def test_the_last_ones_are_found_far_back(ledger):
    """Behind more than is looked at first."""
    ledger.append(many(3, user="bob"))
    ledger.append(many(2000))
    assert os.path.getsize(ledger.path) > 1_000_000
    assert [r["USER"] for r in ledger.tail("--user", "bob")] == ["bob"] * 3


def test_a_row_says_what_the_line_does(ledger):
    ledger.append([ledgers.line(
        moment("2026-11-19T10:00:00"), 7, prompt_tokens=2340,
        cached_tokens=1980, completion_tokens=512, ttft_ms=800,
        duration_ms=12400, cost_usd="0.002695260000", upstream="fireworks",
        paid=True, attempts=[{"upstream": "spark", "result": "connect"},
                             {"upstream": "fireworks", "result": "ok"}])])
    row, = ledger.tail()
    assert row == {
        "TIME": "2026-11-19T10:00:00Z", "ID": "01K9X400000000000000000007",
        "USER": "alice", "MODEL": "m", "UPSTREAM": "fireworks *",
        "CODE": "200", "INPUT": "2340", "CACHED": "1980", "OUTPUT": "512",
        "TTFT": "800", "TOK/S": "44.1", "TOOK": "12400",
        "COST": "0.002695260000", "END": "ok", "USAGE_SOURCE": "upstream"}


def test_a_terminal_gets_a_table_with_why_it_fell_back(ledger):
    ledger.append([
        ledgers.line(moment("2026-11-19T10:00:00"), 7, user="a\x1b[31m",
                     attempts=[{"upstream": "m5", "result": "connect"},
                               {"upstream": "spark", "result": "ok"}])])
    master, slave = pty.openpty()
    with subprocess.Popen(ledger.argv("tail", "--once"), stdout=slave,
                          env={**os.environ, **SANITIZERS}) as process:
        os.close(slave)
        assert process.wait(30) == 0
    lines = os.read(master, 65536).decode().split("\r\n")
    os.close(master)
    assert lines[0].split() == [
        "TIME", "ID", "USER", "MODEL", "UPSTREAM", "CODE", "INPUT", "CACHED",
        "OUTPUT", "TTFT", "TOK/S", "TOOK", "COST", "END"]
    assert "a\\x1b[31m" in lines[1] and "01K9..0007" in lines[1]
    assert lines[2] == "  * fell back: m5 (connect)"


def test_errors_alone(ledger):
    ledger.append([
        ledgers.line(moment("2026-11-19T10:00:00"), 1),
        ledgers.line(moment("2026-11-19T10:00:01"), 2, status=429,
                     end="rate_limited", attempts=[]),
        ledgers.line(moment("2026-11-19T10:00:02"), 3, end="client_gone")])
    rows = ledger.tail("--errors")
    assert [r["END"] for r in rows] == ["rate_limited", "client_gone"]
    assert rows[0]["UPSTREAM"] == "-" and rows[0]["INPUT"] == "-"


def test_since_begins_there(ledger):
    ledger.append(many(30))
    rows = ledger.tail("--since", "2026-11-19T10:00:17Z")
    assert len(rows) == 13
    rows = ledger.tail("--since", "2026-11-19T10:00:17Z", "-n", 2)
    assert [r["ID"][-2:] for r in rows] == ["29", "30"]
    rows = ledger.tail("--since", "2026-11-19T10:00:29Z", "-n", 20)
    assert [r["ID"][-2:] for r in rows] == ["30"]


def test_an_estimate_shows_in_a_pipe(ledger):
    ledger.append(many(1, usage_source="estimated"))
    row, = ledger.tail()
    assert row["INPUT"].isdigit() and row["USAGE_SOURCE"] == "estimated"


@pytest.mark.parametrize("flags", [[], ["--once"], ["--once", "-n", 20000],
                                   ["--json", "--since", "2026-01-01"]])
def test_a_full_disk_is_told(ledger, flags):
    ledger.append(many(200))
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            ledger.argv("tail", *flags), stdout=full, timeout=60, text=True,
            stderr=subprocess.PIPE, check=False,
            env={**os.environ, **SANITIZERS})
    assert done.returncode == 1
    assert done.stderr == \
        "weir tail: cannot write the output: No space left on device\n"


class Following:
    """A tail that waits for more."""

    def __init__(self, argv, environment=None):
        self.process = subprocess.Popen(
            with_parent([bin_dir() / "weir", "tail", "--json", *argv]),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
            env=environment or {**os.environ, **SANITIZERS})
        self.seen = b""

    def next(self):
        while b"\n" not in self.seen:
            assert select.select([self.process.stdout], [], [], PATIENCE)[0]
            piece = os.read(self.process.stdout.fileno(), 65536)
            assert piece, "it has ended"
            self.seen += piece
        line, _, self.seen = self.seen.partition(b"\n")
        return json.loads(line)

    def end(self, status):
        errors = self.process.stderr.read().decode()
        assert self.process.wait(30) == status, errors
        assert not TROUBLE.search(errors), errors
        self.process.stdout.close()
        self.process.stderr.close()


def test_lines_come_as_they_are_written_also_over_a_rotation(ledger):
    first, *rest = many(6)
    ledger.append([first])
    tail = Following(["--ledger", ledger.path])
    assert tail.next() == first
    ledger.append(rest[:2])
    assert [tail.next(), tail.next()] == rest[:2]
    with open(ledger.path, "a", encoding="utf-8") as to:
        half = ledgers.text(rest[2:3])
        to.write(half[:100])
        to.flush()
        to.write(half[100:])
    assert tail.next() == rest[2]
    ledger.path.rename(ledger.path.with_name("usage-20261119-001.jsonl"))
    ledger.append(rest[3:])
    assert [tail.next(), tail.next()] == rest[3:]
    tail.process.send_signal(signal.SIGINT)
    tail.end(130)


def test_it_ends_when_nobody_reads_any_more(ledger):
    ledger.append(many(1))
    tail = Following(["--ledger", ledger.path])
    tail.next()
    tail.process.stdout.close()
    wait_until(lambda: tail.process.poll() is not None)
    tail.process.stdout = open(os.devnull, encoding="utf-8")
    tail.end(0)


def test_requests_show_while_the_gateway_runs(gateway):
    tail = Following(["--user", "alice"], gateway.environment)
    assert gateway.chat("tokens=3").status == 200
    assert tail.next()["user"] == "alice"
    tail.process.send_signal(signal.SIGINT)
    tail.end(130)


# --- export ------------------------------------------------------------------

def test_jsonl_is_the_lines_themselves(ledger):
    lines = many(5) + many(5, user="bob")
    ledger.append(lines)
    assert ledger.weir("export", "jsonl").stdout == ledger.path.read_bytes()
    out = ledger.weir("export", "jsonl", "--user", "bob", "--since",
                      "2026-11-19T10:00:02Z").stdout.decode()
    assert out == ledgers.text(lines[7:])


def test_csv_has_every_field(ledger):
    odd = 'a "b", c\nd'
    lines = [ledgers.line(moment("2026-11-19T10:00:00"), 1, user=odd),
             ledgers.line(moment("2026-11-19T10:00:00"), 2, ttft_ms=None,
                          model=None)]
    ledger.append(lines)
    text = ledger.weir("export", "csv").stdout.decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert text.count("\r\n") == 3 + odd.count("\r\n")
    assert set(rows[0]) == set(lines[0])
    for row, line in zip(rows, lines):
        for name, value in line.items():
            shown = {True: "true", False: "false", None: ""}.get(value) \
                if value is None or isinstance(value, bool) else str(value)
            if name == "attempts":
                shown = "1"
            assert row[name] == shown, name
    bare = ledger.weir("export", "csv", "--no-header").stdout.decode()
    assert bare == text.split("\r\n", 1)[1]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_a_spreadsheet_computes_nothing_of_it(ledger, text):
    ledger.append([ledgers.line(moment("2026-11-19T10:00:00"), 1,
                                client=text)])
    rows = list(csv.DictReader(io.StringIO(
        ledger.weir("export", "csv").stdout.decode(), newline="")))
    assert rows[0]["client"] == "'" + text


def test_damaged_lines_are_left_out_and_told(ledger):
    ledger.append(many(2))
    with open(ledger.path, "a", encoding="utf-8") as to:
        to.write("{}\n")
    ledger.append(many(1))
    done = ledger.weir("export", "jsonl")
    assert done.stdout.count(b"\n") == 3
    assert b"usage.jsonl:3: left out" in done.stderr


def test_it_must_be_said_in_which_form(ledger):
    for argv in [], ["xml"], ["csv", "jsonl"]:
        assert b"weir export --help" in ledger.weir(
            "export", *argv, status=2).stderr


def test_a_user_that_nobody_knows_is_told(ledger):
    ledger.append(many(2))
    done = ledger.weir("export", "jsonl", "--user", "nobody")
    assert b"There is no user nobody in " in done.stderr
    done = ledger.weir("export", "jsonl", "--user", "alice", "--since",
                       "2026-11-20")
    assert done.stdout == b"" and done.stderr == b""


def test_json_lines_by_the_common_flag(ledger):
    ledger.append(many(2))
    assert ledger.weir("export", "--json").stdout == ledger.path.read_bytes()


def test_the_day_of_a_zone(ledger):
    ledger.append([ledgers.line(moment("2026-11-18T22:59:59"), 1),
                   ledgers.line(moment("2026-11-18T23:00:00"), 2)])
    done = ledger.weir("export", "jsonl", "--tz", "Europe/Berlin", "--since",
                       "2026-11-19")
    assert json.loads(done.stdout)["seq"] == 2
