"""Whom a key lets in, and from when to when: every key that is not valid is
refused and told why, and a change by `weir key` counts at once."""

import json
import os
import re
import stat
import string
import subprocess
import threading
import time
import zlib

import pytest

from dialects import ANTHROPIC, CHAT, assert_says, new_lines
from harness import basic_config, bin_dir, head, wait_until
from sources import ConnFrom, fresh_source, send_from

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
PUBLIC = len("sk-weir-k12345-")  # what of a key is no secret
NOBODY = 65534

MISTYPED = "This API key is mistyped"
UNKNOWN = "This API key is unknown"
REVOKED = "This API key was revoked"
EXPIRED = "This API key has expired"
FOREIGN = "This is no key of this gateway"
MISSING = "No API key was sent"


def check_of(key):
    """The six characters that end a key that begins like this."""
    crc, digits = zlib.crc32(key.encode()), ""
    for _ in range(6):
        crc, digit = divmod(crc, 62)
        digits = BASE62[digit] + digits
    return digits


def forged(public, secret="0" * 32):
    """A key that is spelled as it should be."""
    return public + secret + check_of(public + secret)


def id_of(key):
    return key[len("sk-weir-"):PUBLIC - 1]


def ask(gateway, key=None, fields=()):
    """Who it is, as GET says it: from an address that has done nothing
    wrong."""
    return send_from(gateway.port, fresh_source(),
                     head(key=key, fields=[*fields, "Connection: close"]))


def assert_401(reply, sentence):
    assert_says(CHAT, reply, 401, "invalid_api_key")
    assert reply.json()["error"]["message"].startswith(sentence), reply
    assert reply.header("WWW-Authenticate") == "Bearer"
    assert reply.header("x-should-retry") == "false"


# --- what is sent ------------------------------------------------------------

def test_without_a_key_the_answer_is_always_the_same(gateway, mock):
    texts = set()
    for data in (head(), head(path="/v1/models/m"), head(path="/v1/models/x"),
                 CHAT.request(None), CHAT.request(None, model="x")):
        reply = gateway.send(data)
        assert_401(reply, MISSING)
        texts.add(re.sub(r'"request_id":"\w+"', "", reply.body.decode()))
    assert len(texts) == 1, texts
    assert_says(ANTHROPIC, gateway.send(ANTHROPIC.request(None)),
                401, "invalid_api_key")
    mock.assert_untouched()
    assert new_lines(gateway, 0) == []


# A sentence, the fields ($K is a key), the status, how the message begins.
WAYS = [
    ("Bearer", "Authorization: Bearer $K", 200, None),
    ("bearer", "Authorization: bearer $K", 200, None),
    ("BEARER", "Authorization: BEARER $K", 200, None),
    ("x-api-key", "x-api-key: $K", 200, None),
    ("X-API-Key", "X-API-Key: $K", 200, None),
    ("api-key", "api-key: $K", 200, None),
    ("a blank behind it", "Authorization: Bearer $K ", 200, None),
    ("Basic", "Authorization: Basic $K", 401, FOREIGN),
    ("two blanks", "Authorization: Bearer  $K", 401, FOREIGN),
    ("a tab", "Authorization: Bearer\t$K", 401, FOREIGN),
    ("no scheme", "Authorization: $K", 200, None),
    ("a scheme without a key", "Authorization: Bearer", 401, MISSING),
    ("a scheme in x-api-key", "x-api-key: Bearer $K", 401, FOREIGN),
    ("a query", "X-Nothing: $K", 401, MISSING),
    ("quotes", 'Authorization: Bearer "$K"', 401, FOREIGN),
    ("a comma", "Authorization: Bearer $K, Bearer $K", 401, MISTYPED),
]


@pytest.mark.parametrize("row", WAYS, ids=[r[0] for r in WAYS])
def test_a_key_may_come_in_three_fields(gateway, mock, row):
    _, field, status, sentence = row
    field = field.replace("$K", gateway.keys["alice"])
    reply = ask(gateway, fields=[field])
    if field == f"Authorization: {gateway.keys['alice']}":
        assert reply.status in (200, 401), reply  # RFC 6750 knows no such form
    elif status == 200:
        assert reply.status == 200, reply
    else:
        assert_401(reply, sentence)


def test_a_key_in_the_query_is_no_key(gateway, mock):
    key = gateway.keys["alice"]
    assert_401(gateway.send(head(path=f"/v1/models?api_key={key}&key={key}")),
               MISSING)


# --- keys that are not valid -------------------------------------------------

def test_mistyped_unknown_and_foreign_keys_are_told_apart(gateway, mock):
    key = gateway.keys["alice"]
    public, secret = key[:PUBLIC], key[PUBLIC:PUBLIC + 32]
    for wrong in (key[:-1], key + "0", key[:8] + key[8:].upper(),
                  public + secret[::-1] + key[-6:], "sk-weir-", "sk-weir-x"):
        assert_401(ask(gateway, wrong), MISTYPED)
    for wrong in ("sk-proj-1234567890", "hunter2", "SK-WEIR" + key[7:],
                  "sk_weir" + key[7:], "x", "*", "null", "Bearer"):
        assert_401(ask(gateway, wrong), FOREIGN)
    bodies = set()
    for wrong in (forged("sk-weir-kzzzzz-"), forged("sk-weir-kaaaaa-"),
                  forged(public), forged(public, secret[::-1])):
        reply = ask(gateway, wrong)
        assert_401(reply, UNKNOWN)
        bodies.add(re.sub(r'"request_id":"\w+"', "", reply.body.decode()))
    assert len(bodies) == 1, "it tells which ids exist"
    mock.assert_untouched()


def test_no_single_character_of_a_key_can_be_changed(gateway, mock):
    key = gateway.keys["alice"]
    visible = [chr(c) for c in range(0x21, 0x7f)]
    wrong = [key[:i] + c + key[i + 1:] for i in range(len(key))
             for c in visible if c != key[i]]
    wrong += [key[:i] + key[i + 1:] for i in range(len(key))]
    wrong += [key[:i] + key[i + 1] + key[i] + key[i + 2:]
              for i in range(len(key) - 1) if key[i] != key[i + 1]]
    for begin in range(0, len(wrong), 50):
        batch = wrong[begin:begin + 50]
        with ConnFrom(gateway.port, fresh_source()) as c:
            for k in batch:
                c.send(head(key=k))
                reply = c.reply()
                assert reply.status == 401, (k, reply)
                assert UNKNOWN not in reply.body.decode(), \
                    (k, "the check characters fit")
            c.send(head(key=key))
            assert c.reply().status == 200
    assert len(wrong) > 53 * 93


def test_what_is_stored_is_no_key(gateway, mock):
    key = gateway.keys["alice"]
    stored = next(k for k in json.loads(
        (gateway.state / "keys.json").read_text())["keys"]
        if k["id"] == id_of(key))
    assert key[PUBLIC:] not in (gateway.state / "keys.json").read_text()
    digest = stored["hash"]
    for wrong in (digest, digest.upper(), f"sk-weir-{stored['id']}-{digest}",
                  forged(key[:PUBLIC], digest[:32]),
                  forged(key[:PUBLIC], digest[32:])):
        assert ask(gateway, wrong).status == 401


def test_after_many_wrong_keys_an_address_must_wait_but_not_a_valid_key(
        gateway, mock):
    source, key = fresh_source(), gateway.keys["alice"]
    with ConnFrom(gateway.port, source) as c:
        for _ in range(60):
            c.send(head(key="sk-weir-wrong"))
            assert c.reply().status == 401
        c.send(head(key="sk-weir-wrong"))
        reply = c.reply()
        assert_says(CHAT, reply, 429, "rate_limit_exceeded")
        assert 1 <= int(reply.header("retry-after")) <= 60
        c.send(head(key=key))
        assert c.reply().status == 200
        c.send(head(key="sk-weir-wrong"))
        assert c.reply().status == 429
    assert_401(ask(gateway, "sk-weir-wrong"), MISTYPED)
    assert send_from(gateway.port, source, head(key=key)).status == 200


def test_wrong_keys_are_counted_once_for_all_threads(gateway):
    """Each connection is some thread's; together they may be wrong as often
    as one alone."""
    source, key = fresh_source(), gateway.keys["alice"]
    begun, statuses = time.monotonic(), []
    for _ in range(40):
        with ConnFrom(gateway.port, source) as c:
            for _ in range(4):
                c.send(head(key="sk-weir-wrong"))
                statuses.append(c.reply().status)
        assert send_from(gateway.port, source, head(key=key)).status == 200
    assert set(statuses) == {401, 429}
    come_back = time.monotonic() - begun  # one a second
    assert 60 <= statuses.count(401) <= 61 + come_back


# --- revoke, rotate, expire --------------------------------------------------

@pytest.fixture
def own(start, mock_server, mock):
    """A gateway whose keys the test may change."""
    gateway = start(basic_config(mock_server))
    mock.reset()
    yield gateway
    gateway.stop()


def changed(gateway, *argv):
    """Runs `weir key ...`; returns its output and when it had ended."""
    done = gateway.command("key", *argv)
    return done.stdout.strip(), time.monotonic()


def wait_for_401(gateway, key, sentence, since, within):
    wait_until(lambda: ask(gateway, key).status == 401, what="it is refused")
    assert time.monotonic() - since < within
    assert_401(ask(gateway, key), sentence)


def test_a_revoked_key_is_refused_within_a_second(own):
    key = own.keys["alice"]
    # Also on a connection that has shown it, and is believed from memory.
    with ConnFrom(own.port, fresh_source()) as c:
        c.send(head(key=key))
        assert c.reply().status == 200
        _, since = changed(own, "revoke", id_of(key), "--yes")
        wait_for_401(own, key, REVOKED, since, 1)
        c.send(head(key=key))
        assert_401(c.reply(), REVOKED)
    assert ask(own, own.keys["bob"]).status == 200


@pytest.mark.parametrize("dialect", [CHAT, ANTHROPIC], ids=lambda d: d.name)
def test_an_open_stream_of_a_revoked_key_is_cut(own, mock, dialect):
    key = own.keys["alice"]
    with own.connect(["POST"]) as c, own.connect(["POST"]) as other:
        c.send(dialect.request(key, "tokens=500,interval=50", stream=True))
        other.send(dialect.request(own.keys["bob"], "tokens=30,interval=50",
                                   stream=True))
        c.until(lambda c: dialect.text(c.reader.now or Nothing) != "")
        _, since = changed(own, "revoke", id_of(key))
        reply, = c.read_to_end()
        assert time.monotonic() - since < 5
        assert not reply.is_whole and not dialect.has_end_mark(reply.body)
        assert "revoked" in dialect.error_event(reply.body)["message"]
        mock.wait_stats(streams_cut=1)
        assert dialect.has_end_mark(other.reply().body), "bob's was cut too"
    cut, whole = sorted(new_lines(own, 2), key=lambda x: x["user"])
    assert (cut["user"], cut["end"]) == ("alice", "revoked"), cut
    assert cut["usage_source"] in ("running", "estimated"), cut
    assert cut["prompt_tokens"] > 0 and whole["end"] == "ok"


class Nothing:
    """No answer has begun."""

    body = b""

    @staticmethod
    def header(_):
        return None


def test_a_key_and_its_successor_are_both_valid_until_the_grace_is_over(own):
    old = own.keys["alice"]
    begun = time.time()
    new, _ = changed(own, "rotate", id_of(old), "--grace", "4s")
    own.secrets.add(new[PUBLIC:])
    wait_until(lambda: ask(own, new).status == 200)
    for key in (old, new):
        assert own.chat("tokens=1", key).status == 200
    wait_until(lambda: ask(own, old).status == 401, what="the grace is over")
    assert begun + 3.9 < time.time() < begun + 6
    assert_401(ask(own, old), REVOKED)
    assert ask(own, new).status == 200
    lines = new_lines(own, 2)
    assert {x["user"] for x in lines} == {"alice"}
    assert {x["key"] for x in lines} == {id_of(old), id_of(new)}


def test_without_grace_the_old_key_stops_at_once(own):
    old = own.keys["alice"]
    new, since = changed(own, "rotate", id_of(old), "--grace", "0s")
    wait_for_401(own, old, REVOKED, since, 1)
    assert ask(own, new).status == 200
    done = own.command("key", "rotate", id_of(old), check=False)
    assert done.returncode == 1 and done.stdout == "", done


def test_a_key_expires(own):
    key = own.issue("alice", "--expires", "3s")
    begun = time.time()
    assert ask(own, key).status == 200
    wait_until(lambda: ask(own, key).status == 401, what="it has expired")
    assert time.time() - begun < 4
    assert_401(ask(own, key), EXPIRED)


def test_a_key_is_for_the_models_that_it_was_issued_for(start, mock_server):
    config = basic_config(mock_server)
    config["models"]["other"] = config["models"]["m"]
    own = start(config)
    key = own.issue("alice", "--models", "other")
    assert [m["id"] for m in ask(own, key).json()["data"]] == ["other"]
    assert own.chat("tokens=1", key, model="other").status == 200
    assert_says(CHAT, own.chat("tokens=1", key), 404, "model_not_found")
    own.stop()


def test_the_keys_of_a_user_who_was_taken_out_stop(own):
    config = own.config
    del config["users"]["alice"]
    own.write(config)
    own.reload()
    assert_401(ask(own, own.keys["alice"]), "The user of this API key")
    assert ask(own, own.keys["bob"]).status == 200


def test_an_admins_key_is_an_ordinary_one(start, mock_server):
    config = basic_config(mock_server)
    config["users"]["alice"]["role"] = "admin"
    own = start(config)
    for user in ("alice", "bob"):
        for path in ("/admin", "/admin/v1/summary", "/metrics", "/ui/",
                     "/v1/organization/usage/completions"):
            reply = ask_path(own, path, own.keys[user])
            assert reply.status == 404, (user, path, reply)
    assert own.chat("tokens=2").status == 200
    line, = new_lines(own, 1)
    assert (line["user"], line["completion_tokens"]) == ("alice", 2), line
    own.stop()


def ask_path(gateway, path, key):
    return gateway.send(head(path=path, key=key, fields=["Connection: close"]))


# --- the file ----------------------------------------------------------------

def put(gateway, make):
    """Puts something in the place of keys.json by a rename: make(path) makes
    it.  Returns what the gateway logs."""
    before = len(gateway.log())
    aside = gateway.folder / "aside"
    make(aside)
    aside.rename(gateway.state / "keys.json")
    wait_until(lambda: re.search("keys (were|are) .*\n",
                                 gateway.log()[before:]),
               what="the keys are read again")
    return gateway.log()[before:]


def with_text(change, mode=0o600):
    """Makes a file with what change(the keys now) says."""
    def make(path):
        path.write_text(change((path.parent / "state/keys.json").read_text()))
        path.chmod(mode)
    return make


def with_owner(path):
    with_text(lambda t: t)(path)
    os.chown(path, 12345, 12345)


# A sentence, what stands there instead, a word of what is logged.
DAMAGED = [
    ("torn", with_text(lambda t: t[:len(t) // 2]), "line 1"),
    ("without its last byte but one", with_text(lambda t: t[:-3] + "\n"),
     "line"),
    ("empty", with_text(lambda t: ""), "empty"),
    ("no JSON", with_text(lambda t: "alice: sk-weir\n"), "line 1"),
    ("a list", with_text(lambda t: "[]"), "not a JSON object"),
    ("a key twice", with_text(lambda t: t.replace(
        '"keys":[', '"keys":[' + re.search(r"\{[^{]*\}", t[1:])[0] + ",")),
     "twice"),
    ("of another version", with_text(
        lambda t: t.replace('"version":1', '"version":9')), "version 9"),
    ("with a damaged hash", with_text(
        lambda t: re.sub('"hash":"..', '"hash":"', t)), "hash"),
    ("larger than any", with_text(lambda t: t + " " * (65 << 20)), "larger"),
    ("readable by all", with_text(lambda t: t, 0o644), "chmod 600"),
    ("readable by the group", with_text(lambda t: t, 0o640), "chmod 600"),
    ("a link", lambda p: p.symlink_to("/etc/passwd"), "symbolic link"),
    ("a FIFO", os.mkfifo, "not a regular file"),
    ("somebody else's", with_owner, "belongs to"),
]


@pytest.mark.parametrize("row", DAMAGED, ids=[r[0] for r in DAMAGED])
def test_a_key_file_that_is_not_sound_changes_nothing_and_starts_nothing(
        own, row):
    sentence, make, word = row
    if make is with_owner and os.geteuid() != 0:
        pytest.skip("only root can give files away")
    key = own.keys["alice"]
    good = (own.state / "keys.json").read_text()
    log = put(own, make)
    assert "the keys are unchanged: " in log and word in log, log
    assert ask(own, key).status == 200
    assert_401(ask(own, forged(key[:PUBLIC])), UNKNOWN)
    own.stop()
    done = own.command("serve", check=False)
    assert done.returncode == 1 and word in done.stderr, done
    path = own.state / "keys.json"
    path.unlink()
    path.write_text(good)
    path.chmod(0o600)
    own.start()
    assert ask(own, key).status == 200


def test_the_file_may_be_replaced_under_load(own):
    key, text = own.keys["alice"], (own.state / "keys.json").read_text()
    is_over = threading.Event()
    bad = []

    def load():
        with own.connect() as c:
            while not is_over.is_set():
                c.send(head(key=key))
                if (reply := c.reply()).status != 200:
                    bad.append(reply)
        bad.extend(r for r in [ask(own, key)] if r.status != 200)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for t in threads:
        t.start()
    for _ in range(100):
        put(own, with_text(lambda _: text))
    is_over.set()
    for t in threads:
        t.join()
    assert not bad, bad[:3]


def test_a_gateway_without_any_key_takes_its_first_one_while_it_runs(
        start, mock_server):
    config = basic_config(mock_server)
    own = start(json.dumps(config | {
        "server": {"listen": ["127.0.0.1:0"],
                   "state_dir": "state"}}))
    assert not (own.state / "keys.json").exists()
    assert_401(ask(own, forged("sk-weir-kaaaaa-")), UNKNOWN)
    key = own.issue("alice")
    assert own.chat("tokens=1", key).status == 200
    own.stop()


# --- weir key ----------------------------------------------------------------

def test_two_processes_that_issue_at_once_lose_no_key(own):
    issued, failed = [], []

    def issue(user):
        for _ in range(100):
            done = own.command("key", "issue", user, "-q", check=False)
            if done.returncode == 0:
                issued.append(done.stdout.strip())
            else:
                failed.append(done)

    threads = [threading.Thread(target=issue, args=(u,))
               for u in ("alice", "bob")]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed, failed[:3]
    assert len(set(issued)) == 200
    stored = json.loads((own.state / "keys.json").read_text())["keys"]
    assert {id_of(k) for k in issued} <= {k["id"] for k in stored}
    wait_until(lambda: all(ask(own, k).status == 200 for k in issued[-2:]))
    for key in issued:
        assert ask(own, key).status == 200
    assert [p.name for p in own.state.iterdir() if ".new" in p.name] == []


def test_a_new_key_is_alone_on_stdout(own):
    done = own.command("key", "issue", "alice", "--name", "laptop")
    assert re.fullmatch(
        r"sk-weir-[0-9a-z]{6}-[0-9A-Za-z]{38}\n", done.stdout), done
    assert done.stdout[PUBLIC:-1] not in done.stderr
    assert id_of(done.stdout) in done.stderr
    assert own.command("key", "issue", "alice", "-q").stderr == ""
    key = done.stdout.strip()
    for argv in (("list",), ("list", "--json"), ("show", id_of(key)),
                 ("show", id_of(key), "--json")):
        done = own.command("key", *argv)
        assert id_of(key) in done.stdout and key[PUBLIC:] not in done.stdout


def test_a_key_for_nobody_says_what_to_write(own):
    before = (own.state / "keys.json").read_bytes()
    done = own.command("key", "issue", "dora", check=False)
    assert (done.returncode, done.stdout) == (5, ""), done
    assert re.search(r"^  dora: \{models: \[m\]\}$", done.stderr, re.M), done
    assert str(own.path) in done.stderr
    assert (own.state / "keys.json").read_bytes() == before
    config = own.config
    config["users"]["dora"] = {"models": ["m"]}
    own.write(config)
    own.reload()
    assert ask(own, own.issue("dora")).status == 200


# The command, its status.
MISTAKES = [
    (("revoke", "kzzzzz"), 5), (("rotate", "kzzzzz"), 5),
    (("show", "kzzzzz"), 5), (("list", "--user", "dora"), 5),
    (("issue",), 2), (("issue", "alice", "bob"), 2), (("frob",), 2), ((), 2),
    (("issue", "alice", "--expires", "soon"), 2),
    (("issue", "alice", "--models", "x"), 5),
    (("issue", "alice", "--frob"), 2), (("list", "--state", "odd"), 2),
]


@pytest.mark.parametrize("argv, status", MISTAKES)
def test_a_mistake_changes_nothing_and_has_its_status(
        gateway, mock, argv, status):
    before = (gateway.state / "keys.json").read_bytes()
    done = gateway.command("key", *argv, check=False)
    assert (done.returncode, done.stdout) == (status, ""), done
    assert done.stderr.strip()
    assert (gateway.state / "keys.json").read_bytes() == before


def test_a_whole_key_is_not_repeated_where_its_id_is_due(own):
    key = own.keys["alice"]
    done = own.command("key", "revoke", key, check=False)
    assert done.returncode in (2, 5)
    assert key[PUBLIC:] not in done.stderr + done.stdout


def test_a_disk_that_is_full_leaves_the_old_file(own):
    before = (own.state / "keys.json").read_bytes()
    done = subprocess.run(
        ["prlimit", "--fsize=64", bin_dir() / "weir", "key", "issue",
         "alice"], env=own.environment, capture_output=True, text=True,
        timeout=60, check=False)
    assert done.returncode != 0 and done.stdout == "", done
    assert (own.state / "keys.json").read_bytes() == before
    assert ask(own, own.keys["alice"]).status == 200
    assert ask(own, own.issue("alice")).status == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as sudo gives it")
def test_what_root_does_stays_the_services_own(start, mock_server, tmp_path):
    state = tmp_path / "weir0/state"
    state.mkdir(parents=True, mode=0o700)
    os.chown(state, NOBODY, NOBODY)
    own = start(basic_config(mock_server))
    assert own.state == state

    def owners():
        return {p.name: (p.stat().st_uid, stat.S_IMODE(p.stat().st_mode))
                for p in state.iterdir() if p.name in (
                    "keys.json", "keys.lock", "pepper")}

    wanted = {n: (NOBODY, 0o600) for n in ("keys.json", "keys.lock", "pepper")}
    assert owners() == wanted
    key = own.issue("alice")
    own.command("key", "rotate", id_of(key), "--grace", "0s")
    own.command("key", "revoke", id_of(own.keys["bob"]))
    assert owners() == wanted
    own.stop()
