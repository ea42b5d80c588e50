"""Redis for tests: a real one, on a unix socket and a free port, that can be
killed, stopped and started again; a client of a few lines; and pretend ones
that answer what they are told to, or lose what they should have said."""

import pathlib
import signal
import socket
import subprocess
import threading
import time

from harness import PATIENCE, wait_until, with_parent


class Failure(Exception):
    """An error reply."""


class Client:
    """One connection; answers are str, int, None, lists, or raise."""

    def __init__(self, address):
        family = socket.AF_UNIX if isinstance(address, str) else \
            socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(address)
        self.file = self.sock.makefile("rb")

    def __call__(self, *words):
        self.send(*words)
        return self.read()

    def send(self, *words):
        data = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        self.sock.sendall(b"*%d\r\n" % len(data) + b"".join(
            b"$%d\r\n%s\r\n" % (len(w), w) for w in data))

    def read(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("closed")
        kind, rest = line[:1], line[1:-2].decode()
        if kind == b"-":
            raise Failure(rest)
        if kind == b":":
            return int(rest)
        if kind == b"+":
            return rest
        if kind == b"$":
            if rest == "-1":
                return None
            return self.file.read(int(rest) + 2)[:-2].decode()
        assert kind == b"*", line
        return None if rest == "-1" else [self.read()
                                          for _ in range(int(rest))]

    def close(self):
        self.file.close()
        self.sock.close()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Redis:
    """`redis-server` in a folder of its own."""

    NONE = ("--save", "", "--appendonly", "no")
    RDB = ("--save", "1 1", "--appendonly", "no")
    AOF = ("--save", "", "--appendonly", "yes", "--appendfsync", "everysec")

    def __init__(self, folder, *options, keeps=NONE, tls=None):
        """`tls` is (cert file, key file): then the port speaks TLS."""
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.socket = str(self.folder / "redis.sock")
        self.port = free_port()
        self.tls = tls
        self.options = [*keeps, *options]
        self.process = None
        self.start()

    def start(self):
        ports = ["--port", self.port]
        if self.tls:
            ports = ["--port", 0, "--tls-port", self.port, "--tls-cert-file",
                     self.tls[0], "--tls-key-file", self.tls[1],
                     "--tls-auth-clients", "no"]
        with open(self.folder / "redis.log", "ab") as log:
            self.process = subprocess.Popen(
                with_parent(["redis-server", *ports, "--bind", "127.0.0.1",
                             "--unixsocket", self.socket, "--dir",
                             self.folder, "--enable-debug-command", "local",
                             *self.options]),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self.answers, 30, "redis-server is up")

    def answers(self):
        assert self.process.poll() is None, \
            (self.folder / "redis.log").read_text()[-4000:]
        try:
            return self("PING") == "PONG"
        except Failure as e:
            return str(e).startswith("NOAUTH")
        except (OSError, ConnectionError):
            return False

    def client(self):
        return Client(self.socket)

    def __call__(self, *words):
        """One command on a connection of its own."""
        client = self.client()
        try:
            return client(*words)
        finally:
            client.close()

    def hash(self, key):
        flat = self("HGETALL", key)
        return dict(zip(flat[::2], flat[1::2]))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        if self.process.poll() is None:
            self.go_on()
            self.kill()

    @property
    def url(self):
        return f"unix:{self.socket}"

    @property
    def tcp_url(self):
        return f"redis{'s' if self.tls else ''}://127.0.0.1:{self.port}"


class Between:
    """Stands between the gateway and Redis, and passes bytes on.  Where
    `loses(answer, command)` says so, the answer is lost and the connection
    breaks, after Redis has done what it was told."""

    def __init__(self, redis, loses=lambda answer, command: False):
        self.redis = redis
        self.loses = loses
        self.lost = 0
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def run(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(conn,),
                             daemon=True).start()

    def serve(self, conn):
        """One command, one answer, as the gateway does it."""
        with conn, socket.socket(socket.AF_UNIX) as server:
            try:
                server.connect(self.redis.socket)
                self.pass_on(conn, server)
            except OSError:
                pass

    def pass_on(self, conn, server):
        import select
        command = b""
        while True:
            for s in select.select([conn, server], [], [])[0]:
                data = s.recv(1 << 20)
                if not data:
                    return
                if s is conn:
                    command = (command + data)[-(1 << 20):]
                    server.sendall(data)
                elif self.loses(data, command):
                    self.lost += 1
                    return
                else:
                    conn.sendall(data)
                    command = b""

    def close(self):
        self.listener.close()


class Pretend:
    """Answers each command by answer(words), which gives the bytes; None
    closes the connection."""

    def __init__(self, answer):
        self.answer = answer
        self.connections = 0
        self.commands = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def run(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(conn,),
                             daemon=True).start()

    def serve(self, conn):
        with conn, conn.makefile("rb") as file:
            try:
                while line := file.readline():
                    words = []
                    for _ in range(int(line[1:])):
                        size = int(file.readline()[1:])
                        words.append(file.read(size + 2)[:-2])
                    self.commands += 1
                    data = self.answer(words)
                    if data is None:
                        return
                    conn.sendall(data)
            except (OSError, ValueError):
                return

    def close(self):
        self.listener.close()


def healthy(words):
    """What a Redis says before it is asked to count."""
    first = words[0].upper()
    if first == b"INFO":
        text = b"redis_version:7.0.15\r\nrun_id:" + b"a" * 40 + b"\r\n"
        return b"$%d\r\n%s\r\n" % (len(text), text)
    if first == b"TIME":
        return b"*2\r\n$10\r\n1795000000\r\n$1\r\n0\r\n"
    if first == b"CONFIG":
        return b"*2\r\n$16\r\nmaxmemory-policy\r\n$10\r\nnoeviction\r\n"
    if first == b"SCRIPT":
        return b"$40\r\n" + b"b" * 40 + b"\r\n"
    return b"+OK\r\n"


def pause_between():
    """For loops that make trouble at intervals."""
    time.sleep(0.1)
