"""`weir user`: what users may, who says so, what they have used, and limits
that are set for a while."""

import datetime
import json
import os
import pathlib
import pty
import re
import stat
import subprocess
import threading
import zoneinfo

import pytest

import ledgers
from harness import SANITIZERS, TROUBLE, bin_dir, wait_until

NOBODY = 65534

USERS = {
    "alice": {"models": ["ds4", "kimi"],
              "limits": {"paid_routes": True,
                         "models": {"kimi": {"concurrent": 1}}},
              "budget": {"usd": 10, "per": "month"}},
    "bob": {"models": ["*"]},
    "carol": {"models": ["ds4"], "limits": {"tokens_per_day": "2M"}},
    "skills": {"key": "none", "from": ["10.0.0.0/8"], "models": ["ds4"]},
}
LIMITS = {"requests_per_minute": 30, "concurrent": 2,
          "models": {"kimi": {"tokens_per_day": "1M"}}}


class Home:
    """A configuration with a state folder, and no gateway."""

    def __init__(self, folder):
        self.state = folder / "state"
        self.state.mkdir(parents=True, mode=0o700)
        self.config = folder / "weir.yaml"
        self.ledger = self.state / "usage.jsonl"
        self.overrides = self.state / "overrides.json"
        self.env = {**os.environ, **SANITIZERS, "TZ": "UTC"}
        self.env.pop("SUDO_USER", None)
        self.write()

    def write(self, users=None, **server):
        self.config.write_text(json.dumps({
            "version": 1,
            "server": {"listen": ["127.0.0.1:0"],
                       "state_dir": str(self.state), **server},
            "upstreams": {"spark": {"url": "http://127.0.0.1:9/v1"},
                          "cloud": {"url": "http://127.0.0.1:9/v1",
                                    "paid": True}},
            "models": {m: {"routes": [{"to": "spark", "model": "x"}]}
                       for m in ("ds4", "kimi")},
            "limits": LIMITS,
            "users": USERS if users is None else users}))

    def run(self, *argv, status=0, env=None, prefix=()):
        done = subprocess.run(
            [*prefix, bin_dir() / "weir", *map(str, argv), "-c", self.config],
            capture_output=True, text=True, timeout=120, check=False,
            stdin=subprocess.DEVNULL, env={**self.env, **(env or {})})
        assert not TROUBLE.search(done.stderr), done.stderr
        assert done.returncode == status, (argv, done)
        return done

    def user(self, *argv, **options):
        return self.run("user", *argv, **options)

    def limits(self, name):
        """The rows of `user limits`, by the limit and its model."""
        shown = json.loads(self.user("limits", name, "--json").stdout)
        assert shown["schema"] == 1
        return {(row["limit"], row["model"]): row for row in shown["limits"]}

    def list(self):
        shown = json.loads(self.user("list", "--json").stdout)
        assert shown["schema"] == 1
        return {row["user"]: row for row in shown["users"]}

    def stored(self):
        return json.loads(self.overrides.read_text())["overrides"]

    def on_a_terminal(self, *argv):
        master, slave = pty.openpty()
        with subprocess.Popen(
                [bin_dir() / "weir", *argv, "-c", self.config], stdout=slave,
                stderr=subprocess.DEVNULL, env=self.env) as process:
            os.close(slave)
            assert process.wait(60) == 0
        seen = os.read(master, 65536).decode()
        os.close(master)
        return seen.split("\r\n")[:-1]


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def now():
    return datetime.datetime.now(ledgers.UTC).replace(microsecond=0)


def on_one_day(zone, look):
    """look(when), so that no midnight lies between its parts."""
    while True:
        when = now()
        found = look(when)
        if now().astimezone(zone).date() == when.astimezone(zone).date():
            return found


# --- list --------------------------------------------------------------------

@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati",
                                  "America/Los_Angeles"])
@pytest.mark.parametrize("kept", [True, False], ids=["sums", "ledger"])
def test_the_list_counts_the_days_and_months_of_the_configured_zone(
        home, zone, kept):
    home.write(timezone=zone)
    there = zoneinfo.ZoneInfo(zone)

    def look(when):
        home.ledger.write_text("")
        lines = [ledgers.line(when - datetime.timedelta(hours=h), 40 - h,
                              user="alice", prompt_tokens=100 * (h + 1),
                              completion_tokens=1, paid=True,
                              cost_usd="0.010000000000")
                 for h in reversed(range(40))]
        home.ledger.write_text(ledgers.text(lines))
        if kept:
            home.run("report", "rebuild")
        local = [ledgers.moment(x["ts"].rstrip("Z")).astimezone(there)
                 for x in lines]
        here = when.astimezone(there)
        return (home.list(), when, [
            [x for x, t in zip(lines, local) if t.date() == here.date()],
            [x for x, t in zip(lines, local)
             if (t.year, t.month) == (here.year, here.month)]])

    rows, when, (today, month) = on_one_day(there, look)
    assert 0 < len(today) < 40
    row = rows["alice"]
    for name, lines in ("today", today), ("month", month):
        assert row[f"{name}_tokens"] == sum(
            x["prompt_tokens"] + 1 for x in lines), (name, row)
        assert float(row[f"{name}_cost_usd"]) == \
            pytest.approx(0.01 * len(lines))
    assert row["last_seen"] == when.strftime("%Y-%m-%dT%H:%M:%SZ")
    budget, = row["budget"]
    assert (budget["usd"], budget["per"]) == ("10.00", "month")
    assert float(budget["used_usd"]) == pytest.approx(0.01 * len(month))
    assert rows["bob"]["today_tokens"] == 0
    assert rows["bob"]["last_seen"] is None


def test_the_list_tells_what_users_have(home):
    for _ in range(3):
        home.run("key", "issue", "alice")
    key = json.loads(home.run("key", "list", "--json").stdout)["keys"][0]
    home.run("key", "revoke", key["id"])
    rows = home.list()
    assert list(rows) == list(USERS)
    assert [rows[u]["keys"] for u in USERS] == [2, 0, 0, None]
    assert rows["alice"]["models"] == ["ds4", "kimi"]
    assert rows["bob"]["models"] == ["*"]
    assert rows["carol"]["budget"] == rows["bob"]["budget"] == []


def test_on_a_terminal_a_budget_has_a_bar(home):
    def look(when):
        home.ledger.write_text(ledgers.text([
            ledgers.line(when, 1, paid=True, cost_usd="4.200000000000",
                         prompt_tokens=402000, completion_tokens=118)]))
        return home.on_a_terminal("user", "list")

    shown = on_one_day(ledgers.UTC, look)
    assert re.fullmatch(r"USER +MODELS +KEYS +TODAY +THIS MONTH +BUDGET +"
                        r"LAST SEEN +REQ/MIN +NOW", shown[0].rstrip()), shown
    assert re.fullmatch(
        r"alice +ds4 kimi +0 +402K +\$4.20 +402K +\$4.20 +"
        r"####------ \$4.20 of \$10/month +just now +- +-",
        shown[1].rstrip()), shown
    assert "tokens/day 0 of 2.00M" in shown[3]
    assert re.match(r"skills +ds4 +none ", shown[4])


def test_in_a_pipe_a_line_has_as_many_fields_as_the_titles(home):
    lines = home.user("list").stdout.split("\n")[:-1]
    assert {len(x.split("\t")) for x in lines} == {11}, lines
    assert len(lines) == 1 + len(USERS)
    assert home.user("list", "--no-header").stdout.split("\n")[:-1] == \
        lines[1:]
    assert "$0.00 of $10/month" in lines[1] and "#" not in lines[1]


# --- limits ------------------------------------------------------------------

def test_each_limit_tells_who_says_so(home):
    rows = home.limits("alice")
    said = {at: (row["value"], row["source"]) for at, row in rows.items()}
    assert said == {
        ("requests_per_minute", None): (30, "config (limits)"),
        ("input_tokens_per_minute", None): ("unlimited", "default"),
        ("output_tokens_per_minute", None): ("unlimited", "default"),
        ("tokens_per_day", None): ("unlimited", "default"),
        ("concurrent", None): (2, "config (limits)"),
        ("budget", None): ("10.00", "config (users.alice)"),
        ("paid_routes", None): (True, "config (users.alice)"),
        ("tokens_per_day", "kimi"): (1000000, "config (limits.models.kimi)"),
        ("concurrent", "kimi"):
            (1, "config (users.alice.limits.models.kimi)"),
    }
    assert rows["budget", None]["per"] == "month"
    shown = home.user("limits", "alice").stdout.split("\n")
    assert shown[0] == "LIMIT\tVALUE\tNOW\tSOURCE"
    assert "budget\t10.00/month\t0.00\tconfig (users.alice)" in shown
    shown = home.on_a_terminal("user", "limits", "alice")
    assert any(re.fullmatch(
        r"budget +\$10/month +\$0.00 +config \(users.alice\)", x.rstrip())
        for x in shown), shown


def test_what_is_used_of_a_limit_is_what_the_ledger_says(home):
    def look(when):
        home.ledger.write_text(ledgers.text([
            ledgers.line(when, 1, user="alice", model="kimi",
                         prompt_tokens=1000, completion_tokens=10),
            ledgers.line(when, 2, user="alice", model="ds4", paid=True,
                         prompt_tokens=200, completion_tokens=2,
                         cost_usd="0.250000000000"),
            ledgers.line(when, 3, user="bob", model="kimi")]))
        return home.limits("alice")

    rows = on_one_day(ledgers.UTC, look)
    assert rows["tokens_per_day", None]["now"] == 1212
    assert rows["tokens_per_day", "kimi"]["now"] == 1010
    assert rows["budget", None]["now"] == "0.25"
    # Nobody but a running gateway knows of these.
    assert rows["requests_per_minute", None]["now"] is None
    assert rows["concurrent", None]["now"] is None


# --- overrides ---------------------------------------------------------------

def test_an_override_shows_its_author_and_its_end(home):
    config = home.config.read_bytes()
    before = now()
    done = home.user("limits", "bob", "--set", "concurrent=4", "--set",
                     "budget=5/day", "--for", "2h")
    assert done.stdout == ""
    assert re.fullmatch(
        r"bob: concurrent 2 -> 4, budget unlimited/day -> \$5/day until "
        r"(today|tomorrow) \d\d:\d\d \(override; the config file is "
        r"unchanged\)\. Undo: weir user limits bob --clear\n",
        done.stderr), done
    row = home.limits("bob")["concurrent", None]
    until = ledgers.moment(row["until"].rstrip("Z"))
    assert datetime.timedelta(hours=2) <= until - before < \
        datetime.timedelta(hours=2, minutes=2)
    assert row["value"] == 4 and row["author"], row
    assert row["source"] == \
        f"override until {row['until']} by {row['author']}"
    assert home.limits("alice")["concurrent", None]["value"] == 2
    assert home.list()["bob"]["budget"][0]["usd"] == "5.00"
    assert home.config.read_bytes() == config
    assert stat.S_IMODE(home.overrides.stat().st_mode) == 0o600


def test_an_override_can_be_taken_back(home):
    home.user("limits", "bob", "--set", "concurrent=4", "--set",
              "budget=5/day", "--set", "budget=9/month", "--for", "2h")
    done = home.user("limits", "bob", "--clear", "budget")
    assert "budget $5/day -> unlimited/day" in done.stderr
    assert [x["limits"] for x in home.stored()] == [["concurrent=4"]]
    done = home.user("limits", "bob", "--clear", "--json")
    assert "concurrent 4 -> 2" in done.stderr
    assert '"source":"override' not in done.stdout
    assert json.loads(done.stdout)["limits"]
    assert home.stored() == []
    done = home.user("limits", "bob", "--clear")
    assert "nothing was overridden" in done.stderr
    assert home.user("limits", "bob", "--clear", "-q").stderr == ""


def test_an_override_ends_by_itself_and_is_dropped_at_the_next_change(home):
    home.user("limits", "bob", "--set", "concurrent=4", "--for", "1s")
    wait_until(lambda: home.limits("bob")["concurrent", None]["source"] ==
               "config (limits)", what="it is over")
    assert len(home.stored()) == 1
    home.user("limits", "alice", "--set", "concurrent=4", "--for", "1h")
    assert [x["user"] for x in home.stored()] == ["alice"]


def test_overrides_of_a_user_who_was_taken_out_can_be_cleared(home):
    home.user("limits", "bob", "--set", "concurrent=4", "--for", "2h")
    home.write({u: x for u, x in USERS.items() if u != "bob"})
    home.user("limits", "bob", status=5)
    home.user("limits", "bob", "--clear")
    assert home.stored() == []
    home.user("limits", "bob", "--clear", status=5)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as sudo gives it")
def test_behind_sudo_the_author_is_who_called_it(home):
    home.user("limits", "bob", "--set", "concurrent=4", "--for", "2h",
              env={"SUDO_USER": "olga"})
    assert home.stored()[0]["author"] == "olga"
    assert " by olga" in home.user("limits", "bob").stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as sudo gives it")
def test_what_root_overrides_stays_the_services_own(home):
    os.chown(home.state, NOBODY, NOBODY)
    for _ in range(2):
        home.user("limits", "bob", "--set", "concurrent=4", "--for", "2h")
        for name in "overrides.json", "overrides.lock":
            seen = (home.state / name).stat()
            assert (seen.st_uid, stat.S_IMODE(seen.st_mode)) == \
                (NOBODY, 0o600), name


# The command behind `weir user`, its status, a word of what is said.
MISTAKES = [
    ((), 2, "Usage"), (("frob",), 2, "list, limits"),
    (("list", "bob"), 2, "--help"), (("list", "--for", "2h"), 2, "--help"),
    (("limits",), 2, "name of a user"), (("limits", "bob", "x"), 2, "'x'"),
    (("limits", "dora"), 5, "dora is not in"),
    (("limits", "bbo"), 5, "did you mean bob"),
    (("limits", "dora", "--set", "concurrent=4", "--for", "2h"), 5, "dora"),
    (("limits", "dora", "--clear"), 5, "dora"),
    (("limits", "bob", "--set", "concurrent=4"), 2, "--for 2h"),
    (("limits", "bob", "--for", "2h"), 2, "--set"),
    (("limits", "bob", "--set", "concurrent=4", "--for", "soon"), 2, "soon"),
    (("limits", "bob", "--set", "concurrent=4", "--for", "0s"), 2, "0s"),
    (("limits", "bob", "--set", "concurrent=many", "--for", "2h"), 2,
     "concurrent must be"),
    (("limits", "bob", "--set", "concurrent", "--for", "2h"), 2,
     "concurrent=4"),
    (("limits", "bob", "--set", "concurent=4", "--for", "2h"), 2,
     "requests_per_minute"),
    (("limits", "bob", "--set", "budget=5/year", "--for", "2h"), 2, "week"),
    (("limits", "bob", "--set", "concurrent=4", "--clear"), 2, "together"),
    (("limits", "bob", "--clear", "frob"), 2, "requests_per_minute"),
    (("limits", "bob", "--frob"), 2, "--frob"),
    (("limits", "bob", "--set"), 2, "needs a value"),
]


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """A home with an override, in which nothing may change."""
    home = Home(tmp_path_factory.mktemp("calm"))
    home.user("limits", "bob", "--set", "requests_per_minute=7", "--for",
              "2h")
    return home


@pytest.mark.parametrize("argv, status, word", MISTAKES,
                         ids=[" ".join(m[0]) or "nothing" for m in MISTAKES])
def test_a_mistake_changes_nothing_and_is_told(calm, argv, status, word):
    before = calm.overrides.read_bytes()
    done = subprocess.run(
        [bin_dir() / "weir", "user", *argv], capture_output=True, text=True,
        timeout=60, check=False, stdin=subprocess.DEVNULL,
        env={**calm.env, "WEIR_CONFIG": str(calm.config)})
    assert (done.returncode, done.stdout) == (status, ""), done
    assert word in done.stderr, done
    assert calm.overrides.read_bytes() == before


def test_processes_that_override_at_once_lose_nothing(home):
    users = {f"u{i}": {"models": ["*"]} for i in range(60)}
    home.write(users)
    failed = []

    def work(names):
        for name in names:
            try:
                home.user("limits", name, "--set", "concurrent=4", "--for",
                          "2h", "-q")
            except AssertionError as e:
                failed.append(e)

    threads = [threading.Thread(target=work, args=(list(users)[i::2],))
               for i in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed, failed[:3]
    assert {x["user"] for x in home.stored()} == set(users)
    assert len(home.stored()) == len(users)
    assert [p for p in home.state.iterdir() if ".new" in p.name] == []


def test_a_damaged_file_is_told_and_not_written_over(home):
    home.user("limits", "bob", "--set", "concurrent=4", "--for", "2h")
    torn = home.overrides.read_bytes()[:-9]
    home.overrides.write_bytes(torn)
    for argv in (("list",), ("limits", "bob"), ("limits", "bob", "--clear"),
                 ("limits", "bob", "--set", "concurrent=5", "--for", "2h")):
        done = home.user(*argv, status=1)
        assert str(home.overrides) in done.stderr and done.stdout == ""
        assert home.overrides.read_bytes() == torn


def test_a_disk_that_is_full_leaves_the_old_overrides(home):
    home.user("limits", "bob", "--set", "concurrent=4", "--for", "2h")
    before = home.overrides.read_bytes()
    done = subprocess.run(
        ["prlimit", "--fsize=64", bin_dir() / "weir", "user", "limits", "bob",
         "--set", "concurrent=5", "--for", "2h", "-c", home.config],
        env=home.env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0, done
    assert home.overrides.read_bytes() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become nobody")
def test_without_the_right_to_look_it_says_what_to_try(home, tmp_path):
    for folder in [home.config.parent, *home.config.parents]:
        if not os.stat(folder).st_mode & 0o001 and \
                folder.is_relative_to(pathlib.Path("/tmp")):
            folder.chmod(0o755)
    home.state.chmod(0o700)
    home.config.chmod(0o644)
    for argv in (("list",), ("limits", "bob", "--clear")):
        done = home.user(*argv, status=4, prefix=(
            "setpriv", "--reuid", str(NOBODY), "--clear-groups"))
        assert "sudo" in done.stderr


# --- keys with limits --------------------------------------------------------

def test_a_key_has_a_class_and_limits_of_its_own(home):
    done = home.run("key", "issue", "bob", "--class", "batch", "--limit",
                    "requests_per_minute=10", "--limit", "budget=5/day",
                    "--limit", "tokens_per_day=2M")
    assert "class batch" in done.stderr and "budget=5.00/day" in done.stderr
    key, = json.loads(home.run("key", "list", "--json").stdout)["keys"]
    limits = {"requests_per_minute": 10, "tokens_per_day": 2000000,
              "budget": [{"usd": "5.00", "per": "day"}]}
    assert (key["class"], key["limits"]) == ("batch", limits)
    home.run("key", "rotate", key["id"], "--grace", "0s")
    new = json.loads(home.run("key", "list", "--json").stdout)["keys"][0]
    assert new["id"] != key["id"]
    assert (new["class"], new["limits"]) == ("batch", limits)
    shown = home.run("key", "show", new["id"]).stdout
    assert "\nCLASS\tbatch\n" in shown
    shown = home.on_a_terminal("key", "show", new["id"])
    assert any(re.fullmatch(r"LIMITS +requests_per_minute=10 .*"
                            r"budget=5.00/day", x.rstrip())
               for x in shown), shown


def test_a_key_without_them_has_none(home):
    home.run("key", "issue", "bob")
    stored, = json.loads((home.state / "keys.json").read_text())["keys"]
    assert "class" not in stored and "limits" not in stored
    key, = json.loads(home.run("key", "list", "--json").stdout)["keys"]
    assert key["class"] is None and key["limits"] is None


@pytest.mark.parametrize("argv, word", [
    (("--class", "slow"), "interactive or batch"),
    (("--class", ""), "interactive or batch"),
    (("--limit", "concurrent"), "concurrent=4"),
    (("--limit", "concurrent=-1"), "concurrent must be"),
    (("--limit", "frob=1"), "requests_per_minute"),
    (("--limit", "budget=5"), "budget must be"),
    (("--limit", "paid_routes=true"), "more than its user"),
    (("--limit", "concurrent=1") * 33, "at most 32"),
])
def test_a_bad_class_or_limit_makes_no_key(home, argv, word):
    done = home.run("key", "issue", "bob", *argv, status=2)
    assert word in done.stderr and done.stdout == ""
    assert not (home.state / "keys.json").exists()
    done = home.run("key", "list", *argv[:2], status=2)
    assert "does not take" in done.stderr
