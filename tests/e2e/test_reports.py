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
    assert lines[0].split("\t") == ["USER", *COLUMNS, "ESTIMATED"]
    row = dict(zip(lines[0].split("\t"), lines[1].split("\t")))
    assert row["USER"] == "a\\x09b" and row["INPUT"] == "1234567"
    assert row["LOCAL"] == "1.0000" and row["COST"] == "0.000000000000"
    assert row["CACHED"] == f"{40 / 1234567:.4f}"
    assert row["TTFT p50"].isdigit() and row["p95"].isdigit()


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
    assert "ESTIMATED" not in table
    home.append([ledgers.line(moment("2026-11-19T10:00:00"), 2, user="bob")])
    rows = [x.split("\t") for x in home.weir(
        "report", "user", "--no-header").stdout.splitlines()]
    assert {r[0]: r[-1] for r in rows} == {
        "alice": "yes", "bob": "no", "total": "yes"}


def test_over_the_limit_is_a_status_of_its_own(home):
    home.append([ledgers.line(moment("2026-11-19T10:00:00"), 1, paid=True,
                              cost_usd="25.000000000001")])
    done = home.weir("report", "user", "--fail-over", "25usd", status=3)
    assert done.stderr == ("It cost $25.000000000001, more than "
                           "$25.000000000000.\n")
    done = home.weir("report", "user", "--fail-over", "24usd", status=3)
    assert done.stderr == "It cost $25.00, more than $24.00.\n"
    home.weir("report", "user", "--fail-over", "25.01usd")


def test_what_is_wrong_is_told_with_the_next_step(home):
    for argv in (["yearly"], ["--by", "color"], ["--since", "soon"],
                 ["--format", "xml"], ["daily", "hourly"],
                 ["--fail-over", "much"]):
        done = home.weir("report", *argv, status=2)
        assert "weir report --help" in done.stderr, done.stderr
    done = home.weir("report", "daily")
    assert "There is no ledger" in done.stderr


@pytest.mark.parametrize("argv", [
    ["report"], ["report", "rebuild"], ["export", "jsonl"],
    ["tail", "--once"]])
def test_a_ledger_that_was_named_must_be_there(home, argv):
    absent = home.folder / "absent" / "usage.jsonl"
    done = subprocess.run(
        [bin_dir() / "weir", *argv, "--ledger", absent], text=True,
        capture_output=True, timeout=60, check=False,
        env={**os.environ, **SANITIZERS})
    assert (done.returncode, done.stdout) == (5, "")
    assert f"there is no ledger at {absent}" in done.stderr
    if "rebuild" not in argv:  # The configuration's may still come.
        assert "`weir serve` makes it" in home.weir(*argv).stderr


def test_an_empty_ledger_is_one(home):
    home.ledger.touch()
    for argv in ["report"], ["export", "jsonl"], ["tail", "--once"]:
        assert "There is no ledger" not in home.weir(*argv).stderr
    done = home.weir("report", "--user", "nobody")
    assert "There is no user nobody in " in done.stderr


def test_closed_files_alone_are_a_ledger(home):
    home.append([ledgers.line(moment("2026-11-19T10:00:00"), 1)])
    home.ledger.rename(home.state / "usage-20261119-001.jsonl")
    done = subprocess.run(
        [bin_dir() / "weir", "report", "user", "--ledger", home.ledger],
        capture_output=True, timeout=60, check=True, text=True,
        env={**os.environ, **SANITIZERS})
    assert "alice\t1\t" in done.stdout


@pytest.mark.parametrize("argv", [["report", "user"], ["export", "jsonl"],
                                  ["tail", "--once"]])
def test_since_is_not_later_than_until(home, argv):
    home.append([ledgers.line(moment("2026-11-19T10:00:00"), 1)])
    done = home.weir(*argv, "--since", "2026-11-20", "--until", "2026-11-19",
                     status=2)
    assert "--since 2026-11-20 is later than --until 2026-11-19" in \
        done.stderr


def test_a_report_to_an_end_begins_before_it(home):
    home.append([ledgers.line(moment("2026-03-19T10:00:00"), 1)])
    shown = home.report("daily", "--until", "2026-03-20")
    assert shown["total"]["requests"] == 1


@pytest.mark.parametrize("raw", [[], ["--raw"]])
def test_nothing_found_says_why(home, raw):
    home.append([ledgers.line(moment("2020-11-19T10:00:00"), 1, user="bob")])
    home.weir("report", "rebuild")
    empty = [*raw, "--since", "2026-01-01"]
    done = home.weir("report", "user", *empty)
    assert "A longer time: --since 2020-11-19T10:00:00Z" in done.stderr
    for known in "alice", "bob":  # by the configuration, by the ledger
        done = home.weir("report", "user", "--user", known, *empty)
        assert "no user" not in done.stderr
        assert ("A longer time" in done.stderr) == (known == "bob")
    done = home.weir("report", "user", "--user", "nobody", *empty)
    assert f"There is no user nobody in {home.config} or in " in done.stderr
    assert "--since" not in done.stderr
    done = home.weir("report", "user", "--model", "none", *raw)
    assert "No request" in done.stderr and "--since" not in done.stderr


def test_json_says_of_which_time_it_is(home):
    home.append([ledgers.line(moment("2026-11-19T10:00:00"), 1)])
    shown = home.report("user")
    assert [shown[n] for n in ("since", "until", "timezone")] == \
        [None, None, "UTC"]
    shown = home.report("user", "--tz", "Europe/Berlin", "--since",
                        "2026-11-19", "--until", "2026-11-20")
    assert [shown[n] for n in ("since", "until", "timezone")] == \
        ["2026-11-18T23:00:00Z", "2026-11-19T23:00:00Z", "Europe/Berlin"]


def on_a_terminal(*argv):
    master, slave = pty.openpty()
    with subprocess.Popen([bin_dir() / "weir", *argv], stdout=slave,
                          stderr=subprocess.DEVNULL,
                          env={**os.environ, **SANITIZERS}) as process:
        os.close(slave)
        assert process.wait(60) == 0
    seen = os.read(master, 65536).decode()
    os.close(master)
    return seen.split("\r\n")


def test_hours_of_today_on_a_terminal_need_no_date(home):
    now = datetime.datetime.now(ledgers.UTC)
    home.append([ledgers.line(now.replace(microsecond=0), 1)])
    hourly = ["report", "hourly", "--since", f"{now:%Y-%m-%d}"]
    shown = on_a_terminal(*hourly, "-c", home.config)
    if f"{datetime.datetime.now(ledgers.UTC):%Y%m%d}" != f"{now:%Y%m%d}":
        pytest.skip("it became midnight")
    assert shown[1].startswith(f"{now:%H}:00 "), shown
    table = home.weir(*hourly, "--format", "table").stdout.split("\n")
    assert table[1].startswith(f"{now:%Y-%m-%d %H}:00 "), table


def test_hours_of_another_day_have_their_date(home):
    home.append([ledgers.line(moment("2026-03-19T10:00:00"), 1)])
    shown = on_a_terminal("report", "hourly", "--since", "2026-03-19",
                          "--until", "2026-03-20", "-c", home.config)
    assert shown[1].startswith("2026-03-19 10:00 "), shown


@pytest.mark.parametrize("command", ["report", "tail", "export"])
def test_help_names_every_common_flag(home, command):
    shown = home.weir(command, "--help").stdout
    assert "  --json " in shown and "  -h, --help" in shown


def test_prices_in_a_pipe_are_words(home):
    config = json.loads(home.config.read_text())
    config["upstreams"]["paid"] = {
        "url": "http://127.0.0.1:9/v1", "paid": True}
    config["models"] = {name: {"routes": [{"to": "paid", "model": "x"}]}
                        for name in ("ds4", "other")}
    config["prices"] = {"paid": {"x": [
        {"from": "2020-01-01", "input": 1, "output": 2},
        {"from": "2021-01-01", "input": 2, "output": 3}]}}
    home.config.write_text(json.dumps(config))
    titles, *rows = [x.split("\t") for x in home.weir(
        "price", "list").stdout.splitlines()]
    rows = [dict(zip(titles, r)) for r in rows]
    assert sorted((r["FROM"], r["NOW"]) for r in rows) == \
        [("2020-01-01", ""), ("2021-01-01", "now")]
    assert {r["ROUTES"] for r in rows} == {"ds4,other"}
    assert {r["COMPARE"] for r in rows} == {""}
    listed = json.loads(home.weir("price", "list", "--json").stdout)["prices"]
    assert sorted(p["in_force"] for p in listed) == [False, True]
    assert listed[0]["routes"] == ["ds4", "other"]


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


def test_rebuilding_beside_a_gateway_says_what_to_do(gateway):
    done = gateway.command("report", "rebuild", check=False)
    assert done.returncode == 1
    assert "stop it first" in done.stderr
    assert "weir report --raw" in done.stderr


def test_one_month_is_no_months(home):
    home.append([ledgers.line(moment("2026-11-19T10:00:00"), 1)])
    done = home.weir("report", "rebuild")
    assert done.stderr == "Counted 1 line of the ledger into 1 month.\n"


@pytest.mark.parametrize("argv", [["report", "user"],
                                  ["report", "user", "--raw"],
                                  ["export", "csv"]])
def test_a_gzip_file_that_was_cut_is_told(home, argv):
    home.append(ledgers.random_lines(300, moment("2026-11-01"),
                                     moment("2026-11-05")))
    whole = gzip.compress(home.ledger.read_bytes())
    home.ledger.unlink()
    packed = home.state / "usage-20261105-001.jsonl.gz"
    packed.write_bytes(whole[:len(whole) // 2])
    done = home.weir(*argv, status=1)
    assert (f"{packed} is no whole gzip file: it ends at byte "
            f"{len(whole) // 2}.  weir ledger check") in done.stderr


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
