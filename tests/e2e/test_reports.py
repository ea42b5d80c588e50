"""Reports: the same numbers from the kept sums, from the ledger alone, and
from somebody else's arithmetic."""

import datetime
import gzip
import json
import os
import pty
import re
import subprocess

import pytest

import ledgers
from harness import SANITIZERS, TROUBLE, Gateway, basic_config, bin_dir
from ledgers import moment

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu",
         "Australia/Lord_Howe", "America/Havana"]
PERIODS = ["hourly", "daily", "weekly", "monthly"]


class Home:
    """A configuration with a state folder, and no gateway."""

    def __init__(self, folder, **server):
        self.folder = folder
        self.state = folder / "state"
        self.state.mkdir(parents=True)
        self.ledger = self.state / "usage.jsonl"
        self.config = folder / "weir.yaml"
        self.config.write_text(json.dumps({
            "version": 1,
            "server": {"listen": ["127.0.0.1:0"],
                       "state_dir": str(self.state), **server},
            "upstreams": {"spark": {"url": "http://127.0.0.1:9/v1"}},
            "models": {"m": {"routes": [{"to": "spark", "model": "x"}]}},
            "users": {"alice": {"models": ["*"]}}}))

    def weir(self, *argv, status=0, env=None):
        done = subprocess.run(
            [bin_dir() / "weir", *map(str, argv), "-c", self.config],
            capture_output=True, text=True, timeout=120, check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **SANITIZERS, **(env or {})})
        assert not TROUBLE.search(done.stderr), done.stderr
        assert done.returncode == status, done
        return done

    def report(self, *argv):
        return json.loads(self.weir("report", *argv, "--json").stdout)

    def append(self, lines):
        with open(self.ledger, "a", encoding="utf-8") as ledger:
            ledger.write(ledgers.text(lines))


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


@pytest.fixture(scope="module")
def year(tmp_path_factory):
    """A ledger of a year in three segments, of which the sums know two and a
    half; its lines are `lines`."""
    home = Home(tmp_path_factory.mktemp("year"))
    begin, seq = moment("2026-01-01"), 1
    home.lines = []
    for number in range(3):
        end = begin + datetime.timedelta(days=100)
        lines = ledgers.random_lines(700, begin, end, number, seq,
                                     ledgers.WRITERS[number])
        home.lines += lines
        if number < 2:
            name = home.state / f"usage-{end:%Y%m%d}-001.jsonl"
            name.write_text(ledgers.text(lines))
        else:
            home.append(lines[:300])
            home.weir("report", "rebuild")
            home.append(lines[300:])
        begin, seq = end, 1
    first = home.state / "usage-20260411-001.jsonl"
    with gzip.open(f"{first}.gz", "wt") as packed:
        packed.write(first.read_text())
    first.unlink()
    return home


# --- numbers -----------------------------------------------------------------

@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("period", PERIODS)
def test_three_ways_to_count_agree(year, zone, period):
    for by in ("user",), ("model", "upstream"), ("key", "user"):
        flags = [period, "--since", "2020-01-01", "--tz", zone, "--by",
                 ",".join(by)]
        kept, raw = year.report(*flags), year.report(*flags, "--raw")
        assert kept == raw
        rows, total = ledgers.reference(year.lines, period, zone, by)
        ledgers.assert_report(kept, rows, total, period, by)


@pytest.mark.parametrize("subject", ["user", "model", "upstream", "key"])
def test_filters_and_times_are_the_same_each_way(year, subject):
    since, until = moment("2026-03-29T01:15:00"), moment("2026-08-07T13:07:00")
    for only in {}, {"user": "zoë"}, {"model": "ds4", "upstream": "spark"}, \
            {"key": "k7q2m9"}:
        flags = [subject, "--since", since.isoformat(), "--until",
                 until.isoformat()]
        for name, value in only.items():
            flags += [f"--{name}", value]
        # It ends inside of a quarter of an hour: not of the sums, then.
        shown = year.report(*flags)
        assert shown == year.report(*flags, "--raw")
        rows, total = ledgers.reference(year.lines, None, "UTC", [subject],
                                        since, until, **only)
        ledgers.assert_report(shown, rows, total, None, [subject])


def test_a_date_begins_at_midnight_of_the_zone(home):
    home.append([
        ledgers.line(moment("2026-03-28T22:59:59"), 1),
        ledgers.line(moment("2026-03-28T23:00:00"), 2),
        ledgers.line(moment("2026-03-29T21:59:59"), 3),
        ledgers.line(moment("2026-03-29T22:00:00"), 4)])
    shown = home.report("daily", "--tz", "Europe/Berlin", "--since",
                        "2026-03-29", "--until", "2026-03-30")
    assert [r["start"] for r in shown["rows"]] == ["2026-03-28T23:00:00Z"]
    assert shown["total"]["requests"] == 2


def test_the_configurations_zone_is_the_default(tmp_path):
    home = Home(tmp_path / "berlin", timezone="Europe/Berlin")
    home.append([ledgers.line(moment("2026-11-19T23:30:00"), 1)])
    done = home.weir("report", "daily", "--since", "2026-01-01")
    assert done.stdout.split("\n")[1].startswith("2026-11-20\t")
    # Whatever the machine's own zone is.
    done = home.weir("report", "daily", "--since", "2026-01-01", "--tz",
                     "UTC", env={"TZ": "Asia/Tokyo"})
    assert done.stdout.split("\n")[1].startswith("2026-11-19\t")
    done = home.weir("report", "daily", "--since", "2026-01-01", "--tz",
                     "local", env={"TZ": "Pacific/Auckland"})
    assert done.stdout.split("\n")[1].startswith("2026-11-20\t")


@pytest.mark.parametrize("given, hint", [
    ("Europe/Berln", "did you mean 'Europe/Berlin'?"),
    ("berlin", "did you mean 'Europe/Berlin'?"),
    ("Europe", "timedatectl list-timezones"),
    ("../zoneinfo/UTC", "timedatectl list-timezones"),
    ("/etc/passwd", "timedatectl list-timezones"),
    ("", "timedatectl list-timezones")])
def test_an_unknown_zone_is_told(home, given, hint):
    done = home.weir("report", "daily", "--tz", given, status=2)
    assert "is no time zone" in done.stderr and hint in done.stderr


# --- forms -------------------------------------------------------------------

COLUMNS = ["REQUESTS", "INPUT", "CACHED", "OUTPUT", "LOCAL", "TTFT p50",
           "p95", "TOK/S", "COST", "AVOIDED", "CANCELLED"]


def test_a_pipe_gets_exact_values_between_tabs(home):
    home.append([ledgers.line(moment("2026-11-19T10:00:00"), 1,
                              user="a\tb", prompt_tokens=1234567)])
    lines = home.weir("report", "user").stdout.split("\n")
    assert lines[0].split("\t") == ["USER", *COLUMNS]
    row = dict(zip(lines[0].split("\t"), lines[1].split("\t")))
    assert row["USER"] == "a\\x09b" and row["INPUT"] == "1234567"
    assert row["LOCAL"] == "100%" and row["COST"] == "0.000000000000"


def test_markdown_cannot_be_broken_out_of(home):
    home.append([ledgers.line(moment("2026-11-19T10:00:00"), 1,
                              user="a|b<img>`x`[y](z)")])
    lines = home.weir("report", "user", "--format", "md").stdout.split("\n")
    assert lines[0] == f"| USER | {' | '.join(COLUMNS)} |"
    assert lines[1] == "| --- |" + " ---: |" * len(COLUMNS)
    assert lines[2].startswith(r"| a\|b\<img\>\`x\`\[y\](z) | 1 | 100 |")
    assert lines[3].startswith("| total | 1 | 100 |")
    assert lines[5] == "Local 100% of tokens.  Cloud $0.00 a day."


def test_an_estimate_is_marked(home):
    home.append([ledgers.line(moment("2026-11-19T10:00:00"), 1,
                              usage_source="estimated")])
    table = home.weir("report", "user", "--format", "table").stdout
    assert re.search(r"alice +1 +100~ +40% +10~ ", table), table


def test_over_the_limit_is_a_status_of_its_own(home):
    home.append([ledgers.line(moment("2026-11-19T10:00:00"), 1, paid=True,
                              cost_usd="25.000000000001")])
    done = home.weir("report", "user", "--fail-over", "25usd", status=3)
    assert "more than $25.00" in done.stderr
    home.weir("report", "user", "--fail-over", "25.01usd")


def test_what_is_wrong_is_told_with_the_next_step(home):
    for argv in (["yearly"], ["--by", "color"], ["--since", "soon"],
                 ["--format", "xml"], ["daily", "hourly"],
                 ["--fail-over", "much"]):
        done = home.weir("report", *argv, status=2)
        assert "weir report --help" in done.stderr, done.stderr
    done = home.weir("report", "daily")
    assert "There is no ledger" in done.stderr


def test_a_terminal_sees_how_far_it_is(tmp_path):
    """A ledger that takes longer than half a second."""
    ledger = tmp_path / "usage.jsonl"
    piece = ledgers.text(ledgers.random_lines(
        4000, moment("2026-01-01"), moment("2026-02-01")))
    # Lines that only the general reader takes, and with much to pass over.
    piece = piece.replace('{"ts"', '{"x":[' + "1," * 700 + '1],"ts"')
    with open(ledger, "w", encoding="utf-8") as to:
        for _ in range(16):
            to.write(piece)
    master, slave = pty.openpty()
    with subprocess.Popen(
            [bin_dir() / "weir", "report", "user", "--ledger", ledger],
            stdout=subprocess.PIPE, stderr=slave,
            env={**os.environ, **SANITIZERS}) as process:
        os.close(slave)
        out = process.stdout.read()
        assert process.wait(60) == 0
    seen = b""
    try:
        while piece := os.read(master, 4096):
            seen += piece
    except OSError:
        pass
    os.close(master)
    assert re.search(rb"\rReading the ledger: +\d+%", seen), seen
    assert seen.endswith(b"\r\033[K"), seen  # it leaves nothing behind
    assert b"total" in out


# --- the kept sums -----------------------------------------------------------

def test_rebuilding_keeps_what_the_ledger_lost(home):
    begin = moment("2026-11-01")
    old = ledgers.random_lines(400, begin, begin + datetime.timedelta(days=5))
    new = ledgers.random_lines(400, begin + datetime.timedelta(days=6),
                               begin + datetime.timedelta(days=9), 2, 401)
    gone = home.state / "usage-20261106-001.jsonl"
    gone.write_text(ledgers.text(old))
    home.append(new)
    flags = ["daily", "--since", "2026-11-01", "--by", "user,model"]
    home.weir("report", "rebuild")
    before = home.report(*flags)
    gone.unlink()
    done = home.weir("report", "rebuild")
    assert "Counted 400 lines" in done.stderr and "Kept" in done.stderr
    assert home.report(*flags) == before
    rows, total = ledgers.reference(old + new, "daily", "UTC",
                                    ("user", "model"))
    ledgers.assert_report(before, rows, total, "daily", ("user", "model"))


def test_damaged_sums_are_told_and_the_ledger_is_read(home):
    home.append(ledgers.random_lines(50, moment("2026-11-01"),
                                     moment("2026-11-05")))
    home.weir("report", "rebuild")
    before = home.report("user")
    manifest = home.state / "rollups" / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes()[:-20])
    done = home.weir("report", "user", "--json")
    assert json.loads(done.stdout) == before
    assert "weir report rebuild" in done.stderr
    home.weir("report", "rebuild")
    assert not home.weir("report", "user", "--json").stderr


def test_damaged_lines_are_told_and_left_out(home):
    home.append(ledgers.random_lines(20, moment("2026-11-01"),
                                     moment("2026-11-05")))
    with open(home.ledger, "a", encoding="utf-8") as ledger:
        ledger.write('{"ts":"2026-11-0\n')
    home.append([ledgers.line(moment("2026-11-05T10:00:00"), 21)])
    done = home.weir("report", "user", "--raw")
    assert "usage.jsonl:21: not counted" in done.stderr
    assert "1 damaged line is not counted" in done.stderr


def test_the_gateways_own_requests_are_in_the_report_at_once(tmp_path, mock):
    config = basic_config(mock)
    gateway = Gateway(config, tmp_path / "weir")
    try:
        for _ in range(5):
            assert gateway.chat("tokens=3").status == 200
        gateway.wait_ledger(5)
        shown = json.loads(gateway.command(
            "report", "hourly", "--user", "alice", "--json").stdout)
        assert shown["total"]["requests"] == 5
        done = gateway.command("report", "user", "--raw", "--json")
        assert json.loads(done.stdout)["total"]["requests"] == 5
    finally:
        gateway.stop()
    rows, total = ledgers.reference(gateway.ledger(), None, "UTC", ["user"])
    assert total.sums["requests"] == 5
    shown = json.loads(gateway.command("report", "user", "--json").stdout)
    ledgers.assert_report(shown, rows, total, None, ["user"])


# --- keys --------------------------------------------------------------------

def test_keys_are_listed_with_what_they_were_used_for(home):
    def issue():
        secret = home.weir("key", "issue", "alice").stdout
        return secret.split("-")[2]

    used, idle, new = issue(), issue(), issue()
    now = datetime.datetime.now(ledgers.UTC).replace(microsecond=0)
    home.append([
        ledgers.line(now - datetime.timedelta(days=41), 1, key=idle),
        ledgers.line(now - datetime.timedelta(minutes=4), 2, key=used),
        ledgers.line(now - datetime.timedelta(minutes=9), 3, key=used)])
    listed = {k["id"]: k for k in json.loads(
        home.weir("key", "list", "--json").stdout)["keys"]}
    assert [listed[used][n] for n in ("requests", "tokens", "state")] == \
        [2, 220, "active"]
    assert listed[used]["last_used"] == \
        f"{now - datetime.timedelta(minutes=4):%Y-%m-%dT%H:%M:%SZ}"
    assert [listed[idle][n] for n in ("requests", "tokens", "state")] == \
        [1, 110, "idle"]
    assert [listed[new][n] for n in ("requests", "tokens", "last_used",
                                     "state")] == [0, 0, None, "active"]
    rows = home.weir("key", "list", "--state", "idle").stdout.split("\n")
    assert rows[0].split("\t") == [
        "ID", "USER", "NAME", "CREATED", "LAST USED", "EXPIRES", "REQUESTS",
        "TOKENS", "STATE"]
    assert rows[1].startswith(idle) and rows[2] == ""
