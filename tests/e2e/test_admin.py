"""What a running gateway tells of itself over its admin socket, and the
commands that ask it."""

import json
import os
import re
import socket
import stat
import subprocess

import pytest

from admission import Crowd, text_of_size
from harness import (PATIENCE, basic_config, bin_dir, head,
                     wait_until)
from wire import Reader

HOLD = "tokens=1,ttft=60s"
GATE = "/admin/v1/gate"
FLEET = "/admin/v1/fleet"


@pytest.fixture(scope="module")
def config(mock_server):
    config = basic_config(mock_server)
    config["upstreams"]["mock"] |= {"kind": "vllm", "paid": False}
    config["upstreams"]["one"] = {
        "url": mock_server.url, "timeouts": {"idle": "50ms"},
        "max_inflight": 1, "kv_tokens": 100000,
        "queue": {"size": 64, "wait": "60s"}}
    config["models"]["one"] = {"commit_after": "60s", "routes": [
        {"to": "one", "model": "mock-model"}]}
    config["models"]["batch"] = {
        "class": "batch", "commit_after": "60s",
        "routes": config["models"]["one"]["routes"]}
    config["users"]["alice"]["limits"] = {
        "requests_per_minute": 1000, "concurrent": 50,
        "models": {"one": {"input_tokens_per_minute": 100000}}}
    config["users"]["carol"] = {
        "models": ["*"], "limits": {"requests_per_minute": 5}}
    config["users"]["alice"]["budget"] = {"usd": 10, "per": "month"}
    return config


def path_of(gateway):
    return gateway.state / "admin.sock"


def ask_raw(path, data):
    """Everything that comes back until the other side closes."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(PATIENCE)
        s.connect(str(path))
        s.sendall(data)
        answer = b""
        while piece := s.recv(1 << 20):
            answer += piece
        return answer


def ask(gateway, path, method="GET"):
    answer = ask_raw(path_of(gateway), head(method, path))
    reader = Reader([method])
    reader.feed(answer)
    reader.at_end()
    assert len(reader.replies) == 1, answer
    return reader.replies[0]


def document(gateway, path=GATE):
    reply = ask(gateway, path)
    assert reply.status == 200, reply
    shown = reply.json()
    assert shown["schema"] == 1
    return shown


def upstream(gateway, name, path=GATE):
    return {u["upstream"]: u for u in
            document(gateway, path)["upstreams"]}[name]


def account(gateway, user, subject="user"):
    found = [a for a in document(gateway)["accounts"]
             if (a["subject"], a["user"]) == (subject, user)]
    assert len(found) == 1, found
    return found[0]


# --- the socket --------------------------------------------------------------

def test_the_socket_is_for_its_owner_and_group_alone(gateway):
    seen = path_of(gateway).stat()
    assert stat.S_ISSOCK(seen.st_mode)
    assert stat.S_IMODE(seen.st_mode) == 0o660
    assert seen.st_uid == os.geteuid()


@pytest.mark.parametrize("path", ["/", "/v1/models", "/healthz", "/v1/key",
                                  "/admin/v1", "/admin/v1/gate/",
                                  "/admin/v1/else"])
def test_the_socket_has_nothing_but_its_documents(gateway, path):
    assert ask(gateway, path).status == 404


@pytest.mark.parametrize("path", [GATE, FLEET])
def test_the_documents_are_not_on_the_public_listener(gateway, path):
    assert gateway.get(path).status == 404
    assert gateway.get(path, gateway.keys["alice"]).status == 404


def test_the_socket_takes_nothing_but_get(gateway):
    for method in "POST", "HEAD", "PUT":
        reply = ask(gateway, GATE, method)
        assert reply.status == 405, reply
    assert ask(gateway, "/v1/chat/completions", "POST").status == 404


def test_a_request_that_is_no_request_is_refused(gateway):
    for junk in b"GET\r\n\r\n", b"GET /admin/v1/gate HTTP/1.1\n\n", \
            b"GET /admin/v1/gate HTTP/1.1\r\n\r\n":
        assert b" 400 " in ask_raw(path_of(gateway), junk).split(b"\r\n")[0]


def test_the_socket_goes_with_the_gateway_and_one_that_died_is_replaced(
        start, config):
    one = start(config)
    path = path_of(one)
    one.kill()
    assert path.exists()
    with pytest.raises(ConnectionRefusedError):
        ask_raw(path, b"")
    one.start()
    assert document(one)["upstreams"]
    one.stop()
    assert not path.exists()


def serve_until_it_ends(folder, config):
    """A gateway that is not to start.  Returns what it said."""
    folder.mkdir()
    file = folder / "weir.yaml"
    file.write_text(json.dumps(config))
    done = subprocess.run(
        [bin_dir() / "weir", "serve", "-c", file], timeout=60, check=False,
        capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 1, done
    return done.stderr


def test_a_live_gateways_socket_is_not_taken_nor_is_a_file(
        start, config, tmp_path):
    socket_path = tmp_path / "a.sock"
    config = {**config, "server": {**config["server"],
                                   "admin": f"unix:{socket_path}"}}
    one = start(config)
    other = {**config, "server": {**config["server"],
                                  "state_dir": str(tmp_path / "other")}}
    said = serve_until_it_ends(tmp_path / "second", other)
    assert "another program listens" in said, said
    assert b" 200 " in ask_raw(socket_path, head("GET", GATE))
    one.stop()
    assert not socket_path.exists()
    socket_path.write_text("mine")
    said = serve_until_it_ends(tmp_path / "third", other)
    assert "no socket" in said, said
    assert socket_path.read_text() == "mine"


def test_where_no_socket_can_be_made_the_gateway_serves_without(
        start, config):
    deep = "d" * 100
    config = {**config, "server": {**config["server"]}}
    it = start(config)
    it.stop()
    state = it.folder / deep
    it.state.rename(state)
    it.state = state
    config["server"]["state_dir"] = str(state)
    it.write(config)
    it.start()
    assert "longer than 107 bytes" in it.log()
    it.assert_serves()
    assert it.command("fleet", "status", check=False).returncode == 6
    assert it.command("user", "list").stdout


def test_another_path_needs_a_restart(gateway, config):
    changed = {**config, "server": {**config["server"],
                                    "admin": "unix:elsewhere.sock"}}
    gateway.write(changed)
    assert "server.admin has changed: that needs a restart" in \
        gateway.reload()
    assert document(gateway)
    gateway.write(config)
    gateway.reload()


# --- the gate ----------------------------------------------------------------

@pytest.fixture
def crowd(gateway):
    with Crowd(gateway) as crowd:
        yield crowd


def test_who_waits_stands_in_the_document_in_the_order_in_which_they_go(
        gateway, mock, crowd):
    crowd.send("bob", "first", HOLD, model="one")
    mock.wait_stats(in_flight=1)
    crowd.send("bob", "late", model="batch")
    for i in range(3):
        crowd.send("bob", f"b{i}", model="one")
    crowd.send("alice", "a0", model="one")
    wait_until(lambda: upstream(gateway, "one")["waiting"] == 5)
    up = upstream(gateway, "one")
    assert (up["in_flight"], up["max_inflight"]) == (1, 1)
    assert up["kv_tokens"] == 100000 and up["tokens"] > 0
    waiters = up["waiters"]
    assert [w["position"] for w in waiters] == [1, 2, 3, 4, 5]
    assert [w["user"] for w in waiters].index("alice") <= 1
    assert (waiters[4]["user"], waiters[4]["model"], waiters[4]["class"]) == \
        ("bob", "batch", "batch")
    assert {w["model"] for w in waiters[:4]} == {"one"}
    assert all(w["waited_ms"] >= 0 and w["tokens"] > 0 for w in waiters)
    other = upstream(gateway, "mock")
    assert (other["in_flight"], other["waiters"]) == (0, [])
    assert other["max_inflight"] is None and other["kv_tokens"] is None


def test_an_account_shows_what_is_under_way_and_what_is_left(
        gateway, mock, crowd):
    before = account(gateway, "alice")
    crowd.send("alice", "x", HOLD, max_tokens=100)
    mock.wait_stats(in_flight=1)
    now = account(gateway, "alice")
    assert (now["in_flight"], now["concurrent"]) == (1, 50)
    rates = now["rates"]
    assert rates["requests_per_minute"]["limit"] == 1000
    assert 0 < rates["requests_per_minute"]["remaining"] < 1000
    assert rates["input_tokens_per_minute"] is None
    assert now["tokens_per_day"]["limit"] is None
    assert now["tokens_per_day"]["held"] >= 100
    budget = {m["per"]: m["budget"] for m in now["money"]}
    assert budget["month"]["limit_usd"] == "10.00"
    assert budget["day"]["limit_usd"] is None
    assert now["override_until"] is None
    crowd.conns[0].close()
    wait_until(lambda: account(gateway, "alice")["in_flight"] == 0)
    after = account(gateway, "alice")
    assert after["tokens_per_day"]["held"] == before["tokens_per_day"]["held"]
    assert account(gateway, "alice", "user_at_model")["model"] == "one"
    assert account(gateway, None, "everyone")["in_flight"] == 0


def test_overrides_and_keys_of_their_own_limits_are_shown(gateway):
    gateway.command("user", "limits", "bob", "--set", "concurrent=7", "--for",
                    "1h")
    wait_until(lambda: account(gateway, "bob")["concurrent"] == 7)
    assert account(gateway, "bob")["override_until"]
    gateway.command("user", "limits", "bob", "--clear")
    wait_until(lambda: account(gateway, "bob")["override_until"] is None)
    gateway.issue("bob", "--limit", "requests_per_minute=5")
    key = account(gateway, "bob", "key")
    assert re.fullmatch(r"[0-9a-z]{6}", key["key"])
    assert key["rates"]["requests_per_minute"]["limit"] == 5


# --- the fleet ---------------------------------------------------------------

def teach(gateway, count=12):
    """Prompts of 100 to 650 tokens, none with the beginning of another."""
    for n in range(count):
        reply = gateway.chat(
            "prefill=4000,tokens=30,interval=5", stream=True, messages=[{
                "role": "user",
                "content": text_of_size(100 + 50 * n, f"seed{n}")}])
        assert reply.status == 200, reply


def row_of(gateway, name, *options):
    done = gateway.command("fleet", "status", *options)
    lines = [x.split("\t") for x in done.stdout.splitlines()]
    return [dict(zip(lines[0], x)) for x in lines[1:] if x[0] == name][0]


def test_the_fleet_shows_what_answers_have_taught(gateway, mock):
    row = row_of(gateway, "mock")
    assert (row["KIND"], row["MODEL"]) == ("vllm", "mock-model")
    assert row["ADDRESS"] == f"127.0.0.1:{mock.port}"
    assert (row["INFLIGHT"], row["QUEUE"]) == ("0", "0")
    teach(gateway)
    row = row_of(gateway, "mock", "-o", "wide")
    assert 2500 < float(row["PREFILL"]) < 6000, row
    assert 50 < float(row["TOK/S"]) < 400, row
    assert row["PAID"] == "no" and float(row["B/TOKEN IN"]) > 1
    gateway.flush_ledger()
    wait_until(lambda: upstream(gateway, "mock", FLEET)
               ["last_hour"]["requests"] >= 12)
    hour = upstream(gateway, "mock", FLEET)["last_hour"]
    assert 0 <= hour["failed"] < hour["requests"]
    assert hour["ttft_p50_ms"] > 0 and hour["tokens_per_second"] > 0
    assert row_of(gateway, "one")["INFLIGHT"] == "0/1"
    shown = json.loads(gateway.command("fleet", "status", "--json").stdout)
    assert [u["upstream"] for u in shown["upstreams"]] == ["mock", "one"]


def test_the_fleet_counts_places_and_who_waits(gateway, mock, crowd):
    for i in range(3):
        crowd.send("bob", f"b{i}", HOLD, model="one")
    mock.wait_stats(in_flight=1)
    wait_until(lambda: row_of(gateway, "one")["QUEUE"] == "2")
    assert row_of(gateway, "one")["INFLIGHT"] == "1/1"


# --- commands ----------------------------------------------------------------

def test_live_counts_of_users_are_shown_while_a_gateway_runs(
        gateway, mock, crowd):
    crowd.send("carol", "x", HOLD)
    mock.wait_stats(in_flight=1)

    def limits(user):
        shown = json.loads(gateway.command(
            "user", "limits", user, "--json").stdout)["limits"]
        return {(x["limit"], x["model"]): x["now"] for x in shown}
    shown = limits("carol")
    assert shown["concurrent", None] == 1
    assert shown["requests_per_minute", None] == 1
    assert shown["output_tokens_per_minute", None] is None
    assert limits("alice")["concurrent", None] == 0
    assert limits("alice")["input_tokens_per_minute", "one"] is not None
    listed = {x["user"]: x for x in json.loads(gateway.command(
        "user", "list", "--json").stdout)["users"]}
    assert listed["carol"]["in_flight"] == 1
    assert listed["carol"]["requests_per_minute"] == 1
    assert listed["bob"]["in_flight"] == 0
    assert listed["bob"]["requests_per_minute"] is None


def test_without_a_gateway_commands_say_so(start, config):
    it = start(config)
    it.stop()
    done = it.command("fleet", "status", check=False)
    assert (done.returncode, done.stdout) == (6, ""), done
    assert f"no gateway answers at {path_of(it)}" in done.stderr
    assert "weir serve" in done.stderr
    listed = json.loads(it.command("user", "list", "--json").stdout)["users"]
    assert {x["in_flight"] for x in listed} == {None}
    shown = json.loads(it.command(
        "user", "limits", "alice", "--json").stdout)["limits"]
    assert {x["now"] for x in shown if x["limit"] == "concurrent"} == {None}


def test_another_socket_can_be_named(gateway, tmp_path):
    path = path_of(gateway)
    environment = {**os.environ, "WEIR_SOCKET": f"unix:{path}",
                   "WEIR_CONFIG": str(tmp_path / "none.yaml")}

    def run(*argv, **env):
        return subprocess.run(
            [bin_dir() / "weir", "fleet", "status", *argv], check=False,
            capture_output=True, text=True, timeout=60,
            env={**environment, **env}, stdin=subprocess.DEVNULL)
    assert "mock-model" in run().stdout
    assert "mock-model" in run("--socket", path, WEIR_SOCKET="").stdout
    assert run("--socket", tmp_path / "no.sock").returncode == 6
    assert run("--socket", tmp_path / ("x" * 200)).returncode == 6


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another")
def test_who_may_not_use_the_socket_is_told_so(start, config, tmp_path):
    place = tmp_path / "open"
    place.mkdir()
    for folder in place, *place.parents:
        if folder.stat().st_uid == 0 and folder != folder.parent and \
                not folder.stat().st_mode & 0o005:
            folder.chmod(folder.stat().st_mode | 0o055)
    it = start({**config, "server": {
        **config["server"], "admin": f"unix:{place}/a.sock"}})
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--clear-groups", "--regid", "65534",
         bin_dir() / "weir", "fleet", "status", "--socket", place / "a.sock"],
        capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4, done
    assert "you may not use" in done.stderr
    assert it.is_running()


@pytest.mark.parametrize("argv, word", [
    ((), "Usage"), (("frob",), "frob"), (("status", "x"), "'x'"),
    (("status", "-o", "narrow"), "wide"), (("status", "--frob"), "--frob"),
    (("status", "--socket"), "needs a value")])
def test_a_mistake_is_told(gateway, argv, word):
    done = gateway.command("fleet", *argv, check=False)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert word in done.stderr


# --- nobody is disturbed -----------------------------------------------------

def test_many_slow_admin_clients_disturb_neither_requests_nor_each_other(
        gateway, mock):
    open_sockets = []
    try:
        for i in range(100):
            s = socket.socket(socket.AF_UNIX)
            open_sockets.append(s)
            s.settimeout(PATIENCE)
            s.connect(str(path_of(gateway)))
            if i % 2:
                s.sendall(head("GET", GATE)[:-3])  # never its end
        for _ in range(20):
            gateway.assert_serves()
        # The newest get their answers: those go that have waited longest.
        assert document(gateway)["schema"] == 1
    finally:
        for s in open_sockets:
            s.close()


def test_the_documents_are_whole_while_much_goes_on(gateway, mock):
    with Crowd(gateway) as crowd:
        for i in range(150):
            crowd.add(("alice", "bob")[i % 2], f"r{i}",
                      "tokens=1,ttft=5ms", model=("m", "one")[i % 3 > 0])
        while len(crowd.answered()) < 150:
            up = upstream(gateway, "one")
            assert up["in_flight"] <= 1
            assert [w["position"] for w in up["waiters"]] == \
                list(range(1, len(up["waiters"]) + 1))
            assert document(gateway, FLEET)["upstreams"]
            crowd.wait(lambda: True)
            for conn in crowd.conns:
                conn.pull()
    wait_until(lambda: upstream(gateway, "one")["in_flight"] == 0)


def test_a_gateway_stops_while_admin_clients_are_there(start, config):
    it = start(config)
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(path_of(it)))
        s.sendall(b"GET /adm")
        it.stop(timeout=20)
    assert not path_of(it).exists()
