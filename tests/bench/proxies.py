"""The proxies that are compared, each with one worker, on a free port."""

import http.client
import os
import socket
import subprocess
import time

from procs import Failed, Program


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def accepts(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Proxy:
    """One proxy: start() until it is ready, measure .program, stop()."""

    name = ""
    key = "no-key"

    def __init__(self, bench, folder):
        self.bench = bench
        self.folder = folder
        self.port = free_port()
        self.program = None
        self.ready_seconds = None

    @classmethod
    def binary(cls, _bench):
        """The program that must be there."""
        return cls.name

    def start(self):
        os.makedirs(self.folder)
        argv = self.prepare()
        self.program = Program(self.name, argv, self.folder,
                               self.bench.proxy_cpu, self.environment())
        self.ready_seconds = self.program.wait_until(self.is_ready, "ready")

    def stop(self):
        if self.program:
            self.program.stop()

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w") as out:
            out.write(text)
        return self.path(name)

    def environment(self):
        return {}

    def is_ready(self):
        return accepts(self.port)

    def ledger_lines(self):
        """How many requests the proxy wrote down; None if it does not."""
        return None


class Direct(Proxy):
    """No proxy: what the load generator and the mock cost by themselves."""

    name = "direct"

    @classmethod
    def binary(cls, _bench):
        return None

    def start(self):
        self.port = self.bench.mock_port


class Nginx(Proxy):
    name = "nginx"

    def prepare(self):
        user = "user root;" if os.geteuid() == 0 else ""
        return ["nginx", "-p", self.folder, "-e", self.path("error.log"),
                "-c", self.write("nginx.conf", f"""
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile {self.bench.file_limit};
error_log {self.path("error.log")} warn;
pid {self.path("nginx.pid")};
events {{ worker_connections {self.bench.file_limit}; }}
http {{
    access_log off;
    client_max_body_size 64m;
    client_body_temp_path {self.path("body")};
    proxy_temp_path {self.path("proxy")};
    fastcgi_temp_path {self.path("fastcgi")};
    uwsgi_temp_path {self.path("uwsgi")};
    scgi_temp_path {self.path("scgi")};
    keepalive_requests 1000000000;
    upstream mock {{
        server 127.0.0.1:{self.bench.mock_port};
        keepalive 10000;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{self.port} backlog=4096;
        location / {{
            proxy_pass http://mock;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 600s;
        }}
    }}
}}
""")]


class Haproxy(Proxy):
    """Without http-no-delay it holds each event of a stream up to 200 ms."""

    name = "haproxy"

    def prepare(self):
        return ["haproxy", "-db", "-f", self.write("haproxy.cfg", f"""
global
    nbthread 1
    maxconn {self.bench.file_limit // 2 - 200}
defaults
    mode http
    option http-keep-alive
    option http-no-delay
    http-reuse always
    backlog 4096
    timeout connect 5s
    timeout client 600s
    timeout server 600s
frontend bench
    bind 127.0.0.1:{self.port}
    default_backend mock
backend mock
    server mock 127.0.0.1:{self.bench.mock_port}
""")]


class Weir(Proxy):
    """With a key, limits and the ledger, as in use: nothing is switched off."""

    name = "weir"

    @classmethod
    def binary(cls, bench):
        return os.path.join(bench.bin_dir, "weir")

    def prepare(self):
        weir = self.binary(self.bench)
        config = self.write("weir.yaml", f"""
version: 1
server:
  listen: [127.0.0.1:{self.port}]
  workers: 1
  state_dir: {self.path("state")}
upstreams:
  mock: {{url: "http://127.0.0.1:{self.bench.mock_port}/v1", max_inflight: 100000}}
models:
  m: {{routes: [{{to: mock, model: mock-model}}]}}
users:
  bench:
    models: [m]
    limits: {{requests_per_minute: 1000000000, concurrent: 100000}}
ledger: {{rotate: off}}
""")
        issued = subprocess.run(
            [weir, "key", "issue", "bench"], capture_output=True, text=True,
            env=dict(os.environ, **self.environment()), timeout=30,
            check=False)
        self.key = issued.stdout.strip()
        if issued.returncode != 0 or not self.key:
            raise Failed("weir key issue bench: " + issued.stderr.strip())
        return [weir, "serve", "-c", config]

    def environment(self):
        return {"WEIR_CONFIG": self.path("weir.yaml")}

    def is_ready(self):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            c.request("GET", "/readyz")
            return c.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            c.close()

    def ledger_lines(self):
        try:
            with open(self.path("state/usage.jsonl"), "rb") as ledger:
                return sum(1 for _ in ledger)
        except FileNotFoundError:
            return 0

    def wait_for_ledger(self, lines, seconds=3.0):
        """Waits until the ledger has `lines`; returns how many it has."""
        end = time.monotonic() + seconds
        while self.ledger_lines() < lines and time.monotonic() < end:
            time.sleep(0.02)
        return self.ledger_lines()


PROXIES = {p.name: p for p in (Direct, Nginx, Haproxy, Weir)}
