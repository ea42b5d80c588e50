"""What every test here stands on: the gateway and the pretend model server as
processes, on free ports of the loopback, and what must hold when they end."""

import copy
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

from wire import (PATIENCE, Conn, Malformed, Replies, Reply, chunked, head,
                  post, raw)

__all__ = ["PATIENCE", "Conn", "Gateway", "Malformed", "Mock", "Replies",
           "Reply", "assert_error", "assert_refused", "basic_config",
           "bin_dir", "certificate", "chat", "chat_body", "chunked", "head",
           "post", "raw", "wait_until"]

ROOT = pathlib.Path(__file__).resolve().parents[2]

# What must never stand in the gateway's output.
TROUBLE = re.compile(
    r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|"
    r"LeakSanitizer|\bbug:|Assertion .* failed")

SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:exitcode=99:detect_stack_use_after_return"
                    "=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "exitcode=99",
}


def bin_dir():
    """The build under test: WEIR_BIN_DIR, or the newest sanitizer build."""
    given = os.environ.get("WEIR_BIN_DIR")
    if given:
        return pathlib.Path(given).resolve()
    found = sorted((p for p in ROOT.glob("build/*/weir") if p.is_file()),
                   key=lambda p: ("dev" in p.parent.name, p.stat().st_mtime))
    assert found, "nothing is built: cmake --workflow --preset dev"
    return found[-1].parent


def wait_until(condition, timeout=PATIENCE, what=""):
    """Polls until condition() is true, and returns what it returned."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, \
            f"not within {timeout} s: {what or condition}"
        time.sleep(0.004)
    return value


def certificate(folder, host="localhost"):
    """A key and a certificate that vouches for itself: (cert, key) files."""
    cert, key = folder / f"{host}.crt", folder / f"{host}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
         "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
         f"/CN={host}", "-addext", f"subjectAltName=DNS:{host},IP:127.0.0.1",
         "-keyout", key, "-out", cert],
        check=True, capture_output=True, timeout=60)
    return cert, key


def with_parent(argv):
    """The command, ended by the kernel when this process ends."""
    return ["setpriv", "--pdeathsig", "KILL", *map(str, argv)]


# --- the model server --------------------------------------------------------

class Mock:
    """A pretend model server; tests/mock/README.md says what it can do."""

    def __init__(self, name="one", *options, tls=None):
        """`tls` is (cert file, key file)."""
        if tls:
            options += ("--tls-cert", tls[0], "--tls-key", tls[1])
        self.name = name
        self.tls = tls
        self.process = subprocess.Popen(
            [str(x) for x in (
                bin_dir() / "weir-mock", "--listen", "127.0.0.1:0",
                "--control", "127.0.0.1:0", "--name", name,
                "--die-with-parent", *options)],
            stdout=subprocess.PIPE, text=True)
        self.control_port = self.read_port("control")
        self.port = self.read_port("listening")

    def read_port(self, word):
        line = self.process.stdout.readline()
        match = re.fullmatch(rf"{word} 127\.0\.0\.1:(\d+)\n", line)
        assert match, line
        return int(match[1])

    @property
    def url(self):
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}/v1"

    def control(self, what, body=None):
        if isinstance(body, str):
            body = body.encode()
        assert self.process.poll() is None, \
            f"weir-mock has ended with {self.process.returncode}"
        request = (f"{'GET' if body is None else 'POST'} /_mock/{what} "
                   "HTTP/1.1\r\nHost: mock\r\nConnection: close\r\n"
                   f"Content-Length: {len(body or b'')}\r\n\r\n").encode()
        sock = socket.create_connection(
            ("127.0.0.1", self.control_port), PATIENCE)
        with sock:
            if self.tls:
                sock = insecure_tls(sock)
            sock.sendall(request + (body or b""))
            data = b""
            while piece := sock.recv(1 << 20):
                data += piece
            sock.close()
        answer_head, _, answer = data.partition(b"\r\n\r\n")
        assert answer_head.startswith(b"HTTP/1.1 200 "), (what, data[:400])
        return json.loads(answer) if answer else None

    def set(self, directives):
        """New defaults: "tokens=5,interval=20"."""
        self.control("set", directives)

    def reset(self):
        """Counters and log to zero, first defaults, listening."""
        self.control("reset", b"")

    def stats(self):
        return self.control("stats")

    def requests(self):
        """The last 1,000 requests, oldest first."""
        return self.control("requests")

    def last(self):
        return self.requests()[-1]

    def refuse(self):
        self.set("listen=off")

    def accept(self):
        self.set("listen=on")

    def replay(self, data, is_raw=False):
        """Uploads what `replay=body` or `replay=raw` will answer."""
        self.control("raw" if is_raw else "replay", data)

    def wait_stats(self, timeout=PATIENCE, **wanted):
        """Waits until these counters have these values."""
        seen = {}

        def is_so():
            seen.update(self.stats())
            return all(seen[k] == v for k, v in wanted.items())
        try:
            wait_until(is_so, timeout)
        except AssertionError:
            now = {k: seen.get(k) for k in wanted}
            raise AssertionError(f"wanted {wanted}, is {now}") from None
        return seen

    def assert_untouched(self):
        """Nobody has asked for anything since the last reset."""
        stats = self.stats()
        assert stats["served"] == 0 and stats["requests_bad"] == 0 and \
            stats["in_flight"] == 0 and stats["connections_accepted"] == 0, \
            stats
        assert self.requests() == []

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        status = self.process.wait(PATIENCE)
        self.process.stdout.close()
        assert status == 0, f"weir-mock ended with {status}"


def insecure_tls(sock):
    import ssl
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(sock)


# --- the gateway -------------------------------------------------------------

def basic_config(mock):
    """One upstream, one model `m`, the users alice and bob without limits.  A
    test changes what it needs."""
    return {
        "version": 1,
        "server": {"listen": ["127.0.0.1:0"], "workers": 2, "drain": "5s"},
        "upstreams": {
            # So that no unused connection outlives a test for long.
            "mock": {"url": mock.url, "timeouts": {"idle": "50ms"}},
        },
        "models": {"m": {"routes": [{"to": "mock", "model": "mock-model"}]}},
        "users": {"alice": {"models": ["*"]}, "bob": {"models": ["*"]}},
    }


class Gateway:
    """`weir serve` with a configuration: a dict (a JSON document is YAML), or
    text.  A key is issued for each user of a dict that may have one."""

    PROBE = "probe"  # a user of our own, see lines()

    def __init__(self, config, folder, env=None, prefix=(), settle_ms=0):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state = self.folder / "state"
        self.path = self.folder / "weir.yaml"
        self.log_path = self.folder / "gateway.log"
        self.prefix = list(prefix)
        self.keys = {}
        self.secrets = set()  # must not be in any output
        self.environment = {
            **os.environ, **SANITIZERS, "WEIR_CONFIG": str(self.path),
            **(env or {})}
        for name in "NOTIFY_SOCKET", "JOURNAL_STREAM":
            self.environment.pop(name, None)
        self.process = None
        self.probes = 0
        self.mark = 0
        self.write(config)
        if not isinstance(config, str):
            for user, entry in self.config["users"].items():
                if entry.get("key") != "none":
                    self.keys[user] = self.issue(user)
        self.start()

    def write(self, config):
        """Writes the configuration; reload() makes it count."""
        self.config = None
        text = config
        if not isinstance(config, str):
            config = copy.deepcopy(config)
            server = config.setdefault("server", {})
            server.setdefault("listen", ["127.0.0.1:0"])
            server.setdefault("state_dir", str(self.state))
            config["users"].setdefault(self.PROBE, {"models": ["*"]})
            self.config = config
            text = json.dumps(config, indent=1, ensure_ascii=False)
        self.path.write_text(text)

    def command(self, *argv, check=True, text=True):
        """Runs `weir ...` with this configuration to its end."""
        done = subprocess.run(
            [bin_dir() / "weir", *argv], env=self.environment,
            capture_output=True, text=text, timeout=60, check=False,
            stdin=subprocess.DEVNULL)
        errors = done.stderr if text else done.stderr.decode()
        assert not TROUBLE.search(errors), errors
        if check:
            assert done.returncode == 0, (argv, done)
        return done

    def issue(self, user, *options):
        """A new key.  While the gateway runs: until it is taken."""
        key = self.command("key", "issue", user, *options).stdout.strip()
        assert re.fullmatch(r"sk-weir-[0-9a-z]{6}-[0-9A-Za-z]{38}", key), key
        self.secrets.add(key[15:])
        if self.process is not None:
            wait_until(lambda: self.get("/v1/models", key).status == 200,
                       what="the key is taken")
        return key

    # -- its life

    def start(self):
        begun = self.log_path.stat().st_size if self.log_path.exists() else 0
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                with_parent([*self.prefix, bin_dir() / "weir", "serve", "-c",
                             self.path]),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self.environment, start_new_session=True)

        def ready():
            match = re.search(r"reach it at .*http://127\.0\.0\.1:(\d+)/v1",
                              self.log()[begun:])
            assert match or self.process.poll() is None, self.log()
            return match
        self.port = int(wait_until(ready, 30, "the gateway is up")[1])
        wait_until(lambda: self.get("/readyz").status == 200)
        self.quiet_fds = self.settled_fds()

    def log(self):
        return self.log_path.read_text(errors="backslashreplace")

    def is_running(self):
        return self.process.poll() is None

    def send_signal(self, number):
        self.process.send_signal(number)

    def reload(self):
        """SIGHUP, until it has been taken.  Returns what was logged."""
        before = len(self.log())
        self.send_signal(signal.SIGHUP)
        wait_until(lambda: "the configuration " in self.log()[before:],
                   what="the configuration is loaded again")
        return self.log()[before:]

    def stop(self, number=signal.SIGTERM, timeout=30):
        """Ends it, and checks that it ended well and leaked nothing."""
        if self.process.poll() is None:
            self.send_signal(number)
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("it did not stop:\n" + self.log()) from None
        self.check_output()
        assert status == 0, f"status {status}:\n{self.log()}"

    def kill(self):
        self.process.kill()
        self.process.wait()

    def check_output(self):
        log = self.log()
        found = TROUBLE.search(log)
        assert not found, log[max(0, found.start() - 500):][:8000]
        for secret in self.secrets:
            assert secret not in log, "a secret is in the log"

    # -- what is left over

    def fds(self):
        """Its descriptors, but for those of the ledger's readers, who open and
        close files as they see fit."""
        folder = f"/proc/{self.process.pid}/fd"
        found = []
        for fd in os.listdir(folder):
            try:
                target = os.readlink(f"{folder}/{fd}")
            except FileNotFoundError:
                continue
            if ".jsonl" not in target and "/rollups/" not in target:
                found.append(target)
        return found

    def settled_fds(self):
        """How many it has when no client is there."""
        def same():
            first = len(self.fds())
            time.sleep(0.02)
            return first == len(self.fds()) and first
        return wait_until(same)

    def rss_bytes(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) << 10

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def assert_quiet(self):
        """Nothing that a test did is left: no socket, no file, no complaint.
        The test's own connections must be closed."""
        assert self.is_running(), self.log()[-8000:]
        wait_until(lambda: len(self.fds()) <= self.quiet_fds,
                   what="descriptors are given back")
        self.check_output()

    # -- the ledger

    @property
    def ledger_path(self):
        return self.state / "usage.jsonl"

    def ledger(self):
        """All whole lines so far, parsed."""
        try:
            text = self.ledger_path.read_text()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.split("\n")[:-1]]

    def wait_ledger(self, wanted, timeout=PATIENCE):
        """Waits for so many lines, or until wanted(lines) is true; returns
        the lines."""
        is_so = wanted if callable(wanted) else \
            lambda lines: len(lines) >= wanted
        seen = []

        def look():
            seen[:] = self.ledger()
            return is_so(seen)
        wait_until(look, timeout, f"the ledger: {wanted}")
        return seen

    def flush_ledger(self):
        """Waits until everything that has ended stands in the ledger: a
        request of our own, which is refused, comes behind it."""
        self.probes += 1
        label = f"flush-{self.probes}"
        reply = self.send(post({}, self.keys[self.PROBE],
                               fields=[f"X-Request-Id: {label}"]))
        assert reply.status == 404, reply
        self.wait_ledger(lambda lines: any(
            x["client_request_id"] == label for x in lines))

    def begin(self):
        """A test begins here: see lines()."""
        if self.PROBE in self.keys:
            self.flush_ledger()
        self.mark = len(self.ledger())

    def lines(self):
        """The lines of this test's exchanges that have ended: all of them, and
        nothing else, even if there are none."""
        self.flush_ledger()
        return [x for x in self.ledger()[self.mark:]
                if x["user"] != self.PROBE]

    # -- requests

    def connect(self, methods=(), **options):
        return Conn(self.port, methods, **options)

    def raw(self, data, methods=(), timeout=PATIENCE):
        return raw(self.port, data, methods, timeout)

    def send(self, data, timeout=PATIENCE):
        """Sends one request and returns its answer, behind interim ones."""
        with self.connect([data.split(b" ", 1)[0].decode("latin1")]) as c:
            c.send(data)
            while (reply := c.reply(timeout)).status < 200:
                pass
            return reply

    def get(self, path, key=None, fields=()):
        return self.send(head("GET", path, key, [*fields,
                                                 "Connection: close"]))

    def post(self, body, key=None, path="/v1/chat/completions", fields=()):
        return self.send(post(body, key, path, fields))

    def chat(self, mock="", key=None, path="/v1/chat/completions", fields=(),
             **members):
        """A chat request of alice's: see chat_body()."""
        return self.post(chat_body(mock, **members),
                         key or self.keys["alice"], path, fields)

    def assert_serves(self):
        """A new client gets an answer now."""
        reply = self.chat("tokens=2", self.keys[self.PROBE])
        assert reply.status == 200 and reply.text() == " tea sea", reply


def chat_body(mock="", **members):
    """The members of a request's body; `mock` holds its directives."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}],
            **members}
    if mock:
        body["mock"] = mock
    return body


def chat(gateway, mock="", **members):
    return gateway.chat(mock, **members)


# --- what is said of many answers --------------------------------------------

def assert_error(reply, expected, gateway=None):
    """The reply is an error of ours in OpenAI's shape.  `expected` is
    "STATUS CODE", or a set of them, of which one must fit."""
    wanted = {expected} if isinstance(expected, str) else set(expected)
    error = reply.json()["error"]
    assert f"{reply.status} {error['code']}" in wanted, (wanted, reply)
    assert error["type"] and error["message"].endswith("."), error
    assert reply.header("Content-Type") == "application/json", reply
    if gateway is not None:
        text = repr(reply.headers) + reply.body.decode()
        for secret in gateway.secrets:
            assert secret not in text, "a secret is in the answer"


def assert_refused(gateway, mock, data, expected, timeout=PATIENCE):
    """The bytes get one answer, this error, and the connection ends; nothing
    has reached the model server, and a new client is served.  Returns the
    answer."""
    method = data.split(b" ", 1)[0].decode("latin1")
    replies = gateway.raw(data, [method], timeout)
    assert len(replies) == 1 and replies.end == "eof", (replies, replies.end)
    reply = replies[0]
    assert reply.closes and reply.is_whole, reply
    if method != "HEAD":
        assert_error(reply, expected, gateway)
    mock.assert_untouched()
    gateway.assert_serves()
    return reply
